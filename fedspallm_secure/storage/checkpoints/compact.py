"""The compact container: a whole model folder in one `.fspc` file, restored byte for byte.

Smaller on disk and in transit only: whatever computes with the model needs it restored first.  Memory holds a few
chunks of 16 MiB, whatever the size of the model.  The digests find damage, not forgery: nothing here is signed.
docs/COMPACT.md describes the format; the numbers in the comments are those of its section "Reading".
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from fedspallm_secure.errors import (
    DiskFull,
    ForeignFile,
    InputError,
    LimitExceeded,
    MissingInput,
    ModelError,
    OutputExists,
    RecordDamaged,
)
from fedspallm_secure.storage.checkpoints.chunks import RECORD_BYTES, Chunk, cuts, damaged, store
from fedspallm_secure.storage.checkpoints.contents import SMALL, Contents, StoredFile
from fedspallm_secure.storage.checkpoints.layout import LENGTH, head_size, tensor_spans
from fedspallm_secure.storage.checkpoints.reader import INDEX, Checkpoint
from fedspallm_secure.storage.files import atomic_folder, atomic_write, read_json

_UNKNOWN_DIGEST = "0" * 64  # as long as the real one, so the header can be rewritten in place

Advance = Callable[[int, int], None]  # restored bytes so far, restored bytes in all


def pack(checkpoint: Checkpoint, out: Path, advance: Advance) -> None:
    """Write the model folder of `checkpoint` as one container, complete or not at all.

    Raises OutputExists, StorageError or DiskFull; MissingInput, ForeignFile or LimitExceeded for a folder that the
    format cannot hold.
    """
    _refuse_existing(out)
    draft = Contents(tuple(_survey(checkpoint.path / name) for name in _names(checkpoint)))
    count = _counter(advance, draft.size)
    with atomic_write(out) as file:
        file.write(draft.encode())
        stored = tuple([_store(checkpoint.path / plan.name, plan, file, count) for plan in draft.files])
        file.seek(0)
        file.write(Contents(stored).encode())


def unpack(path: Path, out: Path, advance: Advance) -> None:
    """Restore the model folder in the container at `path` as `out`, complete or not at all.

    Raises MissingInput, ForeignFile or LimitExceeded for the container, OutputExists, StorageError or DiskFull for
    `out`.
    """
    _refuse_existing(out)
    with _Source.open(path) as source, _about(path):
        contents = _contents(source)
        _require_room(out, contents.size)
        count = _counter(advance, contents.size)
        with atomic_folder(out) as folder:
            for stored in contents.files:
                with (folder / stored.name).open("xb") as file:
                    for piece in _restored(source, stored):
                        file.write(piece)
                        count(len(piece))
                    file.flush()
                    os.fsync(file.fileno())
            source.finish()  # 10
            _require_model(folder, contents)  # 11


def verify(path: Path, advance: Advance) -> None:
    """Read back a container that was just written, restoring it into nothing.  Raises RecordDamaged when that fails."""
    try:
        with _Source.open(path) as source:
            contents = _contents(source)
            count = _counter(advance, contents.size)
            for stored in contents.files:
                for piece in _restored(source, stored):
                    count(len(piece))
            source.finish()
    except InputError as error:
        raise RecordDamaged(f"{path} does not read back as it was written: {error}") from error


class _Source:
    """A file read front to back, in exactly the portions asked for."""

    def __init__(self, path: Path, handle: BinaryIO) -> None:
        self.path = path
        self.handle = handle

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator["_Source"]:
        try:
            handle = path.open("rb")
        except OSError as error:
            raise MissingInput(f"cannot read {path}: {error.strerror or error}") from error
        with handle:
            yield cls(path, handle)

    @property
    def size(self) -> int:
        return os.fstat(self.handle.fileno()).st_size

    def take(self, count: int) -> bytes:
        try:
            data = self.handle.read(count)
        except OSError as error:
            raise MissingInput(f"cannot read {self.path}: {error.strerror or error}") from error
        if len(data) != count:
            raise damaged(f"the file ends {count - len(data)} bytes early")
        return data

    def finish(self) -> None:
        if self.handle.read(1):
            raise damaged("the file goes on after its end")


def _walk(file: StoredFile, take: Callable[[int, int], bytes]) -> Iterator[tuple[int, bytes]]:
    """Go through a file chunk by chunk: its element width, and its bytes as take(bytes, width) brings them.

    Writing and reading walk the same way, so a container needs no table of where its chunks lie.
    """
    if not file.is_shard:
        for count in cuts(file.size):
            yield 1, take(count, 1)
        return
    head = take(file.head, 1)  # the limits make it one chunk
    yield 1, head
    for span in tensor_spans(head, file.size):  # 8
        for count in cuts(span.nbytes):
            yield span.width, take(count, span.width)


def _store(path: Path, plan: StoredFile, file: BinaryIO, count: Callable[[int], None]) -> StoredFile:
    digest = hashlib.sha256()
    with _Source.open(path) as source, _about(path):
        for width, data in _walk(plan, lambda size, _: source.take(size)):
            digest.update(data)
            file.write(store(data, width))
            count(len(data))
        source.finish()
    return replace(plan, sha256=digest.hexdigest())


def _restored(source: _Source, file: StoredFile) -> Iterator[bytes]:
    """The bytes of a file, piece by piece; raises after the last one unless they were the right ones."""
    digest = hashlib.sha256()

    def take(size: int, width: int) -> bytes:
        chunk = Chunk.parse(source.take(RECORD_BYTES), size // width, width)  # 6
        return chunk.restore(source.take(chunk.payload_bytes))  # 7

    for _, data in _walk(file, take):
        digest.update(data)
        yield data
    if digest.hexdigest() != file.sha256:  # 9
        raise damaged(f"{file.name} does not match its SHA-256")


def _contents(source: _Source) -> Contents:
    contents = Contents.decode(source.take)
    if contents.least_bytes > source.size:  # before anything is made for a file that claims far more than it holds
        raise damaged("the file is too short for what it says it holds")
    return contents


def _names(checkpoint: Checkpoint) -> list[str]:
    """The files to store, in the order of the format."""
    shards = {info.shard for info in checkpoint.tensors.values()}
    small = {name for name in SMALL if (checkpoint.path / name).is_file()}
    if INDEX in small:
        named = {str(name) for name in read_json(checkpoint.path / INDEX)["weight_map"].values()}
        if named != shards:
            raise ForeignFile(f"{checkpoint.path / INDEX} names files without tensors: {sorted(named - shards)}")
    return sorted(small) + sorted(shards)


def _survey(path: Path) -> StoredFile:
    with _Source.open(path) as source, _about(path):
        head = 0 if path.name in SMALL else head_size(source.take(LENGTH.size))
        return StoredFile(path.name, source.size, head, _UNKNOWN_DIGEST)


def _require_room(out: Path, size: int) -> None:
    """Refuse before the first byte what cannot end well: a few zeros in a container can stand for terabytes."""
    place = next(folder for folder in out.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(place).free
    if size > free:
        raise DiskFull(f"the model takes {size} bytes, and {place} has room for {free}")


def _require_model(folder: Path, contents: Contents) -> None:
    """The restored folder opens as a model, all its shards in use.  Raises ForeignFile."""
    try:
        used = {info.shard for info in Checkpoint.open(folder).tensors.values()}
    except (InputError, ModelError) as error:
        reason = str(error).replace(f"{folder}{os.sep}", "").replace(str(folder), "the folder")
        raise damaged(f"what it holds is not a usable model: {reason}") from error
    if used != {file.name for file in contents.files if file.is_shard}:
        raise damaged("it holds shards that the model does not use")


def _refuse_existing(out: Path) -> None:
    if os.path.lexists(out):
        raise OutputExists(f"{out} already exists")


def _counter(advance: Advance, total: int) -> Callable[[int], None]:
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        advance(done, total)

    return count


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Say which file an error is about."""
    try:
        yield
    except (ForeignFile, LimitExceeded) as error:
        raise type(error)(f"{path}: {error}", hint=error.hint) from error
