"""Honest members for tests of the server, made of the primitives of secagg and of nothing that members really run.

Every part of a contribution can be swapped for a bad one, so that a test has one fault and everything else valid.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count

import numpy as np

from fedspallm_secure.crypto.aead import encrypt
from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.crypto.encoding import canonical_json, parse_canonical_json
from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret, wrap, x25519
from fedspallm_secure.errors import BadShare, CannotDecrypt
from fedspallm_secure.protocol.packages import Head, Header
from fedspallm_secure.protocol.prekeys import Prekey, Prekeys
from fedspallm_secure.protocol.rounds.deals import Deal, Handover, sign_deal, vector_root
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.messages import Incoming, Outgoing, Step
from fedspallm_secure.protocol.rounds.openings import PrekeyUse
from fedspallm_secure.protocol.rounds.outcomes import GroupResult
from fedspallm_secure.protocol.rounds.plans import Deadlines, Plan, Sampling
from fedspallm_secure.protocol.rounds.records_server import ServerRecord, read_server_record
from fedspallm_secure.protocol.rounds.server import Server
from fedspallm_secure.protocol.rounds.server_state import ServerOwn, State
from fedspallm_secure.protocol.rounds.survivors import Endorsement, SurvivorList, endorse, parse_survivors
from fedspallm_secure.protocol.rounds.unmasking import (
    AnsweredGroup,
    Complaint,
    ForwardedDeal,
    OpenedEdge,
    OpenedShare,
    UnmaskRequest,
    UnmaskResponse,
)
from fedspallm_secure.pruning.strategies import Group, Strategy
from fedspallm_secure.secagg.commitments import Row, blind, deal_rows, row_commitment
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.envelopes import envelope_hash, open_row, seal_row, unwrap_key
from fedspallm_secure.secagg.fields import CountField, SumWord, check_range
from fedspallm_secure.secagg.keystreams import Stream
from fedspallm_secure.secagg.masking import add_into, add_keystreams, member_terms
from fedspallm_secure.secagg.seeds import End, draw_element, edge_commitment, edge_seed, self_commitment
from fedspallm_secure.secagg.thresholds import Profile, thresholds
from tests.parties import DAY, NOW, Federation

NAMES = ("ash", "birch", "cedar", "elm", "fir", "oak")
WITNESSES = ("w1", "w2", "w3")
GID = 3
WEIGHTS = 7
ROUND = 5
SEED = "5e" * 32
SHAPE = (MatrixShape("layers.3.proj", 1, WEIGHTS),)
Streams = tuple[bytearray, ...]  # counts, and sums unless the strategy is `votes`


@dataclass(frozen=True)
class Prekeeper:
    """The secret of a member's prekey for the round."""

    index: int
    exchange: RecipientSecret
    recipient: RecipientSecret

    @property
    def public(self) -> Prekey:
        return Prekey(self.exchange.recipient_key.public, self.recipient.recipient_key)


@dataclass(frozen=True)
class Contribution:
    """What a member hands in for a group, and what only it knows: its vector and the row it dealt itself."""

    member: str
    handover: Handover
    streams: Streams
    keep: np.ndarray
    deltas: np.ndarray
    own_row: Row
    self_seed: int

    @property
    def root(self) -> bytes:
        return vector_root([memoryview(stream) for stream in self.streams])


@dataclass
class World:
    """A federation and the plan of one round over it."""

    federation: Federation
    plan: Plan
    prekeys: dict[str, Prekeeper]
    bundles: dict[str, Prekeys]
    honest: dict[tuple[str, int], Contribution] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.plan_hash = self.plan.hash
        self.own = ServerOwn(
            self.federation["server/hub"].party,
            self.federation["server/hub"].signer,
            self.federation.trust,
            WITNESSES,
            dishonest=1,
        )

    def group(self, gid: int = GID) -> GroupPlan:
        return next(group for group in self.plan.groups if group.gid == gid)

    def context(self, gid: int = GID) -> GroupContext:
        return GroupContext(self.plan.federation, self.plan.round, bytes.fromhex(self.plan_hash), gid)

    def neighbours(self, member: str, gid: int = GID) -> tuple[str, ...]:
        """Not by `Links`: from the graph, as SPEC section 14 has it."""
        group = self.group(gid)
        graph = group.graph(bytes.fromhex(self.plan.seed))
        return tuple(group.cohort[other] for other in graph.neighbours(group.cohort.index(member)))

    def holders(self, dealer: str, gid: int = GID) -> tuple[str, ...]:
        return tuple(sorted((*self.neighbours(dealer, gid), dealer)))

    def contribution(self, member: str, gid: int = GID) -> Contribution:
        """An honest one, made once: making it again would be dealing twice."""
        if (member, gid) not in self.honest:
            self.honest[member, gid] = deal(self, member, gid)
        return self.honest[member, gid]

    def incoming(
        self, sender: str, type: str, body: bytes, /, group: str = "*", size: int | None = None, **changes
    ) -> Incoming:
        """What came in a package of this round, of `size` bytes of plaintext."""
        values = {"type": type, "round": self.plan.round, "plan_hash": self.plan_hash, "group": group}
        context = self.federation.context(sender, "server/hub", sequence=next(self.numbers), **values)
        context = replace(context, **changes)
        length = body_length(len(body) if size is None else size)
        header = Header(context, bytes(context.kem.wrap_size), length, bytes(32))
        return Incoming(Head(header.encode(), header, bytes(64)), body)


