"""What of a plan a policy decides by itself: parts of P7, P8, P10, P11, P14 and P15 of SPEC section 17.

A member asks this of a plan that has come.  The server asks the same of its own plan before it opens a round, with the
policies that members offered (SPEC section 21.3): whoever declines later has let others use up their base weights.
Each check raises PlanDeclined with its number.
"""

from collections.abc import Sequence

from fedspallm_secure.errors import PlanDeclined, PlanRefused
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.rounds.deals import handover_size
from fedspallm_secure.protocol.rounds.plans import KeyUse, Plan
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.software import is_trusted
from fedspallm_secure.secagg.thresholds import Profile, witness_quorum


def first_objection(plan: Plan, me: str, policy: Policy, beacons: Sequence[str], now: int) -> PlanDeclined | None:
    """The check by which a member with this policy is going to decline the plan; None where its policy allows it.

    me: id of the member; beacons: ids of the witnesses who drew the seed; now: Unix seconds.
    """
    try:
        check_cohorts(plan, me, policy)
        check_protection(plan, policy)
        check_beacons(plan, policy, beacons)
        check_beginning(plan, policy)
        check_upload(plan, me, policy)
        check_terms(plan, policy, now)
        if plan.key_holder is not None:
            check_key_holder(plan.key_holder, policy)
    except PlanDeclined as declined:
        return declined
    return None


def check_cohorts(plan: Plan, me: str, policy: Policy) -> None:
    """P7: my cohorts are large enough."""
    for group in plan.groups_of(me):
        if len(group.cohort) < policy.least_cohort:
            few = f"the cohort of layer {group.gid} has {len(group.cohort)} members; I ask for {policy.least_cohort}"
            raise PlanDeclined(few, check="P7")


def check_protection(plan: Plan, policy: Policy) -> None:
    """P7: colluders, profile, and witnesses whose word can count."""
    if plan.colluders < policy.colluders:
        few = f"the plan assumes colluders = {plan.colluders}, and I assume {policy.colluders}"
        raise PlanDeclined(few, check="P7")
    if plan.profile not in policy.profiles:
        raise PlanDeclined(f"I do not take part in rounds of the profile {plan.profile}", check="P7")
    if plan.profile is Profile.WITNESSED:
        try:
            witness_quorum(len(policy.witnesses), policy.dishonest)
        except PlanRefused as error:
            raise PlanDeclined(str(error), check="P7") from None


def check_beacons(plan: Plan, policy: Policy, beacons: Sequence[str]) -> None:
    """P8: where it matters who drew the seed, the beacons of my policy did.

    Nobody else did: with one witness more, who need not be honest, the server could try signatures until it likes the
    seed.
    """
    if not policy.beacons:
        if any(group.degree for group in plan.groups):
            raise PlanDeclined("the graph is not complete, and my policy names no beacons to draw it", check="P8")
    elif not beacons:
        raise PlanDeclined("the seed was not drawn by the beacons of my policy", check="P8")
    elif tuple(beacons) != policy.beacons:
        raise PlanDeclined(f"the seed is not drawn by {', '.join(policy.beacons)} and nobody else", check="P8")


def check_beginning(plan: Plan, policy: Policy) -> None:
    """P10: I allow to begin from a public model, if the round does."""
    if plan.previous == NONE and not policy.pinned_base:
        raise PlanDeclined("the round begins from a public model, which I do not allow", check="P10")


def check_upload(plan: Plan, me: str, policy: Policy) -> None:
    """P11: what I have to send is below my limit."""
    sent = sum(handover_size(*group.deal_form) + group.upload_size for group in plan.groups_of(me))
    if sent >= policy.upload_limit:
        raise PlanDeclined(f"I would have to send {sent} bytes; my limit is {policy.upload_limit}", check="P11")


def check_terms(plan: Plan, policy: Policy, now: int) -> None:
    """P14: there is time, not too much of it; nobody is told the counts who should not be; I trust the programs."""
    if plan.deadlines.contribution < now:
        raise PlanDeclined("the time to contribute is over", check="P14")
    if plan.deadlines.abort > now + policy.horizon:
        raise PlanDeclined(f"the round may last longer than {policy.horizon} seconds from now", check="P14")
    told = set(plan.counts_to) - policy.counts_to
    if told:
        roles = ", ".join(sorted(role.value for role in told))
        raise PlanDeclined(f"the counts would be told to others than I allow: {roles}", check="P14")
    if policy.software is not None and not is_trusted(plan.software, policy.software):
        raise PlanDeclined(f"the server runs {plan.software}, which I do not trust", check="P14")
    if policy.pruners is not None and plan.pruner not in policy.pruners:
        raise PlanDeclined(f"I do not prune with {plan.pruner}", check="P14")


def check_key_holder(use: KeyUse, policy: Policy) -> None:
    """P15: a key holder of mine decrypts, and adds up again as much as I allow."""
    if use.id not in policy.key_holders:
        raise PlanDeclined(f"{use.party} would decrypt the sums, and I trust no such key holder", check="P15")
    check_sample(use, policy, "P15")


def check_sample(use: KeyUse, policy: Policy, check: str) -> None:
    """The more is sampled, the less a server can slip in, and the more of single vectors the key holder could read.

    check: P15 of a member, K2 of the key holder.
    """
    least, most = policy.sample
    if not least <= use.sample <= most:
        raise PlanDeclined(f"{use.sample} thousandths would be sampled; I allow {least} to {most}", check=check)
