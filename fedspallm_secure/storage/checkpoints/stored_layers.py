"""A layer file (`layers`) of which nothing is in memory: its matrices are read piece by piece."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fedspallm_secure.errors import ForeignFile, LimitExceeded, RecordDamaged
from fedspallm_secure.storage.checkpoints.layers import PARTS, TILE, Keep
from fedspallm_secure.storage.checkpoints.pieces import DTYPES, StoredTensor, stored_tensors


@dataclass(frozen=True)
class StoredMatrix:
    """One pruned matrix on disk: `layers.PackedMatrix`.  shape: (out, in)."""

    shape: tuple[int, int]
    _keep: StoredTensor
    _kept: StoredTensor

    def bits(self) -> NDArray[np.uint8]:
        """The keep-mask, eight weights a byte."""
        packed: NDArray[np.uint8] = self._keep.read(0, self._keep.shape[0]).numpy()
        return packed

    def tiles(self) -> Iterator[tuple[Keep, NDArray[np.float32]]]:
        """Up to TILE weights after the other: which of them are kept, and the values of those."""
        size, done = self.shape[0] * self.shape[1], 0
        for start in range(0, size, TILE):
            keep = self._keeps(start, min(start + TILE, size))
            kept = int(np.count_nonzero(keep))
            yield keep, self._kept.read(done, done + kept).float().numpy()
            done += kept

    def weights(self, rows: slice) -> NDArray[np.float32]:
        """Some rows, zero where dropped: (rows, in)."""
        keep = self.kept(rows)
        weight = np.zeros(keep.shape, np.float32)
        first, last = self._before[rows.start], self._before[rows.stop]
        weight.reshape(-1)[np.flatnonzero(keep)] = self._kept.read(int(first), int(last)).float().numpy()
        return weight

    def kept(self, rows: slice) -> Keep:
        """Which weights of some rows are kept: (rows, in)."""
        columns = self.shape[1]
        return self._keeps(rows.start * columns, rows.stop * columns).reshape(-1, columns)

    def _keeps(self, start: int, stop: int) -> Keep:
        first = start // 8
        packed = self._keep.read(first, -(-stop // 8)).numpy()
        bits: Keep = np.unpackbits(packed, bitorder="little").view(np.bool_)
        return bits[start - 8 * first : stop - 8 * first]

    @cached_property
    def _before(self) -> NDArray[np.int64]:
        """How many weights are kept before each row, and in all: (out + 1,)."""
        kept = np.zeros(self.shape[0] + 1, np.int64)
        step = max(1, TILE // max(1, self.shape[1]))
        for start in range(0, self.shape[0], step):
            stop = min(start + step, self.shape[0])
            keep = self._keeps(start * self.shape[1], stop * self.shape[1])
            kept[start + 1 : stop + 1] = keep.reshape(stop - start, -1).sum(axis=1, dtype=np.int64)
        return kept.cumsum()


def stored_layer(path: Path) -> dict[str, StoredMatrix]:
    """The matrices of a layer file by name.  Raises RecordDamaged unless they are what `layers.write_layer` writes."""
    with _read_back(path):
        tensors = stored_tensors(path)
        names = sorted(key.removesuffix(".keep") for key in tensors if key.endswith(".keep"))
        if not names or tensors.keys() != {f"{name}.{part}" for name in names for part in PARTS}:
            raise ValueError("it does not hold keep, kept and shape of each matrix and nothing else")
        return {name: _matrix(tensors, name) for name in names}


def stored_matrix(path: Path, name: str) -> StoredMatrix:
    """One of them.  Raises RecordDamaged."""
    with _read_back(path):
        return _matrix(stored_tensors(path), name)


def _matrix(tensors: dict[str, StoredTensor], name: str) -> StoredMatrix:
    keep, kept, shape = (tensors[f"{name}.{part}"] for part in PARTS)
    if shape.dtype != torch.int64 or shape.shape != (2,) or keep.dtype != torch.uint8:
        raise ValueError(f"{name} has no shape of two extents, or no bits")
    rows, columns = shape.read(0, 2).tolist()
    if min(rows, columns) < 0 or keep.shape != (-(-rows * columns // 8),):
        raise ValueError(f"{name} has no keep-mask of {rows} x {columns} weights")
    spare = -rows * columns % 8
    if spare and int(keep.read(keep.shape[0] - 1, keep.shape[0])[0]) >> 8 - spare:
        raise ValueError("the unused bits of a keep-mask must be zero: there is one encoding")
    found = StoredMatrix((rows, columns), keep, kept)
    if kept.dtype not in DTYPES.values() or kept.shape != (found._before[-1],):
        raise ValueError(f"{name} keeps {found._before[-1]} weights but holds values of shape {kept.shape}")
    return found


@contextmanager
def _read_back(path: Path) -> Iterator[None]:
    try:
        yield
    except (ForeignFile, LimitExceeded, ValueError, KeyError) as error:
        raise RecordDamaged(f"{path} does not read back as it was written: {error}") from error