@cache
def world(
    members: int = 4,
    profile: Profile = Profile.THREE_TRIP,
    colluders: int = 0,
    sum_bits: int = 32,
    gids: tuple[int, ...] = (GID,),
    shares: int = 0,
    survivors: int = 0,
    degree: int = 0,
) -> World:
    """A round of the first `members` names in every group; sum_bits 0: `votes`; shares 0: thresholds of SPEC 14."""
    cohorts = dict.fromkeys(gids, NAMES[:members])
    return make_world(cohorts, profile, colluders, sum_bits, shares, survivors, degree)


def make_world(
    cohorts: Mapping[int, Sequence[str]],
    profile: Profile = Profile.THREE_TRIP,
    colluders: int = 0,
    sum_bits: int = 32,
    shares: int = 0,
    survivors: int = 0,
    degree: int = 0,
) -> World:
    names = sorted({member for cohort in cohorts.values() for member in cohort})
    parties = ("server/hub", "auditor/watch", *(f"witness/{id}" for id in WITNESSES), *(f"member/{id}" for id in names))
    federation = Federation(names=(*parties, "member/zebra"))  # who is in no cohort
    prekeys, bundles = {}, {}
    for index, name in enumerate(names, start=40):
        prekeys[name] = Prekeeper(index, RecipientSecret.generate(Kem.X25519), RecipientSecret.generate(Kem.HYBRID))
        actor = federation[f"member/{name}"]
        leaves = [prekeys[name].public]
        bundles[name] = Prekeys.make(
            actor.signer, federation.name, actor.party, index, leaves, NOW - DAY, NOW + 30 * DAY
        )
    groups = []
    for gid, cohort in sorted(cohorts.items()):
        n = len(cohort)
        numbers = (shares, survivors) if shares else _thresholds(n, colluders, profile)
        word = SumWord.default(sum_bits, n) if sum_bits else None
        groups.append(GroupPlan(gid, "ba" * 32, SHAPE, tuple(cohort), *numbers, degree, CountField.for_cohort(n), word))
    plan = Plan(
        federation=federation.name,
        round=ROUND,
        nonce="0c" * 32,
        roster=federation.roster.hash,
        crl=federation.crl.number,
        software="fedspallm-secure/0.1.0",
        profile=profile,
        colluders=colluders,
        strategy=Strategy.FEDSPALLM if sum_bits else Strategy.VOTES,
        pruner="wanda",
        target="1/2",
        compare=Group.MATRIX,
        previous="*",
        seed=SEED,
        sampling=Sampling(1, 8, ("1/2",), 1, False, tuple((name, 1) for name in names)),
        groups=tuple(groups),
        prekeys=tuple(PrekeyUse(id, bundles[id].statement.digest.hex(), prekeys[id].index) for id in names),
        deadlines=Deadlines(NOW, NOW, NOW, NOW),
        counts_to=(),
    )
    return World(federation, plan, prekeys, bundles)


def _thresholds(n: int, colluders: int, profile: Profile) -> tuple[int, int]:
    found = thresholds(n, colluders, profile)
    return found.shares, found.survivors


# --- what members do --------------------------------------------------------------------------------------------------


def edge(place: World, member: str, other: str, gid: int = GID) -> int:
    """The seed of the edge between two members, as `member` derives it."""
    own, peer = place.prekeys[member], place.prekeys[other]
    dh = x25519(own.exchange.secret, peer.public.exchange)
    ends = [End(id, place.prekeys[id].public.exchange) for id in sorted((member, other))]
    return edge_seed(dh, place.context(gid), *ends)


