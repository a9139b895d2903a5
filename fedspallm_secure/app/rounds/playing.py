"""One whole round within this process, from the plan to the sums, with members falling silent where asked."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic
from types import MappingProxyType
from typing import TypeVar

from fedspallm_secure.app.rounds.key_holder_party import KeyHolderParty
from fedspallm_secure.app.rounds.member_party import MemberParty
from fedspallm_secure.app.rounds.parties import WitnessParty
from fedspallm_secure.app.rounds.server_party import ServerParty
from fedspallm_secure.app.rounds.wire import Wire
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import RoundAborted
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.protocol.rounds.survivors import EndCode, Ended
from fedspallm_secure.secagg.thresholds import Profile


class Stage(StrEnum):
    """Where a member can fall silent, for the rest of the round."""

    CONTRIBUTION = "contribution"
    ENDORSEMENT = "endorsement"
    UNMASK = "unmask"


Drops = Mapping[Stage, Collection[str]]
T = TypeVar("T")
_IDS: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class Played:
    """How a round went.

    seconds: by stage, `intake` being what the server receives; sent: (sender, type) -> packages and bytes of the round.
    """

    survivors: dict[int, tuple[str, ...]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    sent: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)


class Round:
    """Server, members, witnesses and key holder of one round, and the wire between them."""

    def __init__(
        self,
        server: ServerParty,
        members: Mapping[str, MemberParty],
        witnesses: Collection[WitnessParty],
        wire: Wire,
        key_holders: Collection[KeyHolderParty] = (),
    ) -> None:
        self.server = server
        self.members = members
        self.witnesses = witnesses
        self.key_holders = key_holders
        self.wire = wire
        self.played = Played()
        self._known = {name: len(member.refused) for name, member in members.items()}

    def play(self, drops: Drops, advance: Callable[[int], None] = lambda _: None) -> Played:
        """Play it to its end.  What came out is in `server.released`; groups that ended are in its machine.

        advance: told how many members have contributed or fallen silent.
        """
        silent: set[str] = set()
        self._timed("plan", lambda: self._everybody(silent))
        self._key_holders("plan")
        silent |= set(drops.get(Stage.CONTRIBUTION, ()))
        self._contribute(silent, advance)
        self._timed("survivors", self.server.close)
        if self.server.machine.state is State.ENDORSING:
            silent |= set(drops.get(Stage.ENDORSEMENT, ()))
            self._answer("endorsement", silent)
            self._timed("request", self.server.close)
        silent |= set(drops.get(Stage.UNMASK, ()))
        if self.server.machine.state is State.UNMASKING:
            self._answer("unmask", silent)
            for stage in ("challenge", "decrypt") if self.key_holders else ():
                self._key_holders(stage)
                self._timed("open" if stage == "challenge" else "intake", self.server.collect)
            self._timed("sum", self.server.close)
        self._timed("result", lambda: self._everybody(silent))
        self._key_holders("result")
        listed = self.server.machine.survivors
        self.played.survivors = {} if listed is None else {group.gid: group.ids for group in listed.groups}
        self.played.sent = dict(self.wire.sent)
        return self.played

    def check_complete(self, names: Mapping[str, str] = _IDS) -> None:
        """Raise RoundAborted unless every group gave a sum.  names: id -> what the message calls the member."""
        for end in self.server.machine.ended.values():
            named = tuple(names.get(member, member) for member in end.named)
            told = f"group {end.gid} ended without a sum: {end.code}{self._shortfall(end)}"
            told += f", because of {', '.join(named)}" if named else ""
            raise RoundAborted(f"{told}{self._refusal(names)}", named=named)

    def _shortfall(self, end: Ended) -> str:
        """How many there were and how many it takes, where a group ended because they were too few."""
        machine, group = self.server.machine, self.server.machine.groups[end.gid]
        needed = group.shares
        if end.code is EndCode.TOO_FEW_CONTRIBUTIONS:
            there, needed = [id for id in group.cohort if (end.gid, id) in machine.received], group.survivors
        elif group.degree or machine.plan.profile in (Profile.WITNESSED, Profile.ONE_TRIP):
            # It depends on neighbours, on witnesses, or on the key holder.
            return ""
        elif end.code is EndCode.TOO_FEW_ENDORSEMENTS:
            there = [id for id in group.cohort if str(Party(Role.MEMBER.value, id)) in machine.endorsements]
        elif end.code is EndCode.TOO_FEW_RESPONSES:
            there = [id for id in group.cohort if id in machine.answers]
        else:
            return ""
        return f" ({len(there)} of {len(group.cohort)}, {needed} needed)"

    def _refusal(self, names: Mapping[str, str]) -> str:
        """What a member refused in this round, the first of those that did."""
        for name, member in self.members.items():
            for parcel, error in member.refused[self._known[name] :]:
                return f"; {names.get(name, name)} refused the {parcel.type}: {error}"
        return ""

    def _key_holders(self, stage: str) -> None:
        for holder in self.key_holders:
            self._timed(stage, holder.collect)

    def _everybody(self, silent: Collection[str]) -> None:
        for name, member in self.members.items():
            if name not in silent:
                member.collect()

    def _contribute(self, silent: Collection[str], advance: Callable[[int], None]) -> None:
        for number, (name, member) in enumerate(self.members.items(), start=1):
            if name not in silent and member.takes_part(self.server.machine.plan_hash):
                sending = member.contributions()
                while self._timed("contribution", lambda: next(sending, None)) is not None:  # noqa: B023
                    self._timed("intake", self.server.collect)
            advance(number)

    def _answer(self, stage: str, silent: Collection[str]) -> None:
        self._timed(stage, lambda: self._everybody(silent))
        for witness in self.witnesses:
            self._timed("witness", witness.collect)
        self._timed("intake", self.server.collect)

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        start = monotonic()
        result = work()
        self.played.seconds[stage] = self.played.seconds.get(stage, 0.0) + monotonic() - start
        return result
