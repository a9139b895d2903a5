"""Files that appear complete or not at all, bounded reads, digests, and one writer per folder."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from fedspallm_secure.errors import (
    DiskFull,
    ForeignFile,
    LimitExceeded,
    MissingInput,
    OutputExists,
    RunLocked,
    StorageError,
)

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}  # what file systems without links answer
_BESIDE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIES = 10  # to get hold of a file that others make and remove
_ANOTHER_OUT = "wait for the other run to finish, or choose another --out"
_DIGEST_TILE = 1 << 20  # bytes
JSON_LIMIT = 64 << 20  # bytes; tokenizer.json of large vocabularies reaches 30 MiB


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Translate what the operating system says about writing `path` into StorageError or DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise DiskFull(f"no space left while writing {path}") from error
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def is_file(path: Path) -> bool:
    """Whether `path` is a file; False also for an impossible name.  Raises MissingInput where one may not look."""
    return _look(path, Path.is_file)


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder; False also for an impossible name.  Raises MissingInput where one may not look."""
    return _look(path, Path.is_dir)


def _look(path: Path, question: Callable[[Path], bool]) -> bool:
    try:
        return question(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise MissingInput(f"cannot look at {path}: {error.strerror or error}") from error


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that appears under `path` complete and on disk, or not at all.  Raises StorageError."""
    with disk_errors(path):
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            publish(Path(name), path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def begin_flush(file: BinaryIO, start: int) -> None:
    """Have what a file holds from byte `start` on written to disk, and do not wait; the flush at the end waits less."""
    if hasattr(os, "posix_fadvise"):  # Linux writes what is said not to be needed, and keeps it until that is done
        with suppress(OSError):  # whatever goes wrong, the flush will tell
            os.posix_fadvise(file.fileno(), start, 0, os.POSIX_FADV_DONTNEED)


def publish(finished: Path, path: Path) -> None:
    """Give a finished file or folder its final name, durably."""
    finished.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_private(path: Path, data: bytes) -> None:
    """A new file for its owner alone, whole and on disk, or nothing.  What a killed run left beside it is swept.

    Raises OutputExists, which leaves alone what is there; RunLocked, DiskFull or StorageError.
    """
    with disk_errors(path), _finished_beside(path, data) as beside:
        if os.path.lexists(path):
            raise OutputExists(f"{path} already exists")
        _give_new_name(beside, path)
        try:
            sync_folder(path.parent)
        except OSError:
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108  (the name may not last, so the caller must not count on it)
            raise


def replace_private(path: Path, data: bytes) -> None:
    """Put `data` in place of a file, for its owner alone; whole and on disk.  Callers hold a lock of their own.

    Raises RunLocked, DiskFull or StorageError; then the file is the old one or the new one, and never less.
    """
    with disk_errors(path), _finished_beside(path, data) as beside:
        publish(beside, path)


def _give_new_name(beside: Path, path: Path) -> None:
    try:
        os.link(beside, path)
    except FileExistsError:
        raise OutputExists(f"{path} already exists") from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        beside.rename(path)  # nothing was there a moment ago, and our own runs wait for the file beside it


@contextmanager
def _finished_beside(path: Path, data: bytes) -> Iterator[Path]:
    """Yield a file that holds `data`, on disk, in the folder of `path`; unless it was renamed it is gone afterwards."""
    beside = path.with_name(f".{path.name}.fedprune-new")
    descriptor = _open_beside(beside, path)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
        yield beside
    finally:
        with suppress(OSError):  # whoever writes here next sweeps it
            if leads_to(beside, descriptor):
                beside.unlink()
        os.close(descriptor)


def _open_beside(beside: Path, path: Path) -> int:
    """Make an empty file that this process holds.  What a killed run left under its name is removed first.

    Removed and not emptied: a run killed after linking has left a second name of the file that counts.
    """
    for _ in range(_TRIES):
        descriptor = os.open(beside, _BESIDE, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if leads_to(beside, descriptor):  # or else its owner has finished since we opened it
                found = os.fstat(descriptor)
                if found.st_size == 0 and found.st_nlink == 1 and is_private(found, 0o700):
                    os.fchmod(descriptor, 0o600)
                    return descriptor
                beside.unlink()
        except BlockingIOError:
            os.close(descriptor)
            raise RunLocked(f"another process is writing {path}") from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise StorageError(f"{path.parent} does not keep files private", hint="choose a folder on a disk with file modes")


def is_private(status: os.stat_result, mode: int = 0o600) -> bool:
    """Whether a file is this user's and has no permission outside of `mode`."""
    return status.st_uid == os.geteuid() and not status.st_mode & 0o7777 & ~mode


def leads_to(name: Path, descriptor: int) -> bool:
    """Whether the name is that of the open file; links are not followed."""
    try:
        return os.path.samestat(name.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a folder that appears under `path` complete, or not at all; for its owner only, as every output.

    Raises OutputExists when something is already there; leaves nothing behind when the body fails.
    """
    with disk_errors(path):
        if path.exists():
            raise OutputExists(f"{path} already exists")
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield work
            publish(work, path)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_write(path) as file:
        file.write(json.dumps(value, indent=2, sort_keys=True, allow_nan=False).encode() + b"\n")


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a whole file of at most `limit` bytes.  Raises MissingInput or LimitExceeded."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise MissingInput(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > limit:
        raise LimitExceeded(f"{path} is larger than {limit} bytes")
    return data


def read_json(path: Path, limit: int = JSON_LIMIT) -> Any:
    """Read a JSON file of at most `limit` bytes.  Raises MissingInput, LimitExceeded or ForeignFile."""
    try:
        return json.loads(read_bounded(path, limit))
    except (ValueError, RecursionError) as error:
        raise ForeignFile(f"{path} is not valid JSON: {error}") from error


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, in lower-case hex, read tile by tile into one buffer."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_DIGEST_TILE))
    try:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
    except OSError as error:
        raise MissingInput(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()


@contextmanager
def sole_writer(folder: Path, name: str = ".lock", hint: str = _ANOTHER_OUT) -> Iterator[None]:
    """Hold `folder` for this process, with a lock of that name.  Raises RunLocked, with `hint`, where another does."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunLocked(f"another process is working in {folder}", hint=hint) from None
    except OSError as error:
        raise StorageError(f"cannot lock {folder}: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def remove_tree(folder: Path) -> None:
    """Delete a folder this toolkit made, if it is there."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"cannot remove {folder}: {error.strerror or error}") from error
