"""From scores to keep-masks (True = the weight stays), by exact rank and never by threshold alone.

The rule everywhere: the lowest scores go first, ties fall to the smaller index, weights that an earlier
round already dropped ("frozen") go before anything else.  So a keep-mask is a function of its inputs, bit for
bit, and every party can recompute it.
"""

import numpy as np
import torch
from torch import Tensor

FROZEN = -2.0  # below every score, also below the -1 of a dead input


def freeze(scores: Tensor, frozen: Tensor | None) -> Tensor:
    """Give weights that earlier rounds dropped the lowest score of all; copies only when there are any."""
    return scores if frozen is None else scores.masked_fill(frozen, FROZEN)


def drop_lowest(scores: Tensor, drop: int) -> Tensor:
    """Keep-mask that drops exactly `drop` entries of every row: lowest score, then smallest index.

    scores: (rows, columns), floating or integer, no NaN; 0 <= drop <= columns.  Returns (rows, columns) bool.
    """
    if drop <= 0:
        return torch.ones_like(scores, dtype=torch.bool)
    if drop >= scores.shape[1]:
        return torch.zeros_like(scores, dtype=torch.bool)
    boundary = _kth_smallest(scores, drop)
    keep = scores > boundary
    surplus = scores.shape[1] - drop - _kept_in_rows(keep)  # ties at the boundary that must stay
    if bool(surplus.any()):
        ties = scores == boundary
        rank_from_right = ties.flip(1).cumsum(1, dtype=torch.int32).flip(1)
        keep |= ties & (rank_from_right <= surplus)
    return keep


def count_kept(keep: Tensor) -> int:
    """How many entries of a keep-mask, or of any bool tensor, are True."""
    # torch adds bools up one by one as 64-bit numbers, which takes a hundred times as long.
    return int(np.count_nonzero(keep.numpy())) if keep.device.type == "cpu" else int(keep.sum())


def _kept_in_rows(keep: Tensor) -> Tensor:
    """How many entries of each row are True.  keep: (rows, columns) bool; returns (rows, 1) integers."""
    if keep.device.type != "cpu":
        return keep.sum(dim=1, keepdim=True)
    return torch.from_numpy(keep.numpy().sum(axis=1, keepdims=True, dtype=np.int32))


def zero_dropped(weight: Tensor, keep: Tensor) -> Tensor:
    """A copy of `weight` that is 0.0 where dropped.  weight: float32, keep: bool, both (out, in)."""
    if weight.device.type != "cpu":
        return weight.masked_fill(~keep, 0.0)
    # Bits times 0 are 0.0 whatever they were, NaN and negative numbers too; one pass, by one thread.
    bits = np.multiply(weight.numpy().view(np.int32), keep.numpy())
    return torch.from_numpy(bits.view(np.float32))


def _kth_smallest(scores: Tensor, k: int) -> Tensor:
    """The k-th smallest entry of every row, (rows, 1).

    On the CPU numpy's partition is faster than torch.kthvalue, and as exact: docs/adr/0005.  On a GPU kthvalue gives a
    row to one multiprocessor, so a single long row is sorted by all of them instead.
    """
    if scores.is_cuda and len(scores) == 1:
        return scores.sort(dim=1).values[:, k - 1 : k]
    if scores.device.type != "cpu" or scores.dtype not in (torch.float32, torch.int32, torch.int64):
        return scores.kthvalue(k, dim=1, keepdim=True).values
    parted = np.partition(scores.numpy(), k - 1, axis=1)
    return torch.from_numpy(np.ascontiguousarray(parted[:, k - 1 : k]))


def keep_per_matrix(scores: Tensor, drop: int, frozen: Tensor | None = None) -> Tensor:
    """Drop exactly max(`drop`, frozen) weights of the whole matrix.  scores: (out, in) -> (out, in) bool."""
    if frozen is not None:
        drop = max(drop, int(frozen.sum()))
    return drop_lowest(freeze(scores, frozen).reshape(1, -1), drop).view(scores.shape)


def keep_per_row(scores: Tensor, drop: int, frozen: Tensor | None = None) -> Tensor:
    """Drop exactly max(`drop`, frozen in that row) weights of every output row."""
    if frozen is None:
        return drop_lowest(scores, drop)
    keep = drop_lowest(freeze(scores, frozen), drop)
    return keep & ~frozen  # a row with more frozen weights than `drop` keeps none of them


def keep_n_of_m(scores: Tensor, n: int, m: int, frozen: Tensor | None = None) -> Tensor:
    """Keep the `n` highest of every `m` consecutive entries of a row; frozen weights never stay.

    scores: (out, in) with m dividing in; returns (out, in) bool.
    """
    groups = freeze(scores, frozen).reshape(scores.shape[0], -1, m)
    rank = torch.zeros_like(groups, dtype=torch.int8)
    # m is small: counting who loses to whom needs no sort, and is stable by design.
    for first in range(m):
        for second in range(first + 1, m):
            second_higher = groups[:, :, second] >= groups[:, :, first]
            rank[:, :, second] += second_higher
            rank[:, :, first] += ~second_higher
    keep = (rank >= m - n).view(scores.shape)
    return keep if frozen is None else keep & ~frozen


def pack_bits(keep: Tensor) -> Tensor:
    """Keep-mask of any shape -> 1-D uint8, eight weights a byte, first weight in the lowest bit."""
    return torch.from_numpy(np.packbits(keep.cpu().numpy().reshape(-1), bitorder="little"))


def unpack_bits(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The inverse of `pack_bits`.  Raises ValueError when the bytes do not fit `shape`."""
    size = int(np.prod(shape))
    if packed.dtype != torch.uint8 or packed.numel() != -(-size // 8):
        raise ValueError(f"{packed.numel()} bytes do not hold a keep-mask of {size} weights")
    if size % 8 and int(packed[-1]) >> (size % 8):
        raise ValueError("the unused bits of a keep-mask must be zero: there is one encoding")
    bits = np.unpackbits(packed.numpy(), count=size, bitorder="little")
    return torch.from_numpy(bits.view(np.bool_)).view(shape)


def is_n_of_m(keep: Tensor, n: int, m: int) -> bool:
    """Whether every group of `m` consecutive entries of a row keeps at most `n`."""
    return bool((keep.reshape(keep.shape[0], -1, m).sum(dim=2) <= n).all())
