"""Whatever somebody names as a log: its folder, one file, the work folder around it, or a party's home."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fedspallm_secure.app.audit.homes import HomeLog, open_home_log
from fedspallm_secure.crypto.certificate_fields import CERTIFICATE_LIMIT
from fedspallm_secure.crypto.notes import Checkpoint
from fedspallm_secure.errors import BadSignature, ForeignFile, FormatError, MissingInput
from fedspallm_secure.protocol.audit.entries import Entry, EntryType
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement
from fedspallm_secure.protocol.audit.reports import LogSource
from fedspallm_secure.protocol.limits import NOTE_KEY_LIMIT
from fedspallm_secure.storage.documents import read_document
from fedspallm_secure.storage.files import is_file, is_folder
from fedspallm_secure.storage.home_folder import is_home
from fedspallm_secure.storage.log_file import FileLog
from fedspallm_secure.storage.log_folder import LOG_FOLDER, FolderLog
from fedspallm_secure.storage.log_reader import CHECKPOINT
from fedspallm_secure.storage.pem import CERTIFICATE, decode_pem, pem_label

_PEM_LIMIT: Final = 2 * CERTIFICATE_LIMIT  # bytes


@dataclass(frozen=True, slots=True)
class OpenLog:
    """A log that can be read.  path: as it was named; home: where it lies in a home, what that knows beyond it."""

    path: Path
    source: LogSource
    home: HomeLog | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        """What the newest checkpoint says; nothing was verified.  Raises MissingInput, FormatError."""
        return Checkpoint.of_note(self.source.note())

    @property
    def pinned_root(self) -> bytes | None:
        """The root that the home has pinned, DER."""
        return None if self.home is None else self.home.root

    def genesis(self) -> Entry:
        """Its first entry, unverified.  Raises FormatError where it is none."""
        entry = Entry.parse(next(iter(self.source.entries(self.checkpoint.size)), b""))
        if entry.type is not EntryType.GENESIS:
            raise ForeignFile(f"{self.path} does not begin as a log does")
        return entry

    def root_certificate(self) -> bytes:
        """The root that the log itself brings, DER: a claim until its fingerprint was compared."""
        return self.source.document(self.genesis().data["root"], CERTIFICATE_LIMIT)

    def note_key(self) -> NoteKeyStatement:
        """Who holds the log's key, as a home has pinned it, or as the log claims."""
        if self.home is not None:
            return self.home.statement
        return NoteKeyStatement.parse(self.source.document(self.genesis().data["note_key"], NOTE_KEY_LIMIT))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Say of which file somebody named it is true that its bytes are not what they should be."""
    try:
        yield
    except (FormatError, BadSignature) as error:
        raise type(error)(f"{path}: {error}", hint=error.hint) from None


@contextmanager
def open_log_at(path: Path) -> Iterator[OpenLog]:
    """Open what was named.  Raises MissingInput, FormatError, HostileFile, LimitExceeded, or as `open_home_log`."""
    if is_home(path):
        with open_home_log(path) as home:
            yield OpenLog(path, home, home)
    elif is_folder(path):
        yield OpenLog(path, FolderLog(log_folder(path)))
    elif is_file(path):
        yield OpenLog(path, FileLog(path))
    else:
        raise MissingInput(f"there is no {path}")


def log_folder(path: Path) -> Path:
    """The folder of the log: this one, or the one in it.  Raises MissingInput."""
    for folder in (path, path / LOG_FOLDER):
        if is_file(folder / CHECKPOINT):
            return folder
    raise MissingInput(
        f"there is no log in {path}", hint=f"a log is a folder with a file {CHECKPOINT}, or one file made by audit pack"
    )


def read_root(path: Path) -> bytes:
    """A root certificate in DER from a file in PEM or DER.  Raises MissingInput, HostileFile, FormatError."""
    data = read_document(path, _PEM_LIMIT)
    return data if pem_label(data) is None else decode_pem(data, CERTIFICATE, str(path))
