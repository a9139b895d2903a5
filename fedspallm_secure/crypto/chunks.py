"""Single chunks of an encrypted body, for whoever needs a piece of it and not the whole (SPEC section 8).

The format was made for that: C2SP chunked-encryption, "random access".  Bodies are made, and opened as a whole, by the
library (`crypto.body`), which reads them in order only; keys and nonces here are derived as the published text says,
and the library's output is what the tests hold this against.  A chunk that opens is authentic at its place; that the
body does not go on after it, or was cut, is for the caller to know, from a length that somebody signed.
"""

import hmac
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from fedspallm_secure.crypto.body import CHUNK_SIZE, ENCRYPTED_CHUNK_SIZE
from fedspallm_secure.errors import CannotDecrypt

PREFIX_SIZE: Final = 24 + 32  # bytes of salt and commitment, before the first chunk
_PURPOSE: Final = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"
_KEY, _NONCE, _COMMITMENT = 32, 12, 32  # bytes


class ChunkDecryptor:
    """Opens chunks of one body, in any order."""

    def __init__(self, file_key: bytes, info: bytes, prefix: bytes) -> None:
        """info: the context of the body, as for `BodyDecryptor`; prefix: its first PREFIX_SIZE bytes.

        Raises CannotDecrypt unless the prefix commits to this key.
        """
        salt, commitment = prefix[:-_COMMITMENT], prefix[-_COMMITMENT:]
        expand = HKDFExpand(SHA512(), _KEY + _NONCE + _COMMITMENT, _PURPOSE + salt + info)
        derived = expand.derive(file_key)
        if len(prefix) != PREFIX_SIZE or not hmac.compare_digest(derived[_KEY + _NONCE :], commitment):
            raise CannotDecrypt()
        self._cipher = AESGCM(derived[:_KEY])
        self._nonce = int.from_bytes(derived[_KEY : _KEY + _NONCE], "big")

    def open(self, number: int, chunk: bytes | bytearray | memoryview) -> bytes:
        """The plaintext of chunk `number`, counted from 0.  chunk: with its tag.  Raises CannotDecrypt."""
        try:
            return self._cipher.decrypt((self._nonce ^ number).to_bytes(_NONCE, "big"), chunk, None)
        except InvalidTag:
            raise CannotDecrypt() from None


def chunks_of(start: int, length: int) -> range:
    """The numbers of the chunks that hold `length` bytes of plaintext from `start` on; length: at least 1."""
    return range(start // CHUNK_SIZE, (start + length - 1) // CHUNK_SIZE + 1)


def chunk_place(number: int) -> int:
    """Where chunk `number` begins in the body, in bytes."""
    return PREFIX_SIZE + number * ENCRYPTED_CHUNK_SIZE
