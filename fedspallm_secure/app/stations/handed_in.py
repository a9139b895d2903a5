"""From which weights members have handed something in: they decline another sum from the same (SPEC section 15).

An end that the server announces proves nothing to them, so a round that failed is tried again only with members that
had no part in it.  What is kept here saves everybody a round that cannot give a sum.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.server_state import ServerState
from fedspallm_secure.secagg.disclosure import HONEST, narrow_combination

_KIND: Final = "handed in"
_ADVICE: Final = (
    "see fedprune server rounds.  What helps is another federation, of members that had no part in this, with cohorts "
    "that tolerate more dropouts or with longer deadlines"
)


def note_handed_in(post: Post, machine: ServerState) -> None:
    """A round is over: remember whose ledgers hold its base weights; inside of `post.at_once()`."""
    listed = {} if machine.survivors is None else {group.gid: list(group.ids) for group in machine.survivors.groups}
    everybody = {member.id for member in machine.members()}
    for gid, group in machine.groups.items():
        # Whoever has learned a list knows of a release, whether it is on the list or not.
        given = {id for there, id in machine.received if there == gid}
        found = everybody if gid in listed else given
        if found:
            before, end = post.journal.recall(_KIND, group.base, {"members": []}), machine.ended.get(gid)
            value = {
                "round": machine.plan.round,
                "layer": gid,
                "members": sorted(found.union(before["members"])),
                "given": sorted(given.union(before.get("given", ()))),
                "end": "a sum" if end is None else end.code.value,
                "named": [] if end is None else list(end.named),
            }
            kept = {name: before.get(name, []) for name in ("listed", "missed", "unanswered")}
            post.remember(_KIND, group.base, value | (_of_list(machine, gid, listed[gid]) if gid in listed else kept))


def _of_list(machine: ServerState, gid: int, listed: list[str]) -> dict[str, list[str]]:
    """Who is on it, whom it lacks, and who is on it and has not answered, where members are asked."""
    missed = set(machine.groups[gid].cohort).difference(listed)
    unanswered = set(listed).difference(machine.answers) if machine.plan.key_holder is None else set[str]()
    return {"listed": listed, "missed": sorted(missed), "unanswered": sorted(unanswered)}


@dataclass(frozen=True, slots=True)
class Past:
    """What members remember of earlier rounds, as the server can tell.

    given: (layer, id) -> how often this member has contributed to it, each time from other weights; listed: layer ->
    members of each list that was made for it; missed: who was in a cohort and not on its list; barred: who was on a
    list that lacks others and has not answered: to such a member the whole cohort is in a sum; had_part: base, hex ->
    who has a part in what became of these weights; ends: base, hex -> which round that was, and how it ended, in words.
    """

    given: Mapping[tuple[int, str], int]
    listed: Mapping[int, Sequence[frozenset[str]]]
    missed: frozenset[str]
    barred: frozenset[str]
    had_part: Mapping[str, frozenset[str]]
    ends: Mapping[str, str]

    def narrow(self, layer: int, members: Collection[str], colluders: int) -> frozenset[str] | None:
        """Whom a sum over these members and the earlier ones of this layer would give away (SPEC section 15, rules 4
        and 5); None for nobody.  Raises DisclosureRefused where that takes too long to decide.
        """
        return narrow_combination([*self.listed.get(layer, ()), members], colluders + HONEST - 1)


def past_of(post: Post) -> Past:
    """All of it, from the journal; earlier versions kept no lists, and not who had contributed."""
    past = post.journal.recall_all(_KIND)
    listed: dict[int, list[frozenset[str]]] = {}
    for found in past.values():
        if found.get("listed"):
            listed.setdefault(found["layer"], []).append(frozenset(found["listed"]))
    given = Counter((found["layer"], id) for found in past.values() for id in found.get("given", ()))
    had_part = {base: frozenset(found["members"]) for base, found in past.items()}
    missed = frozenset(id for found in past.values() for id in found.get("missed", ()))
    barred = frozenset(id for found in past.values() if found.get("missed") for id in found.get("unanswered", ()))
    return Past(given, listed, missed, barred, had_part, {base: _end(found) for base, found in past.items()})


def why_no_sum(past: Past, groups: Sequence[GroupPlan], colluders: int) -> str:
    """Why a round over these groups cannot give all its sums, in words; empty where it can.

    colluders: that the plan assumes.  Raises DisclosureRefused as `Past.narrow`.
    """
    declining = {id for group in groups for id in past.had_part.get(group.base, ()) if id in group.cohort}
    lost = [group.gid for group in groups if len(set(group.cohort) - declining) < group.survivors]
    if lost:
        ends = sorted({past.ends[group.base] for group in groups if group.base in past.ends})
        return (
            f"layers {', '.join(map(str, lost))} cannot be summed: {', '.join(sorted(declining))} had a part in "
            f"{'; '.join(ends)}, and decline another sum from the same weights (P13).  {_ADVICE}"
        )
    for group in groups:
        if (few := past.narrow(group.gid, group.cohort, colluders)) is not None:
            return (
                f"layer {group.gid} cannot be summed: with what was opened before, a sum over its cohort would give "
                f"{', '.join(sorted(few))} away, and members decline that (P13).  {_ADVICE}"
            )
    return ""


def _end(found: Mapping[str, Any]) -> str:
    named = f", which names {', '.join(found['named'])}" if found["named"] else ""
    return f"round {found['round']}, which ended with {found['end']}{named}"
