"""What encrypted rounds cost, before anybody prunes for them, beside what masked vectors would take.

Sizes are exact up to what does not grow with the vectors; times are those of `he.parameters`, for orientation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fedspallm_secure.app.reporting.numbers import SPACE, duration, size
from fedspallm_secure.app.rounds.planning import Terms
from fedspallm_secure.he.parameters import Parameters
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.secagg.fields import CountField


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors of one group.  weights: of each; plain: bytes of each where it is not encrypted."""

    cohort: Sequence[str]
    weights: int
    plain: int


@dataclass(frozen=True, slots=True)
class RoundCost:
    """One round.

    member_bytes: of vectors, that the busiest member sends; secagg_bytes: that it would send by secure aggregation;
    encrypt_seconds: of CPU, at that member; add_seconds: at the server; decrypt_seconds: at the key holder.
    """

    member_bytes: int
    secagg_bytes: int
    encrypt_seconds: float
    add_seconds: float
    decrypt_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def __str__(self) -> str:
        times = [duration(seconds) for seconds in (self.encrypt_seconds, self.add_seconds, self.decrypt_seconds)]
        told = (
            f"encrypted, a member sends up to {size(self.member_bytes)} in a round; by secure aggregation it would "
            f"send {size(self.secagg_bytes)}.  On one core about {times[0]} to encrypt, at the server {times[1]} to "
            f"add up, at the key holder {times[2]} to decrypt"
        )
        return told.replace(SPACE, " ")


def cost_of(groups: Sequence[GroupPlan]) -> RoundCost | None:
    """What the round of a plan costs; None where nothing is encrypted.  Raises CapacityExceeded."""
    vectors = [Vectors(one.cohort, one.weights, one.count_size + one.sum_size) for one in groups]
    return _cost(vectors, groups[0].cipher)  # of one key, so they all have the same


def foreseen_cost(cohorts: Mapping[int, Sequence[str]], weights: Mapping[int, int], terms: Terms) -> RoundCost | None:
    """The same before there is a plan.  cohorts: layer -> its members; weights: layer -> what is pruned of it."""
    vectors = []
    for layer, cohort in cohorts.items():
        word, counts = terms.sum_word(len(cohort)), CountField.for_cohort(len(cohort))
        plain = counts.size(weights[layer]) + (0 if word is None else word.size(weights[layer]))
        vectors.append(Vectors(cohort, weights[layer], plain))
    return _cost(vectors, terms.cipher)


def _cost(vectors: Sequence[Vectors], cipher: Parameters | None) -> RoundCost | None:
    if cipher is None:
        return None
    costs = [cipher.cost(one.weights, len(one.cohort)) for one in vectors]
    by_member: dict[str, list[float]] = {}
    for one, cost in zip(vectors, costs, strict=True):
        for member in one.cohort:
            sums = by_member.setdefault(member, [0, 0, 0.0])
            for place, value in enumerate((cost.member_bytes, one.plain, cost.encrypt_seconds)):
                sums[place] += value
    sent, hidden, seconds = max(by_member.values())
    return RoundCost(
        int(sent),
        int(hidden),
        seconds,
        sum(cost.add_seconds for cost in costs),
        sum(cost.decrypt_seconds for cost in costs),
    )
