"""The plan of a round: everything a member needs to know, and everything anybody needs to recompute the assignment."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fedspallm_secure.crypto.draws import PublicDraws
from fedspallm_secure.errors import PlanRefused, UsageError
from fedspallm_secure.pruning.layer_sampling import (
    check_coverage,
    cohorts,
    deal,
    rounds_needed,
    spread,
)
from fedspallm_secure.pruning.patterns import NofM, Pattern, Unstructured

DEFAULT_MIN_COHORT = 3  # with two, each learns what the other kept; with one, the sum is the member


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """One round: its target pattern, its layers, and who prunes which.

    number: from 1; assignment: member -> layers, ascending.
    """

    number: int
    target: Pattern
    layers: tuple[int, ...]
    assignment: Mapping[str, tuple[int, ...]]

    @property
    def cohorts(self) -> dict[int, list[str]]:
        """layer -> its members, in name order."""
        return cohorts(self.assignment, self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the plan file; layers and members in order."""
        return {
            "round": self.number,
            "target": str(self.target),
            "sparsity": str(self.target.sparsity),
            "layers": list(self.layers),
            "assignment": {member: list(layers) for member, layers in sorted(self.assignment.items())},
        }


def plan_rounds(
    layers: int,
    budgets: Mapping[str, int],
    schedule: list[Pattern],
    min_cohort: int,
    seed: bytes,
    spread_layers: bool = False,
) -> list[RoundPlan]:
    """Plan every round of a schedule.

    layers: decoder layers of the model; budgets: member -> layers per round; schedule: the target of each pass over
    the model, never less sparse than the one before.  With `spread_layers` a pass takes as many rounds as coverage
    needs, each with its own part of the layers.  Raises PlanRefused or UsageError.
    """
    check_schedule(schedule)
    if min_cohort < 1:
        raise UsageError(f"--min-cohort must be at least 1, got {min_cohort}")
    for member, budget in budgets.items():
        if not 0 <= budget <= layers:
            raise UsageError(f"budget of {member} is {budget}; the model has {layers} decoder layers")
    if not spread_layers or len(budgets) < min_cohort:
        check_coverage(layers, budgets, min_cohort)
    plans: list[RoundPlan] = []
    for step, target in enumerate(schedule, start=1):
        parts = rounds_needed(layers, budgets, min_cohort) if spread_layers else 1
        draws = PublicDraws(seed, f"layers of pass {step}")
        for part in spread(range(layers), parts, draws) if parts > 1 else [list(range(layers))]:
            number = len(plans) + 1
            plans.append(_plan_round(number, target, part, budgets, min_cohort, seed))
    return plans


def _plan_round(
    number: int, target: Pattern, layers: list[int], budgets: Mapping[str, int], min_cohort: int, seed: bytes
) -> RoundPlan:
    capped = {member: min(budget, len(layers)) for member, budget in budgets.items()}
    hands = deal(layers, capped, PublicDraws(seed, f"assignment of round {number}"))
    plan = RoundPlan(number, target, tuple(layers), {member: tuple(hand) for member, hand in hands.items()})
    short = [layer for layer, members in plan.cohorts.items() if len(members) < min_cohort]
    if short:
        raise PlanRefused(f"layers {short} would have fewer than {min_cohort} members")
    return plan


def check_schedule(schedule: list[Pattern]) -> None:
    """Raise UsageError unless the targets never become less sparse and N:M stays one pattern."""
    if not schedule:
        raise UsageError("the schedule is empty")
    for before, after in pairwise(schedule):
        if after.sparsity < before.sparsity:
            raise UsageError(f"the schedule goes back from {before} to {after}; dropped weights never return")
        if before != after and (isinstance(before, NofM) or isinstance(after, NofM)):
            raise UsageError("a schedule is either unstructured or one N:M pattern throughout")


def local_pattern(target: Pattern, own: Pattern | None) -> Pattern:
    """What one member prunes to: the round's target, or its own sparsity if it chose one (never for N:M)."""
    if own is None:
        return target
    if isinstance(target, NofM) or isinstance(own, NofM):
        raise UsageError("members cannot choose their own sparsity under an N:M pattern")
    return Unstructured(own.sparsity)
