"""Who would decline a plan, as far as offers tell: no round begins that could not give a sum (SPEC section 21.3).

Whoever declines a plan that others have contributed to has used up their base weights (P13).  So the server asks
before, with the policies that members offered, what each member is going to ask.  It decides nothing for them: they
check the plan themselves, by what their policies say then.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Final

from fedspallm_secure.app.stations.declines import declines_kind
from fedspallm_secure.app.stations.handed_in import Past, past_of
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.rounds.policy_checks import first_objection
from fedspallm_secure.secagg.thresholds import Profile, witness_quorum

_NAMED: Final = 8  # of the names that a member sent, so that the text stays one that people read


def why_declined(post: Post, plan: Plan, witnesses: Collection[str], origin: Callable[[], str]) -> str:
    """Why so many would decline the plan that a group could not be summed, in words; empty where it can.

    witnesses: ids of those who endorse for the server; origin: gives the digest of the model before any round, hex.
    """
    past, model = past_of(post), origin()
    found = {use.id: _objection(post, plan, use.id, witnesses, model, past) for use in plan.prekeys}
    found = {id: text for id, text in found.items() if text}
    needed = set[str]()
    for group in plan.groups:
        willing = frozenset(group.cohort).difference(found, past.had_part.get(group.base, ()))
        if len(willing) < group.survivors or past.narrow(group.gid, willing, plan.colluders) is not None:
            needed.update(id for id in group.cohort if id in found)
    if not needed:
        return ""  # who has contributed can answer without the others
    reasons = sorted({found[id] for id in needed})
    texts = [f"{_listed(id for id in needed if found[id] == why)} would decline it by {why}" for why in reasons]
    return (
        f"no round can begin, as members said in their offers: {'; '.join(texts)}; one begins when {_listed(needed)} "
        "offered to take part with another member.toml, or the server runs with another federation.toml; before the "
        "first round [rounds] members can leave somebody out"
    )


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(sorted(ids))


def _objection(post: Post, plan: Plan, id: str, witnesses: Collection[str], model: str, past: Past) -> str:
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
    worn = [group.gid for group in plan.groups_of(id) if past.given.get((group.gid, id), 0) >= policy.epochs]
    if worn:
        return f"P13: its policy has epochs = {policy.epochs}, and layer {worn[0]} was released so often"
    if offer["spent"] and not _may_have_paid(post, plan, id):
        return "P14: its privacy budget is spent"
    return ""


def _may_have_paid(post: Post, plan: Plan, id: str) -> bool:
    """Whether this step was tried before by a plan that the member did not decline: it may have paid for it then."""
    last = post.journal.last_round()
    concluded = post.journal.recall("concluded", str(last))
    failed = concluded is not None and not concluded["result"]
    return failed and id not in post.journal.recall_all(declines_kind(last))
