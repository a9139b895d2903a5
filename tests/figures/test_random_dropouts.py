"""A few random rounds of seven members."""

import random

from fedspallm_secure.secagg.thresholds import Profile
from tests.figures.dropouts import fault
from tests.figures.random_dropouts import Task, endings, figures, silent
from tests.figures.stage import Stage, new_world


def test_a_few_random_runs():
    found = figures(7, 1, 6, 3, 1, workers=1)
    assert found["failures"] == []
    counts = found["counts"]
    assert counts["wrong sums"] == 0
    assert counts["exact sums"] > 1 and counts["TOO_FEW_RESPONSES"] > 1
    assert 6 <= counts["runs"] <= 18


def test_two_trips_are_played_too():
    stage = Stage(new_world(5, Profile.TWO_TRIP), 1)
    found = list(endings(stage, Task(5, 2, 2, 1, Profile.TWO_TRIP)))
    assert found and not any(fault(stage, ending) for ending in found)


def test_runs_depend_on_the_seed_alone():
    stage = Stage(new_world(5), 1)
    sets = [[(one.listed, one.answered) for one in endings(stage, Task(5, 4, 3, seed))] for seed in (1, 1, 2)]
    assert sets[0] == sets[1] != sets[2]


def test_silence_has_its_bound():
    draw, members = random.Random(1), tuple("abcdefgh")
    sizes = {len(silent(draw, members, 3)) for _ in range(200)}
    assert sizes == {5, 6, 7, 8}
    assert silent(draw, members, 0) == members