def vector(place: World, member: str, gid: int = GID) -> tuple[np.ndarray, np.ndarray]:
    """Keep bits and deltas, the largest that the plan allows among them."""
    group = place.group(gid)
    drawn = np.random.default_rng([gid, *member.encode()])
    keep = drawn.integers(0, 2, WEIGHTS).astype(bool)
    bound = 0 if group.sums is None else group.sums.bound
    deltas = np.where(keep, drawn.choice([-bound, bound, *drawn.integers(-bound, bound + 1, 5)], WEIGHTS), 0)
    return keep, deltas


def deal(
    place: World,
    member: str,
    gid: int = GID,
    values: tuple[np.ndarray, np.ndarray] | None = None,
    shared: Mapping[int, int] | None = None,
    edges: Mapping[str, bytes] | None = None,
    envelope: Callable[[Row, bytes], bytes] = lambda row, honest: honest,
    drawn: int | None = None,
) -> Contribution:
    """A contribution of `member`.

    values: keep bits and deltas; shared: number of a secret -> what is shared in its place; edges: neighbour ->
    commitment in place of the right one; envelope: what becomes of an envelope; drawn: the self seed.
    """
    group, context, me = place.group(gid), place.context(gid), place.federation[f"member/{member}"]
    near, holders = place.neighbours(member, gid), place.holders(member, gid)
    own = draw_element() if drawn is None else drawn
    seeds = [own, *(edge(place, member, other, gid) for other in near)]
    secrets = [(shared or {}).get(number, seed) for number, seed in enumerate(seeds)]
    points = {holder: group.cohort.index(holder) + 1 for holder in holders}
    rows = {row.holder: row for row in deal_rows(member, points, secrets, group.shares)}
    keep, deltas = vector(place, member, gid) if values is None else values
    streams = masked(group, context, member, keep, deltas, own, dict(zip(near, seeds[1:], strict=True)))
    envelopes = []
    for holder in near:
        keys = place.prekeys[holder]
        honest = seal_row(context, rows[holder], keys.recipient.recipient_key, keys.index)
        envelopes.append(envelope(rows[holder], honest))
    commitments = [rows[holder].commitments(context) for holder in holders]
    said = {o: edge_commitment(context, *sorted((member, o)), s) for o, s in zip(near, seeds[1:], strict=True)}
    made = Deal(
        vector_root([memoryview(stream) for stream in streams]),
        self_commitment(context, member, own),
        tuple({**said, **(edges or {})}[other] for other in near),
        tuple(map(row_commitment, commitments)),
        tuple(map(envelope_hash, envelopes)),
    )
    signature = sign_deal(me.signer, context, member, made.encode())
    handover = Handover(made, signature, tuple(commitments), tuple(envelopes))
    return Contribution(member, handover, streams, keep, deltas, rows[member], own)


def masked(
    group: GroupPlan,
    context: GroupContext,
    member: str,
    keep: np.ndarray,
    deltas: np.ndarray,
    own: int,
    seeds: Mapping[str, int],
) -> Streams:
    """The masked streams of a vector."""
    counts = bytearray(group.count_size)
    group.counts.pack(keep, counts)
    streams = [(counts, Stream.COUNT, group.counts.word.itemsize)]
    if group.sums is not None:
        streams.append((bytearray(deltas.astype(group.sums.signed).tobytes()), Stream.SUM, group.sums.word.itemsize))
    edges = [(seed, other < member) for other, seed in seeds.items()]
    for stream, kind, size in streams:
        add_keystreams(stream, member_terms(context, own, edges, kind), size)
    return tuple(stream for stream, _, _ in streams)


def forged(
    place: World, row: Row, plaintext: bytes, key: bytes = bytes(32), wrapped: bytes | None = None, gid: int = GID
) -> bytes:
    """An envelope for the holder of `row` with anything in it; wrapped: a key other than the one committed to."""
    context, keys = place.context(gid), place.prekeys[row.holder]
    named = (row.dealer.encode(), row.holder.encode(), keys.index.to_bytes(8, "little"))
    info = digest(Label.SECAGG_ENVELOPE_INFO, *context.parts, *named)
    wrap_ = wrap(key if wrapped is None else wrapped, keys.recipient.recipient_key, info)
    return wrap_ + digest(Label.SECAGG_ENVELOPE_KEY, key) + encrypt(key, bytes(12), plaintext, info)


