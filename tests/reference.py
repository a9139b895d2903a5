"""Slow, obvious twins of the pruning kernels, for tests to compare the library with.

Every function here is written from the papers and the specification alone: FedSpaLLM (Bai et al. 2025,
NAACL, arXiv 2410.14852), SparseGPT (Frantar & Alistarh 2023, arXiv 2301.00774) and Wanda (Sun et al.
2023, arXiv 2306.11695). "Section n" below means that section of the algorithm specification.

It must stay naive. A twin is worth something only as long as a reader can lay it beside the equation and
see that they agree, and as long as it shares neither code nor cleverness, and so no mistakes, with the
kernel that it checks. So: loops instead of vectorised tricks, whole sorts instead of selections, float64
throughout, no import from the library, and never an import by the library.

Conventions: a keep-mask is a bool array, True where the weight stays. "Frozen" marks weights that an
earlier round dropped; they never come back (section 5). Sparsity is a Fraction, so that ceil(s * d) is
exact. Everything that is dropped is dropped by rank, never by a threshold, and ties fall to the smaller
flat index in row-major order. Ranks are taken in float64: scores that differ here by one rounding step
may tie, or swap, in a shorter format.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


# How many, and which first


def drop_count(sparsity: Fraction, size: int) -> int:
    """How many of `size` weights to drop: ceil(s * d), without rounding error (section 1)."""
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity must lie between 0 and 1, not {sparsity}")
    return math.ceil(sparsity * size)


def keep_lowest_dropped(scores: FloatArray, drop: int, frozen: BoolArray | None = None) -> BoolArray:
    """Drop exactly `drop` entries by rank: frozen ones, then smaller score, then smaller index (section 1).

    scores, frozen: one shape, flat or (rows, columns); returns a keep-mask of that shape.
    Frozen entries are always dropped, so `drop` is raised to their number where it is smaller.
    """
    is_frozen = _flat_frozen(frozen, scores.size)
    flat = scores.reshape(-1)
    keys = [(0 if is_frozen[i] else 1, float(flat[i])) for i in range(scores.size)]
    return _drop_smallest(keys, max(drop, sum(is_frozen))).reshape(scores.shape)


def _flat_frozen(frozen: BoolArray | None, size: int) -> list[bool]:
    """The frozen flags as a flat list in row-major order; all False where none are given."""
    if frozen is None:
        return [False] * size
    if frozen.size != size:
        raise ValueError(f"{frozen.size} frozen flags for {size} weights")
    return [bool(flag) for flag in frozen.reshape(-1)]


def _drop_smallest(keys: Sequence[tuple[float, ...]], drop: int) -> BoolArray:
    """A flat keep-mask that drops the `drop` smallest keys; equal keys fall to the smaller index."""
    if not 0 <= drop <= len(keys):
        raise ValueError(f"cannot drop {drop} of {len(keys)} weights")
    order = sorted(range(len(keys)), key=lambda i: (keys[i], i))
    keep = np.ones(len(keys), dtype=np.bool_)
    for i in order[:drop]:
        keep[i] = False
    return keep


# Scores and keep-masks of the local pruners (section 1)


def magnitude_scores(weight: FloatArray) -> FloatArray:
    """Magnitude importance |W_ij| (section 1). weight: (out, in); returns (out, in)."""
    scores = np.zeros(weight.shape, dtype=np.float64)
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            scores[i, j] = abs(float(weight[i, j]))
    return scores


def wanda_scores(weight: FloatArray, sum_squares: FloatArray) -> FloatArray:
    """Wanda importance |W_ij| * ||X_j||_2 (Sun et al. 2023, eq. 1).

    weight: (out, in); sum_squares: (in,), the sum over tokens of the squared input j; returns (out, in).
    """
    scores = np.zeros(weight.shape, dtype=np.float64)
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            norm = math.sqrt(float(sum_squares[j]))
            scores[i, j] = abs(float(weight[i, j])) * norm
    return scores


def keep_per_matrix(scores: FloatArray, sparsity: Fraction, frozen: BoolArray | None = None) -> BoolArray:
    """Drop ceil(s * d) of all d weights of the matrix (section 1). scores: (out, in); returns (out, in)."""
    return keep_lowest_dropped(scores, drop_count(sparsity, scores.size), frozen)


def keep_per_row(scores: FloatArray, sparsity: Fraction, frozen: BoolArray | None = None) -> BoolArray:
    """Drop ceil(s * in) weights in every output row (section 1; the comparison group of Wanda, section 3).

    scores: (out, in); returns (out, in).
    """
    rows, columns = scores.shape
    keep = np.ones(scores.shape, dtype=np.bool_)
    for i in range(rows):
        frozen_row = None if frozen is None else frozen[i]
        keep[i] = keep_lowest_dropped(scores[i], drop_count(sparsity, columns), frozen_row)
    return keep


def keep_n_of_m(scores: FloatArray, n: int, m: int, frozen: BoolArray | None = None) -> BoolArray:
    """Keep the n largest scores in every m consecutive entries of a row (section 1, pattern N:M).

    scores: (out, in) with `in` divisible by m; returns (out, in). Of equal scores the smaller index is
    dropped first. A frozen entry is never kept: a group with more than m - n of them keeps fewer than n.
    """
    rows, columns = scores.shape
    _check_groups(columns, n, m)
    keep = np.ones(scores.shape, dtype=np.bool_)
    for i in range(rows):
        for start in range(0, columns, m):
            stop = start + m
            frozen_group = None if frozen is None else frozen[i, start:stop]
            keep[i, start:stop] = keep_lowest_dropped(scores[i, start:stop], m - n, frozen_group)
    return keep


def _check_groups(columns: int, n: int, m: int) -> None:
    """Refuse an N:M pattern that does not exist or does not fit into the rows."""
    if not 0 <= n <= m or m < 1:
        raise ValueError(f"{n}:{m} is no N:M pattern")
    if columns % m != 0:
        raise ValueError(f"rows of {columns} weights do not divide into groups of {m}")


# Calibration statistics: sums, so that batches combine with + (section 1)


def gram(x: FloatArray) -> FloatArray:
    """Sum over tokens of x x^T (section 1). x: (tokens, features); returns (features, features)."""
    tokens, features = x.shape
    total = np.zeros((features, features), dtype=np.float64)
    for t in range(tokens):
        for i in range(features):
            for j in range(features):
                total[i, j] += float(x[t, i]) * float(x[t, j])
    return total


def sum_squares(x: FloatArray) -> FloatArray:
    """Sum over tokens of every feature's square (section 1). x: (tokens, features); returns (features,)."""
    tokens, features = x.shape
    total = np.zeros(features, dtype=np.float64)
    for t in range(tokens):
        for j in range(features):
            total[j] += float(x[t, j]) ** 2
    return total


