"""From a pruned layer to the vector that is added up, and from the sums back (SPEC section 12)."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedspallm_secure.app.rounds.streams import Streams, SumFigures
from fedspallm_secure.errors import RecordDamaged, SumOutOfRange
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape, base_digest
from fedspallm_secure.pruning.aggregation import MatrixSums
from fedspallm_secure.secagg.quantization import dequantize, quantize
from fedspallm_secure.storage.checkpoints.layers import LayerMatrix

__all__ = ["MatrixMeans", "Released", "Streams", "base_of", "layer_streams"]


def base_of(matrices: Iterable[tuple[MatrixShape, Tensor]]) -> str:
    """Digest of the base weights of a group, hex.  matrices: in the order of the vector, float32 of (rows, columns)."""
    return base_digest((shape, _sha256(_array(weight).astype("<f4", copy=False))) for shape, weight in matrices)


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
class MatrixMeans:
    """What the sums of one matrix come to.

    count: (out, in) uint8, or int32 where a byte is too little; mean: (out, in) float32, of those who kept a weight,
    and the base weight where nobody did or nothing but votes was summed; members: how many were added up.
    """

    count: Tensor
    mean: Tensor
    members: int

    def sums(self, kept: bool) -> MatrixSums:
        """C, and S unless only votes were summed."""
        # The product is exact, and divided by C it is the mean again.
        total = self.mean.double().mul_(self.count) if kept else None
        return MatrixSums(self.count.int(), total, self.members)


@dataclass(slots=True)
class Released:
    """What a group's sums gave.  survivors: how many members are in them; violations: of check R6."""

    group: GroupPlan
    streams: Streams
    survivors: int
    violations: int
    unanimous: int
    single: int

    @classmethod
    def of(cls, group: GroupPlan, streams: Streams, survivors: int) -> "Released":
        """Check the range of unmasked sums and count what they show."""
        shown = SumFigures.of(group, streams, survivors)
        return cls(group, streams, survivors, shown.violations, shown.unanimous, shown.single)

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

    def matrix_sums(self, base: Mapping[str, Tensor]) -> dict[str, MatrixSums]:
        """C and S of every matrix, as plain aggregation would have them but for the rounding of S; all at once.

        Raises SumOutOfRange when the sums cannot be those of honest members.
        """
        return {name: found.sums(self.group.sums is not None) for name, found in self.each_matrix(base.__getitem__)}

    def each_matrix(self, base: Callable[[str], Tensor]) -> Iterator[tuple[str, MatrixMeans]]:
        """What the sums come to, one matrix after the other, by checkpoint name.

        base: reads the public weights of a matrix; nothing of one matrix is held when the next one is asked for.
        Raises SumOutOfRange when the sums cannot be those of honest members.
        """
        if self.violations:
            raise SumOutOfRange(f"group {self.group.gid}: {self.violations} sums are out of range", check="R6")
        start = 0
        for shape in self.group.matrices:
            yield shape.name, self._means(shape, start, _array(base(shape.name)))
            start += shape.weights

    def _means(self, shape: MatrixShape, start: int, base: NDArray[np.float32]) -> MatrixMeans:
        piece = self.group.counts.piece(start, shape.weights)
        count, mean = self.group.counts.unpack(self.streams.count[piece], shape.weights, start), base
        if self.group.sums is not None and self.streams.total is not None:
            words = self.streams.total.view(self.group.sums.signed)[start : start + shape.weights]
            mean = dequantize(base, count, words, self.group.sums)
        # torch does little with uint16.
        keepers = torch.from_numpy(count if count.dtype == np.uint8 else count.astype(np.int32))
        return MatrixMeans(keepers.view(shape.rows, shape.columns), torch.from_numpy(mean), self.survivors)


def _array(weight: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = weight.detach().to(torch.float32).contiguous().numpy()
    return array


def _sha256(*arrays: NDArray[Any]) -> bytes:
    hasher = hashlib.sha256()
    for array in arrays:
        hasher.update(array.data)
    return hasher.digest()
