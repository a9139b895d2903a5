"""Writing a package: encrypt, hash and write in one pass, then sign (SPEC section 8).

Memory is a handful of tiles, whatever the size of the body.  Tiles are hashed in a second thread while the next is read
and encrypted, since SHA-256 is the slowest part by far.  Where the plaintext comes from and where the package goes is
left to two small protocols: a file and a draft here, buffers in `memory`.
"""

import os
import stat
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fedspallm_secure.crypto import merkle
from fedspallm_secure.crypto.body import (
    CHUNK_SIZE,
    ENCRYPTED_CHUNK_SIZE,
    BodyEncryptor,
    body_length,
    encryption_room,
)
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.crypto.sealing import FILE_KEY_SIZE, RecipientKey, wrap
from fedspallm_secure.crypto.signing import SIGNATURE_SIZE, Signer, sign
from fedspallm_secure.errors import InputError, NotAllowed, UsageError
from fedspallm_secure.protocol.limits import TILE_SIZE
from fedspallm_secure.protocol.package_types import PACKAGE_TYPES
from fedspallm_secure.protocol.packages import MAGIC, PREFIX_SIZE, Context, Head, Header, tile_count
from fedspallm_secure.storage.drafts import draft
from fedspallm_secure.storage.tile_hashing import tile_hasher