# SparseGPT: the OBS solver (Frantar & Alistarh 2023, section 3 and Algorithm 1)


def sparsegpt(
    weight: FloatArray,
    gram: FloatArray,
    tokens: int,
    sparsity: Fraction | None = None,
    n: int | None = None,
    m: int | None = None,
    block_size: int = 128,
    damping: Fraction = Fraction(1, 100),
    frozen: BoolArray | None = None,
) -> tuple[FloatArray, BoolArray]:
    """Prune one matrix and update what stays (Frantar & Alistarh 2023, section 3 and Algorithm 1).

    weight, frozen: (out, in); gram: (in, in), summed over `tokens` tokens; give either `sparsity` or `n`
    and `m`. Returns the new weight and the keep-mask, both (out, in). A kept weight may be 0.0: the
    keep-mask decides.
    """
    new_weight, keep, _ = sparsegpt_with_loss(weight, gram, tokens, sparsity, n, m, block_size, damping, frozen)
    return new_weight, keep


def sparsegpt_with_loss(
    weight: FloatArray,
    gram: FloatArray,
    tokens: int,
    sparsity: Fraction | None = None,
    n: int | None = None,
    m: int | None = None,
    block_size: int = 128,
    damping: Fraction = Fraction(1, 100),
    frozen: BoolArray | None = None,
) -> tuple[FloatArray, BoolArray, float]:
    """`sparsegpt`, and the loss that it accumulates: the sum of all squared errors (w - q) / U_jj.

    The loss equals `obs_error` with the same damping. A dead input ranks below all live ones, so its
    weights are dropped first; one that the quota lets stay keeps its value.
    """
    current = np.array(weight, dtype=np.float64)
    columns = current.shape[1]
    _check_pattern(columns, sparsity, n, m, block_size)
    is_frozen = np.zeros(current.shape, dtype=np.bool_) if frozen is None else frozen
    hessian, dead = damped_hessian(gram, tokens, damping)
    upper = inverse_hessian_sequence(hessian)
    keep = np.ones(current.shape, dtype=np.bool_)
    loss = 0.0
    for start in range(0, columns, block_size):
        stop = min(start + block_size, columns)
        if sparsity is not None:
            total = max(drop_count(sparsity, current.size), int(is_frozen.sum()))
            quota = _block_quota(total - int((~keep).sum()), is_frozen, start, stop)
            scores = obs_scores(current[:, start:stop], upper, dead, start)
            keep[:, start:stop] = keep_lowest_dropped(scores, quota, is_frozen[:, start:stop])
        errors = _solve_block(current, keep, upper, dead, is_frozen, start, stop, n, m)
        _update_later_blocks(current, errors, upper, start, stop)
        loss += float((errors**2).sum())
    return current, keep, loss


