"""Hostile wires between honest parties: parcels lost, held back, doubled, mixed up, changed, spliced and shown again.

    python -m tests.attacks.rounds.wires [COUNT] [SEED]     prints the figures as JSON

rounds: of which each was played over another wire; meddled: parcels that were not delivered as they were sent;
wrong_sums: sums that are not those of what the survivors brought; twice: members that answered or endorsed in two ways;
crashes: errors that are none of ours; sums: rounds that gave one all the same.
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fedspallm_secure.app.rounds.wire import Parcel
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.protocol.rounds.records_member import Answered, Endorsed
from fedspallm_secure.secagg.thresholds import Profile
from tests.clear_cipher import clear
from tests.federation import AdversaryWire, Bench, Outcome, Setting, drop, flipped, play, spliced, twice, when

Plot = Callable[[AdversaryWire, random.Random], None]  # sets up a wire
PLOTS: dict[str, Plot] = {}
RATE = 0.2  # of parcels that are meddled with


def plot(function: Plot) -> Plot:
    """Register a way to meddle."""
    PLOTS[function.__name__] = function
    return function


def sometimes(wire: AdversaryWire, draws: random.Random, then: Callable[[Parcel], Iterable[Parcel]]) -> None:
    """Meddle with some parcels, and leave the others alone."""
    wire.meddle = when(lambda _: draws.random() < RATE, then)


@plot
def loses(wire: AdversaryWire, draws: random.Random) -> None:
    sometimes(wire, draws, drop)


@plot
def doubles(wire: AdversaryWire, draws: random.Random) -> None:
    wire.meddle = twice


@plot
def mixes_up(wire: AdversaryWire, draws: random.Random) -> None:
    """Everybody gets what is there in another order."""
    wire.shuffle = draws
    sometimes(wire, draws, twice)


@plot
def holds_back(wire: AdversaryWire, draws: random.Random) -> None:
    """A parcel comes with the next one, if there is a next one."""

    def later(parcel: Parcel) -> Iterable[Parcel]:
        held, wire.held = wire.held, []
        return (*wire.hold(parcel), *held)

    sometimes(wire, draws, later)


@plot
def flips_bits(wire: AdversaryWire, draws: random.Random) -> None:
    sometimes(wire, draws, lambda parcel: (flipped(parcel, draws.randrange(8 * len(parcel.package))),))


@plot
def flips_a_bit_and_delivers_both(wire: AdversaryWire, draws: random.Random) -> None:
    sometimes(wire, draws, lambda parcel: (flipped(parcel, draws.randrange(8 * len(parcel.package))), parcel))


@plot
def cuts(wire: AdversaryWire, draws: random.Random) -> None:
    def shorter(parcel: Parcel) -> Iterable[Parcel]:
        return (replace(parcel, package=parcel.package[: draws.randrange(len(parcel.package))]),)

    sometimes(wire, draws, shorter)


@plot
def splices(wire: AdversaryWire, draws: random.Random) -> None:
    """The beginning of one package and the end of another."""

    def joined(parcel: Parcel) -> Iterable[Parcel]:
        other = draws.choice(wire.log)
        return (spliced(parcel, other, draws.randrange(len(parcel.package))), parcel)

    sometimes(wire, draws, joined)


@plot
def shows_again(wire: AdversaryWire, draws: random.Random) -> None:
    """With a parcel comes an old one for the same party."""

    def more(parcel: Parcel) -> Iterable[Parcel]:
        old = [one for one in wire.log if one.recipient == parcel.recipient]
        return (parcel, draws.choice(old))

    wire.meddle = more


@plot
def misdelivers(wire: AdversaryWire, draws: random.Random) -> None:
    """Somebody else gets it too."""

    def also(parcel: Parcel) -> Iterable[Parcel]:
        return (replace(parcel, recipient=draws.choice(wire.log).recipient), parcel)

    sometimes(wire, draws, also)


@plot
def lets_requests_overtake(wire: AdversaryWire, draws: random.Random) -> None:
    """Every member gets its list after its request, or not at all where nothing is asked before it is endorsed."""

    def later(parcel: Parcel) -> Iterable[Parcel]:
        if parcel.recipient.role_name != Role.MEMBER.value or parcel.type not in ("survivors", "unmask-request"):
            return (parcel,)
        if parcel.type == "survivors":
            return wire.hold(parcel)
        mine = [held for held in wire.held if held.recipient == parcel.recipient]
        wire.held = [held for held in wire.held if held not in mine]
        return (parcel, *mine)

    wire.meddle = later


@plot
def does_anything(wire: AdversaryWire, draws: random.Random) -> None:
    """All of the above, in turn."""
    names = [name for name in PLOTS if name != "does_anything"]
    wires = []
    for name in names:
        other = AdversaryWire()
        other.log, other.held = wire.log, wire.held
        PLOTS[name](other, draws)
        wires.append(other)
    wire.shuffle = draws

    def any_of_them(parcel: Parcel) -> Iterable[Parcel]:
        return draws.choice(wires).meddle(parcel)

    sometimes(wire, draws, any_of_them)


# --- running ----------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """Two rounds over one wire.  twice: members that said something in two ways."""

    plot: str
    outcomes: list[Outcome] = field(default_factory=list)
    meddled: int = 0
    twice: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """What is not as it should be."""
        wrong = [f"{self.plot}: a wrong sum" for one in self.outcomes if not one.exact]
        return wrong + [f"{self.plot}: {name} spoke in two ways" for name in self.twice]


def run(name: str, seed: int, profile: Profile = Profile.THREE_TRIP) -> Run:
    """Two rounds, the second of them on a new base, or about another model."""
    draws = random.Random(f"{seed} {name} {profile}")
    witnesses = 1 if profile is Profile.WITNESSED else 0
    wire = AdversaryWire()
    bench = Bench(Setting(rounds=2, profile=profile, witnesses=witnesses), seed, wire)
    PLOTS[name](wire, draws)
    counting, found = wire.meddle, Run(name)

    def counted(parcel: Parcel) -> Iterable[Parcel]:
        delivered = tuple(counting(parcel))
        found.meddled += delivered != (parcel,)
        return delivered

    wire.meddle = counted
    for _ in range(2):
        with clear():  # what the wire does is not about ciphertexts
            found.outcomes.append(play(bench))
        bench.next_round()
    found.twice = [name for name, member in bench.members.items() if _spoke_twice(member.records)]
    return found


def _spoke_twice(records: Iterable[Any]) -> bool:
    """Whether a member endorsed or answered more than once in a round: its records say what went out."""
    rounds: list[Counter[str]] = [Counter()]
    for record in records:
        if record.kind == "plan-accepted":
            rounds.append(Counter())
        if isinstance(record, Endorsed | Answered):
            rounds[-1][record.kind] += 1
    return any(count > 1 for counts in rounds for count in counts.values())


def figures(count: int, seed: int) -> Mapping[str, Any]:
    """Every plot in every profile, `count` times."""
    runs, crashes = [], []
    for number in range(count):
        for name in PLOTS:
            for profile in Profile:
                try:
                    runs.append(run(name, seed + number, profile))
                except Exception as error:
                    crashes.append(f"{name}, {profile}, {seed + number}: {error.__class__.__name__}: {error}")
    outcomes = [outcome for one in runs for outcome in one.outcomes]
    return {
        "rounds": len(outcomes),
        "meddled": sum(one.meddled for one in runs),
        "wrong_sums": sum(not outcome.exact for outcome in outcomes),
        "twice": sum(len(one.twice) for one in runs),
        "sums": sum(bool(outcome.released) for outcome in outcomes),
        "crashes": len(crashes),
        "failures": [text for one in runs for text in one.failures] + crashes,
        "seed": seed,
    }


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    sys.stdout.write(json.dumps(figures(*(numbers + [1, 0][len(numbers) :]))) + "\n")
