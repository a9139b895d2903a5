"""Calibration statistics that merge by addition: batches, devices and members combine with `+`.

Sums are kept and divided at the end, so order and grouping do not matter beyond float32 rounding.  Where not even that
may differ, `part` says what a batch adds and `add` adds it, so that several processes can add in one order (ADR 21).
"""

from collections.abc import Sequence
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
        self.add(self.part(x), x.shape[0])

    def part(self, x: Tensor) -> Tensor:
        """What a batch of inputs, (tokens, in), adds: (in,) float32."""
        return x.float().square().sum(dim=0)

    def blank_part(self, tokens: int, dtype: torch.dtype) -> Tensor:
        """Room for the `part` of a batch of so many tokens, whose inputs are of `dtype`."""
        return torch.empty_like(self.sum_squares)

    def add(self, part: Tensor, tokens: int) -> None:
        """Add what `part` gave for a batch of so many tokens, in place."""
        self.sum_squares += part
        self.tokens += tokens

    def __add__(self, other: "InputNorms") -> "InputNorms":
        return InputNorms(self.sum_squares + other.sum_squares, self.tokens + other.tokens)


@dataclass(slots=True)
class Gram:
    """Sum over tokens of x xT: what SparseGPT needs.

    matrix: (in, in) float32, of which only what lies on and below the diagonal counts: the sum is symmetric, and the
    other half would nearly double the cost of the largest product of a calibration.  tokens: rows seen; bands: rows of
    the matrix that are computed here, first and past the last, the others stay zero; None for all.
    """

    matrix: Tensor
    tokens: int = 0
    bands: Sequence[tuple[int, int]] | None = None

    @classmethod
    def empty(cls, features: int, device: torch.device | str = "cpu") -> "Gram":
        """No tokens seen yet."""
        return cls(torch.zeros(features, features, dtype=torch.float32, device=device))

    def update(self, x: Tensor) -> None:
        """Add a batch of inputs, (tokens, in), in place."""
        self.add(self.part(x), x.shape[0])

    def part(self, x: Tensor) -> Tensor:
        """What a batch of inputs adds follows from the batch itself, which is smaller than its (in, in) product."""
        return x

    def blank_part(self, tokens: int, dtype: torch.dtype) -> Tensor:
        """Room for the `part` of a batch of so many tokens, whose inputs are of `dtype`."""
        return torch.empty(tokens, len(self.matrix), dtype=dtype, device=self.matrix.device)

    def add(self, part: Tensor, tokens: int) -> None:
        """Add a batch, band by band, in place."""
        x = part.float()
        for top, bottom in bands(len(self.matrix)) if self.bands is None else self.bands:
            self.matrix[top:bottom, :bottom].addmm_(x[:, top:bottom].T, x[:, :bottom])
        self.tokens += tokens

    def __add__(self, other: "Gram") -> "Gram":
        return Gram(self.matrix + other.matrix, self.tokens + other.tokens)


def bands(features: int) -> list[tuple[int, int]]:
    """The rows of a Gram matrix that are computed at once, first and past the last; the next band starts there."""
    step = max(_TILE, -(-features // 8))
    return [(top, min(top + step, features)) for top in range(0, features, step)]
