"""A log in a folder, for everybody to read (SPEC section 22.3): written from the database, and read as from strangers.

Files of entries, hashes and documents never change once they are right.  The checkpoint comes last, so it stands for
entries that are there whenever a run is killed; the next run completes what is missing, and mends what is torn.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from fedspallm_secure.crypto.notes import Checkpoint
from fedspallm_secure.errors import FedSpaError, HostileFile, MissingInput
from fedspallm_secure.protocol.audit.tiles import TILE_WIDTH, Bundle, Tile, encode_bundle
from fedspallm_secure.storage.files import disk_errors, replace_private, sync_folder
from fedspallm_secure.storage.log_reader import CHECKPOINT, COSIGNED, LogReader, document_path, files_of
from fedspallm_secure.storage.log_store import LogStore
from fedspallm_secure.storage.outside import open_entry, open_folder, open_outside, printable

LOG_FOLDER: Final = "log"  # in a server's work folder
_INNER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKED: Final = {errno.ENOTDIR, errno.ELOOP}  # what opening a folder so says of a link
_PIECE: Final = 1 << 20  # bytes that are compared at once


def publish(store: LogStore, folder: Path, note: bytes, cosigned: bytes | None) -> None:
    """Bring the files in `folder` to the checkpoint `note`; those that are right already are left alone.

    Of a file that this store has found right before, only size and times are looked at.  cosigned: the newest
    checkpoint with cosignatures, None if there is none.  Signatures are the caller's to check; one process at a time
    writes a folder.

    Raises ValueError for a checkpoint of entries that the store does not have durably; RecordDamaged, RunLocked,
    DiskFull or StorageError, and then the checkpoint in the folder is the old one or the new one.
    """
    size = _size_of(note, store, store.flushed)
    sizes = [size] if cosigned is None else [size, _size_of(cosigned, store, size)]
    files = files_of(sizes)
    with disk_errors(folder):
        for digest in store.documents():
            _put(store, folder / document_path(digest), partial(store.document, digest))
        for file in files:
            _put(store, folder / file.path, partial(_content, store, file))
        _replace(folder / CHECKPOINT, note)  # first: what witnesses cosigned is never more than what is published
        if cosigned is None:
            _remove(folder / COSIGNED)
        else:
            _replace(folder / COSIGNED, cosigned)
        for file in files:
            if file.width == TILE_WIDTH:
                _remove_partial(folder / f"{file.path}.p")


def _size_of(note: bytes, store: LogStore, limit: int) -> int:
    found = Checkpoint.of_note(note)
    if store.connection.in_transaction or found.size > limit or store.tree.root(found.size) != found.root:
        raise ValueError(f"a checkpoint of {found.size} entries that this log does not have, or not durably")
    return found.size


def _content(store: LogStore, file: Tile | Bundle) -> bytes:
    if isinstance(file, Tile):
        return file.hashes(store.tree)
    return encode_bundle(list(store.entries(file.start, file.start + file.width)))


def _put(store: LogStore, path: Path, make: Callable[[], bytes]) -> None:
    """Have a file hold what `make` returns, which never changes."""
    stamp = _stamp(path)
    if stamp is None or store.known_files.get(path) != stamp:
        _replace(path, make())
        found = _stamp(path)
        if found is not None:
            store.known_files[path] = found


def _replace(path: Path, data: bytes) -> None:
    """Have a file hold `data`, whole and on disk."""
    if not _holds(path, data):
        _make_folder(path.parent)
        replace_private(path, data)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when somebody writes a file; None for what is no plain file."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _holds(path: Path, data: bytes) -> bool:
    view = memoryview(data)
    try:
        with open_outside(path, len(data)) as file:
            return file.size == len(data) and all(
                file.read_exactly(len(view[at : at + _PIECE])) == view[at : at + _PIECE]
                for at in range(0, len(view), _PIECE)
            )
    except FedSpaError:  # nothing, or something else, is there
        return False


def _make_folder(path: Path) -> None:
    """A folder, and those that it lies in, for their owner; their names durable."""
    if path.is_dir():
        return
    _make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_folder(path.parent)


def _remove(path: Path) -> None:
    if os.path.lexists(path):
        path.unlink()
        sync_folder(path.parent)


def _remove_partial(path: Path) -> None:
    """Partial tiles of which the full one is there, and what a killed run left beside them."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)


class FolderLog(LogReader):
    """A log in a folder, perhaps on a medium that somebody carried in: no link is followed, other files are ignored."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str, limit: int) -> bytes:
        """As `LogReader.read`."""
        *folders, last = name.split("/")
        shown = str(self.path / name)
        with ExitStack() as opened:
            folder = opened.enter_context(open_folder(self.path))
            for part in folders:
                folder = opened.enter_context(_open_inner(folder, part, shown))
            file = opened.enter_context(open_entry(folder, last, shown, limit))
            return file.read_exactly(file.size)


@contextmanager
def _open_inner(folder: int, name: str, shown: str) -> Iterator[int]:
    shown = printable(shown)
    try:
        descriptor = os.open(name, _INNER, dir_fd=folder)
    except OSError as error:
        if error.errno in _LINKED:
            raise HostileFile(f"'{name}' on the way to {shown} is not a folder") from None
        raise MissingInput(f"cannot read {shown}: {error.strerror or error}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
