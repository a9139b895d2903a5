"""Shamir's scheme: any t shares open a secret, t - 1 say nothing about it, and nothing is ever filled up."""

from collections import Counter
from fractions import Fraction
from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspallm_secure.errors import BadShare
from fedspallm_secure.secagg import sharing
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.seeds import PRIME, self_commitment
from fedspallm_secure.secagg.sharing import combine, lagrange_at_zero, split

CONTEXT = GroupContext("lungs.example", 3, bytes(range(32)), 7)
elements = st.integers(0, PRIME - 1)


def interpolate(points: dict[int, int], at: int, prime: int = PRIME) -> int:
    """The twin: Lagrange's formula in exact fractions, reduced modulo the prime at the very end."""
    total = Fraction(0)
    for x, y in points.items():
        term = Fraction(y)
        for other in points:
            if other != x:
                term *= Fraction(at - other, x - other)
        total += term
    return total.numerator * pow(total.denominator, -1, prime) % prime


def evaluate(coefficients: list[int], x: int) -> int:
    """The twin: a polynomial with its lowest coefficient first, term by term."""
    return sum(coefficient * x**power for power, coefficient in enumerate(coefficients)) % PRIME


def draw_these(monkeypatch, values):
    waiting = iter(values)
    monkeypatch.setattr(sharing, "draw_element", lambda: next(waiting))
    return waiting


@st.composite
def dealt(draw, largest=12):
    """(secret, threshold, points, shares)"""
    points = draw(st.lists(st.integers(1, 300), min_size=2, max_size=largest, unique=True))
    secret, threshold = draw(elements), draw(st.integers(2, len(points)))
    return secret, threshold, points, split(secret, threshold, points)


# --- known answers ----------------------------------------------------------------------------------------------------

TEXTBOOK = {1: 1494, 2: 1942, 3: 2578, 4: 3402, 5: 4414, 6: 5614}  # 1234 + 166 x + 94 x^2, in many introductions


def test_the_textbook_example(monkeypatch):
    draw_these(monkeypatch, [94, 166])
    assert split(1234, 3, list(TEXTBOOK)) == list(TEXTBOOK.values())
    assert combine({2: 1942, 4: 3402, 5: 4414}, 3) == 1234


def test_textbook_coefficients():
    assert lagrange_at_zero((1, 2, 3)) == (3, PRIME - 3, 1)
    assert lagrange_at_zero((2, 4, 5)) == tuple(c % PRIME for c in (10 * pow(3, -1, PRIME), -5, 8 * pow(3, -1, PRIME)))


def test_fixed_shares_with_large_coefficients(monkeypatch):
    secret, drawn = PRIME - 2, [PRIME - 1, 2**255, 0, 3]
    draw_these(monkeypatch, drawn)
    points = [1, 2, 7, 200, 1000, 65_536]
    assert split(secret, 5, points) == [evaluate([secret, *reversed(drawn)], x) for x in points]


@given(dealt())
def test_shares_and_secret_as_by_hand(case):
    secret, threshold, points, shares = case
    first = dict(zip(points[:threshold], shares[:threshold], strict=True))
    assert interpolate(first, 0) == secret == combine(first, threshold)
    for x, share in zip(points, shares, strict=True):
        assert interpolate(first, x) == share, "all shares lie on one polynomial of degree t - 1"


@given(st.lists(st.integers(1, PRIME - 1), min_size=1, max_size=8, unique=True))
def test_coefficients_as_by_hand(points):
    ones = [interpolate({x: int(x == chosen) for x in points}, 0) for chosen in points]
    assert lagrange_at_zero(tuple(points)) == tuple(ones)


# --- who can open, and who cannot -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(2, 8))
def test_every_subset_of_t_opens_and_no_smaller_one(n):
    points = range(1, n + 1)
    for threshold in range(2, n + 1):
        secret = PRIME // (n + threshold)
        shares = dict(zip(points, split(secret, threshold, points), strict=True))
        for size in range(n + 1):
            for holders in combinations(points, size):
                chosen = {x: shares[x] for x in holders}
                if size >= threshold:
                    assert combine(chosen, threshold) == secret
                else:
                    with pytest.raises(BadShare, match=f"^{size} shares cannot open a secret that needs {threshold}$"):
                        combine(chosen, threshold)


@given(dealt(), st.data())
def test_exactly_t_shares_are_used(case, drawn):
    """More shares than needed do not change the result: the rest are not looked at for their value."""
    secret, threshold, points, shares = case
    held = dict(zip(points, shares, strict=True))
    for x in sorted(points)[threshold:]:
        held[x] = drawn.draw(elements)
    assert combine(held, threshold) == secret
    assert combine(dict(reversed(held.items())), threshold) == secret, "in whatever order they arrived"


@given(dealt(largest=6), elements)
def test_fewer_shares_fit_every_secret(case, candidate):
    """With one share missing there is, for any candidate, a last share that makes it the secret."""
    _, threshold, points, shares = case
    known = dict(zip(points[: threshold - 1], shares[: threshold - 1], strict=True))
    x = points[threshold - 1]
    assert combine(known | {x: interpolate({0: candidate} | known, x)}, threshold) == candidate


