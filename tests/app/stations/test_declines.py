"""Plans that are declined, and rounds that end before everybody has their plan."""

import shutil
from dataclasses import replace

import pytest

from fedspallm_secure.app.courier.exporting import export
from fedspallm_secure.app.courier.importing import import_from
from fedspallm_secure.app.courier.media import open_medium
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.errors import FormatError, NotAwaited, PlanDeclined
from fedspallm_secure.protocol.audit.entries import Entry, EntryType
from fedspallm_secure.protocol.declines import Decline
from fedspallm_secure.protocol.rounds.member_state import State
from fedspallm_secure.protocol.rounds.policy import Policy
from tests.stationary import HOUR, HUB, SERVER, Stations

NORTH = "member/north"


def open_federation(tmp_path, **setting):
    return Stations(tmp_path / "federation", **{"members": 5, "layers": 1, **setting})


def open_round(found):
    """The plan is made, and nobody has it yet."""
    found.carry()
    found.server.work_through()
    assert found.server.tick() and found.server.station is not None


def waiting(found, recipient=None):
    return [
        one.type
        for one in found.server.post.spool.outgoing()
        if not one.departed and one.round and recipient in (None, one.recipient)
    ]


def declines(found, *names):
    """These decline every plan by P14."""
    for name in names:
        found.members[name].policy = Policy(SERVER, 1, software=frozenset({"other/1"}))
        found.members[name].renew()


def refusals(found):
    entries = [Entry.parse(body) for body in found.server.post.log.entries(0, found.server.post.log.size)]
    return [(str(one.actor), dict(one.data)) for one in entries if one.type is EntryType.REFUSAL]


# --- a round that ends before everybody has the plan ------------------------------------------------------------------


def test_a_round_that_was_aborted_before_anybody_fetched_its_plan_is_forgotten(tmp_path):
    with open_federation(tmp_path) as found:
        open_round(found)
        found.server.abort()
        assert waiting(found) == []
        found.wait()
        assert found.model.done == [2]
        assert all(not member.told for member in found.members.values())


def test_who_has_the_plan_gets_the_end_and_nobody_else(tmp_path):
    with open_federation(tmp_path) as found:
        open_round(found)
        found.silent = set(found.names) - {"north"}
        found.carry()
        found.members["north"].work_through()
        found.server.abort()
        assert set(waiting(found)) == {"abort"} == set(waiting(found, NORTH))
        found.silent = set()
        found.wait()
        assert found.model.done == [2]
        assert all(not member.told for member in found.members.values())


def test_a_plan_that_a_courier_has_counts_as_sent(tmp_path):
    with open_federation(tmp_path) as found:
        open_round(found)
        medium = tmp_path / "medium"
        medium.mkdir()
        export(found.server.post, medium, None, [], False, "", Silent())
        found.server.post.spool.begun.clear()  # as another process does it
        found.server.abort()
        assert waiting(found, NORTH).count("plan") == 1 and "abort" in waiting(found, NORTH)
        shutil.rmtree(medium)


def test_a_plan_that_is_being_fetched_counts_as_sent(tmp_path):
    with open_federation(tmp_path) as found:
        open_round(found)
        plan = next(one for one in found.server.post.spool.outgoing() if one.type == "plan" and one.recipient == NORTH)
        assert found.server.post.spool.departure(found.members["north"].party, plan.digest) is not None
        found.server.abort()
        assert "abort" in waiting(found, NORTH) and waiting(found, "member/south") == []


def test_what_was_withdrawn_is_withdrawn_after_a_restart_too(tmp_path):
    with open_federation(tmp_path) as found:
        open_round(found)
        found.server.abort()
        found.reopen(HUB)
        assert "plan" not in waiting(found)
        found.wait()
        assert found.model.done == [2]


