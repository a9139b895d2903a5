"""What the server of a round knows, as a function of its records, and what may happen when (SPEC section 16.5)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Self

from fedspallm_secure.crypto.encoding import parse_canonical_json
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import FormatError, OutOfTurn, ResponseRefused
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.protocol.rounds.answers import Ballot, Secret, read_answer
from fedspallm_secure.protocol.rounds.deals import Handover
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.records_server import (
    Answered,
    Endorsed,
    Finished,
    GroupEnded,
    Listed,
    Opened,
    Received,
    Refused,
    Requested,
    ServerRecord,
    Unmasked,
)
from fedspallm_secure.protocol.rounds.survivors import Ended, SurvivorList
from fedspallm_secure.protocol.rounds.unmasking import UnmaskResponse
from fedspallm_secure.secagg.thresholds import Profile, quorum, witness_quorum


class State(Enum):
    """Where a round is (SPEC section 16.5)."""

    COLLECTING = auto()
    ENDORSING = auto()
    UNMASKING = auto()
    SUMMING = auto()
    FINISHED = auto()


class Event(Enum):
    """What can happen to a round."""

    CONTRIBUTION = auto()
    CLOSE_COLLECTING = auto()
    ENDORSEMENT = auto()
    CLOSE_ENDORSING = auto()
    ANSWER = auto()
    CLOSE_UNMASKING = auto()
    FINISH = auto()
    STOP = auto()


ALLOWED: Final[Mapping[State, frozenset[Event]]] = {
    State.COLLECTING: frozenset({Event.CONTRIBUTION, Event.CLOSE_COLLECTING, Event.STOP}),
    State.ENDORSING: frozenset({Event.ENDORSEMENT, Event.CLOSE_ENDORSING, Event.STOP}),
    State.UNMASKING: frozenset({Event.ANSWER, Event.CLOSE_UNMASKING, Event.STOP}),
    State.SUMMING: frozenset({Event.FINISH, Event.STOP}),
    State.FINISHED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class ServerOwn:
    """Who the server is.  witnesses: ids whose endorsements count; dishonest: how many of them may lie."""

    party: Party
    signer: Signer
    trust: Trust
    witnesses: tuple[str, ...] = ()
    dishonest: int = 0


class ServerState:
    """What is known of one round.  Changed by records alone."""

    def __init__(self, own: ServerOwn, plan: Plan, plan_hash: str) -> None:
        self.own = own
        self.plan = plan
        self.plan_hash = plan_hash
        self.state = State.COLLECTING
        self.groups = {group.gid: group for group in plan.groups}
        self.received: dict[tuple[int, str], Received] = {}
        self.ended: dict[int, Ended] = {}
        self.blamed: dict[str, set[str]] = {}  # member -> checks that it is, or may be, to blame for
        self.survivors: SurvivorList | None = None
        self.endorsements: dict[str, bytes] = {}  # ROLE/ID -> signature
        self.result: Result | None = None
        self.handovers: dict[tuple[int, str], Handover] = {}
        self.answers: dict[str, bytes] = {}
        self.shares: dict[int, dict[str, dict[Secret, int]]] = {}  # gid -> holder -> shares
        self.ballots: dict[int, Ballot] = {}

    @classmethod
    def restore(cls, own: ServerOwn, records: Iterable[ServerRecord]) -> Self:
        """The round as its records have it.  Raises FormatError when they are of no round."""
        remaining = iter(records)
        first = next(remaining, None)
        if not isinstance(first, Opened):
            raise FormatError("the records of a round begin with its plan")
        plan = Plan.from_dict(parse_canonical_json(first.plan, "the plan"))
        server = cls(own, plan, plan.hash)
        for record in remaining:
            server.apply(record)
        return server

    def check(self, event: Event) -> None:
        """Raise OutOfTurn unless this may happen now."""
        if event not in ALLOWED[self.state]:
            raise OutOfTurn(f"{event.name.lower()} does not belong to a round that is {self.state.name.lower()}")

    def apply(self, record: ServerRecord) -> None:
        """Know one more thing.  Records come in the order in which they were made."""
        match record:
            case Received():
                self.received[record.gid, record.member] = record
                neighbours = self.groups[record.gid].neighbours
                self.handovers[record.gid, record.member] = Handover.parse(record.handover, neighbours)
            case Refused():
                self.blamed.setdefault(record.member, set()).add(record.check)
            case Listed():
                self.survivors = SurvivorList.parse(record.statement)
                self.ended.update((end.gid, end) for end in self.survivors.ended)
                self._fill_ballots(self.survivors)
                self.state = State.ENDORSING
            case Endorsed():
                self.endorsements[record.party] = record.signature
            case Requested():
                self.state = State.UNMASKING
            case Answered():
                self.answers[record.member] = record.body
                for gid, shares in self.read(record.member, UnmaskResponse.parse(record.body)).items():
                    self.shares.setdefault(gid, {})[record.member] = shares
            case Unmasked():
                self.state = State.SUMMING
            case GroupEnded():
                self.ended[record.end.gid] = record.end
            case Finished():
                self.result = Result.parse(record.statement) if record.statement else None
                self.state = State.FINISHED
            case Opened():
                raise FormatError("a round begins once")

    def _fill_ballots(self, statement: SurvivorList) -> None:
        seed = bytes.fromhex(self.plan.seed)
        for listed in statement.groups:
            group = self.groups[listed.gid]
            self.ballots[listed.gid] = Ballot(
                group,
                group.graph(seed),
                self.plan.context(listed.gid, self.plan_hash),
                listed.ids,
                {member: self.handovers[listed.gid, member] for member in listed.ids},
            )

    def read(self, member: str, response: UnmaskResponse) -> dict[int, dict[Secret, int]]:
        """R2 and R3 for every group that `member` answers for; gid -> shares.  Raises ResponseRefused."""
        mine = [gid for gid, ballot in self.ballots.items() if member in ballot.survivors]
        if not {answer.gid for answer in response.groups} <= set(mine):
            raise ResponseRefused(f"{member} answers for a group in which it did not survive", check="R2")
        return {answer.gid: read_answer(self.ballots[answer.gid], member, answer) for answer in response.groups}

    @property
    def running(self) -> list[GroupPlan]:
        """The groups that may still give a sum, in their order."""
        return [group for group in self.plan.groups if group.gid not in self.ended]

    def listed(self) -> SurvivorList:
        """The survivor list.  Raises OutOfTurn while there is none."""
        if self.survivors is None:
            raise OutOfTurn("there is no survivor list yet")
        return self.survivors

    def endorsers(self) -> list[str]:
        """Who is asked to endorse the list, as ROLE/ID."""
        if self.plan.profile is Profile.WITNESSED:
            return [str(Party(Role.WITNESS.value, witness)) for witness in self.own.witnesses]
        found = {member for group in self.listed().groups for member in group.ids}
        return [str(Party(Role.MEMBER.value, member)) for member in sorted(found)]

    def is_endorsed(self, group: GroupPlan) -> bool:
        """Whether enough have endorsed the list for this group to go on (SPEC section 17, Q2)."""
        if self.plan.profile is Profile.WITNESSED:
            return len(self.endorsements) >= witness_quorum(len(self.own.witnesses), self.own.dishonest)
        return self._own_endorsements(group) >= endorsements_needed(group, self.plan.colluders)

    def _own_endorsements(self, group: GroupPlan) -> int:
        ballot = self.ballots[group.gid]
        return sum(str(Party(Role.MEMBER.value, member)) in self.endorsements for member in ballot.survivors)

    def asked(self) -> set[str]:
        """The survivors of the groups that run: who is asked to unmask."""
        return {member for group in self.running for member in self.ballots[group.gid].survivors}

    def prekey(self, member: str) -> int:
        """Index of the prekey that `member` uses in this round."""
        return next(use.index for use in self.plan.prekeys if use.id == member)


def endorsements_needed(group: GroupPlan, colluders: int) -> int:
    """How many survivors of a group must have endorsed one list: so many that no second list can have as many."""
    return quorum(len(group.cohort), colluders) if group.degree else group.shares
