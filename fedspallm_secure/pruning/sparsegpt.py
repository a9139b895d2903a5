"""SparseGPT: the column-wise OBS solver (Frantar & Alistarh 2023, algorithm 1), as functions of tensors.

Matrices that read the same input share one Gram matrix, one factorisation and one sweep over the columns:
rows are independent of each other once the factor is known, so they are stacked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from fedspallm_secure.errors import NumericalFailure
from fedspallm_secure.pruning.keepmasks import keep_n_of_m, keep_per_matrix
from fedspallm_secure.pruning.patterns import NofM, Pattern, Unstructured
from fedspallm_secure.pruning.scores import obs_scores
from fedspallm_secure.pruning.statistics import Gram

DAMPING = Fraction(1, 100)  # share of the mean diagonal added to the diagonal
DAMPING_TRIES = 4  # each ten times the one before: 1 %, 10 %, 100 %, 1,000 %
BLOCK_SIZE = 128  # columns treated together


@dataclass(frozen=True, slots=True)
class InverseFactor:
    """Upper Cholesky factor U of the inverse Hessian, H^-1 = UT U.

    upper: (in, in), in the dtype of the Gram matrix; dead: (in,) bool, inputs that were never active.
    """

    upper: Tensor
    dead: Tensor


def factorise(gram: Gram, label: str, damping: Fraction = DAMPING) -> InverseFactor:
    """Damp H = 2/tokens * gram, invert it and factorise the inverse, once per shared input.

    A dead input (zero diagonal) gets a unit diagonal, so nothing divides by zero.  When the factorisation fails
    the damping grows ten-fold, `DAMPING_TRIES` times in all; then NumericalFailure names `label` (layer and
    matrix) and the remedy.  Nothing is ever replaced by an identity.
    """
    if gram.tokens == 0:
        raise NumericalFailure(f"{label}: no calibration token reached this matrix")
    if not bool(torch.isfinite(gram.matrix).all()):
        raise NumericalFailure(
            f"{label}: the calibration activations overflow or are not numbers",
            hint="use --dtype float32 or bfloat16 for calibration",
        )
    hessian = gram.matrix * (2.0 / gram.tokens)  # what lies above the diagonal is never read
    diagonal = hessian.diagonal()
    dead = diagonal == 0
    diagonal.masked_fill_(dead, 1.0)
    mean = float(diagonal.mean())
    share = float(damping)
    added = 0.0
    for _ in range(DAMPING_TRIES):
        diagonal += share * mean - added
        added = share * mean
        upper = _inverse_upper(hessian)
        if upper is not None:
            return InverseFactor(upper, dead)
        share *= 10
    raise NumericalFailure(
        f"{label}: the Hessian of {gram.tokens} tokens could not be factorised, not even with damping {share / 10:g}"
    )


def _inverse_upper(hessian: Tensor) -> Tensor | None:
    """Upper U with H^-1 = UT U, from the lower triangle of H; None where the factorisation fails.

    With J reversing the order, J H J = L LT gives H = (J L J)(J L J)T, so U = J L^-1 J: one factorisation and one
    triangular inverse.  Inverting H and factorising that takes longer and loses accuracy twice.
    """
    lower, failed = torch.linalg.cholesky_ex(hessian.T.flip(0, 1))
    if int(failed):
        return None
    upper = _invert_lower(lower).flip(0, 1)
    return upper if bool(torch.isfinite(upper).all()) else None


def _invert_lower(lower: Tensor) -> Tensor:
    """Inverse of a lower triangular matrix, by halves: [[A, 0], [C, B]]^-1 = [[A^-1, 0], [-B^-1 C A^-1, B^-1]]."""
    size = len(lower)
    if size <= BLOCK_SIZE:
        unit = torch.eye(size, dtype=lower.dtype, device=lower.device)
        small: Tensor = torch.linalg.solve_triangular(lower, unit, upper=False)
        return small
    half = size // 2
    first, second = _invert_lower(lower[:half, :half]), _invert_lower(lower[half:, half:])
    inverse = torch.zeros_like(lower)
    inverse[:half, :half] = first
    inverse[half:, half:] = second
    inverse[half:, :half] = second @ (lower[half:, :half] @ first).neg_()
    return inverse


def sparsegpt(
    weights: Sequence[Tensor],
    factor: InverseFactor,
    pattern: Pattern,
    frozen: Sequence[Tensor | None] | None = None,
    block_size: int = BLOCK_SIZE,
) -> list[tuple[Tensor, Tensor]]:
    """Prune matrices that share one input and update what stays.

    weights: each (out_i, in); frozen: weights dropped by earlier rounds, as keep-mask complements.  Returns for each
    matrix its new weight, in the dtype of the factor, zero where dropped, and its keep-mask, both (out_i, in).
    Exactly max(ceil(s * d), frozen) weights of each matrix are dropped.
    """
    rows = [weight.shape[0] for weight in weights]
    work = torch.cat([weight.to(factor.upper.dtype) for weight in weights])  # (sum of out_i, in)
    keep = torch.ones_like(work, dtype=torch.bool)
    gone = _stack_frozen(frozen, work)
    if isinstance(pattern, NofM):
        # A group of M must not straddle two blocks, or it would be chosen half before, half after an update.
        block_size = max(pattern.m, block_size - block_size % pattern.m)
    columns = work.shape[1]
    bounds = [(start, min(start + block_size, columns)) for start in range(0, columns, block_size)]
    quotas = [] if isinstance(pattern, NofM) else _all_quotas(rows, pattern, gone, bounds)
    for number, (start, stop) in enumerate(bounds):
        block = slice(start, stop)
        if not isinstance(pattern, NofM):
            scores = obs_scores(work[:, block], factor.upper.diagonal()[block], factor.dead[block])
            hole = None if gone is None else gone[:, block]
            keep[:, block] = _select_blockwise(scores, rows, [quota[number] for quota in quotas], hole)
        errors = _eliminate(work, keep, gone, factor, pattern, start, stop)
        if stop < columns:
            work[:, stop:].addmm_(errors.T, factor.upper[block, stop:], alpha=-1.0)
    work.masked_fill_(~keep, 0.0)
    return list(zip(torch.split(work, rows), torch.split(keep, rows), strict=True))


def _eliminate(
    work: Tensor,
    keep: Tensor,
    gone: Tensor | None,
    factor: InverseFactor,
    pattern: Pattern,
    start: int,
    stop: int,
) -> Tensor:
    """Sweep the columns of one block left to right; returns the scaled errors, (columns, rows).

    The block is worked on transposed, so that a column of the weight is a contiguous row here.
    """
    upper = factor.upper[start:stop, start:stop]
    scale = upper.diagonal().reciprocal()[:, None]
    block = work[:, start:stop].T.contiguous()  # (columns, rows)
    hits = (~keep[:, start:stop]).T * scale  # 1 / U_jj where a weight goes, else 0
    errors = torch.empty_like(block)
    for column, (value, hit, error) in enumerate(zip(block, hits, errors, strict=True)):
        if isinstance(pattern, NofM) and column % pattern.m == 0:
            group = slice(column, column + pattern.m)
            part = slice(start + column, start + column + pattern.m)
            scores = obs_scores(block[group].T, factor.upper.diagonal()[part], factor.dead[part])
            chosen = keep_n_of_m(scores, pattern.n, pattern.m, None if gone is None else gone[:, part])
            keep[:, part] = chosen
            torch.mul((~chosen).T, scale[group], out=hits[group])
        torch.mul(value, hit, out=error)
        if column + 1 < stop - start:
            block[column + 1 :].addr_(upper[column, column + 1 :], error, alpha=-1.0)
    work[:, start:stop] = block.T
    return errors


def _stack_frozen(frozen: Sequence[Tensor | None] | None, like: Tensor) -> Tensor | None:
    if frozen is None or all(part is None for part in frozen):
        return None
    parts = [part for part in frozen if part is not None]
    if len(parts) != len(frozen):
        raise ValueError("either all or none of the matrices that share an input may be frozen in part")
    return torch.cat(parts).to(like.device)


def _all_quotas(
    rows: Sequence[int], pattern: Unstructured, gone: Tensor | None, bounds: Sequence[tuple[int, int]]
) -> list[list[int]]:
    """`block_quotas` of every stacked matrix."""
    columns = bounds[-1][1]
    quotas = []
    for matrix, height in enumerate(rows):
        top = sum(rows[:matrix])
        sizes = [height * (stop - start) for start, stop in bounds]
        frozen = [0 if gone is None else int(gone[top : top + height, a:b].sum()) for a, b in bounds]
        quotas.append(block_quotas(pattern.drop_count(height * columns), sizes, frozen))
    return quotas


def _select_blockwise(scores: Tensor, rows: Sequence[int], quotas: Sequence[int], gone: Tensor | None) -> Tensor:
    """Keep-mask of one column block: each stacked matrix drops its quota among its own rows."""
    parts = torch.split(scores, list(rows))
    holes: Sequence[Tensor | None] = [None] * len(parts) if gone is None else torch.split(gone, list(rows))
    chosen = [keep_per_matrix(part, quota, hole) for part, quota, hole in zip(parts, quotas, holes, strict=True)]
    return torch.cat(chosen)


def block_quotas(drop: int, sizes: Sequence[int], frozen: Sequence[int]) -> list[int]:
    """How many weights go in each column block so that max(drop, frozen) go in all.

    sizes, frozen: weights, and already dropped weights, per block.  Each block takes its share of what is left to
    drop, rounded up; at least its own frozen weights, at most what the frozen weights of later blocks leave over.
    """
    left, size_left, frozen_left = max(drop, sum(frozen)), sum(sizes), sum(frozen)
    quotas = []
    for size, gone in zip(sizes, frozen, strict=True):
        frozen_left -= gone
        share = -(-left * size // size_left)
        quota = min(max(share, gone), left - frozen_left, size)
        quotas.append(quota)
        left -= quota
        size_left -= size
    return quotas
