"""One call for any method: prune the matrices that read one input, given that input's statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

import torch
from torch import Tensor

from fedspallm_secure.errors import CorruptWeights, NumericalFailure, PatternMismatch
from fedspallm_secure.pruning.keepmasks import keep_n_of_m, keep_per_matrix, keep_per_row
from fedspallm_secure.pruning.patterns import NofM, Pattern
from fedspallm_secure.pruning.scores import magnitude_scores, wanda_scores
from fedspallm_secure.pruning.sparsegpt import BLOCK_SIZE, DAMPING, factorise, sparsegpt
from fedspallm_secure.pruning.statistics import Gram, InputNorms

Statistics = Gram | InputNorms


class Pruner(StrEnum):
    """How a member chooses, and whether it updates, the weights that stay."""

    MAGNITUDE = "magnitude"
    WANDA = "wanda"
    SPARSEGPT = "sparsegpt"

    @property
    def updates_survivors(self) -> bool:
        """Whether kept weights change; if not, the keep counts alone carry the whole result."""
        return self is Pruner.SPARSEGPT

    def empty_statistics(self, features: int, device: torch.device | str) -> Statistics | None:
        """What this method must know about an input of `features` numbers; None if nothing."""
        if self is Pruner.SPARSEGPT:
            return Gram.empty(features, device)
        return InputNorms.empty(features, device) if self is Pruner.WANDA else None


@dataclass(frozen=True, slots=True)
class LocalSpec:
    """What one member does to each matrix assigned to it."""

    pruner: Pruner
    pattern: Pattern
    damping: Fraction = DAMPING
    block_size: int = BLOCK_SIZE


@dataclass(slots=True)
class Matrix:
    """One weight matrix on its way through a pruner.

    label: layer and name, for messages; weight: (out, in); frozen: (out, in) bool, dropped in earlier rounds.
    """

    label: str
    weight: Tensor
    frozen: Tensor | None = None


@dataclass(slots=True)
class Pruned:
    """The result for one matrix: weight (out, in) float32, zero where dropped; keep (out, in) bool."""

    weight: Tensor
    keep: Tensor


def check_pattern(pattern: Pattern, width: int, label: str) -> None:
    """Raise PatternMismatch unless `pattern` fits rows of `width` inputs."""
    if isinstance(pattern, NofM) and width % pattern.m:
        raise PatternMismatch(f"{label} has {width} inputs, which {pattern} does not divide")


def prune_together(matrices: Sequence[Matrix], statistics: Statistics | None, spec: LocalSpec) -> list[Pruned]:
    """Prune matrices that read the same input.

    Raises CorruptWeights on NaN or infinite weights, PatternMismatch, and NumericalFailure when the statistics
    cannot be used; all name the matrix.
    """
    for matrix in matrices:
        check_pattern(spec.pattern, matrix.weight.shape[1], matrix.label)
        if not bool(torch.isfinite(matrix.weight).all()):
            raise CorruptWeights(f"{matrix.label} holds NaN or infinite weights")
    if spec.pruner is Pruner.SPARSEGPT:
        return _sparsegpt(matrices, statistics, spec)
    return [_rank(matrix, statistics, spec) for matrix in matrices]


def _sparsegpt(matrices: Sequence[Matrix], statistics: Statistics | None, spec: LocalSpec) -> list[Pruned]:
    if not isinstance(statistics, Gram):
        raise ValueError("sparsegpt needs a Gram matrix")
    label = " and ".join(matrix.label for matrix in matrices)
    factor = factorise(statistics, label, spec.damping)
    solved = sparsegpt(
        [matrix.weight for matrix in matrices],
        factor,
        spec.pattern,
        [matrix.frozen for matrix in matrices],
        spec.block_size,
    )
    return [Pruned(weight, keep) for weight, keep in solved]


def _rank(matrix: Matrix, statistics: Statistics | None, spec: LocalSpec) -> Pruned:
    if isinstance(statistics, InputNorms):
        if statistics.tokens == 0:
            raise NumericalFailure(f"{matrix.label}: no calibration token reached this matrix")
        if not bool(torch.isfinite(statistics.sum_squares).all()):
            raise NumericalFailure(f"{matrix.label}: the calibration activations overflow or are not numbers")
        scores = wanda_scores(matrix.weight, statistics.sum_squares)
    else:
        scores = magnitude_scores(matrix.weight)
    keep = choose(scores, spec, matrix.frozen)
    return Pruned(matrix.weight.float().masked_fill(~keep, 0.0), keep)


def choose(scores: Tensor, spec: LocalSpec, frozen: Tensor | None = None) -> Tensor:
    """Keep-mask from scores, compared as the method's paper does: Wanda per output row, others per matrix."""
    if isinstance(spec.pattern, NofM):
        return keep_n_of_m(scores, spec.pattern.n, spec.pattern.m, frozen)
    if spec.pruner is Pruner.WANDA:
        return keep_per_row(scores, spec.pattern.drop_count(scores.shape[1]), frozen)
    return keep_per_matrix(scores, spec.pattern.drop_count(scores.numel()), frozen)
