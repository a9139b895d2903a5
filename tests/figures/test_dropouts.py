"""All patterns of small cohorts; and that a wrong sum, a wrong end and an unclean one would be seen."""

from dataclasses import replace

import pytest

from fedspallm_secure.errors import PlanRefused
from fedspallm_secure.protocol.rounds.survivors import EndCode
from fedspallm_secure.secagg.thresholds import Profile, default_colluders, thresholds
from tests.figures.dropouts import Ending, endings, expected, fault, figures, subsets
from tests.figures.stage import Stage, new_world


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage(new_world(4), 1)


@pytest.fixture(scope="module")
def played(stage: Stage) -> list[Ending]:
    return list(endings(stage))


def first(played: list[Ending], code: EndCode | None) -> Ending:
    return next(ending for ending in played if ending.branch.code is code)


def test_every_pattern_of_cohorts_of_three_and_four():
    found = figures(4, 4, 1, workers=1)
    assert found["failures"] == []
    counts = found["counts"]
    assert counts["patterns"] == 4**3 + 4**4 + 3**3 + 3**4
    assert counts["wrong sums"] == 0 and counts["exact sums"] >= 4
    assert set(map(str, EndCode)) & set(counts) == {
        "TOO_FEW_CONTRIBUTIONS",
        "TOO_FEW_ENDORSEMENTS",
        "TOO_FEW_RESPONSES",
    }
    assert sum(counts[name] for name in (*EndCode, "exact sums") if name in counts) == counts["patterns"]


def test_parts_are_all_of_it(stage: Stage, played: list[Ending]):
    parts = [ending for part in range(3) for ending in endings(stage, part, 3)]
    sets = [{(one.listed, one.endorsed, one.answered) for one in found} for found in (played, parts)]
    assert sets[0] == sets[1] and len(parts) == len(played)


def test_the_patterns_are_all_different_ones():
    assert len(set(subsets("abcde"))) == 2**5


@pytest.mark.parametrize("profile", [Profile.TWO_TRIP, Profile.THREE_TRIP])
@pytest.mark.parametrize("members", range(3, 30))
def test_what_is_expected_is_what_the_product_plans(members: int, profile: Profile):
    try:
        found = thresholds(members, default_colluders(members), profile)
    except PlanRefused:
        pytest.fail("every cohort from three on has thresholds")
    least, shares = found.survivors, found.shares
    assert expected(members, profile, least - 1, members, members) is EndCode.TOO_FEW_CONTRIBUTIONS
    assert expected(members, profile, least, shares, shares) is None
    assert expected(members, profile, least, shares, shares - 1) is EndCode.TOO_FEW_RESPONSES
    few = EndCode.TOO_FEW_ENDORSEMENTS if profile is Profile.THREE_TRIP else None
    assert expected(members, profile, least, shares - 1, shares) is few


def test_a_wrong_sum_would_be_seen(stage: Stage, played: list[Ending]):
    ending = first(played, None)
    assert fault(stage, ending) == "" and ending.streams is not None
    counts, sums = ending.streams
    for place in (0, len(sums) - 1):
        wrong = bytearray(sums)
        wrong[place] ^= 1
        assert fault(stage, replace(ending, streams=(counts, wrong))) == "wrong sums"


@pytest.mark.parametrize("code", ["TOO_FEW_CONTRIBUTIONS", "TOO_FEW_ENDORSEMENTS", "TOO_FEW_RESPONSES", ""])
def test_another_end_than_the_thresholds_say_would_be_seen(stage: Stage, played: list[Ending], code: str):
    cohort = stage.group.cohort
    ending = first(played, EndCode(code) if code else None)
    other = replace(ending, listed=cohort, endorsed=cohort, answered=() if code == "" else cohort)
    assert fault(stage, ending) == ""
    assert fault(stage, other) == "other ends than the thresholds say"


def test_an_end_that_not_everybody_hears_of_would_be_seen(stage: Stage, played: list[Ending]):
    for code, kind in ((EndCode.TOO_FEW_RESPONSES, "abort"), (None, "result")):
        ending = first(played, code)
        branch = ending.branch.fork()
        del branch.mail[kind, stage.group.cohort[-1]]
        assert fault(stage, replace(ending, branch=branch)) == "unclean ends"
