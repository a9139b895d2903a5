"""Whatever a wire does: a sum comes out right or not at all, and nobody says two things."""

import pytest

from fedspallm_secure.secagg.thresholds import Profile
from tests.attacks.rounds.wires import PLOTS, figures, run
from tests.federation import Bench, Setting, play


@pytest.mark.parametrize("name", PLOTS)
def test_a_sum_is_right_or_there_is_none(name):
    profile = list(Profile)[len(name) % 3]
    found = run(name, 0, profile)
    assert found.failures == []
    assert found.meddled > 5


@pytest.mark.parametrize("profile", Profile)
def test_over_a_good_wire_nothing_is_refused(profile):
    bench = Bench(Setting(profile=profile, witnesses=1 if profile is Profile.WITNESSED else 0, rounds=2, layers=2))
    for _ in range(2):
        found = play(bench)
        assert found.exact and set(found.released) == {0, 1}
        assert found.refusals == {}
        bench.revise()


@pytest.mark.parametrize("name", ["doubles", "shows_again", "flips_a_bit_and_delivers_both"])
def test_what_is_only_added_stops_nothing(name):
    found = run(name, 1)
    assert all(outcome.released and outcome.exact for outcome in found.outcomes)
    assert any(outcome.refusals for outcome in found.outcomes)


@pytest.mark.slow
def test_every_plot_in_every_profile():
    found = figures(4, 1)
    assert found["failures"] == []
    assert found["sums"] > found["rounds"] // 4
