"""Sparsity as an exact fraction: counts, spellings, refusals."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.errors import UsageError
from fedspallm_secure.pruning.patterns import NofM, Unstructured, drop_count, parse_pattern, parse_sparsity


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        ("0.7", 10, 7),
        ("0.1", 30, 3),
        ("0.55", 100, 55),  # 55.00000000000001 in doubles
        ("0.07", 100, 7),  # 7.000000000000001 in doubles
        ("1/3", 9, 3),
        ("1/3", 10, 4),
        ("0", 10, 0),
        ("0.0001", 1, 1),
        ("0.5", 11_008 * 4_096, 22_544_384),
        ("1/3", 3 * 10**15, 10**15),
    ],
)
def test_counts_are_exact(text, size, expected):
    sparsity = parse_sparsity(text)
    assert drop_count(sparsity, size) == Unstructured(sparsity).drop_count(size) == expected


def test_naive_arithmetic_would_have_been_wrong():
    """Why sparsity is not a float."""
    assert math.ceil(0.55 * 100) == 56
    assert math.ceil(0.07 * 100) == 8


@given(st.fractions(0, 1, max_denominator=10**6), st.integers(0, 10**12))
def test_counts_equal_the_ceiling_of_the_exact_product(sparsity, size):
    assert drop_count(sparsity, size) == math.ceil(sparsity * size)
    assert 0 <= drop_count(sparsity, size) <= size


@given(st.decimals(0, 1, places=6).filter(lambda value: value < 1))
def test_a_decimal_is_read_as_it_is_written(value):
    assert parse_sparsity(str(value)) == Fraction(value)


@given(st.integers(1, 999), st.integers(1, 999))
def test_a_fraction_is_read_as_it_is_written(top, bottom):
    if top < bottom:
        assert parse_sparsity(f"{top}/{bottom}") == Fraction(top, bottom)


@pytest.mark.parametrize(
    "text", ["", "half", "50%", "0,5", "nan", "inf", "1/0", "1//2", "0x1", "0.5.5", "--1", "9" * 5000]
)
def test_what_is_no_number_is_refused(text):
    with pytest.raises(UsageError):
        parse_sparsity(text)


@pytest.mark.parametrize("text", ["1", "1.0", "1.5", "-0.1", "-1/3", "50", "3/2"])
def test_sparsity_outside_zero_to_one_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="at least 0 and below 1") as caught:
        parse_sparsity(text)
    assert "0.5" in caught.value.hint


@given(st.text(max_size=12))
def test_any_text_is_a_sparsity_or_a_usage_error(text):
    try:
        value = parse_sparsity(text)
    except UsageError:
        return
    assert 0 <= value < 1


@pytest.mark.parametrize("value", [Fraction(-1, 10), Fraction(11, 10)])
def test_an_impossible_sparsity_cannot_be_constructed(value):
    with pytest.raises(UsageError):
        Unstructured(value)


def test_none_and_all_are_patterns():
    assert Unstructured(Fraction(0)).drop_count(7) == 0
    assert Unstructured(Fraction(1)).drop_count(7) == 7


@pytest.mark.parametrize(("text", "n", "m"), [("2:4", 2, 4), ("4:8", 4, 8), ("1:64", 1, 64), ("63:64", 63, 64)])
def test_n_of_m_is_read(text, n, m):
    pattern = parse_pattern(text)
    assert pattern == NofM(n, m)
    assert pattern.sparsity == Fraction(m - n, m)
    assert pattern.drop_count(64 * m) == 64 * (m - n)
    assert parse_pattern(str(pattern)) == pattern


@pytest.mark.parametrize(
    "text",
    ["", ":", "2", "2:", ":4", "2:4:8", "2/4", "a:b", "-2:4", "2:-4", " 2:4", "2:4 ", "2.0:4", "²:4", "٢:٤", "100:200"],
)
def test_other_spellings_of_n_of_m_are_refused(text):
    with pytest.raises(UsageError, match="N:M"):
        parse_pattern(text)


@pytest.mark.parametrize(("n", "m"), [(0, 4), (4, 4), (5, 4), (0, 0), (-1, 4), (2, 65)])
def test_an_impossible_n_of_m_cannot_be_constructed(n, m):
    with pytest.raises(UsageError, match="0 < N < M <= 64"):
        NofM(n, m)


@given(st.text(alphabet="0123456789:", max_size=6))
def test_any_text_is_a_pattern_or_a_usage_error(text):
    try:
        pattern = parse_pattern(text)
    except UsageError:
        return
    assert 0 < pattern.n < pattern.m <= 64


def test_patterns_read_well_in_messages():
    assert str(Unstructured(Fraction(1, 2))) == "50 %"
    assert str(NofM(2, 4)) == "2:4"
