"""Figures about encrypted sums: a few runs of each, and what they would say if something were wrong."""

from tests.figures import he_exact, he_noise
from tests.he import vectors


def test_a_few_runs_are_exact():
    found = he_exact.figures(2, 1, workers=1)
    assert found["failures"] == []
    assert found["counts"]["runs"] == 2 and found["counts"]["twins"] == found["counts"]["twins refused"] > 0


def test_a_wrong_sum_would_be_seen(monkeypatch):
    def other(drawn):
        counts, sums = vectors.plain(drawn)
        return counts + 1, sums

    monkeypatch.setattr(he_exact, "plain", other)
    assert he_exact.figures(1, 1, workers=1)["failures"]


def test_a_sum_that_opens_as_another_would_be_seen(monkeypatch):
    genuine = vectors.opened

    def lenient(parameters, secret, chunks, weights, survivors):
        return genuine(parameters, secret, chunks, weights, max(survivors, 2))

    monkeypatch.setattr(he_exact, "opened", lenient)
    monkeypatch.setattr(he_exact, "COHORTS", (2,))
    found = [he_exact.run(he_exact.Task(1, number)) for number in range(2)]
    assert sum(one["twins"] for one in found) > sum(one["twins refused"] for one in found)


def test_noise_is_what_the_parameters_say():
    assert he_noise.figures(20, 1, workers=1)["failures"] == []


def test_other_noise_would_be_seen(monkeypatch):
    monkeypatch.setattr(he_noise, "run", lambda task: (1.0, 0.2))
    assert len(he_noise.figures(40, 1, workers=1)["failures"]) == len(he_noise.CASES)
