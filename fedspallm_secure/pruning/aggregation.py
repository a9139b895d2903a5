"""The whole server step of FedSpaLLM, as a function of two sums per matrix (Bai et al. 2025, section 4).

    C[j] = sum_i M_i[j]          how many members kept weight j          (keep count)
    S[j] = sum_i M_i[j] W_i[j]   the sum of what they kept               (kept sum)

Nothing else about any member is read, which is why secure aggregation, which can only add, fits underneath.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedspallm_secure.pruning.keepmasks import count_kept, drop_lowest, keep_n_of_m, zero_dropped
from fedspallm_secure.pruning.patterns import NofM, Pattern
from fedspallm_secure.pruning.strategies import Group, Strategy

__all__ = ["Aggregate", "Group", "MatrixSums", "Strategy", "aggregate", "expand", "l0_average"]

_COUNT_SHIFT = 1 << 32  # float32 bit patterns lie below this, so C always outranks the importance
_TILE = 1 << 15  # weights at once on the CPU: their temporaries stay in the cache, and torch starts no threads


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


def expand(
    count: Tensor,
    average: Tensor,
    pattern: Pattern,
    group: Group,
    frozen: Tensor | None = None,
    histogram: Tensor | None = None,
) -> Tensor:
    """Adaptive mask expansion (eq. 6, 7), as one lexicographic rule.  Returns the global keep-mask.

    The ceil(s * d) weights that go are those with the smallest (C, importance, index).  Weights with C = 0 come
    first by themselves.  Should more weights than that have C = 0, because members pruned further than the target,
    the most important of them stay; weights that an earlier round dropped (`frozen`) never come back.

    count: (out, in) integer; average: (out, in) float32, W_g, and W_dense where C = 0.  The importance of a weight is
    its magnitude.  For N:M the n largest (C, importance) of every group stay (equal ones: the larger index).
    histogram: how many weights have each count, where the caller knows.
    """
    if isinstance(pattern, NofM):
        n, m = pattern.n, pattern.m
        return _expand_rows(count, average, frozen, lambda keys: keep_n_of_m(keys, n, m))
    if group is Group.ROW:
        in_row = pattern.drop_count(count.shape[1])
        return _expand_rows(count, average, frozen, lambda keys: drop_lowest(keys, in_row))
    drop = pattern.drop_count(count.numel())
    if frozen is not None:
        drop = max(drop, count_kept(frozen))
    if count.device.type == "cpu":
        return _expand_matrix(count, average, drop, frozen, _histogram(count) if histogram is None else histogram)
    return drop_lowest(_keys(count, average, frozen).view(1, -1), drop).view(count.shape)


def _keys(count: Tensor, average: Tensor, frozen: Tensor | None) -> Tensor:
    """(C, importance) of every weight as one int64; 0, below all others, for weights that are frozen."""
    keys = (count.to(torch.int64) + 1) * _COUNT_SHIFT + average.abs().contiguous().view(torch.int32)
    return keys if frozen is None else keys.masked_fill_(frozen, 0)


def _expand_rows(count: Tensor, average: Tensor, frozen: Tensor | None, choose: Callable[[Tensor], Tensor]) -> Tensor:
    """The keep-mask where no row depends on another.  choose: from the keys of some rows to their keep-mask."""
    keep = torch.empty_like(count, dtype=torch.bool)
    for rows in _row_tiles(count):
        keep[rows] = choose(_keys(count[rows], average[rows], None if frozen is None else frozen[rows]))
    return keep if frozen is None else keep & ~frozen


def _expand_matrix(count: Tensor, average: Tensor, drop: int, frozen: Tensor | None, histogram: Tensor) -> Tensor:
    """The keep-mask of a whole matrix on the CPU: C alone decides, but for the weights with the count at the threshold.

    histogram: of `count`; drop: how many weights go, not fewer than are frozen.
    """
    counts = count.reshape(-1).numpy()
    if frozen is not None:
        # 0 for the frozen: below what nobody kept.
        counts = np.add(counts, 1, dtype=np.int32) * ~frozen.reshape(-1).numpy()
        histogram = _histogram(torch.from_numpy(counts))
    at_most = histogram.cumsum(0)
    threshold = int(torch.searchsorted(at_most, drop))  # the smallest count with `drop` weights up to it
    keep = counts > threshold
    tied = np.flatnonzero(counts == threshold)
    # The bits of floats that are not negative are in the order of the floats.
    importance = np.abs(average.reshape(-1).numpy()[tied]).view(np.int32)
    left = drop - int(at_most[threshold] - histogram[threshold])  # to go from among the tied
    keep[tied] = drop_lowest(torch.from_numpy(importance).view(1, -1), left)[0].numpy()
    return torch.from_numpy(keep).view(count.shape)


def _histogram(count: Tensor, least: int = 1) -> Tensor:
    """How many weights have each count: (largest count + 1, at least `least`) int64."""
    return torch.bincount(count.reshape(-1), minlength=least)


def _row_tiles(matrix: Tensor) -> Iterator[slice]:
    """Rows that are worked on at once: few on the CPU, whose cache their temporaries then do not leave."""
    step = max(1, _TILE // max(1, matrix.shape[1])) if matrix.device.type == "cpu" else max(1, len(matrix))
    for start in range(0, len(matrix), step):
        yield slice(start, start + step)


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
    average = dense
    if sums.kept is not None:
        average = torch.empty_like(dense)
        for rows in _row_tiles(dense):
            count = sums.count[rows]
            average[rows] = torch.where(count > 0, l0_average(count, sums.kept[rows]), dense[rows])
    histogram = _histogram(sums.count, sums.members + 1)
    keep = expand(sums.count, average, pattern, group, frozen, histogram)
    restored = count_kept(keep & (sums.count == 0))
    return Aggregate(average, keep, histogram.tolist(), restored)
