"""Where the server keeps masked vectors until it knows whose are added up.

One file per member and group, read tile by tile when the sum is made: memory is one sum and one tile, whatever the
number of members.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np

from fedspallm_secure.app.rounds.vectors import Streams
from fedspallm_secure.errors import RecordDamaged
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.secagg.masking import add_into
from fedspallm_secure.storage.files import disk_errors

_TILE = 1 << 20  # bytes


class Vault(Protocol):
    """Keeps the masked vectors of one round."""

    def keep(self, gid: int, member: str, streams: Streams) -> None:
        """Keep one vector.  The first for a member and group counts; the machine lets no second one come here."""

    def total(self, group: GroupPlan, members: Iterable[str]) -> Streams:
        """The sum of the vectors of `members`, as masked streams.  Raises RecordDamaged where one is missing."""


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


class FolderVault:
    """For vectors that do not: a folder of files, which the caller empties."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def keep(self, gid: int, member: str, streams: Streams) -> None:
        """Write one vector.  Raises DiskFull or StorageError."""
        path = self._path(gid, member)
        with disk_errors(path), path.open("wb") as file:
            for part in streams.parts:
                file.write(part.data)

    def total(self, group: GroupPlan, members: Iterable[str]) -> Streams:
        """Their sum, read tile by tile.  Raises RecordDamaged for a vector that is gone or shorter, StorageError."""
        result, tile = Streams.empty(group), memoryview(bytearray(_TILE))
        for member in members:
            path = self._path(group.gid, member)
            if not path.exists():
                raise _gone(group, member)
            with disk_errors(path), path.open("rb") as file:
                for total, size in zip(result.parts, word_sizes(group), strict=True):
                    for start in range(0, len(total), _TILE):
                        piece = tile[: min(_TILE, len(total) - start)]
                        if file.readinto(piece) != len(piece):
                            raise RecordDamaged(f"{path} is shorter than it was")
                        add_into(total[start : start + len(piece)], np.frombuffer(piece, np.uint8), size)
        return result

    def _path(self, gid: int, member: str) -> Path:
        return self._folder / f"{gid:04d}-{member}.vector"


def _gone(group: GroupPlan, member: str) -> RecordDamaged:
    return RecordDamaged(f"the vector of {member} for group {group.gid} is not there any more")


def word_sizes(group: GroupPlan) -> tuple[int, ...]:
    """Bytes of a word of each stream, in the order in which they travel."""
    count = group.counts.word.itemsize
    return (count,) if group.sums is None else (count, group.sums.word.itemsize)
