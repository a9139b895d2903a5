"""A federation at work: plans as an honest server makes them, packages without sealing, and members that answer.

The server here is a few functions that follow SPEC section 16 word for word; the real one has its own tests.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.key_records import PrekeySecret
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.he.parameters import Parameters, choose
from fedspallm_secure.protocol.package_types import PACKAGE_TYPES
from fedspallm_secure.protocol.packages import Head, Header
from fedspallm_secure.protocol.prekeys import Prekey, Prekeys
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.deals import Handover, deal_digest
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.links import Links
from fedspallm_secure.protocol.rounds.member import LocalGroup, LocalModel, Member, Own
from fedspallm_secure.protocol.rounds.messages import Incoming, Outgoing
from fedspallm_secure.protocol.rounds.openings import Opening, PrekeyUse, beacon_seed, beacon_signature
from fedspallm_secure.protocol.rounds.plan_bodies import PastDeal, PlanBody
from fedspallm_secure.protocol.rounds.plans import Deadlines, KeyUse, Plan, Sampling
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.rounds.survivors import (
    Endorsement,
    Listed,
    ListedGroup,
    SurvivorList,
    encode_survivors,
    endorse,
)
from fedspallm_secure.protocol.rounds.unmasking import Endorser, ForwardedDeal, RequestedGroup, UnmaskRequest
from fedspallm_secure.pruning.strategies import Group, Strategy
from fedspallm_secure.secagg.disclosure import Ledger
from fedspallm_secure.secagg.fields import CountField, SumWord
from fedspallm_secure.secagg.graphs import group_thresholds
from fedspallm_secure.secagg.thresholds import Profile
from tests.parties import DAY, NOW, Federation

MEMBERS = ("east", "mid", "north", "south", "west")
YOUNG = ("ylva", "yoko", "yosef", "young", "yuri")  # in the roster, and in no cohort
ME = "mid"
SERVER = Party.parse("server/hub")
HOLDER = Party.parse("key-holder/vault")
KEY_SECRET = RecipientSecret(Kem.HYBRID, bytes(range(Kem.HYBRID.secret_size)))  # of the key that plans name
COLLUDERS = 1
LAYERS = (0, 1)
FIRST = 40  # index of the first prekey of everybody; their next one is two later
NEXT = 42
SAMPLE = 500  # thousandths
MASKED = tuple(profile for profile in Profile if profile is not Profile.ONE_TRIP)
PARTIES = (
    "server/hub",
    "server/spare",
    "auditor/watch",
    "key-holder/vault",
    "key-holder/other",
    *(f"witness/{one}" for one in ("ant", "bee", "cat")),
    *(f"member/{one}" for one in (*MEMBERS, *YOUNG)),
)


@cache
def lungs() -> Federation:
    """Real keys, made once; the list has number 2, and the roster asks for 1."""
    made = Federation(names=PARTIES)
    made.crl = made.revoke([], number=2)
    return made


@cache
def prekeys(member: str) -> tuple[PrekeySecret, ...]:
    return tuple(PrekeySecret.generate(index) for index in range(FIRST, FIRST + 4))


def bundle(member: str, leaves: Sequence[bytes] | None = None, **changes: Any) -> Prekeys:
    """A bundle of the member's prekeys, or of others."""
    given = leaves or [prekey.leaf for prekey in prekeys(member)]
    made = {
        "signer": lungs()[f"member/{member}"].signer,
        "federation": lungs().name,
        "party": Party("member", member),
        "first": FIRST,
        "leaves": [Prekey.from_bytes(leaf) for leaf in given],
        "not_before": NOW - DAY,
        "not_after": NOW + 60 * DAY,
    }
    return Prekeys.make(**{**made, **changes})


@cache
def own_bundle(member: str) -> Prekeys:
    return bundle(member)


def matrices(gid: int) -> tuple[MatrixShape, ...]:
    return MatrixShape(f"layers.{gid}.up", 3, 5), MatrixShape(f"layers.{gid}.down", 5, 3)


def base(gid: int) -> str:
    return f"{gid:02x}" * 32


def group(gid: int, cohort: Sequence[str], profile: Profile = Profile.THREE_TRIP, sums: bool = True) -> GroupPlan:
    size = len(cohort)
    numbers = group_thresholds(size, COLLUDERS, profile)
    word = SumWord.default(32, size) if sums else None
    shape = numbers.shares, numbers.survivors, 0
    counts, cipher = CountField.for_cohort(size), encryption(size, sums) if profile is Profile.ONE_TRIP else None
    return GroupPlan(gid, base(gid), matrices(gid), tuple(cohort), *shape, counts, word, cipher)


def encryption(size: int, sums: bool = True) -> Parameters:
    return choose(size, SumWord.default(32, size).bound if sums else 0)


