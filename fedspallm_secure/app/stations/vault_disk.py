"""Masked vectors on the server's disk: taken in while a package is being opened, and added up as soon as all are there.

A vector is a file; what is in it was signed (check S6), and it is durable before anybody gets a receipt.  When every
member of a cohort has sent one, their sum is made at once and kept beside them: what is left to do in the end is to
take keystreams off, unless somebody is left out.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fedspallm_secure.app.rounds.streams import Streams, plain_streams
from fedspallm_secure.app.rounds.vault import FolderVault
from fedspallm_secure.errors import RecordDamaged
from fedspallm_secure.protocol.rounds.deals import VectorHasher
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.storage.files import atomic_write, disk_errors, sync_folder


class Inflow:
    """The plaintext of a contribution, as it is being decrypted: what stands before the streams, and they.

    handover: the first bytes, in memory; root: of the streams, once all of them are there.
    """

    def __init__(self, descriptor: int, before: int, tile: int) -> None:
        self.handover = bytearray()
        self._before = before
        self._descriptor = descriptor
        self._hasher = VectorHasher(tile)

    def write(self, piece: memoryview) -> None:
        """The next piece of the plaintext."""
        missing = self._before - len(self.handover)
        if missing:
            self.handover += piece[:missing]
            piece = piece[missing:]
        rest = piece
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._hasher.write(piece)

    @property
    def root(self) -> bytes:
        """`deals.vector_root` of the streams, 32 bytes."""
        return self._hasher.root


class DiskVault(FolderVault):
    """The masked vectors of one round."""

    @contextmanager
    def inflow(self, before: int, tile: int) -> Iterator[Inflow]:
        """Take in one vector.  before: bytes that stand before the streams; tile: of a leaf under their root.

        `keep_inflow` gives it its place.
        """
        path = self._incoming
        with disk_errors(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                yield Inflow(descriptor, before, tile)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def keep_inflow(self, gid: int, member: str) -> None:
        """The vector that was taken in last is this member's, durably."""
        path = self._path(gid, member)
        with disk_errors(path):
            self._incoming.replace(path)
            sync_folder(path.parent)

    def read_inflow(self) -> BinaryIO:
        """The vector that was taken in last, to be looked at before it counts.  Raises StorageError."""
        with disk_errors(self._incoming):
            return self._incoming.open("rb")

    def keep_decrypted(self, group: GroupPlan, streams: Streams) -> None:
        """What a key holder made of the sum of a group, durably.  Raises DiskFull, StorageError."""
        with atomic_write(self._decrypted(group)) as file:
            for stream in streams.parts:
                file.write(stream.data)

    def decrypted(self, group: GroupPlan) -> Streams:
        """That once more.  Raises RecordDamaged, StorageError."""
        path = self._decrypted(group)
        if not path.exists():
            raise RecordDamaged(f"the decrypted sum of group {group.gid} is not there any more")
        with disk_errors(path):
            return plain_streams(memoryview(path.read_bytes()), group)

    def add_early(self, group: GroupPlan) -> None:
        """Everybody in the cohort has sent a vector: add them up now, once, and not when people wait for it."""
        path = self._early(group)
        if path.exists():
            return
        total = super().total(group, group.cohort)
        with atomic_write(path) as file:
            for stream in total.parts:
                file.write(stream.data)

    def total(self, group: GroupPlan, members: Iterable[str]) -> Streams:
        """The sum of the vectors of `members`.  Raises RecordDamaged, StorageError."""
        wanted, path = tuple(members), self._early(group)
        result = Streams.empty(group)
        if wanted == group.cohort and path.exists():
            with disk_errors(path), path.open("rb") as file:
                if all(file.readinto(stream.data) == stream.nbytes for stream in result.parts):
                    return result
        return super().total(group, wanted)

    def clear(self) -> None:
        """The round is over: remove all of them."""
        for pattern in ("*.vector", "*.sum", "*.plain", "*.part", ".*.sum.*", ".*.plain.*"):
            for path in self._folder.glob(pattern):
                with disk_errors(path):
                    path.unlink(missing_ok=True)

    def _early(self, group: GroupPlan) -> Path:
        return self._folder / f"{group.gid:04d}.sum"

    def _decrypted(self, group: GroupPlan) -> Path:
        return self._folder / f"{group.gid:04d}.plain"

    @property
    def _incoming(self) -> Path:
        return self._folder / "incoming.part"
