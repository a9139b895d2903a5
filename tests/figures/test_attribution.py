"""Every kind of cheat, by two of seven members; and that slander and a wrong sum would be seen."""

import random

import pytest

from fedspallm_secure.protocol.rounds.records_server import Blamed, Refused
from fedspallm_secure.protocol.rounds.survivors import EndCode
from tests.figures.attribution import Play, one_kind, several_kinds
from tests.figures.cheats import KINDS, Blame
from tests.figures.stage import GID, Stage, new_world


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage(new_world(7), 1)


@pytest.mark.parametrize("name", KINDS)
def test_two_members_who_cheat_in_one_way(stage: Stage, name: str):
    counts, failures = one_kind(stage, name, 2, random.Random(name))
    assert failures == []
    assert counts[f"cheats found out {KINDS[name].blame.value}"] == 2
    assert counts["innocent and guilty"] == 0


def test_cheats_of_several_kinds(stage: Stage):
    draw = random.Random(1)
    for _ in range(4):
        _, failures = several_kinds(stage, 2, draw)
        assert failures == []


def played(stage: Stage, name: str) -> Play:
    cohort = stage.group.cohort
    return Play(stage, {cohort[0]: KINDS[name]}, random.Random(1), victims={cohort[0]: cohort[1]}).run()


def test_one_who_is_named_instead_of_the_cheat_would_be_seen(stage: Stage):
    play, innocent = played(stage, "another share"), stage.group.cohort[3]
    assert not play.slandered and play.blame(stage.group.cohort[0]) is Blame.ALONE
    kept = list(play.branch.records)
    for wrong in (
        Blamed(GID, "R4", (innocent,), ()),
        Blamed(GID, "S8", (), (innocent,)),
        Refused(f"member/{innocent}", "unmask-response", "*", "R3", (innocent,), "0a" * 32, b""),
    ):
        play.branch.records[:] = [*kept, wrong]
        assert play.slandered
    play.branch.records[:] = [record for record in kept if not isinstance(record, Refused)]
    assert play.blame(stage.group.cohort[0]) is Blame.NOBODY


def test_a_wrong_sum_and_an_end_that_may_not_be_would_be_seen(stage: Stage):
    play = played(stage, "another share")
    assert play.fault(frozenset()) == "" and play.streams is not None
    play.streams[1][0] ^= 1
    assert play.fault(frozenset()) == "wrong sum"
    ended = played(stage, "shares of another self seed")
    assert ended.fault(frozenset({EndCode.BAD_DEALING})) == ""
    assert ended.fault(frozenset({EndCode.TOO_FEW_RESPONSES})) == "ended: BAD_DEALING"


def test_every_check_of_the_server_meets_somebody_who_fails_it():
    """S1 and R1 are about strangers; the kinds here are members of the cohort."""
    assert len(KINDS) == 37
    assert {kind.blame for kind in KINDS.values()} == set(Blame)
