"""Who would decline a plan, as far as offers tell: no round begins that could not give a sum (SPEC section 21.3).

Whoever declines a plan that others have contributed to has used up their base weights (P13).  So the server asks
before, with the policies that members offered, what each member is going to ask.  It decides nothing for them: they
check the plan themselves, by what their policies say then.
"""

from collections.abc import Collection, Mapping
from typing import Final

from fedspallm_secure.app.stations.declines import by_what, declines_kind
from fedspallm_secure.app.stations.handed_in import Past
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.rounds.policy_checks import first_objection
from fedspallm_secure.secagg.thresholds import Profile, witness_quorum

_NAMED: Final = 8  # of the names that a member sent, so that the text stays one that people read


def who_declines(post: Post, plan: Plan, past: Past, witnesses: Collection[str], model: str) -> dict[str, str]:
    """Who would decline the plan, and by which check, where a group could not be summed without them; else nobody.

    witnesses: ids of those who endorse for the server; model: its digest before any round, hex.  Raises
    DisclosureRefused where what sums disclose takes too long to decide.
    """
    found = {use.id: _objection(post, plan, use.id, past, witnesses, model) for use in plan.prekeys}
    found = {id: f"would decline it by {text}" for id, text in found.items() if text}
    needed = set[str]()
    for group in plan.groups if found else ():
        willing = frozenset(group.cohort).difference(found, past.had_part.get(group.base, ()))
        if len(willing) < group.survivors or past.narrow(group.gid, willing, plan.colluders) is not None:
            needed.update(id for id in group.cohort if id in found)
    return {id: found[id] for id in sorted(needed)}  # who has contributed can answer without the others


def declining_text(found: Mapping[str, str]) -> str:
    """Why no round begins, and what to do.  found: as from `who_declines`."""
    return (
        f"no round can begin, as members said in their offers: {by_what(found)}; one begins once {', '.join(found)} "
        f"{'has' if len(found) == 1 else 'have'} offered to take part with another member.toml, or the server runs "
        "with another federation.toml; before the first round [rounds] members can leave somebody out"
    )


def _objection(post: Post, plan: Plan, id: str, past: Past, witnesses: Collection[str], model: str) -> str:
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
    if offer["spent"] and not _may_have_paid(post, id):
        return "P14: its privacy budget is spent"
    return ""


def _may_have_paid(post: Post, id: str) -> bool:
    """Whether the last round failed, and the member did not decline its plan: it may have paid for this step then."""
    last = post.journal.last_round()
    concluded = post.journal.recall("concluded", str(last))
    failed = concluded is not None and not concluded["result"]
    return failed and id not in post.journal.recall_all(declines_kind(last))
