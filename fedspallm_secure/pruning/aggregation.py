"""The whole server step of FedSpaLLM, as a function of two sums per matrix (Bai et al. 2025, section 4).

    C[j] = sum_i M_i[j]          how many members kept weight j          (keep count)
    S[j] = sum_i M_i[j] W_i[j]   the sum of what they kept               (kept sum)

Nothing else about any member is read, which is why secure aggregation, which can only add, fits underneath.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedspallm_secure.pruning.keepmasks import drop_lowest, keep_n_of_m
from fedspallm_secure.pruning.patterns import NofM, Pattern
from fedspallm_secure.pruning.strategies import Group, Strategy

__all__ = ["Aggregate", "Group", "MatrixSums", "Strategy", "aggregate", "expand", "l0_average"]

_COUNT_SHIFT = 1 << 32  # float32 bit patterns lie below this, so C always outranks the importance


@dataclass(slots=True)
class MatrixSums:
    """Running C and S of one matrix over its cohort.

    count: (out, in) int32; kept: (out, in) float64, or None under `votes`.  float64 makes the sum of equal
    float32 values exact, so a pruner that leaves survivors untouched gets the dense weight back bit for bit.
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


def expand(count: Tensor, importance: Tensor, pattern: Pattern, group: Group, frozen: Tensor | None = None) -> Tensor:
    """Adaptive mask expansion (eq. 6, 7), as one lexicographic rule.  Returns the global keep-mask.

    The ceil(s * d) weights that go are those with the smallest (C, importance, index).  Weights with C = 0 come
    first by themselves.  Should more weights than that have C = 0, because members pruned further than the target,
    the most important of them stay; weights that an earlier round dropped (`frozen`) never come back.

    count: (out, in) integer; importance: (out, in) float32, not negative: |W_g|, and |W_dense| where C = 0.
    For N:M the n largest (C, importance) of every group stay (equal ones: the larger index).
    """
    keys = (count.to(torch.int64) + 1) * _COUNT_SHIFT + importance.contiguous().view(torch.int32)
    if frozen is not None:
        keys.masked_fill_(frozen, 0)
    if isinstance(pattern, NofM):
        keep = keep_n_of_m(keys, pattern.n, pattern.m)
        return keep if frozen is None else keep & ~frozen
    if group is Group.ROW:
        keep = drop_lowest(keys, pattern.drop_count(keys.shape[1]))
        return keep if frozen is None else keep & ~frozen
    drop = pattern.drop_count(keys.numel())
    if frozen is not None:
        drop = max(drop, int(frozen.sum()))
    return drop_lowest(keys.view(1, -1), drop).view(keys.shape)


@dataclass(slots=True)
class Aggregate:
    """The server's result for one matrix, with the figures about agreement that C gives away.

    weight: (out, in) float32, zero where dropped; keep: (out, in) bool; histogram: how many weights had each C.
    """

    weight: Tensor
    keep: Tensor
    histogram: list[int]
    restored: int  # weights that no member kept and that stay nevertheless, with their dense value


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
    kept_by_some = sums.count > 0
    average = dense
    if sums.kept is not None:
        average = torch.where(kept_by_some, l0_average(sums.count, sums.kept), dense)
    keep = expand(sums.count, average.abs(), pattern, group, frozen)
    weight = average.masked_fill(~keep, 0.0)
    histogram = torch.bincount(sums.count.view(-1), minlength=sums.members + 1).tolist()
    return Aggregate(weight, keep, histogram, int((keep & ~kept_by_some).sum()))