def _check_pattern(columns: int, sparsity: Fraction | None, n: int | None, m: int | None, block_size: int) -> None:
    """Exactly one pattern; and no N:M group may be cut by the border of a column block."""
    if (sparsity is None) != (n is not None and m is not None) or (n is None) != (m is None):
        raise ValueError("give either sparsity, or n and m")
    if n is not None and m is not None:
        _check_groups(columns, n, m)
        if block_size % m != 0:
            raise ValueError(f"blocks of {block_size} columns cut groups of {m}")


def damped_hessian(gram: FloatArray, tokens: int, damping: Fraction) -> tuple[FloatArray, BoolArray]:
    """H = 2 X X^T / tokens with dead inputs repaired, then damped (Frantar & Alistarh 2023, section 3).

    gram: (in, in); returns H (in, in) and the dead flags (in,). A dead input (zero diagonal) gets
    diagonal 1, so that H can be inverted; then `damping` times the mean of the diagonal is added to the
    diagonal. The common factor 2 / tokens changes neither keep-mask nor weights, except that a 1 for a
    dead input weighs more or less in the mean.
    """
    columns = gram.shape[0]
    hessian = np.zeros((columns, columns), dtype=np.float64)
    dead = np.zeros(columns, dtype=np.bool_)
    for i in range(columns):
        for j in range(columns):
            hessian[i, j] = 2.0 / tokens * float(gram[i, j])
    for j in range(columns):
        if hessian[j, j] == 0.0:
            dead[j] = True
            hessian[j, j] = 1.0
    mean_diagonal = sum(float(hessian[j, j]) for j in range(columns)) / columns
    for j in range(columns):
        hessian[j, j] += float(damping) * mean_diagonal
    return hessian, dead


def inverse_hessian_sequence(hessian: FloatArray) -> FloatArray:
    """Upper U with H^-1 = U^T U: all inverses that the solver needs (Frantar & Alistarh 2023, section 3).

    hessian, U: (in, in). Treating column j leaves the columns j, j+1, ... With B = inverse(H[j:, j:]),
    row j of U from the diagonal on is B[0, :] / sqrt(B[0, 0]). Hence U_jj^2 = B[0, 0].
    """
    inverse = np.linalg.inv(hessian)
    return np.asarray(np.linalg.cholesky(inverse).T, dtype=np.float64)


