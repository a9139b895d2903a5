"""Who prunes which layers: coverage, balance, and the unbiasedness of Theorem 4.2, with its numbers."""

import math
import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.draws import PublicDraws
from fedspallm_secure.errors import PlanRefused, UsageError
from fedspallm_secure.pruning.layer_sampling import (
    check_coverage,
    cohorts,
    deal,
    largest_subset,
    rounds_needed,
    spread,
)

SIGMA = 5.0  # a correct dealer with another seed would fail about once in a million comparisons


def draws(purpose: str = "test") -> PublicDraws:
    return PublicDraws(b"layer sampling", purpose)


@st.composite
def federations(draw: st.DrawFn, most_layers: int = 12, most_members: int = 9) -> tuple[int, dict[str, int]]:
    """Number of layers, and budgets of 1.. members between none and all of them."""
    layers = draw(st.integers(1, most_layers))
    budgets = draw(st.lists(st.integers(0, layers), min_size=1, max_size=most_members))
    return layers, {f"m{number:03d}": budget for number, budget in enumerate(budgets)}


@given(federations(), st.binary(max_size=8))
def test_every_hand_has_its_budget_and_no_layer_twice(federation, seed):
    layers, budgets = federation
    hands = deal(range(layers), budgets, PublicDraws(seed, "x"))
    assert hands.keys() == budgets.keys()
    for member, hand in hands.items():
        assert len(hand) == len(set(hand)) == budgets[member]
        assert hand == sorted(hand)
        assert set(hand) <= set(range(layers))


@given(federations(), st.binary(max_size=8))
def test_cohorts_are_balanced_and_cover_what_the_budgets_allow(federation, seed):
    layers, budgets = federation
    hands = deal(range(layers), budgets, PublicDraws(seed, "x"))
    sizes = [len(members) for members in cohorts(hands, range(layers)).values()]
    assert sum(sizes) == sum(budgets.values())
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) == sum(budgets.values()) // layers


@given(federations(), st.lists(st.integers(0, 99), min_size=12, max_size=12, unique=True))
def test_layers_keep_their_own_numbers(federation, numbers):
    """The layers of a part of the model need not count from 0: only their positions are drawn."""
    layers, budgets = federation
    chosen = sorted(numbers[:layers])
    by_position = deal(range(layers), budgets, draws())
    by_number = deal(chosen, budgets, draws())
    assert by_number == {member: [chosen[position] for position in hand] for member, hand in by_position.items()}


@given(federations())
def test_the_order_in_which_members_are_listed_does_not_matter(federation):
    layers, budgets = federation
    backwards = dict(reversed(budgets.items()))
    assert deal(range(layers), budgets, draws()) == deal(range(layers), backwards, draws())


@pytest.mark.parametrize("budget", [-1, 5])
def test_an_impossible_budget_is_refused_by_name(budget):
    with pytest.raises(UsageError, match=f"budget of b is {budget}.*0 and 4"):
        deal(range(4), {"a": 4, "b": budget}, draws())


def indicators(layers: int, budgets: dict[str, int], trials: int) -> np.ndarray:
    """(trials, members, layers): whether the member holds the layer.  One stream feeds all trials."""
    stream = draws(f"monte carlo {layers} {sorted(budgets.items())}")
    held = np.zeros((trials, len(budgets), layers), dtype=bool)
    for trial in range(trials):
        for row, hand in enumerate(deal(range(layers), budgets, stream).values()):
            held[trial, row, hand] = True
    return held


@pytest.mark.parametrize(
    ("layers", "budgets"),
    [
        (5, (3, 3, 3, 3)),  # every hand but the first and the last straddles two decks
        (4, (1, 3, 2, 4, 2)),
        (7, (7, 6, 5, 1, 2, 0)),
        (3, (2, 2, 2)),
        (6, (5, 5, 5, 5)),
    ],
)
def test_every_layer_falls_to_a_member_with_the_probability_of_its_budget(layers, budgets):
    """Theorem 4.2: P(layer l in the hand of member i) = b_i / L for every l."""
    trials = 15_000
    held = indicators(layers, {f"m{i}": budget for i, budget in enumerate(budgets)}, trials)
    share = np.array(budgets)[:, None] / layers
    error = np.sqrt(share * (1 - share) / trials)
    assert (np.abs(held.mean(axis=0) - share) <= SIGMA * error).all()


