"""One decoder layer's result on disk: keep-masks as bits, and the values of what stays.

The unit of exchange and of resuming: a member's contribution and the server's aggregate have the same form.
A matrix NAME is two tensors: `NAME.keep`, eight weights a byte, and `NAME.kept`, the kept values in row-major
order.  The keep-mask decides: a kept weight may be 0.0.  All matrices stand as (out, in).
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fedspallm_secure.errors import RecordDamaged
from fedspallm_secure.pruning.keepmasks import pack_bits, unpack_bits
from fedspallm_secure.storage.checkpoints.reader import DTYPES
from fedspallm_secure.storage.checkpoints.writer import save_tensors
from fedspallm_secure.storage.files import disk_errors, publish

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by size in bytes


@dataclass(slots=True)
class LayerMatrix:
    """One pruned matrix: weight (out, in), zero where dropped; keep (out, in) bool."""

    weight: Tensor
    keep: Tensor


def save_layer(
    path: Path, matrices: Mapping[str, LayerMatrix] | Iterable[tuple[str, LayerMatrix]], metadata: Mapping[str, str]
) -> None:
    """Write one layer durably under `path`, complete or not at all.  Raises StorageError or DiskFull.

    matrices: taken one by one, each packed before the next; what stands where a weight was dropped is not read.
    metadata: looked at when all were taken.
    """
    tensors: dict[str, Tensor] = {}
    for name, matrix in matrices.items() if isinstance(matrices, Mapping) else matrices:
        keep = matrix.keep.cpu()
        tensors[f"{name}.keep"] = pack_bits(keep)
        tensors[f"{name}.kept"] = _kept(matrix, keep)
        tensors[f"{name}.shape"] = torch.tensor(keep.shape, dtype=torch.int64)
        del matrix, keep  # not held while the next one is made
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        save_tensors(part, tensors, dict(metadata))
        with disk_errors(path):
            with part.open("rb") as file:
                os.fsync(file.fileno())
            publish(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _kept(matrix: LayerMatrix, keep: Tensor) -> Tensor:
    """The kept values in row-major order, on the CPU.  keep: the keep-mask on the CPU."""
    if matrix.weight.device.type == "cpu":
        return torch.from_numpy(_words(matrix.weight)[np.flatnonzero(keep.numpy())]).view(matrix.weight.dtype)
    return matrix.weight[matrix.keep].cpu()  # half the bytes to move, and no search on the CPU


def _words(weight: Tensor) -> NDArray[Any]:
    """The values in row-major order as integers of their size; in memory of their own only if they did not lie so.

    numpy knows no bfloat16, and gathers and scatters in half of torch's time.
    """
    return weight.reshape(-1).view(_INTEGERS[weight.element_size()]).numpy()


def load_layer(path: Path) -> tuple[dict[str, LayerMatrix], dict[str, str]]:
    """Read back what `save_layer` wrote: matrices by name, and the metadata.  Raises RecordDamaged."""
    try:
        with safe_open(path, framework="pt") as file:
            keys = set(file.keys())
            names = sorted(key.removesuffix(".keep") for key in keys if key.endswith(".keep"))
            if not names or keys != {f"{name}.{part}" for name in names for part in ("keep", "kept", "shape")}:
                raise ValueError("it does not hold keep, kept and shape of each matrix and nothing else")
            metadata = dict(file.metadata() or {})
            return {name: _matrix(file, name) for name in names}, metadata
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise RecordDamaged(f"{path} does not read back as it was written: {error}") from error


def load_matrix(path: Path, name: str) -> LayerMatrix:
    """Read back one matrix of what `save_layer` wrote.  Raises RecordDamaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return _matrix(file, name)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise RecordDamaged(f"{path} does not read back as it was written: {error}") from error


def _matrix(file: Any, name: str) -> LayerMatrix:
    """One matrix of a layer file.  Raises ValueError unless its three tensors fit each other."""
    shape, kept = file.get_tensor(f"{name}.shape"), file.get_tensor(f"{name}.kept")
    if shape.dtype != torch.int64 or shape.shape != (2,) or bool((shape < 0).any()):
        raise ValueError(f"{name} has no shape of two extents")
    rows, columns = shape.tolist()
    keep = unpack_bits(file.get_tensor(f"{name}.keep"), (rows, columns))
    if kept.dtype not in DTYPES.values() or kept.shape != (int(keep.sum()),):
        raise ValueError(f"{name} keeps {int(keep.sum())} weights but holds values of shape {tuple(kept.shape)}")
    weight = torch.zeros(rows, columns, dtype=kept.dtype)
    _words(weight)[np.flatnonzero(keep.numpy())] = _words(kept)
    return LayerMatrix(weight, keep)
