"""Packages that a server has kept of a round, held against the log and opened: as a whole, or only where it is needed.

An archive is not trusted: it is the log that says which package somebody sent.  Every tile that is read is hashed
before anything in it is decrypted.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from fedspallm_secure.app.audit.replay_log import Sent
from fedspallm_secure.app.rounds.streams import TileHashes
from fedspallm_secure.app.stations.archive import tiles_file
from fedspallm_secure.crypto import merkle
from fedspallm_secure.crypto.body import CHUNK_SIZE, ENCRYPTED_CHUNK_SIZE
from fedspallm_secure.crypto.chunks import PREFIX_SIZE, ChunkDecryptor, chunk_place, chunks_of
from fedspallm_secure.crypto.encoding import decode_hex
from fedspallm_secure.crypto.sealing import RecipientSecret, unwrap
from fedspallm_secure.errors import ForeignFile, MissingInput, TileMismatch
from fedspallm_secure.protocol.limits import TILE_SIZE
from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.storage.files import read_json
from fedspallm_secure.storage.outside import OutsideFile, open_outside
from fedspallm_secure.storage.package_reader import PACKAGE_LIMIT, PackageReader

_TILES_AT_HAND: Final = 2  # a chunk lies in two of them at most


class Sealed:
    """An archived package, opened piece by piece."""

    def __init__(self, file: OutsideFile, reader: PackageReader, secret: RecipientSecret) -> None:
        """file: what `reader` reads from, behind the head.  Raises TileMismatch or CannotDecrypt."""
        self.head = reader.head
        self._file, header = file, reader.head.header
        self._start = reader.head.size - header.body_length
        found = file.read_exactly(merkle.HASH_SIZE * header.tiles)
        self._hashes = [found[at : at + merkle.HASH_SIZE] for at in range(0, len(found), merkle.HASH_SIZE)]
        if merkle.root(self._hashes) != header.body_root:
            raise TileMismatch("the list of tile hashes is not the one that was signed")
        self._tile = lru_cache(_TILES_AT_HAND)(self._read_tile)
        info = reader.head.context.info
        self._chunks = ChunkDecryptor(unwrap(header.wrapped, secret, info), info, self._body(0, PREFIX_SIZE))

    def plain(self, start: int, length: int) -> bytes:
        """`length` bytes of the plaintext from `start` on.  Raises TileMismatch, CannotDecrypt, MissingInput."""
        numbers, body = chunks_of(start, length), self.head.header.body_length
        opened = bytearray()
        for number in numbers:
            place = chunk_place(number)
            opened += self._chunks.open(number, self._body(place, min(ENCRYPTED_CHUNK_SIZE, body - place)))
        skipped = start - numbers.start * CHUNK_SIZE
        return bytes(opened[skipped : skipped + length])

    def _body(self, start: int, length: int) -> bytes:
        """Some bytes of the encrypted body, out of tiles that were checked."""
        found = bytearray()
        while len(found) < length:
            number, skipped = divmod(start + len(found), TILE_SIZE)
            found += self._tile(number)[skipped : skipped + length - len(found)]
        return bytes(found)

    def _read_tile(self, number: int) -> bytes:
        self._file.seek(self._start + number * TILE_SIZE)
        tile = self._file.read_exactly(min(TILE_SIZE, self.head.header.body_length - number * TILE_SIZE))
        if merkle.leaf_hash(tile) != self._hashes[number]:
            raise TileMismatch(f"tile {number} of the body is not what was signed")
        return tile


class Archive:
    """What was kept of one round.  Its methods raise what opening a package raises, and MissingInput where one is gone.

    A package is taken for the one in the log if header and signature are the same, byte for byte: the header has the
    root over its body.
    """

    def __init__(self, folder: Path, secrets: Mapping[str, RecipientSecret]) -> None:
        """folder: of the round; secrets: key identifier -> recipient key of the server."""
        self._folder = folder
        self._secrets = secrets

    @contextmanager
    def contribution(self, sent: Sent) -> Iterator[Sealed]:
        """A contribution, to be opened piece by piece."""
        with self._open("contributions", sent) as (file, reader):
            yield Sealed(file, reader, self._secret(reader.head))

    def contribution_through(self, sent: Sent, write: Callable[[memoryview], None]) -> Head:
        """A whole contribution; nothing that `write` was given counts before this returns."""
        with self._open("contributions", sent) as (_, reader):
            reader.decrypt(self._secret(reader.head), write, lambda _: None)
            return reader.head

    def answer(self, sent: Sent, limit: int) -> tuple[Head, bytes]:
        """A whole answer.  limit: bytes of its plaintext."""
        with self._open("answers", sent) as (_, reader):
            if reader.head.header.plaintext_length > limit:
                raise ForeignFile(f"an answer of {reader.head.header.plaintext_length} bytes is longer than any may be")
            body = bytearray()
            reader.decrypt(self._secret(reader.head), body.extend, lambda _: None)
            return reader.head, bytes(body)

    def decryption(self, sent: Sent, limit: int) -> bytes:
        """The body of what a key holder sent.  limit: bytes of it."""
        with self._open("decryption", sent) as (_, reader):
            if reader.head.header.plaintext_length > limit:
                raise ForeignFile(f"{reader.head.header.plaintext_length} bytes of a key holder are more than it sends")
            body = bytearray()
            reader.decrypt(self._secret(reader.head), body.extend, lambda _: None)
            return bytes(body)

    def tile_hashes(self, gid: int) -> TileHashes:
        """Leaf hashes of the unmasked streams of a group, as they were kept.  Raises MissingInput, ForeignFile."""
        path = tiles_file(self._folder, gid)
        found = read_json(path)
        if not isinstance(found, dict) or set(found) != {"counts", "sums"}:
            raise ForeignFile(f"{path} does not hold the tile hashes of a group")
        return TileHashes(_hashes(found["counts"], path), _hashes(found["sums"], path))

    @contextmanager
    def _open(self, kind: str, sent: Sent) -> Iterator[tuple[OutsideFile, PackageReader]]:
        path = self._folder / kind / f"{sent.head.digest.hex()}.fspkg"
        with open_outside(path, PACKAGE_LIMIT) as file:
            reader = PackageReader(file)
            if (reader.head.encoded, reader.head.signature) != (sent.head.encoded, sent.head.signature):
                raise TileMismatch(f"{path} is not the package that stands in the log as entry {sent.index}")
            reader.check_length()
            yield file, reader

    def _secret(self, head: Head) -> RecipientSecret:
        secret = self._secrets.get(head.context.recipient_key)
        if secret is None:
            raise MissingInput("it is sealed to a key that this home does not have any more")
        return secret


def _hashes(value: Any, path: Path) -> list[bytes]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ForeignFile(f"{path} does not hold the tile hashes of a group")
    return [decode_hex(one, merkle.HASH_SIZE, "a tile hash") for one in value]