def obs_scores(current: FloatArray, upper: FloatArray, dead: BoolArray, start: int) -> FloatArray:
    """OBS importance w^2 / U_jj^2 of the columns from `start` on (Frantar & Alistarh 2023, Algorithm 1).

    current: (rows, width), the weights as updated so far; upper: (in, in); dead: (in,).
    Returns (rows, width). A weight behind a dead input scores -1, below every live one (section 1).
    """
    scores = np.zeros(current.shape, dtype=np.float64)
    for i in range(current.shape[0]):
        for k in range(current.shape[1]):
            j = start + k
            scores[i, k] = -1.0 if dead[j] else float(current[i, k]) ** 2 / float(upper[j, j]) ** 2
    return scores


def _block_quota(remaining_drop: int, is_frozen: BoolArray, start: int, stop: int) -> int:
    """How many of the remaining drops fall on this block (ours; the paper takes s of every block).

    The block's share by size, rounded up; at least its frozen entries, and leaving enough for the frozen
    ones of later blocks. So the total is exact: the last block takes all that remains.
    """
    size: int = is_frozen[:, start:stop].size
    remaining_size: int = is_frozen[:, start:].size
    quota = math.ceil(Fraction(remaining_drop * size, remaining_size))
    frozen_here, frozen_later = int(is_frozen[:, start:stop].sum()), int(is_frozen[:, stop:].sum())
    return min(max(quota, frozen_here), remaining_drop - frozen_later, size)


def _solve_block(
    current: FloatArray,
    keep: BoolArray,
    upper: FloatArray,
    dead: BoolArray,
    is_frozen: BoolArray,
    start: int,
    stop: int,
    n: int | None,
    m: int | None,
) -> FloatArray:
    """Treat the columns start..stop from left to right (Frantar & Alistarh 2023, Algorithm 1, inner loop).

    Changes `current` (out, in) inside the block and, for N:M, `keep`; returns errors (out, stop - start).
    A dropped weight becomes zero, and its error (w - 0) / U_jj is spread over the block's later columns.
    An N:M group is chosen when its first column is reached, from the weights as they are by then.
    """
    rows = current.shape[0]
    errors = np.zeros((rows, stop - start), dtype=np.float64)
    for j in range(start, stop):
        if n is not None and m is not None and j % m == 0:
            scores = obs_scores(current[:, j : j + m], upper, dead, j)
            keep[:, j : j + m] = keep_n_of_m(scores, n, m, is_frozen[:, j : j + m])
        for i in range(rows):
            if keep[i, j]:
                continue
            error = float(current[i, j]) / float(upper[j, j])
            current[i, j] = 0.0
            for later in range(j + 1, stop):
                current[i, later] -= error * upper[j, later]
            errors[i, j - start] = error
    return errors


def _update_later_blocks(current: FloatArray, errors: FloatArray, upper: FloatArray, start: int, stop: int) -> None:
    """Spread a block's errors over all columns after it (Algorithm 1, lazy batch update)."""
    rows, columns = current.shape
    for i in range(rows):
        for later in range(stop, columns):
            for j in range(start, stop):
                current[i, later] -= errors[i, j - start] * upper[j, later]


def obs_error(
    weight: FloatArray,
    new_weight: FloatArray,
    gram: FloatArray,
    tokens: int,
    damping: Fraction | None = None,
) -> float:
    """The layer's error tr((W - W') H (W - W')^T), measured directly (Frantar & Alistarh 2023, eq. 1).

    weight, new_weight: (out, in); gram: (in, in). H = 2 X X^T / tokens as it is; with `damping`, the
    solver's damped H, for which this equals the loss of `sparsegpt_with_loss`.
    """
    hessian = 2.0 / tokens * np.asarray(gram, dtype=np.float64)
    if damping is not None:
        hessian, _ = damped_hessian(gram, tokens, damping)
    total = 0.0
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            for k in range(weight.shape[1]):
                left = float(weight[i, j]) - float(new_weight[i, j])
                right = float(weight[i, k]) - float(new_weight[i, k])
                total += left * float(hessian[j, k]) * right
    return total


# The server: a function of two sums (sections 2 and 3)


