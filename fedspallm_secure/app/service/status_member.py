"""Where a member stands, as its journal shows it without a password.

Answers and dealt secrets are encrypted in it; that there are some follows from the packages they left in.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from fedspallm_secure.app.configuration.member import MemberConfig
from fedspallm_secure.app.privacy.releases import KIND
from fedspallm_secure.app.privacy.standing import standing
from fedspallm_secure.app.service.watched import Seen, Sent, Watched, layer_of
from fedspallm_secure.app.stations.candidates import rounds_drawn
from fedspallm_secure.app.stations.kept_results import lacking, result_of
from fedspallm_secure.crypto.encoding import parse_canonical_json
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.rounds.plans import Plan, Sampling
from fedspallm_secure.protocol.rounds.records_member import (
    Aborted,
    Closed,
    Endorsed,
    ListHeld,
    MemberRecord,
    PlanAccepted,
    VectorFrozen,
    read_member_record,
)
from fedspallm_secure.protocol.rounds.survivors import SurvivorList
from fedspallm_secure.pruning.patterns import parse_target
from fedspallm_secure.storage.home import Home

_SHOWN: Final = 20  # refusals, and kinds of packages that leave


@dataclass
class Part:
    """A member's part in a round, as far as plain records tell.  ended: group or `*` -> why; closed_by: a result."""

    plan: Plan
    frozen: set[int] = field(default_factory=set)
    listed: SurvivorList | None = None
    endorsed: bool = False
    ended: dict[str, str] = field(default_factory=dict)
    closed_by: str | None = None

    @classmethod
    def of(cls, records: Iterable[MemberRecord]) -> "Part | None":
        """None without an accepted plan.  Raises FormatError."""
        found: Part | None = None
        for record in records:
            if isinstance(record, PlanAccepted):
                found = cls(Plan.from_dict(parse_canonical_json(record.plan, "the plan")))
            elif found is not None:
                found._apply(record)
        return found

    def _apply(self, record: MemberRecord) -> None:
        match record:
            case VectorFrozen():
                self.frozen.add(record.gid)
            case ListHeld() | Endorsed():
                self.listed = SurvivorList.parse(record.statement)
                self.endorsed = isinstance(record, Endorsed)
            case Aborted():
                self.ended[record.group] = record.code
            case Closed():
                self.closed_by = record.result
            case _:
                pass

    def listed_layers(self, me: str) -> list[int]:
        """Layers whose sum the member's vector is in; none before there is a list."""
        return [] if self.listed is None else [one.gid for one in self.listed.groups if me in one.ids]

    def state(self, me: str, answered: bool) -> str:
        """Where the member is, in the words of its machine."""
        own = {str(group.gid) for group in self.plan.groups_of(me)}
        if self.closed_by is not None or NONE in self.ended or own <= self.ended.keys():
            return "closed"
        return "answered" if answered else "endorsed" if self.endorsed else "planned"


def part_of(watched: Watched, number: int) -> Part | None:
    """The part in a round from its records."""
    return Part.of(watched.records(number, read_member_record))


