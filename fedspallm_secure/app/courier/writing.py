"""Media as they are written: every file whole or not at all, nothing overwritten, the index last.

A medium that was pulled out in the middle holds packages without an index, and drafts; the same export again goes on
after the packages that are whole there.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from fedspallm_secure.app.courier.media import LENGTH_SIZE, MAGIC
from fedspallm_secure.errors import DiskFull, MediumLost, MissingInput, OutputExists, RecordDamaged, StorageError
from fedspallm_secure.protocol.bundles import Bundle, BundleFile
from fedspallm_secure.storage.drafts import Draft, draft
from fedspallm_secure.storage.files import disk_errors, is_folder

_PIECE = 1 << 20  # bytes that are copied at once
_LOST = {errno.EIO, errno.ENXIO, errno.ENODEV, errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.EROFS}
_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # O_NONBLOCK: a pipe must not stop us
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A package that goes onto a medium, and where it lies in the outbox."""

    file: BundleFile
    path: Path


class Target(Protocol):
    """Where bundles go."""

    def check_room(self, load: Sequence[Loaded]) -> None:
        """Raise DiskFull now, and not in the middle."""

    def put(self, make: Callable[[], Bundle], load: Sequence[Loaded], advance: Advance) -> Bundle:
        """Write a bundle.  make: gives its index; advance: called with the number of bytes just written.

        Raises DiskFull, MediumLost, OutputExists, RunLocked, StorageError.
        """


def check_target(folder: Path | None, single: Path | None) -> None:
    """Raise what would stop `open_target` at once: MissingInput, OutputExists."""
    parent = folder if single is None else single.parent
    if parent is None or not is_folder(parent):
        raise MissingInput(f"{parent} is not a folder", hint="is the medium mounted?  name a folder that is there")
    if single is not None and os.path.lexists(single):
        raise OutputExists(f"{single} already exists")


@contextmanager
def open_target(folder: Path | None, single: Path | None) -> Iterator[Target]:
    """A folder that is there, or a new file.  Raises MissingInput, OutputExists, and what `Target.put` raises."""
    check_target(folder, single)
    if single is None:
        yield _Folder(cast(Path, folder))
        return
    with _on_medium(single), draft(single) as made:
        target = _Single(made)
        yield target
        target.finish()


class _Folder:
    """Indexes and packages beside each other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check_room(self, load: Sequence[Loaded]) -> None:
        """`Target.check_room`, for what is not there yet."""
        parts = dict(part for loaded in load for part in loaded.file.parts)
        needed = sum(size for name, size in parts.items() if not os.path.lexists(self._folder / name))
        with _on_medium(self._folder), disk_errors(self._folder):
            found = os.statvfs(self._folder)
        _check_room(self._folder, needed, found)

    def put(self, make: Callable[[], Bundle], load: Sequence[Loaded], advance: Advance) -> Bundle:
        """`Target.put`."""
        with _on_medium(self._folder):
            for loaded in load:
                with _source(loaded) as source:
                    start = 0
                    for name, size in loaded.file.parts:
                        self._part(self._folder / name, _Piece(source, loaded.path, start, size), advance)
                        start += size
            bundle = make()
            path = self._folder / bundle.name
            with draft(path) as made:
                made.write(bundle.encode())
                made.finish()
                if not made.same_as_published():
                    made.publish()
        return bundle

    def _part(self, path: Path, piece: "_Piece", advance: Advance) -> None:
        if os.path.lexists(path):
            if not piece.is_content_of(path):
                raise OutputExists(f"{path} is there, and is not the package", hint="remove it, or take another medium")
            advance(piece.size)
            return
        with draft(path) as made:
            made.check_room(piece.size)
            piece.copy(made, advance)
            made.finish()
            made.publish()


class _Single:
    """One file: for each bundle the length of its index, the index, and its packages."""

    def __init__(self, made: Draft) -> None:
        self._made = made
        self._begun = False

    def check_room(self, load: Sequence[Loaded]) -> None:
        """`Target.check_room`."""
        found = os.fstatvfs(self._made.descriptor)
        _check_room(self._made.path, sum(loaded.file.size for loaded in load), found)

    def put(self, make: Callable[[], Bundle], load: Sequence[Loaded], advance: Advance) -> Bundle:
        """`Target.put`."""
        if not self._begun:
            self._made.write(MAGIC)
            self._begun = True
        bundle = make()
        index = bundle.encode()
        self._made.write(len(index).to_bytes(LENGTH_SIZE, "little") + index)
        for loaded in load:
            with _source(loaded) as source:
                _Piece(source, loaded.path, 0, loaded.file.size).copy(self._made, advance)
        return bundle

    def finish(self) -> None:
        """Give the file its name, if there is something in it."""
        if self._begun:
            self._made.finish()
            self._made.publish()


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of a package in the outbox.  source: descriptor; start, size: bytes."""

    source: int
    path: Path
    start: int
    size: int

    def copy(self, made: Draft, advance: Advance) -> None:
        """Append it to a draft."""
        for data in self._data():
            made.write(data)
            advance(len(data))

    def is_content_of(self, path: Path) -> bool:
        """Whether `path` is a file with exactly this content."""
        try:
            theirs = os.open(path, _PLAIN)
        except OSError:
            return False
        try:
            status = os.fstat(theirs)
            if not stat.S_ISREG(status.st_mode) or status.st_size != self.size:
                return False
            with disk_errors(path):
                return all(os.read(theirs, len(data)) == data for data in self._data())
        finally:
            os.close(theirs)

    def _data(self) -> Iterator[bytes]:
        for offset in range(self.start, self.start + self.size, _PIECE):
            count = min(_PIECE, self.start + self.size - offset)
            try:
                data = os.pread(self.source, count, offset)
            except OSError as error:
                raise RecordDamaged(f"cannot read {self.path}: {error.strerror or error}") from error
            if len(data) != count:
                raise RecordDamaged(f"{self.path} ends before the package does")
            yield data


@contextmanager
def _source(loaded: Loaded) -> Iterator[int]:
    try:
        descriptor = os.open(loaded.path, _PLAIN)
    except OSError as error:
        raise RecordDamaged(f"cannot read {loaded.path}: {error.strerror or error}") from error
    try:
        if os.fstat(descriptor).st_size != loaded.file.size:
            raise RecordDamaged(f"{loaded.path} has not the size that was written down")
        yield descriptor
    finally:
        with suppress(OSError):
            os.close(descriptor)


def _check_room(path: Path, needed: int, found: os.statvfs_result) -> None:
    free = found.f_bavail * found.f_frsize
    if free < needed:
        raise DiskFull(
            f"{path} needs {needed} bytes, and has {free} free",
            hint="take a larger medium, or carry less with --for; what is on this one stays good",
        )


@contextmanager
def _on_medium(path: Path) -> Iterator[None]:
    """Say of a failure to write what it means for whoever holds the medium."""
    try:
        yield
    except StorageError as error:
        number = error.__cause__.errno if isinstance(error.__cause__, OSError) else None
        if type(error) is StorageError and number in _LOST:
            raise MediumLost(f"the medium at {path} is gone, or cannot be written: {error}") from error
        if number == errno.EFBIG:
            raise DiskFull(
                f"the file system at {path} takes no file of this size",
                hint="export to a folder with --to, which cuts packages into parts, or use exFAT or ext4",
            ) from error
        raise
