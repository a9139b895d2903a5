"""What the server of a round knows, as a function of its records, and what may happen when (SPEC section 16.5)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Self, cast

from fedspallm_secure.crypto.encoding import parse_canonical_json
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import FormatError, OutOfTurn, UsageError
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.protocol.rounds.answers import Ballot, Shares, shares_of
from fedspallm_secure.protocol.rounds.deals import Handover
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.links import Links
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.records_server import (
    Answered,
    Blamed,
    Challenged,
    Decrypted,
    Endorsed,
    Finished,
    GroupEnded,
    ListMade,
    Opened,
    OutOfRange,
    Received,
    Refused,
    Requested,
    ServerRecord,
    Unmasked,
)
from fedspallm_secure.protocol.rounds.survivors import EndCode, Ended, SurvivorList
from fedspallm_secure.protocol.rounds.unmasking import UnmaskResponse
from fedspallm_secure.secagg.thresholds import Profile, quorum, witness_quorum


class State(Enum):
    """Where a round is (SPEC section 16.5); while it is SUMMING, nothing more is taken in."""

    COLLECTING = auto()
    ENDORSING = auto()
    UNMASKING = auto()
    SUMMING = auto()
    FINISHED = auto()


class Event(Enum):
    """What can happen to a round."""

    INVITE = auto()
    CONTRIBUTION = auto()
    CLOSE_COLLECTING = auto()
    ENDORSEMENT = auto()
    CLOSE_ENDORSING = auto()
    ANSWER = auto()
    DECRYPTION = auto()
    CLOSE_UNMASKING = auto()
    FINISH = auto()
    STOP = auto()


ALLOWED: Final[Mapping[State, frozenset[Event]]] = {
    State.COLLECTING: frozenset({Event.INVITE, Event.CONTRIBUTION, Event.CLOSE_COLLECTING, Event.STOP}),
    State.ENDORSING: frozenset({Event.ENDORSEMENT, Event.CLOSE_ENDORSING, Event.STOP}),
    State.UNMASKING: frozenset({Event.ANSWER, Event.DECRYPTION, Event.CLOSE_UNMASKING, Event.STOP}),
    State.SUMMING: frozenset({Event.FINISH, Event.STOP}),
    State.FINISHED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class ServerOwn:
    """Who the server is.  witnesses: ids of those whose endorsements count, sorted; dishonest: how many may lie.

    Raises UsageError unless the roster has `signer` as the key of `party`, a server.
    """

    party: Party
    signer: Signer = field(repr=False)
    trust: Trust
    witnesses: tuple[str, ...] = ()
    dishonest: int = 0

    def __post_init__(self) -> None:
        key = self.trust.roster.entry(self.party).leaf.public
        if self.party.role is not Role.SERVER or key != self.signer.public:
            raise UsageError(f"{self.party} is no server with this signing key")


class ServerState:
    """What is known of one round.  Changed by records alone."""

    def __init__(self, own: ServerOwn, plan: Plan) -> None:
        self.own = own
        self.plan = plan
        self.plan_hash = plan.hash
        self.state = State.COLLECTING
        self.groups = {group.gid: group for group in plan.groups}
        self.links = {group.gid: Links.of(plan, self.plan_hash, group) for group in plan.groups}
        self.received: dict[tuple[int, str], Received] = {}
        self.refused: set[tuple[str, str, str, str]] = set()  # sender, type, group, check
        self.blamed: set[tuple[str, str, str]] = set()  # member, check, group or *
        self.survivors: SurvivorList | None = None
        self.ballots: dict[int, Ballot] = {}
        self.endorsements: dict[str, bytes] = {}  # ROLE/ID -> signature
        self.answers: dict[str, bytes] = {}
        self.shares: dict[int, dict[str, Shares]] = {group.gid: {} for group in plan.groups}  # by holder
        self.challenged: dict[int, Challenged] = {}
        self.decrypted: dict[int, str] = {}  # gid -> digest of the package with the sum, hex
        self.ended: dict[int, Ended] = {}
        self.result: Result | None = None

    @classmethod
    def restore(cls, own: ServerOwn, records: Iterable[ServerRecord]) -> Self:
        """The round as its records have it.  Raises FormatError when they are of no round."""
        remaining = iter(records)
        first = next(remaining, None)
        if not isinstance(first, Opened):
            raise FormatError("the records of a round begin with its plan")
        server = cls(own, Plan.from_dict(parse_canonical_json(first.plan, "the plan")))
        for record in remaining:
            server.apply(record)
        return server

    def check(self, event: Event, check: str = "") -> None:
        """Raise OutOfTurn unless this may happen now."""
        if event not in ALLOWED[self.state]:
            text = f"{event.name.lower()} does not belong to a round that is {self.state.name.lower()}"
            raise OutOfTurn(text, check=check)

    def apply(self, record: ServerRecord) -> None:
        """Know one more thing.  Records come in the order in which they were made."""
        match record:
            case Opened():
                raise FormatError("a round begins once")
            case Received():
                self.received[record.gid, record.member] = record
            case Refused():
                self.refused.add((record.sender, record.type, record.group, record.check))
                self.blamed.update((member, record.check, record.group) for member in record.named)
            case Blamed():
                named = record.guilty + record.suspects
                self.blamed.update((member, record.check, str(record.gid)) for member in named)
            case ListMade():
                self._list(SurvivorList.parse(record.statement))
            case Endorsed():
                self.endorsements[record.sender] = record.signature
            case Requested():
                self.state = State.UNMASKING
            case Answered():
                self.answers[record.member] = record.body
                for answer in UnmaskResponse.parse(record.body).groups:
                    self.shares[answer.gid][record.member] = shares_of(answer)
            case Challenged():
                self.challenged[record.gid] = record
            case Decrypted():
                self.decrypted[record.gid] = record.package
            case Unmasked():
                self.state = State.SUMMING
            case GroupEnded():
                self.ended[record.end.gid] = record.end
            case OutOfRange():
                self.ended[record.gid] = Ended(record.gid, EndCode.SUM_OUT_OF_RANGE)
            case Finished():
                self.result = Result.parse(record.statement)
        if self.result is not None or not self.running:
            self.state = State.FINISHED

    def _list(self, survivors: SurvivorList) -> None:
        self.survivors = survivors
        self.ended.update((end.gid, end) for end in survivors.ended)
        for listed in survivors.groups:
            dealt = {member: self.handover(listed.gid, member) for member in listed.ids}
            self.ballots[listed.gid] = Ballot(self.links[listed.gid], dealt)
        endorsed = self.plan.profile in (Profile.THREE_TRIP, Profile.WITNESSED)
        self.state = State.ENDORSING if endorsed else State.UNMASKING

    def handover(self, gid: int, member: str) -> Handover:
        """What a member handed in for a group, but for its vector."""
        return Handover.parse(self.received[gid, member].handover, *self.groups[gid].deal_form)

    @property
    def listed(self) -> SurvivorList:
        """The survivor list; there is one in every state from ENDORSING to SUMMING."""
        return cast(SurvivorList, self.survivors)

    @property
    def running(self) -> list[GroupPlan]:
        """The groups that may still give a sum, or have given one, in their order."""
        return [group for group in self.plan.groups if group.gid not in self.ended]

    @property
    def last_code(self) -> EndCode:
        """Why a round ends without a result: the code of the group that ended last."""
        return list(self.ended.values())[-1].code

    def named(self, gid: int) -> tuple[str, ...]:
        """The members of a cohort whom a check of answers, R1 to R4, put to blame; sorted."""
        groups, cohort = (NONE, str(gid)), self.groups[gid].cohort
        found = {who for who, check, group in self.blamed if check.startswith("R") and group in groups}
        return tuple(sorted(found.intersection(cohort)))

    def members(self) -> list[Party]:
        """Everybody who takes part, sorted."""
        return [Party(Role.MEMBER.value, use.id) for use in self.plan.prekeys]

    def witnesses(self) -> list[Party]:
        """The witnesses that are asked to endorse the list; none unless the profile has any."""
        ids = self.own.witnesses if self.plan.profile is Profile.WITNESSED else ()
        return [Party(Role.WITNESS.value, witness) for witness in ids]

    def key_holders(self) -> list[Party]:
        """Who decrypts the sums: one party, or nobody where nothing is encrypted."""
        return [] if self.plan.key_holder is None else [self.plan.key_holder.party]

    def asked(self) -> set[str]:
        """Ids of the survivors of groups that run: who endorses the list in three trips, and who is asked to unmask."""
        return {member for group in self.running for member in self.ballots[group.gid].survivors}

    def endorsers(self) -> set[str]:
        """Who is asked to endorse the list, as ROLE/ID."""
        if self.plan.profile is Profile.WITNESSED:
            return set(map(str, self.witnesses()))
        return {str(Party(Role.MEMBER.value, member)) for member in self.asked()}

    def is_endorsed(self, group: GroupPlan) -> bool:
        """Whether enough have endorsed the list for this group to go on (SPEC section 17, Q2)."""
        if self.plan.profile is Profile.WITNESSED:
            return len(self.endorsements) >= witness_quorum(len(self.own.witnesses), self.own.dishonest)
        who = {str(Party(Role.MEMBER.value, member)) for member in self.ballots[group.gid].survivors}
        needed = quorum(len(group.cohort), self.plan.colluders) if group.degree else group.shares
        return len(who & self.endorsements.keys()) >= needed

    @property
    def ready(self) -> bool:
        """Whether everybody has said what the round waits for."""
        match self.state:
            case State.COLLECTING:
                return all((group.gid, id) in self.received for group in self.plan.groups for id in group.cohort)
            case State.ENDORSING:
                return self.endorsers() <= self.endorsements.keys()
            case State.UNMASKING if self.plan.key_holder is not None:
                return all(group.gid in self.decrypted for group in self.running)
            case State.UNMASKING:
                return self.asked() <= self.answers.keys()
            case _:
                return False

    @property
    def enough(self) -> bool:
        """Whether no group would have to end if what the round waits for were closed now; S8 and R5 may yet end one."""
        match self.state:
            case State.COLLECTING:
                return all(
                    sum((group.gid, id) in self.received for id in group.cohort) >= group.survivors
                    for group in self.plan.groups
                )
            case State.ENDORSING:
                return all(map(self.is_endorsed, self.running))
            case State.UNMASKING if self.plan.key_holder is not None:
                return self.ready
            case State.UNMASKING:
                return all(self.ballots[group.gid].suffices(self.shares[group.gid]) for group in self.running)
            case _:
                return False

    def prekey(self, member: str) -> int:
        """Index of the prekey that `member` uses in this round."""
        return next(use.index for use in self.plan.prekeys if use.id == member)
