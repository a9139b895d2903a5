"""A whole federation in memory, on a wire that somebody else holds.

    bench = Bench(Setting(members=5))
    found = play(bench)
    assert found.exact and not found.refusals

Authority, server, members and witnesses are the real classes with real keys and packages.  What is not real: vectors
of a few weights, a clock that stands still until a test moves it, and the wire.
"""

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from fedspallm_secure.app.federation import Federation
from fedspallm_secure.app.postbox import Postbox
from fedspallm_secure.app.rounds.key_holder_party import KeyHolderParty
from fedspallm_secure.app.rounds.member_party import MemberParty
from fedspallm_secure.app.rounds.parties import Correspondent, WitnessParty
from fedspallm_secure.app.rounds.planning import LayerBase, Terms, cipher_for, make_plan
from fedspallm_secure.app.rounds.playing import Round, Stage
from fedspallm_secure.app.rounds.town import FEDERATION, KEY_HOLDER, SERVER, Town
from fedspallm_secure.app.rounds.vault import MemoryVault, word_sizes
from fedspallm_secure.app.rounds.vectors import Released, Streams
from fedspallm_secure.app.rounds.wire import Parcel, Wire
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.key_records import PrekeySecret
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.member_own import LocalGroup, LocalModel
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan, Sampling
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.rounds.survivors import Ended
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.masking import add_into
from fedspallm_secure.secagg.thresholds import Profile, default_colluders
from fedspallm_secure.storage.memory import MemoryPrekeys

NOW = 1_790_000_000  # 2026-09-21
_MANY = (
    "ann ben cat dan eve fay gus hal ida jon kim lea max nia oda pia quy ray rex sam sky tam tia tom ula uma val vic"
)
NAMES = (*_MANY.split(), "wes", "xia", "yan")
WITNESSES = ("wit", "wop", "wyn")
SPARE = Party(Role.SERVER.value, "spare")
AUDITOR = Party(Role.AUDITOR.value, "watch")
OTHER_HOLDER = Party(Role.KEY_HOLDER.value, "other-key-holder")
STRANGER = Party(Role.MEMBER.value, "zoe")  # in the roster, and in no cohort
SEED = bytes(range(32))

Meddle = Callable[[Parcel], Iterable[Parcel]]


# --- the wire ---------------------------------------------------------------------------------------------------------


def deliver(parcel: Parcel) -> Iterable[Parcel]:
    """What an honest wire makes of a parcel."""
    return (parcel,)


class AdversaryWire(Wire):
    """A wire in hostile hands.  It sees every parcel and says what is delivered in its place.

    log: everything that was sent, in order; meddle: what becomes of a parcel; held: parcels on their way for longer;
    shuffle: if set, whoever collects gets its parcels in an order drawn from it.
    """

    def __init__(self, meddle: Meddle = deliver, shuffle: random.Random | None = None) -> None:
        super().__init__()
        self.meddle, self.shuffle = meddle, shuffle
        self.log: list[Parcel] = []
        self.held: list[Parcel] = []

    def send(self, parcel: Parcel) -> None:
        self.log.append(parcel)
        for delivered in self.meddle(parcel):
            super().send(delivered)

    def take(self, recipient: Party) -> Iterator[Parcel]:
        if self.shuffle is not None:
            self.shuffle.shuffle(self._waiting[recipient])
        return super().take(recipient)

    def hold(self, parcel: Parcel) -> Iterable[Parcel]:
        """A `meddle` that keeps parcels until `release`."""
        self.held.append(parcel)
        return ()

    def release(self) -> None:
        """Deliver what was held back."""
        held, self.held = self.held, []
        for parcel in held:
            super().send(parcel)


def when(matches: Callable[[Parcel], bool], then: Meddle) -> Meddle:
    """A `meddle` that leaves alone what does not match."""
    return lambda parcel: then(parcel) if matches(parcel) else (parcel,)


def drop(parcel: Parcel) -> Iterable[Parcel]:
    """A `meddle` that loses everything."""
    return ()


def twice(parcel: Parcel) -> Iterable[Parcel]:
    """A `meddle` that delivers everything two times."""
    return (parcel, parcel)