def test_nobody_contributes_to_a_round_that_the_log_calls_over(tmp_path):
    """A courier brings the plan, and a log in which the round has ended, and nothing else."""
    with open_federation(tmp_path) as found:
        open_round(found)
        medium = tmp_path / "medium"
        medium.mkdir()
        export(found.server.post, medium, None, [], False, "", Silent())
        found.server.abort()
        while found.server.tick() and found.server.station is not None:
            pass
        north = found.members["north"]
        with open_medium(medium) as opened:
            import_from(north.post, opened, Silent())
        north.work_through()
        assert north.machine.state is State.PLANNED and len(north.due()) == 1
        for action in list(found.due()):
            if action.kind == "deliver" and action.party == NORTH:
                listed = next(one for one in found.server.post.spool.outgoing() if one.digest == action.what)
                if listed.type == "log":
                    found.act(action)
        north.work_through()
        assert north.machine.state is State.PLANNED and north.due() == []


# --- plans that are declined ------------------------------------------------------------------------------------------


def test_the_server_learns_who_declined_and_by_what(tmp_path):
    with open_federation(tmp_path) as found:
        declines(found, "north")
        found.wait()
        assert found.model.done == [1]
        ((arrived, error),) = found.members["north"].told
        assert (arrived.type, type(error), error.check) == ("plan", PlanDeclined, "P14")
        fact = found.server.post.journal.recall("declined 1", "north")
        assert (fact["check"], "do not trust" in fact["reason"]) == ("P14", True)
        ((actor, data),) = refusals(found)
        assert (actor, data["type"], data["group"], data["check"]) == (NORTH, "decline", "*", "P14")
        assert [one.type for one in found.carried if one.sender == NORTH and one.round] == ["decline"]
        assert found.server.news == ["north declined the plan by P14: " + fact["reason"] + " (round 1)"]
        assert not found.server.told
        assert found.works["north"].taken == [(1, 0)]  # it follows the result all the same


def test_nobody_waits_for_one_who_declined(tmp_path):
    with open_federation(tmp_path) as found:
        declines(found, "north")
        found.run()  # the clock stands still
        assert found.model.done == [1]


def test_a_round_that_cannot_reach_its_least_number_ends_at_once_and_costs_the_others_nothing(tmp_path):
    with open_federation(tmp_path, attempts=1) as found:
        declines(found, "north", "south")
        open_round(found)
        found.carry()
        for name in ("north", "south"):
            found.members[name].work_through()
        found.carry()
        found.server.work_through()
        assert found.server.tick()
        found.server.tick()
        assert found.server.station is None
        found.carry()
        for name in ("west", "east", "middle"):
            found.members[name].work_through()
            assert found.members[name].due() == [] and not found.members[name].machine.deals
        found.server.tick()
        assert "; north, south declined the plan by P14: " in found.server.waiting
        assert found.server.post.journal.recall_all("handed in") == {}


def test_after_the_policy_was_mended_the_next_attempt_succeeds(tmp_path):
    with open_federation(tmp_path) as found:
        declines(found, "north", "south")
        open_round(found)
        found.silent = {"west", "east", "middle"}  # or they would have pruned for it
        while found.server.station is not None and found.server.station.plan.round == 1:
            found.carry()
            for name in ("north", "south"):
                found.members[name].work_through()
            found.server.work_through()
            found.server.tick()
        found.silent.clear()
        for name in ("north", "south"):
            found.members[name].policy = found.policy
            found.members[name].renew()
            found.offer(name)
        found.run()
        assert found.model.done == [2], found.server.waiting


def declined_by(found, *names):
    """A round has ended because these declined its plan; nobody else has seen it."""
    declines(found, *names)
    open_round(found)
    round, found.silent = found.server.station.plan.round, set(found.names) - set(names)
    found.wait()
    found.silent = set()
    assert found.server.post.journal.last_round() == round and found.server.station is None


def test_a_round_that_was_declined_is_not_tried_again_while_nothing_has_changed(tmp_path):
    with open_federation(tmp_path) as found:
        declined_by(found, "north", "south", "west")
        found.reopen(HUB)
        found.run()
        assert found.server.station is None and found.server.post.journal.last_round() == 1
        assert "the next attempt begins once north, south, west have offered" in found.server.waiting
        assert found.server.post.journal.recall("given up", "*") is None
        for name in ("north", "south", "west"):
            found.members[name].policy = found.policy
        for name in ("north", "south"):
            found.offer(name)
        found.run()
        assert found.server.post.journal.last_round() == 1 and "begins once west has offered" in found.server.waiting
        found.offer("west")
        found.carry()
        found.server.work_through()
        assert found.server.tick() and found.server.station.plan.round == 2


