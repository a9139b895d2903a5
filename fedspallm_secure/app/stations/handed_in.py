"""From which weights members have handed something in: they decline another sum from the same (SPEC section 15).

An end that the server announces proves nothing to them, so a round that failed is tried again only with members that
had no part in it.  What is kept here saves everybody a round that cannot give a sum.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.server_state import ServerState

_KIND: Final = "handed in"
_ADVICE: Final = (
    "see fedprune server rounds.  What helps is another federation, of members that had no part in this, with cohorts "
    "that tolerate more dropouts or with longer deadlines"
)


def note_handed_in(post: Post, machine: ServerState) -> None:
    """A round is over: remember whose ledgers hold its base weights; inside of `post.at_once()`."""
    listed = set() if machine.survivors is None else {group.gid for group in machine.survivors.groups}
    everybody = {member.id for member in machine.members()}
    for gid, group in machine.groups.items():
        # Whoever has learned a list knows of a release, whether it is on the list or not.
        found = everybody if gid in listed else {id for there, id in machine.received if there == gid}
        if found:
            before, end = post.journal.recall(_KIND, group.base, {"members": []}), machine.ended.get(gid)
            value = {
                "round": machine.plan.round,
                "layer": gid,
                "members": sorted(found.union(before["members"])),
                "end": "a sum" if end is None else end.code.value,
                "named": [] if end is None else list(end.named),
            }
            post.remember(_KIND, group.base, value)


def times_handed_in(post: Post) -> Callable[[int, str], int]:
    """How often a member has handed in a layer, each time from other weights: (layer, id) -> times."""
    past = post.journal.recall_all(_KIND).values()
    counted = Counter((found["layer"], id) for found in past for id in found["members"])
    return lambda layer, id: counted[layer, id]


def why_no_sum(post: Post, groups: Sequence[GroupPlan]) -> str:
    """Why a round over these groups cannot give all its sums, in words; empty where it can."""
    past = {group.gid: post.journal.recall(_KIND, group.base, {"members": []}) for group in groups}
    declining = {id for group in groups for id in group.cohort if id in past[group.gid]["members"]}
    lost = [group.gid for group in groups if len(set(group.cohort) - declining) < group.survivors]
    if not lost:
        return ""
    reasons = sorted({_reason(found) for found in past.values() if found["members"]})
    layers = ", ".join(map(str, lost))
    return (
        f"layers {layers} cannot be summed: {', '.join(sorted(declining))} had a part in {'; '.join(reasons)}, and "
        f"decline another sum from the same weights (P13).  {_ADVICE}"
    )


def _reason(found: dict[str, Any]) -> str:
    named = f", which names {', '.join(found['named'])}" if found["named"] else ""
    return f"round {found['round']}, which ended with {found['end']}{named}"