_BUFFERS = 3  # one being filled, two being hashed
_OUT_SIZE = TILE_SIZE + ENCRYPTED_CHUNK_SIZE + 128  # a tile, a chunk that stands over it, salt and commitment
_IN_SIZE = CHUNK_SIZE * (TILE_SIZE // ENCRYPTED_CHUNK_SIZE + 1)

Advance = Callable[[int], None]


class Plaintext(Protocol):
    """What is sealed: bytes of a length that is known beforehand, read once from the first to the last."""

    @property
    def length(self) -> int:
        """Bytes."""

    @property
    def name(self) -> str:
        """How errors name it."""

    def read_into(self, buffer: memoryview) -> None:
        """Fill `buffer` with what comes next.  Raises InputError when there is less."""

    def check_finished(self) -> None:
        """Raise InputError when something is left."""


class Sink(Protocol):
    """Where a package is put together."""

    def check_room(self, size: int) -> None:
        """Raise an error now, and not after the work, when it cannot take `size` bytes."""

    def write(self, data: memoryview | bytes, offset: int) -> None:
        """Write all of `data` at `offset`."""


@dataclass(frozen=True, slots=True)
class Source:
    """An open file of known length to seal.  length: bytes."""

    descriptor: int
    length: int
    name: str

    @classmethod
    def of(cls, descriptor: int, path: Path) -> "Source":
        """Measure an open file.  Raises UsageError for anything without a known length."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} is not a file; the length of what is sealed must be known beforehand")
        return cls(descriptor, status.st_size, str(path))

    def read_into(self, buffer: memoryview) -> None:
        """Fill `buffer`.  Raises InputError when the file has become shorter."""
        filled = 0
        while filled < len(buffer):
            count = os.readv(self.descriptor, [buffer[filled:]])
            if count == 0:
                raise InputError(f"{self.name} became shorter while it was sealed", hint="seal it when it is finished")
            filled += count

    def check_finished(self) -> None:
        """Raise InputError when the file has become longer."""
        if os.read(self.descriptor, 1):
            raise InputError(f"{self.name} became longer while it was sealed", hint="seal it when it is finished")


def write_package(
    path: Path, source: Plaintext, context: Context, recipient: RecipientKey, signer: Signer, advance: Advance
) -> Head:
    """Seal `source` into a new file `path`, which appears complete or not at all.

    advance: called with the bytes of body written so far.  Raises NotAllowed, InputError, OutputExists or StorageError.
    """
    with draft(path) as file:
        head = write_to(file, source, context, recipient, signer, advance)
        file.finish()
        file.publish()
    return head


def write_to(
    file: Sink, source: Plaintext, context: Context, recipient: RecipientKey, signer: Signer, advance: Advance
) -> Head:
    """Seal `source` into `file`, which holds the whole package when this returns, and nothing of use before.

    advance: called with the bytes of body written so far.  Raises NotAllowed, InputError, FormatError for a recipient
    key that cannot be sealed to, and what the two raise.
    """
    if source.length > PACKAGE_TYPES[context.type].plaintext_limit:
        raise NotAllowed(f"{source.name} is larger than a package of type {context.type!r} may hold")
    file_key = random_bytes(FILE_KEY_SIZE)
    wrapped = wrap(file_key, recipient, context.info)
    length = body_length(source.length)
    before = Header(context, wrapped, length, bytes(32)).encode()  # as long as the one with the true root
    start = PREFIX_SIZE + len(before) + SIGNATURE_SIZE + 32 * tile_count(length)
    file.check_room(start + length)
    hashes = _write_body(file, start, source, BodyEncryptor(file_key, context.info), advance)
    source.check_finished()
    header = Header(context, wrapped, length, merkle.root(hashes))
    encoded = header.encode()
    head = Head(encoded, header, sign(signer, Label.SIGN_PACKAGE, encoded))
    prefix = MAGIC + len(encoded).to_bytes(4, "little")
    file.write(b"".join([prefix, encoded, head.signature, *hashes]), 0)
    return head


def _write_body(file: Sink, start: int, source: Plaintext, encryptor: BodyEncryptor, advance: Advance) -> list[bytes]:
    """Encrypt all of `source` to the file from offset `start`; returns the tile hashes."""
    plain = memoryview(bytearray(min(_IN_SIZE, source.length)))
    room = encryption_room(source.length) + ENCRYPTED_CHUNK_SIZE  # of a body that does not fill a tile
    tiles = _Tiles(file, start, min(_OUT_SIZE, room), advance)
    left = source.length
    with tiles.worker:
        while left:
            chunks = -(-(TILE_SIZE - tiles.filled) // ENCRYPTED_CHUNK_SIZE)  # until this tile is full
            piece = plain[: min(left, chunks * CHUNK_SIZE)]
            source.read_into(piece)
            tiles.filled += encryptor.update_into(piece, tiles.free)
            left -= len(piece)
            if tiles.filled >= TILE_SIZE:
                tiles.put(TILE_SIZE)
        last = encryptor.finish()
        tiles.free[: len(last)] = last
        tiles.filled += len(last)
        while tiles.filled:
            tiles.put(min(tiles.filled, TILE_SIZE))
        return tiles.finish()


class _Tiles:
    """A ring of tile buffers: one is filled while those before it are hashed."""

    def __init__(self, file: Sink, start: int, room: int, advance: Advance) -> None:
        self._file, self._offset, self._start, self._advance = file, start, start, advance
        self._buffers = [memoryview(bytearray(room)) for _ in range(_BUFFERS)]
        self._pending: deque[Future[bytes]] = deque()
        self._hashes: list[bytes] = []
        self._number = 0
        self.worker = tile_hasher(room)
        self.filled = 0

    @property
    def free(self) -> memoryview:
        """What is left of the current buffer."""
        return self._buffers[self._number % _BUFFERS][self.filled :]

    def put(self, size: int) -> None:
        """Hash and write the first `size` bytes of the current buffer; what stands over moves to the next one."""
        buffer = self._buffers[self._number % _BUFFERS]
        tile = buffer[:size]
        self._pending.append(self.worker.submit(merkle.leaf_hash, tile))
        self._file.write(tile, self._offset)
        while len(self._pending) >= _BUFFERS:
            self._settle()  # the oldest one's buffer is the next one
        self._number += 1
        self._offset += size
        self.filled -= size
        self._buffers[self._number % _BUFFERS][: self.filled] = buffer[size : size + self.filled]
        self._advance(self._offset - self._start)

    def finish(self) -> list[bytes]:
        """Wait for everything; the hashes of all tiles."""
        while self._pending:
            self._settle()
        return self._hashes

    def _settle(self) -> None:
        self._hashes.append(self._pending.popleft().result())