def cipher_key(parameters: Parameters | None = None, by: str = str(HOLDER), **changes: Any) -> CipherKey:
    """A key of the key holder; what it encrypts with is never looked at by those who only handle it."""
    signer = lungs()[changes.pop("signed_by", by)].signer
    made = {
        "signer": signer,
        "federation": lungs().name,
        "party": Party.parse(by),
        "index": 3,
        "parameters": parameters or encryption(len(MEMBERS)),
        "public": b"a public key",
        "recipient": KEY_SECRET.recipient_key,
        "not_before": NOW - DAY,
        "not_after": NOW + 60 * DAY,
    }
    return CipherKey.make(**{**made, **changes})


@cache
def plan_key(sums: bool = True) -> CipherKey:
    """The key of `plan(Profile.ONE_TRIP, sums)`."""
    return cipher_key(encryption(len(MEMBERS), sums))


def plan(profile: Profile = Profile.THREE_TRIP, sums: bool = True, **changes: Any) -> Plan:
    """A plan of two groups with everybody in both, as an honest server makes it; or one that has changes."""
    made = Plan(
        federation=lungs().name,
        round=7,
        nonce="5a" * 32,
        roster=lungs().roster.hash,
        crl=2,
        software="fedspallm-secure/0.1.0",
        profile=profile,
        colluders=COLLUDERS,
        strategy=Strategy.FEDSPALLM if sums else Strategy.VOTES,
        pruner="wanda",
        target="1/2",
        compare=Group.MATRIX,
        previous="*",
        seed="3c" * 32,
        sampling=Sampling(1, len(LAYERS), ("1/2",), 3, False, tuple((member, len(LAYERS)) for member in MEMBERS)),
        groups=tuple(group(gid, MEMBERS, profile, sums) for gid in LAYERS),
        prekeys=tuple(PrekeyUse(one, own_bundle(one).statement.digest.hex(), NEXT) for one in MEMBERS),
        deadlines=Deadlines(NOW + DAY, NOW + 2 * DAY, NOW + 3 * DAY, NOW + 4 * DAY),
        counts_to=(Role.AUDITOR, Role.SERVER),
        key_holder=KeyUse(HOLDER.id, plan_key(sums).hash, SAMPLE) if profile is Profile.ONE_TRIP else None,
    )
    return replace(made, **changes)


def opened(plan: Plan, witnesses: Sequence[str], **changes: Any) -> tuple[Plan, Opening, tuple[tuple[str, bytes], ...]]:
    """The plan with a seed that these beacons drew, and what proves it."""
    made = {"federation": plan.federation, "round": plan.round, "roster": plan.roster, "prekeys": plan.prekeys}
    made["sampling"] = plan.sampling.hash
    opening = Opening.make(lungs()[changes.pop("by", "server/hub")].signer, **{**made, **changes})
    beacons = tuple((one, beacon_signature(lungs()[f"witness/{one}"].signer, opening)) for one in witnesses)
    seed = beacon_seed(opening, [signature for _, signature in beacons]).hex() if beacons else plan.seed
    return replace(plan, seed=seed), opening, beacons


def model(previous: str = "*") -> LocalModel:
    return LocalModel({gid: LocalGroup(base(gid), matrices(gid)) for gid in LAYERS}, previous)


def policy(**changes: Any) -> Policy:
    made = {
        "server": SERVER,
        "colluders": COLLUDERS,
        "witnesses": ("ant", "bee", "cat"),
        "profiles": frozenset(Profile),
        "key_holders": frozenset({HOLDER.id}),
        "sample": (SAMPLE, SAMPLE),
    }
    return Policy(**{**made, **changes})


def own(member: str = ME, trust: Trust | None = None, **changes: Any) -> Own:
    actor = lungs()[f"member/{member}"]
    return Own(actor.party, actor.signer, trust or lungs().trust, policy(**changes))


def incoming(kind: str, body: bytes, plan: Plan, recipient: str = ME, **changes: Any) -> Incoming:
    """What a package held that passed section 9.  changes: to its context."""
    sender = changes.pop("sender", "server/hub")
    given = {"type": kind, "body_type": PACKAGE_TYPES[kind].body, "round": plan.round, "plan_hash": plan.hash}
    to = recipient if "/" in recipient else f"member/{recipient}"
    context = lungs().context(sender, to, **{**given, **changes})
    header = Header(context, bytes(context.kem.wrap_size), body_length(len(body)), bytes(32))
    return Incoming(Head(header.encode(), header, bytes(64)), body)