def test_fewer_shares_say_nothing_at_all(monkeypatch):
    """All polynomials there are, in a field of 7: whatever the secret, t - 1 shares take each value equally often."""
    monkeypatch.setattr(sharing, "PRIME", 7)
    threshold, points = 3, [1, 2, 3, 4]
    for secret in range(7):
        everything = []
        for drawn in product(range(7), repeat=threshold - 1):
            left = draw_these(monkeypatch, drawn)
            everything.append(split(secret, threshold, points))
            assert not list(left), "every coefficient is drawn"
        for pair in combinations(range(len(points)), threshold - 1):
            seen = Counter(tuple(shares[place] for place in pair) for shares in everything)
            assert seen == dict.fromkeys(product(range(7), repeat=2), 1)
        assert {interpolate(dict(zip(points[:3], shares[:3], strict=True)), 0, 7) for shares in everything} == {secret}


def test_coefficients_are_new_every_time():
    seen = {share for _ in range(50) for share in split(0, 3, [1, 2, 3])}
    assert len(seen) == 150


@given(dealt(), st.data())
def test_a_wrong_share_gives_another_secret_and_its_commitment_tells(case, drawn):
    secret, threshold, points, shares = case
    held = dict(zip(points[:threshold], shares[:threshold], strict=True))
    wrong = drawn.draw(st.sampled_from(points[:threshold]))
    held[wrong] = (held[wrong] + drawn.draw(st.integers(1, PRIME - 1))) % PRIME
    opened = combine(held, threshold)
    assert opened != secret
    assert self_commitment(CONTEXT, "north", opened) != self_commitment(CONTEXT, "north", secret)


@given(dealt())
def test_shares_under_anothers_point_do_not_open(case):
    secret, threshold, points, shares = case
    held = dict(zip(points[:threshold], shares[:threshold], strict=True))
    moved = dict(zip(points[:threshold], shares[1:threshold] + shares[:1], strict=True))
    assert combine(held, threshold) == secret != combine(moved, threshold)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [-1, PRIME, PRIME + 1, 2**256])
def test_secrets_outside_the_field_are_not_shared(secret):
    with pytest.raises(ValueError, match="a secret is an integer below p"):
        split(secret, 2, [1, 2, 3])


@pytest.mark.parametrize("secret", [0, 1, PRIME - 1])
def test_the_ends_of_the_field_are_shared(secret):
    assert combine(dict(enumerate(split(secret, 2, [1, 2, 3]), start=1)), 2) == secret


BAD_POINTS = [[], [0, 1, 2], [1, 2, 1], [-1, 1, 2], [1, 2, PRIME], [1, 2, PRIME + 1]]


@pytest.mark.parametrize("points", BAD_POINTS, ids=str)
def test_no_two_holders_share_a_point_and_none_has_zero(points):
    with pytest.raises(ValueError, match="holders need distinct points from 1 to p - 1"):
        split(5, 2, points)
    with pytest.raises(ValueError, match="holders need distinct points from 1 to p - 1"):
        lagrange_at_zero(tuple(points))


@pytest.mark.parametrize("threshold", [-1, 0, 1])
def test_thresholds_that_would_give_the_secret_to_everybody(threshold):
    with pytest.raises(ValueError, match="with a threshold below 2 every share would be the secret"):
        split(5, threshold, [1, 2, 3])
    with pytest.raises(ValueError, match="with a threshold below 2 every share would be the secret"):
        combine({1: 5, 2: 5}, threshold)


def test_a_threshold_nobody_could_reach():
    with pytest.raises(ValueError, match="3 shares could never be 4"):
        split(5, 4, [1, 2, 3])
    assert len(split(5, 3, [1, 2, 3])) == 3


@pytest.mark.parametrize("x", [-1, 0, PRIME, PRIME + 1])
def test_points_from_outside_are_checked(x):
    """A point of 0 would hand its holder the secret; one above p could stand for a point that is there already."""
    with pytest.raises(BadShare, match="its holder has no point"):
        combine({1: 5, 2: 6, x: 7}, 2)


@pytest.mark.parametrize("value", [-1, PRIME, PRIME + 5, 2**256])
@pytest.mark.parametrize("x", [1, 3])
def test_values_from_outside_are_checked(value, x):
    with pytest.raises(BadShare, match="a share is not an element of the field"):
        combine({1: 5, 2: 6, 3: 7} | {x: value}, 2)


def test_the_smallest_and_the_largest_share_count():
    assert combine({1: 0, 2: 0}, 2) == 0
    assert combine({1: 0, 2: PRIME - 1}, 2) == 1
    assert combine({1: PRIME - 1, PRIME - 1: PRIME - 1}, 2) == PRIME - 1


def test_what_is_kept_of_the_coefficients_are_points_alone():
    """Points are public.  Secrets and shares must not outlive the call in a cache."""
    lagrange_at_zero.cache_clear()
    for secret in range(10):
        assert combine(dict(enumerate(split(secret, 3, [1, 2, 3, 4]), start=1)), 3) == secret
    assert lagrange_at_zero.cache_info().currsize == 1
    assert lagrange_at_zero.cache_info().hits == 9


@settings(max_examples=5)
@given(elements)
def test_a_cohort_of_a_hundred(secret):
    points = range(1, 101)
    shares = dict(zip(points, split(secret, 67, points), strict=True))
    assert combine(shares, 67) == secret
    assert combine({x: shares[x] for x in range(34, 101)}, 67) == secret
    with pytest.raises(BadShare):
        combine({x: shares[x] for x in range(35, 101)}, 67)
