"""From a pruned layer to the vector that is added up, and from the sums back (SPEC section 12)."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedspallm_secure.crypto import merkle
from fedspallm_secure.errors import RecordDamaged, SumOutOfRange
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.rounds.deals import tile_hashes
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape, base_digest
from fedspallm_secure.pruning.aggregation import MatrixSums
from fedspallm_secure.secagg.fields import check_range
from fedspallm_secure.secagg.quantization import dequantize, quantize
from fedspallm_secure.storage.checkpoints.layers import LayerMatrix

Octets = NDArray[np.uint8]
_TILE: Final = 1 << 18  # weights that are checked at once; even, so that none begins within a byte of counts


@dataclass(frozen=True, slots=True)
class Streams:
    """The streams of one group, whoever they belong to.  count, total: bytes; total is None under `votes`."""

    count: Octets
    total: Octets | None

    @classmethod
    def empty(cls, group: GroupPlan) -> Self:
        """All zero."""
        total = None if group.sums is None else np.zeros(group.sum_size, np.uint8)
        return cls(np.zeros(group.count_size, np.uint8), total)

    @property
    def parts(self) -> tuple[Octets, ...]:
        """What is there, in the order in which it travels."""
        return (self.count,) if self.total is None else (self.count, self.total)

    @property
    def hashes(self) -> tuple[str, str]:
        """Roots over the tiles of count and sum stream in hex; `*` where there is none (SPEC section 16.4)."""
        counts, sums = self.tile_hashes
        return merkle.root(counts).hex(), merkle.root(sums).hex() if sums else NONE

    @property
    def tile_hashes(self) -> tuple[list[bytes], list[bytes]]:
        """Leaf hashes of the tiles of 2^20 bytes of count and sum stream, 32 bytes each; none where there is none."""
        return tile_hashes(self.count.data), [] if self.total is None else tile_hashes(self.total.data)

    @property
    def hash(self) -> bytes:
        """SHA-256 of both, one after the other, 32 bytes."""
        return _sha256(*self.parts)


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

    count: (out, in) int32; mean: (out, in) float32, of those who kept a weight, and the base weight where nobody did or
    nothing but votes was summed; members: how many were added up.
    """

    count: Tensor
    mean: Tensor
    members: int

    def sums(self, kept: bool) -> MatrixSums:
        """C, and S unless only votes were summed."""
        # The product is exact, and divided by C it is the mean again.
        total = self.mean.double().mul_(self.count) if kept else None
        return MatrixSums(self.count, total, self.members)


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
        """Check the range of unmasked sums and count what they show, a tile at a time."""
        spare = group.counts.bits == 4 and group.weights % 2 and int(streams.count[-1]) >> 4
        words = None if streams.total is None or group.sums is None else streams.total.view(group.sums.signed)
        violations = int(bool(spare))  # nobody counts in the half byte after the last weight
        unanimous = single = 0
        for start in range(0, group.weights, _TILE):
            length = min(_TILE, group.weights - start)
            counts = group.counts.unpack(streams.count[group.counts.piece(start, length)], length, start)
            totals = None if words is None else words[start : start + length]
            violations += check_range(counts, totals, survivors, group.sums)
            unanimous += int(np.count_nonzero((counts == 0) | (counts == survivors)))
            single += int(np.count_nonzero(counts == 1))
        return cls(group, streams, survivors, violations, unanimous, single)

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
        keepers = torch.from_numpy(count.astype(np.int32)).view(shape.rows, shape.columns)
        return MatrixMeans(keepers, torch.from_numpy(mean), self.survivors)


def _array(weight: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = weight.detach().to(torch.float32).contiguous().numpy()
    return array


def _sha256(*arrays: NDArray[Any]) -> bytes:
    hasher = hashlib.sha256()
    for array in arrays:
        hasher.update(array.data)
    return hasher.digest()
