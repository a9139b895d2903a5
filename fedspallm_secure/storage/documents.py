"""Documents that travel: requests, answers, rosters, lists.  Read as from strangers, never written over others."""

import os
import stat
from pathlib import Path

from fedspallm_secure.errors import HostileFile, LimitExceeded, MissingInput
from fedspallm_secure.storage.drafts import draft
from fedspallm_secure.storage.files import is_folder
from fedspallm_secure.storage.outside import open_outside


def read_document(path: Path, limit: int) -> bytes:
    """A whole file of at most `limit` bytes.  Raises MissingInput, HostileFile or LimitExceeded."""
    with open_outside(path, limit) as file:
        return file.read_exactly(file.size)


def read_own(path: Path, limit: int) -> bytes:
    """A whole file of a folder of ours; what is no plain file there is not waited for, as one would for a pipe.

    limit: bytes.  Raises MissingInput, HostileFile or LimitExceeded.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise HostileFile(f"{path} is not a plain file")
            data = file.read(limit + 1)
    except IsADirectoryError:
        raise HostileFile(f"{path} is not a plain file") from None
    except OSError as error:
        raise MissingInput(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > limit:
        raise LimitExceeded(f"{path} is larger than {limit} bytes")
    return data


def document_path(out: Path | None, name: str) -> Path:
    """Where a document goes: to `out`, or under its usual name into the folder `out`, by default the current one."""
    if out is None:
        return Path(name)
    return out / name if is_folder(out) else out


def write_document(path: Path, data: bytes) -> None:
    """Write a document; the same one again is left as it is.  Raises OutputExists for another, StorageError.

    As a draft, whose name is changed: a run that is killed leaves no second name, for which readers would refuse it.
    """
    with draft(path) as made:
        made.write(data)
        made.finish()
        if not made.same_as_published():
            made.publish()
