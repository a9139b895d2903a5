"""What the operator wants of all rounds, and the next one as it is drawn from that."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fedspallm_secure.app.rounds.planning import LayerBase, Terms, make_group, make_plan
from fedspallm_secure.app.stations.candidates import rounds_drawn
from fedspallm_secure.errors import PlanRefused, UsageError
from fedspallm_secure.protocol.plan import RoundPlan
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.openings import PrekeyUse
from fedspallm_secure.protocol.rounds.plans import Deadlines, Plan, Sampling

_OFFERS: Final = "members have to offer more layers, or [rounds] in federation.toml has to ask for less"


@dataclass(frozen=True, slots=True)
class Durations:
    """How long each stage may take, seconds."""

    contribution: int
    endorsement: int
    unmask: int
    abort: int

    def from_now(self, now: int) -> Deadlines:
        """The deadlines of a round that opens now."""
        first = now + self.contribution
        second = first + self.endorsement
        third = second + self.unmask
        return Deadlines(first, second, third, third + self.abort)


@dataclass(frozen=True, slots=True)
class Agenda:
    """What the operator wants of all rounds.

    members: ids of those awaited, empty for all members of the roster; schedule: targets as a plan spells them; seed:
    32 bytes; open_after: seconds to wait for more offers than are needed; patience: seconds to wait for the rest of a
    stage once enough have answered; attempts: how often a round is tried to which too few have contributed for the
    others to decline it; witnesses: ids of those who endorse survivor lists and cosign the log, sorted; dishonest: how
    many of them may lie; key_holder: id of who decrypts the sums, empty where they are not encrypted.
    """

    members: tuple[str, ...]
    schedule: tuple[str, ...]
    min_cohort: int
    spread: bool
    terms: Terms
    seed: bytes
    durations: Durations
    open_after: int = 0
    patience: int = 60
    attempts: int = 2
    witnesses: tuple[str, ...] = ()
    dishonest: int = 0
    key_holder: str = ""

    def encrypted(self, key: CipherKey) -> "Agenda":
        """The same for a round whose vectors are encrypted with this key."""
        return replace(self, terms=replace(self.terms, cipher=key.parameters))


@dataclass(frozen=True, slots=True)
class Draft:
    """A round that was drawn, and has neither number nor prekeys yet.  groups: in the order of their layers."""

    sampling: Sampling
    drawn: RoundPlan
    bases: Mapping[int, LayerBase]
    groups: tuple[GroupPlan, ...]


def draft_of(
    agenda: Agenda,
    number: int,
    layers: int,
    budgets: Mapping[str, int],
    bases: Callable[[Collection[int]], Mapping[int, LayerBase]],
) -> Draft | None:
    """The round that comes next; None when all are done.

    number: of the round among those with a result, from 1; layers: of the model; budgets: id -> layers that it prunes;
    bases: gives the layers as the round starts from them.  Raises PlanRefused where the budgets allow no such round.
    """
    everybody = tuple(sorted(budgets.items()))
    sampling = Sampling(number, layers, agenda.schedule, agenda.min_cohort, agenda.spread, everybody)
    try:
        if number > rounds_drawn(sampling):
            return None
        drawn = sampling.draw(agenda.seed)
        found, cohorts = bases(drawn.layers), sorted(drawn.cohorts.items())
        groups = tuple(make_group(gid, tuple(cohort), found[gid], agenda.terms) for gid, cohort in cohorts)
    except (PlanRefused, UsageError) as error:
        offered = ", ".join(f"{id} {budget}" for id, budget in everybody)
        raise PlanRefused(f"{error}; of {layers} layers are offered: {offered}", hint=_OFFERS) from None
    return Draft(sampling, drawn, found, groups)


def plan_of(
    agenda: Agenda,
    draft: Draft,
    number: int,
    prekeys: Sequence[PrekeyUse],
    trust: Trust,
    previous: str | None,
    now: int,
    cipher_key: CipherKey | None = None,
) -> Plan:
    """The plan of round `number` from its draft.  Arguments and errors: as of `make_plan`."""
    bases, terms = draft.bases, agenda.terms
    plan = make_plan(
        number, draft.drawn, draft.sampling, agenda.seed, bases, terms, prekeys, trust, previous, now, cipher_key
    )
    return replace(plan, deadlines=agenda.durations.from_now(now))
