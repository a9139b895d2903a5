"""Who holds whose secrets in a group, by id (SPEC sections 13 and 14)."""

from dataclasses import dataclass

from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.graphs import Graph


@dataclass(frozen=True, slots=True)
class Links:
    """The graph of a group, with the members' ids in place of their numbers."""

    group: GroupPlan
    context: GroupContext
    graph: Graph

    @classmethod
    def of(cls, plan: Plan, plan_hash: str, group: GroupPlan) -> "Links":
        """The links of one group of a plan."""
        return cls(group, plan.context(group.gid, plan_hash), group.graph(bytes.fromhex(plan.seed)))

    def neighbours(self, member: str) -> tuple[str, ...]:
        """A member's neighbours, in cohort order: to the m-th of them goes its secret number m."""
        cohort = self.group.cohort
        return tuple(cohort[other] for other in self.graph.neighbours(cohort.index(member)))

    def holders(self, dealer: str) -> tuple[str, ...]:
        """Who holds a dealer's shares: its neighbours and itself, in cohort order."""
        cohort = self.group.cohort
        return tuple(cohort[other] for other in self.graph.holders(cohort.index(dealer)))

    def points(self, dealer: str) -> dict[str, int]:
        """Holder -> x coordinate of its shares: its number in the cohort plus 1."""
        return {holder: self.group.cohort.index(holder) + 1 for holder in self.holders(dealer)}
