"""One decoder layer's result on disk: keep-masks as bits, and the values of what stays.

The unit of exchange and of resuming: a member's contribution and the server's aggregate have the same form.
A matrix NAME is two tensors: `NAME.keep`, eight weights a byte, and `NAME.kept`, the kept values in row-major
order.  The keep-mask decides: a kept weight may be 0.0.  All matrices stand as (out, in).
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fedspallm_secure.errors import RecordDamaged
from fedspallm_secure.pruning.keepmasks import count_kept, pack_bits, unpack_bits
from fedspallm_secure.storage.checkpoints.layout import build_head
from fedspallm_secure.storage.checkpoints.pieces import DTYPES
from fedspallm_secure.storage.files import begin_flush, disk_errors, publish

Keep = NDArray[np.bool_]

PARTS: Final = ("keep", "kept", "shape")  # tensors of a matrix
TILE: Final = 1 << 18  # weights at once; a multiple of eight, so that each begins with a byte of the keep-mask
_DRAFT: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by size in bytes
_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(slots=True)
class LayerMatrix:
    """One pruned matrix: weight (out, in), zero where dropped; keep (out, in) bool."""

    weight: Tensor
    keep: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in).  Raises ValueError when weights and keep-mask have not the same."""
        rows, columns = self.keep.shape
        if self.weight.shape != self.keep.shape:
            raise ValueError(f"a keep-mask of {rows} x {columns} does not fit weights of {tuple(self.weight.shape)}")
        return rows, columns

    def bits(self) -> NDArray[np.uint8]:
        """The keep-mask, eight weights a byte."""
        return pack_bits(self.keep).numpy()

    def tiles(self) -> Iterator[tuple[Keep, NDArray[np.float32]]]:
        """Up to TILE weights after the other: which of them are kept, and the values of those."""
        return _tiles(self.keep, self.weight.detach().cpu().float().reshape(-1).numpy())


class PackedMatrix(Protocol):
    """A pruned matrix to be sent or hashed, in memory or on disk."""

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""

    def bits(self) -> NDArray[np.uint8]:
        """The keep-mask, eight weights a byte."""

    def tiles(self) -> Iterator[tuple[Keep, NDArray[np.float32]]]:
        """Some weights after the other: which of them are kept, and the values of those."""


@dataclass(frozen=True, slots=True)
class LayerPart:
    """One matrix of a layer to be written.

    kept: how many weights stay; dtype: of their values; tiles: the keep-mask of some weights after the other, flat, all
    but the last of a multiple of eight, and the values of those that stay, in words of the dtype's size.
    """

    name: str
    shape: tuple[int, int]
    kept: int
    tiles: Callable[[], Iterable[tuple[Keep, NDArray[Any]]]]
    dtype: torch.dtype = torch.float32


def write_layer(path: Path, parts: Sequence[LayerPart], metadata: Mapping[str, str]) -> None:
    """Write one layer durably under `path`, complete or not at all.

    Memory holds a tile, and the keep-masks as bits.  Raises StorageError, DiskFull, or RecordDamaged for a part that
    does not bring the values that it says.
    """
    parts = sorted(parts, key=lambda part: -part.dtype.itemsize)
    tensors = [(f"{part.name}.shape", "I64", (2,)) for part in parts]  # the widest stand first
    tensors += [(f"{part.name}.kept", _NAMES[part.dtype], (part.kept,)) for part in parts]
    tensors += [(f"{part.name}.keep", "U8", (-(-part.shape[0] * part.shape[1] // 8),)) for part in parts]
    draft = path.with_name(f".{path.name}.part")
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(draft, _DRAFT, 0o600), "wb") as file:
                file.write(build_head(tensors, metadata))
                for part in parts:
                    file.write(np.array(part.shape, "<i8").data)
                keeps = []
                for part in parts:
                    left = part.kept
                    for keep, values in part.tiles():
                        keeps.append(np.packbits(keep, bitorder="little"))
                        start = file.tell()
                        file.write(values.data)
                        begin_flush(file, start)  # while the next tile is computed
                        left -= values.size
                    if left:
                        raise RecordDamaged(f"{part.name} does not keep the {part.kept} weights that were counted")
                for bits in keeps:
                    file.write(bits.data)
                file.flush()
                os.fsync(file.fileno())
            publish(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def save_layer(path: Path, matrices: Mapping[str, LayerMatrix], metadata: Mapping[str, str]) -> None:
    """Write one layer that is in memory, as `write_layer` does; what stands where a weight is dropped is not read."""
    write_layer(path, [_part(name, matrix) for name, matrix in matrices.items()], metadata)


def _part(name: str, matrix: LayerMatrix) -> LayerPart:
    def tiles() -> Iterator[tuple[Keep, NDArray[Any]]]:
        if matrix.weight.device.type == "cpu":
            yield from _tiles(matrix.keep, _words(matrix.weight))
        else:  # half the bytes to move, and no search on the CPU
            yield matrix.keep.cpu().reshape(-1).numpy(), _words(matrix.weight[matrix.keep].cpu())

    return LayerPart(name, matrix.shape, count_kept(matrix.keep), tiles, matrix.weight.dtype)


def _tiles(keep: Tensor, values: NDArray[Any]) -> Iterator[tuple[Keep, NDArray[Any]]]:
    """Up to TILE weights after the other: which of them are kept, and those of the values.  values: flat, of all."""
    bits = keep.cpu().reshape(-1).numpy()
    for start in range(0, bits.size, TILE):
        some = bits[start : start + TILE]
        yield some, values[start : start + TILE][np.flatnonzero(some)]


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
            if not names or keys != {f"{name}.{part}" for name in names for part in PARTS}:
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
