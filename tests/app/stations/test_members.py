"""Members on disk: who drops out, who only follows, what is waited for, and what is noticed."""

import shutil

import pytest

from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.stations import hiding
from fedspallm_secure.app.stations.member_station import MemberStation
from fedspallm_secure.errors import (
    CertificateExpired,
    CertificateRevoked,
    MissingInput,
    NotAwaited,
    RolledBack,
)
from fedspallm_secure.protocol.rounds.member_state import State
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.rounds.records_member import PrekeyHeld, read_member_record
from fedspallm_secure.secagg.thresholds import Profile
from fedspallm_secure.storage.home import open_home
from tests.app.stations.holding import setting
from tests.clear_cipher import clear
from tests.stationary import HUB, SERVER, Stations

ALL = [(1, 0), (1, 1)]
NORTH = "member/north"


def open_federation(tmp_path, **setting):
    return Stations(tmp_path / "federation", **{"members": 5, **setting})


def play(found, stop):
    """Action by action, until `stop(found)`."""
    for _ in range(60):
        done = 0
        for action in found.due():
            if stop(found):
                return
            found.see(action)
            done += found.act(action)
        assert done, "it never comes to that"


def state(found, name="north"):
    return found.members[name].machine.state


# --- dropping out -----------------------------------------------------------------------------------------------------

STAGES = {
    "before the plan": lambda found: found.server.station is not None,
    "with the plan": lambda found: state(found) is State.PLANNED,
    "after its contribution": lambda found: len(found.members["north"].machine.deals) == 2,
    "after its endorsement": lambda found: state(found) is State.ENDORSED,
    "after its answer": lambda found: state(found) is State.ANSWERED,
}


@pytest.mark.parametrize("stage", STAGES)
def test_one_may_fall_silent_at_any_stage(tmp_path, stage):
    with open_federation(tmp_path) as found:
        play(found, STAGES[stage])
        found.silent.add("north")
        found.wait()
        found.now += 3600
        found.wait()
        assert found.model.done == [1]
        assert all(found.works[name].taken == ALL for name in found.names if name != "north")
        found.silent.clear()
        found.run()
        assert found.works["north"].taken == ALL


def test_two_may_not(tmp_path):
    with open_federation(tmp_path, attempts=1) as found:
        play(found, STAGES["before the plan"])
        found.silent |= {"north", "south"}
        found.wait()
        assert found.model.done == []
        assert "TOO_FEW_CONTRIBUTIONS" in found.server.waiting
        assert state(found, "west") is State.CLOSED


def test_nobody_contributes_after_the_deadline(tmp_path):
    with open_federation(tmp_path) as found:
        play(found, STAGES["with the plan"])
        member = found.members["north"]
        assert len(member.due()) == 2
        found.clocks[NORTH] = 3601
        assert member.due() == []


def test_the_server_is_patient_and_no_longer(tmp_path):
    with open_federation(tmp_path, patience=60) as found:
        play(found, STAGES["after its contribution"])
        play(found, lambda it: it.server.station.machine.listed is not None if it.server.station else False)
        found.silent.add("north")
        found.run()
        assert found.model.done == []
        found.clocks[HUB] = -7200  # put back: it waits as long, and no longer
        found.run()
        assert found.model.done == []
        found.clocks[HUB] = -7200 + 61
        found.run()
        found.clocks[HUB] = -7200 + 122
        found.run()
        assert found.model.done == [1]


# --- what is told -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encrypted", [False, True], ids=["masked", "encrypted"])
def test_how_far_it_is_with_masking_and_sealing(tmp_path, monkeypatch, encrypted):
    monkeypatch.setattr(hiding, "_STEP", 1)
    told = []

    class Told(Silent):
        def update(self, *words):
            told.append(words)

    with clear(), Stations(tmp_path, setting=setting() if encrypted else None) as found:
        member = found.members["north"]
        member.hiding.progress = Told()
        found.run()
        sizes = {f"masking and sealing layer {group.gid}, round 1": group.upload_size for group in member.plan.groups}
    assert {task: (total, unit) for task, _, total, unit in told} == {task: (n, "bytes") for task, n in sizes.items()}
    for task, size in sizes.items():
        steps = [done for name, done, _, _ in told if name == task]
        assert steps[0] == 0 and steps[-1] == size and steps.count(size) == 1 and steps == sorted(steps)
        assert size // 2 in steps and size - 1 in steps, "masked, and sealed"


