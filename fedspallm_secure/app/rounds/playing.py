"""One whole round within this process, from the plan to the sums, with members falling silent where asked."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic

from fedspallm_secure.app.rounds.member_party import MemberParty
from fedspallm_secure.app.rounds.parties import WitnessParty
from fedspallm_secure.app.rounds.server_party import ServerParty
from fedspallm_secure.app.rounds.wire import Wire
from fedspallm_secure.errors import RoundAborted
from fedspallm_secure.protocol.rounds.server_state import State


class Stage(StrEnum):
    """Where a member can fall silent, for the rest of the round."""

    CONTRIBUTION = "contribution"
    ENDORSEMENT = "endorsement"
    UNMASK = "unmask"


Drops = Mapping[Stage, Collection[str]]


@dataclass(slots=True)
class Played:
    """How a round went.

    seconds: by stage, `intake` being what the server receives; sent: (sender, type) -> packages and bytes of the round.
    """

    survivors: dict[int, tuple[str, ...]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    sent: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)


class Round:
    """Server, members and witnesses of one round, and the wire between them."""

    def __init__(
        self, server: ServerParty, members: Mapping[str, MemberParty], witnesses: Collection[WitnessParty], wire: Wire
    ) -> None:
        self.server = server
        self.members = members
        self.witnesses = witnesses
        self.wire = wire
        self.played = Played()

    def play(self, drops: Drops, advance: Callable[[int], None] = lambda _: None) -> Played:
        """Play it to its end.  What came out is in `server.released`; groups that ended are in its machine.

        advance: told how many members have contributed or fallen silent.
        """
        silent: set[str] = set()
        self._timed("plan", lambda: self._everybody(silent))
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
            self._timed("sum", self.server.close)
        self._timed("result", lambda: self._everybody(silent))
        listed = self.server.machine.survivors
        self.played.survivors = {} if listed is None else {group.gid: group.ids for group in listed.groups}
        self.played.sent = dict(self.wire.sent)
        return self.played

    def check_complete(self) -> None:
        """Raise RoundAborted unless every group gave a sum."""
        for end in self.server.machine.ended.values():
            named = f", because of {', '.join(end.named)}" if end.named else ""
            raise RoundAborted(f"group {end.gid} ended without a sum: {end.code}{named}", named=end.named)

    def _everybody(self, silent: Collection[str]) -> None:
        for name, member in self.members.items():
            if name not in silent:
                member.collect()

    def _contribute(self, silent: Collection[str], advance: Callable[[int], None]) -> None:
        for number, (name, member) in enumerate(self.members.items(), start=1):
            if name not in silent and member.takes_part:
                self._timed("contribution", member.contribute)
                self._timed("intake", self.server.collect)
            advance(number)

    def _answer(self, stage: str, silent: Collection[str]) -> None:
        self._timed(stage, lambda: self._everybody(silent))
        for witness in self.witnesses:
            self._timed("witness", witness.collect)
        self._timed("intake", self.server.collect)

    def _timed(self, stage: str, work: Callable[[], object]) -> None:
        start = monotonic()
        work()
        self.played.seconds[stage] = self.played.seconds.get(stage, 0.0) + monotonic() - start
