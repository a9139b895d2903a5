"""How attacks on a key holder are written, run and judged: as those of `tests.attacks.rounds`, by what was decrypted.

Whatever comes out has to be a sum over as many members as the plan asks for, and over the same vectors only one.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import combinations
from typing import Any
from unittest import mock

import numpy as np

from fedspallm_secure.app.rounds.streams import Streams
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.thresholds import Profile
from tests.attacks.ciphers.rogue import CipherRogue
from tests.attacks.rounds.script import NOTHING, OPEN, Lift
from tests.clear_cipher import clear
from tests.federation import Bench, Setting

__all__ = ["FIVE", "NOTHING", "OPEN", "SCRIPTS", "Run", "Script", "failure", "off", "run", "script"]

WEIGHTS = 3 * 4096  # three chunks, where a slot holds one weight
FIVE = Setting(profile=Profile.ONE_TRIP, weights=WEIGHTS)
SIX = Setting(members=6, profile=Profile.ONE_TRIP, weights=WEIGHTS, colluders=2, strategy=Strategy.VOTES)
TWO_GROUPS = Setting(profile=Profile.ONE_TRIP, weights=WEIGHTS, layers=2)
TWICE = Setting(profile=Profile.ONE_TRIP, weights=WEIGHTS, rounds=2)
Act = Callable[[CipherRogue], None]


@dataclass(frozen=True)
class Script:
    """One attack.

    stop: number of the check that ends it, class of the error where that has no number, `NOTHING` or `OPEN`; lifts:
    what has to be taken out for it to succeed, none where nothing would come of it.
    """

    name: str
    act: Act
    stop: str
    setting: Setting
    lifts: tuple[Lift, ...]


SCRIPTS: dict[str, Script] = {}


def script(stop: str, setting: Setting = FIVE, lifts: Sequence[Lift] = ()) -> Callable[[Act], Act]:
    """Register an attack under the name of its function."""

    def register(act: Act) -> Act:
        assert act.__name__ not in SCRIPTS
        SCRIPTS[act.__name__] = Script(act.__name__, act, stop, setting, tuple(lifts))
        return act

    return register


def off(name: str) -> Lift:
    """Without something that only raises: MODULE.FUNCTION below the package."""
    return lambda: mock.patch(f"fedspallm_secure.{name}", lambda *_, **__: None)


@contextmanager
def no_look_at_chunks() -> Iterator[None]:
    """A key holder that decrypts whatever it is shown (K8)."""
    with ExitStack() as stack:
        stack.enter_context(off("protocol.rounds.key_holder.KeyHolder.check_opened")())
        stack.enter_context(off("app.rounds.key_holder_party.check_sums")())
        yield


def no_keystreams() -> AbstractContextManager[Any]:
    """Members that add nothing to their slots (SPEC section 24.3)."""
    nothing = mock.Mock(side_effect=lambda key, chunk, slots, modulus: np.zeros(slots, np.int64))
    return mock.patch("fedspallm_secure.app.rounds.ciphers.slot_keystream", nothing)


@dataclass(frozen=True)
class Run:
    """What came of a script.  leaks: what came out although it must not, in words."""

    script: Script
    rogue: CipherRogue
    leaks: list[str]

    @property
    def stopped(self) -> str:
        """Where."""
        refusals = self.rogue.refusals()
        return refusals[0].place if refusals else NOTHING


def run(found: Script, seed: int = 0, lifted: bool = False, real: bool = False) -> Run:
    """Play an attack.  seed: draws puppets, victim and vectors; lifted: without the checks; real: with TenSEAL."""
    draws = random.Random(f"{seed} {found.name}")
    with ExitStack() as stack:
        stack.enter_context(_cipher(real))
        for lift in found.lifts if lifted else ():
            stack.enter_context(lift())
        bench = Bench(found.setting, seed)
        rogue = CipherRogue(bench, draws.sample(list(bench.names), bench.terms.colluders), draws)
        found.act(rogue)
        return Run(found, rogue, leaks(rogue))


def _cipher(real: bool) -> AbstractContextManager[Any]:
    return nullcontext() if real else clear()


def failure(found: Run) -> str:
    """What is wrong with how an attack ended; empty if nothing is."""
    if found.leaks:
        return f"{found.script.name}: {'; '.join(found.leaks)}"
    if found.stopped != found.script.stop:
        return f"{found.script.name} is stopped at {found.stopped}, not at {found.script.stop}"
    return ""


def leaks(rogue: CipherRogue) -> list[str]:
    """What came out that is no sum over enough members, or more than one of them over the same vectors."""
    found: list[str] = []
    sums: dict[tuple[int, str], set[tuple[str, ...]]] = {}
    for (plan_hash, gid), streams in rogue.decrypted.items():
        group = rogue.group(rogue.plans[plan_hash], gid)
        for one in streams:
            members = _summed(rogue, group, one)
            if len(members) < group.survivors:
                found.append(f"group {gid} gives {', '.join(members) or 'what is no sum of members'}")
            sums.setdefault((gid, group.matrices[0].name), set()).add(members)
    found += [
        f"group {gid} gives {len(many)} sums over the same vectors" for (gid, _), many in sums.items() if len(many) > 1
    ]
    return found


def _summed(rogue: CipherRogue, group: GroupPlan, found: Streams) -> tuple[str, ...]:
    """Whose vectors add up to this; nobody's where none do."""
    for size in range(len(group.cohort), 0, -1):
        for members in combinations(group.cohort, size):
            if rogue.bench.sum_over(group, members).tile_hashes == found.tile_hashes:
                return members
    return ()
