"""Who prunes which decoder layers in a round (Bai et al. 2025, section 4.3), recomputable from a public seed.

Decks of all layers, each deck a fresh uniform permutation, are dealt in turn.  A hand that runs over the end of a
deck takes from the next one only layers it does not hold yet.  Every step treats all layers alike, hence

- unbiasedness: P(layer l in the hand of member i) = b_i / L for every l (Theorem 4.2);
- balance: a deck is used up before the next is opened for the following member, so cohort sizes differ by at most one;
- coverage: floor(sum b_i / L) >= min_cohort whenever sum b_i >= L * min_cohort.
"""

from collections.abc import Mapping, Sequence

from fedspallm_secure.crypto.draws import PublicDraws
from fedspallm_secure.errors import PlanRefused, UsageError


def deal(layers: Sequence[int], budgets: Mapping[str, int], draws: PublicDraws) -> dict[str, list[int]]:
    """Deal `layers` to members by budget; returns each member's layers in ascending order.

    budgets: member -> number of layers it can prune, 0 <= b <= len(layers).  Members are served in name order, so
    the result depends on nothing but the arguments.  Raises UsageError for a budget out of range.
    """
    hands: dict[str, list[int]] = {}
    deck: list[int] = []
    for member in sorted(budgets):
        budget = budgets[member]
        if not 0 <= budget <= len(layers):
            raise UsageError(f"budget of {member} is {budget}; it must lie between 0 and {len(layers)} layers")
        hand = deck[:budget]
        deck = deck[budget:]
        if len(hand) < budget:
            fresh = draws.permutation(layers)
            held = set(hand)
            taken = [layer for layer in fresh if layer not in held][: budget - len(hand)]
            hand += taken
            deck = [layer for layer in fresh if layer not in set(taken)]
        hands[member] = sorted(hand)
    return hands


def cohorts(hands: Mapping[str, Sequence[int]], layers: Sequence[int]) -> dict[int, list[str]]:
    """Turn hands into cohorts: layer -> its members in name order."""
    return {layer: [member for member in sorted(hands) if layer in hands[member]] for layer in layers}


def check_coverage(layers: int, budgets: Mapping[str, int], min_cohort: int) -> None:
    """Raise PlanRefused, with the numbers and the remedy, unless every layer gets `min_cohort` members."""
    total = sum(budgets.values())
    needed = layers * min_cohort
    if len(budgets) < min_cohort:
        raise PlanRefused(
            f"{len(budgets)} members cannot form a cohort of {min_cohort}",
            hint="add members; with fewer than 3 each learns what the others kept, so --min-cohort 1 or 2 is "
            "only for plain aggregation on one machine",
        )
    if total < needed:
        each = -(-needed // len(budgets))
        hint = f"give each member a budget of {min(each, layers)}"
        if largest_subset(layers, budgets, min_cohort) > 0:
            hint += f", or pass --spread to take {rounds_needed(layers, budgets, min_cohort)} rounds instead of one"
        raise PlanRefused(
            f"budgets add up to {total} layers, but {layers} layers with a cohort of {min_cohort} need {needed}",
            hint=hint,
        )


def largest_subset(layers: int, budgets: Mapping[str, int], min_cohort: int) -> int:
    """The largest number K of layers that one round can cover: sum min(b_i, K) >= K * min_cohort."""
    fits = [k for k in range(1, layers + 1) if sum(min(b, k) for b in budgets.values()) >= k * min_cohort]
    return max(fits, default=0)


def rounds_needed(layers: int, budgets: Mapping[str, int], min_cohort: int) -> int:
    """How many rounds cover all layers once when each takes at most `largest_subset`.  Raises PlanRefused if none."""
    subset = largest_subset(layers, budgets, min_cohort)
    if subset == 0:
        raise PlanRefused(f"no layer can get a cohort of {min_cohort} with these budgets, in any number of rounds")
    return -(-layers // subset)


def spread(layers: Sequence[int], rounds: int, draws: PublicDraws) -> list[list[int]]:
    """Split `layers` uniformly at random into `rounds` parts whose sizes differ by at most one, each ascending."""
    order = draws.permutation(layers)
    return [sorted(order[part::rounds]) for part in range(rounds)]
