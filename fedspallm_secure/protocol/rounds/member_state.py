"""What a member knows of a round, as a function of its records, and what may happen when (SPEC section 16.5)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Self

from fedspallm_secure.crypto.encoding import parse_canonical_json
from fedspallm_secure.crypto.key_records import PrekeySecret
from fedspallm_secure.errors import FormatError, OutOfTurn
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.prekeys import Prekey
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.dealing import Draft, Use
from fedspallm_secure.protocol.rounds.deals import deal_digest
from fedspallm_secure.protocol.rounds.links import Links
from fedspallm_secure.protocol.rounds.member_own import Own
from fedspallm_secure.protocol.rounds.messages import Step
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.records_member import (
    Aborted,
    Answered,
    Closed,
    Dealt,
    Endorsed,
    ListHeld,
    MemberRecord,
    PlanAccepted,
    PrekeyHeld,
    ReceiptHeld,
    Sealed,
    VectorFrozen,
)
from fedspallm_secure.protocol.rounds.survivors import SurvivorList
from fedspallm_secure.secagg.commitments import Row
from fedspallm_secure.secagg.disclosure import Release
from fedspallm_secure.secagg.thresholds import Profile


class State(Enum):
    """Where a member is in a round."""

    IDLE = auto()
    PLANNED = auto()
    ENDORSED = auto()
    ANSWERED = auto()
    CLOSED = auto()


class Event(Enum):
    """What can happen to a member."""

    PLAN = auto()
    CONTRIBUTION = auto()  # its own
    RECEIPT = auto()
    SURVIVORS = auto()
    UNMASK_REQUEST = auto()
    GROUP_ABORT = auto()  # and another group of it goes on
    ABORT = auto()
    RESULT = auto()


Table = Mapping[tuple[State, Event], State]


def _table(*moves: tuple[State, Event, State]) -> Table:
    """The moves that are special to a profile, with those of all profiles."""
    table = {
        (State.IDLE, Event.PLAN): State.PLANNED,
        (State.PLANNED, Event.CONTRIBUTION): State.PLANNED,
        **{(state, event): new for state, event, new in moves},
        # What leads to where it came from lets in what was taken in before; that it is the same is for a check to say.
        (State.ANSWERED, Event.SURVIVORS): State.ANSWERED,
        (State.ANSWERED, Event.UNMASK_REQUEST): State.ANSWERED,
    }
    for state in {*table.values(), State.CLOSED}:
        table |= {(state, event): state for event in (Event.PLAN, Event.RECEIPT, Event.GROUP_ABORT)}
        table |= {(state, event): State.CLOSED for event in (Event.ABORT, Event.RESULT)}
    return table


THREE_TRIP: Final = _table(
    (State.PLANNED, Event.SURVIVORS, State.ENDORSED),
    (State.ENDORSED, Event.SURVIVORS, State.ENDORSED),
    (State.ENDORSED, Event.UNMASK_REQUEST, State.ANSWERED),
)
TWO_TRIP: Final = _table(
    (State.PLANNED, Event.SURVIVORS, State.PLANNED),
    (State.PLANNED, Event.UNMASK_REQUEST, State.ANSWERED),
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A plan that the member accepted.  links: of its groups, by gid; uses: prekeys of its neighbours and its own.

    cipher_key: what its vectors are encrypted with, None where they are not.
    """

    plan: Plan
    plan_hash: str
    index: int
    links: Mapping[int, Links] = field(repr=False)
    uses: Mapping[str, Use] = field(repr=False)
    cipher_key: CipherKey | None = None

    @classmethod
    def of(cls, record: PlanAccepted, me: str) -> Self:
        """From the record.  Raises FormatError."""
        plan = Plan.from_dict(parse_canonical_json(record.plan, "the plan"))
        indices = {use.id: use.index for use in plan.prekeys}
        ids = sorted({me, *plan.neighbours_of(me)})
        if len(ids) != len(record.prekeys):
            raise FormatError("the record of a plan has not one prekey for everybody who needs one")
        leaves = map(Prekey.from_bytes, record.prekeys)
        uses = {member: Use(indices[member], leaf) for member, leaf in zip(ids, leaves, strict=True)}
        links = {group.gid: Links.of(plan, record.plan_hash, group) for group in plan.groups_of(me)}
        key = CipherKey.parse(record.cipher_key) if record.cipher_key else None
        return cls(plan, record.plan_hash, record.index, links, uses, key)


@dataclass(frozen=True, slots=True)
class Answer(Step[MemberRecord]):
    """The step of an answer.  releases: to be in the ledger, durably, before the answer leaves."""

    releases: tuple[Release, ...] = ()


@dataclass(frozen=True, slots=True)
class Ending(Step[MemberRecord]):
    """The step of a result.  result: the one that was verified."""

    result: Result | None = None


