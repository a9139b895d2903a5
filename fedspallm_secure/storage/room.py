"""Room for what arrives: how much of it is here or was announced, sender by sender, and what the disk has left.

A transfer holds room for its whole announced size while it goes on; what a broken one has left counts with the bytes
that are there.  A sender has a number of places for transfers that have begun, and one with which nobody goes on for a
week gives its place back.  What is in the folder is read once; from then on it is remembered.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import DiskFull, LimitExceeded, RunLocked
from fedspallm_secure.storage.arrivals import FileArrival, owner_of, part_of
from fedspallm_secure.storage.files import disk_errors

PLACES: Final = 64  # transfers of one sender that have begun and did not end
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")
KEPT: Final = 7 * 86_400  # seconds for which a transfer that has broken off may go on


@dataclass(frozen=True, slots=True)
class Quota:
    """What an inbox takes.  sender: bytes that may wait from one party; free: bytes that stay free on the disk."""

    sender: int = 1 << 42
    free: int = 1 << 28


class Room:
    """What arrives in a folder.  The spool that it belongs to holds its lock around every call."""

    def __init__(self, folder: Path) -> None:
        """Raises StorageError for a folder that cannot be read.  What is older than KEPT is removed."""
        self._folder = folder
        self._begun: dict[Party, set[str]] = {}
        self._arriving: dict[str, FileArrival] = {}
        with disk_errors(folder):
            owners = [owner_of(path) for path in folder.iterdir()]
        for owner in owners:
            if owner is not None:
                self._begun.setdefault(owner[0], set()).add(owner[1])
        for peer in self._begun:
            self._look(peer)

    def check(self, peer: Party, digest: str, size: int, waiting: int, quota: Quota) -> None:
        """Whether there is room for a package of `size` bytes.  waiting: bytes of `peer` that have arrived.

        Raises RunLocked while it is arriving, LimitExceeded, DiskFull or StorageError.
        """
        if digest in self._arriving:
            raise RunLocked("the same package is arriving already", hint="wait for the other transfer to end")
        begun = self._look(peer)
        here = begun.pop(digest, 0)
        if len(begun) >= PLACES:
            raise LimitExceeded(f"{len(begun)} packages of {peer} have begun to arrive", hint="bring those to an end")
        waiting += sum(begun.values())
        if waiting + size > quota.sender:
            room = f"{_spelled(waiting)} of {peer} wait here already, and at most {_spelled(quota.sender)} may"
            if size > quota.sender:
                hint = "it never fits: the operator of the server has to raise [limits] member_bytes"
                raise LimitExceeded(f"{room}; this package has {_spelled(size)}", hint=hint)
            hint = "it is tried again by itself, and goes on once what waits was read"
            raise LimitExceeded(f"{room}: no room for {_spelled(size)} more", hint=hint)
        promised = sum(max(0, one.size - one.offset) for one in self._arriving.values())
        with disk_errors(self._folder):
            found = os.statvfs(self._folder)
        if found.f_bavail * found.f_frsize < promised + max(0, size - here) + quota.free:
            raise DiskFull(
                f"{self._folder} has no room for {_spelled(size)}", hint="the operator has to free some space"
            )

    def begin(self, peer: Party, digest: str, arrival: FileArrival) -> None:
        """Hold room for a transfer that was checked."""
        self._begun.setdefault(peer, set()).add(digest)
        self._arriving[digest] = arrival

    def end(self, digest: str) -> None:
        """It goes on no longer."""
        self._arriving.pop(digest, None)

    def _look(self, peer: Party) -> dict[str, int]:
        """Bytes that count for what has begun to arrive, by digest.  What is gone or too old is forgotten."""
        found: dict[str, int] = {}
        oldest = time.time() - KEPT
        for digest in self._begun.get(peer, ()):
            path = part_of(self._folder, peer, digest)
            try:
                status = path.stat(follow_symlinks=False)
            except OSError:  # it was finished or given up meanwhile
                continue
            if arrival := self._arriving.get(digest):
                found[digest] = arrival.size
            elif status.st_mtime >= oldest:
                found[digest] = status.st_size
            else:
                with suppress(OSError):
                    path.unlink()
        self._begun[peer] = set(found)
        return found


def _spelled(size: int) -> str:
    """Bytes for people, in units of 1024."""
    if size < 1024:
        return f"{size} bytes"
    power = min((size.bit_length() - 1) // 10, len(_UNITS))
    return f"{size / 1024**power:.1f} {_UNITS[power - 1]}"
