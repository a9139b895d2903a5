"""Making the plan of a round (SPEC section 16.2)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fedspallm_secure import SOFTWARE
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.errors import DisclosureRefused, PlanRefused
from fedspallm_secure.he.parameters import Parameters, choose
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.plan import RoundPlan
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.openings import PrekeyUse
from fedspallm_secure.protocol.rounds.plans import Deadlines, KeyUse, Plan, Sampling
from fedspallm_secure.pruning.patterns import spell_target
from fedspallm_secure.pruning.strategies import Group, Strategy
from fedspallm_secure.secagg.disclosure import Ledger, Release
from fedspallm_secure.secagg.fields import CountField, SumWord
from fedspallm_secure.secagg.graphs import group_thresholds
from fedspallm_secure.secagg.thresholds import Profile

DAY = 86_400  # seconds


@dataclass(frozen=True, slots=True)
class Terms:
    """What a federation agreed on for all its rounds.

    colluders: c; sum_bits: 32 or 16; counts_to: who is told the counts; cipher: what vectors are encrypted with under
    the profile one-trip; sample: thousandths of a sum that the key holder adds up again.
    """

    profile: Profile
    colluders: int
    strategy: Strategy
    pruner: str
    compare: Group = Group.MATRIX
    sum_bits: int = 32
    counts_to: frozenset[Role] = frozenset({Role.SERVER})
    cipher: Parameters | None = None
    sample: int = 10

    def sum_word(self, members: int) -> SumWord | None:
        """How kept sums of so many members are written; None under `votes`.  Raises CapacityExceeded."""
        if self.strategy is Strategy.VOTES:
            return None
        if self.cipher is None:
            return SumWord.default(self.sum_bits, members)
        return replace(SumWord.default(self.sum_bits, self.cipher.members), members=members)


def cipher_for(members: int, strategy: Strategy, sum_bits: int) -> Parameters:
    """What vectors of up to so many members are encrypted with.  Raises CapacityExceeded."""
    return choose(members, 0 if strategy is Strategy.VOTES else SumWord.default(sum_bits, members).bound)


@dataclass(frozen=True, slots=True)
class LayerBase:
    """One decoder layer before a round.  base: digest of its weights, hex; matrices: in the order of the vector."""

    base: str
    matrices: tuple[MatrixShape, ...]


def make_plan(
    number: int,
    drawn: RoundPlan,
    sampling: Sampling,
    seed: bytes,
    layers: Mapping[int, LayerBase],
    terms: Terms,
    prekeys: Sequence[PrekeyUse],
    trust: Trust,
    previous: str | None,
    now: int,
    cipher_key: CipherKey | None = None,
) -> Plan:
    """The plan of round `number` for the cohorts that were drawn.

    layers: of the drawn round; prekeys: of everybody in a cohort, in any order; previous: digest of the last result;
    cipher_key: with the parameters of `terms`, under the profile one-trip.
    Raises PlanRefused where a cohort cannot be protected, CapacityExceeded where its sums could overflow.
    """
    groups = tuple(make_group(gid, tuple(cohort), layers[gid], terms) for gid, cohort in sorted(drawn.cohorts.items()))
    if not groups:
        raise PlanRefused("a round without layers aggregates nothing")
    taking_part = set().union(*(group.cohort for group in groups))
    return Plan(
        federation=trust.roster.federation,
        round=number,
        nonce=random_bytes(32).hex(),
        roster=trust.roster.hash,
        crl=trust.crl.number,
        software=SOFTWARE,
        profile=terms.profile,
        colluders=terms.colluders,
        strategy=terms.strategy,
        pruner=terms.pruner,
        target=spell_target(drawn.target),
        compare=terms.compare,
        previous=NONE if previous is None else previous,
        seed=seed.hex(),
        sampling=sampling,
        groups=groups,
        prekeys=tuple(sorted((use for use in prekeys if use.id in taking_part), key=lambda use: use.id)),
        deadlines=Deadlines(now + 7 * DAY, now + 14 * DAY, now + 21 * DAY, now + 28 * DAY),
        counts_to=tuple(sorted(terms.counts_to, key=lambda role: role.value)),
        key_holder=None if cipher_key is None else KeyUse(cipher_key.party.id, cipher_key.hash, terms.sample),
    )


def check_cohorts(sizes: Iterable[int], terms: Terms) -> None:
    """Raise PlanRefused or CapacityExceeded where no plan could protect a cohort of one of these sizes."""
    for size in sorted(sizes):
        group_thresholds(size, terms.colluders, terms.profile)
        terms.sum_word(size)


def check_disclosures(rounds: Sequence[Mapping[int, Collection[str]]], silent: Collection[str], terms: Terms) -> None:
    """Raise DisclosureRefused where members' ledgers would refuse one of several rounds (SPEC section 15).

    rounds: layer -> ids of its cohort, for each round in turn; silent: who never contributes.  What it cannot foresee
    is a base that comes a second time.
    """
    ledger, split = Ledger(), terms.profile is Profile.TWO_TRIP
    for number, cohorts in enumerate(rounds, start=1):
        base, releases = f"{number:064x}", []
        for layer, cohort in cohorts.items():
            matrix, survivors = f"layer {layer}", frozenset(cohort).difference(silent)
            if len(survivors) < group_thresholds(len(cohort), terms.colluders, terms.profile).survivors:
                continue  # this group gives no sum
            try:
                for members in (cohort, survivors):
                    ledger.check(matrix, base, members, terms.colluders, epochs=len(rounds), split=split)
            except DisclosureRefused as error:
                raise DisclosureRefused(f"round {number}, {error}") from None
            releases.append(Release(matrix, base, number, survivors, split))
        ledger = ledger.with_release(*releases)


def make_group(gid: int, cohort: tuple[str, ...], layer: LayerBase, terms: Terms) -> GroupPlan:
    """The group of one decoder layer.  cohort: sorted.  Raises PlanRefused or CapacityExceeded."""
    size = len(cohort)
    found = group_thresholds(size, terms.colluders, terms.profile)
    return GroupPlan(
        gid=gid,
        base=layer.base,
        matrices=layer.matrices,
        cohort=cohort,
        shares=found.shares,
        survivors=found.survivors,
        degree=0 if found.holders is None else found.holders - 1,
        counts=CountField.for_cohort(size),
        sums=terms.sum_word(size),
        cipher=terms.cipher,
    )
