"""One answer too few opens nothing, and one more opens everything."""

import pytest

from fedspallm_secure.secagg.sharing import split
from tests.figures.threshold import figures


def test_a_few_cases():
    found = figures(2, 10, 1, workers=1)
    assert found["failures"] == []
    counts = found["counts"]
    assert counts["cases"] == counts["with one more: groups opened"] == 20
    assert counts["groups opened"] == counts["seeds opened"] == 0
    assert counts["with one more: seeds opened"] == counts["secrets"] > 100


def test_shares_that_open_too_early_would_be_seen(monkeypatch: pytest.MonkeyPatch):
    """The twin: polynomials of a degree that is one too low, so t - 1 shares are enough."""
    monkeypatch.setattr("fedspallm_secure.secagg.commitments.split", lower_degree)
    found = figures(1, 5, 1, workers=1)
    counts = found["counts"]
    assert counts["seeds opened"] == counts["secrets"] > 0
    assert found["failures"] == [f"seeds opened: {counts['secrets']}"]  # the server itself still counts to t


def lower_degree(secret, threshold, points):
    return split(secret, threshold - 1, points)
