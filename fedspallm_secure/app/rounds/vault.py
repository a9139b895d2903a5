"""Where the server keeps masked vectors until it knows whose are added up.

One file per member and group.  For the sum all of them are read side by side: a tile of the sum stays in the cache
while the same tile of every member is added to it.  Memory is one sum and a few tiles, whatever the number of members.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, Final, Protocol

from fedspallm_secure.app.rounds.streams import Octets, Streams, word_sizes
from fedspallm_secure.errors import RecordDamaged
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.secagg.masking import add_into
from fedspallm_secure.storage.files import atomic_write, disk_errors

__all__ = ["FolderVault", "MemoryVault", "Vault", "add_files", "word_sizes"]

_TILE: Final = 1 << 19  # bytes; two of them lie in the cache of a core
_READERS: Final = 2  # tiles of the sum that are worked on at once
_OPEN: Final = 64  # files that are open at once


class Vault(Protocol):
    """Keeps the masked vectors of one round."""

    def keep(self, gid: int, member: str, streams: Streams) -> None:
        """Keep one vector.  The first for a member and group counts; the machine lets no second one come here."""

    def total(self, group: GroupPlan, members: Iterable[str]) -> Streams:
        """The sum of the vectors of `members`, as masked streams.  Raises RecordDamaged where one is missing."""

    def read(self, group: GroupPlan, member: str) -> BinaryIO:
        """One vector as it travelled, to be read from its start and closed.  Raises RecordDamaged where it is gone."""


class MemoryVault:
    """For vectors that fit in memory."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str], Streams] = {}

    def keep(self, gid: int, member: str, streams: Streams) -> None:
        """Keep one vector, as it is."""
        self._kept[gid, member] = streams

    def total(self, group: GroupPlan, members: Iterable[str]) -> Streams:
        """Their sum."""
        result = Streams.empty(group)
        for member in members:
            found = self._kept.get((group.gid, member))
            if found is None:
                raise _gone(group, member)
            for total, part, size in zip(result.parts, found.parts, word_sizes(group), strict=True):
                add_into(total, part, size)
        return result

    def read(self, group: GroupPlan, member: str) -> BinaryIO:
        """One vector, as it travelled."""
        found = self._kept.get((group.gid, member))
        if found is None:
            raise _gone(group, member)
        return BytesIO(b"".join(part.tobytes() for part in found.parts))


class FolderVault:
    """For vectors that do not: a folder of files, which the caller empties."""

    def __init__(self, folder: Path, durable: bool = False) -> None:
        """durable: whether a vector outlives the machine's crash once it was kept."""
        self._folder, self._durable = folder, durable
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def keep(self, gid: int, member: str, streams: Streams) -> None:
        """Write one vector; where it has to be durable, whole or not at all.  Raises DiskFull or StorageError."""
        path = self._path(gid, member)
        with disk_errors(path), atomic_write(path) if self._durable else path.open("wb") as file:
            for part in streams.parts:
                file.write(part.data)

    def total(self, group: GroupPlan, members: Iterable[str]) -> Streams:
        """Their sum.  Raises RecordDamaged for a vector that is gone or not as long as it was, StorageError."""
        result, paths = Streams.empty(group), []
        for member in members:
            paths.append(self._path(group.gid, member))
            if not paths[-1].exists():
                raise _gone(group, member)
        add_files(result, group, paths)
        return result

    def read(self, group: GroupPlan, member: str) -> BinaryIO:
        """One vector, as it travelled.  Raises RecordDamaged, StorageError."""
        path = self._path(group.gid, member)
        if not path.exists():
            raise _gone(group, member)
        with disk_errors(path):
            return path.open("rb")

    def _path(self, gid: int, member: str) -> Path:
        return self._folder / f"{gid:04d}-{member}.vector"


def _gone(group: GroupPlan, member: str) -> RecordDamaged:
    return RecordDamaged(f"the vector of {member} for group {group.gid} is not there any more")


def add_files(result: Streams, group: GroupPlan, paths: Sequence[Path], before: int = 0) -> None:
    """Add to `result` the vectors in files, each holding `before` other bytes, its streams, and nothing else.

    Raises RecordDamaged for a file of another length, StorageError; `result` must then be thrown away.
    """
    length = before + sum(map(len, result.parts))
    for start in range(0, len(paths), _OPEN):
        with ExitStack() as stack:
            files = []
            for path in paths[start : start + _OPEN]:
                with disk_errors(path):
                    files.append(stack.enter_context(path.open("rb", buffering=0)))
                    if os.fstat(files[-1].fileno()).st_size != length:
                        raise RecordDamaged(f"{path} does not have the {length} bytes that it had")
            _add_side_by_side(result, group, [(file.fileno(), Path(file.name)) for file in files], before)


def _add_side_by_side(result: Streams, group: GroupPlan, files: Sequence[tuple[int, Path]], before: int) -> None:
    spare: SimpleQueue[memoryview] = SimpleQueue()  # a buffer for each reader, made once
    for _ in range(_READERS):
        spare.put(memoryview(bytearray(_TILE)))

    def add(tile: tuple[Octets, int, int]) -> None:
        total, size, offset = tile
        buffer = spare.get()
        try:
            for descriptor, path in files:
                piece = buffer[: len(total)]
                with disk_errors(path):
                    if os.preadv(descriptor, [piece], offset) != len(piece):
                        raise RecordDamaged(f"{path} became shorter while it was read")
                add_into(total, piece, size)
        finally:
            spare.put(buffer)

    with ThreadPoolExecutor(_READERS, thread_name_prefix="vault") as pool:
        for _ in pool.map(add, _tiles(result, group, before)):
            pass


def _tiles(streams: Streams, group: GroupPlan, before: int) -> Iterator[tuple[Octets, int, int]]:
    """Pieces of the streams, the size of their words, and where they begin in a file."""
    for part, size in zip(streams.parts, word_sizes(group), strict=True):
        for start in range(0, len(part), _TILE):
            yield part[start : start + _TILE], size, before + start
        before += len(part)
