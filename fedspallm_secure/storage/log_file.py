"""A log as one file, for carrying (SPEC section 22.3).

"FSLOG1\\n" | for each file, in the order of the names: u16(length of the name) | name | u64(size) | bytes
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fedspallm_secure.errors import FormatError, LimitExceeded, MissingInput, Truncated
from fedspallm_secure.storage.drafts import draft, draft_of
from fedspallm_secure.storage.log_folder import FolderLog
from fedspallm_secure.storage.log_reader import (
    CHECKPOINT,
    COSIGNED,
    DOCUMENTS,
    LogReader,
    check_whole,
    document_path,
    files_of,
    is_digest,
    limit_of,
    size_of,
)
from fedspallm_secure.storage.outside import OutsideFile, entries, open_outside, printable

FILES_LIMIT: Final = 1 << 18  # files of a log that is carried as one
_FILE_LIMIT: Final = 1 << 40  # bytes of all of it
_NAME_LIMIT: Final = 255  # bytes
_MAGIC: Final = b"FSLOG1\n"
_NAME_SIZE: Final = struct.Struct("<H")
_SIZE: Final = struct.Struct("<Q")


class FileLog(LogReader):
    """A log in one file.  Nothing of it is ever written anywhere."""

    def __init__(self, path: Path) -> None:
        """Raises FormatError, LimitExceeded, MissingInput or HostileFile."""
        self.path, self._shown = path, printable(str(path))
        with self._open() as file:
            self._places = _places(file)

    def read(self, name: str, limit: int) -> bytes:
        """As `LogReader.read`; FormatError where the file has changed meanwhile."""
        place = self._places.get(name.encode())
        if place is None:
            raise MissingInput(f"{self._shown} does not hold '{name}'")
        offset, size = place
        if size > limit:
            raise LimitExceeded(f"'{name}' in {self._shown} has {size} bytes; at most {limit} are allowed")
        with self._open() as file:
            file.seek(offset)
            return file.read_exactly(size)

    @contextmanager
    def _open(self) -> Iterator[OutsideFile]:
        try:
            with open_outside(self.path, _FILE_LIMIT) as file:
                yield file
        except Truncated:
            raise FormatError(f"{self._shown} ends before the log does") from None


def _places(file: OutsideFile) -> dict[bytes, tuple[int, int]]:
    """Name of a file -> where its bytes begin, and how many they are."""
    if not _begins(file):
        raise FormatError(f"{file.name} is not a log in one file")
    places: dict[bytes, tuple[int, int]] = {}
    at, before = len(_MAGIC), b""
    while at < file.size:
        (length,) = _NAME_SIZE.unpack(file.read_exactly(_NAME_SIZE.size))
        if length > _NAME_LIMIT or len(places) == FILES_LIMIT:
            raise LimitExceeded(f"{file.name} holds more than {FILES_LIMIT} files, or a name of {length} bytes")
        name = file.read_exactly(length)
        (size,) = _SIZE.unpack(file.read_exactly(_SIZE.size))
        if name <= before:
            raise FormatError(f"{file.name} holds files that are not in the order of their names")
        at += _NAME_SIZE.size + length + _SIZE.size
        places[name] = at, size
        at, before = at + size, name
        if at > file.size:
            raise FormatError(f"{file.name} ends before the log does")
        file.seek(at)
    return places


def is_packed(path: Path) -> bool:
    """Whether the file begins as such a one does.  Raises MissingInput, HostileFile."""
    with open_outside(path, _FILE_LIMIT) as file:
        return _begins(file)


def _begins(file: OutsideFile) -> bool:
    return file.read_exactly(min(len(_MAGIC), file.size)) == _MAGIC


def pack(folder: Path, out: Path) -> None:
    """Put the log that is published in `folder` into the one file `out`, whole or not at all.

    The same log gives the same bytes; the same file again is left as it is.  Checks no signature.

    Raises FormatError or MissingInput where the log is not whole, LimitExceeded or HostileFile as `FolderLog` does;
    OutputExists, DiskFull or StorageError.
    """
    source = FolderLog(folder)
    with draft(out) as made:
        made.write(_MAGIC)
        for name, data in _content(source):
            made.write(_NAME_SIZE.pack(len(name)) + name.encode() + _SIZE.pack(len(data)))
            made.write(data)
        made.finish()
        check_whole(FileLog(draft_of(out)))  # of what was written, whatever happened to the folder meanwhile
        if not made.same_as_published():
            made.publish()


def _content(source: FolderLog) -> Iterator[tuple[str, bytes]]:
    note, cosigned = source.note(), source.cosigned()
    notes = {CHECKPOINT: note} if cosigned is None else {CHECKPOINT: note, COSIGNED: cosigned}
    files = {file.path: file for file in files_of([size_of(note) for note in notes.values()])}
    documents = {document_path(digest): digest for digest in _documents(source)}
    for name in sorted([*notes, *files, *documents]):
        if name in notes:
            yield name, notes[name]
        elif name in documents:
            yield name, source.document(documents[name])
        else:
            yield name, source.read(name, limit_of(files[name]))


def _documents(source: FolderLog) -> list[str]:
    try:
        return list(filter(is_digest, entries(source.path / DOCUMENTS, "", FILES_LIMIT)))
    except MissingInput:  # none were published; one that an entry names is missed by whoever reads it
        return []
