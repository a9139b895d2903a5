"""The whole server step of FedSpaLLM, as a function of two sums per matrix (Bai et al. 2025, section 4).

    C[j] = sum_i M_i[j]          how many members kept weight j          (keep count)
    S[j] = sum_i M_i[j] W_i[j]   the sum of what they kept               (kept sum)

Nothing else about any member is read, which is why secure aggregation, which can only add, fits underneath.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedspallm_secure.pruning.expansion import (
    COUNT_SHIFT,
    BaseArrays,
    BaseMatrix,
    Expansion,
    Keep,
    Places,
    expand_rows,
    row_tiles,
)
from fedspallm_secure.pruning.keepmasks import count_kept, drop_lowest, keep_n_of_m, zero_dropped
from fedspallm_secure.pruning.patterns import NofM, Pattern
from fedspallm_secure.pruning.strategies import Group, Strategy

__all__ = ["Aggregate", "Group", "MatrixSums", "Strategy", "SummedTensors", "aggregate", "expand", "l0_average"]


@dataclass(slots=True)
class MatrixSums:
    """Running C and S of one matrix over its cohort.

    count: (out, in) int32, or uint8 if nothing more is added; kept: (out, in) float64, or None under `votes`.  float64
    makes the sum of equal float32 values exact, so a pruner that leaves survivors untouched gets the dense weight back
    bit for bit.
    """

    count: Tensor
    kept: Tensor | None
    members: int = 0

    @classmethod
    def empty(cls, shape: tuple[int, int], strategy: Strategy) -> "MatrixSums":
        """Nobody has contributed yet."""
        # -0.0 is the neutral element of floating-point addition; 0.0 would turn a kept -0.0 into 0.0.
        kept = torch.full(shape, -0.0, dtype=torch.float64) if strategy is Strategy.FEDSPALLM else None
        return cls(torch.zeros(shape, dtype=torch.int32), kept)

    def add(self, keep: Tensor, weight: Tensor | None) -> None:
        """Add one member.  keep: (out, in) bool; weight: (out, in), read only where kept, None under `votes`."""
        self.count += keep
        if self.kept is not None:
            if weight is None:
                raise ValueError("this strategy sums kept weights, and none were given")
            # The keep-mask decides, not the value: whatever stands at a dropped position is not read.
            self.kept += torch.where(keep, weight, -0.0)
        self.members += 1


def l0_average(count: Tensor, kept: Tensor) -> Tensor:
    """W_g = S / C where C > 0, else 0 (eq. 5).  count, kept: (out, in); returns (out, in) float32."""
    return torch.where(count > 0, kept / count.clamp(min=1), 0.0).float()


@dataclass(frozen=True, slots=True)
class SummedTensors:
    """Sums in memory, on the CPU, as `expansion.SummedMatrix`.  base: the matrix that the round started from."""

    sums: MatrixSums
    base: BaseMatrix

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        rows, columns = self.sums.count.shape
        return rows, columns

    @property
    def histogram(self) -> NDArray[np.int64]:
        """How many weights have each C: (members + 1,)."""
        found: NDArray[np.int64] = torch.bincount(self.sums.count.reshape(-1), minlength=self.sums.members + 1).numpy()
        return found

    def rows(self, rows: slice) -> "_TensorRows":
        """Some of its rows."""
        kept = None if self.sums.kept is None else self.sums.kept[rows].numpy()
        return _TensorRows(self.sums.count[rows].numpy(), kept, self.base.weights(rows), self.base.kept(rows))


@dataclass(frozen=True, slots=True)
class _TensorRows:
    count: NDArray[Any]
    kept: NDArray[np.float64] | None
    dense: NDArray[np.float32]
    before: Keep | None

    def average(self, places: Places) -> NDArray[np.float32]:
        dense: NDArray[np.float32] = self.dense.reshape(-1)[places]
        if self.kept is None:
            return dense
        count = self.count.reshape(-1)[places]
        mean = self.kept.reshape(-1)[places] / np.maximum(count, 1)
        return np.where(count > 0, mean.astype(np.float32), dense)


def _arrays(dense: Tensor, frozen: Tensor | None) -> BaseArrays:
    return BaseArrays(dense.numpy(), None if frozen is None else (~frozen).numpy())


def expand(
    count: Tensor,
    average: Tensor,
    pattern: Pattern,
    group: Group,
    frozen: Tensor | None = None,
) -> Tensor:
    """Adaptive mask expansion (eq. 6, 7), as one lexicographic rule.  Returns the global keep-mask.

    The ceil(s * d) weights that go are those with the smallest (C, importance, index).  Weights with C = 0 come
    first by themselves.  Should more weights than that have C = 0, because members pruned further than the target,
    the most important of them stay; weights that an earlier round dropped (`frozen`) never come back.

    count: (out, in) integer; average: (out, in) float32, W_g, and W_dense where C = 0.  The importance of a weight is
    its magnitude.  For N:M the n largest (C, importance) of every group stay (equal ones: the larger index).
    """
    if count.device.type == "cpu":
        sums = MatrixSums(count, None, int(count.max()) if count.numel() else 0)
        return _keep_of(expand_rows(SummedTensors(sums, _arrays(average, frozen)), pattern, group))
    keys = (count.to(torch.int64) + 1) * COUNT_SHIFT + average.abs().contiguous().view(torch.int32)
    if frozen is not None:
        keys.masked_fill_(frozen, 0)  # below all others
    if isinstance(pattern, NofM):
        keep = keep_n_of_m(keys, pattern.n, pattern.m)
    elif group is Group.ROW:
        keep = drop_lowest(keys, pattern.drop_count(count.shape[1]))
    else:
        drop = max(pattern.drop_count(count.numel()), 0 if frozen is None else count_kept(frozen))
        keep = drop_lowest(keys.view(1, -1), drop).view(count.shape)
    return keep if frozen is None else keep & ~frozen


def _keep_of(expansion: Expansion) -> Tensor:
    """The keep-mask of a whole matrix."""
    keep = np.empty(expansion.matrix.shape, np.bool_)
    for rows, (some, _) in zip(row_tiles(keep.shape), expansion.tiles(), strict=True):
        keep[rows] = some
    return torch.from_numpy(keep)


@dataclass(slots=True)
class Aggregate:
    """The server's result for one matrix, with the figures about agreement that C gives away.

    average: (out, in) float32, W_g, and W_dense where C = 0; keep: (out, in) bool; histogram: how many weights had
    each C; restored: how many weights that no member kept stay nevertheless, with their dense value.
    """

    average: Tensor
    keep: Tensor
    histogram: list[int]
    restored: int

    @property
    def weight(self) -> Tensor:
        """The pruned matrix: (out, in) float32, zero where dropped; a copy."""
        return zero_dropped(self.average, self.keep)


def aggregate(
    sums: MatrixSums,
    dense: Tensor,
    pattern: Pattern,
    group: Group = Group.MATRIX,
    frozen: Tensor | None = None,
) -> Aggregate:
    """Turn the two sums of one matrix into the pruned matrix.

    dense: (out, in) float32, the public matrix the round started from; frozen: weights dropped by earlier rounds.
    """
    average = dense if sums.kept is None else torch.where(sums.count > 0, l0_average(sums.count, sums.kept), dense)
    if dense.device.type == "cpu":
        found = expand_rows(SummedTensors(sums, _arrays(dense, frozen)), pattern, group)
        return Aggregate(average, _keep_of(found), found.histogram, found.restored)
    keep = expand(sums.count, average, pattern, group, frozen)
    histogram = torch.bincount(sums.count.reshape(-1), minlength=sums.members + 1)
    return Aggregate(average, keep, histogram.tolist(), count_kept(keep & (sums.count == 0)))
