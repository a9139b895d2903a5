"""A file that gets its name only when everything about it has been checked (SPEC section 11).

A draft lies beside the file it will become, under a name of its own, locked.  A run that was killed leaves its draft;
the next run for the same file takes it over and begins anew, so nothing has to be cleaned up.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedspallm_secure.errors import DiskFull, OutputExists, RunLocked
from fedspallm_secure.storage.files import disk_errors

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Draft:
    """An open, locked, empty file that may become `path`.  Made by `draft`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.parent / f".{path.name}.part"
        self.descriptor = self._open()
        self._published = False

    def write(self, data: memoryview | bytes, offset: int | None = None) -> None:
        """Write all of `data` at `offset`, or where the last write without offset ended."""
        view = memoryview(data)
        while view:
            if offset is None:
                count = os.write(self.descriptor, view)
            else:
                count = os.pwrite(self.descriptor, view, offset)
                offset += count
            view = view[count:]

    def check_room(self, size: int) -> None:
        """Raise DiskFull now, and not after the work, when the disk has less than `size` bytes free."""
        found = os.fstatvfs(self.descriptor)
        if found.f_bavail * found.f_frsize < size:
            raise DiskFull(f"{self.path} needs {size} bytes; the disk has {found.f_bavail * found.f_frsize} free")

    def finish(self) -> None:
        """Make the content durable.  What fails here is not tried again: the pages may be lost though marked clean."""
        os.fsync(self.descriptor)

    def publish(self) -> None:
        """Give the finished draft its name, durably.  Raises OutputExists; nothing is ever overwritten.

        The lock on the draft keeps two of our own runs apart; rename rather than link, because a crash between link and
        unlink would leave a second name, and packages with two names are refused.
        """
        if os.path.lexists(self.path):
            raise OutputExists(f"{self.path} already exists")
        self._temporary.rename(self.path)
        self._published = True
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def same_as_published(self) -> bool:
        """Whether `path` is there with exactly the content of this draft: an earlier run got that far."""
        try:
            with self.path.open("rb") as ours:
                size = os.fstat(self.descriptor).st_size
                if os.fstat(ours.fileno()).st_size != size:
                    return False
                return all(
                    ours.read(1 << 20) == os.pread(self.descriptor, 1 << 20, offset)
                    for offset in range(0, size, 1 << 20)
                )
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Remove the draft unless it was published, and give up the lock."""
        try:
            if not self._published:
                self._temporary.unlink(missing_ok=True)
        finally:
            os.close(self.descriptor)

    def _open(self) -> int:
        while True:
            descriptor = os.open(self._temporary, _FLAGS, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not self._still_there(descriptor):  # its owner finished between our open and our lock
                    os.close(descriptor)
                    continue
                os.fchmod(descriptor, 0o600)
                os.ftruncate(descriptor, 0)
            except BlockingIOError:
                os.close(descriptor)
                raise RunLocked(f"another process is writing {self.path}") from None
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor

    def _still_there(self, descriptor: int) -> bool:
        try:
            there, ours = self._temporary.lstat(), os.fstat(descriptor)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


@contextmanager
def draft(path: Path) -> Iterator[Draft]:
    """Yield a draft of `path`, readable by its owner alone; what was not published by the end is gone.

    Raises OutputExists where something has that name, RunLocked, StorageError or DiskFull.
    """
    with disk_errors(path):
        opened = Draft(path)
        try:
            yield opened
        finally:
            opened.close()
