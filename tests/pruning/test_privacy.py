"""Clipping, sensitivity, noise: what one record can do is bounded, and an attack finds no more than was claimed."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fedspallm_secure.pruning import privacy
from fedspallm_secure.pruning.noise import MOST_STEPS, SIGMA, clip_steps
from fedspallm_secure.pruning.patterns import Unstructured, parse_sparsity
from fedspallm_secure.pruning.privacy import (
    RecordNorms,
    RecordSum,
    clip_records,
    input_norms,
    record_weight,
)
from fedspallm_secure.pruning.pruners import LocalSpec, Matrix, Pruner, prune_together

FEATURES = 7
STEPS = st.sampled_from([1, 2, 3, 1000, SIGMA, 1_521_206, MOST_STEPS])
LENGTHS = st.floats(0, 1e30) | st.sampled_from([0.0, 1.0, 1 / math.sqrt(FEATURES), 5e-324, 1e308, math.inf, math.nan])


def records(most: int = 5) -> st.SearchStrategy[np.ndarray]:
    return arrays.arrays(np.float64, st.tuples(st.integers(1, most), st.just(FEATURES)), elements=LENGTHS)


def squared(counted: np.ndarray) -> list[int]:
    """Exact squared lengths, by the integers of Python."""
    return [sum(int(value) ** 2 for value in row) for row in counted]


@given(records(), STEPS)
def test_no_record_is_longer_than_the_clip(vectors, steps):
    counted, cut = clip_records(vectors, steps)
    assert (counted >= 0).all()
    assert max(squared(counted)) <= steps**2
    with np.errstate(over="ignore", invalid="ignore"):
        for row, was_cut in zip(vectors, cut, strict=True):
            length = math.sqrt((row**2).sum())
            assert was_cut == (not length <= 1)


@given(records(), STEPS)
def test_a_record_is_clipped_by_itself(vectors, steps):
    counted, cut = clip_records(vectors, steps)
    for place in range(len(vectors)):
        alone, alone_cut = clip_records(vectors[place : place + 1], steps)
        assert np.array_equal(alone[0], counted[place]) and alone_cut[0] == cut[place]


def test_clipping_keeps_the_direction_and_leaves_short_records_alone():
    short, long = np.array([[0.3, 0.4, 0.0]]), np.array([[3.0, 4.0, 0.0]])
    steps = 1_000_000
    assert np.abs(clip_records(short, steps)[0] - [[300_000, 400_000, 0]]).max() <= 1
    counted, cut = clip_records(long, steps)
    assert np.abs(counted - [[600_000, 800_000, 0]]).max() <= 1 and cut.tolist() == [True]


def test_a_record_that_is_not_finite_counts_as_nothing():
    vectors = np.array([[np.nan, 1.0], [np.inf, 1.0], [1e300, 1e300], [0.5, 0.5]])
    counted, cut = clip_records(vectors, 100)
    assert counted[:3].tolist() == [[0, 0]] * 3 and counted[3].all()
    assert cut.tolist() == [True, True, True, False]


def gap(steps: int, some: np.ndarray, one: np.ndarray) -> int:
    """Squared distance, in steps, of the sums with and without one record."""
    without, with_one = RecordSum.empty(FEATURES, steps), RecordSum.empty(FEATURES, steps)
    without.add(some)
    with_one.add(np.concatenate([some, one[:1]]))
    return squared((with_one.total - without.total)[None])[0]


@given(records(), records(1), STEPS)
def test_sums_that_differ_in_one_record_differ_by_at_most_the_clip(some, one, steps):
    assert gap(steps, some, one) <= steps**2


def test_without_clipping_they_differ_by_more(monkeypatch):
    """The corrupted twin: the test above sees what it is there to see."""
    monkeypatch.setattr(
        privacy,
        "clip_records",
        lambda vectors, steps: (np.floor(vectors * steps).astype(np.int64), np.zeros(len(vectors), np.bool_)),
    )
    one = np.full((1, FEATURES), 3.0)
    assert gap(1000, one, one) > 1000**2


def test_a_sum_does_not_depend_on_how_records_were_grouped():
    vectors = np.abs(np.random.default_rng(0).normal(size=(20, FEATURES)))
    whole, parts = RecordSum.empty(FEATURES, SIGMA), RecordSum.empty(FEATURES, SIGMA)
    whole.add(vectors)
    for part in np.split(vectors, [1, 8, 9]):
        parts.add(part)
    assert np.array_equal(whole.total, parts.total)
    assert (whole.records, whole.clipped) == (parts.records, parts.clipped) == (20, 20)


@pytest.mark.parametrize("multiplier", [2.0**-10, 0.1, 0.6893, 1.0, 2.38, 41.4, 1024.0])
def test_the_noise_is_at_least_what_was_asked_for(multiplier):
    steps = clip_steps(multiplier)
    assert multiplier <= SIGMA / steps <= multiplier * (1 + 2 / steps)
    assert 1024 <= steps <= MOST_STEPS


@pytest.mark.parametrize("multiplier", [0.0, 2.0**-11, 1025.0, math.nan, math.inf])
def test_noise_that_the_grid_does_not_hold_is_refused(multiplier):
    with pytest.raises(ValueError, match="outside"):
        clip_steps(multiplier)


def test_each_record_is_measured_alone():
    norms = RecordNorms(torch.zeros(3))
    for seed in range(2):
        norms.update(torch.full((4, 3), float(seed + 1)))
    assert torch.equal(torch.stack(norms.rows), torch.tensor([[4.0] * 3, [16.0] * 3]))
    assert norms.tokens == 8


def test_estimates_are_positive_and_go_from_the_unit_to_the_sums():
    unit = np.array([1.0, 2.0, 4.0, 8.0])
    nothing = np.array([SIGMA, -SIGMA, SIGMA // 2, -SIGMA // 3])
    assert record_weight(nothing) == 0
    told = input_norms(nothing, unit, 10).sum_squares
    assert torch.allclose(told / told[0], torch.tensor([1.0, 2.0, 4.0, 8.0]))
    clear = np.array([1, 2, 3, -1]) * 1000 * SIGMA
    assert record_weight(clear) > 0.99999
    norms = input_norms(clear, unit, 10)
    assert torch.allclose(norms.sum_squares[:3] / norms.sum_squares[0], torch.tensor([1.0, 4.0, 12.0]), rtol=1e-4)
    assert 0 < norms.sum_squares[3] < norms.sum_squares[0] / 10
    negative = input_norms(-clear, unit, 10).sum_squares  # a mean below zero says nothing about ratios
    assert torch.equal(negative, torch.from_numpy(unit).float())
    assert record_weight(np.zeros(4, np.int64)) == 0


def test_wanda_prunes_by_them():
    norms = input_norms(np.array([1, 3, 2, 4]) * 10**4 * SIGMA, np.ones(4), 10)
    spec = LocalSpec(Pruner.WANDA, Unstructured(parse_sparsity("0.5")))
    pruned = prune_together([Matrix("m", torch.ones(2, 4))], norms, spec)[0]
    assert pruned.keep.tolist() == [[False, True, False, True]] * 2


# --- An attack: whoever knows all records but one guesses whether that one is there -----------------------------------

TRIALS, DELTA, CONFIDENCE = 20_000, 1e-5, 1e-6


def upper(rate: float) -> float:
    """What a rate of `TRIALS` may truly be at most, but for a chance of `CONFIDENCE` (Chernoff, by bisection)."""
    low, high = rate, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        there = rate * math.log(rate / middle) if rate else 0.0
        rest = (1 - rate) * math.log((1 - rate) / (1 - middle)) if rate < 1 and middle < 1 else 0.0
        low, high = (middle, high) if there + rest < math.log(1 / CONFIDENCE) / TRIALS else (low, middle)
    return high


def attack(steps: int) -> float:
    """A lower bound on epsilon from what the real code releases, by the best test there is, the likelihood ratio.

    The record to be found has the full length, in one feature; each trial is a feature of its own.
    """
    one = np.zeros(TRIALS, np.int64) + clip_records(np.array([[5.0]]), steps)[0][0, 0]
    absent = RecordSum(np.zeros(TRIALS, np.int64), steps).noised() / SIGMA
    present = RecordSum(one, steps).noised() / SIGMA
    best = 0.0
    for threshold in np.linspace(-1, 4, 41) + steps / SIGMA / 2:  # the ratio grows with the value
        false_positive, false_negative = upper((absent > threshold).mean()), upper((present <= threshold).mean())
        if 1 - DELTA - false_negative > 0:
            best = max(best, math.log((1 - DELTA - false_negative) / false_positive))
    return best


@pytest.fixture
def fixed_noise(monkeypatch):
    """The same random bytes in every run."""
    import hashlib

    from fedspallm_secure.pruning import discrete_gaussian

    blocks = itertools.count()
    monkeypatch.setattr(
        discrete_gaussian, "random_bytes", lambda size: hashlib.shake_256(b"%d" % next(blocks)).digest(size)
    )


@pytest.mark.parametrize(("epsilon", "multiplier"), [(1.0, 4.045), (4.0, 1.163), (8.0, 0.6377)])
def test_an_attack_finds_no_more_than_was_claimed(fixed_noise, epsilon, multiplier):
    assert 0.05 * epsilon < attack(clip_steps(multiplier)) < epsilon


def test_the_attack_finds_noise_that_is_missing(fixed_noise, monkeypatch):
    """The corrupted twins: too little noise for (1, 1e-5), then none at all."""
    assert attack(clip_steps(0.5)) > 1.0
    monkeypatch.setattr(privacy, "discrete_gaussian", lambda count, bits: np.zeros(count, np.int64))
    assert attack(clip_steps(4.045)) > 6.0