def test_time_and_what_changes_at_the_server_begin_the_next_attempt(tmp_path):
    with open_federation(tmp_path, attempts=9, prekeys=4) as found:
        declined_by(found, "north", "south", "west")
        found.now += HOUR - 1
        assert not found.server.tick()
        found.now += 1
        assert found.server.tick() and found.server.station.plan.round == 2
        found.silent = {"east", "middle"}
        found.wait()
        found.now += HOUR
        assert not found.server.tick(), "the second time it takes twice as long"
        found.agenda = found.server.agenda = replace(found.agenda, patience=61)
        assert found.server.tick() and found.server.station.plan.round == 3
        found.wait()
        assert not found.server.tick()
        found.silent = set()
        for party in found.parties:
            found.ceremony.take(party, found.ceremony.crl())
        found.reopen(HUB)
        assert found.server.tick() and found.server.station.plan.round == 4


def test_without_those_who_declined_it_is_tried_again_where_enough_are_left(tmp_path):
    with open_federation(tmp_path) as found:
        declines(found, "north")
        open_round(found)
        found.silent = set(found.names) - {"north"}
        found.run()
        found.now = found.server.station.plan.deadlines.contribution + 1
        found.run()
        assert found.server.post.journal.last_round() == 2


def test_it_is_said_once(tmp_path):
    with open_federation(tmp_path) as found:
        declines(found, "north")
        found.run()
        found.reopen(NORTH)
        found.run()
        rows = found.server.post.journal.connection.execute("SELECT count(*) FROM inbox WHERE type = 'decline'")
        assert rows.fetchall() == [(1,)]


def say_no(found, name, round, plan_hash, body=b""):
    member = found.members[name]
    with member.post.at_once():
        member.post.send("decline", SERVER, [body or Decline("P7", "no").encode()], round, plan_hash)
    found.carry()
    found.server.work_through()


def test_what_is_no_decline_of_this_round_is_refused(tmp_path):
    with open_federation(tmp_path) as found:
        open_round(found)
        station = found.server.station
        say_no(found, "north", 1, "ab" * 32)
        say_no(found, "north", 2, station.machine.plan_hash)
        say_no(found, "north", 1, station.machine.plan_hash, b'{"check":"P7","reason":"no","v":2}')
        assert [type(error) for _, error in found.server.told] == [NotAwaited, NotAwaited, FormatError]
        assert found.server.post.journal.recall_all("declined 1") == {} and refusals(found) == []
        say_no(found, "north", 1, station.machine.plan_hash)
        say_no(found, "north", 1, station.machine.plan_hash)
        assert len(found.server.told) == 3 and len(refusals(found)) == 1


def test_one_that_comes_after_the_round_changes_nothing(tmp_path):
    with open_federation(tmp_path) as found:
        open_round(found)
        hash = found.server.station.machine.plan_hash
        found.run()
        assert found.model.done == [1]
        say_no(found, "north", 1, hash)
        assert not found.server.told and refusals(found) == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"check":"Q7","reason":"no","v":1}',
        b'{"check":"P7","reason":"' + b"x" * 201 + b'","v":1}',
        b'{"check":"P7","reason":7,"v":1}',
        b'{"check":"P7","v":1}',
        b"{}",
    ],
    ids=["no check of plans", "too long", "no text", "no reason", "nothing"],
)
def test_bodies_that_are_refused(body):
    with pytest.raises(FormatError):
        Decline.parse(body)


def test_a_reason_is_one_short_printable_line():
    found = Decline.of("P13", "P13: a\x07 \u2028 " + "long " * 100)
    assert Decline.parse(found.encode()) == found
    assert found.reason.startswith("a") and len(found.reason) == 200