def test_every_hand_that_straddles_two_decks_is_equally_likely():
    """Not only single layers: with a deck of 4 dealt three at a time, each of the 4 hands of b comes up alike."""
    stream, trials = draws("hands"), 15_000
    seen = Counter(tuple(deal(range(4), {"a": 3, "b": 3}, stream)["b"]) for _ in range(trials))
    for hand in combinations(range(4), 3):
        assert abs(seen[hand] - trials / 4) <= SIGMA * math.sqrt(trials * 3 / 16)


def test_the_weighted_aggregate_of_a_layer_expects_full_participation():
    """Theorem 4.2: C and S with each member weighted by L / b_i have the sums over all members as expectation."""
    layers, budgets, weights, trials = 5, {"a": 3, "b": 3, "c": 1, "d": 4, "e": 2}, 6, 15_000
    generator = np.random.default_rng(0)
    keep = generator.random((len(budgets), weights)) < 0.5
    kept = np.where(keep, generator.normal(size=keep.shape), 0.0)
    held = indicators(layers, budgets, trials) * (layers / np.array(list(budgets.values())))[None, :, None]
    for contribution in (keep.astype(float), kept):
        drawn = np.einsum("tml,mw->tlw", held, contribution)
        error = drawn.std(axis=0, ddof=1) / math.sqrt(trials)
        assert (np.abs(drawn.mean(axis=0) - contribution.sum(axis=0)) <= SIGMA * error + 1e-12).all()


