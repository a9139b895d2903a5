"""Files from outside: opened without following anything, bounded, and read once (steps 1 and 2 of SPEC section 9).

A medium that somebody carried in may hold links, pipes, devices, or a file that changes while it is read.  Only a
regular file with a single link is opened; the caller reads every byte once and verifies what it read, so it does not
matter what the medium says later.  Names on a medium are used to open files there and for nothing else.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedspallm_secure.errors import HostileFile, LimitExceeded, MissingInput, Truncated

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # O_NONBLOCK: a pipe in disguise must not stop us
_EXCHANGED = {errno.ELOOP, errno.ENOENT, errno.ENXIO}  # what opening says of a link, of nothing, of a socket


class OutsideFile:
    """An open file from outside.  size: bytes when it was opened; no more are ever read."""

    def __init__(self, descriptor: int, size: int, name: str) -> None:
        self._descriptor = descriptor
        self.size = size
        self.name = name

    def read_exactly(self, size: int) -> bytes:
        """The next `size` bytes; for small parts.  Raises Truncated."""
        buffer = bytearray(size)
        self.read_into(memoryview(buffer))
        return bytes(buffer)

    def read_into(self, buffer: memoryview) -> None:
        """Fill `buffer` from the file.  Raises Truncated when it ends before, MissingInput when it cannot be read."""
        filled = 0
        while filled < len(buffer):
            try:
                count = os.readv(self._descriptor, [buffer[filled:]])
            except OSError as error:
                raise MissingInput(f"cannot read {self.name}: {error.strerror or error}") from error
            if count == 0:
                raise Truncated(f"{self.name} ends before the package does")
            filled += count

    def seek(self, offset: int) -> None:
        """Go on at `offset`, for a file with several things in it, each of which is read once.  Raises MissingInput."""
        try:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
        except OSError as error:
            raise MissingInput(f"cannot read {self.name}: {error.strerror or error}") from error

    def at_end(self) -> bool:
        """Whether nothing follows what was read so far.  Raises MissingInput."""
        try:
            return not os.read(self._descriptor, 1)
        except OSError as error:
            raise MissingInput(f"cannot read {self.name}: {error.strerror or error}") from error


@contextmanager
def open_outside(path: Path, limit: int) -> Iterator[OutsideFile]:
    """Open `path` by steps 1 and 2.  limit: bytes.  Raises HostileFile, LimitExceeded or MissingInput."""
    with open_folder(path.parent) as folder, open_entry(folder, path.name, str(path), limit) as file:
        yield file


@contextmanager
def open_entry(folder: int, name: str, shown: str, limit: int) -> Iterator[OutsideFile]:
    """Open the entry `name` of an open folder by steps 1 and 2.  shown: how errors name it."""
    shown = printable(shown)
    if name in {"", ".", ".."} or "/" in name:
        raise HostileFile(f"'{shown}' is not the name of a file")
    try:
        before = os.lstat(name, dir_fd=folder)
    except ValueError:  # no file can have this name
        raise HostileFile(f"'{shown}' is not the name of a file") from None
    except OSError as error:
        raise MissingInput(f"cannot read {shown}: {error.strerror or error}") from error
    check_plain(before, shown, limit)  # 1
    try:
        descriptor = os.open(name, _FLAGS, dir_fd=folder)
    except OSError as error:
        if error.errno in _EXCHANGED:  # 2
            raise HostileFile(f"{shown} was exchanged before it was opened") from error
        raise MissingInput(f"cannot read {shown}: {error.strerror or error}") from error
    try:
        after = os.fstat(descriptor)
        if not os.path.samestat(before, after):  # 2
            raise HostileFile(f"{shown} was exchanged while it was opened")
        check_plain(after, shown, limit)
        yield OutsideFile(descriptor, after.st_size, shown)
    finally:
        os.close(descriptor)


def check_plain(status: os.stat_result, shown: str, limit: int) -> None:
    """Step 1: raise HostileFile unless this is a regular file with one link; LimitExceeded if it is too large."""
    if not stat.S_ISREG(status.st_mode):
        raise HostileFile(f"{shown} is a {_kind(status.st_mode)}, not a file")
    if status.st_nlink != 1:
        raise HostileFile(f"{shown} has {status.st_nlink} names; somebody could change it under another one")
    if status.st_size > limit:
        raise LimitExceeded(f"{shown} has {status.st_size} bytes; at most {limit} are allowed")


def _kind(mode: int) -> str:
    for test, word in (
        (stat.S_ISLNK, "symbolic link"),
        (stat.S_ISDIR, "folder"),
        (stat.S_ISFIFO, "pipe"),
        (stat.S_ISSOCK, "socket"),
    ):
        if test(mode):
            return word
    return "device"


@contextmanager
def open_folder(path: Path) -> Iterator[int]:
    """A descriptor of a folder, for `open_entry`.  Raises MissingInput or HostileFile."""
    shown = printable(str(path))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (NotADirectoryError, ValueError):
        raise HostileFile(f"{shown} is not a folder") from None
    except OSError as error:
        raise MissingInput(f"cannot open {shown}: {error.strerror or error}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def entries(path: Path, suffix: str, limit: int) -> list[str]:
    """Names in a folder that end in `suffix`, sorted; the rest is ignored.  LimitExceeded above `limit` entries.

    Raises MissingInput or HostileFile for what cannot be read as a folder.
    """
    names: list[str] = []
    shown = printable(str(path))
    with open_folder(path) as folder:
        try:
            with os.scandir(folder) as found:
                for number, entry in enumerate(found, start=1):
                    if number > limit:
                        raise LimitExceeded(f"{shown} holds more than {limit} entries")
                    if entry.name.endswith(suffix) and not entry.name.startswith("."):
                        names.append(entry.name)
        except OSError as error:
            raise MissingInput(f"cannot read {shown}: {error.strerror or error}") from error
    return sorted(names)


def printable(text: str) -> str:
    """A name from outside as it may be shown: what could steer a terminal, or is no character, becomes an escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