class MemberState:
    """What is known of one round.  Changed by records, but for what must not outlive the process: drafts."""

    def __init__(self, own: Own) -> None:
        self.own = own
        self.state = State.IDLE
        self.accepted: Accepted | None = None
        self.frozen: dict[int, str] = {}  # gid -> digest of the frozen vector, hex
        self.deals: dict[int, str] = {}  # gid -> digest of the own deal, hex
        self.packages: dict[int, str] = {}  # gid -> digest of the package with the own contribution, hex
        self.receipts: dict[int, bytes] = {}  # gid -> statement file of the server's receipt for it
        self.prekey: PrekeySecret | None = None
        self.survivors: SurvivorList | None = None
        self.endorsement: bytes | None = None
        self.answer: Answered | None = None
        self.ended: dict[str, str] = {}  # group in decimal, or `*` -> why the server ended it
        self.result: str | None = None  # statement digest, hex
        self._rows: dict[int, Row] = {}
        self._fresh: set[int] = set()  # frozen by this very process, and not dealt for yet
        self._drafts: dict[int, Draft] = {}

    @property
    def me(self) -> str:
        """The member's id."""
        return self.own.party.id

    @classmethod
    def restore(cls, own: Own, records: Iterable[MemberRecord]) -> Self:
        """The round as its records have it.  Raises FormatError when they are of no round.

        A group whose vector was frozen, and for which nothing was handed over before the process ended, is lost:
        whatever was made for it may have left, so nothing is made for it again (SPEC section 16.3).
        """
        member = cls(own)
        for record in records:
            member.apply(record)
        return member

    def turn(self, event: Event) -> None:
        """Raise OutOfTurn unless this may happen now."""
        if (self.state, event) not in self._moves:
            name = event.name.lower().replace("_", " ")
            raise OutOfTurn(f"{name} does not belong to a round that is {self.state.name.lower()}")

    @property
    def round(self) -> Accepted:
        """The plan that was accepted.  Raises OutOfTurn while there is none."""
        if self.accepted is None:
            raise OutOfTurn("no plan was accepted yet")
        return self.accepted

    @property
    def releases(self) -> tuple[Release, ...]:
        """What may be released, as far as this member knows: it belongs into the ledger before an answer leaves.

        That is what it answered for, and every list that it is not on (SPEC section 15): taken from a later sum that it
        is in, it would leave its vector.
        """
        if self.survivors is None:
            return ()
        plan, lists = self.round.plan, {listed.gid: frozenset(listed.ids) for listed in self.survivors.groups}
        answered = () if self.answer is None else self.answer.gids
        if plan.key_holder is not None:  # nobody asks its members
            answered = tuple(lists)
        return tuple(
            Release(matrix.name, group.base, plan.round, lists[group.gid], plan.split)
            for group in plan.groups
            if group.gid in lists and (group.gid in answered or self.me not in lists[group.gid])
            for matrix in group.matrices
        )

    def closes(self, group: str) -> bool:
        """Whether the round is over for this member once `group`, decimal or `*`, has ended."""
        return group == NONE or {str(gid) for gid in self.round.links} <= {*self.ended, group}

    def apply(self, record: MemberRecord) -> None:
        """Know one more thing.  Records come in the order in which they were made.  Raises FormatError."""
        match record:
            case PlanAccepted():
                self._move(Event.PLAN)
                self.accepted = Accepted.of(record, self.me)
            case VectorFrozen():
                self._move(Event.CONTRIBUTION)
                self.frozen[record.gid] = record.digest
            case PrekeyHeld():
                self._move(Event.CONTRIBUTION)
                self.prekey = record.prekey
            case Dealt():
                self._move(Event.CONTRIBUTION)
                self.deals[record.gid] = deal_digest(self.round.links[record.gid].context, self.me, record.deal)
                self._rows[record.gid] = record.row(self.me)
            case Sealed():
                self._move(Event.CONTRIBUTION)
                self.packages[record.gid] = record.package
            case ReceiptHeld():
                self._move(Event.RECEIPT)
                self.receipts[record.gid] = record.statement
            case ListHeld() | Endorsed():
                self._move(Event.SURVIVORS)
                self.survivors = SurvivorList.parse(record.statement)
                self.endorsement = record.signature if isinstance(record, Endorsed) else None
            case Answered():
                self._move(Event.UNMASK_REQUEST)
                self.answer = record
            case Aborted():
                self._move(Event.ABORT if self.closes(record.group) else Event.GROUP_ABORT)
                self.ended[record.group] = record.code
            case Closed():
                self._move(Event.RESULT)
                self.result = record.result
        if self.state is State.CLOSED:
            self._forget()

    @property
    def _moves(self) -> Table:
        endorsing = self.accepted is None or self.accepted.plan.profile is Profile.THREE_TRIP
        return THREE_TRIP if endorsing else TWO_TRIP

    def _move(self, event: Event) -> None:
        try:
            self.state = self._moves[self.state, event]
        except KeyError:
            raise FormatError(f"a record of {event.name} cannot follow in state {self.state.name}") from None

    def _forget(self) -> None:
        """Drop the secrets of a round that is over."""
        self.prekey = None
        self._rows.clear()
        self._fresh.clear()
        self._drafts.clear()
