"""How attacks of a malicious server are written, run and judged.

A script plays the whole attack and takes no notice of refusals.  So with the checks in its way taken out (`lifts`) the
same script has to succeed, which shows that it was those checks that stopped it.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any
from unittest import mock

from fedspallm_secure.app.rounds.vault import word_sizes
from fedspallm_secure.protocol.rounds import answering
from fedspallm_secure.protocol.rounds.member import Member
from fedspallm_secure.protocol.rounds.member_state import State
from fedspallm_secure.protocol.rounds.witness import Witness
from fedspallm_secure.secagg import thresholds as rules
from fedspallm_secure.secagg.thresholds import Profile, Thresholds
from tests.attacks.rounds.rogue import Rogue
from tests.attacks.rounds.solver import Isolation, Solver, combined
from tests.federation import NAMES, Bench, Refusal, Setting

NOTHING = "nothing opens"  # nobody has to refuse anything: what the server gets is of no use to it
OPEN = "open"  # it succeeds, and docs/THREAT_MODEL.md says so
TWO, THREE, WITNESSED = Profile.TWO_TRIP, Profile.THREE_TRIP, Profile.WITNESSED
FIVE = Setting()
FIVE_TWO = Setting(profile=TWO)
FIVE_WITNESSED = Setting(profile=WITNESSED, witnesses=1)
SEVEN = Setting(members=7)
SEVEN_TWO = Setting(members=7, profile=TWO)
SEVEN_WITNESSED = Setting(members=7, profile=WITNESSED, witnesses=1)

Act = Callable[[Rogue], None]
Lift = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Script:
    """One attack.

    stop: number of the check that ends it, class of the error where that has no number, `NOTHING` or `OPEN`; lifts:
    what has to be taken out for it to succeed; none where it would not, or not in a way that a solver sees.
    """

    name: str
    family: str
    act: Act
    stop: str
    setting: Setting
    lifts: tuple[Lift, ...]


SCRIPTS: dict[str, Script] = {}


def script(stop: str, setting: Setting = FIVE, lifts: Sequence[Lift] = ()) -> Callable[[Act], Act]:
    """Register an attack under FAMILY.NAME: of its module and its function."""

    def register(act: Act) -> Act:
        family = act.__module__.rpartition(".")[2]
        name = f"{family}.{act.__name__}"
        assert name not in SCRIPTS
        SCRIPTS[name] = Script(name, family, act, stop, setting, tuple(lifts))
        return act

    return register


@dataclass(frozen=True)
class Run:
    """What came of a script.  refusals: by honest parties, in order; isolations: what opened although it must not."""

    script: Script
    rogue: Rogue
    refusals: list[Refusal]
    solver: Solver
    isolations: list[Isolation]

    @property
    def stopped(self) -> str:
        """Where."""
        return self.refusals[0].place if self.refusals else NOTHING

    @property
    def proved(self) -> bool:
        """Whether what is said to be isolated is what its members really brought."""
        return all(self._is_true(isolation) for isolation in self.isolations)

    def _is_true(self, isolation: Isolation) -> bool:
        bench, truth = self.rogue.bench, []
        for masked, factor in isolation.factors:
            group = masked.links.group
            parts = zip(bench.vector(masked.member, group).parts, word_sizes(group), strict=True)
            truth.append(([part.view(f"<u{size}") for part, size in parts], factor))
        pairs = zip(combined(truth), self.solver.compute(isolation), strict=True)
        return all((mine == theirs).all() for mine, theirs in pairs)


def run(found: Script, seed: int = 0) -> Run:
    """Play an attack.  seed: draws who the puppets and the victim are, and all vectors."""
    draws = random.Random(f"{seed} {found.name}")
    bench = Bench(found.setting, seed)
    puppets = draws.sample(NAMES[: found.setting.members], bench.terms.colluders)
    rogue = Rogue(bench, puppets, draws)
    found.act(rogue)
    solver = Solver(rogue.knowledge)
    return Run(found, rogue, rogue.refusals(), solver, solver.isolations())


def run_lifted(found: Script, seed: int = 0) -> Run:
    """Play an attack without the checks that stop it."""
    with ExitStack() as stack:
        for lift in found.lifts:
            stack.enter_context(lift())
        return run(found, seed)


# --- checks that are taken out ----------------------------------------------------------------------------------------

_ROUNDS = "fedspallm_secure.protocol.rounds"


def off(name: str) -> Lift:
    """Without a check that only raises: MODULE.FUNCTION below `protocol.rounds`.  Raises at once if there is none."""
    resolve_name(f"{_ROUNDS}.{name}")
    return lambda: mock.patch(f"{_ROUNDS}.{name}", lambda *_, **__: None)


def forgetting_lists() -> AbstractContextManager[Any]:
    """Members who endorse every list that they are shown (E3)."""
    whole = Member.on_survivors

    def on_survivors(member: Member, *arguments: Any) -> Any:
        member.survivors = member.endorsement = None
        if member.state in (State.ENDORSED, State.ANSWERED):
            member.state = State.PLANNED
        return whole(member, *arguments)

    return mock.patch.object(Member, "on_survivors", on_survivors)


def forgetting_answers() -> AbstractContextManager[Any]:
    """Members who answer for every list that they hold (Q1)."""
    whole = Member.on_unmask_request

    def on_unmask_request(member: Member, *arguments: Any) -> Any:
        if member.answer is not None:
            member.answer = None
            member.state = State.ENDORSED if member.round.plan.profile is Profile.THREE_TRIP else State.PLANNED
        return whole(member, *arguments)

    return mock.patch.object(Member, "on_unmask_request", on_unmask_request)


def forgetting_witnesses() -> AbstractContextManager[Any]:
    """Witnesses who sign every list that they are shown (E3)."""
    whole = Witness.on_survivors

    def on_survivors(witness: Witness, *arguments: Any) -> Any:
        witness._signed.clear()
        return whole(witness, *arguments)

    return mock.patch.object(Witness, "on_survivors", on_survivors)


def any_envelope() -> AbstractContextManager[Any]:
    """Members who try to open whatever the server says is their envelope (Q7)."""
    whole = answering.open_envelope

    def open_envelope(links: Any, dealer: str, me: str, deal: Any, envelope: bytes, prekey: Any) -> Any:
        with mock.patch.object(answering, "envelope_hash", lambda _: signed_hash(links, dealer, me, deal)):
            return whole(links, dealer, me, deal, envelope, prekey)

    return mock.patch.object(answering, "open_envelope", open_envelope)


def signed_hash(links: Any, dealer: str, me: str, deal: Any) -> bytes:
    """The hash that the envelope from a dealer should have."""
    return deal.envelopes[links.neighbours(dealer).index(me)]


def classical_thresholds() -> AbstractContextManager[Any]:
    """Thresholds for one list also where nobody makes sure that there is only one (SPEC section 14)."""
    whole = rules.thresholds

    def thresholds(members: int, colluders: int, profile: Profile) -> Thresholds:
        return whole(members, colluders, Profile.THREE_TRIP)

    return mock.patch("fedspallm_secure.secagg.graphs.thresholds", thresholds)


NO_LEDGER = (off("plan_checks.check_disclosure"), off("unmask_checks.check_disclosure"))
