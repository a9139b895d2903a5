"""Widths on the wire: the smallest field that holds the cohort, never one too small."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.errors import UsageError
from fedspallm_secure.protocol.wire import contribution_bytes, count_bits
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.fields import CountField, SumWord


@pytest.mark.parametrize(
    ("cohort", "bits"),
    [(1, 4), (2, 4), (3, 4), (15, 4), (16, 8), (255, 8), (256, 16), (1000, 16), (65_535, 16)],
)
def test_the_smallest_field_that_holds_the_whole_cohort(cohort, bits):
    assert count_bits(cohort) == bits


def test_a_cohort_too_large_for_any_field_is_refused_with_its_size():
    with pytest.raises(UsageError, match="65536 members"):
        count_bits(65_536)
    with pytest.raises(UsageError, match="65536 members"):
        contribution_bytes(1, 65_536, Strategy.VOTES)


@pytest.mark.parametrize("cohort", [0, -1])
def test_a_cohort_of_nobody_is_refused(cohort):
    with pytest.raises(UsageError, match=f"{cohort} members"):
        count_bits(cohort)
    with pytest.raises(UsageError, match=f"{cohort} members"):
        contribution_bytes(1, cohort, Strategy.VOTES)


@given(st.integers(1, 65_535))
def test_the_sum_of_all_votes_never_overflows(cohort):
    bits = count_bits(cohort)
    assert cohort <= 2**bits - 1
    assert bits == 4 or cohort > 2 ** (bits // 2) - 1


@pytest.mark.parametrize(
    ("weights", "cohort", "strategy", "size"),
    [
        (0, 3, Strategy.VOTES, 0),
        (1, 3, Strategy.VOTES, 1),
        (2, 3, Strategy.VOTES, 1),
        (3, 3, Strategy.VOTES, 2),
        (3, 16, Strategy.VOTES, 3),
        (3, 256, Strategy.VOTES, 6),
        (1, 3, Strategy.FEDSPALLM, 5),
        (2, 3, Strategy.FEDSPALLM, 9),
        (1000, 200, Strategy.FEDSPALLM, 5000),
    ],
)
def test_known_sizes(weights, cohort, strategy, size):
    assert contribution_bytes(weights, cohort, strategy) == size


@pytest.mark.parametrize(
    ("weights", "cohort", "strategy", "size"),
    [
        (3, 3, Strategy.VOTES, 2),
        (1, 3, Strategy.FEDSPALLM, 3),
        (2, 3, Strategy.FEDSPALLM, 5),
        (1000, 200, Strategy.FEDSPALLM, 3000),
        (10, 16_383, Strategy.FEDSPALLM, 40),
    ],
)
def test_known_sizes_with_sums_of_16_bits(weights, cohort, strategy, size):
    assert contribution_bytes(weights, cohort, strategy, sum_bits=16) == size


def test_sums_that_no_word_holds_are_refused():
    with pytest.raises(UsageError, match="binary places"):
        contribution_bytes(10, 16_384, Strategy.FEDSPALLM, sum_bits=16)
    with pytest.raises(UsageError, match="not 24"):
        contribution_bytes(10, 3, Strategy.FEDSPALLM, sum_bits=24)
    assert contribution_bytes(10, 16_384, Strategy.VOTES, sum_bits=16) == 20, "votes have no sums to hold"


@given(st.integers(0, 10**6), st.integers(1, 16_383), st.sampled_from([16, 32]))
def test_sizes_are_those_of_the_two_streams(weights, cohort, bits):
    counts, sums = CountField.for_cohort(cohort).size(weights), SumWord.default(bits, cohort).size(weights)
    assert contribution_bytes(weights, cohort, Strategy.VOTES, bits) == counts
    assert contribution_bytes(weights, cohort, Strategy.FEDSPALLM, bits) == counts + sums


@given(st.integers(0, 10**11), st.integers(1, 65_535))
def test_sizes_are_whole_bytes_rounded_up(weights, cohort):
    votes = contribution_bytes(weights, cohort, Strategy.VOTES)
    assert 8 * votes - 8 < weights * count_bits(cohort) <= 8 * votes
    assert contribution_bytes(weights, cohort, Strategy.FEDSPALLM) - votes == 4 * weights


def test_votes_cost_what_the_specification_says_at_least():
    """ceil(log2(n + 1)) bits are the floor; fields of 4, 8 and 16 bits stay within twice of it from n = 3 on."""
    for cohort in (3, 15, 16, 255, 256, 65_535):
        floor = math.ceil(math.log2(cohort + 1))
        assert floor <= count_bits(cohort) <= 2 * floor
