"""What was asked for in differential privacy, as one frozen value, of a whole run or of a member.  Free of torch."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from fedspallm_secure.errors import UsageError

DEFAULT_DELTA = 1e-6
DEFAULT_CLIP = 1.0
MOST_EPSILON = 100.0


@dataclass(frozen=True, slots=True)
class PrivacySettings:
    """The privacy budget of every silo for a whole run, and the clip of its records.

    epsilon, delta: what all releases of a silo together may cost; clip: the longest vector of a record, in units of a
    window of random tokens (ADR 27).
    """

    epsilon: float
    delta: float = DEFAULT_DELTA
    clip: float = DEFAULT_CLIP

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= MOST_EPSILON:
            hint = "8 is a weak promise, 1 a strong one; more than a hundred is none"
            raise UsageError(f"--dp-epsilon must lie above 0 and at most at {MOST_EPSILON:g}", hint=hint)
        if not 0 < self.delta < 1:
            raise UsageError(f"--dp-delta must lie between 0 and 1, got {self.delta:g}", hint="for example 1e-6")
        if not (self.clip > 0 and isfinite(self.clip)):
            raise UsageError(f"--dp-clip must be a number above 0, got {self.clip:g}")

    def check_pruner(self, pruner: str) -> None:
        """Raise UsageError for a pruner whose choices cannot be made private here."""
        if pruner == "sparsegpt":
            raise UsageError(
                "--dp-epsilon does not work with sparsegpt: it needs the products of all pairs of inputs, where noise "
                "outweighs what is learnt from them, and the weights that it keeps would carry them",
                hint="add --pruner wanda",
            )

    def check_records(self, records: int) -> None:
        """Raise UsageError where `delta` would allow to publish whole records."""
        if self.delta * records >= 1:
            raise UsageError(
                f"--dp-delta {self.delta:g} is not below 1 in {records}: publishing one whole record would satisfy it",
                hint=f"choose far less than {1 / records:g}",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, everything that decides what is promised."""
        return {"epsilon": self.epsilon, "delta": self.delta, "clip": self.clip}


@dataclass(frozen=True, slots=True)
class MemberTerms:
    """What a member promises about its records, by its own configuration.

    settings: privacy budget and clip; rounds: releases that the budget is meant for; records: windows of a round.
    """

    settings: PrivacySettings
    rounds: int
    records: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**self.settings.to_dict(), "rounds": self.rounds, "records": self.records}
