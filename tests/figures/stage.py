"""Where figures are taken: rounds between the real machines, with real keys, seeds, shares and envelopes.

Only packages are left out: a message arrives as what a package held after SPEC section 9.  What does not depend on who
falls silent is made once, and rounds branch from there: a `Branch` restores its machines from what they wrote down.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from fedspallm_secure.app.rounds.planning import LayerBase, Terms, make_plan
from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.crypto.draws import seed_bytes
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.key_records import PrekeySecret
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.protocol.package_types import PACKAGE_TYPES
from fedspallm_secure.protocol.packages import Head, Header
from fedspallm_secure.protocol.prekeys import Prekey, Prekeys
from fedspallm_secure.protocol.rounds.answers import Unmasking
from fedspallm_secure.protocol.rounds.deals import Handover, vector_root
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.member import Draft, LocalGroup, LocalModel, Member, Own
from fedspallm_secure.protocol.rounds.member_state import State as MemberState
from fedspallm_secure.protocol.rounds.messages import Incoming, Outgoing, Step
from fedspallm_secure.protocol.rounds.openings import PrekeyUse
from fedspallm_secure.protocol.rounds.outcomes import GroupResult
from fedspallm_secure.protocol.rounds.plans import Plan, Sampling
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.rounds.records_member import MemberRecord
from fedspallm_secure.protocol.rounds.records_server import ServerRecord
from fedspallm_secure.protocol.rounds.server import Server
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.protocol.rounds.survivors import EndCode
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.disclosure import Ledger
from fedspallm_secure.secagg.fields import check_range
from fedspallm_secure.secagg.masking import add_keystreams
from fedspallm_secure.secagg.thresholds import Profile, default_colluders
from tests.parties import DAY, NOW, Federation
from tests.protocol.rounds.dealing import Prekeeper, World, unmask

SERVER = Party.parse("server/hub")
WEIGHTS = 33  # odd: the last count leaves half a byte
BASE = "ba" * 32
GID = 0
SHAPE = (MatrixShape("vector", 1, WEIGHTS),)
MODEL = LocalModel({GID: LocalGroup(BASE, SHAPE)})
Streams = tuple[bytearray, ...]


def new_world(members: int, profile: Profile = Profile.THREE_TRIP, colluders: int | None = None) -> World:
    """A federation of that many members, and a plan of one group over all of them that every one of them accepts."""
    names = [f"m{number:03d}" for number in range(members)]
    federation = Federation(names=("server/hub", *(f"member/{name}" for name in names)))
    keepers, bundles = {}, {}
    for name in names:
        secret, actor = PrekeySecret.generate(0), federation[f"member/{name}"]
        keepers[name] = Prekeeper(0, RecipientSecret(Kem.X25519, secret.exchange), secret.recipient)
        leaves = [Prekey.from_bytes(secret.leaf)]
        bundles[name] = Prekeys.make(actor.signer, federation.name, actor.party, 0, leaves, NOW - DAY, NOW + 60 * DAY)
    seed = seed_bytes(members)
    sampling = Sampling(1, 1, ("1/2",), 3, False, tuple((name, 1) for name in names))
    terms = Terms(profile, default_colluders(members) if colluders is None else colluders, Strategy.FEDSPALLM, "wanda")
    uses = [PrekeyUse(name, bundles[name].statement.digest.hex(), 0) for name in names]
    layers = {GID: LayerBase(BASE, SHAPE)}
    plan = make_plan(1, sampling.draw(seed), sampling, seed, layers, terms, uses, federation.trust, None, NOW)
    return World(federation, plan, keepers, bundles)


@dataclass(frozen=True)
class Made:
    """What a member handed in, and what only it knows.  records: all that it wrote down until then."""

    member: str
    handed: Outgoing
    streams: Streams
    keep: NDArray[np.bool_]
    deltas: NDArray[np.int64]
    records: tuple[MemberRecord, ...]

    @property
    def root(self) -> bytes:
        return vector_root([memoryview(stream) for stream in self.streams])


class Stage:
    """A plan, and what every member of it handed in, made once by its machine."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.seed = seed
        self.server, step = Server.open(world.own, world.plan)
        self.opened: tuple[ServerRecord, ...] = step.records
        self.invitations = {message.recipient.id: message for message in self.server.invite(world.bundles).messages}
        self.made = {member: self.contribution(member) for member in self.group.cohort}
        self.received = {member: self.intake(made) for member, made in self.made.items()}

    @property
    def plan(self) -> Plan:
        return self.world.plan

    @property
    def group(self) -> GroupPlan:
        return self.plan.groups[0]

    def own(self, member: str) -> Own:
        actor = self.world.federation[f"member/{member}"]
        policy = Policy(SERVER, self.plan.colluders, profiles=frozenset({self.plan.profile}))
        return Own(actor.party, actor.signer, self.world.federation.trust, policy)

    def prekey(self, member: str) -> PrekeySecret:
        kept = self.world.prekeys[member]
        return PrekeySecret(kept.index, kept.exchange.secret, kept.recipient)

    def to_member(self, message: Outgoing) -> Incoming:
        """What arrives of a message of the server."""
        context = self.world.federation.context(
            "server/hub",
            str(message.recipient),
            type=message.type,
            body_type=PACKAGE_TYPES[message.type].body,
            round=self.plan.round,
            plan_hash=self.world.plan_hash,
            group=message.group,
        )
        header = Header(context, bytes(context.kem.wrap_size), body_length(len(message.body)), bytes(32))
        return Incoming(Head(header.encode(), header, bytes(64)), message.body)

    def to_server(self, member: str, message: Outgoing, streams: Streams = ()) -> Incoming:
        """What arrives of a message of a member, without the streams that follow it."""
        size = len(message.body) + sum(map(len, streams))
        return self.world.incoming(f"member/{member}", message.type, message.body, group=message.group, size=size)

    def draft(self, member: str) -> tuple[Member, Draft, list[MemberRecord]]:
        """A member that accepted the plan, and the seeds that it drew; what it wrote down."""
        machine = Member(self.own(member))
        incoming = self.to_member(self.invitations[member])
        records = [*machine.on_plan(incoming, MODEL, Ledger(), self.world.bundles[member], 0, NOW).records]
        records += machine.freeze(GID, sha256(member.encode()).digest()).records
        return machine, machine.prepare(GID, self.prekey(member)), records

    def vector(self, member: str) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Keep bits and deltas, the largest that the plan allows among them."""
        draws = np.random.default_rng([self.seed, *member.encode()])
        keep = draws.integers(0, 2, WEIGHTS).astype(bool)
        bound = self.group.sums.bound if self.group.sums is not None else 0
        deltas = draws.choice([-bound, bound, *draws.integers(-bound, bound + 1, 6)], WEIGHTS)
        return keep, np.where(keep, deltas, 0)

    def masked(self, draft: Draft, keep: NDArray[np.bool_], deltas: NDArray[np.int64]) -> Streams:
        """The masked streams of a vector."""
        group = self.group
        assert group.sums is not None
        counts, sums = bytearray(group.count_size), bytearray(deltas.astype(group.sums.signed).tobytes())
        group.counts.pack(keep, counts)
        add_keystreams(counts, draft.count_terms, group.counts.word.itemsize)
        add_keystreams(sums, draft.sum_terms, group.sums.word.itemsize)
        return counts, sums

    def contribution(self, member: str) -> Made:
        """What an honest member hands in."""
        machine, draft, records = self.draft(member)
        keep, deltas = self.vector(member)
        streams = self.masked(draft, keep, deltas)
        step = machine.hand_over(draft, vector_root([memoryview(stream) for stream in streams]))
        return Made(member, step.messages[0], streams, keep, deltas, (*records, *step.records))

    def intake(self, made: Made) -> tuple[ServerRecord, ...]:
        """What the server writes down when it takes a contribution in."""
        return self.server.on_contribution(self.to_server(made.member, made.handed, made.streams), made.root).records

    def plain_sum(self, members: Iterable[str], made: Mapping[str, Made] | None = None) -> Streams:
        """What the sum of these vectors looks like if nobody ever masked anything."""
        group, found = self.group, [(made or self.made)[member] for member in members]
        assert group.sums is not None
        counts = [sum(int(one.keep[place]) for one in found) for place in range(WEIGHTS)]
        totals = [sum(int(one.deltas[place]) for one in found) for place in range(WEIGHTS)]
        size = group.sums.bits // 8
        return packed(counts, group.counts.bits), bytearray(
            b"".join(total.to_bytes(size, "little", signed=True) for total in totals)
        )


def packed(counts: Sequence[int], bits: int) -> bytearray:
    """Counts in their fields, written as SPEC section 12 says it."""
    whole = sum(count << bits * place for place, count in enumerate(counts))
    return bytearray(whole.to_bytes(-(-len(counts) * bits // 8), "little"))


@dataclass
class Branch:
    """A round that went one way from where its contributions were in.

    records: all that the server wrote down; memory: member -> all that it wrote down; mail: (type, member) -> the last
    message that the server sent it.
    """

    stage: Stage
    records: list[ServerRecord]
    memory: dict[str, tuple[MemberRecord, ...]]
    made: Mapping[str, Made]
    mail: dict[tuple[str, str], Outgoing] = field(default_factory=dict)

    @classmethod
    def of(cls, stage: Stage, members: Iterable[str]) -> "Branch":
        """These contributed, as the stage has it."""
        chosen = list(members)
        records = [*stage.opened, *(record for member in chosen for record in stage.received[member])]
        return cls(stage, records, {name: made.records for name, made in stage.made.items()}, stage.made)

    def fork(self) -> "Branch":
        """The same round, to go on differently."""
        return Branch(self.stage, list(self.records), dict(self.memory), self.made, dict(self.mail))

    @cached_property
    def server(self) -> Server:
        return Server.restore(self.stage.world.own, self.records)

    def member(self, member: str) -> Member:
        """The machine of a member, as its records have it."""
        return Member.restore(self.stage.own(member), self.memory[member])

    def take(self, step: Step[ServerRecord]) -> Step[ServerRecord]:
        """Keep what the server wrote down and sent."""
        self.records += step.records
        self.mail |= {(message.type, message.recipient.id): message for message in step.messages}
        return step

    def note(self, member: str, step: Step[MemberRecord]) -> Outgoing:
        """Keep what a member wrote down; the one message that it sent."""
        self.memory[member] += step.records
        return step.messages[0]

    def endorsement(self, member: str) -> Outgoing:
        """What a member says of the list that it was sent."""
        incoming = self.stage.to_member(self.mail["survivors", member])
        return self.note(member, self.member(member).on_survivors(incoming, Ledger(), NOW))

    def answer(self, member: str) -> Outgoing:
        """What a member answers to the request that it was sent; in two trips it sees the list only then."""
        machine = self.member(member)
        if machine.survivors is None:
            step = machine.on_survivors(self.stage.to_member(self.mail["survivors", member]), Ledger(), NOW)
            self.memory[member] += step.records
        incoming = self.stage.to_member(self.mail["unmask-request", member])
        return self.note(member, machine.on_unmask_request(incoming, Ledger(), NOW))

    def take_endorsements(self, messages: Mapping[str, Outgoing]) -> None:
        for member, message in messages.items():
            self.take(self.server.on_endorsement(self.stage.to_server(member, message)))

    def take_answers(self, messages: Mapping[str, Outgoing]) -> None:
        for member, message in messages.items():
            self.take(self.server.on_response(self.stage.to_server(member, message)))

    def sum_up(self) -> Streams | None:
        """Close unmasking and take the keystreams off; None if the group ended.  The round is over then."""
        step, unmaskings = self.server.close_unmasking()
        self.take(step)
        if GID not in unmaskings:
            return None
        return self._finish(unmaskings[GID])

    def _finish(self, unmasking: Unmasking) -> Streams:
        group = unmasking.group
        assert group.sums is not None
        streams = unmask(unmasking, {(member, GID): made for member, made in self.made.items()})
        counts = group.counts.unpack(streams[0], WEIGHTS)
        alive = len(unmasking.survivors)
        bad = check_range(counts, np.frombuffer(streams[1], group.sums.signed), alive, group.sums)
        hashes = [sha256(stream).hexdigest() for stream in streams]
        unanimous = int(np.count_nonzero((counts == 0) | (counts == alive)))
        result = GroupResult(GID, WEIGHTS, alive, *hashes, unanimous, int(np.count_nonzero(counts == 1)))
        self.take(self.server.finish([] if bad else [result], {GID: bad} if bad else {}))
        return streams

    @property
    def code(self) -> EndCode | None:
        """Why the group ended; None if it did not."""
        end = self.server.ended.get(GID)
        return None if end is None else end.code

    def closes(self, member: str) -> bool:
        """Whether the round is over for the server, and for a member that hears of it."""
        kind = "result" if self.code is None else "abort"
        machine, incoming = self.member(member), self.stage.to_member(self.mail[kind, member])
        (machine.on_result if kind == "result" else machine.on_abort)(incoming)
        return self.server.state is State.FINISHED and machine.state is MemberState.CLOSED


def handover(stage: Stage, made: Made) -> Handover:
    """What a member handed in, read back."""
    return Handover.parse(made.handed.body, *stage.group.deal_form)


def tally(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts of several tasks, added up."""
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))
