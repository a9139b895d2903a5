"""From a pruned layer to the vector that is added up, and from the sums back (SPEC section 12)."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedspallm_secure.app.rounds.streams import Streams, SumFigures
from fedspallm_secure.errors import RecordDamaged, SumOutOfRange
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape, base_digest
from fedspallm_secure.pruning.aggregation import MatrixSums
from fedspallm_secure.pruning.expansion import BaseArrays, BaseMatrix
from fedspallm_secure.secagg.fields import Sums, SumWord
from fedspallm_secure.secagg.quantization import dequantize, quantize
from fedspallm_secure.storage.checkpoints.layers import LayerMatrix

__all__ = ["Released", "ReleasedMatrix", "Streams", "base_of", "layer_streams"]


def base_of(matrices: Iterable[tuple[MatrixShape, Iterable[NDArray[np.float32]]]]) -> str:
    """Digest of the base weights of a group, hex.

    matrices: in the order of the vector; of each some rows after the other.
    """
    return base_digest((shape, _sha256(rows)) for shape, rows in matrices)


def layer_streams(
    group: GroupPlan, pruned: Mapping[str, LayerMatrix], base: Mapping[str, Tensor]
) -> tuple[Streams, int]:
    """A member's vector for one group, and how many of its values were clipped.

    pruned: by checkpoint name; base: the public weights that the round starts from, float32.
    Raises RecordDamaged where `pruned` is not of the plan's shapes, CorruptWeights.
    """
    streams, clipped, start = Streams.empty(group), 0, 0
    for shape in group.matrices:
        matrix = pruned.get(shape.name)
        if matrix is None or tuple(matrix.keep.shape) != (shape.rows, shape.columns):
            raise RecordDamaged(f"the pruned layer does not hold {shape.name} in the shape of the plan")
        keep = matrix.keep.numpy()
        group.counts.pack(keep.reshape(-1), streams.count[group.counts.piece(start, keep.size)], start)
        if group.sums is not None and streams.total is not None:
            words = streams.total.view(group.sums.signed)[start : start + keep.size]
            clipped += quantize(_array(matrix.weight), _array(base[shape.name]), keep, group.sums, words)
        start += keep.size
    return streams, clipped


@dataclass(slots=True)
class Released:
    """What a group's sums gave.  survivors: how many members are in them; figures: what they show."""

    group: GroupPlan
    streams: Streams
    survivors: int
    figures: SumFigures

    @classmethod
    def of(cls, group: GroupPlan, streams: Streams, survivors: int) -> "Released":
        """Check the range of unmasked sums and count what they show."""
        return cls(group, streams, survivors, SumFigures.of(group, streams, survivors))

    def totals(self) -> dict[str, Tensor]:
        """The sums of every matrix as they came out, (out, in) in quantisation steps; nothing under `votes`."""
        found, start = {}, 0
        if self.group.sums is None or self.streams.total is None:
            return {}
        words = self.streams.total.view(self.group.sums.signed)
        for shape in self.group.matrices:
            piece = words[start : start + shape.weights].reshape(shape.rows, shape.columns)
            found[shape.name] = torch.from_numpy(piece)
            start += shape.weights
        return found

    def matrices(self) -> dict[str, Callable[[BaseMatrix], "ReleasedMatrix"]]:
        """What the sums say of each matrix, by checkpoint name, for whoever has its public weights.

        Raises SumOutOfRange when the sums cannot be those of honest members.
        """
        if violations := self.figures.violations:
            raise SumOutOfRange(f"group {self.group.gid}: {violations} sums are out of range", check="R6")
        found: dict[str, Callable[[BaseMatrix], ReleasedMatrix]] = {}
        start = 0
        for shape, histogram in zip(self.group.matrices, self.figures.histograms, strict=True):
            # Nothing lies above the survivors, where no sum is out of range.
            counts = histogram[: self.survivors + 1]
            found[shape.name] = partial(ReleasedMatrix, self, (shape.rows, shape.columns), start, counts)
            start += shape.weights
        return found

    def matrix_sums(self, base: Mapping[str, Tensor]) -> dict[str, MatrixSums]:
        """C and S of every matrix, as plain aggregation would have them but for the rounding of S; all at once.

        base: the public weights of (out, in), float32.  Raises SumOutOfRange as `matrices`.
        """
        found = {}
        for name, matrix in self.matrices().items():
            weight = _array(base[name])
            rows = matrix(BaseArrays(weight)).rows(slice(0, len(weight)))
            count, total = torch.from_numpy(rows.count.astype(np.int32)), None
            if rows.sums is not None:
                mean = torch.from_numpy(rows.average(np.arange(weight.size)))
                # The product is exact, and divided by C it is the mean again.
                total = mean.view(count.shape).double().mul_(count)
            found[name] = MatrixSums(count, total, self.survivors)
        return found


@dataclass(frozen=True, slots=True)
class ReleasedMatrix:
    """One matrix of unmasked sums, as `expansion.SummedMatrix`.

    shape: (out, in); start: number of its first weight in the group; histogram: how many weights have each C; base: the
    matrix that the round started from.
    """

    released: Released
    shape: tuple[int, int]
    start: int
    histogram: NDArray[np.int64]
    base: BaseMatrix

    def rows(self, rows: slice) -> "_ReleasedRows":
        """Some of its rows."""
        group, streams, columns = self.released.group, self.released.streams, self.shape[1]
        start, weights = self.start + rows.start * columns, (rows.stop - rows.start) * columns
        count = group.counts.unpack(streams.count[group.counts.piece(start, weights)], weights, start)
        sums = None
        if group.sums is not None and streams.total is not None:
            sums = streams.total.view(group.sums.signed)[start : start + weights]
        return _ReleasedRows(self.base, rows, count.reshape(-1, columns), sums, group.sums)


@dataclass(frozen=True)
class _ReleasedRows:
    base: BaseMatrix
    span: slice
    count: NDArray[Any]
    sums: Sums | None
    word: SumWord | None

    @property
    def before(self) -> NDArray[np.bool_] | None:
        return self.base.kept(self.span)

    @cached_property
    def _weights(self) -> NDArray[np.float32]:
        return self.base.weights(self.span)  # read when it is asked for: counting needs none

    def average(self, places: NDArray[np.intp]) -> NDArray[np.float32]:
        if self.sums is None or self.word is None:
            weights: NDArray[np.float32] = self._weights.reshape(-1).take(places)
            return weights
        return dequantize(self._weights, self.count.reshape(-1), self.sums, self.word, places)


def _array(weight: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = weight.detach().to(torch.float32).contiguous().numpy()
    return array


def _sha256(arrays: Iterable[NDArray[np.float32]]) -> bytes:
    hasher = hashlib.sha256()
    for array in arrays:
        hasher.update(np.ascontiguousarray(array, "<f4").data)
    return hasher.digest()
