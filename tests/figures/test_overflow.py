"""The widest sums of small cohorts, a few errors; and that a server which looks at less would be seen."""

import random

import pytest

from tests.figures import overflow
from tests.figures.overflow import WIDTHS, Width, figures, honest, noticed, outside, packed, value

SMALL = WIDTHS[:4]


def test_the_widest_sums_and_a_few_errors():
    found = figures(250, 1, workers=1, widths=SMALL)
    assert found["failures"] == []
    counts = found["counts"]
    assert counts["widths"] == 4 and counts["injections"] == 1_000
    assert 0 < counts["left the range"] == counts["noticed"] < counts["injections"]


def test_widths_are_the_largest_that_there_are():
    for bits, sums, members in WIDTHS:
        width = Width(bits, sums, members)
        assert width.counts.members == width.sums.members == members
        assert members * width.sums.bound < 1 << sums - 1 or members == 1
        assert members + 1 > 2**bits - 1 or (sums == 16 and members == 16_383)


def test_a_server_that_looks_at_less_would_be_seen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(overflow, "noticed", lambda *_: 0)
    assert "an error that left the range was not noticed" in figures(100, 1, 1, SMALL[:1])["failures"]


def test_a_server_that_refuses_honest_sums_would_be_seen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(overflow, "noticed", lambda *_: 1)
    assert "honest sums refused: 100" in figures(100, 1, 1, SMALL[:1])["failures"]


def test_sums_that_overflow_would_be_seen(monkeypatch: pytest.MonkeyPatch):
    """The twin: one member sends the bound twice."""

    def doubled(member: int, weight: int, bound: int, draw: random.Random) -> int:
        return value(member, weight, bound, draw) * (2 if member == 0 and weight == 0 else 1)

    monkeypatch.setattr(overflow, "value", doubled)
    found = figures(1, 1, 1, SMALL[1:2])
    assert found["counts"]["wrong widest sums"] + found["counts"]["widest sums refused"] > 0
    assert found["failures"]


@pytest.mark.parametrize("width", [Width(*width) for width in WIDTHS], ids=str)
def test_the_edge_of_the_range(width: Width):
    """By hand: the largest sum is in range, one more is not; nor is a count above the survivors."""
    size, weights = width.sum_bits // 8, overflow.WEIGHTS
    n = width.members - 1

    def streams(count: int, total: int):
        sums = [total] + [0] * (weights - 1)
        data = b"".join(one.to_bytes(size, "little", signed=True) for one in sums)
        return packed([count] + [0] * (weights - 1), width.count_bits), bytearray(data)

    for count, total, wrong in (
        (n, n * width.sums.bound, 0),
        (n, -n * width.sums.bound, 0),
        (n - 1, (n - 1) * width.sums.bound + 1, 1),
        (n - 1, -(n - 1) * width.sums.bound - 1, 1),
        (0, 1, 1),
        (n + 1, 0, 1),
    ):
        assert outside(width, streams(count, total), n) == noticed(width, streams(count, total), n) == wrong


def test_honest_sums_hold_their_extremes():
    width = Width(*WIDTHS[0])
    drawn = [honest(width, 15, random.Random(seed)) for seed in range(50)]
    counts, sums = [c for one in drawn for c in one[0]], [s for one in drawn for s in one[1]]
    assert {0, 15} <= set(counts) and {15 * width.sums.bound, -15 * width.sums.bound} <= set(sums)
