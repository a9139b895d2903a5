"""What keep counts tell about single members' keep-masks, and how much of it the public model tells anyway.

Every figure is a function of the released counts and of public weights.  So a server can print them without knowing
anything that it may not know, and anybody with the counts can recompute them.  Source: SPEC section 15.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedspallm_secure.pruning.patterns import Pattern
from fedspallm_secure.pruning.pruners import LocalSpec, Pruner, choose
from fedspallm_secure.pruning.scores import magnitude_scores

_TILE = 1 << 17  # weights looked at together; as int64 they fill 1 MiB


@dataclass(frozen=True, slots=True)
class LeakageFigures:
    """Sums over matrices, whole numbers; figures of several matrices combine with `+`.

    A *bit* is one member's choice about one weight, kept or dropped: `bits` is the number of them, `by_count` how many
    are right when each is guessed from the keep count, `by_guess` how many when it is guessed from the public model.
    All accuracies are averages over the members of a cohort: for a single member the guess can be better or worse.
    """

    positions: int = 0
    bits: int = 0
    unanimous: int = 0
    single: int = 0
    by_count: int = 0
    by_guess: int = 0

    @classmethod
    def of(cls, count: Tensor, members: int, guess: Tensor) -> "LeakageFigures":
        """The figures of one matrix.

        count: (out, in), any integer type, how many of `members` kept each weight; guess: (out, in) bool, the
        keep-mask that the public model suggests (`public_guess`), on the same device.
        Raises ValueError for other shapes or types, fewer than one member, and counts outside 0 … members.
        """
        if count.shape != guess.shape or guess.dtype is not torch.bool or members < 1:
            raise ValueError(f"counts {tuple(count.shape)} of {members} members, guess {tuple(guess.shape)}")
        if count.is_floating_point() or count.is_complex() or count.dtype is torch.bool:
            raise ValueError(f"counts are integers, not {count.dtype}")
        dropped, kept = _histograms(count.reshape(-1), members, guess.reshape(-1))
        both = [left + right for left, right in zip(dropped, kept, strict=True)]
        return cls(
            positions=sum(both),
            bits=sum(both) * members,
            unanimous=both[0] + both[members],
            single=both[1],
            by_count=sum(number * max(c, members - c) for c, number in enumerate(both)),
            by_guess=sum(number * c for c, number in enumerate(kept))
            + sum(number * (members - c) for c, number in enumerate(dropped)),
        )

    def __add__(self, other: "LeakageFigures") -> "LeakageFigures":
        return LeakageFigures(
            self.positions + other.positions,
            self.bits + other.bits,
            self.unanimous + other.unanimous,
            self.single + other.single,
            self.by_count + other.by_count,
            self.by_guess + other.by_guess,
        )

    @property
    def unanimous_share(self) -> float:
        """Share of positions with C = 0 or C = n, where the count is every member's bit."""
        return self.unanimous / max(self.positions, 1)

    @property
    def single_share(self) -> float:
        """Share of positions with C = 1, where a sum is one member's value."""
        return self.single / max(self.positions, 1)

    @property
    def count_accuracy(self) -> float:
        """Mean of max(C, n − C) / n: share of bits that are guessed right from the count, by its majority."""
        return self.by_count / max(self.bits, 1)

    @property
    def guess_accuracy(self) -> float:
        """Mean of C / n where the public model keeps and (n − C) / n where it drops: guesses without the count."""
        return self.by_guess / max(self.bits, 1)

    @property
    def excess(self) -> float:
        """What the count adds to the public model: the difference of both accuracies, never below 0."""
        return (self.by_count - self.by_guess) / max(self.bits, 1)

    def to_dict(self) -> dict[str, int | float]:
        """Plain data for reports; shares and accuracies between 0 and 1."""
        return {
            "positions": self.positions,
            "unanimous": self.unanimous_share,
            "single": self.single_share,
            "count_accuracy": self.count_accuracy,
            "guess_accuracy": self.guess_accuracy,
            "excess": self.excess,
        }


def public_guess(weight: Tensor, pattern: Pattern, frozen: Tensor | None = None) -> Tensor:
    """The keep-mask that anybody would guess: the largest weights of the public matrix, at the target sparsity.

    weight: (out, in); frozen: (out, in) bool, dropped in earlier rounds.  Returns (out, in) bool.
    """
    return choose(magnitude_scores(weight), LocalSpec(Pruner.MAGNITUDE, pattern), frozen)


def _histograms(count: Tensor, members: int, guess: Tensor) -> tuple[list[int], list[int]]:
    """How many weights have each count from 0 to `members`: those that the guess drops, and those that it keeps."""
    total = torch.zeros(2 * (members + 1), dtype=torch.int64)
    for start in range(0, count.numel(), _TILE):
        tile = count[start : start + _TILE].to(torch.int64)
        least, most = (int(bound) for bound in torch.aminmax(tile))
        if least < 0 or most > members:
            raise ValueError(f"counts of {members} members lie between 0 and {members}; found {least} to {most}")
        kinds = torch.add(tile, guess[start : start + _TILE], alpha=members + 1)
        total += torch.bincount(kinds, minlength=total.numel()).cpu()
    return total[: members + 1].tolist(), total[members + 1 :].tolist()
