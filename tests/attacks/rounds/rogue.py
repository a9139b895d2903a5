"""The server in the wrong hands, with some members that do its bidding.

It has the server's keys and everything that its puppets have.  It sends what it likes to whom it likes, and notes all
that it sees in a `Knowledge`.  Its methods do what an honest server does unless they are told otherwise, so that an
attack is written as what is wrong with it.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fedspallm_secure.app.rounds.parties import Correspondent
from fedspallm_secure.app.rounds.town import SERVER
from fedspallm_secure.app.rounds.vectors import Streams
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.protocol.package_types import PACKAGE_TYPES
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.rounds.deals import Handover, handover_size
from fedspallm_secure.protocol.rounds.member_state import State
from fedspallm_secure.protocol.rounds.messages import Incoming
from fedspallm_secure.protocol.rounds.outcomes import Abort
from fedspallm_secure.protocol.rounds.plan_bodies import PlanBody
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.survivors import (
    EndCode,
    Ended,
    Endorsement,
    Listed,
    ListedGroup,
    SurvivorList,
    encode_survivors,
    endorse,
)
from fedspallm_secure.protocol.rounds.unmasking import (
    Endorser,
    ForwardedDeal,
    RequestedGroup,
    UnmaskRequest,
    UnmaskResponse,
)
from tests.attacks.rounds.solver import Knowledge, Masked
from tests.federation import Bench, Refusal

Ids = Collection[str] | Mapping[int, Collection[str]]  # of all groups, or by group
Endorsements = Mapping[str, bytes]  # ROLE/ID -> signature
ANY = frozenset(PACKAGE_TYPES)


def member(name: str) -> Party:
    return Party(Role.MEMBER.value, name)


class Rogue(Correspondent):
    """A malicious server.

    puppets: members that work with it, who also do what members do; honest: the others, in an order that was drawn;
    knowledge: all that it has seen; endorsements: digest of a list -> who endorsed it; signatures: beacons by witness.
    """

    def __init__(self, bench: Bench, puppets: Collection[str], draws: random.Random) -> None:
        super().__init__(bench.post(SERVER), bench.wire, bench.clock)
        self.bench, self.draws = bench, draws
        self.signer = bench.federation[SERVER].signer
        self.puppets = sorted(puppets)
        self.honest = draws.sample(
            [name for name in bench.names if name not in puppets], len(bench.names) - len(puppets)
        )
        self.knowledge = Knowledge(frozenset(puppets))
        for name in self.puppets:
            for secret in list(bench.members[name].prekeys._keys):  # all that a puppet has is the server's too
                self.knowledge.exchange[secret.leaf[:32]] = secret.exchange
                self.knowledge.recipients[secret.recipient.recipient_key.public] = secret.recipient
        self.plans: dict[str, Plan] = {}
        self._hashes: dict[int, tuple[Plan, str]] = {}  # by `id`, which nobody else has while the plan is kept
        self.bundles: dict[str, Prekeys] = {}
        self.know(*bench.bundles.values())
        self.endorsements: dict[str, dict[str, bytes]] = defaultdict(dict)
        self.signatures: dict[str, bytes] = {}
        self.failed: list[Refusal] = []

    @property
    def victim(self) -> str:
        return self.honest[0]

    @property
    def others(self) -> list[str]:
        """The honest members but for the victim."""
        return self.honest[1:]

    @property
    def everybody(self) -> list[str]:
        return list(self.bench.names)

    def but(self, *names: str) -> list[str]:
        """Everybody else."""
        return [name for name in self.bench.names if name not in names]

    def know(self, *bundles: Prekeys) -> None:
        """Prekey bundles that plans may name."""
        self.bundles.update((bundle.statement.digest.hex(), bundle) for bundle in bundles)

    # Plans

    def hash(self, plan: Plan) -> str:
        """The plan hash; computed once."""
        if id(plan) not in self._hashes:
            self._hashes[id(plan)] = plan, plan.hash
            self.plans[plan.hash] = plan
        return self._hashes[id(plan)][1]

    def body(self, plan: Plan, name: str, bundles: Mapping[str, Prekeys] | None = None, **parts: Any) -> PlanBody:
        """What a member is sent with a plan.  bundles: in place of those that the plan names; parts: of `PlanBody`."""
        named = {use.id: self.bundles[use.bundle] for use in plan.prekeys} | dict(bundles or {})
        near = tuple(named[one] for one in sorted(plan.neighbours_of(name)) if named[one].party.id == one)
        return PlanBody(**{"plan": plan, "bundles": near, **parts})

    def invite(self, plan: Plan, *names: str, **parts: Any) -> None:
        """Send a plan to members, everybody in it by default, and let them act on it."""
        for name in names or [use.id for use in plan.prekeys if use.id in self.bench.members]:
            self.send_plan(plan, name, self.body(plan, name, **parts).encode())

    def send_plan(
        self, plan: Plan, name: str, body: bytes, number: int | None = None, plan_hash: str = "", by: Any = None
    ) -> None:
        """Send a plan, under another round or plan hash if asked, and by another sender."""
        self.bench.number = max(self.bench.number, plan.round)
        at = plan.round if number is None else number
        (by or self).send("plan", member(name), [body], at, plan_hash or self.hash(plan))
        self.deliver(name)

    def deliver(self, *names: str) -> None:
        """Let members, everybody by default, and witnesses act on what was sent, and read what they say."""
        for name in names or self.everybody:
            self.bench.members[name].collect()
        for witness in self.bench.witnesses:
            witness.collect()
        self.read()

    def contribute(self, *names: str) -> None:
        """Let members, all that accepted a plan by default, contribute."""
        for name in names or self.everybody:
            actor = self.bench.members[name]
            if actor.machine.state is State.PLANNED and not actor.sealed:
                try:
                    actor.contribute()
                except FedSpaError as error:
                    self.failed.append(Refusal.of(actor.party, "contribution", error))
        self.read()

    def begin(self, plan: Plan | None = None, *names: str) -> Plan:
        """An honest beginning: a plan, and contributions by everybody or by `names`."""
        plan = plan or self.bench.plan()
        self.invite(plan)
        self.contribute(*names)
        return plan

    def read(self) -> None:
        """Note everything that has come in."""
        for parcel in self.wire.take(SERVER):
            incoming = self.open(parcel, ANY)
            context = incoming.head.context
            match context.type:
                case "contribution":
                    self._read_vector(incoming)
                case "endorsement":
                    found = Endorsement.parse(incoming.body)
                    self.endorsements[found.survivors][str(context.sender)] = found.signature
                case "unmask-response":
                    for answer in UnmaskResponse.parse(incoming.body).groups:
                        self.knowledge.answers.append((context.plan_hash, context.sender.id, answer))
                        self.knowledge.shown += [one.key for one in answer.complaints if one.key]
                case _:
                    self.signatures[context.sender.id] = incoming.body

    def _read_vector(self, incoming: Incoming) -> None:
        context = incoming.head.context
        plan = self.plans[context.plan_hash]
        group = plan.group(int(context.group))
        assert group is not None
        size = handover_size(*group.deal_form)
        octets = np.frombuffer(incoming.body[size:], np.uint8)
        sums = None if group.sums is None else octets[group.count_size :].copy()
        streams = Streams(octets[: group.count_size].copy(), sums)
        keys = {
            use.id: self.bundles[use.bundle].leaves[use.index - self.bundles[use.bundle].first] for use in plan.prekeys
        }
        handover = Handover.parse(incoming.body[:size], *group.deal_form)
        self.knowledge.vectors.append(
            Masked(context.sender.id, plan, context.plan_hash, group.gid, handover, streams, keys)
        )

    def find(self, plan: Plan, name: str, gid: int = 0) -> Masked | None:
        """What a member contributed to a plan, if it did."""
        wanted = (name, self.hash(plan), gid)
        found = (one for one in self.knowledge.vectors if (one.member, one.plan_hash, one.gid) == wanted)
        return next(found, None)

    def vector(self, plan: Plan, name: str, gid: int = 0) -> Masked:
        """What a member contributed to a plan; it did."""
        found = self.find(plan, name, gid)
        assert found is not None, name
        return found

    def deal(self, plan: Plan, name: str, gid: int = 0) -> str:
        """Digest of a member's deal; one that nobody dealt, if it did not contribute."""
        found = self.find(plan, name, gid)
        return "de" * 32 if found is None else found.digest

    # Lists

    def listing(
        self,
        plan: Plan,
        ids: Ids,
        deals: Mapping[str, str] | None = None,
        ended: Sequence[Ended] = (),
        **changes: Any,
    ) -> SurvivorList:
        """A list of survivors.  deals: member -> digest in place of the right one; changes: to what it is of."""
        given = ids if isinstance(ids, Mapping) else {group.gid: ids for group in plan.groups}
        groups = [
            ListedGroup(
                gid, tuple(Listed(id, (deals or {}).get(id) or self.deal(plan, id, gid)) for id in sorted(members))
            )
            for gid, members in sorted(given.items())
        ]
        made = {"federation": plan.federation, "round": plan.round, "plan_hash": self.hash(plan), "signer": self.signer}
        return SurvivorList.make(groups=groups, ended=ended, **{**made, **changes})

    def show(self, plan: Plan, survivors: SurvivorList, *names: str, by: Any = None, body: bytes = b"") -> None:
        """Show a list to members, those on it by default, and let puppets and them endorse it."""
        on_it = {id for group in survivors.groups for id in group.ids} & set(self.everybody)
        for name in names or sorted(on_it):
            sent = [body or encode_survivors(survivors)]
            (by or self).send("survivors", member(name), sent, plan.round, self.hash(plan))
            self.deliver(name)
        self.sign(survivors, *self.puppets)

    def show_witnesses(self, plan: Plan, survivors: SurvivorList, number: int | None = None) -> None:
        """Show a list to all witnesses."""
        for witness in self.bench.witnesses:
            at = plan.round if number is None else number
            self.send("survivors", witness.party, [encode_survivors(survivors)], at, self.hash(plan))
        self.deliver()

    def sign(self, survivors: SurvivorList, *parties: str) -> None:
        """Endorse a list in the name of puppets, or of whoever else gave its key away: ids of members, or ROLE/ID."""
        for name in parties:
            party = Party.parse(name) if "/" in name else member(name)
            self.endorsements[survivors.hash][str(party)] = endorse(self.bench.federation[party].signer, survivors)

    # Requests

    def request(
        self,
        plan: Plan,
        survivors: SurvivorList,
        name: str,
        endorsements: Endorsements | None = None,
        gids: Collection[int] | None = None,
        envelopes: Mapping[str, bytes] | None = None,
        handovers: Mapping[str, Handover] | None = None,
    ) -> UnmaskRequest:
        """A request to a member.

        endorsements: all that there are, if None; gids: groups, those it is listed in if None; envelopes, handovers:
        dealer -> what takes the place of its own.
        """
        given = self.endorsements[survivors.hash] if endorsements is None else endorsements
        endorsers = tuple(Endorser(id, signature) for id, signature in sorted(given.items()))
        asked = [group for group in survivors.groups if (name in group.ids if gids is None else group.gid in gids)]
        groups = []
        for group in asked:
            deals = []
            for dealer in group.ids:
                own = self.find(plan, dealer, group.gid)
                if dealer == name or own is None:
                    continue
                handover = (handovers or {}).get(dealer, own.handover)
                envelope = (envelopes or {}).get(dealer) or self.envelope(own, name)
                deals.append(ForwardedDeal(dealer, handover.deal.encode(), handover.signature, envelope))
            groups.append(RequestedGroup(group.gid, tuple(deals)))
        return UnmaskRequest(survivors.hash, endorsers, tuple(groups))

    def envelope(self, vector: Masked, holder: str) -> bytes:
        """The envelope from the member of a masked vector to a holder; nothing if there is none."""
        near = vector.links.neighbours(vector.member)
        return vector.handover.envelopes[near.index(holder)] if holder in near else b""

    def ask(
        self,
        plan: Plan,
        survivors: SurvivorList,
        *names: str,
        by: Any = None,
        change: Callable[[UnmaskRequest, str], UnmaskRequest | bytes] | None = None,
        **parts: Any,
    ) -> None:
        """Ask members, those on the list by default.  change: to a request; parts: as of `request`."""
        on_it = {id for group in survivors.groups for id in group.ids} & set(self.everybody)
        for name in names or sorted(on_it):
            request: Any = self.request(plan, survivors, name, **parts)
            if change is not None:
                request = change(request, name)
            self.send_request(plan, name, request if isinstance(request, bytes) else request.encode(), by)

    def send_request(self, plan: Plan, name: str, body: bytes, by: Any = None) -> None:
        """Ask a member with this very body."""
        (by or self).send("unmask-request", member(name), [body], plan.round, self.hash(plan))
        self.deliver(name)

    def end(self, plan: Plan, ids: Ids, deals: Mapping[str, str] | None = None) -> SurvivorList:
        """Go for a sum over `ids` by all that the profile asks for."""
        survivors = self.listing(plan, ids, deals)
        self.show_witnesses(plan, survivors)
        self.show(plan, survivors)
        self.ask(plan, survivors)
        return survivors

    def split(self, plan: Plan, views: Mapping[str, Collection[str]]) -> None:
        """Show every member a list of its own, and ask it for that.  views: honest member -> who is on its list."""
        lists = {name: self.listing(plan, ids) for name, ids in views.items()}
        for survivors in lists.values():
            self.show_witnesses(plan, survivors)
        for name, survivors in lists.items():
            self.show(plan, survivors, name)
        for name, survivors in lists.items():
            self.ask(plan, survivors, name)

    def abort(self, plan: Plan, *names: str, gid: int | None = None) -> None:
        """Tell members, everybody by default, that the round or a group of it is over."""
        for name in names or self.everybody:
            self.send("abort", member(name), [Abort(gid, EndCode.STOPPED).encode()], plan.round, self.hash(plan))
            self.deliver(name)

    def refusals(self) -> list[Refusal]:
        """What honest parties refused, in the order in which it was sent."""
        places = {id(parcel): place for place, parcel in enumerate(self.bench.wire.log)}
        found = [
            (places.get(id(parcel), -1), Refusal.of(party.party, parcel.type, error))
            for party in self._honest_parties()
            for parcel, error in party.refused
        ]
        return [refusal for _, refusal in sorted(found, key=lambda pair: pair[0])] + self.failed

    def _honest_parties(self) -> Iterable[Correspondent]:
        yield from (self.bench.members[name] for name in self.honest)
        yield from self.bench.witnesses
