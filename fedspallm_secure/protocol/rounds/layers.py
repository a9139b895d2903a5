"""Whether a package with a pruned layer is of the round, and what it has to hash to: L1 and L2 of SPEC section 17.

Both raise LayerRefused with their number.  What is in the package is for those to check who read weights.
"""

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import LayerRefused
from fedspallm_secure.protocol.packages import NONE, Head
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan


def check_layer_package(head: Head, plan: Plan, plan_hash: str, server: Party) -> GroupPlan:
    """L1: it is from `server`, the one of my policy, for the plan that I accepted and this group of it, mine or not."""
    context = head.context
    if context.sender != server:
        raise LayerRefused(f"{context.sender} sent the layer, and I obey {server} alone", check="L1")
    if (context.type, context.round, context.plan_hash) != ("layer", plan.round, plan_hash):
        raise LayerRefused("this is no layer for the plan that I accepted", check="L1")
    group = next((group for group in plan.groups if str(group.gid) == context.group), None)
    if group is None:
        raise LayerRefused(f"the plan has no group {context.group}", check="L1")
    return group


def expected_digest(plan: Plan, group: GroupPlan, result: Result) -> str:
    """L2: the layer digest that the result has for this group, hex.  result: verified, of the round of this plan."""
    found = result.group(group.gid)
    if (result.federation, result.round, found is None) != (plan.federation, plan.round, False):
        raise LayerRefused(f"the result of the round has no sums of group {group.gid}", check="L2")
    if found is None or found.layer == NONE:
        raise LayerRefused(f"the result of the round names no layer of group {group.gid}", check="L2")
    return found.layer
