"""Calibration statistics that merge by addition: batches, devices and ranks combine with `+`.

Sums are kept and divided at the end, so order and grouping do not matter beyond float32 rounding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_TILE = 128  # rows of the Gram matrix computed at once, at least


@dataclass(slots=True)
class InputNorms:
    """Sum over tokens of X_j squared: what Wanda needs.  sum_squares: (in,) float32; tokens: rows seen."""

    sum_squares: Tensor
    tokens: int = 0

    @classmethod
    def empty(cls, features: int, device: torch.device | str = "cpu") -> "InputNorms":
        """No tokens seen yet."""
        return cls(torch.zeros(features, dtype=torch.float32, device=device))

    def update(self, x: Tensor) -> None:
        """Add a batch of inputs, (tokens, in), in place."""
        self.sum_squares += x.float().square().sum(dim=0)
        self.tokens += x.shape[0]

    def __add__(self, other: "InputNorms") -> "InputNorms":
        return InputNorms(self.sum_squares + other.sum_squares, self.tokens + other.tokens)


@dataclass(slots=True)
class Gram:
    """Sum over tokens of x xT: what SparseGPT needs.

    matrix: (in, in) float32, of which only what lies on and below the diagonal counts: the sum is symmetric, and the
    other half would nearly double the cost of the largest product of a calibration.  tokens: rows seen.
    """

    matrix: Tensor
    tokens: int = 0

    @classmethod
    def empty(cls, features: int, device: torch.device | str = "cpu") -> "Gram":
        """No tokens seen yet."""
        return cls(torch.zeros(features, features, dtype=torch.float32, device=device))

    def update(self, x: Tensor) -> None:
        """Add a batch of inputs, (tokens, in), in place."""
        x = x.float()
        features = x.shape[1]
        step = max(_TILE, -(-features // 8))
        for top in range(0, features, step):
            bottom = min(top + step, features)
            self.matrix[top:bottom, :bottom].addmm_(x[:, top:bottom].T, x[:, :bottom])
        self.tokens += x.shape[0]

    def __add__(self, other: "Gram") -> "Gram":
        return Gram(self.matrix + other.matrix, self.tokens + other.tokens)
