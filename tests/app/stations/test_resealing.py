"""A roster that changes in the middle of a round, or right after it."""

import pytest

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import OutOfTurn
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.secagg.thresholds import Profile
from fedspallm_secure.storage.home import open_home
from tests.app.service.stages import drive
from tests.stationary import HUB, Stations

ALL = [(1, 0), (1, 1)]


def federation(tmp_path, **setting):
    return Stations(tmp_path / "federation", **{"members": 5, **setting})


def new_roster(found, *parties, roster=None):
    """These, or all, take in a newer roster and go on with it."""
    roster = roster or found.ceremony.roster()
    for party in parties or found.parties:
        found.ceremony.take(party, roster)
        post = found.post(party)
        post.renew(open_home(post.home.path))
        found.station(party).renew()


@pytest.mark.parametrize("profile", [Profile.THREE_TRIP, Profile.TWO_TRIP], ids=["three", "two"])
@pytest.mark.parametrize("state", [State.ENDORSING, State.UNMASKING, State.FINISHED])
def test_a_round_under_way_goes_on(tmp_path, state, profile):
    if (state, profile) == (State.ENDORSING, Profile.TWO_TRIP):
        return
    with federation(tmp_path, profile=profile) as found:
        drive(found, state)
        waiting = [one for one in found.server.post.spool.outgoing() if not one.departed]
        assert waiting  # made under the old roster, and still here
        new_roster(found)
        assert not {one.digest for one in waiting} & {one.digest for one in found.server.post.spool.outgoing()}
        assert not any(found.server.post.spool.inside("out", one.digest).exists() for one in waiting)
        found.wait()
        assert found.model.done == [1]
        assert all(work.taken == ALL for work in found.works.values())


def test_who_has_accepted_the_plan_contributes_under_the_new_roster(tmp_path):
    with federation(tmp_path) as found:
        drive(found, State.COLLECTING)
        found.carry()
        for member in found.members.values():
            member.work_through()
        new_roster(found)
        found.wait()
        assert found.model.done == [1]


def test_who_had_not_endorsed_gets_the_list_again(tmp_path):
    with federation(tmp_path) as found:
        drive(found, State.ENDORSING)
        found.silent = {"north"}
        found.run()
        found.now += 61
        found.run()
        found.silent = set()
        drive(found, State.UNMASKING)
        new_roster(found)
        found.run()
        assert found.model.done == [1]
        assert found.members["north"].machine.answer is not None or found.works["north"].taken == ALL


def test_a_roster_that_came_while_nobody_was_at_work(tmp_path):
    with federation(tmp_path) as found:
        drive(found, State.FINISHED)
        roster = found.ceremony.roster()
        for party in found.parties:
            found.close(party)
            found.ceremony.take(party, roster)
            found.open(party)
        found.wait()
        assert all(work.taken == ALL for work in found.works.values())


def test_a_member_that_was_away_gets_result_and_layers_of_a_round_that_is_over(tmp_path):
    with federation(tmp_path, prekeys=4) as found:
        found.silent = set()
        drive(found, State.FINISHED)
        found.silent = {"north"}
        found.run()
        assert found.server.station is None and found.works["north"].taken == []
        new_roster(found)
        found.silent = set()
        found.run()
        assert found.works["north"].taken == ALL


def test_layers_that_come_again_are_known(tmp_path):
    with federation(tmp_path, prekeys=4) as found:
        found.run()
        before = {name: work.folder.stat().st_mtime_ns for name, work in found.works.items()}
        new_roster(found)
        found.run()
        assert not any(member.told for member in found.members.values())
        assert {name: work.folder.stat().st_mtime_ns for name, work in found.works.items()} == before
        rows = found.members["north"].post.journal.connection.execute("SELECT state FROM inbox WHERE type = 'layer'")
        assert [state for (state,) in rows] == ["taken"] * 4


def test_layers_of_another_server_are_refused_also_where_they_are_here(tmp_path):
    with federation(tmp_path, prekeys=4) as found:
        found.run()
        found.members["north"].results._server = Party("server", "spare")
        new_roster(found)
        found.run()
        assert {type(error) for _, error in found.members["north"].told} == {OutOfTurn}


def test_a_kill_while_layers_are_sealed_again(tmp_path, monkeypatch):
    with federation(tmp_path, prekeys=4) as found:
        drive(found, State.FINISHED)
        found.silent = {"north", "south"}
        found.run()
        send, count = found.server.post.send, []

        def killed(type, *given):
            if type == "layer":
                count.append(type)
                if len(count) == 4:
                    raise KeyboardInterrupt
            return send(type, *given)

        monkeypatch.setattr(found.server.post, "send", killed)
        roster = found.ceremony.roster()
        with pytest.raises(KeyboardInterrupt):
            new_roster(found, HUB, roster=roster)
        monkeypatch.undo()
        found.reopen(HUB)
        layers = [one for one in found.server.post.spool.outgoing() if one.type == "layer"]
        assert len(layers) == 5 * 2
        new_roster(found, *found.parties[1:], roster=roster)
        found.silent = set()
        found.run()
        assert found.works["north"].taken == found.works["south"].taken == ALL


def test_who_contributes_to_the_next_round_has_the_last_result(tmp_path):
    with federation(tmp_path, layers=1, prekeys=4, schedule=("1/4", "1/2")) as found:
        drive(found, State.FINISHED)
        found.silent = {"north"}
        while found.server.station is None or found.server.station.plan.round == 1:
            assert found.carry() + found.step()
        while not found.server.station.machine.received:
            assert found.carry() + found.step()
        new_roster(found)
        layers = {one.recipient for one in found.server.post.spool.outgoing() if one.type == "layer"}
        having = {f"member/{member}" for _, member in found.server.station.machine.received}
        assert "member/north" in layers and not layers & having
        found.silent = set()
        found.wait()
        assert (1, 0) in found.works["north"].taken


def test_a_renewal_with_the_same_roster_sends_nothing(tmp_path):
    with federation(tmp_path) as found:
        drive(found, State.ENDORSING)
        before = found.server.post.spool.outgoing()
        found.server.renew()
        assert found.server.post.spool.outgoing() == before
