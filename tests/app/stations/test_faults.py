"""A few of the kills, full disks, old copies and wrong clocks of the figures; and what their judges see.

All of them: `python scripts/station_figures.py`.
"""

import os
import random
from dataclasses import replace

import pytest

from fedspallm_secure.storage.journal import Journal
from tests.faults import When
from tests.figures import clock, full_disk, kills, rollback
from tests.figures.played import Scene, _packages, judge, missing_vectors, record
from tests.station_faults import tellable
from tests.stationary import HUB, Carried, Setting

SEED = 0


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recording")
    with tellable():
        yield record(folder, replace(Scene.of(SEED), setting=Setting(members=4, layers=1)), SEED)


def named(recording, *told):
    """The kills right after these commits."""
    all = kills.points(recording, random.Random(SEED))
    found = [one for one in all if set(told) & set(one.point.told) and one.when is When.AFTER]
    return {(one.before.action.party, one.state): replace(one, again=0) for one in found}.values()


def test_killed_in_states_that_have_names(recording, tmp_path):
    chosen = named(recording, "prekey-held", "dealt", "received", "list-made", "answered", "finished", "fact concluded")
    assert len(chosen) >= 7
    for kill in chosen:
        told, wrong = kills.killed(recording, kill, tmp_path / "copy")
        assert ("kills" in told, wrong) == (True, []), str(kill)


def test_killed_within_the_start_after_a_kill(recording, tmp_path):
    (kill,) = named(recording, "plan-accepted")
    told, wrong = kills.killed(recording, replace(kill, again=1), tmp_path / "copy")
    assert ("kills at the start after a kill" in told, wrong) == (True, [])


@pytest.mark.parametrize("number", range(3))
def test_the_disk_fails_somewhere(recording, tmp_path, number):
    faults = full_disk.chosen(recording, kills.Task(SEED, 0, 0))
    told, wrong = full_disk.failed(recording, faults[number], tmp_path / "copy")
    assert ("faults" in told, wrong) == (True, []), str(faults[number])


@pytest.mark.parametrize(
    ("way", "greeting", "noticed"),
    [
        ("journal", False, "noticed by the anchor"),
        ("home", False, "noticed by the anchor"),
        ("home and work folder", False, "noticed by the anchor"),
        ("home, work folder and anchor", True, "noticed by the greeting"),
        ("key file", False, "harmless"),
    ],
)
def test_put_back_to_before_the_contribution(recording, tmp_path, way, greeting, noticed):
    mine = [one for one in recording.before if one.action.party == recording.scene.victim]
    then = next(one for one in mine if one.action.kind == "contribute")
    now = next(one for one in mine if one.action.kind == "work" and any(seen.type == "receipt" for seen in one.carried))
    setback = rollback.Setback(now, then, recording.scene.victim, way, greeting)
    told, wrong = rollback.tried(recording, setback, tmp_path / "copy")
    assert (told.rpartition(": ")[2], wrong) == (noticed, [])


@pytest.mark.parametrize("name", clock.SHIFTS)
def test_the_clock_of_the_server_is_wrong(recording, tmp_path, name):
    before = [one for one in recording.before if one.action == replace(one.action, party=HUB, kind="work")]
    told, wrong = clock.tried(recording, clock.Wrong(before[len(before) // 2], name, True), tmp_path / "copy")
    assert (f"clocks {name}" in told, wrong) == (True, [])


# --- what the judges see ----------------------------------------------------------------------------------------------


def test_a_message_that_was_never_put_into_the_outbox_is_a_lost_round(recording, tmp_path, monkeypatch):
    (kill,) = [one for one in named(recording, "plan-accepted") if one.before.action.party != HUB]
    send = Journal.send
    monkeypatch.setattr(Journal, "send", lambda self, it: None if it.type == "survivors" else send(self, it))
    _, wrong = kills.killed(recording, kill, tmp_path / "copy")
    assert any(one.startswith("lost round") for one in wrong)


def test_a_vector_that_is_gone_or_changed(recording, tmp_path):
    before = next(one for one in recording.before if one.action.party == HUB and "list-made" in str(one.points))
    with recording.copy(before, tmp_path / "copy") as found, found:
        assert missing_vectors(found) == []
        paths = sorted((found.data(HUB) / "round-1" / "vectors").glob("*.vector"))
        paths[0].unlink()
        data = bytearray(paths[1].read_bytes())
        data[0] ^= 1
        paths[1].write_bytes(data)
        assert len(missing_vectors(found)) == 2


def test_two_packages_where_there_has_to_be_one():
    one = Carried("member/north", HUB, "contribution", 1, "0", 5, "aa")
    assert _packages([one, one.__class__("member/north", HUB, "contribution", 1, "1", 6, "bb")]) == []
    assert _packages([one, replace(one, sequence=6, digest="bb")])[0].startswith("reused keystream")
    assert _packages([one, replace(one, group="1", digest="bb")])[0].startswith("differing resend")
    answer = replace(one, type="unmask-response")
    assert _packages([answer, replace(answer, sequence=6, digest="bb")])[0].startswith("double answer")


def test_a_wrong_sum(recording, tmp_path):
    last = recording.before[-1]
    with recording.copy(last, tmp_path / "copy") as found, found:
        found.wait()
        assert judge(found, recording.scene, {}) == []
        (path,) = found.model.folder.glob("sum-*.json")
        os.truncate(path, 0)
        path.write_text("[0, 0, 0, 0, 0, 0, 0, 0]")
        assert judge(found, recording.scene, {}) == ["wrong sum: 1 0"]
