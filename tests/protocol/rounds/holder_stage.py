"""A key holder's machine and the server's in one round, with vectors that are random bytes: neither reads a ciphertext.

The members are those of `member_stage`, with real deals; places are drawn once.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from fedspallm_secure.crypto.merkle import Tree
from fedspallm_secure.protocol.rounds.deals import Deal, deal_digest, sign_deal, tile_hashes, vector_root
from fedspallm_secure.protocol.rounds.decrypting import Challenge, DecryptRequest, OpenedChunk
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.key_holder import KeyHolder
from fedspallm_secure.protocol.rounds.member_own import Own
from fedspallm_secure.protocol.rounds.messages import Incoming
from fedspallm_secure.protocol.rounds.outcomes import Abort
from fedspallm_secure.protocol.rounds.plan_bodies import PlanBody
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.sealed_seeds import seal_seed
from fedspallm_secure.protocol.rounds.survivors import EndCode, Listed, ListedGroup, SurvivorList
from fedspallm_secure.protocol.rounds.unmasking import ForwardedDeal
from fedspallm_secure.secagg.disclosure import Ledger
from fedspallm_secure.secagg.envelopes import envelope_hash
from fedspallm_secure.secagg.seeds import PRIME, self_commitment
from fedspallm_secure.secagg.thresholds import Profile
from tests.parties import NOW
from tests.protocol.rounds.member_stage import (
    HOLDER,
    KEY_SECRET,
    MEMBERS,
    group,
    incoming,
    lungs,
    plan,
    plan_key,
    policy,
)

CHUNKS = 4
ROOT, OTHER_ROOT = "1a" * 32, "1b" * 32  # of sums


@cache
def one_trip() -> Plan:
    """Two groups, whose vectors have four chunks."""
    made = plan(Profile.ONE_TRIP)
    shape = (MatrixShape("up", 1, CHUNKS * 4096 - 5),)
    groups = [replace(group(gid, MEMBERS, Profile.ONE_TRIP), matrices=shape) for gid in (0, 1)]
    return replace(made, groups=tuple(groups))


@cache
def places(gid: int, member: str) -> tuple[bytes, ...]:
    """A member's vector.  Not short ones, since lengths are checked."""
    draws = random.Random(f"{gid} {member}")
    tile = one_trip().groups[gid].upload_tile
    return tuple(draws.randbytes(tile) for _ in range(CHUNKS))


@cache
def deal(gid: int, member: str) -> ForwardedDeal:
    """What the member signed about it."""
    made, found = one_trip(), one_trip().groups[gid]
    root = vector_root([memoryview(b"".join(places(gid, member)))], found.upload_tile)
    context, seed = made.context(gid, made.hash), seed_of(gid, member)
    row, envelope = seal_seed(context, member, seed, plan_key())
    commitment = self_commitment(context, member, seed)
    rest = Deal(root, commitment, (), (row.commitment(context),), (envelope_hash(envelope),)).encode()
    signer = lungs()[f"member/{member}"].signer
    return ForwardedDeal(member, rest, sign_deal(signer, context, member, rest), envelope)


def seed_of(gid: int, member: str) -> int:
    """What the member sealed to the key holder."""
    return random.Random(f"seed {gid} {member}").randrange(PRIME)


def list_of(ids: Sequence[str] = MEMBERS, gids: Sequence[int] = (0, 1), **changes: Any) -> SurvivorList:
    made = one_trip()
    groups = [
        ListedGroup(
            gid, tuple(Listed(one, deal_digest(made.context(gid, made.hash), one, deal(gid, one).deal)) for one in ids)
        )
        for gid in gids
    ]
    given = {"federation": made.federation, "round": made.round, "plan_hash": made.hash, "groups": groups, "ended": []}
    return SurvivorList.make(lungs()[changes.pop("by", "server/hub")].signer, **{**given, **changes})


def to_holder(kind: str, body: bytes, gid: int | None = None, **changes: Any) -> Incoming:
    """A package of the server for the key holder."""
    more = {} if gid is None else {"group": str(gid)}
    made = changes.pop("plan", one_trip())
    return incoming(kind, body, made, **{"recipient": str(HOLDER), **more, **changes})


def own(trust: Any = None, **changes: Any) -> Own:
    actor = lungs()[str(HOLDER)]
    return Own(actor.party, actor.signer, trust or lungs().trust, policy(**changes))


def planned(made: Plan | None = None, **changes: Any) -> Incoming:
    return to_holder("plan", PlanBody(made or one_trip(), ()).encode(), plan=made or one_trip(), **changes)


@dataclass
class Case:
    """A request on its way to a key holder that has taken the plan; faults change it in one place each."""

    survivors: SurvivorList = field(default_factory=list_of)
    deals: tuple[ForwardedDeal, ...] = field(default_factory=lambda: tuple(deal(0, one) for one in MEMBERS))
    gid: int = 0
    root: str = ROOT
    now: int = NOW
    ledger: Ledger = field(default_factory=Ledger)
    context: dict[str, Any] = field(default_factory=dict)
    header: bytes | None = None

    def packed(self) -> Incoming:
        header = self.header or DecryptRequest(self.survivors, self.deals).encode()[4:]
        return to_holder("decrypt-request", header, **{"gid": self.gid, **self.context})

    def give(self, machine: KeyHolder) -> Any:
        return machine.on_request(self.packed(), self.root, self.ledger, KEY_SECRET, self.now)


def taken(**policies: Any) -> KeyHolder:
    machine = KeyHolder(own(**policies))
    machine.on_plan(planned(), plan_key(), Ledger(), NOW, 6)
    return machine


def asked(machine: KeyHolder, gid: int = 0) -> Challenge:
    """The challenge that an honest request gets."""
    case = Case(gid=gid, deals=tuple(deal(gid, one) for one in MEMBERS))
    (message,) = case.give(machine).messages
    return Challenge.parse(message.body)


def opened(gid: int, member: str, chunk: int) -> OpenedChunk:
    tile, tree = one_trip().groups[gid].upload_tile, Tree()
    for place in places(gid, member):
        tree.append(tile_hashes(memoryview(place), tile)[0])
    return OpenedChunk(places(gid, member)[chunk], tuple(tree.inclusion(chunk, tree.size)))


def over(code: EndCode = EndCode.STOPPED, gid: int | None = None) -> Incoming:
    return to_holder("abort", Abort(gid, code).encode())


def group_of(gid: int = 0) -> GroupPlan:
    return one_trip().groups[gid]