def answer(
    place: World, member: str, survivors: SurvivorList, request: UnmaskRequest, made: Mapping[int, Contribution]
) -> UnmaskResponse:
    """What an honest holder answers.  made: its own contributions by group."""
    groups = []
    for asked in request.groups:
        rows, complaints = {member: made[asked.gid].own_row}, []
        for sent in asked.deals:
            found = open_envelope(place, asked.gid, sent, member)
            if isinstance(found, Row):
                rows[sent.id] = found
            else:
                complaints.append(found)
        alive = set(survivors.group(asked.gid).ids)
        own, edges = [], []
        for dealer in sorted(rows):
            shares, seed = rows[dealer].shares, rows[dealer].blind_seed
            own.append(OpenedShare(dealer, shares[0], blind(seed, 0)))
            for number, other in enumerate(place.neighbours(dealer, asked.gid), start=1):
                if other not in alive:
                    edges.append(OpenedEdge(dealer, other, shares[number], blind(seed, number)))
        groups.append(AnsweredGroup(asked.gid, tuple(own), tuple(edges), tuple(complaints)))
    return UnmaskResponse(survivors.hash, tuple(groups))


def open_envelope(place: World, gid: int, sent: ForwardedDeal, holder: str) -> Row | Complaint:
    """The row that was dealt to `holder`, or what an honest holder says of a bad envelope."""
    context, keys, degree = place.context(gid), place.prekeys[holder], _degree(place, gid)
    try:
        key = unwrap_key(context, sent.id, holder, sent.envelope, keys.recipient, keys.index)
    except CannotDecrypt:
        return Complaint(sent.id, b"")
    try:
        row = open_row(context, sent.id, holder, sent.envelope, keys.recipient, keys.index, degree + 1)
        committed = Deal.parse(sent.deal, degree, degree).rows[place.holders(sent.id, gid).index(holder)]
        row.check(context, committed)
    except (CannotDecrypt, BadShare):
        return Complaint(sent.id, key)
    return row


def _degree(place: World, gid: int) -> int:
    group = place.group(gid)
    return group.degree or len(group.cohort) - 1


# --- a round ----------------------------------------------------------------------------------------------------------


