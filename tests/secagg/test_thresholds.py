"""Thresholds: the rules of SPEC section 14, and that no strategy of a server with several lists beats their bound."""

import re
from fractions import Fraction
from math import ceil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.errors import PlanRefused
from fedspallm_secure.secagg.thresholds import (
    Profile,
    Thresholds,
    default_colluders,
    isolation_bound,
    quorum,
    table,
    thresholds,
    witness_quorum,
)
from tests.secagg import split_view

ONE_LIST = [Profile.THREE_TRIP, Profile.WITNESSED]
SIZES = [3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 50, 100]


def admissible(sizes, least_survivors=lambda t: t):
    """Every (n, c, t, n_min) with 2t > n + c."""
    return [
        (n, c, t, n_min)
        for n in sizes
        for c in range(n)
        for t in range((n + c) // 2 + 1, n + 1)
        for n_min in range(least_survivors(t), n + 1)
    ]


cohorts = st.integers(0, 60).flatmap(lambda c: st.tuples(st.integers(c + 3, 240), st.just(c)))


@pytest.mark.parametrize(
    ("members", "colluders", "shares", "survivors", "two_trip"),
    [
        (3, 0, 3, 3, 3),
        (4, 0, 3, 3, 3),
        (4, 1, 3, 4, 4),
        (5, 1, 4, 4, 4),
        (6, 3, 5, 6, 6),
        (7, 2, 5, 5, 6),
        (8, 2, 6, 6, 6),
        (10, 3, 7, 7, 8),
        (12, 3, 9, 9, 9),
        (12, 9, 11, 12, 12),
        (100, 33, 67, 67, 68),
        (200, 66, 134, 134, 134),
    ],
)
def test_known_thresholds(members, colluders, shares, survivors, two_trip):
    for profile in ONE_LIST:
        assert thresholds(members, colluders, profile) == Thresholds(members, colluders, shares, survivors)
    assert thresholds(members, colluders, Profile.TWO_TRIP) == Thresholds(members, colluders, two_trip, two_trip)


@given(cohorts)
def test_thresholds_with_one_list_follow_the_formula(cohort):
    n, c = cohort
    for profile in ONE_LIST:
        found = thresholds(n, c, profile)
        assert found.shares == max(2 * n // 3 + 1, (n + c) // 2 + 1)
        assert found.survivors == max(found.shares, c + 3)


@given(cohorts)
def test_two_trip_takes_the_smallest_number_that_isolates_three(cohort):
    n, c = cohort
    base, found = thresholds(n, c, Profile.THREE_TRIP), thresholds(n, c, Profile.TWO_TRIP)
    assert found.shares == found.survivors >= base.survivors
    assert isolation_bound(n, c, found.shares, found.survivors) >= 3
    if found.shares > base.survivors:
        assert isolation_bound(n, c, found.shares - 1, found.shares - 1) < 3


@given(cohorts, st.sampled_from(Profile))
def test_what_all_thresholds_have_in_common(cohort, profile):
    n, c = cohort
    found = thresholds(n, c, profile)
    assert n + c < 2 * found.shares or profile is Profile.ONE_TRIP  # where nothing is shared out
    assert found.shares <= found.survivors <= n
    assert found.honest == found.survivors - c >= 3
    assert found.dropouts == n - max(found.shares, found.survivors) >= 0
    if n > c + 3:
        fewer = thresholds(n - 1, c, profile)
        assert fewer.survivors <= found.survivors
        more_colluders = thresholds(n, c + 1, profile)
        assert more_colluders.shares >= found.shares
        assert more_colluders.survivors >= found.survivors
        assert more_colluders.dropouts <= found.dropouts


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize(("members", "colluders"), [(0, 0), (1, 0), (2, 0), (3, 1), (5, 3), (5, 5), (5, 90), (-3, 0)])
def test_small_cohorts_are_refused_with_numbers(profile, members, colluders):
    with pytest.raises(PlanRefused) as caught:
        thresholds(members, colluders, profile)
    assert f"cohort of {members}" in str(caught.value)
    assert f"{colluders} colluder{'s' * (colluders != 1)} a sum" in str(caught.value)
    assert f"at least {colluders + 3} members" in caught.value.hint
    assert thresholds(colluders + 3, colluders, profile).members == colluders + 3, "the remedy works"


@pytest.mark.parametrize("profile", Profile)
def test_negative_colluders_are_refused(profile):
    with pytest.raises(PlanRefused, match="-1 colluders"):
        thresholds(9, -1, profile)


def test_a_refusal_names_both_numbers_and_what_to_do():
    with pytest.raises(PlanRefused) as caught:
        thresholds(5, 3, Profile.THREE_TRIP)
    assert str(caught.value) == "a cohort of 5 is too small: with 3 colluders a sum needs 6 survivors"
    assert caught.value.hint == "make cohorts of at least 6 members, or assume fewer than 3 colluders"


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"survivors": 11}, "cohort of 10 is too small: with 3 colluders a sum needs 11 survivors"),
        ({"survivors": 5, "shares": 5}, "5 survivors with 3 colluders among them leave 2 honest members, not 3"),
        ({"shares": 0}, "0 shares cannot open a secret of 10 holders"),
        ({"shares": 9}, "9 shares cannot open a secret of 10 holders in a sum of 8 survivors"),
        ({"shares": 6}, "6 shares open a secret: half of 13 or fewer"),
        ({"shares": 3, "holders": 6}, "3 shares open a secret: half of 6 or fewer"),
        ({"shares": 7, "holders": 6}, "7 shares cannot open a secret of 6 holders"),
    ],
)
def test_thresholds_that_protect_nobody_cannot_be_made(numbers, message):
    good = {"members": 10, "colluders": 3, "shares": 7, "survivors": 8}
    assert Thresholds(**good)
    assert Thresholds(**good | {"shares": 4, "holders": 6}), "in a sparse graph half of the holders is what counts"
    with pytest.raises(PlanRefused, match=re.escape(message)) as caught:
        Thresholds(**good | numbers)
    assert re.search(r"\d", caught.value.hint)


