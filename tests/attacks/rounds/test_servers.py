"""A malicious server is stopped where it should be and learns nothing; without the check it would have."""

from collections import Counter

import pytest

from fedspallm_secure.secagg.thresholds import Profile, isolation_bound, thresholds
from tests.attacks.rounds.script import run, run_lifted
from tests.attacks.rounds.servers import FAMILIES, LEFT_OPEN, LIFTED, STOPPED, failure, failure_lifted, figures, played

SPLIT_VIEWS = (
    "lists.every_member_a_list_of_its_own",  # without the endorsements (Q2)
    "lists.several_lists_endorsed_in_turn",  # by members that endorse more than one list (E3)
    "lists.every_member_a_list_of_its_own_in_two_trips",  # with the thresholds for one list
)


@pytest.mark.parametrize("name", STOPPED)
def test_a_server_is_stopped_and_isolates_nobody(name):
    assert failure(played(name)) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", LIFTED)
def test_the_same_attack_succeeds_without_the_check(name):
    assert failure_lifted(run_lifted(LIFTED[name])) == ""


@pytest.mark.parametrize("name", SPLIT_VIEWS)
def test_split_views_isolate_as_few_as_the_bound_says_and_only_without_the_check(name):
    script = STOPPED[name]
    members, c = script.setting.members, 2
    classical = thresholds(members, c, Profile.THREE_TRIP)
    assert (members, c, classical.shares, classical.survivors) == (7, 2, 5, 5)
    assert played(name).isolations == []
    smallest = min(len(isolation.members) for isolation in run_lifted(script).isolations)
    assert smallest == isolation_bound(members, c, classical.shares, classical.survivors) == 2


def test_in_two_trips_the_strongest_strategy_isolates_as_many_as_the_bound_says():
    found = played("lists.the_strongest_strategy_in_two_trips")
    right = thresholds(7, 2, Profile.TWO_TRIP)
    sets = [isolation.members for isolation in found.solver.isolations(most=7)]
    assert min(map(len, sets)) == isolation_bound(7, 2, right.shares, right.survivors) == 4


@pytest.mark.parametrize("name", LEFT_OPEN)
def test_what_the_threat_model_leaves_open_is_open(name):
    found = run(LEFT_OPEN[name])
    assert found.refusals == []
    assert found.isolations and found.proved


def test_there_are_enough_attacks_at_every_check():
    assert len(STOPPED) >= 40
    assert all(sum(found.family == family for found in STOPPED.values()) >= 18 for family in FAMILIES)
    stops = Counter(found.stop for found in STOPPED.values())
    reached = [f"P{number}" for number in range(1, 15) if number != 6]  # P6 waits for the log
    reached += [f"E{number}" for number in range(1, 6)]
    # E4 asks what Q5 asks before a list is kept, and what Q8 assures no message can ask for.
    reached += [f"Q{number}" for number in (1, 2, 3, 4, 6, 7)]
    assert [check for check in reached if not stops[check]] == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
def test_nothing_depends_on_who_the_victim_is(seed):
    found = figures(seed)
    assert found["failures"] == []
    assert found["isolations"] == 0
    assert found["lifted"] == len(LIFTED)