def test_the_plain_average_of_a_layer_expects_full_participation_when_cohorts_are_even():
    """Equal budgets that deal out whole decks: then the cohort average itself is unbiased, without weights."""
    layers, members, budget, trials = 6, 6, 3, 15_000
    held = indicators(layers, {f"m{i}": budget for i in range(members)}, trials)
    assert (held.sum(axis=1) == members * budget // layers).all()
    values = np.random.default_rng(0).normal(size=members)
    average = np.einsum("tml,m->tl", held, values) / held.sum(axis=1)
    error = average.std(axis=0, ddof=1) / math.sqrt(trials)
    assert (np.abs(average.mean(axis=0) - values.mean()) <= SIGMA * error).all()


def test_cohorts_name_members_in_order_and_show_empty_layers():
    assert cohorts({"b": [0, 2], "a": [2]}, range(4)) == {0: ["b"], 1: [], 2: ["a", "b"], 3: []}


def test_one_member_gets_everything_or_its_budget():
    assert deal(range(4), {"a": 4}, draws()) == {"a": [0, 1, 2, 3]}
    assert len(deal(range(4), {"a": 2}, draws())["a"]) == 2


def test_a_thousand_members_are_dealt_evenly():
    budgets = {f"m{number:04d}": 1 + number % 5 for number in range(1000)}
    sizes = [len(members) for members in cohorts(deal(range(24), budgets, draws()), range(24)).values()]
    assert set(sizes) == {125}
    check_coverage(24, budgets, 125)
    with pytest.raises(PlanRefused):
        check_coverage(24, budgets, 126)


@given(federations(), st.integers(1, 5))
def test_coverage_is_granted_exactly_when_every_cohort_is_full(federation, min_cohort):
    layers, budgets = federation
    hands = deal(range(layers), budgets, draws())
    full = all(len(members) >= min_cohort for members in cohorts(hands, range(layers)).values())
    try:
        check_coverage(layers, budgets, min_cohort)
    except PlanRefused as refused:
        assert not full
        assert refused.hint
    else:
        assert full


def test_too_few_members_are_refused_with_the_numbers_and_the_remedy():
    with pytest.raises(PlanRefused, match="2 members cannot form a cohort of 3") as caught:
        check_coverage(4, {"a": 4, "b": 4}, 3)
    assert "add members" in caught.value.hint


def test_too_small_budgets_are_refused_with_the_numbers_and_the_remedy():
    with pytest.raises(PlanRefused) as caught:
        check_coverage(12, {"a": 4, "b": 6, "c": 12, "d": 2}, 3)
    assert [int(number) for number in re.findall(r"\d+", str(caught.value))] == [24, 12, 3, 36]
    assert "budget of 9" in caught.value.hint
    assert "2 rounds" in caught.value.hint


@given(federations(), st.integers(1, 4))
def test_the_remedy_works(federation, min_cohort):
    """The budget and the number of rounds that the hint names do what it says."""
    layers, budgets = federation
    try:
        check_coverage(layers, budgets, min_cohort)
    except PlanRefused as refused:
        found = re.search(r"budget of (\d+), or pass --spread to take (\d+) rounds", refused.hint)
        if found is None:
            return
        check_coverage(layers, dict.fromkeys(budgets, int(found[1])), min_cohort)
        assert int(found[2]) == rounds_needed(layers, budgets, min_cohort) > 1


def test_enough_members_with_too_few_budgets_are_refused_with_the_numbers_too():
    """Three members, but only two can prune anything: no number of rounds helps, larger budgets do."""
    with pytest.raises(PlanRefused) as caught:
        check_coverage(4, {"a": 4, "b": 4, "c": 0}, 3)
    assert {"8", "12"} <= set(re.findall(r"\d+", str(caught.value)))
    assert "budget of 4" in caught.value.hint


@given(federations(), st.integers(1, 4))
def test_the_largest_subset_is_covered_and_a_larger_one_is_not(federation, min_cohort):
    layers, budgets = federation
    subset = largest_subset(layers, budgets, min_cohort)

    def covered(part: int) -> bool:
        hands = deal(range(part), {member: min(budget, part) for member, budget in budgets.items()}, draws())
        return all(len(members) >= min_cohort for members in cohorts(hands, range(part)).values())

    assert all(covered(part) for part in range(1, subset + 1))
    assert not any(covered(part) for part in range(subset + 1, layers + 1))


@given(st.integers(1, 40), st.integers(1, 40), st.binary(max_size=4))
def test_spreading_takes_every_layer_exactly_once_in_even_parts(layers, rounds, seed):
    parts = spread(range(layers), min(rounds, layers), PublicDraws(seed, "x"))
    assert sorted(layer for part in parts for layer in part) == list(range(layers))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert all(part == sorted(part) for part in parts)


def test_spreading_puts_every_layer_into_every_part_alike():
    stream, trials = draws("spread"), 3000
    seen = np.zeros((5, 2))
    for _ in range(trials):
        for number, part in enumerate(spread(range(5), 2, stream)):
            seen[part, number] += 1
    share = np.array([3, 2]) / 5
    assert (np.abs(seen / trials - share) <= SIGMA * np.sqrt(share * (1 - share) / trials)).all()


@given(federations(), st.integers(1, 4))
def test_the_rounds_needed_are_enough_for_every_part(federation, min_cohort):
    layers, budgets = federation
    try:
        rounds = rounds_needed(layers, budgets, min_cohort)
    except PlanRefused:
        assert sum(budget > 0 for budget in budgets.values()) < min_cohort
        return
    for part in spread(range(layers), rounds, draws()):
        check_coverage(len(part), {member: min(budget, len(part)) for member, budget in budgets.items()}, min_cohort)


def test_no_number_of_rounds_makes_up_for_missing_members():
    with pytest.raises(PlanRefused, match="cohort of 3"):
        rounds_needed(4, {"a": 4, "b": 4, "c": 0}, 3)