def member_facts(
    watched: Watched, config: MemberConfig, home: Home, now: int, lost: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Everything that is known of a member, as plain data.  Times are Unix seconds.

    lost: round and layers that the running service says are lost; None where none runs.
    """
    me, server = home.party.id, str(Party(Role.SERVER.value, config.server.id))
    number = watched.last_round()
    part = part_of(watched, number) if number else None
    inbox, outbox = watched.inbox(number), watched.outbox(number)
    following = max(map(int, watched.names("followed")), default=None)
    last = max(watched.heard().get(server, 0), watched.departed_last())
    left = watched.fact("left", "*")
    state = "waiting for a plan" if part is None else part.state(me, _has(outbox, "unmask-response"))
    round = None if part is None else _round(part, me, state, inbox, outbox, lost)
    lack = lacking(config.member.data, watched.fact)
    return {
        "state": "left" if left is not None else state,
        "server": server,
        "by_hand": not config.server.url,
        "round": round,
        "lost": _lost(round),
        "lacking": None if lack is None else f"{lack.text}: {lack.fix}",
        "follows": _follows(watched, following),
        **_model(config.member.data / "model"),
        "prekeys": _prekeys_left(watched, home),
        "privacy": standing(config.terms, watched.facts(KIND)),
        "leaving": watched.leaving(now, _SHOWN),
        "last_contact": last or None,
        "declined": _declined(watched, part, following),
        "refused": watched.refused(number, _SHOWN),
        "refusals": dict(watched.refusals()),
        "control": watched.fact("control", "leave"),
    }


def _round(
    part: Part, me: str, state: str, inbox: list[Seen], outbox: list[Sent], lost: Mapping[str, Any] | None
) -> dict[str, Any]:
    plan, deadlines = part.plan, part.plan.deadlines.to_dict()
    layers = _layers(part, me, inbox, outbox, lost)
    until = {"planned": "contribution", "endorsed": "unmask", "answered": "abort"}.get(state)
    if state == "planned" and part.listed is not None:
        until = "unmask"
    return {
        "round": plan.round,
        "step": plan.sampling.number,
        "of": _drawn(plan.sampling),
        "target": str(parse_target(plan.target)),
        "profile": plan.profile.value,
        "state": state,
        "deadlines": deadlines,
        "deadline": None if until is None else deadlines[until],
        "layers": layers,
        "due": sum(layer["state"] in ("due", "sealing") for layer in layers),
        "list": part.listed is not None,
        "endorsed": part.endorsed,
        "answered": _has(outbox, "unmask-response"),
        "ended": dict(part.ended),
        "result": part.closed_by,
    }


@lru_cache(maxsize=4)
def _drawn(sampling: Sampling) -> int:
    return rounds_drawn(sampling)


def _layers(
    part: Part, me: str, inbox: list[Seen], outbox: list[Sent], lost: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """The member's own layers.

    state: due; sealing, by the service that runs; lost, if one was killed in the middle; waits, to be sent; sent;
    received, by the server; listed, in the sum; unlisted; ended.
    """
    made = {layer_of(sent.group): sent for sent in outbox if sent.type == "contribution"}
    receipts = {layer_of(seen.group) for seen in inbox if seen.type == "receipt" and seen.state == "taken"}
    listed, layers = part.listed_layers(me), []
    for group in part.plan.groups_of(me):
        gid = group.gid
        sent, code = made.get(gid), part.ended.get(str(gid), part.ended.get(NONE))
        if code is not None:
            state = "ended"
        elif part.listed is not None:
            state = "listed" if gid in listed else "unlisted"
        elif gid in receipts:
            state = "received"
        elif sent is not None:
            state = "waits" if sent.departed is None else "sent"
        else:
            at_work = lost is not None and (lost["round"] != part.plan.round or gid not in lost["layers"])
            state = "due" if gid not in part.frozen else "sealing" if at_work else "lost"
        layers.append({"layer": gid, "cohort": len(group.cohort), "state": state, "code": code})
    return layers


def _model(path: Path) -> dict[str, Any]:
    """The pruned model, and the round that it is of, which may be older than the newest result."""
    if not path.exists():
        return {"model": None, "model_round": None}
    number = path.readlink().name.removeprefix("model-") if path.is_symlink() else ""
    return {"model": str(path), "model_round": int(number) if number.isdecimal() else None}


def _lost(round: Mapping[str, Any] | None) -> dict[str, Any]:
    """Layers of the round under way that a kill has lost; nothing of one that is over."""
    if round is None or round["state"] == "closed":
        return {}
    layers = [one["layer"] for one in round["layers"] if one["state"] == "lost"]
    return {"round": round["round"], "layers": layers} if layers else {}


def _has(outbox: list[Sent], type: str) -> bool:
    return any(sent.type == type for sent in outbox)


def _follows(watched: Watched, number: int | None) -> dict[str, Any] | None:
    """The newest plan of the server that counts, whether the member takes part or not, and what is there of it."""
    if number is None:
        return None
    result = result_of(watched.fact, number)
    named = [] if result is None else [found.gid for found in result.groups if found.layer != NONE]
    got = watched.facts(f"layer {number}")
    return {
        "round": number,
        "result": None if result is None else result.hash,
        "layers": len(named),
        "missing": [gid for gid in named if str(gid) not in got],
    }


def _declined(watched: Watched, part: Part | None, following: int | None) -> dict[str, Any] | None:
    """The newest plan, if the member declined it: round, check and reason."""
    if following is None or (part is not None and part.plan.round >= following):
        return None
    plans = (seen for seen in watched.inbox(following) if seen.type == "plan" and seen.state == "refused")
    found = next(plans, None)
    return None if found is None else {name: found.refusal()[name] for name in ("round", "check", "reason")}


def _prekeys_left(watched: Watched, home: Home) -> int | None:
    """Prekeys of the bundle that is published now and are not used up; None without a bundle."""
    if home.prekeys is None:
        return None
    following = watched.fact("prekeys", "next", home.prekeys.first)
    return max(home.prekeys.first + len(home.prekeys.leaves) - max(int(following), home.prekeys.first), 0)
