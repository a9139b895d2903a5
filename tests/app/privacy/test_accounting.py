"""Noise for a budget: enough by the exact formula of the Gaussian mechanism, and little more."""

import math
import sys
from statistics import NormalDist

import pytest

from fedspallm_secure.app.privacy.accounting import noise_multiplier, spent_epsilon
from fedspallm_secure.app.privacy.settings import PrivacySettings
from fedspallm_secure.errors import MissingExtra, UsageError

pytest.importorskip("dp_accounting")
PHI = NormalDist().cdf


def gaussian_delta(multiplier: float, epsilon: float) -> float:
    """Balle and Wang 2018, theorem 8: the delta of the Gaussian mechanism with sigma = multiplier * sensitivity."""
    half = 1 / (2 * multiplier)
    return PHI(half - epsilon * multiplier) - math.exp(epsilon) * PHI(-half - epsilon * multiplier)


@pytest.mark.parametrize("epsilon", [0.25, 1.0, 2.0, 8.0, 30.0])
@pytest.mark.parametrize("delta", [1e-4, 1e-6])
@pytest.mark.parametrize("releases", [1, 3, 40])
def test_noise_is_enough_by_the_analytic_formula_and_little_more(epsilon, delta, releases):
    together = noise_multiplier(epsilon, delta, releases) / math.sqrt(releases)  # many releases are one with less noise
    assert gaussian_delta(together, epsilon) <= delta
    assert gaussian_delta(together / 1.15, epsilon) > delta


def test_what_is_spent_is_what_noise_was_made_for():
    for releases in (1, 4):
        multiplier = noise_multiplier(2.0, 1e-6, releases)
        assert 1.99 < spent_epsilon(multiplier, releases, 1e-6) <= 2.0
        assert spent_epsilon(multiplier, releases + 1, 1e-6) > 2.0
    assert spent_epsilon(0.0, 0, 1e-6) == 0


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(MissingExtra, match="dp-accounting") as caught:
        noise_multiplier(1.0, 1e-6, 1)
    assert "fedspallm-secure[dp]" in str(caught.value.hint)


@pytest.mark.parametrize(
    "wrong",
    [{"epsilon": value} for value in (0.0, -1.0, 101.0, math.inf, math.nan)]
    + [{"epsilon": 1.0, "delta": value} for value in (0.0, 1.0, -1e-6, math.nan)]
    + [{"epsilon": 1.0, "clip": value} for value in (0.0, -1.0, math.inf, math.nan)],
    ids=str,
)
def test_budgets_that_promise_nothing_are_refused(wrong):
    with pytest.raises(UsageError):
        PrivacySettings(**wrong)


def test_a_delta_that_lets_whole_records_out_is_refused():
    settings = PrivacySettings(1.0, delta=0.01)
    settings.check_records(99)
    with pytest.raises(UsageError, match="whole record"):
        settings.check_records(100)


def test_sparsegpt_is_refused_with_the_reason():
    with pytest.raises(UsageError, match="products of all pairs of inputs") as caught:
        PrivacySettings(1.0).check_pruner("sparsegpt")
    assert "wanda" in str(caught.value.hint)
