"""Who would decline a plan, as far as offers tell: no round begins that could not give a sum (SPEC section 21.3).

Whoever declines a plan that others have contributed to has used up their base weights (P13).  So the server asks
before, with the policies that members offered, what each member is going to ask.  It decides nothing for them: they
check the plan themselves, by what their policies say then.
"""

from collections.abc import Callable, Collection
from typing import Final

from fedspallm_secure.app.stations.handed_in import times_handed_in
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.rounds.policy_checks import first_objection
from fedspallm_secure.secagg.thresholds import Profile, witness_quorum

_NAMED: Final = 8  # of the names that a member sent, so that the text stays one that people read


def why_declined(post: Post, plan: Plan, witnesses: Collection[str], origin: Callable[[], str], *, again: bool) -> str:
    """Why so many would decline the plan that a group could not be summed, in words; empty where it can.

    witnesses: ids of those who endorse for the server; origin: gives the digest of the model before any round, hex;
    again: whether the round was tried before, so that it may be paid for by whoever has a privacy budget.
    """
    model, given = origin(), times_handed_in(post)
    found = {use.id: _objection(post, plan, use.id, witnesses, model, given, again) for use in plan.prekeys}
    found = {id: text for id, text in found.items() if text}
    short = [group for group in plan.groups if len(set(group.cohort).difference(found)) < group.survivors]
    needed = sorted({id for group in short for id in group.cohort if id in found})
    if not needed:
        return ""  # who has contributed can answer without them
    reasons = sorted({found[id] for id in needed})
    texts = [f"{', '.join(id for id in needed if found[id] == why)} would decline it by {why}" for why in reasons]
    return (
        f"no round can begin, as members said in their offers: {'; '.join(texts)}; one begins when {', '.join(needed)} "
        "offered to take part with another member.toml, or the server runs with another federation.toml"
    )


def _objection(
    post: Post,
    plan: Plan,
    id: str,
    witnesses: Collection[str],
    model: str,
    given: Callable[[int, str], int],
    again: bool,
) -> str:
    """The check by which a member would decline, and why; empty for none."""
    offer = post.journal.recall("offer", id)
    policy = Policy.from_dict(offer["policy"], post.party)
    declined = first_objection(plan, id, policy, (), post.now())
    if declined is not None:
        return str(declined)
    if plan.profile is Profile.WITNESSED:
        quorum = witness_quorum(len(policy.witnesses), policy.dishonest)
        if len(set(policy.witnesses).intersection(witnesses)) < quorum:
            return f"Q2: {quorum} of its witnesses, {', '.join(policy.witnesses[:_NAMED])}, would have to endorse"
    if offer["model"] != model:
        return f"P10: its model is another one, {offer['model'][:16]}; here it is {model[:16]}"
    worn = [group.gid for group in plan.groups_of(id) if given(group.gid, id) >= policy.epochs]
    if worn:
        return f"P13: its policy has epochs = {policy.epochs}, and layer {worn[0]} was released so often"
    if offer["spent"] and not again:
        return "P14: its privacy budget is spent"
    return ""
