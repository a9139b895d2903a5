"""Files that appear complete or not at all, bounded reads, digests, and one writer per folder."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


def publish(finished: Path, path: Path) -> None:
    """Give a finished file or folder its final name, durably."""
    finished.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process.  Raises RunLocked when another one holds it."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunLocked(f"another process is working in {folder}") from None
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
