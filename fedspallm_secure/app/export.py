"""Handing a pruned model on: as an ordinary model folder, or as one compact file and back.

Every output is read back and compared before it gets its name; nothing that exists is overwritten.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedspallm_secure.app.progress import Progress, Silent
from fedspallm_secure.app.zeros import TWO_FOUR, Zeros, count_zeros
from fedspallm_secure.errors import OutputExists, RecordDamaged
from fedspallm_secure.storage.checkpoints.compact import pack, unpack, verify
from fedspallm_secure.storage.checkpoints.reader import INDEX, Checkpoint
from fedspallm_secure.storage.checkpoints.writer import COMPANIONS, write_model
from fedspallm_secure.storage.files import disk_errors, publish, sha256_file


class Form(Enum):
    """What an export or import produced."""

    FOLDER = "hf"
    COMPACT = "compact"
    RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was written.  source_bytes, output_bytes: sizes on disk of the files read and written."""

    form: Form
    out: Path
    source_bytes: int
    output_bytes: int
    zeros: Zeros

    @property
    def ratio(self) -> float:
        """Output over source: below 1 when the output is smaller."""
        return self.output_bytes / self.source_bytes

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {
            "form": self.form.value,
            "out": str(self.out),
            "source_bytes": self.source_bytes,
            "output_bytes": self.output_bytes,
            "ratio": self.ratio,
            "zeros": self.zeros.to_dict(),
            "words": list(speed_and_size(self)),
        }


def export_hf(model: Path, out: Path, progress: Progress | None = None) -> Outcome:
    """Write a dense model folder that from_pretrained loads: zeros in place, tensor names and dtypes unchanged.

    Every tensor of the copy is compared with its original, bit by bit, before the folder gets its name.

    Raises OutputExists, StorageError or DiskFull for `out`, RecordDamaged when the copy differs, and for `model` what
    `Checkpoint.open` and `Checkpoint.read` raise.
    """
    progress = progress or Silent()
    source = Checkpoint.open(model)
    with _staging(out) as staged:
        zeros = count_zeros(source, progress)
        write_model(source, lambda name: source.stored(name).pieces(), staged)
        copy = Checkpoint.open(staged)
        _compare(source, copy, progress)
        sizes = folder_bytes(source), folder_bytes(copy)
    return Outcome(Form.FOLDER, out, *sizes, zeros)


def export_compact(model: Path, out: Path, progress: Progress | None = None) -> Outcome:
    """Write a model folder as one compact file, and read it back before it gets its name.

    Raises OutputExists, StorageError or DiskFull for `out`, RecordDamaged when it does not read back, and for `model`
    what `Checkpoint.open` raises, or LimitExceeded.
    """
    progress = progress or Silent()
    source = Checkpoint.open(model)
    with _staging(out) as staged:
        zeros = count_zeros(source, progress)
        pack(source, staged, lambda done, total: progress.update("write compact file", done, total, "bytes"))
        verify(staged, lambda done, total: progress.update("read it back", done, total, "bytes"))
        size = staged.stat().st_size
    return Outcome(Form.COMPACT, out, folder_bytes(source), size, zeros)


def import_compact(file: Path, out: Path, progress: Progress | None = None) -> Outcome:
    """Restore the model folder in a compact file, byte for byte.

    Raises MissingInput, ForeignFile or LimitExceeded for `file`; OutputExists, StorageError or DiskFull for `out`.
    """
    progress = progress or Silent()
    unpack(file, out, lambda done, total: progress.update("restore model", done, total, "bytes"))
    restored = Checkpoint.open(out)
    size = file.stat().st_size
    return Outcome(Form.RESTORED, out, size, folder_bytes(restored), count_zeros(restored, progress))


def folder_bytes(checkpoint: Checkpoint) -> int:
    """Bytes of the files of a model folder that an export carries: configuration, tokenizer, index and weights."""
    names = {*COMPANIONS, INDEX, *(info.shard for info in checkpoint.tensors.values())}
    files = (checkpoint.path / name for name in names)
    return sum(file.stat().st_size for file in files if file.is_file())


def speed_and_size(outcome: Outcome) -> tuple[str, ...]:
    """What the zeros do for size and speed, and what they do not: sentences for a person."""
    return (_about_zeros(outcome.zeros), _about_size(outcome), *_about_speed(outcome.zeros))


def _about_zeros(zeros: Zeros) -> str:
    if zeros.matrices:
        where = f"{zeros.matrix_share:.1%} of the prunable weights and {zeros.share:.1%} of all weights"
    else:
        where = f"{zeros.share:.1%} of all weights"
    return f"Exactly zero: {where}."


def _about_size(outcome: Outcome) -> str:
    read, written = outcome.source_bytes / 1e6, outcome.output_bytes / 1e6
    if outcome.form is Form.COMPACT:
        return (
            f"The compact file takes {written:,.1f} MB, {outcome.ratio:.1%} of the model's {read:,.1f} MB. It is "
            "smaller on disk and in transit only: it must be restored to full size before anything can load it."
        )
    return (
        f"The model folder takes {written:,.1f} MB, as much as a dense model of this shape: zeros take the same room "
        "as other weights, on disk and in memory."
    )


def _about_speed(zeros: Zeros) -> tuple[str, ...]:
    if not zeros.zeros:
        return ("The model is not sparse: nothing changes in speed or memory.",)
    dense = (
        "A dense engine multiplies the zeros like any other weight: the pruned model runs neither faster nor in "
        "less memory there."
    )
    if TWO_FOUR in zeros.patterns:
        return (
            dense,
            "All prunable matrices are 2:4 sparse: on GPUs with sparse tensor cores (NVIDIA, compute capability 8.0 or "
            "higher) torch's semi-structured kernels can make them smaller and faster. Whether they do depends on the "
            "GPU, the dtype and the batch: measure it before relying on it.",
        )
    if zeros.patterns:
        found = ", ".join(str(pattern) for pattern in zeros.patterns)
        return dense, f"All prunable matrices are {found} sparse, which sparse tensor cores do not use: they need 2:4."
    if zeros.unknown:
        return dense, f"Whether the zeros follow 2:4 was not determined: {zeros.unknown}."
    return dense, "The zeros follow no 2:4 pattern, so sparse tensor cores cannot use them either."


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """Yield a path of the same name in a private folder beside `out`; what the body leaves there becomes `out`."""
    _refuse_existing(out)
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield folder / out.name
        _refuse_existing(out)  # again: checking and comparing took a while
        with disk_errors(out):
            publish(folder / out.name, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_existing(out: Path) -> None:
    if os.path.lexists(out):
        raise OutputExists(f"{out} already exists")


def _compare(source: Checkpoint, copy: Checkpoint, progress: Progress) -> None:
    """Raise RecordDamaged unless `copy` holds the same tensors and companions, bit for bit."""
    differ = {
        name
        for name in {*source.tensors, *copy.tensors}
        if name not in source.tensors
        or name not in copy.tensors
        or source.tensors[name].dtype != copy.tensors[name].dtype
    }
    for number, name in enumerate(sorted({*source.tensors} - differ), start=1):
        if not _same_bits(source.read(name), copy.read(name)):
            differ.add(name)
        progress.update("compare tensors", number, len(source.tensors), "tensors")
    for name in COMPANIONS:
        files = [folder / name for folder in (source.path, copy.path) if (folder / name).is_file()]
        if len({sha256_file(file) for file in files}) > 1 or len(files) == 1:
            differ.add(name)
    if differ:
        raise RecordDamaged(f"the copy of {source.path} differs in {', '.join(sorted(differ)[:4])}")


def _same_bits(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))
