"""Where the rounds of a server stand, as its journal shows it without a password.

What the machine of a round knows (`protocol.rounds.server_state`) follows here from its plain records and from the rows
of packages that were taken in; a test holds the two together.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from fedspallm_secure.app.configuration.federation import FederationConfig
from fedspallm_secure.app.rounds.costs import cost_of
from fedspallm_secure.app.service.watched import Seen, Sent, Watched, layer_of
from fedspallm_secure.app.stations.candidates import certificate_text, rounds_drawn
from fedspallm_secure.app.stations.declines import declines_kind
from fedspallm_secure.crypto.encoding import decode_base64, parse_canonical_json
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan, Sampling
from fedspallm_secure.protocol.rounds.records_server import (
    Finished,
    GroupEnded,
    ListMade,
    Opened,
    OutOfRange,
    Requested,
    ServerRecord,
    Unmasked,
    read_server_record,
)
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.protocol.rounds.survivors import EndCode, Ended, SurvivorList
from fedspallm_secure.pruning.patterns import parse_target
from fedspallm_secure.secagg.thresholds import Profile
from fedspallm_secure.storage.home import Home

_REFUSED: Final = 20  # packages that are shown
_NEXT: Final = {State.COLLECTING: "contribution", State.ENDORSING: "endorsement", State.UNMASKING: "unmask"}
_BEGINS: Final = {
    State.COLLECTING: ("plan",),
    State.ENDORSING: ("survivors",),
    State.UNMASKING: ("unmask-request", "decrypt-request"),
}


@dataclass
class Round:
    """One round, as far as plain records tell.  witnesses: ROLE/ID of those who endorse in the witnessed profile."""

    plan: Plan
    witnesses: Sequence[str] = ()
    state: State = State.COLLECTING
    listed: SurvivorList | None = None
    ended: dict[int, Ended] = field(default_factory=dict)
    result: Result | None = None

    @classmethod
    def of(cls, records: Iterable[ServerRecord], witnesses: Sequence[str] = ()) -> "Round | None":
        """None before the round was opened.  Raises FormatError."""
        found: Round | None = None
        for record in records:
            if isinstance(record, Opened):
                found = cls(Plan.from_dict(parse_canonical_json(record.plan, "the plan")), witnesses)
            elif found is not None:
                found._apply(record)
        return found

    def _apply(self, record: ServerRecord) -> None:
        match record:
            case ListMade():
                self.listed = SurvivorList.parse(record.statement)
                self.ended.update((end.gid, end) for end in self.listed.ended)
                endorsed = self.plan.profile in (Profile.THREE_TRIP, Profile.WITNESSED)
                self.state = State.ENDORSING if endorsed else State.UNMASKING
            case Requested():
                self.state = State.UNMASKING
            case Unmasked():
                self.state = State.SUMMING
            case GroupEnded():
                self.ended[record.end.gid] = record.end
            case OutOfRange():
                self.ended[record.gid] = Ended(record.gid, EndCode.SUM_OUT_OF_RANGE)
            case Finished():
                self.result = Result.parse(record.statement)
            case _:
                pass
        if self.result is not None or len(self.ended) == len(self.plan.groups):
            self.state = State.FINISHED

    def survivors(self, gid: int) -> list[str]:
        """Members in the sum of a group; none before there is a list."""
        return [] if self.listed is None else [id for one in self.listed.groups if one.gid == gid for id in one.ids]

    def asked(self) -> list[str]:
        """Who is asked to unmask, sorted."""
        running = [group.gid for group in self.plan.groups if group.gid not in self.ended]
        return sorted({id for gid in running for id in self.survivors(gid)})

    def answerers(self) -> list[str]:
        """Who is asked to open the sums, as ROLE/ID."""
        use = self.plan.key_holder
        return [_member(id) for id in self.asked()] if use is None else [str(use.party)]

    def endorsers(self) -> list[str]:
        """Who is asked to endorse the list, as ROLE/ID."""
        if self.plan.profile in (Profile.TWO_TRIP, Profile.ONE_TRIP):
            return []
        return list(self.witnesses) if self.plan.profile is Profile.WITNESSED else [_member(id) for id in self.asked()]


def _member(id: str) -> str:
    return str(Party(Role.MEMBER.value, id))


def round_of(watched: Watched, number: int, config: FederationConfig) -> Round | None:
    """A round from its records."""
    witnesses = [str(Party(Role.WITNESS.value, id)) for id in config.rounds.witnesses]
    return Round.of(watched.records(number, read_server_record), witnesses)


def server_facts(watched: Watched, config: FederationConfig, home: Home, now: int) -> dict[str, Any]:
    """Everything that is known of a server, as plain data.  Times are Unix seconds."""
    number = watched.last_round()
    found = round_of(watched, number, config) if number else None
    progress = watched.fact("progress", "*", {"number": 0, "failed": 0})
    over = found is not None and watched.fact("concluded", str(number)) is not None
    inbox, outbox = watched.inbox(number), watched.outbox(number)
    declined = watched.facts(declines_kind(number))
    of = _planned(config, found)
    done = bool(of and progress["number"] >= of)
    state = "offers" if found is None else found.state.name.lower()
    if over:
        given_up = watched.fact("given up", "*") is not None or progress["failed"] >= config.rounds.attempts
        state = "done" if done else "given up" if given_up else "between rounds"
    return {
        "state": state,
        "rounds": {"done": progress["number"], "of": of, "failed": progress["failed"]},
        "round": None if found is None else {**_round(found, inbox, outbox, declined), "over": over},
        "members": _members(watched, config, home, found, inbox, outbox, now),
        "model": str(config.server.data / "model") if done else None,
        "refused": watched.refused(number, _REFUSED),
        "refusals": dict(watched.refusals()),
        "control": watched.fact("control", "abort"),
    }


def _planned(config: FederationConfig, found: Round | None) -> int | None:
    """How many rounds there will be; None while that depends on members who have not offered yet."""
    if found is not None:
        return _drawn(found.plan.sampling)
    return None if config.rounds.spread else len(config.pruning.targets)


@lru_cache(maxsize=4)
def _drawn(sampling: Sampling) -> int:
    return rounds_drawn(sampling)


def _round(
    found: Round, inbox: list[Seen], outbox: list[Sent], declined: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    plan = found.plan
    taken = [seen for seen in inbox if seen.state == "taken"]
    endorsed = {seen.sender for seen in taken if seen.type == "endorsement"}
    answered = {seen.sender for seen in taken if seen.type == "unmask-response"}
    decrypted = {seen.group for seen in taken if seen.type == "decrypt-response"}
    if plan.key_holder is not None and decrypted >= {str(one.gid) for one in plan.groups if one.gid not in found.ended}:
        answered = {str(plan.key_holder.party)}
    deadlines, cost = plan.deadlines.to_dict(), cost_of(plan.groups)
    return {
        "round": plan.round,
        "step": plan.sampling.number,
        "target": str(parse_target(plan.target)),
        "profile": plan.profile.value,
        "colluders": plan.colluders,
        "cost": None if cost is None else {**cost.to_dict(), "text": str(cost)},
        "state": found.state.name.lower(),
        "since": _since(found.state, inbox, outbox),
        "deadlines": deadlines,
        "deadline": None if found.state is State.FINISHED else deadlines[_NEXT.get(found.state, "abort")],
        "groups": _groups(found, taken, declined),
        "declined": [{"member": id, **one} for id, one in declined.items()],
        "endorsements": _heard(found.endorsers(), endorsed),
        "answers": _heard(found.answerers(), answered),
        "result": None if found.result is None else found.result.hash,
    }


def _since(state: State, inbox: list[Seen], outbox: list[Sent]) -> int | None:
    """When the state began: when the messages were made that it begins with, or the last answer came."""
    if state in _BEGINS:
        times = [sent.at for sent in outbox if sent.type in _BEGINS[state]]
        return min(times, default=None)
    ends = [sent.at for sent in outbox if sent.type in ("result", "abort")]
    answers = [seen.at for seen in inbox if seen.type in ("unmask-response", "decrypt-response")]
    return max(ends if ends and state is State.FINISHED else answers, default=None)


def _groups(found: Round, taken: list[Seen], declined: Collection[str]) -> list[dict[str, Any]]:
    by_layer: dict[int | None, set[str]] = {}
    for seen in taken:
        if seen.type == "contribution":
            by_layer.setdefault(layer_of(seen.group), set()).add(Party.parse(seen.sender).id)
    groups = []
    for group in found.plan.groups:
        delivered, end = by_layer.get(group.gid, set()), found.ended.get(group.gid)
        collecting = found.state is State.COLLECTING and end is None
        groups.append(
            {
                "layer": group.gid,
                "cohort": list(group.cohort),
                "needed": group.survivors,
                "delivered": [id for id in group.cohort if id in delivered],
                "awaited": [id for id in group.cohort if collecting and id not in delivered and id not in declined],
                "survivors": found.survivors(group.gid),
                "ended": None if end is None else end.code.value,
                "named": [] if end is None else list(end.named),
            }
        )
    return groups


def _heard(asked: Sequence[str], heard: set[str]) -> dict[str, list[str]]:
    return {"here": sorted(heard), "awaited": [one for one in asked if one not in heard]}


def _members(
    watched: Watched,
    config: FederationConfig,
    home: Home,
    found: Round | None,
    inbox: list[Seen],
    outbox: list[Sent],
    now: int,
) -> list[dict[str, Any]]:
    """Everybody who takes part or could, with what is known of them."""
    roster = () if home.roster is None else home.roster.entries
    offers, last = watched.facts("offer"), watched.heard()
    fixed = watched.fact("members", "*")
    wanted = fixed or config.rounds.members or [one.party.id for one in roster if one.party.role is Role.MEMBER]
    rows = []
    for id in sorted(wanted):
        offer, party = offers.get(id), _member(id)
        trouble = "" if home.roster is None else certificate_text(home.trust, Party.parse(party), now)
        row: dict[str, Any] = {"member": id, "offered": None, "layers": None, "software": None, "prekeys": None}
        row["certificate"] = trouble
        if offer is not None:
            row |= {"offered": offer["at"], "layers": offer["layers"], "software": offer["software"]}
            row["prekeys"] = _prekeys_left(watched, offer["bundle"])
        plans = [sent.departed for sent in outbox if sent.type == "plan" and sent.recipient == party]
        row["plan_fetched"] = None if not plans else plans[-1]
        row["due"] = 0 if found is None else sum(id in group.cohort for group in found.plan.groups)
        row["delivered"] = sum(
            seen.sender == party and seen.type == "contribution" and seen.state == "taken" for seen in inbox
        )
        row["last_heard"] = last.get(party)
        rows.append(row)
    return rows


def _prekeys_left(watched: Watched, digest: str) -> int | None:
    text, index = watched.fact("bundle", digest), watched.fact("next prekey", digest)
    if text is None:
        return None
    first, count = _bundle(text)
    return max(first + count - int(first if index is None else index), 0)


@lru_cache(maxsize=128)
def _bundle(text: str) -> tuple[int, int]:
    """First index and number of prekeys of a bundle."""
    found = Prekeys.parse(decode_base64(text, "a bundle"))
    return found.first, len(found.leaves)
