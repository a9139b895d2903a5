"""The discrete Gaussian: the distribution is the one that was meant, tails and all, and nothing else decides it."""

import hashlib
import itertools
import math

import numpy as np
import pytest

from fedspallm_secure.pruning import discrete_gaussian as sampler
from fedspallm_secure.pruning.discrete_gaussian import MOST_BITS, discrete_gaussian

DRAWS = 200_000


@pytest.fixture(autouse=True)
def fixed(monkeypatch):
    """The same random bytes in every run of these tests, so that none fails by chance."""
    blocks = itertools.count()
    monkeypatch.setattr(sampler, "random_bytes", lambda size: hashlib.shake_256(b"%d" % next(blocks)).digest(size))


def pmf(bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers within 12 sigma and their probabilities, summed the obvious way."""
    sigma = 1 << bits
    points = np.arange(-12 * sigma, 12 * sigma + 1)
    weights = np.array([math.exp(-(int(x) ** 2) / (2 * sigma**2)) for x in points])
    return points, weights / weights.sum()


def chi_square(drawn: np.ndarray, bits: int) -> float:
    """How many standard deviations Pearson's statistic lies above its mean; cells below 10 expected are merged."""
    points, probabilities = pmf(bits)
    common = probabilities * len(drawn) >= 10
    expected = [*(probabilities[common] * len(drawn)), probabilities[~common].sum() * len(drawn)]
    found = [int((drawn == point).sum()) for point in points[common]]
    found.append(len(drawn) - sum(found))
    statistic = sum((f - e) ** 2 / e for f, e in zip(found, expected, strict=True))
    return (statistic - (len(found) - 1)) / math.sqrt(2 * (len(found) - 1))


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_the_distribution_is_exact(bits):
    assert abs(chi_square(discrete_gaussian(DRAWS, bits), bits)) < 4


@pytest.mark.parametrize("wrong", ["no second rejection", "wider", "one zero in a hundred too many"])
def test_the_test_of_the_distribution_notices_others(wrong):
    if wrong == "no second rejection":
        drawn = sampler._discrete_laplace(3 * DRAWS, 2)[:DRAWS]
    elif wrong == "wider":
        drawn = np.round(np.random.default_rng(1).normal(scale=4.4, size=DRAWS)).astype(np.int64)
    else:
        drawn = discrete_gaussian(DRAWS, 2)
        drawn[:2_000] = 0
    assert chi_square(drawn, 2) > 10


@pytest.mark.parametrize("bits", [1, 5, MOST_BITS])
def test_moments_and_tails(bits):
    scaled = discrete_gaussian(DRAWS, bits) / (1 << bits)
    error = 1 / math.sqrt(DRAWS)
    assert abs(scaled.mean()) < 4 * error
    assert abs((scaled**2).mean() - 1) < 4 * math.sqrt(2) * error
    assert abs((scaled**4).mean() - 3) < 4 * math.sqrt(96) * error
    points, probabilities = pmf(min(bits, 10))
    for edge in (1.5, 2.75, 3.75):
        beyond = float(probabilities[np.abs(points) > edge * (1 << min(bits, 10))].sum())
        assert abs((np.abs(scaled) > edge).mean() - beyond) < 4 * math.sqrt(beyond / DRAWS) + 2e-3 * beyond


def test_neighbours_in_a_draw_are_independent():
    drawn = discrete_gaussian(DRAWS, 6) / 64
    for lag in (1, 2, 7):
        assert abs((drawn[lag:] * drawn[:-lag]).mean()) < 4 / math.sqrt(DRAWS)


@pytest.mark.parametrize(("numerator", "bits"), [(0, 3), (1, 3), (8, 3), (13, 2), (1 << 41, 41), (3 << 40, 41)])
def test_trials_with_an_exponential_probability(numerator, bits):
    passed = sampler._bernoulli_exp(np.full(50_000, numerator, np.int64), bits)
    exact = math.exp(-numerator / (1 << bits))
    assert abs(passed.mean() - exact) <= 4 * math.sqrt(exact * (1 - exact) / len(passed))


def test_words_that_would_prefer_a_remainder_are_drawn_again(monkeypatch):
    words = iter([[(1 << 64) - 1, 3], [4]])  # 2^64 - 1 is the one word too many for thirds
    monkeypatch.setattr(sampler, "_words", lambda count: np.array(next(words), np.uint64))
    assert sampler._one_in(3, 2).tolist() == [False, True]


def test_every_length_and_no_other_sigma():
    assert [len(discrete_gaussian(count, 3)) for count in (0, 1, 17)] == [0, 1, 17]
    for bits in (0, MOST_BITS + 1, -1):
        with pytest.raises(ValueError, match="power of two"):
            discrete_gaussian(1, bits)


def test_numbers_come_from_the_system_alone(monkeypatch):
    monkeypatch.undo()
    np.random.seed(0)
    first = discrete_gaussian(64, MOST_BITS)
    np.random.seed(0)
    assert not np.array_equal(first, discrete_gaussian(64, MOST_BITS))


@pytest.mark.slow
def test_a_million_features_take_seconds():
    import time

    start = time.monotonic()
    assert len(discrete_gaussian(1_000_000, MOST_BITS)) == 1_000_000
    assert time.monotonic() - start < 30