def aggregate(keeps: list[BoolArray], values: list[FloatArray]) -> tuple[IntArray, FloatArray]:
    """Keep count C[j] = sum_i M_i[j] and kept sum S[j] = sum_i M_i[j] W_i[j] over the cohort (section 2).

    keeps, values: one array per client, all of one shape; returns C and S of that shape. The keep-mask
    decides, not the value: a kept 0.0 counts, and what stands at a dropped position is never read.
    """
    if not keeps or len(keeps) != len(values):
        raise ValueError(f"{len(keeps)} keep-masks and {len(values)} weights")
    count = np.zeros(keeps[0].shape, dtype=np.int64)
    kept_sum = np.zeros(keeps[0].shape, dtype=np.float64)
    for keep, value in zip(keeps, values, strict=True):
        for j in np.ndindex(keep.shape):
            if keep[j]:
                count[j] += 1
                kept_sum[j] += float(value[j])
    return count, kept_sum


def l0_average(count: IntArray, kept_sum: FloatArray) -> FloatArray:
    """W_g[j] = S[j] / C[j] where C[j] > 0, else 0 (FedSpaLLM eq. 5, section 2). Same shape in and out."""
    average = np.zeros(count.shape, dtype=np.float64)
    for j in np.ndindex(count.shape):
        if count[j] > 0:
            average[j] = float(kept_sum[j]) / int(count[j])
    return average


def expand(
    count: IntArray, importance: FloatArray, dense_abs: FloatArray, frozen: BoolArray | None, drop: int
) -> BoolArray:
    """Adaptive mask expansion as one lexicographic rule (FedSpaLLM eq. 6 and 7, section 3).

    All arrays have one shape, flat or (out, in); returns a keep-mask of that shape that drops exactly
    `drop` entries: frozen first, then smaller C, then smaller importance, then smaller flat index. Where
    C = 0 nothing was averaged, so `dense_abs` (the magnitude in the dense model) stands in for the
    importance: when more than `drop` entries have C = 0, those with the largest dense magnitude return,
    to their dense value. Frozen entries never return; `drop` is raised to their number if it is smaller.
    """
    is_frozen = _flat_frozen(frozen, count.size)
    keys = []
    for j in range(count.size):
        c = int(count.reshape(-1)[j])
        second = float(importance.reshape(-1)[j]) if c > 0 else float(dense_abs.reshape(-1)[j])
        keys.append((0 if is_frozen[j] else 1, c, second))
    return _drop_smallest(keys, max(drop, sum(is_frozen))).reshape(count.shape)


def expand_per_row(
    count: IntArray, importance: FloatArray, dense_abs: FloatArray, frozen: BoolArray | None, drop: int
) -> BoolArray:
    """`expand` with the output row as comparison group: `drop` entries of every row (section 3).

    All arrays are (out, in); returns (out, in).
    """
    keep = np.ones(count.shape, dtype=np.bool_)
    for i in range(count.shape[0]):
        frozen_row = None if frozen is None else frozen[i]
        keep[i] = expand(count[i], importance[i], dense_abs[i], frozen_row, drop)
    return keep


def expand_n_of_m(
    count: IntArray, importance: FloatArray, dense_abs: FloatArray, frozen: BoolArray | None, n: int, m: int
) -> BoolArray:
    """Keep the n largest (C, importance) in every m consecutive entries of a row (section 3, N:M).

    All arrays are (out, in) with `in` divisible by m; returns (out, in). A group with more than m - n
    frozen entries keeps fewer than n.
    """
    rows, columns = count.shape
    _check_groups(columns, n, m)
    keep = np.ones(count.shape, dtype=np.bool_)
    for i in range(rows):
        for start in range(0, columns, m):
            g = (i, slice(start, start + m))
            frozen_group = None if frozen is None else frozen[g]
            keep[g] = expand(count[g], importance[g], dense_abs[g], frozen_group, m - n)
    return keep


# The metric (section 7)


def perplexity(log_probs_of_targets: list[float]) -> float:
    """exp of the mean negative natural log-probability of the target tokens (section 7)."""
    return math.exp(-math.fsum(log_probs_of_targets) / len(log_probs_of_targets))
