"""Rounds without a result: which of them are tried again, and what the server keeps of one that is over."""

import pytest

from fedspallm_secure.errors import PlanRefused
from fedspallm_secure.protocol.rounds.records_server import Answered, read_server_record
from fedspallm_secure.protocol.rounds.server_state import State
from tests.app.service.stages import drive
from tests.stationary import HUB, Stations


def federation(tmp_path, **setting):
    return Stations(tmp_path / "federation", **{"prekeys": 8, "layers": 1, **setting})


def fail(found, *contributors):
    """Let the present round end after these have contributed, and the next one begin, if one does."""
    found.silent = set(found.names).difference(contributors)
    found.run()
    found.now = found.server.station.plan.deadlines.contribution + 1
    found.run()
    found.silent = set()


def test_one_early_contribution_costs_one_member(tmp_path):
    with federation(tmp_path, members=5) as found:
        drive(found, State.COLLECTING)
        fail(found, "north")
        found.wait()
        assert found.model.done == [2]
        assert found.works["north"].taken == [(2, 0)]
        told = [error.check for arrived, error in found.members["north"].told if arrived.type == "plan"]
        assert told == ["P13"]


def test_two_are_too_many(tmp_path):
    with federation(tmp_path, members=5, attempts=9) as found:
        drive(found, State.COLLECTING)
        fail(found, "north", "west")
        found.run()
        assert found.model.done == [] and found.server.post.journal.last_round() == 1
        assert "north, west had a part in round 1" in found.server.waiting
        assert found.server.post.journal.recall("given up", "*") == found.server.waiting


def test_they_add_up(tmp_path):
    with federation(tmp_path, members=5, attempts=9) as found:
        drive(found, State.COLLECTING)
        fail(found, "north")
        fail(found, "south")
        assert found.server.post.journal.last_round() == 2
        assert "north, south had a part in round 2" in found.server.waiting


def test_who_saw_a_list_has_a_part_in_it(tmp_path):
    with federation(tmp_path, members=5) as found:
        drive(found, State.COLLECTING)
        found.silent = {"north"}
        found.run()
        found.now = found.server.station.plan.deadlines.contribution + 1
        drive(found, State.ENDORSING, ("north",))
        found.server.abort()
        found.silent = set()
        found.run()
        assert found.server.waiting.startswith("layers 0 cannot be summed: east, middle, north, south, west had a part")
        assert "STOPPED" in found.server.waiting


def test_attempts_that_nobody_hears_of_are_counted(tmp_path):
    with federation(tmp_path, attempts=2) as found:
        drive(found, State.COLLECTING)
        fail(found)
        fail(found)
        assert found.server.waiting.startswith("the round was tried 2 times")
        found.close(HUB)
        found.agenda = found.agenda.__class__(
            **{name: getattr(found.agenda, name) for name in found.agenda.__slots__} | {"attempts": 3}
        )
        found.open(HUB)
        assert found.server.tick()
        assert found.server.post.journal.recall("given up", "*") is None


@pytest.mark.parametrize("error", [PlanRefused("x")], ids=["refused"])
def test_what_a_draft_is_refused_for_is_told(tmp_path, monkeypatch, error):
    def refuse(*_):
        raise error

    with federation(tmp_path) as found:
        monkeypatch.setattr("fedspallm_secure.app.stations.convening.plan_of", refuse)
        found.run()
        assert found.server.waiting.startswith("no round can begin: x; ")
        assert found.server.post.spool.outgoing() == []
        monkeypatch.undo()
        found.run()
        assert found.model.done == [1]


def test_answers_go_when_the_round_is_over(tmp_path):
    with federation(tmp_path) as found:
        found.wait()
        records = found.server.post.journal.records(1, read_server_record)
        assert not [one for one in records if isinstance(one, Answered)]
        assert found.server._restored(1).machine.result is not None


def test_answers_are_kept_where_somebody_is_to_blame(tmp_path):
    with federation(tmp_path, members=5) as found:
        drive(found, State.UNMASKING)
        found.server.station.machine.blamed.add(("north", "R3", "*"))
        found.wait()
        assert found.model.done == [1]
        records = found.server.post.journal.records(1, read_server_record)
        assert [one for one in records if isinstance(one, Answered)]
