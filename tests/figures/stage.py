"""Where figures are taken: rounds between the real machines, with real keys, seeds, shares and envelopes.

Only packages are left out: a message arrives as what a package held after SPEC section 9.  Everything that does not
depend on who falls silent is made once, and rounds branch from there: machines are restored from their records.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from multiprocessing import get_context
from typing import Any, TypeVar

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
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.member import LocalGroup, LocalModel, Member, Own
from fedspallm_secure.protocol.rounds.messages import Incoming, Outgoing
from fedspallm_secure.protocol.rounds.openings import PrekeyUse
from fedspallm_secure.protocol.rounds.outcomes import GroupResult
from fedspallm_secure.protocol.rounds.plans import Plan, Sampling
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.rounds.records_member import MemberRecord
from fedspallm_secure.protocol.rounds.records_server import ServerRecord
from fedspallm_secure.protocol.rounds.server import Server
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.disclosure import Ledger
from fedspallm_secure.secagg.fields import check_range
from fedspallm_secure.secagg.masking import add_into, add_keystreams
from fedspallm_secure.secagg.thresholds import Profile, default_colluders
from tests.parties import DAY, NOW, Federation
from tests.protocol.rounds.dealing import Contribution, Prekeeper, World

SERVER = Party.parse("server/hub")
WEIGHTS = 33  # odd: the last count has half a byte to spare
BASE = "ba" * 32
GID = 0
Streams = tuple[bytearray, ...]
T, U = TypeVar("T"), TypeVar("U")


def make_world(
    members: int,
    profile: Profile = Profile.THREE_TRIP,
    colluders: int | None = None,
    sum_bits: int = 32,
    weights: int = WEIGHTS,
) -> World:
    """A federation of that many members, and a plan of one group over all of them that each of them accepts."""
    names = [f"m{number:03d}" for number in range(members)]
    federation = Federation(names=("server/hub", *(f"member/{name}" for name in names)))
    c = default_colluders(members) if colluders is None else colluders
    terms = Terms(profile, c, Strategy.FEDSPALLM, "wanda", sum_bits=sum_bits)
    keepers, bundles = {}, {}
    for name in names:
        secret = PrekeySecret.generate(0)
        keepers[name] = Prekeeper(0, RecipientSecret(Kem.X25519, secret.exchange), secret.recipient)
        actor = federation[f"member/{name}"]
        leaves = [Prekey.from_bytes(secret.leaf)]
        bundles[name] = Prekeys.make(actor.signer, federation.name, actor.party, 0, leaves, NOW - DAY, NOW + 60 * DAY)
    seed = seed_bytes(members)
    sampling = Sampling(1, 1, ("1/2",), 3, False, tuple((name, 1) for name in names))
    uses = [PrekeyUse(name, bundles[name].statement.digest.hex(), 0) for name in names]
    layers = {GID: LayerBase(BASE, shapes(weights))}
    drawn = sampling.draw(seed)
    plan = make_plan(1, drawn, sampling, seed, layers, terms, uses, federation.trust, None, NOW)
    return World(federation, plan, keepers, bundles)


def shapes(weights: int) -> tuple[MatrixShape, ...]:
    return (MatrixShape("vector", 1, weights),)


@dataclass(frozen=True)
class Made:
    """What a member handed in, and what only it knows.  records: everything that it wrote down so far."""

    member: str
    handed: bytes
    streams: Streams
    keep: NDArray[np.bool_]
    deltas: NDArray[np.int64]
    records: tuple[MemberRecord, ...]


@dataclass
class Stage:
    """One plan, and machines for it.  made: member -> its contribution, made once."""

    world: World
    made: dict[str, Made] = field(default_factory=dict)

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

    def to_member(self, message: Outgoing) -> Incoming:
        """What arrives of a message of the server."""
        federation = self.world.federation
        context = federation.context(
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

    def to_server(self, member: str, message: Outgoing, size: int | None = None) -> Incoming:
        """What arrives of a message of a member.  size: of the plaintext, if streams follow the body."""
        return self.world.incoming(f"member/{member}", message.type, message.body, group=message.group, size=size)
