"""The encrypted body of a package: Cobblestone-256, fed piece by piece (SPEC section 8, C2SP chunked-encryption).

The format is salt (24 bytes), commitment (32), then chunks of 16,384 bytes of plaintext and a tag of 16 each; the last
chunk is shorter, so a body that ends between two chunks is known to be cut.  The library checks the commitment before
it decrypts the first chunk, and draws the salt itself.  What is decrypted here is authentic chunk by chunk, but it is
the whole body only after `finish`: nobody may publish it before.
"""

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import AlreadyFinalized, InvalidTag

from fedspallm_secure.errors import CannotDecrypt

CHUNK_SIZE = 16_384  # bytes of plaintext in every chunk but the last, which has fewer
_TAG = 16  # bytes
ENCRYPTED_CHUNK_SIZE = CHUNK_SIZE + _TAG  # bytes
_PREFIX = 24 + 32  # bytes of salt and commitment

_Bytes = bytes | bytearray | memoryview
_Buffer = bytearray | memoryview


def body_length(plaintext: int) -> int:
    """Bytes of the body that holds `plaintext` bytes."""
    return _PREFIX + plaintext + _TAG * (plaintext // CHUNK_SIZE + 1)


def plaintext_length(body: int) -> int | None:
    """Bytes of plaintext in a body of `body` bytes; None if no body has this length."""
    chunks, last = divmod(body - _PREFIX, ENCRYPTED_CHUNK_SIZE)
    return None if chunks < 0 or last < _TAG else chunks * CHUNK_SIZE + last - _TAG


def encryption_room(size: int) -> int:
    """Bytes of buffer that `BodyEncryptor.update_into` needs for `size` bytes of data.

    Up to 16,383 bytes wait inside for their chunk to fill, and the first call gives the 56 bytes before the chunks.
    """
    return _PREFIX + ENCRYPTED_CHUNK_SIZE * ((CHUNK_SIZE - 1 + size) // CHUNK_SIZE)


def decryption_room(size: int) -> int:
    """Bytes of buffer that `BodyDecryptor.update_into` needs for `size` bytes of data.

    Up to 16,399 bytes wait inside for their chunk to fill.  Never more than `size` + 16,383.
    """
    return CHUNK_SIZE * ((ENCRYPTED_CHUNK_SIZE - 1 + size) // ENCRYPTED_CHUNK_SIZE)


class BodyEncryptor:
    """Encrypts one body under a file key of 32 bytes; `info` is the context that the reader has to know too."""

    def __init__(self, file_key: bytes, info: bytes) -> None:
        self._cobblestone = Cobblestone256Encryptor(file_key, info)

    def update_into(self, data: _Bytes, buffer: _Buffer) -> int:
        """Take some plaintext, write what is ready at the start of `buffer`, return how many bytes that is.

        The two must not overlap.  Raises ValueError for a buffer smaller than `encryption_room`.
        """
        _check_room(buffer, encryption_room(memoryview(data).nbytes))
        return self._cobblestone.update_into(data, buffer)

    def finish(self) -> bytes:
        """The last chunk, and what else was not given out; at most 56 + 16,399 bytes."""
        return self._cobblestone.finalize()


class BodyDecryptor:
    """Decrypts one body; whatever is wrong with it, the error is CannotDecrypt with its one message."""

    def __init__(self, file_key: bytes, info: bytes) -> None:
        try:
            self._cobblestone = Cobblestone256Decryptor(file_key, info)
        except ValueError:
            raise CannotDecrypt() from None

    def update_into(self, data: _Bytes, buffer: _Buffer) -> int:
        """Take some of the body, write the plaintext of verified chunks at the start of `buffer`, return its bytes.

        The two must not overlap.  Raises CannotDecrypt, then and in every later call; the buffer is all zero after it.
        Raises ValueError for a buffer smaller than `decryption_room`.
        """
        _check_room(buffer, decryption_room(memoryview(data).nbytes))
        try:
            return self._cobblestone.update_into(data, buffer)
        except (InvalidTag, AlreadyFinalized, ValueError):
            # The library decrypts in place and leaves the chunk there whose tag did not match.
            view = memoryview(buffer).cast("B")
            view[:] = bytes(view.nbytes)
            raise CannotDecrypt() from None

    def finish(self) -> bytes:
        """The plaintext of the last chunk, at most 16,383 bytes.  Raises CannotDecrypt if the body was cut."""
        try:
            return self._cobblestone.finalize()
        except (InvalidTag, AlreadyFinalized):
            raise CannotDecrypt() from None


def _check_room(buffer: _Buffer, needed: int) -> None:
    # Checked for the worst case: what the library asks for depends on what it holds, so a small buffer would fail late.
    held = memoryview(buffer).nbytes
    if held < needed:
        raise ValueError(f"the buffer has {held} bytes, {needed} are needed")
