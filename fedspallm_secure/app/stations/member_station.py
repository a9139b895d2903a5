"""A member on disk: the machine of a round, restored from its journal, and what it keeps from round to round.

What it decides is that of `app.rounds.member_party`; here it becomes durable, in the order of SPEC section 16.3.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from fedspallm_secure.app.rounds.member_party import MemberParty, Work
from fedspallm_secure.app.rounds.wire import Parcel, Wire
from fedspallm_secure.app.stations.hiding import Hiding
from fedspallm_secure.app.stations.log_book import LogBook
from fedspallm_secure.app.stations.own_bundles import OwnBundles
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.app.stations.results import Applier, Results
from fedspallm_secure.app.stations.station import NotYet, arrived_of, check_sequence, take_in
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.key_records import PrekeySecret
from fedspallm_secure.errors import (
    DisclosureRefused,
    FedSpaError,
    PackageRefused,
    PlanDeclined,
    RolledBack,
    TrustError,
)
from fedspallm_secure.protocol.audit.policies import TrustPolicy
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.receiving import Awaited, check_sealing
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.member import Ending, Member, Own
from fedspallm_secure.protocol.rounds.member_state import State
from fedspallm_secure.protocol.rounds.messages import Incoming, Outgoing, Step
from fedspallm_secure.protocol.rounds.plan_bodies import PlanBody
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.rounds.records_member import MemberRecord, PrekeyHeld, read_member_record
from fedspallm_secure.protocol.rounds.survivors import Endorsement
from fedspallm_secure.secagg.disclosure import Ledger
from fedspallm_secure.storage.spool import Arrived

_OLD_COPY: Final = "stop: this home is an old copy.  Have its certificate withdrawn, and enrol again in a new --home"


class MemberStation(MemberParty):
    """A member, for any number of rounds.  results: what came out of them, whether it took part or not.

    hiding: how far it is with the vector at hand.
    """

    keeps_sealed = False

    def __init__(
        self, post: Post, policy: Policy, work: Work, applier: Applier, log_policy: TrustPolicy | None = None
    ) -> None:
        """log_policy: whose cosignatures the server's log has to have, None for nobody's.

        Raises MissingInput for a home without prekeys, RolledBack where the journal and the key file differ.
        """
        self.bundles = OwnBundles(post)
        self.post = post
        self.policy = policy
        self.results = Results(post, policy.server, applier)
        super().__init__(post.participant, post.postbox, policy, self.bundles.newest, work, Wire(), post.now)
        self.told: list[tuple[Arrived, FedSpaError]] = []
        self.owed: list[Outgoing] = []
        self.book = LogBook(post, policy.server, lambda: self.deals, log_policy)
        self.hiding = Hiding()
        self.hidden = self.hiding.advance
        self._restore()
        with post.at_once():
            self.bundles.publish()

    # Restoring

    def _restore(self) -> None:
        journal = self.post.journal
        number = journal.last_round()
        if number:
            self.machine = Member.restore(self.own, journal.records(number, read_member_record))
        self.ledger = _ledger(journal.recall("ledger", "*"))
        for name, value in journal.recall_all("pending").items():
            round, _, gid = name.partition("/")
            self.pending[int(round), int(gid)] = _ledger(value).releases
        self.deals = {deal for deals in journal.recall_all("deals").values() for deal in deals}
        self._kept = self.ledger, dict(self.pending), set(self.deals)
        self.owed = [one for one in self._answers() if not journal.has_made(one.type, number)]
        self._check_prekeys()

    def _check_prekeys(self) -> None:
        """Journal and prekey file are of one age: one of them put back alone is noticed here.

        A kill between the two leaves a prekey that is held and not burned yet; then it is burned now.
        """
        noted = self.post.journal.recall("prekeys", "next", self._first_prekey)
        there, held = self.prekeys.next_index(), self.machine.prekey
        if held is not None and held.index + 1 == noted and there <= held.index:
            self.prekeys.burn(held.index)
        elif there != noted:
            raise RolledBack(f"{there} prekeys are used up, and the journal knows of {noted}", hint=_OLD_COPY)

    @property
    def _first_prekey(self) -> int:
        """Before the first round nothing is used up; a key file that was lost and made anew begins where it does."""
        there = self.prekeys.next_index()
        return there if there == self.bundle.first else 0

    def check_sequence(self, seen: int) -> None:
        """As of `stations.station`."""
        check_sequence(self.post, seen)

    def renew(self) -> None:
        """Go on with a newer roster or revocation list, which the post has read."""
        self.postbox, self.trust = self.post.postbox, self.post.trust
        self.own = Own(self.party, self.post.signer, self.trust, self.policy)
        changed = self.machine.own.trust.roster.hash != self.own.trust.roster.hash
        self.machine.own = self.own
        if changed:
            self.owed = self._answers()  # what was sealed under the roster before is of no use any more

    # Messages

    def work_through(self) -> int:
        """Act on everything in the inbox; how many packages were settled.

        Raises StorageError, OutOfMemory, KeyStoreError or RolledBack, after which it has to be made anew.
        """
        self._make_up()
        settled = take_in(self.post, self.act, lambda arrived, error: self.told.append((arrived, error)))
        if settled:
            self.post.spool.discard(self.post.journal.last_round())
        return settled

    def act(self, parcel: Parcel) -> None:
        """Act on a message of the server, or on a layer of a result."""
        match parcel.type:
            case "log":
                self.book.on_log(self._open_one(parcel, frozenset({"log"})))
            case "layer":
                self.results.on_layer(arrived_of(parcel))
            case "result" if self.results.only_follows(arrived_of(parcel).round, self.machine.accepted):
                self.results.on_result(self.open(parcel, frozenset({"result"})))
            case "survivors" if self.results.only_follows(arrived_of(parcel).round, self.machine.accepted):
                self.results.pass_over(self.open(parcel, frozenset({"survivors"})))
            case "unmask-request" if self._awaits_list:
                raise NotYet
            case "abort" if self.machine.accepted is None or arrived_of(parcel).round != self.plan.round:
                self.results.pass_over(self.open(parcel, frozenset({"abort"})))
            case _:
                super().act(parcel)
        self._persist()

    def open(self, parcel: Parcel, types: frozenset[str]) -> Incoming:
        """SPEC section 9, and that the log says the same.  Raises NotYet for what is not in the log yet."""
        incoming = self._open_one(parcel, types)
        self.book.look_up(incoming, self.clock())
        return incoming

    def _open_one(self, parcel: Parcel, types: frozenset[str]) -> Incoming:
        opened = self.post.open(arrived_of(parcel), Awaited(types=types))
        return Incoming(opened.head, bytes(opened.body))

    def _on_plan(self, incoming: Incoming, now: int) -> None:
        plan = PlanBody.parse(incoming.body).plan
        if self.results.missing(plan.previous) and now <= plan.deadlines.contribution:
            raise NotYet  # what it starts from is still on its way
        self.bundle = self.bundles.named_in(plan)
        try:
            super()._on_plan(incoming, now)
        except (PlanDeclined, DisclosureRefused) as error:
            if error.check == "P5":
                raise RolledBack(str(error), hint=_OLD_COPY) from error
            self.results.watch(incoming, error)
            raise
        self.results.follow(self.machine.round.plan, self.machine.round.plan_hash)
        self.post.later(lambda: self.post.journal.forget_secrets_before(plan.round))

    def end(self, ending: Ending) -> None:
        """Take in the result of a round that this member takes part in."""
        super().end(ending)
        if ending.result is not None:
            self.results.keep(ending.result)

    # The own contribution

    def due(self) -> list[GroupPlan]:
        """Groups of the present plan that a contribution can still be made for, in order."""
        if self.machine.state is not State.PLANNED or self.machine.survivors is not None:
            return []
        groups = self.plan.groups_of(self.party.id)
        if self.clock() > self.plan.deadlines.contribution or not self.book.collects(self.plan.round):
            return []
        over = {*self.machine.frozen, *(int(gid) for gid in self.machine.ended if gid != NONE)}
        return [group for group in groups if group.gid not in over]

    def contribute_layer(self, group: GroupPlan) -> None:
        """Make the contribution to one group and put it into the outbox, once.

        A member that is killed between freezing its vector and that has dropped out of the group.
        Raises RolledBack where the anchor is ahead; TrustError where nothing can be sealed to the server now; DiskFull,
        StorageError.
        """
        self.post.anchoring.check()  # before the prekey
        check_sealing(self.party, self.policy.server, self.trust, self.clock())
        self.post.check_room(2 * group.upload_size)  # before anything is used up
        prekey = self._burned()
        with self.hiding.of(group, self.plan.round), self.post.at_once():
            self.contribute_to(group, prekey)
            self._persist()

    def freeze(self, group: GroupPlan, streams: Any) -> None:
        """Durable by itself, before any seed is drawn."""
        step = self.machine.freeze(group.gid, streams.hash)
        with self.post.journal.transaction():
            self.post.journal.append(self.plan.round, step.records)

    def _burned(self) -> PrekeySecret:
        """The prekey of this round: in the journal first, then burned, so that it is neither lost nor used twice."""
        held, index = self.machine.prekey, self.machine.round.index
        if held is None:
            held = self._supply.look(index)
            record = PrekeyHeld.of(held)
            with self.post.at_once():
                self.note([record], self.plan.round)
                self.post.remember("prekeys", "next", index + 1)
            self.machine.apply(record)
        if self.prekeys.next_index() <= index:
            self.prekeys.burn(index)
        return held

    @property
    def _supply(self) -> Any:
        return self.post.prekeys

    # Writing down

    def note(self, records: Iterable[MemberRecord], number: int) -> None:
        """Write down records of a round, together with what else follows."""
        self.post.note(number, records)

    def say(self, step: Step[MemberRecord]) -> None:
        """Keep a step; drop the secrets of a round that is over."""
        number = self.plan.round
        super().say(step)
        if self.machine.state is State.CLOSED:
            self.post.later(lambda: self.post.journal.forget_secrets(number))

    def keep(self, step: Step[Any], number: int, plan_hash: str) -> None:
        """Write down the records of a step, and seal its messages; what cannot be sealed now is owed."""
        self.note(step.records, number)
        for message in step.messages:
            try:
                self.send(message.type, message.recipient, [message.body], number, plan_hash, message.group)
            except (TrustError, PackageRefused) as error:
                self.unsent.append((message.recipient, error))
                self.owed.append(message)

    def _make_up(self) -> None:
        """Send what could not be sealed when it was made.  What still cannot is owed on."""
        if self.owed and self.machine.accepted is not None:
            step: Step[MemberRecord] = Step((), tuple(self.owed))
            self.owed = []
            with self.post.at_once():
                self.keep(step, self.plan.round, self.machine.round.plan_hash)

    def _answers(self) -> list[Outgoing]:
        """What this member says in the present state of its round, once more."""
        machine, server = self.machine, self.policy.server
        if machine.state is State.ANSWERED and machine.answer is not None:
            return [Outgoing("unmask-response", server, machine.answer.body)]
        if machine.state is State.ENDORSED and machine.endorsement is not None and machine.survivors is not None:
            body = Endorsement(machine.survivors.hash, machine.endorsement).encode()
            return [Outgoing("endorsement", server, body)]
        return []

    def send(
        self, type: str, to: Party, parts: Sequence[Any], number: int, plan_hash: str, group: str = NONE
    ) -> Parcel:
        """Seal a body into the outbox."""
        body = self.hiding.sealing(parts) if type == "contribution" else parts
        digest = self.post.send(type, to, body, number, plan_hash, group)
        return Parcel(self.party, to, type, b"", digest)

    def _persist(self) -> None:
        """Write down what changed of ledger, pending releases and deals."""
        ledger, pending, deals = self._kept
        if self.ledger != ledger:
            self.post.remember("ledger", "*", self.ledger.to_dict())
        for key, releases in self.pending.items():
            if pending.get(key) != releases:
                self.post.remember("pending", f"{key[0]}/{key[1]}", Ledger(releases).to_dict())
        for round, gid in pending.keys() - self.pending.keys():
            name = f"{round}/{gid}"
            self.post.later(lambda name=name: self.post.journal.forget("pending", name))  # type: ignore[misc]
        if self.deals != deals:
            self.post.remember("deals", str(self.plan.round), sorted(self.machine.deals.values()))
        self._kept = self.ledger, dict(self.pending), set(self.deals)


def _ledger(value: Any) -> Ledger:
    return Ledger() if value is None else Ledger.from_dict(value)