class Play:
    """A server that is killed after every step and restored from what it wrote down.  sent: all its messages."""

    def __init__(self, place: World) -> None:
        self.place = place
        self.made: dict[tuple[str, int], Contribution] = {}
        self.records: list[ServerRecord] = []
        self.sent: list[Outgoing] = []
        self.server, step = Server.open(place.own, place.plan)
        self.take(step)

    def take(self, step: Step[ServerRecord]) -> Step[ServerRecord]:
        """Write records down as text, and go on with a server that knows nothing else."""
        kept = [parse_canonical_json(canonical_json(record.to_dict()), "a record") for record in step.records]
        self.records += map(read_server_record, kept)
        self.sent += step.messages
        if step.records:
            before, self.server = self.server, self.restored()
            assert vars(self.server) == vars(before)
        return step

    def fork(self) -> "Play":
        """The same round once more, to go on differently."""
        other = copy(self)
        other.made, other.records, other.sent = dict(self.made), list(self.records), list(self.sent)
        other.server = other.restored()
        return other

    def restored(self) -> Server:
        return Server.restore(self.place.own, self.records)

    def incoming(self, made: Contribution, gid: int = GID, **changes) -> Incoming:
        """The package with a contribution."""
        size = len(made.handover.encode()) + sum(map(len, made.streams))
        values = {"group": str(gid), "size": size, **changes}
        return self.place.incoming(f"member/{made.member}", "contribution", made.handover.encode(), **values)

    def contribute(self, *members: str | Contribution, gid: int = GID) -> None:
        for member in members:
            made = self.place.contribution(member, gid) if isinstance(member, str) else member
            self.made[made.member, gid] = made
            self.take(self.server.on_contribution(self.incoming(made, gid), made.root))

    def close_collecting(self) -> Step[ServerRecord]:
        return self.take(self.server.close_collecting())

    @property
    def survivors(self) -> SurvivorList:
        """As it was sent out."""
        return parse_survivors(next(message.body for message in self.sent if message.type == "survivors"))

    def endorsement(self, party: str) -> Incoming:
        signature = endorse(self.place.federation[party].signer, self.survivors)
        return self.place.incoming(party, "endorsement", Endorsement(self.survivors.hash, signature).encode())

    def endorse(self, *parties: str) -> None:
        for party in parties:
            name = party if "/" in party else f"member/{party}"
            self.take(self.server.on_endorsement(self.endorsement(name)))

    def close_endorsing(self) -> Step[ServerRecord]:
        return self.take(self.server.close_endorsing())

    def request(self, member: str) -> UnmaskRequest:
        """As it was sent to this member."""
        sent = [m for m in self.sent if m.type == "unmask-request" and str(m.recipient) == f"member/{member}"]
        return UnmaskRequest.parse(sent[-1].body)

    def response(self, member: str) -> UnmaskResponse:
        made = {gid: made for (who, gid), made in self.made.items() if who == member}
        return answer(self.place, member, self.survivors, self.request(member), made)

    def responding(self, member: str, response: UnmaskResponse | None = None) -> Incoming:
        body = (self.response(member) if response is None else response).encode()
        return self.place.incoming(f"member/{member}", "unmask-response", body)

    def respond(self, *members: str) -> None:
        for member in members:
            self.take(self.server.on_response(self.responding(member)))

    def until_unmasking(self, *members: str | Contribution, gid: int = GID) -> "Play":
        """These contribute, and all survivors endorse."""
        self.contribute(*members, gid=gid)
        self.close_collecting()
        if self.server.state is State.ENDORSING:
            self.endorse(*self.server.endorsers())
            self.close_endorsing()
        return self

    def close_unmasking(self) -> dict[int, Streams]:
        """Take the keystreams off; gid -> streams of the sum."""
        step, unmaskings = self.server.close_unmasking()
        self.take(step)
        if unmaskings:
            assert self.server.unmaskings() == unmaskings  # also by the restored one
        return {gid: unmask(found, self.made) for gid, found in unmaskings.items()}

    def finish(self, sums: Mapping[int, Streams]) -> Step[ServerRecord]:
        """Judge the sums by R6, and say what there is to say of them."""
        results, violations = [], {}
        for gid, streams in sums.items():
            group, alive = self.place.group(gid), len(self.survivors.group(gid).ids)
            counts = group.counts.unpack(streams[0], group.weights)
            totals = None if group.sums is None else np.frombuffer(streams[1], group.sums.signed)
            bad = check_range(counts, totals, alive, group.sums)
            if bad:
                violations[gid] = bad
            else:
                results.append(result(gid, alive))
        return self.take(self.server.finish(results, violations))

    def to(self, type: str) -> list[str]:
        """Who was sent packages of this type, in order."""
        return [str(message.recipient) for message in self.sent if message.type == type]


def result(gid: int, survivors: int) -> GroupResult:
    return GroupResult(gid, WEIGHTS, survivors, "cc" * 32, "dd" * 32, 0, 0)


def unmask(unmasking, made: Mapping[tuple[str, int], Contribution]) -> Streams:
    """Add up the vectors of the survivors and take off what is to be taken off."""
    group = unmasking.group
    streams = [bytearray(group.count_size)] + ([] if group.sums is None else [bytearray(group.sum_size)])
    sizes = [group.counts.word.itemsize] + ([] if group.sums is None else [group.sums.word.itemsize])
    terms = [unmasking.count_terms, unmasking.sum_terms]
    for index, (total, size) in enumerate(zip(streams, sizes, strict=True)):
        for member in unmasking.survivors:
            add_into(total, made[member, group.gid].streams[index], size)
        add_keystreams(total, terms[index], size)
    return tuple(streams)


def plain_sum(place: World, made: Iterable[Contribution], gid: int = GID) -> Streams:
    """What the sum of these vectors looks like if nobody ever masked anything."""
    group, made = place.group(gid), list(made)
    counts = sum(one.keep.astype(int) for one in made)
    fields = [int(field) for field in counts] + [0] * (WEIGHTS % 2)
    assert group.counts.bits == 4
    packed = bytearray(low | high << 4 for low, high in zip(fields[::2], fields[1::2], strict=True))
    if group.sums is None:
        return (packed,)
    return packed, bytearray(sum(one.deltas for one in made).astype(group.sums.signed).tobytes())


def with_deal(place: World, made: Contribution, gid: int = GID, **changes) -> Contribution:
    """A contribution whose deal has other parts, signed again."""
    dealt = replace(made.handover.deal, **changes)
    signer = place.federation[f"member/{made.member}"].signer
    signature = sign_deal(signer, place.context(gid), made.member, dealt.encode())
    return replace(made, handover=replace(made.handover, deal=dealt, signature=signature))
