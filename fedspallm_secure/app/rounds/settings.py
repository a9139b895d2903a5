"""How a simulated federation aggregates."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from fedspallm_secure.app.rounds.playing import Stage
from fedspallm_secure.errors import UsageError
from fedspallm_secure.secagg.thresholds import Profile

_MOST_NAMES = 12  # of silos that an error lists


@dataclass(frozen=True, slots=True)
class SecureSettings:
    """Secure aggregation, as asked for.

    colluders: c, None for (n - 1) / 3 of the smallest cohort; sum_bits: 32 or 16; drops: stage -> silos that fall
    silent there, in every round.
    """

    profile: Profile = Profile.THREE_TRIP
    colluders: int | None = None
    sum_bits: int = 32
    drops: Mapping[Stage, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.colluders is not None and self.colluders < 0:
            raise UsageError(f"--collude must be 0 or more, got {self.colluders}")
        if self.sum_bits not in (16, 32):
            raise UsageError(f"--sum-bits must be 16 or 32, got {self.sum_bits}")
        if self.profile is not Profile.THREE_TRIP and self.drops.get(Stage.ENDORSEMENT):
            raise UsageError(f"with --profile {self.profile} no silo endorses anything, so none can drop out there")
        if self.profile is Profile.ONE_TRIP and self.drops.get(Stage.UNMASK):
            raise UsageError("with --aggregation he silos are done once they have contributed: none drops out later")

    def check_names(self, silos: Collection[str]) -> None:
        """Raise UsageError if a drop names somebody who is not there."""
        there = sorted(silos)
        known = ", ".join(there if len(there) <= _MOST_NAMES else [*there[:_MOST_NAMES], "…"])
        for names in self.drops.values():
            for name in sorted(names):
                if name not in silos:
                    raise UsageError(f"--drop names {name}, which is not a silo; silos: {known}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "profile": self.profile.value,
            "colluders": self.colluders,
            "sum_bits": self.sum_bits,
            "drops": {stage.value: sorted(names) for stage, names in sorted(self.drops.items())},
        }


def parse_drops(texts: Collection[str]) -> dict[Stage, frozenset[str]]:
    """Read STAGE:NAME, given any number of times.  Raises UsageError."""
    found: dict[Stage, set[str]] = {}
    for text in texts:
        stage, colon, name = text.partition(":")
        if not colon or not name or stage not in set(Stage):
            raise UsageError(f"--drop is STAGE:NAME with STAGE one of {', '.join(Stage)}, got {text!r}")
        found.setdefault(Stage(stage), set()).add(name)
    return {stage: frozenset(names) for stage, names in found.items()}
