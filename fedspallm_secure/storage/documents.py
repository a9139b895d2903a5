"""Documents that travel: requests, answers, rosters, lists.  Read as from strangers, never written over others."""

from pathlib import Path

from fedspallm_secure.errors import InputError, OutputExists
from fedspallm_secure.storage.files import create_private, is_folder
from fedspallm_secure.storage.outside import open_outside


def read_document(path: Path, limit: int) -> bytes:
    """A whole file of at most `limit` bytes.  Raises MissingInput, HostileFile or LimitExceeded."""
    with open_outside(path, limit) as file:
        return file.read_exactly(file.size)


def document_path(out: Path | None, name: str) -> Path:
    """Where a document goes: to `out`, or under its usual name into the folder `out`, by default the current one."""
    if out is None:
        return Path(name)
    return out / name if is_folder(out) else out


def write_document(path: Path, data: bytes) -> None:
    """Write a document; the same one again is left as it is.  Raises OutputExists for another, StorageError."""
    try:
        create_private(path, data)
    except OutputExists:
        if not _holds(path, data):
            raise


def _holds(path: Path, data: bytes) -> bool:
    try:
        return read_document(path, len(data)) == data
    except InputError:
        return False