# --- following --------------------------------------------------------------------------------------------------------


def test_who_declined_a_plan_follows_its_result(tmp_path):
    with open_federation(tmp_path) as found:
        found.members["north"].policy = Policy(SERVER, 1, profiles=frozenset({Profile.TWO_TRIP}))
        found.members["north"].renew()
        found.wait()
        ((declined, error),) = found.members["north"].told
        assert (declined.type, error.check) == ("plan", "P7")
        assert found.model.done == [1]
        assert {name: work.taken for name, work in found.works.items()} == dict.fromkeys(found.names, ALL)


def test_a_request_waits_for_its_list(tmp_path):
    with open_federation(tmp_path, profile=Profile.TWO_TRIP) as found:
        play(found, lambda it: any(one.type == "unmask-request" for one in it.server.post.spool.outgoing()))
        held = []
        for action in list(found.due()):
            if action.kind == "deliver" and action.party == NORTH and action.other == HUB:
                (listed,) = [one for one in found.server.post.spool.outgoing() if one.digest == action.what]
                if listed.type == "survivors":
                    held.append(action)
                    continue
            if action.kind == "deliver":
                found.act(action)
        member = found.members["north"]
        member.work_through()
        assert [one.type for one in member.post.spool.arrived()] == ["unmask-request"]
        assert state(found) is State.PLANNED
        found.reopen(NORTH)
        assert found.members["north"].work_through() == 0
        found.act(held[0])
        assert found.members["north"].work_through() == 2
        assert state(found) is State.ANSWERED


def test_a_layer_waits_for_its_result_and_a_plan_for_the_layers(tmp_path):
    with open_federation(tmp_path, layers=1, schedule=("1/4", "1/2")) as found:
        found.wait()
        assert found.model.done == [1, 2]
        assert all(work.taken == [(1, 0), (2, 0)] for work in found.works.values())
        history = found.server.post.journal.recall_all("deals")
        assert sorted(history) == sorted(found.names)
        assert not any(one.told for one in found.members.values())


# --- the end of a round -----------------------------------------------------------------------------------------------


def test_secrets_are_gone_after_the_round(tmp_path):
    with open_federation(tmp_path) as found:
        play(found, STAGES["after its answer"])
        journal = found.members["north"].post.journal
        assert any(isinstance(one, PrekeyHeld) for one in journal.records(1, read_member_record))
        bodies = [body for (body,) in journal.connection.execute("SELECT body FROM records WHERE secret = 1")]
        assert len(bodies) >= 4
        found.wait()
        assert not any(one.secret for one in journal.records(1, read_member_record))
        there = b"".join(path.read_bytes() for path in found.ceremony.home(NORTH).glob("register.sqlite*"))
        assert not [body for body in bodies if body[40:72] in there]


def test_the_operator_ends_a_round(tmp_path):
    with open_federation(tmp_path, attempts=1) as found:
        with pytest.raises(NotAwaited):
            found.server.abort()
        play(found, STAGES["after its contribution"])
        found.server.abort()
        found.run()
        assert found.model.done == [] and "tried 1 times" in found.server.waiting
        for name in found.names:
            assert state(found, name) is State.CLOSED
            records = found.members[name].post.journal.records(1, read_member_record)
            assert not any(one.secret for one in records)
        assert not list((found.data(HUB) / "round-1" / "vectors").iterdir())


def test_masked_vectors_go_even_if_the_server_is_killed_before(tmp_path):
    with open_federation(tmp_path) as found:
        found.wait()
        left = found.data(HUB) / "round-1" / "vectors" / "0000-north.vector"
        left.write_bytes(b"masked")
        found.reopen(HUB)
        assert not left.exists()


def test_past_contributions_are_discarded(tmp_path):
    with open_federation(tmp_path, layers=1, schedule=("1/4", "1/2")) as found:
        found.wait()
        rounds = {one.round for one in found.members["north"].post.spool.outgoing()}
        assert rounds == {0, 2}