def flipped(parcel: Parcel, bit: int) -> Parcel:
    """The parcel with one bit changed; bit: counted from its first one, around its end."""
    package = bytearray(parcel.package)
    package[bit // 8 % len(package)] ^= 1 << bit % 8
    return replace(parcel, package=bytes(package))


def spliced(first: Parcel, second: Parcel, at: int) -> Parcel:
    """The first parcel up to byte `at`, and the second one from there."""
    return replace(first, package=first.package[:at] + second.package[at:])


# --- what members bring -----------------------------------------------------------------------------------------------


class TinyWork:
    """A member's vectors: drawn once for each layer, and the same in every round, so that differences would show."""

    def __init__(self, seed: int, member: str, layers: Mapping[int, LayerBase]) -> None:
        self.seed, self.member = seed, member
        self.layers = layers
        self.previous = "*"

    def model(self) -> LocalModel:
        groups = {gid: LocalGroup(layer.base, layer.matrices) for gid, layer in self.layers.items()}
        return LocalModel(groups, self.previous)

    def values(self, group: GroupPlan) -> tuple[np.ndarray, np.ndarray]:
        """Keep bits and deltas, the largest that the plan allows among them."""
        draws = np.random.default_rng([self.seed, group.gid, *self.member.encode()])
        keep = draws.integers(0, 2, group.weights).astype(bool)
        bound = 0 if group.sums is None else group.sums.bound
        deltas = draws.choice([-bound, bound, *draws.integers(-bound, bound + 1, 3)], group.weights)
        return keep, np.where(keep, deltas, 0)

    def streams(self, group: GroupPlan) -> tuple[Streams, int]:
        return packed(group, *self.values(group)), 0


def packed(group: GroupPlan, keep: np.ndarray, deltas: np.ndarray) -> Streams:
    """Keep bits and deltas as they travel, before anything is added to them."""
    streams = Streams.empty(group)
    group.counts.pack(keep, streams.count)
    if group.sums is not None and streams.total is not None:
        streams.total.view(group.sums.signed)[:] = deltas
    return streams


def plain_sum(group: GroupPlan, vectors: Iterable[Streams]) -> Streams:
    """What comes out if nobody ever hid anything."""
    total = Streams.empty(group)
    for vector in vectors:
        for sum_, part, size in zip(total.parts, vector.parts, word_sizes(group), strict=True):
            add_into(sum_, part, size)
    return total


# --- the federation ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """A federation.

    colluders: c, None for a third; rounds: prekeys of each member; sample: thousandths, where vectors are encrypted;
    policy: what is not as usual.
    """

    members: int = 5
    profile: Profile = Profile.THREE_TRIP
    colluders: int | None = None
    strategy: Strategy = Strategy.FEDSPALLM
    weights: int = 7
    layers: int = 1
    rounds: int = 1
    witnesses: int = 0
    dishonest: int = 0
    beacons: int = 0
    sample: int = 1000
    policy: Mapping[str, Any] = field(default_factory=dict)


@cache
def _authority(members: int) -> Federation:
    """Keys, certificates and roster, made once for each size."""
    names = [
        SERVER,
        SPARE,
        AUDITOR,
        STRANGER,
        KEY_HOLDER,
        OTHER_HOLDER,
        *(Party(Role.WITNESS.value, name) for name in WITNESSES),
    ]
    return Federation.make(FEDERATION, [*names, *(Party(Role.MEMBER.value, name) for name in NAMES[:members])], NOW)


@cache
def _prekeys(members: int, rounds: int) -> Mapping[Party, tuple[list[PrekeySecret], Prekeys]]:
    """The prekeys of every member, made once, and the bundle in which they are published."""
    made, found = _authority(members), {}
    for name in NAMES[:members]:
        holder = replace(made[Party(Role.MEMBER.value, name)], prekeys=MemoryPrekeys(rounds))
        alone = replace(made, participants={holder.party: holder})
        found[holder.party] = list(holder.prekeys._keys), alone.bundle(holder.party, NOW)
    return found


def enrolled(members: int, rounds: int) -> tuple[Federation, Mapping[str, Prekeys]]:
    """A federation in which nobody has used any prekey yet, and the bundles.

    Keys are the same in every federation of one size, which nobody in it can notice; making them takes the longest.
    """
    made, published = _authority(members), _prekeys(members, rounds)
    participants = dict(made.participants)
    for party, (secrets, _) in published.items():
        prekeys = MemoryPrekeys(1)
        prekeys._keys, prekeys._end = list(secrets), rounds
        participants[party] = replace(participants[party], prekeys=prekeys)
    return replace(made, participants=participants), {party.id: bundle for party, (_, bundle) in published.items()}


@dataclass(frozen=True)
class Refusal:
    """Something that did not count.  type: of the package; error: name of its class; check: its number, if any."""

    party: str
    type: str
    error: str
    check: str

    @classmethod
    def of(cls, party: Party, type: str, error: FedSpaError) -> "Refusal":
        return cls(str(party), type, error.__class__.__name__, getattr(error, "check", ""))

    @property
    def place(self) -> str:
        """Where it was stopped: the number of the check, or the class where it has none."""
        return self.check or self.error


class Bench(Town):
    """The federation of a `Setting`.  now: the time, for everybody; kinds: member -> class other than `MemberParty`.

    There are also a second server, an auditor, key holders and a stranger, in the roster and with keys, who do nothing;
    but for the first key holder, where vectors are encrypted.
    """

    def __init__(
        self,
        setting: Setting | None = None,
        seed: int = 0,
        wire: AdversaryWire | None = None,
        kinds: Mapping[str, type[MemberParty]] | None = None,
    ) -> None:
        self.setting = setting = setting or Setting()
        self.seed, self.now, self.number, self.previous = seed, NOW, 0, None
        self.clock = lambda: self.now
        self.wire: AdversaryWire = wire or AdversaryWire()
        self.names = NAMES[: setting.members]
        self.revision, self.model = 1, ""
        colluders = default_colluders(setting.members) if setting.colluders is None else setting.colluders
        encrypts = setting.profile is Profile.ONE_TRIP
        cipher = cipher_for(setting.members, setting.strategy, 32) if encrypts else None
        self.terms = Terms(
            setting.profile, colluders, setting.strategy, "magnitude", cipher=cipher, sample=setting.sample
        )
        witnesses = [Party(Role.WITNESS.value, name) for name in WITNESSES]
        parties = [Party(Role.MEMBER.value, name) for name in self.names]
        self.federation, bundles = enrolled(setting.members, setting.rounds)
        self.trust = self.federation.trust
        self.bundles = dict(bundles)
        self.beacons = WITNESSES[: setting.beacons]
        self.policy = Policy(
            **{
                "server": SERVER,
                "colluders": colluders,
                "profiles": frozenset({setting.profile}),
                "witnesses": WITNESSES[: setting.witnesses],
                "dishonest": setting.dishonest,
                "beacons": self.beacons,
                "counts_to": self.terms.counts_to,
                "key_holders": frozenset({KEY_HOLDER.id}) if encrypts else frozenset(),
                "sample": (setting.sample, setting.sample),
                **setting.policy,
            }
        )
        self.works = {name: TinyWork(seed, name, self.layers) for name in self.names}
        self._server_post = self.post(SERVER)
        self.witnesses = [
            WitnessParty(self.federation[one].signer, self.post(one), SERVER, self.wire, self.clock)
            for one in witnesses[: max(setting.witnesses, setting.beacons)]
        ]
        self.key_holders = [
            KeyHolderParty(self.federation[one].signer, self.post(one), self.policy, self.wire, self.clock)
            for one in ([KEY_HOLDER] if encrypts else [])
        ]
        self.members = {party.id: self._member(party, (kinds or {}).get(party.id, MemberParty)) for party in parties}

    def _member(self, party: Party, kind: type[MemberParty]) -> MemberParty:
        work, bundle = self.works[party.id], self.bundles[party.id]
        return kind(self.federation[party], self.post(party), self.policy, bundle, work, self.wire, self.clock)

    def post(self, party: Party) -> Postbox:
        """Where a party seals and opens; a new one each time."""
        return Postbox(self.federation[party], self.trust)

    def correspondent(self, party: Party) -> Correspondent:
        """Somebody who can send packages."""
        return Correspondent(self.post(party), self.wire, self.clock)

    @property
    def layers(self) -> dict[int, LayerBase]:
        """What the model looks like now."""
        first = self.setting.weights // 2
        return {
            gid: LayerBase(
                f"{self.revision:02x}{gid:02x}" * 16,
                (
                    MatrixShape(f"layers.{gid}.up{self.model}", 1, first),
                    MatrixShape(f"layers.{gid}.down{self.model}", 1, self.setting.weights - first),
                ),
            )
            for gid in range(self.setting.layers)
        }

    def revise(self) -> None:
        """Everybody has a new base from now on."""
        self.revision += 1
        for work in self.works.values():
            work.layers = self.layers

    def exchange(self) -> None:
        """Everybody has another model from now on, with matrices of other names."""
        self.model += "x"
        self.revise()

    def next_round(self) -> None:
        """Everybody has what a next round may be about: in two trips another model, since a matrix is released once."""
        if self.setting.profile is Profile.TWO_TRIP:
            self.exchange()
        else:
            self.revise()

    def sampling(self, names: Collection[str] | None = None) -> Sampling:
        """Every layer for each of `names`, all members if None."""
        layers = self.setting.layers
        budgets = tuple((name, layers) for name in sorted(names or self.names))
        return Sampling(1, layers, ("1/2",), 3, False, budgets)

    def plan(
        self,
        sampling: Sampling | None = None,
        seed: bytes = SEED,
        number: int | None = None,
        key: CipherKey | None = None,
    ) -> Plan:
        """The plan that an honest server would make for its next round, or for round `number`.  key: of its holder."""
        sampling = sampling or self.sampling()
        drawn, at = sampling.draw(seed), self.number + 1 if number is None else number
        return make_plan(
            at, drawn, sampling, seed, self.layers, self.terms, self.uses(), self.trust, self.previous, self.now, key
        )

    def open(self, sampling: Sampling | None = None) -> Round:
        """Send out the plan of an honest next round."""
        return self.open_round(sampling or self.sampling(), SEED, self.layers, MemoryVault())

    def vector(self, member: str, group: GroupPlan) -> Streams:
        """What the member brings to a group, before anything is added to it."""
        return self.works[member].streams(group)[0]

    def sum_over(self, group: GroupPlan, members: Iterable[str]) -> Streams:
        """What the sum over members has to be."""
        return plain_sum(group, (self.vector(member, group) for member in members))

    @property
    def parties(self) -> list[Correspondent]:
        """Members, witnesses and key holders."""
        return [*self.members.values(), *self.witnesses, *self.key_holders]


# --- a round ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """How a round went.  refusals: by party, `server/server` among them, in order; bench: what it was played on."""

    bench: Bench
    round: Round
    refusals: Mapping[str, list[Refusal]]

    @property
    def result(self) -> Result | None:
        """What the server stated in the end."""
        return self.round.server.machine.result

    @property
    def released(self) -> Mapping[int, Released]:
        """Group -> sums that came out."""
        return self.round.server.released

    @property
    def ended(self) -> Mapping[int, Ended]:
        """Group -> why it ended without a sum."""
        return self.round.server.machine.ended

    @property
    def survivors(self) -> Mapping[int, tuple[str, ...]]:
        """Group -> members on the server's list."""
        return self.round.played.survivors

    @property
    def exact(self) -> bool:
        """Whether every sum that came out is the plain one over its survivors, bit for bit."""
        return all(
            released.streams.tile_hashes == self.bench.sum_over(released.group, self.survivors[gid]).tile_hashes
            for gid, released in self.released.items()
        )


def play(
    bench: Bench, drops: Mapping[Stage, Collection[str]] | None = None, sampling: Sampling | None = None
) -> Outcome:
    """One round with an honest server, over whatever wire the bench has."""
    before = {party.party: len(party.refused) for party in bench.parties}
    round = bench.open(sampling)
    round.play(drops or {})
    found: dict[str, list[Refusal]] = {}
    for party in (*bench.parties, round.server):
        for parcel, error in party.refused[before.get(party.party, 0) :]:
            found.setdefault(str(party.party), []).append(Refusal.of(party.party, parcel.type, error))
    return Outcome(bench, round, found)
