"""Importance scores: how much a weight matters, one number per weight, larger is more important."""

import torch
from torch import Tensor


def magnitude_scores(weight: Tensor) -> Tensor:
    """|W|.  weight: (out, in), any float type; returns (out, in) float32."""
    return weight.abs().float()


def wanda_scores(weight: Tensor, sum_squares: Tensor) -> Tensor:
    """|W_ij| * ||X_j||_2 (Sun et al. 2023, eq. 1).

    weight: (out, in); sum_squares: (in,), the sum over tokens of X_j squared; returns (out, in) float32.
    """
    return weight.abs().float().mul_(sum_squares.float().sqrt())


def obs_scores(weight: Tensor, inverse_diagonal: Tensor, dead: Tensor) -> Tensor:
    """w^2 / [H^-1]_jj, the loss of removing one weight (Frantar & Alistarh 2023, eq. 3).

    weight: (out, in); inverse_diagonal: (in,), the diagonal of the Cholesky factor of H^-1, whose square is
    the conditional [H^-1]_jj once all columns to the left are fixed; dead: (in,) bool, inputs that were
    never active and go first (score -1).  Returns (out, in) float32.
    """
    return (weight / inverse_diagonal).square_().masked_fill_(dead, -1.0)


def random_scores(shape: tuple[int, int], seed: int) -> Tensor:
    """Uniform scores for the `random` comparison; a measuring aid, not a source of secrets."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator)
