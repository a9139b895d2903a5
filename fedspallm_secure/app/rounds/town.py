"""A federation in memory that plays one round after another: what simulations, measurements and tests run on."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fedspallm_secure.app.federation import Federation
from fedspallm_secure.app.postbox import Postbox
from fedspallm_secure.app.rounds.key_holder_party import KeyHolderParty
from fedspallm_secure.app.rounds.member_party import MemberParty, Work
from fedspallm_secure.app.rounds.parties import Clock, Correspondent, WitnessParty
from fedspallm_secure.app.rounds.planning import LayerBase, Terms, make_plan
from fedspallm_secure.app.rounds.playing import Round
from fedspallm_secure.app.rounds.server_party import ServerParty
from fedspallm_secure.app.rounds.vault import Vault
from fedspallm_secure.app.rounds.wire import Wire
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import RoundAborted
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.openings import (
    Opening,
    PrekeyUse,
    beacon_seed,
    check_beacon,
    encode_opening,
    parse_beacon,
)
from fedspallm_secure.protocol.rounds.plans import Plan, Sampling
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.secagg.graphs import COMPLETE_LIMIT
from fedspallm_secure.secagg.thresholds import Profile

FEDERATION = "simulation.local"
SERVER = Party(Role.SERVER.value, "server")
WITNESS = Party(Role.WITNESS.value, "witness")
KEY_HOLDER = Party(Role.KEY_HOLDER.value, "key-holder")
_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def member_ids(names: Collection[str]) -> dict[str, str]:
    """name -> id of the member, in the same order: the names themselves where all may be ids, else numbers."""
    if all(_ID.fullmatch(name) for name in names):
        return {name: name for name in names}
    width = len(str(len(names)))
    return {name: f"silo-{number:0{width}d}" for number, name in enumerate(sorted(names), start=1)}


@dataclass(frozen=True, slots=True)
class Seed:
    """Where a round's seed is from.  opening: None where the server chose it; beacons: (witness, signature)."""

    value: bytes
    opening: Opening | None = None
    beacons: tuple[tuple[str, bytes], ...] = ()


class Town:
    """Members with their work, a server, a witness or a key holder if one is needed, and the wire between them.

    works: id -> what the member brings; rounds: how many prekeys each member has; largest: members of a cohort.
    """

    def __init__(
        self, works: Mapping[str, Work], terms: Terms, rounds: int, largest: int, clock: Clock, wire: Wire | None = None
    ) -> None:
        self.terms = terms
        self.clock = clock
        self.wire = Wire() if wire is None else wire
        self.number = 0
        self.previous: str | None = None
        sparse = largest > COMPLETE_LIMIT
        witnesses = (WITNESS,) if sparse or terms.profile is Profile.WITNESSED else ()
        holders = (KEY_HOLDER,) if terms.cipher is not None else ()
        parties = [Party(Role.MEMBER.value, name) for name in works]
        now = clock()
        self.federation = Federation.make(FEDERATION, [SERVER, *witnesses, *holders, *parties], now, prekeys=rounds)
        self.trust = self.federation.trust
        self.bundles = {party.id: self.federation.bundle(party, now) for party in parties}
        self.beacons = (WITNESS.id,) if sparse else ()
        self.policy = Policy(
            SERVER,
            terms.colluders,
            profiles=frozenset({terms.profile}),
            witnesses=tuple(witness.id for witness in witnesses),
            beacons=self.beacons,
            counts_to=terms.counts_to,
            epochs=rounds,
            key_holders=frozenset(holder.id for holder in holders),
            sample=(terms.sample, terms.sample),
        )
        self._server_post = self._postbox(SERVER)
        self.witnesses = [
            WitnessParty(self.federation[one].signer, self._postbox(one), SERVER, self.wire, clock) for one in witnesses
        ]
        self.key_holders = [
            KeyHolderParty(self.federation[one].signer, self._postbox(one), self.policy, self.wire, clock)
            for one in holders
        ]
        self.members = {
            party.id: MemberParty(
                self.federation[party],
                self._postbox(party),
                self.policy,
                self.bundles[party.id],
                works[party.id],
                self.wire,
                clock,
            )
            for party in parties
        }

    def _postbox(self, party: Party) -> Postbox:
        return Postbox(self.federation[party], self.trust)

    def uses(self) -> list[PrekeyUse]:
        """The next prekey of every member."""
        return [
            PrekeyUse(name, self.bundles[name].statement.digest.hex(), member.prekeys.next_index())
            for name, member in self.members.items()
        ]

    def draw_seed(self, number: int, sampling: Sampling) -> Seed:
        """Ask the witness to sign the opening of a round, and take the seed from that (SPEC section 16.1)."""
        signer = self.federation[SERVER].signer
        uses = sorted(self.uses(), key=lambda use: use.id)
        opening = Opening.make(signer, FEDERATION, number, self.trust.roster.hash, sampling.hash, uses)
        server = Correspondent(self._server_post, self.wire, self.clock)
        signatures = []
        for witness in self.witnesses:
            server.send("opening", witness.party, [encode_opening(opening)], number, opening.hash)
            witness.collect()
            for parcel in self.wire.take(SERVER):
                if parcel.type == "beacon" and parcel.sender == witness.party:
                    signature = parse_beacon(server.open(parcel, frozenset({"beacon"})).body)
                    check_beacon(self.trust.roster.entry(witness.party).leaf.public, opening, signature)
                    signatures.append((witness.party.id, signature))
        if len(signatures) != len(self.witnesses):
            raise RoundAborted("a witness did not sign the opening of the round")
        return Seed(beacon_seed(opening, [signature for _, signature in signatures]), opening, tuple(signatures))

    def open_round(self, sampling: Sampling, seed: bytes, layers: Mapping[int, LayerBase], vault: Vault) -> Round:
        """Plan the next round and send its plan.  seed: used unless the graph asks for a drawn one.

        layers: by number, of those that are drawn.  Raises PlanRefused, CapacityExceeded or RoundAborted.
        """
        self.number += 1
        self.wire.sent.clear()
        found = self.draw_seed(self.number, sampling) if self.beacons else Seed(seed)
        key = None if self.terms.cipher is None else self.key_holders[0].make_key(self.terms.cipher)
        plan = make_plan(
            self.number,
            sampling.draw(found.value),
            sampling,
            found.value,
            layers,
            self.terms,
            self.uses(),
            self.trust,
            self.previous,
            self.clock(),
            key,
        )
        return self.start(plan, found, vault, key)

    def start(self, plan: Plan, seed: Seed, vault: Vault, cipher_key: CipherKey | None = None) -> Round:
        """Send out a plan.  cipher_key: the one that it names."""
        witnesses = tuple(witness.party.id for witness in self.witnesses)
        server = ServerParty(
            self.federation[SERVER].signer,
            self._server_post,
            plan,
            witnesses,
            vault,
            self.wire,
            self.clock,
            self.policy.dishonest,
            cipher_key,
        )
        server.say(server.machine.invite(self.bundles, seed.opening, dict(seed.beacons), {}, cipher_key))
        taking_part = {use.id: self.members[use.id] for use in plan.prekeys}
        return Round(server, taking_part, self.witnesses, self.wire, self.key_holders)
