"""What an operator asks for from another process, and nonsense that is refused."""

import pytest

from fedspallm_secure.app.service.control import REASON_LIMIT, abort_round, leave, rounds_of
from fedspallm_secure.app.service.status import status_of
from fedspallm_secure.errors import OutOfTurn, UsageError
from fedspallm_secure.protocol.rounds.policy import Policy
from tests.app.service.stages import open_round, write_configs
from tests.stationary import SERVER, Stations, stations


@pytest.fixture
def found(tmp_path):
    with stations(tmp_path, members=4, layers=2) as made:
        write_configs(tmp_path, made.names)
        yield made


def wish(found: Stations, name: str = "abort"):
    return found.server.post.journal.recall("control", name)


def test_a_round_is_aborted_beside_the_service(found, tmp_path):
    open_round(found, ("west",))
    abort_round(tmp_path / "federation.toml", 1, " wrong model ")
    assert (wish(found)["round"], wish(found)["reason"]) == (1, "wrong model")
    assert status_of(tmp_path / "federation.toml")["control"]["round"] == 1
    abort_round(tmp_path / "federation.toml", 1, "again")
    assert wish(found)["reason"] == "again"


@pytest.mark.parametrize("number", [0, -1, 2, 10**30], ids=["none", "negative", "next", "huge"])
def test_there_is_no_such_round(found, tmp_path, number):
    open_round(found, ("west",))
    with pytest.raises(UsageError, match="no round"):
        abort_round(tmp_path / "federation.toml", number, "x")
    assert wish(found) is None


@pytest.mark.parametrize(
    "reason", ["", "  ", "a\nb", "\x1b[2J", "x" * (REASON_LIMIT + 1)], ids=["empty", "blank", "lines", "escape", "long"]
)
def test_a_reason_that_is_none(found, tmp_path, reason):
    open_round(found, ("west",))
    with pytest.raises(UsageError, match="one line"):
        abort_round(tmp_path / "federation.toml", 1, reason)
    assert wish(found) is None


def test_nothing_that_is_over_is_aborted(found, tmp_path):
    found.run()
    with pytest.raises(OutOfTurn, match="over already"):
        abort_round(tmp_path / "federation.toml", 1, "x")
    (one,) = rounds_of(tmp_path / "federation.toml")
    assert (one["ended"], one["in_the_sum"], one["left_out"]) == ("result", sorted(found.names), [])
    assert (one["cohorts"], one["layers"], one["target"]) == ("4", 2, "50 %")
    assert one["opened"] is not None
    assert one["over"] is not None
    (own,) = rounds_of(tmp_path / "north.toml")
    assert (own["ended"], own["layers"], own["in_the_sum"]) == ("result", [0, 1], [0, 1])
    assert own["result"] == one["result"]
    assert own["over"] >= own["opened"] > 0 and (own["check"], own["reason"]) == ("", "")


def test_a_round_that_goes_on_is_listed(found, tmp_path):
    assert rounds_of(tmp_path / "federation.toml") == []
    open_round(found, ("west",))
    (one,) = rounds_of(tmp_path / "federation.toml")
    assert (one["ended"], one["result"], one["in_the_sum"], one["over"]) == ("collecting", None, [], None)
    (own,) = rounds_of(tmp_path / "north.toml")
    assert (own["ended"], own["over"]) == ("going on", None)


def test_rounds_that_a_member_declined(tmp_path):
    """All four are needed, and it declines before anybody has sealed anything: so the round is tried again."""
    with stations(tmp_path, members=4, layers=2) as found:
        write_configs(tmp_path, found.names)
        north = found.members["north"]
        found.carry()
        trusting, north.policy = north.policy, Policy(SERVER, 1, software=frozenset({"other/1"}))
        north.renew()
        found.server.work_through()
        assert found.server.tick()
        found.silent = {"south", "west", "east"}
        found.run()
        (row,) = rounds_of(tmp_path / "north.toml")
        assert (row["ended"], row["check"], row["target"], row["layers"]) == ("declined", "P14", "50 %", [0, 1])
        assert row["reason"].startswith("the server runs ") and row["opened"] > 0
        assert (row["result"], row["in_the_sum"]) == (None, [])
        north.policy = trusting
        north.renew()
        found.silent, found.now = set(), found.now + 100
        found.offer("north")
        found.run()
        first, second = rounds_of(tmp_path / "north.toml")
        results = [one["result"] for one in rounds_of(tmp_path / "federation.toml")]
        assert [first["result"], second["result"]] == results and second["result"]
        assert second["over"] >= second["opened"] and (first["check"], second["check"]) == ("P14", "")
        assert second["in_the_sum"] == [0, 1] and (first["step"], second["step"]) == (1, 1)


def test_what_was_no_plan_for_this_member_is_no_round_of_it(found, tmp_path):
    open_round(found, ("west",))
    row = "INSERT INTO inbox VALUES (?, 'server/hub', 'a key', 'plan', ?, '*', 9, 10, ?, 'refused', ?)"
    for number, reason in ((2, "P2: another server"), (3, "P4: an old one"), (4, "no plan"), (5, "P3: a roster")):
        with found.members["north"].post.journal.transaction():
            connection = found.members["north"].post.journal.connection
            connection.execute(row, (f"{number:064x}", number, found.now, reason))
    rows = rounds_of(tmp_path / "north.toml")
    assert [(one["round"], one["check"], one["layers"]) for one in rows] == [(1, "", [0, 1]), (5, "P3", [])]
    assert (rows[1]["step"], rows[1]["target"]) == (None, None)  # the plan was not kept


def test_a_member_leaves_and_comes_back(found, tmp_path):
    path, journal = tmp_path / "north.toml", found.members["north"].post.journal
    with pytest.raises(UsageError, match="has not left"):
        leave(path, undo=True)
    leave(path)
    assert journal.recall("control", "leave")["at"] > 0
    leave(path)
    leave(path, undo=True)
    assert journal.recall("control", "leave") is None
    with journal.transaction():
        journal.remember("left", "*", {"at": 1})
    assert status_of(path)["state"] == "left"
    with pytest.raises(UsageError, match="left already"):
        leave(path)
    leave(path, undo=True)
    assert journal.recall("left", "*") is None
    assert status_of(path)["state"] == "waiting for a plan"


def test_it_is_for_one_side_only(found, tmp_path):
    with pytest.raises(UsageError, match="member cannot abort"):
        abort_round(tmp_path / "north.toml", 1, "x")
    with pytest.raises(UsageError, match="server cannot leave"):
        leave(tmp_path / "federation.toml")


def test_before_anything_has_run(tmp_path):
    made = Stations(tmp_path, members=3)
    write_configs(tmp_path, made.names)
    assert rounds_of(tmp_path / "federation.toml") == rounds_of(tmp_path / "north.toml") == []
    with pytest.raises(UsageError, match="no round 1 yet"):
        abort_round(tmp_path / "federation.toml", 1, "x")
    with pytest.raises(UsageError, match="nothing yet"):
        leave(tmp_path / "north.toml")
