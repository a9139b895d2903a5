"""A member within one process: its machine, its vectors, its prekeys and its disclosure ledger."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from fedspallm_secure.app.federation import Participant, Supply
from fedspallm_secure.app.postbox import Postbox
from fedspallm_secure.app.rounds.ciphers import encrypted, joined
from fedspallm_secure.app.rounds.parties import Clock, Correspondent
from fedspallm_secure.app.rounds.vault import word_sizes
from fedspallm_secure.app.rounds.vectors import Streams
from fedspallm_secure.app.rounds.wire import Parcel, Wire
from fedspallm_secure.crypto.key_records import PrekeySecret
from fedspallm_secure.errors import FedSpaError, UsageError
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.rounds.deals import vector_root
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.member import Ending, LocalModel, Member, Own
from fedspallm_secure.protocol.rounds.member_state import State
from fedspallm_secure.protocol.rounds.messages import Incoming, Step
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.rounds.records_member import MemberRecord
from fedspallm_secure.secagg.disclosure import Ledger, Release
from fedspallm_secure.secagg.masking import add_keystreams


class Work(Protocol):
    """What a member brings to a round."""

    def model(self) -> LocalModel:
        """What its own files say about the layers that it may be asked for, and the last result that it verified."""

    def streams(self, group: GroupPlan) -> tuple[Streams, int]:
        """Its vector for a group, and how many of its values were clipped."""


class MemberParty(Correspondent):
    """A member, for any number of rounds.

    machine: of the present round; ledger: what it answered for; pending: (round, gid) -> what it contributed to and did
    not answer for, where others may have; sealed: gid -> contribution as it left, if it keeps them, which takes as much
    memory as they have bytes; clipped: gid -> values of this round; hidden: told how many more bytes of the vector at
    hand have met all keystreams, or are encrypted.
    """

    keeps_sealed: bool = True

    _AWAITED: Final = frozenset({"plan", "receipt", "survivors", "unmask-request", "result", "abort"})

    def __init__(
        self,
        participant: Participant,
        postbox: Postbox,
        policy: Policy,
        bundle: Prekeys,
        work: Work,
        wire: Wire,
        clock: Clock,
    ) -> None:
        super().__init__(postbox, wire, clock)
        if participant.prekeys is None:
            raise UsageError(f"{participant.party} has no prekeys")
        self.prekeys: Supply = participant.prekeys
        self.bundle = bundle
        self.work = work
        self.own = Own(self.party, participant.signer, self.trust, policy)
        self.machine = Member(self.own)
        self.ledger = Ledger()
        self.pending: dict[tuple[int, int], tuple[Release, ...]] = {}
        self._early: list[tuple[Parcel, Incoming]] = []  # at most one: a request that came before its list
        self.deals: set[str] = set()
        self.sealed: dict[int, Parcel] = {}
        self.clipped: dict[int, int] = {}
        self.hidden: Callable[[int], None] = lambda count: None

    @property
    def plan(self) -> Plan:
        """The plan of the present round.  Raises OutOfTurn while there is none."""
        return self.machine.round.plan

    def takes_part(self, plan_hash: str) -> bool:
        """Whether it accepted this plan, and has not contributed yet."""
        accepted, state = self.machine.accepted, self.machine.state
        return accepted is not None and accepted.plan_hash == plan_hash and state is State.PLANNED and not self.sealed

    def say(self, step: Step[MemberRecord]) -> None:
        """Keep the records of a step of the present round, and send its messages; drop its secrets when it is over."""
        self.keep(step, self.plan.round, self.machine.round.plan_hash)
        if self.machine.state is State.CLOSED:
            self.records = [record for record in self.records if not record.secret]

    def end(self, ending: Ending) -> None:
        """Take in the result of the round."""
        self.say(ending)

    def act(self, parcel: Parcel) -> None:
        """Act on a message of the server."""
        incoming, now = self.open(parcel, self._AWAITED), self.clock()
        match incoming.head.context.type:
            case "plan":
                self._on_plan(incoming, now)
            case "receipt":
                self.say(self.machine.on_receipt(incoming))
            case "survivors":
                step = self.machine.on_survivors(incoming, self._ledger(self.plan.round), now)
                self.ledger = self.ledger.with_release(*self.machine.releases)
                self.say(step)
                self._catch_up(now)
            case "unmask-request" if self._awaits_list and not self._early:
                self._early.append((parcel, incoming))  # no courier may turn what overtook its list into a refusal
            case "unmask-request":
                self._on_unmask_request(incoming, now)
            case "result":
                self.end(self.machine.on_result(incoming))
            case _:
                self.say(self.machine.on_abort(incoming))

    @property
    def _awaits_list(self) -> bool:
        return self.machine.state is State.PLANNED and self.machine.survivors is None

    def _catch_up(self, now: int) -> None:
        early, self._early = self._early, []
        for parcel, request in early:
            try:
                self._on_unmask_request(request, now)
            except FedSpaError as error:  # of the request, and not of the list that was taken in before it
                self.refused.append((parcel, error))

    def _on_unmask_request(self, incoming: Incoming, now: int) -> None:
        answer = self.machine.on_unmask_request(incoming, self._ledger(self.plan.round), now)
        self.ledger = self.ledger.with_release(*answer.releases)
        for gid in () if self.machine.answer is None else self.machine.answer.gids:
            self.pending.pop((self.plan.round, gid), None)
        self.say(answer)

    def _on_plan(self, incoming: Incoming, now: int) -> None:
        accepted = self.machine.accepted
        last = 0 if accepted is None else accepted.plan.round
        same = accepted is not None and incoming.head.context.round == last
        machine = self.machine if same else Member(self.own)
        step = machine.on_plan(
            incoming,
            self.work.model(),
            self._ledger(last if same else 0),
            self.bundle,
            self.prekeys.next_index(),
            now,
            last_round=0 if same else last,
            known_deals=self.deals,
        )
        if machine is not self.machine:
            self.machine, self.sealed, self.clipped, self._early = machine, {}, {}, []
        self.say(step)

    def _ledger(self, number: int) -> Ledger:
        """All that is or may be released in other rounds than this one."""
        return self.ledger.with_release(
            *(release for (before, _), releases in self.pending.items() if before != number for release in releases)
        )

    def contribute(self) -> None:
        """Make and send one contribution for every group of the plan, in the order of SPEC section 16.3."""
        for _ in self.contributions():
            pass

    def contributions(self) -> Iterator[int]:
        """As `contribute`, one by one: the number of each group whose contribution was sent."""
        prekey = self.prekeys.burn(self.machine.round.index)
        for group in self.plan.groups_of(self.party.id):
            self.contribute_to(group, prekey)
            yield group.gid

    def contribute_to(self, group: GroupPlan, prekey: PrekeySecret) -> None:
        """Make and send the contribution to one group, once (SPEC section 16.3).  prekey: burned before."""
        streams, self.clipped[group.gid] = self.work.streams(group)
        self.freeze(group, streams)
        draft = self.machine.prepare(group.gid, prekey)
        if group.cipher is not None:
            places = self._counted(encrypted(group, streams, self._public, draft.slot_key))
            streams = Streams(joined(places, group), None)
        else:
            terms = (draft.count_terms, draft.sum_terms)
            for part, size, these in zip(streams.parts, word_sizes(group), terms, strict=False):
                add_keystreams(part, these, size, advance=self.hidden)
        root = vector_root([part.data for part in streams.parts], group.upload_tile)
        step = self.machine.hand_over(draft, root)
        self.note(step.records, self.plan.round)
        self.deals.add(self.machine.deals[group.gid])
        self._may_be_released(group)
        for message in step.messages:
            parts = [message.body, *(part.data for part in streams.parts)]
            number, plan_hash = self.plan.round, self.machine.round.plan_hash
            sent = self.send(message.type, message.recipient, parts, number, plan_hash, message.group)
            self.note(self.machine.note_sealed(group.gid, sent.digest).records, number)
            if self.keeps_sealed:
                self.sealed[group.gid] = sent

    def _counted(self, places: Iterable[bytes]) -> Iterator[bytes]:
        for place in places:
            self.hidden(len(place))
            yield place

    @property
    def _public(self) -> bytes:
        key = self.machine.round.cipher_key
        return b"" if key is None else key.public

    def freeze(self, group: GroupPlan, streams: Streams) -> None:
        """Fix the vector for a group, durably, before any seed is drawn for it."""
        self.say(self.machine.freeze(group.gid, streams.hash))

    def _may_be_released(self, group: GroupPlan) -> None:
        # From here on others can answer for this vector without this member: it counts, whatever the server says.
        number, everybody, split = self.plan.round, frozenset(group.cohort), self.plan.split
        releases = tuple(Release(matrix.name, group.base, number, everybody, split) for matrix in group.matrices)
        self.pending[number, group.gid] = releases