# --- trust ------------------------------------------------------------------------------------------------------------


def test_a_revoked_member_has_no_say_any_more(tmp_path):
    with open_federation(tmp_path) as found:
        play(found, STAGES["after its contribution"])
        found.ceremony.take(HUB, found.ceremony.revoke(NORTH))
        found.server.post.renew(open_home(found.ceremony.home(HUB)))
        found.server.renew()
        found.now += 1
        found.wait()
        assert {type(error) for error in found.turned_away.values()} == {CertificateRevoked}
        assert {one.sender for one, _ in found.server.told} <= {NORTH}
        assert found.model.done == [1]
        assert found.works["north"].taken == []


def test_a_wrong_clock_costs_nobody_the_round(tmp_path):
    with open_federation(tmp_path) as found:
        play(found, STAGES["with the plan"])
        member, (group, _) = found.members["north"], found.members["north"].due()
        found.clocks[NORTH] = -10 * 365 * 86_400
        with pytest.raises(CertificateExpired):
            member.contribute_layer(group)
        assert member.machine.frozen == {}
        found.clocks.clear()
        found.run()
        assert found.works["north"].taken == ALL
        assert len(found.server.post.journal.recall("deals", "north")) == 2


# --- copies -----------------------------------------------------------------------------------------------------------


def copy_of(found, party, *names):
    """Copies of files in the home, to be put back later."""
    kept = found.folder / "kept"
    shutil.copytree(found.ceremony.home(party), kept)
    return lambda: [shutil.copy(kept / name, found.ceremony.home(party) / name) for name in names]


def test_a_key_file_that_was_put_back_after_the_round(tmp_path):
    with open_federation(tmp_path) as found:
        put_back = copy_of(found, NORTH, "prekeys.key")
        found.wait()
        found.close(NORTH)
        put_back()
        with pytest.raises(RolledBack):
            found.open(NORTH)


def test_a_key_file_that_was_put_back_within_the_round_is_burned_again(tmp_path):
    with open_federation(tmp_path) as found:
        put_back = copy_of(found, NORTH, "prekeys.key")
        play(found, STAGES["after its contribution"])
        found.close(NORTH)
        put_back()
        found.open(NORTH)
        assert found.members["north"].prekeys.next_index() == 1
        found.wait()
        assert found.works["north"].taken == ALL


def test_a_key_file_of_the_same_age_is_none(tmp_path):
    with open_federation(tmp_path) as found:
        found.wait()
        put_back = copy_of(found, NORTH, "prekeys.key")
        found.close(NORTH)
        put_back()
        found.open(NORTH)


def test_a_home_a_work_folder_and_an_anchor_that_were_put_back(tmp_path):
    with open_federation(tmp_path, layers=1, schedule=("1/4", "1/2")) as found:
        found.close(NORTH)
        kept = found.folder / "kept"
        shutil.copytree(found.ceremony.home(NORTH), kept / "home")
        shutil.copytree(found.data(NORTH), kept / "data")
        shutil.copytree(found.anchors, kept / "anchors")
        found.open(NORTH)
        play(found, lambda it: it.works["north"].taken == [(1, 0)])
        found.close(NORTH)
        there = {"home": found.ceremony.home(NORTH), "data": found.data(NORTH), "anchors": found.anchors}
        for old, new in there.items():
            shutil.rmtree(new)
            shutil.copytree(kept / old, new)
        found.open(NORTH)
        member = found.members["north"]
        seen = found.server.post.spool.last_sequence(member.party)
        with pytest.raises(RolledBack, match="this home has made"):
            member.check_sequence(seen)
        member.check_sequence(2)
        with pytest.raises(RolledBack, match="records do not know"):
            found.wait()
        assert member.machine.accepted is None


def test_a_member_needs_prekeys(tmp_path):
    with open_federation(tmp_path, members=1) as found:
        post = found.members["north"].post
        post.prekeys = None
        with pytest.raises(MissingInput):
            MemberStation(post, found.policy, found.works["north"], found.works["north"])
