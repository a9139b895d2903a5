"""The sums that a key holder was shown, each in a file until its round is over."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fedspallm_secure.errors import RecordDamaged
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.storage.files import disk_errors, remove_tree, sync_folder


class ShownSums:
    """Those of one round in a folder for all rounds.  Errors of the disk: StorageError, DiskFull."""

    def __init__(self, folder: Path, round: int) -> None:
        self._folder = folder / f"round-{round}"

    @contextmanager
    def draft(self, name: str) -> Iterator[BinaryIO]:
        """A new file to be written and read again, gone afterwards unless it was placed."""
        path = self._folder / name
        with disk_errors(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with path.open("w+b", buffering=0) as file:
                    yield file
            finally:
                path.unlink(missing_ok=True)

    def place(self, name: str, gid: int) -> None:
        """Let a draft be the sum of a group, durably, before anything counts on it."""
        path = self._folder / name
        with disk_errors(path):
            with path.open("rb") as file:
                os.fsync(file.fileno())
            path.rename(self._path(gid))
            sync_folder(self._folder)

    @contextmanager
    def read(self, gid: int) -> Iterator[BinaryIO]:
        """The sum of a group.  Raises RecordDamaged where it is gone."""
        path = self._path(gid)
        if not path.exists():
            raise RecordDamaged(f"the sum of group {gid} is not there any more")
        with disk_errors(path), path.open("rb") as file:
            yield file

    def _path(self, gid: int) -> Path:
        return self._folder / f"{gid:04d}.sum"


def places_at(file: BinaryIO, group: GroupPlan, chunks: Iterable[int]) -> list[bytes]:
    """The places of these chunks in a sum."""
    found = []
    for chunk in chunks:
        file.seek(chunk * group.upload_tile)
        found.append(file.read(group.upload_tile))
    return found


def places_of(file: BinaryIO, group: GroupPlan) -> Iterator[bytes]:
    """All places of a sum, one after the other."""
    file.seek(0)
    yield from iter(lambda: file.read(group.upload_tile), b"")


def sweep(folder: Path, current: int | None) -> None:
    """Drop the sums of all rounds but the current one."""
    if folder.is_dir():
        for path in folder.glob("round-*"):
            if path.name != f"round-{current}":
                remove_tree(path)
