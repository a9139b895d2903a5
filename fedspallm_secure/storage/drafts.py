"""A file that gets its name only when everything about it has been checked (SPEC section 11).

A draft lies beside the file it will become, under a name of its own, locked.  A run that was killed leaves its draft;
the next run for the same file removes it, so nobody has to clean up.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fedspallm_secure.errors import DiskFull, OutputExists, RunLocked, StorageError
from fedspallm_secure.storage.files import disk_errors, leads_to, sync_folder
from fedspallm_secure.storage.outside import printable

_OLD = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # O_NONBLOCK: a pipe in its place must not stop us
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_PIECE = 1 << 20  # bytes that are compared at once
_TRIES = 10  # to get hold of a name that others make and remove


class Draft:
    """An open, locked, empty file that may become `path`.  Made by `draft`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = draft_of(path)
        self.descriptor = self._open()
        self._finished = self._published = False

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
        self._finished = True

    def publish(self) -> None:
        """Give the finished draft its name, durably.  Raises OutputExists; nothing is ever overwritten.

        The lock on the draft keeps two of our own runs apart; rename rather than link, because a crash between link and
        unlink would leave a second name, and packages with two names are refused.
        """
        if os.path.lexists(self.path):
            raise OutputExists(f"{self.path} already exists")
        self._temporary.rename(self.path)
        self._published = True
        try:
            sync_folder(self.path.parent)
        except OSError:
            with suppress(OSError):  # the name may not last, so nobody may count on it
                self.path.rename(self._temporary)
                self._published = False
            raise

    def take_back(self) -> None:
        """Undo `publish`: the name goes, and what had it is a draft again."""
        if leads_to(self.path, self.descriptor):  # asked of the disk: an interruption may have come in between
            self.path.rename(self._temporary)
        self._published = False

    def leave(self) -> None:
        """Leave a finished draft to the next run, as a kill would; one that is not finished is of no use to it."""
        if self._finished:
            self._published = True

    def same_as_published(self) -> bool:
        """Whether `path` is there with exactly this content: an earlier run was killed after giving it its name.

        Then that name is made durable, and the draft is gone, before anybody relies on it.
        """
        if not self.same_as(self.path):
            return False
        self._temporary.unlink()
        self._published = True
        sync_folder(self.path.parent)
        return True

    def close(self) -> None:
        """Remove the draft unless it was published, and give up the lock."""
        try:
            if not self._published:
                self._temporary.unlink(missing_ok=True)
        finally:
            os.close(self.descriptor)

    def same_as(self, path: Path) -> bool:
        """Whether `path` is a file with exactly this content."""
        try:
            theirs = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return False  # if something else is there, `publish` says so
        try:
            found, size = os.fstat(theirs), os.fstat(self.descriptor).st_size
            return (stat.S_ISREG(found.st_mode), found.st_size) == (True, size) and all(
                os.pread(theirs, _PIECE, offset) == os.pread(self.descriptor, _PIECE, offset)
                for offset in range(0, size, _PIECE)
            )
        finally:
            os.close(theirs)

    def _open(self) -> int:
        """Make the draft and lock it.  It is always a new file: an old one may have other names, or other readers."""
        for _ in range(_TRIES):
            try:
                descriptor = os.open(self._temporary, _NEW, 0o600)
            except FileExistsError:
                self._sweep()
                continue
            except ValueError:
                raise StorageError(f"'{printable(str(self.path))}' is not the name of a file") from None
            with suppress(BlockingIOError):  # another run is sweeping it away
                if self._lock(descriptor):
                    return descriptor
            os.close(descriptor)
        raise StorageError(f"cannot make a draft of {self.path}: another process keeps removing it")

    def _sweep(self) -> None:
        """Remove what a killed run left behind.  Raises RunLocked if its owner is alive."""
        try:
            if not stat.S_ISREG(self._temporary.lstat().st_mode):
                raise StorageError(f"{self._temporary} is in the way", hint="look who made it, then remove it")
            descriptor = os.open(self._temporary, _OLD)
        except FileNotFoundError:
            return  # its owner has finished
        try:
            if self._lock(descriptor):
                self._temporary.unlink()
        except BlockingIOError:
            raise RunLocked(f"another process is writing {self.path}") from None
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> bool:
        """Hold the file; whether the name still leads to it.  Raises BlockingIOError when another run holds it."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return leads_to(self._temporary, descriptor)


def draft_of(path: Path) -> Path:
    """The name of the draft of `path`."""
    return path.parent / f".{path.name}.fedprune-part"


@contextmanager
def draft(path: Path) -> Iterator[Draft]:
    """Yield a draft of `path`, readable by its owner alone; what was not published by the end is gone.

    Only an interrupted run leaves what a killed one would leave.

    Raises OutputExists where something has that name, RunLocked, StorageError or DiskFull.
    """
    with disk_errors(path):
        opened = Draft(path)
        try:
            yield opened
        except Exception:  # refused, or the disk failed
            raise
        except BaseException:  # interrupted: perhaps the register knows of it already
            opened.leave()
            raise
        finally:
            opened.close()
