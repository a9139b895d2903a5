"""Reading a package from outside: steps 1 to 4, 10 and 11 of SPEC section 9, tile by tile.

Every byte is read from the file once, and what was verified is what is used.  A tile is hashed in a second thread while
the one before it, whose hash has been checked, is decrypted.  What the package is read from is left to a small
protocol: a file from outside here, a buffer in `memory`.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from fedspallm_secure.crypto import merkle
from fedspallm_secure.crypto.body import BodyDecryptor, body_length, decryption_room
from fedspallm_secure.crypto.sealing import RecipientSecret, unwrap
from fedspallm_secure.crypto.signing import SIGNATURE_SIZE
from fedspallm_secure.errors import CannotDecrypt, PackageFormatError, TileMismatch, TrailingBytes, Truncated
from fedspallm_secure.protocol.limits import HEADER_LIMIT, TILE_SIZE
from fedspallm_secure.protocol.package_types import LARGEST_PLAINTEXT
from fedspallm_secure.protocol.packages import PREFIX_SIZE, Head, Header, parse_prefix, tile_count
from fedspallm_secure.storage.outside import OutsideFile, open_outside
from fedspallm_secure.storage.tile_hashing import tile_hasher

__all__ = ["PACKAGE_LIMIT", "Advance", "Incoming", "OutsideFile", "PackageReader", "open_package"]

_LARGEST_BODY = body_length(LARGEST_PLAINTEXT)
PACKAGE_LIMIT = PREFIX_SIZE + HEADER_LIMIT + SIGNATURE_SIZE + 32 * tile_count(_LARGEST_BODY) + _LARGEST_BODY  # bytes

Advance = Callable[[int], None]


class Incoming(Protocol):
    """Bytes that arrived, no more than PACKAGE_LIMIT, each of which is read once: an `OutsideFile`, or memory."""

    @property
    def size(self) -> int:
        """Bytes that there were at the beginning."""

    @property
    def name(self) -> str:
        """How errors name it."""

    def read_exactly(self, size: int) -> bytes:
        """The next `size` bytes; for small parts.  Raises Truncated."""

    def read_into(self, buffer: memoryview) -> None:
        """Fill `buffer` with what comes next.  Raises Truncated when there is less."""

    def at_end(self) -> bool:
        """Whether nothing follows what was read so far."""


class PackageReader:
    """An open package whose head has been parsed (steps 1 to 4); everything it says is a claim."""

    def __init__(self, file: Incoming) -> None:
        self._file = file
        self.head = _read_head(file)

    def tiles(self) -> Iterator[memoryview]:
        """Step 10: yield each tile of the encrypted body after its hash was checked.

        A tile stays valid until the next one is asked for.  Raises Truncated, TrailingBytes or TileMismatch.
        """
        self.check_length()
        hashes = self._tile_hashes()
        buffers = [memoryview(bytearray(min(TILE_SIZE, self.head.header.body_length))) for _ in range(2)]
        left = self.head.header.body_length
        before: tuple[memoryview, Future[bytes], bytes] | None = None
        with tile_hasher(left) as pool:
            for number, expected in enumerate(hashes):
                tile = buffers[number % 2][: min(TILE_SIZE, left)]
                self._file.read_into(tile)
                left -= len(tile)
                following = (tile, pool.submit(merkle.leaf_hash, tile), expected)
                if before is not None:
                    yield self._checked(*before, number - 1)
                before = following
            if before is not None:
                yield self._checked(*before, len(hashes) - 1)
        if not self._file.at_end():  # it grew since it was opened
            raise TrailingBytes(f"{self._file.name} goes on after the package ends")

    def check_length(self) -> None:
        """The first part of step 10, before any room is made for what the header promises."""
        if self._file.size < self.head.size:
            raise Truncated(f"{self._file.name} has {self._file.size} bytes of a package of {self.head.size}")
        if self._file.size > self.head.size:
            raise TrailingBytes(f"{self._file.name} goes on after the package ends")

    def _tile_hashes(self) -> list[bytes]:
        header = self.head.header
        found = self._file.read_exactly(32 * header.tiles)
        hashes = [found[start : start + 32] for start in range(0, len(found), 32)]
        if merkle.root(hashes) != header.body_root:
            raise TileMismatch("the list of tile hashes is not the one that was signed")
        return hashes

    @staticmethod
    def _checked(tile: memoryview, found: Future[bytes], expected: bytes, number: int) -> memoryview:
        if found.result() != expected:
            raise TileMismatch(f"tile {number} of the body is not what was signed")
        return tile

    def verify_body(self, advance: Advance) -> None:
        """Step 10 without decrypting.  advance: called with the bytes of body read so far."""
        done = 0
        for tile in self.tiles():
            done += len(tile)
            advance(done)

    def decrypt(self, secret: RecipientSecret, write: Callable[[memoryview], None], advance: Advance) -> None:
        """Steps 10 and 11: hand the plaintext to `write`, piece by piece.  Nothing is final before this returns.

        Raises what `tiles` raises, and CannotDecrypt.
        """
        header, info = self.head.header, self.head.context.info
        decryptor = BodyDecryptor(unwrap(header.wrapped, secret, info), info)
        plain = memoryview(bytearray(decryption_room(min(TILE_SIZE, header.body_length))))
        done = written = 0
        for tile in self.tiles():
            count = decryptor.update_into(tile, plain)
            write(plain[:count])
            done, written = done + len(tile), written + count
            advance(done)
        last = decryptor.finish()
        write(memoryview(last))
        if written + len(last) != header.plaintext_length:
            raise CannotDecrypt()


def _read_head(file: Incoming) -> Head:
    """Steps 3 and 4.  Raises PackageFormatError."""
    try:
        length = parse_prefix(file.read_exactly(min(PREFIX_SIZE, file.size)))
        if file.size < PREFIX_SIZE + length + SIGNATURE_SIZE:
            raise PackageFormatError(f"{file.name} ends before its header and signature do")
        encoded, signature = file.read_exactly(length), file.read_exactly(SIGNATURE_SIZE)
    except Truncated as error:  # it became shorter since it was opened
        raise PackageFormatError(str(error)) from None
    return Head(encoded, Header.parse(encoded), signature)


@contextmanager
def open_package(path: Path) -> Iterator[PackageReader]:
    """Steps 1 to 4 for the file at `path`.  Raises HostileFile, LimitExceeded, MissingInput or PackageFormatError."""
    with open_outside(path, PACKAGE_LIMIT) as file:
        yield PackageReader(file)
