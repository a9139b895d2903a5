"""A malicious server in a round with a key holder: it has every ciphertext, and wants more decrypted than sums.

What it does by default is what an honest server does, so that an attack is written as what is wrong with it.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from io import BytesIO
from typing import Any
from unittest import mock

import numpy as np

from fedspallm_secure.app.rounds import ciphers
from fedspallm_secure.app.rounds.ciphers import added, chunk_in, joined, place_of
from fedspallm_secure.app.rounds.parties import Correspondent
from fedspallm_secure.app.rounds.streams import Streams, plain_streams
from fedspallm_secure.app.rounds.town import KEY_HOLDER
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.merkle import Tree
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.deals import Handover, handover_size, tile_hashes
from fedspallm_secure.protocol.rounds.decrypting import Challenge, DecryptRequest, OpenedChunk, encode_opened
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.messages import Incoming
from fedspallm_secure.protocol.rounds.outcomes import Abort
from fedspallm_secure.protocol.rounds.plan_bodies import PlanBody
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.survivors import EndCode, SurvivorList
from fedspallm_secure.protocol.rounds.unmasking import ForwardedDeal
from tests.attacks.ciphers.combining import combined
from tests.attacks.rounds.rogue import ANY, Rogue
from tests.attacks.rounds.solver import Masked
from tests.federation import Bench

FORM = 0, 1  # no neighbours, and an envelope for the key holder
Opened = dict[tuple[int, str], OpenedChunk]  # chunk, member -> what is shown of it
Change = Callable[[Opened], Opened]


class CipherRogue(Rogue):
    """It and its puppets.  decrypted: (plan hash, gid) -> every sum that the key holder let out, as streams."""

    def __init__(self, bench: Bench, puppets: Collection[str], draws: random.Random) -> None:
        super().__init__(bench, puppets, draws)
        self.holder = bench.key_holders[0]
        self.keys: dict[str, CipherKey] = {}
        self.challenges: dict[tuple[str, int], list[Challenge]] = defaultdict(list)
        self.decrypted: dict[tuple[str, int], list[Streams]] = defaultdict(list)

    # Plans

    def key(self) -> CipherKey:
        """A new key of the key holder."""
        assert self.bench.terms.cipher is not None
        made = self.holder.make_key(self.bench.terms.cipher)
        self.keys[made.hash] = made
        return made

    def plan(self, key: CipherKey | None = None, number: int | None = None) -> Plan:
        """What an honest server would plan."""
        return self.bench.plan(key=key or self.key(), number=number)

    def body(self, plan: Plan, name: str, bundles: Any = None, **parts: Any) -> PlanBody:
        named = None if plan.key_holder is None else self.keys.get(plan.key_holder.key)
        return super().body(plan, name, bundles, **{"cipher_key": named, **parts})

    def invite_holder(self, plan: Plan, number: int | None = None) -> None:
        """Show a plan to the key holder."""
        at, body = plan.round if number is None else number, PlanBody(plan, ()).encode()
        self.send("plan", KEY_HOLDER, [body], at, self.hash(plan))
        self.deliver_holder()

    def begin(self, plan: Plan | None = None, *names: str) -> Plan:
        """An honest beginning: a plan to all, and contributions by everybody or by `names`."""
        plan = plan or self.plan()
        self.invite(plan)
        self.invite_holder(plan)
        self.contribute(*names)
        return plan

    def deliver_holder(self) -> None:
        """Let the key holder act on what was sent, and read what it says."""
        self.holder.collect()
        self.read()

    def read(self) -> None:
        for parcel in self.wire.take(self.party):
            incoming = self.open(parcel, ANY)
            context = incoming.head.context
            if context.type == "contribution":
                self._read_vector(incoming)
            elif context.type == "decrypt-challenge":
                self.challenges[context.plan_hash, int(context.group)].append(Challenge.parse(incoming.body))
            elif context.type == "decrypt-response":
                group = self.plans[context.plan_hash].group(int(context.group))
                assert group is not None
                self.decrypted[context.plan_hash, group.gid].append(plain_streams(memoryview(incoming.body), group))

    def _read_vector(self, incoming: Incoming) -> None:
        context = incoming.head.context
        plan = self.plans[context.plan_hash]
        before = handover_size(*FORM)
        handover, places = Handover.parse(incoming.body[:before], *FORM), incoming.body[before:]
        vector = Streams(np.frombuffer(places, np.uint8), None)
        found = Masked(context.sender.id, plan, context.plan_hash, int(context.group), handover, vector, {})
        self.knowledge.vectors.append(found)

    # Ciphertexts

    def group(self, plan: Plan, gid: int = 0) -> GroupPlan:
        found = plan.group(gid)
        assert found is not None
        return found

    def public(self, plan: Plan) -> bytes:
        assert plan.key_holder is not None
        return self.keys[plan.key_holder.key].public

    def places(self, plan: Plan, name: str, gid: int = 0) -> list[bytes]:
        """A member's vector, place by place."""
        octets, size = self.vector(plan, name, gid).streams.count, self.group(plan, gid).upload_tile
        return [octets[start : start + size].tobytes() for start in range(0, len(octets), size)]

    def total(self, plan: Plan, names: Iterable[str], gid: int = 0) -> bytes:
        """The sum of the vectors of some members."""
        sources = {name: BytesIO(b"".join(self.places(plan, name, gid))) for name in sorted(names)}
        return joined(added(self.group(plan, gid), self.public(plan), sources), self.group(plan, gid)).tobytes()

    def combined(self, plan: Plan, factors: dict[str, int], gid: int = 0) -> list[bytes]:
        """The places of a sum of vectors times small numbers, negative ones too: no key is needed for it."""
        group, vectors = self.group(plan, gid), {name: self.places(plan, name, gid) for name in factors}
        made = []
        for number in range(group.upload_size // group.upload_tile):
            terms = [(chunk_in(group, vectors[name][number]), factor) for name, factor in factors.items()]
            made.append(place_of(group, combined(ciphers.parameters_of(group), self.public(plan), terms)))
        return made

    def contribute_places(self, name: str, places: Sequence[bytes]) -> None:
        """Let a puppet hand in these ciphertexts, with a deal that it signs for them."""
        with mock.patch("fedspallm_secure.app.rounds.member_party.encrypted", lambda *_: iter(places)):
            self.contribute(name)

    # Sums

    def show_sum(
        self,
        plan: Plan,
        survivors: SurvivorList,
        places: bytes | None = None,
        gid: int = 0,
        deals: Sequence[ForwardedDeal] | None = None,
        by: Correspondent | None = None,
        to: Party = KEY_HOLDER,
    ) -> None:
        """Ask for a sum: that of the list's survivors, and with their deals, if nothing else is given."""
        listed = survivors.group(gid)
        ids = listed.ids if listed is not None else ()
        whole = self.total(plan, ids, gid) if places is None else places
        shown = self.deals(plan, ids, gid) if deals is None else deals
        body = DecryptRequest(survivors, tuple(shown)).encode() + whole
        (by or self).send("decrypt-request", to, [body], plan.round, self.hash(plan), str(gid))
        self.deliver_holder()

    def deals(self, plan: Plan, names: Iterable[str], gid: int = 0) -> list[ForwardedDeal]:
        """Of members that contributed; of the others there are none."""
        found = [self.find(plan, name, gid) for name in sorted(names)]
        return [
            ForwardedDeal(one.member, one.handover.deal.encode(), one.handover.signature, one.handover.envelopes[0])
            for one in found
            if one
        ]

    def opened(self, plan: Plan, survivors: SurvivorList, chunks: Iterable[int], gid: int = 0) -> Opened:
        """What an honest server shows of every survivor."""
        group, listed, found = self.group(plan, gid), survivors.group(gid), {}
        assert listed is not None
        for member in listed.ids:
            if self.find(plan, member, gid) is None:
                continue
            places, tree = self.places(plan, member, gid), Tree()
            for place in places:
                tree.append(tile_hashes(memoryview(place), group.upload_tile)[0])
            for chunk in chunks:
                found[chunk, member] = OpenedChunk(places[chunk], tuple(tree.inclusion(chunk, tree.size)))
        return dict(sorted(found.items()))

    def open_sum(
        self, plan: Plan, survivors: SurvivorList, gid: int = 0, change: Change | None = None, size: int = 0
    ) -> None:
        """Show the chunks that the last challenge asks for.  change: to all of it; size: bytes more, or fewer."""
        challenges = self.challenges[self.hash(plan), gid]
        chunks = challenges[-1].chunks if challenges else (0,)
        opened = self.opened(plan, survivors, chunks, gid)
        body = b"".join(map(encode_opened, (change(opened) if change else opened).values()))
        sent = body[:size] if size < 0 else body + bytes(size)
        self.send("decrypt-opening", KEY_HOLDER, [sent], plan.round, self.hash(plan), str(gid))
        self.deliver_holder()

    def decrypt(
        self, plan: Plan, survivors: SurvivorList, places: bytes | None = None, gid: int = 0, **shown: Any
    ) -> None:
        """Ask for a sum and show what the key holder wants to see of it."""
        self.show_sum(plan, survivors, places, gid, **shown)
        self.open_sum(plan, survivors, gid)

    def finish(self, plan: Plan) -> None:
        """End the round for the key holder."""
        self.send("abort", KEY_HOLDER, [Abort(None, EndCode.STOPPED).encode()], plan.round, self.hash(plan))
        self.deliver_holder()

    def _honest_parties(self) -> Iterable[Correspondent]:
        yield from super()._honest_parties()
        yield self.holder
