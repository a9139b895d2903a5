"""Whatever a wire does: a sum comes out right or not at all, and nobody says two things."""

from itertools import cycle

import pytest

from fedspallm_secure.secagg.thresholds import Profile
from tests.attacks.rounds.wires import PLOTS, figures, run
from tests.federation import Bench, Setting, drop, play, when


@pytest.mark.parametrize(("name", "profile"), list(zip(PLOTS, cycle(Profile), strict=False)))
def test_a_sum_is_right_or_there_is_none(name, profile):
    found = run(name, 0, profile)
    assert found.failures == []
    assert found.meddled > (3 if profile is Profile.ONE_TRIP else 5), "which has fewer packages"


@pytest.mark.parametrize("profile", Profile)
def test_over_a_good_wire_nothing_is_refused(profile):
    bench = Bench(Setting(profile=profile, witnesses=1 if profile is Profile.WITNESSED else 0, rounds=2, layers=2))
    for _ in range(2):
        found = play(bench)
        assert found.exact and set(found.released) == {0, 1}
        assert found.refusals == {}
        bench.next_round()


@pytest.mark.parametrize("name", ["doubles", "shows_again", "flips_a_bit_and_delivers_both"])
def test_what_is_only_added_stops_nothing(name):
    found = run(name, 1)
    assert all(outcome.released and outcome.exact for outcome in found.outcomes)
    assert any(outcome.refusals for outcome in found.outcomes)


@pytest.mark.parametrize("profile", [Profile.TWO_TRIP, Profile.WITNESSED])
def test_a_request_that_overtakes_its_list_stops_nothing(profile):
    found = run("lets_requests_overtake", 1, profile)
    assert found.failures == [] and found.meddled == 20
    assert all(outcome.released and outcome.refusals == {} for outcome in found.outcomes)


def test_a_member_that_misses_a_plan_stays_out_of_that_round():
    """It still waits for the end of the round before, and must not be taken for one that has accepted the new plan."""
    bench = Bench(Setting(rounds=2))
    bench.wire.meddle = when(lambda parcel: parcel.recipient.id == "ann" and parcel.type != "plan", drop)
    first = play(bench)
    assert first.exact and first.survivors[0] == bench.names
    bench.revise()
    bench.wire.meddle = when(lambda parcel: parcel.recipient.id == "ann", drop)
    second = play(bench)
    assert second.exact and "ann" not in second.survivors.get(0, ())


@pytest.mark.slow
def test_every_plot_in_every_profile():
    found = figures(4, 1)
    assert found["failures"] == []
    assert found["sums"] > found["rounds"] // 4