@dataclass
class Case:
    """A plan on its way to a member, and everything that it is held against; faults change it in one place each."""

    plan: Plan = field(default_factory=plan)
    member: str = ME
    policy: dict[str, Any] = field(default_factory=dict)
    trust: Trust | None = None
    context: dict[str, Any] = field(default_factory=dict)
    bundles: dict[str, Prekeys] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    opening: Opening | None = None
    beacons: tuple[tuple[str, bytes], ...] = ()
    history: tuple[PastDeal, ...] = ()
    cipher_key: CipherKey | None = None
    body: bytes | None = None
    model: LocalModel = field(default_factory=model)
    ledger: Ledger = field(default_factory=Ledger)
    own_bundle: Prekeys | None = None
    next_prekey: int = NEXT
    now: int = NOW
    last_round: int = 6
    known_deals: tuple[str, ...] = ()

    def packed(self) -> Incoming:
        neighbours = sorted(self.plan.neighbours_of(self.member) - set(self.drop))
        bundles = tuple(self.bundles.get(one) or own_bundle(one) for one in neighbours)
        given = PlanBody(self.plan, bundles, self.opening, self.beacons, self.history, self.cipher_key)
        body = self.body or given.encode()
        return incoming("plan", body, self.plan, self.member, **self.context)

    def give(self, machine: Member, again: Incoming | None = None):
        return machine.on_plan(
            again or self.packed(),
            self.model,
            self.ledger,
            self.own_bundle or own_bundle(self.member),
            self.next_prekey,
            self.now,
            last_round=self.last_round,
            known_deals=self.known_deals,
        )

    def run(self) -> tuple[Member, list[Any]]:
        machine = Member(own(self.member, self.trust, **self.policy))
        return machine, list(self.give(machine).records)


@dataclass
class Participant:
    """A member in a round: its machine, everything it wrote down, and what it handed over."""

    machine: Member
    records: list[Any]
    sent: dict[int, Outgoing] = field(default_factory=dict)

    def note(self, step: Any) -> Any:
        self.records += step.records
        return step

    def contribute(self, gid: int, stream: bytes = b"stream") -> Outgoing:
        prekey = prekeys(self.machine.me)[NEXT - FIRST]
        self.note(self.machine.freeze(gid, (stream * 32)[:32]))
        draft = self.machine.prepare(gid, prekey)
        (message,) = self.note(self.machine.hand_over(draft, bytes([gid + 1]) * 32)).messages
        self.sent[gid] = message
        self.note(self.machine.note_sealed(gid, package_digest(message)))
        return message


def package_digest(message: Outgoing) -> str:
    """What stands for the digest of the package that a message would be sealed in."""
    return hashlib.sha256(message.body).hexdigest()


class Round:
    """Five members who accepted one plan, and an honest server that is not a machine."""

    def __init__(self, plan: Plan, **policies: Any) -> None:
        self.plan = plan
        self.parties = {one: Participant(*Case(plan, one, policies).run()) for one in MEMBERS}

    def links(self, gid: int) -> Links:
        found = self.plan.group(gid)
        assert found is not None
        return Links.of(self.plan, self.plan.hash, found)

    def handover(self, member: str, gid: int) -> Handover:
        return Handover.parse(self.parties[member].sent[gid].body, *self.links(gid).group.deal_form)

    def deal(self, member: str, gid: int) -> str:
        return deal_digest(self.links(gid).context, member, self.handover(member, gid).deal.encode())

    def everybody_contributes(self, without: Sequence[str] = ()) -> None:
        for one, party in self.parties.items():
            for found in self.plan.groups_of(one):
                if one not in without:
                    party.contribute(found.gid)

    def list_of(self, ids: Sequence[str], gids: Sequence[int] = LAYERS, **changes: Any) -> SurvivorList:
        """The list of those who contributed, among `ids`."""
        groups = [ListedGroup(gid, tuple(Listed(one, self.deal(one, gid)) for one in sorted(ids))) for gid in gids]
        made = {
            "signer": lungs()[changes.pop("by", "server/hub")].signer,
            "federation": self.plan.federation,
            "round": self.plan.round,
            "plan_hash": self.plan.hash,
            "groups": groups,
            "ended": [],
        }
        return SurvivorList.make(**{**made, **changes})

    def survivors(self, survivors: SurvivorList, to: str = ME, **changes: Any) -> Incoming:
        return incoming("survivors", encode_survivors(survivors), self.plan, to, **changes)

    def endorsers(self, survivors: SurvivorList, names: Sequence[str]) -> tuple[Endorser, ...]:
        signed = ((name, endorse(lungs()[name].signer, survivors)) for name in sorted(names))
        return tuple(Endorser(name, signature) for name, signature in signed)

    def forwarded(self, dealer: str, holder: str, gid: int) -> ForwardedDeal:
        found = self.handover(dealer, gid)
        envelope = found.envelopes[self.links(gid).neighbours(dealer).index(holder)]
        return ForwardedDeal(dealer, found.deal.encode(), found.signature, envelope)

    def request_for(self, holder: str, survivors: SurvivorList, endorsers: Sequence[Endorser] = ()) -> UnmaskRequest:
        groups = []
        for listed in survivors.groups:
            if holder in listed.ids:
                near = [one for one in self.links(listed.gid).neighbours(holder) if one in listed.ids]
                deals = tuple(self.forwarded(one, holder, listed.gid) for one in near)
                groups.append(RequestedGroup(listed.gid, deals))
        return UnmaskRequest(survivors.hash, tuple(endorsers), tuple(groups))

    def request(self, request: UnmaskRequest, to: str = ME, **changes: Any) -> Incoming:
        return incoming("unmask-request", request.encode(), self.plan, to, **changes)


def names_of(ids: Sequence[str]) -> list[str]:
    return [f"member/{one}" for one in ids]


def read_endorsement(message: Outgoing) -> Endorsement:
    return Endorsement.parse(message.body)