@given(st.integers(1, 60), st.data())
def test_the_bound_is_the_formula(n, data):
    c = data.draw(st.integers(0, n - 1))
    t = data.draw(st.integers((n + c) // 2 + 1, n))
    n_min = data.draw(st.integers(1, n))
    expected = ceil((n - c) * (1 - Fraction(n - n_min, t - c)))
    assert isolation_bound(n, c, t, n_min) == max(1, expected)


@pytest.mark.parametrize("numbers", [(10, -1, 8, 8), (10, 10, 11, 10), (10, 3, 11, 10), (10, 3, 8, 11), (11, 3, 7, 9)])
def test_the_bound_is_not_given_where_its_proof_fails(numbers):
    with pytest.raises(ValueError, match="no bound"):
        isolation_bound(*numbers)


@pytest.mark.parametrize(("members", "colluders"), [(1, 0), (3, 0), (4, 1), (6, 1), (7, 2), (100, 33)])
def test_default_colluders(members, colluders):
    assert default_colluders(members) == colluders


@given(st.integers(1, 200), st.data())
def test_two_quorums_share_an_honest_witness(witnesses, data):
    dishonest = data.draw(st.integers(0, witnesses - 1))
    needed = witness_quorum(witnesses, dishonest)
    assert needed == (witnesses + dishonest) // 2 + 1 <= witnesses
    assert 2 * needed - witnesses > dishonest, "what two quorums must have in common is more than the dishonest ones"
    assert 2 * (needed - 1) - witnesses <= dishonest, "and no smaller number does it"


@pytest.mark.parametrize(("witnesses", "dishonest"), [(0, 0), (1, 1), (3, 4), (3, -1)])
def test_witnesses_that_prove_nothing_are_refused(witnesses, dishonest):
    with pytest.raises(PlanRefused, match=f"{witnesses} witnesses of which {dishonest} may be dishonest"):
        witness_quorum(witnesses, dishonest)


@given(cohorts)
def test_the_threshold_is_a_quorum_of_members(cohort):
    n, c = cohort
    assert thresholds(n, c, Profile.THREE_TRIP).shares >= quorum(n, c)


def test_the_table_of_the_security_argument_is_what_the_code_says():
    text = (Path(__file__).parents[2] / "docs/SECURITY_ARGUMENT.md").read_text()
    assert table(SIZES) in text
    assert f"table({SIZES})" in text, "the command that prints it"
    assert table(SIZES) != table(SIZES[1:])


# Split views: the bound against an exhaustive search.


@pytest.mark.parametrize("numbers", [(5, 0, 3, 3), (7, 2, 5, 5)])
def test_two_lists_isolate_two_where_three_were_promised(numbers):
    n, c, t, _ = numbers
    attack = split_view.smallest_isolated(*numbers)
    assert attack.size == 2 == isolation_bound(*numbers)
    assert frozenset({0, 1}) in split_view.opened(n, c, t, attack.views)
    assert split_view.smallest_for_one_list(*numbers) == 3


def test_no_strategy_beats_the_bound_and_some_strategy_reaches_it():
    for numbers in admissible(range(1, 7)):
        n, c, t, n_min = numbers
        attack = split_view.smallest_isolated(*numbers)
        assert attack.size == isolation_bound(*numbers), numbers
        assert min(map(len, split_view.opened(n, c, t, attack.views))) == attack.size
        for member, view in enumerate(attack.views):
            assert view is None or (member in view and len(view) >= n_min)


def test_no_strategy_beats_the_bound_where_fewer_survive_than_open_a_secret():
    for numbers in admissible(range(1, 7), lambda t: 1):
        assert split_view.smallest_isolated(*numbers).size >= isolation_bound(*numbers), numbers


@pytest.mark.slow
@pytest.mark.parametrize("numbers", admissible([7]), ids=str)
def test_no_strategy_beats_the_bound_for_seven_members(numbers):
    assert split_view.smallest_isolated(*numbers).size == isolation_bound(*numbers)


@pytest.mark.parametrize("members", [*range(3, 7), *(pytest.param(n, marks=pytest.mark.slow) for n in (7, 8))])
def test_two_trip_thresholds_never_isolate_fewer_than_three(members):
    for colluders in range(members - 2):
        found = thresholds(members, colluders, Profile.TWO_TRIP)
        size = split_view.smallest_isolated(members, colluders, found.shares, found.survivors).size
        assert size >= 3, (members, colluders)


@pytest.mark.parametrize("members", [*range(3, 7), pytest.param(7, marks=pytest.mark.slow)])
def test_one_list_for_all_never_isolates_fewer_than_its_honest_members(members):
    for colluders in range(members - 2):
        found = thresholds(members, colluders, Profile.THREE_TRIP)
        size = split_view.smallest_for_one_list(members, colluders, found.shares, found.survivors)
        assert size == found.honest >= 3, (members, colluders)


def test_without_a_majority_of_the_honest_holders_one_member_is_isolated():
    """4 members, t = 2: both kinds of a secret open, and the formula would promise 2."""
    assert split_view.smallest_isolated(4, 0, 2, 3).size == 1


def test_the_search_agrees_with_trying_every_strategy_one_by_one():
    for n, c, t, n_min in admissible(range(1, 5), lambda t: 1):
        if (n, c) == (4, 0) and n_min < 3:
            continue  # 9 lists for each of 4 members: in the slow test
        expected = split_view.smallest_by_trying_all(n, c, t, n_min)
        assert split_view.smallest_isolated(n, c, t, n_min).size == expected, (n, c, t, n_min)


@pytest.mark.slow
@pytest.mark.parametrize(
    "numbers", [(4, 0, 3, 1), (4, 0, 4, 2), (5, 1, 4, 4), (5, 1, 4, 3), (5, 2, 4, 3), (5, 0, 3, 3)]
)
def test_the_search_agrees_with_trying_every_strategy_of_larger_cohorts(numbers):
    assert split_view.smallest_isolated(*numbers).size == split_view.smallest_by_trying_all(*numbers)


def test_the_search_sees_what_a_strategy_opens():
    """Known answers of the evaluation itself, n = 4 without colluders and t = 3."""
    everybody = frozenset(range(4))
    assert split_view.opened(4, 0, 3, (everybody,) * 4) == [everybody]
    assert split_view.opened(4, 0, 3, (everybody, everybody, None, None)) == []
    one_out = frozenset({0, 1, 2})
    assert split_view.opened(4, 0, 3, (one_out, one_out, one_out, None)) == [one_out]
    with pytest.raises(ValueError, match="nothing opens"):
        split_view.smallest_isolated(4, 0, 5, 3)
