"""`fedprune server` and `fedprune client`: files they write, what they pass on, what they say and refuse."""

import io
import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import click
import pytest
from fedprune_cli import logs
from fedprune_cli.client import client
from fedprune_cli.main import cli
from fedprune_cli.server import server

from fedspallm_secure.app.configuration.federation import read_federation
from fedspallm_secure.app.configuration.member import read_member
from fedspallm_secure.errors import OutputExists, PatternMismatch, PlanDeclined, UsageError
from tests.ceremony import Ceremony
from tests.ground import make_ground

Fedprune = Callable[..., tuple[int, str, str]]
PARTIES = ("server/hub", "member/north", "member/south", "member/west", "witness/wyn")
SERVER = ["server", "init", "--home", "server-hub", "--model", "model"]
CLIENT = ["client", "init", "--home", "member-north", "--model", "model", "--text", "north.jsonl"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a model and a text, nobody at the terminal, and both groups in place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setenv("FEDPRUNE_PASSWORD", "open sesame")
    monkeypatch.setitem(cli.commands, "server", server)
    monkeypatch.setitem(cli.commands, "client", client)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    (tmp_path / "north.jsonl").write_text('{"text": "x"}\n')
    return tmp_path


@pytest.fixture
def enrolled(place: Path) -> Ceremony:
    """A federation on disk: a server, three members and a witness."""
    ceremony = Ceremony(place)
    ceremony.enrol_all(*PARTIES)
    return ceremony


def refused(result: tuple[int, str, str], code: int, *words: str) -> None:
    found, out, err = result
    assert (found, out) == (code, ""), err
    lines = [line for line in err.splitlines() if not line.startswith("fedprune: warning")]
    assert [line.split(":")[1] for line in lines] == [" error", " hint"], err
    for word in words:
        assert word in err


class Person(io.StringIO):
    def isatty(self) -> bool:
        return True


# Writing the files


def test_a_server_begins(enrolled, fedprune, place):
    code, out, err = fedprune(*SERVER)
    assert (code, out) == (0, "Written: federation.toml, for rounds of 3 members\n")
    assert [line for line in err.splitlines() if line.startswith("Next: ")] == [
        "Next: read it: every key has its meaning above it",
        "Next: fedprune doctor",
        "Next: fedprune server run",
    ]
    found = read_federation(place / "federation.toml")
    assert (found.server.home, found.model.path) == (place / "server-hub", place / "model")
    assert str(found.pruning.targets[0]) == "50 %"


def test_a_server_begins_with_everything_said(enrolled, fedprune, place):
    (place / "etc").mkdir()
    words = [
        "--schedule",
        "0.3, 0.5",
        "--pruner",
        "wanda",
        "--strategy",
        "votes",
        "--compare",
        "row",
        "--member",
        "west",
    ]
    words += [
        "--member",
        "north",
        "--member",
        "south",
        "--min-cohort",
        "3",
        "--spread",
        "--colluders",
        "0",
        "--seed",
        "7",
    ]
    words += ["--profile", "two-trip-witnessed", "--witness", "wyn", "--sum-bits", "16", "--data", "work", "--by-hand"]
    words += ["--anchor", "far"]
    words += ["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:9464", "--out", "etc/rounds.toml", "--json"]
    code, out, _ = fedprune(*SERVER, *words)
    assert code == 0
    assert json.loads(out) == {"config": "etc/rounds.toml", "home": "server-hub", "roster": 1}
    found = read_federation(place / "etc/rounds.toml")
    assert (found.server.home.resolve(), found.server.data.resolve()) == (place / "server-hub", place / "work")
    assert found.server.anchor.resolve() == place / "far"
    assert [str(target) for target in found.pruning.targets] == ["30 %", "50 %"]
    assert (found.rounds.members, found.rounds.sum_bits) == (("north", "south", "west"), 16)
    assert found.deadlines.contribution == 14 * 86400


def test_colluders_alone_give_the_least_cohort_that_fits(place, fedprune):
    Ceremony(place).enrol_all(*PARTIES, "member/east")
    code, out, _ = fedprune(*SERVER, "--colluders", "1")
    assert (code, out) == (0, "Written: federation.toml, for rounds of 4 members\n")
    found = read_federation(place / "federation.toml").rounds
    assert (found.min_cohort, found.colluders) == (4, 1)
    assert "a number under colluders below, 3 more than that" in " ".join(
        (place / "federation.toml").read_text().replace("#", "").split()
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--home", "member-north"], 2, ["home of member/north, not of a server", "fedprune client init"]),
        (["--home", "witness-wyn"], 2, ["not of a server"]),
        (["--home", "nowhere"], 11, ["nobody's home"]),
        (["--model", "nowhere"], 11, ["not a model folder"]),
        (["--member", "nobody"], 2, ["--member nobody: there is no such member", "north, south, west"]),
        (["--witness", "north"], 2, ["no such witness", "wyn"]),
        (["--min-cohort", "4"], 2, ["3 members cannot make a cohort of 4"]),
        (["--sparsity", "0.5", "--pattern", "2:4"], 2, ["keep one of them"]),
        (["--sparsity", "2"], 2, ["--sparsity", "below 1"]),
        (["--listen", "here"], 2, ["--listen", "ADDRESS:PORT"]),
        (["--colluders", "1"], 2, ["3 members cannot make a cohort of 4", "3 members more than --colluders"]),
        (["--member", "north"], 2, ["1 member cannot make a cohort of 3"]),
        (["--colluders", "1", "--min-cohort", "3"], 2, ["--min-cohort: with colluders = 1", "at least 4 members"]),
        (["--pattern", "2:1"], 2, ["2:1"]),
    ],
)
def test_a_server_that_cannot_begin(enrolled, fedprune, place, words, code, said):
    refused(fedprune(*SERVER, *words), code, *said)
    assert not (place / "federation.toml").exists()


def test_nothing_is_overwritten(enrolled, fedprune, place):
    (place / "federation.toml").write_text("mine")
    (place / "member.toml").write_text("mine")
    refused(fedprune(*SERVER), OutputExists.exit_code, "already exists")
    refused(fedprune(*CLIENT, "--by-hand"), OutputExists.exit_code, "already exists")
    assert (place / "federation.toml").read_text() == (place / "member.toml").read_text() == "mine"


def test_a_home_without_a_roster_cannot_begin(place, fedprune):
    Ceremony(place).enrol("server/hub")
    refused(fedprune(*SERVER), 11, "no roster yet", "fedprune certs import")


def test_a_roster_without_a_server_is_not_enough(place, fedprune):
    ceremony = Ceremony(place)
    ceremony.enrol("member/north")
    ceremony.take("member/north", ceremony.roster())
    refused(fedprune(*CLIENT, "--by-hand"), 11, "no server in version 1 of the roster")


def test_a_member_begins(enrolled, fedprune, place):
    code, out, err = fedprune(*CLIENT, "--url", "https://hub.example.org:8443")
    assert (code, out) == (0, "Written: member.toml, for server/hub, reached at https://hub.example.org:8443\n")
    assert "Next: fedprune doctor\nNext: fedprune client run\n" in err
    found = read_member(place / "member.toml")
    assert (found.server.id, found.texts.files) == ("hub", (place / "north.jsonl",))


def test_a_member_begins_with_more_said(enrolled, fedprune, place):
    words = [
        "--by-hand",
        "--server",
        "hub",
        "--layers",
        "8",
        "--gpu-memory",
        "20 GiB",
        "--samples",
        "8",
        "--seqlen",
        "64",
    ]
    words += ["--profile", "two-trip-witnessed", "--witness", "wyn", "--pruner", "wanda", "--device", "cpu", "--json"]
    words += ["--metrics", "127.0.0.1:9465", "--seed", "7", "--anchor", "far"]
    code, out, _ = fedprune(*CLIENT, *words)
    assert code == 0
    assert json.loads(out) == {"config": "member.toml", "home": "member-north", "server": "hub", "url": ""}
    found = read_member(place / "member.toml")
    assert (found.budget.layers, found.budget.gpu_memory, found.texts.seqlen) == (8, 20 << 30, 64)
    assert (found.policy.witnesses, found.policy.pruners, found.compute.device) == (("wyn",), ("wanda",), "cpu")
    assert str(found.member.metrics) == "127.0.0.1:9465"
    assert (found.texts.seed, found.member.anchor) == (7, place / "far")


def test_whoever_carries_takes_two_journeys_where_a_matrix_is_released_once(enrolled, place, fedprune):
    three = "three-trip"
    for words, profile in (([], "two-trip"), (["--schedule", "0.3,0.5"], three), (["--profile", three], three)):
        (place / "federation.toml").unlink(missing_ok=True)
        assert fedprune(*SERVER, "--by-hand", *words)[0] == 0
        assert read_federation(place / "federation.toml").rounds.profile == profile


def test_a_member_that_carries_accepts_both(enrolled, fedprune, place):
    assert fedprune(*CLIENT, "--by-hand")[0] == 0
    assert read_member(place / "member.toml").policy.profiles == ("three-trip", "two-trip")


def test_a_member_begins_with_a_privacy_budget(enrolled, fedprune, place):
    code, _, _ = fedprune(*CLIENT, "--by-hand", "--dp-epsilon", "8", "--dp-delta", "1e-7", "--dp-rounds", "3")
    assert code == 0
    found = read_member(place / "member.toml").terms
    assert (found.settings.epsilon, found.settings.delta, found.settings.clip, found.rounds) == (8, 1e-7, 1, 3)
    text = (place / "member.toml").read_text()
    assert 'epsilon = "8"\n' in text and "No plan decides any of this." in " ".join(text.replace("#", "").split())


def test_a_pattern_that_does_not_divide_the_rows_is_refused_at_once(enrolled, fedprune, place):
    shutil.rmtree(place / "model")
    make_ground(place)
    refused(fedprune(*SERVER, "--pattern", "2:5"), PatternMismatch.exit_code, "--pattern 2:5: layer 0", "2:5")
    assert not (place / "federation.toml").exists()
    assert fedprune(*SERVER, "--pattern", "2:4")[0] == 0


def test_a_member_is_asked_where_the_server_is(enrolled, fedprune, place, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Person("https://hub.example.org\n"))
    code, out, err = fedprune(*CLIENT)
    assert (code, out) == (0, "Written: member.toml, for server/hub, reached at https://hub.example.org\n")
    assert "Where does server/hub listen?" in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, ["how is the server reached?", "--by-hand"]),
        (["--by-hand", "--url", "https://x"], 2, ["exclude each other"]),
        (["--url", "http://hub:8443"], 2, ["error: --url = ", "https://", "correct the options"]),
        (["--by-hand", "--server", "spare"], 2, ["--server spare: there is no such server", "there are hub"]),
        (["--by-hand", "--home", "server-hub"], 2, ["not of a member", "fedprune server init"]),
        (["--by-hand", "--text", "south.txt"], 11, ["south.txt does not exist"]),
        (["--by-hand", "--upload-rate", "1 KiB/s"], 2, ["--upload-rate", "128 KiB/s"]),
        (["--by-hand", "--metrics", "0.0.0.0:9465"], 2, ["--metrics = ", "this machine alone"]),
        (["--by-hand", "--dp-epsilon", "0"], 2, ["--dp-epsilon = ", "above 0 and at most 100"]),
        (["--by-hand", "--dp-epsilon", "8", "--dp-delta", "0.5"], 2, ["--dp-delta = 0.5 and --samples = 32"]),
        (["--by-hand", "--dp-epsilon", "8", "--pruner", "magnitude"], 2, ["--dp-epsilon prunes by wanda alone"]),
    ],
)
def test_a_member_that_cannot_begin(enrolled, fedprune, place, words, code, said):
    refused(fedprune(*CLIENT, *words), code, *said)
    assert not (place / "member.toml").exists()


def test_of_several_servers_one_is_named(enrolled, fedprune):
    enrolled.enrol("server/spare")
    enrolled.take("member/north", enrolled.roster())
    refused(fedprune(*CLIENT, "--by-hand"), 2, "several servers: hub, spare", "--server")
    assert fedprune(*CLIENT, "--by-hand", "--server", "spare")[0] == 0


# Running


def module(monkeypatch: pytest.MonkeyPatch, name: str, **members: object) -> None:
    """Put a module in the place of one of the service."""
    made = ModuleType(name)
    vars(made).update(members)
    monkeypatch.setitem(sys.modules, f"fedspallm_secure.app.service.{name}", made)


@pytest.fixture
def calls(place, monkeypatch) -> list[tuple]:
    """What the two services are called with; they log a line and end with code 3."""
    found: list[tuple] = []

    def service(path, unlock, once, progress, until_done=False):
        found.append((path, unlock("the keys of hub").encoded, once))
        progress.say("hello\x1b")
        progress.update("prune", 1, 4, "layers")
        progress.update("prune", 4, 4, "layers")
        logging.getLogger("fedspallm_secure.transport.gate").warning("slow peer", extra={"peer": "member/x"})
        return 3

    module(monkeypatch, "server", run_server=service)
    module(monkeypatch, "client", run_client=service)
    return found


@pytest.mark.parametrize(("group", "name"), [("server", "federation.toml"), ("client", "member.toml")])
def test_run_is_meant_when_nothing_is_said(group, name, calls, fedprune, place):
    refused(fedprune(group), 11, f"no {name} in this folder", f"fedprune {group} init")
    (place / name).write_text("")
    code, out, err = fedprune(group)
    assert (code, out) == (3, "")
    assert calls == [(Path(name), b"open sesame", False)]
    assert [line.split(" ", 1)[1] for line in err.splitlines()] == [
        "hello\\x1b",
        "prune: 4 layers in 0.0 s",
        "warning: slow peer",
    ]
    assert fedprune(group, "--once")[0] == 3
    assert fedprune(group, "run", "--config", str(place), "--once")[0] == 3
    assert [call[0] for call in calls[1:]] == [Path(name), place / name]
    assert calls[-1][2] is True
    code, out, _ = fedprune(group, "-h")
    assert code == 0
    assert "run is meant" in out
    assert [line.split()[0] for line in out.split("Commands:\n")[1].splitlines()][:3] == ["init", "run", "status"]


def test_a_declined_plan_is_told_with_what_is_to_be_carried(calls, fedprune, place, monkeypatch):
    def declining(*_):
        raise PlanDeclined("I do not trust it", check="P14")

    module(monkeypatch, "client", run_client=declining)
    module(monkeypatch, "status", status_of=lambda path: {"leaving": [{"recipient": "server/hub"}]})
    (place / "member.toml").write_text("")
    code, out, err = fedprune("client", "run", "--once")
    assert (code, out) == (102, "")
    assert [line.split(": ")[0:2] for line in err.splitlines()] == [
        ["Next", "for server/hub"],
        ["fedprune", "error"],
        ["fedprune", "hint"],
    ]


def test_logs_for_machines(calls, fedprune, place):
    (place / "member.toml").write_text("")
    code, out, err = fedprune("client", "run", "--json-log")
    assert (code, out) == (3, "")
    lines = [json.loads(line) for line in err.splitlines()]
    assert [line["message"] for line in lines] == ["hello\x1b", "prune: 4 layers in 0.0 s", "slow peer"]
    assert "\x1b" not in err
    assert lines[1] | {"at": "", "seconds": 0} == {
        "at": "", "level": "info", "source": "progress", "message": "prune: 4 layers in 0.0 s", "task": "prune",
        "done": 4, "total": 4, "unit": "layers", "seconds": 0,
    }  # fmt: skip
    assert (lines[2]["level"], lines[2]["source"], lines[2]["peer"]) == ("warning", "transport.gate", "member/x")


@pytest.mark.parametrize("group", ["server", "client"])
def test_errors_for_machines(place, fedprune, group):
    """What keeps a service from beginning, and what ends it, is a line of the log like the others."""
    code, out, err = fedprune(group, "run", "--json-log")
    assert (code, out) == (11, "")
    (found,) = [json.loads(line) for line in err.splitlines()]
    assert list(found) == ["at", "level", "source", "message", "hint", "code"]
    assert (found["level"], found["source"], found["code"]) == ("error", "cli", 11)
    assert ".toml in this folder" in found["message"] and f"fedprune {group} init" in found["hint"]
    name = "federation.toml" if group == "server" else "member.toml"
    (place / name).write_text("100 % wrong\x1b = [")
    code, out, err = fedprune(group, "--json-log")
    assert (json.loads(err)["code"], out) == (code, "")
    assert code != 11 and "\x1b" not in err
    (found,) = [json.loads(line) for line in fedprune(group, "--json-log", "--no-such-option")[2].splitlines()]
    assert found["code"] == 2 and "--no-such-option" in found["message"]


def test_errors_for_machines_where_the_environment_asks_for_them(place, fedprune, monkeypatch):
    monkeypatch.setenv("FEDPRUNE_SERVER_RUN_JSON_LOG", "1")
    assert json.loads(fedprune("server")[2])["code"] == 11
    refused(fedprune("client"), 11, "no member.toml")


def test_progress_for_somebody_who_watches(calls, fedprune, place):
    (place / "member.toml").write_text("")
    _, _, err = fedprune("client", "run", "--foreground-progress")
    assert "prune: 4 layers in 0.0 s\n" in err


def test_logging_is_as_before_when_a_service_has_ended(calls, fedprune, place):
    logger = logging.getLogger("fedspallm_secure")
    before = list(logger.handlers), logger.level, logger.propagate
    (place / "member.toml").write_text("")
    fedprune("client")
    assert (list(logger.handlers), logger.level, logger.propagate) == before


def test_a_failure_is_logged_with_its_error():
    try:
        raise UsageError("no such thing")
    except UsageError:
        record = logging.makeLogRecord(
            {"name": "fedspallm_secure.x", "msg": "gave up", "levelno": logging.ERROR, "levelname": "ERROR",
             "exc_info": sys.exc_info(), "created": 0.0, "odd": Path("x")}
        )  # fmt: skip
    assert json.loads(logs.JsonLines().format(record)) == {
        "at": "1970-01-01T00:00:00.000Z", "level": "error", "source": "x", "message": "gave up", "odd": "x",
        "error": "UsageError: no such thing",
    }  # fmt: skip
    assert logs.PlainLines().format(record) == "1970-01-01T00:00:00.000Z error: gave up: no such thing"


# Looking and ending


@pytest.mark.parametrize(("group", "name"), [("server", "federation.toml"), ("client", "member.toml")])
def test_rounds_there_were(place, fedprune, monkeypatch, group, name):
    plan = {"round": 3, "step": 1, "target": "50 %", "result": "ab" * 32, "opened": 7, "over": None, "ended": "result"}
    own = {"layers": [0, 1], "in_the_sum": [1]}
    all = {"layers": 2, "cohorts": "3", "in_the_sum": ["north"], "left_out": ["west"]}
    rows: list[dict] = []
    module(monkeypatch, "control", rounds_of=lambda path: rows if path == Path(name) else None)
    refused(fedprune(group, "rounds"), 11, f"no {name} in this folder")
    (place / name).write_text("")
    assert fedprune(group, "rounds") == (0, "No rounds yet.\n", "")
    rows.append(plan | (all if group == "server" else own))
    code, out, _ = fedprune(group, "rounds")
    assert code == 0 and "abababababab" in out
    assert ("1, without west" if group == "server" else "0-1; in the sum: 1") in out
    code, out, _ = fedprune(group, "rounds", "--json")
    assert (code, json.loads(out)) == (0, {"rounds": rows})


def test_abort_and_leave(place, fedprune, monkeypatch):
    done: list[tuple] = []
    module(
        monkeypatch,
        "control",
        abort_round=lambda path, number, reason: done.append((path, number, reason)),
        check_can_leave=lambda path, undo: None,
        leave=lambda path, undo: done.append((path, undo)),
    )
    (place / "federation.toml").write_text("")
    (place / "member.toml").write_text("")
    refused(fedprune("server", "abort", "3", "--reason", "wrong model"), 2, "nobody can be asked", "--yes")
    assert not done
    code, out, _ = fedprune("server", "abort", "3", "--reason", "wrong model", "--yes")
    assert (code, out) == (0, "Asked: the server ends round 3\n")
    monkeypatch.setattr(sys, "stdin", Person("n\n"))
    assert fedprune("client", "leave")[0] == 130
    assert len(done) == 1
    monkeypatch.setattr(sys, "stdin", Person("y\n"))
    code, out, err = fedprune("client", "leave", "--json")
    assert (code, json.loads(out)) == (0, {"asked": "leave"})
    assert done == [(Path("federation.toml"), 3, "wrong model"), (Path("member.toml"), False)]
    code, out, err = fedprune("client", "leave", "--undo")
    assert (code, out, err) == (0, "Asked: you take part in rounds again\n", "Next: fedprune client run\n")
    assert done[-1] == (Path("member.toml"), True)


def test_whose_file_it_is_is_said_before_anybody_is_asked(enrolled, fedprune, place):
    assert fedprune(*SERVER)[0] == 0
    refused(
        fedprune("client", "leave", "--config", "federation.toml"), 2, "cannot leave rounds", "fedprune server abort"
    )


def test_the_real_status_of_somebody_who_has_not_begun(enrolled, fedprune):
    fedprune(*SERVER)
    fedprune(*CLIENT, "--by-hand")
    for group in ("server", "client"):
        code, out, err = fedprune(group, "status")
        assert (code, err) == (0, "")
        assert out
        assert json.loads(fedprune(group, "status", "--json")[1])["state"] == "not begun"
    assert fedprune("server", "rounds")[:2] == (0, "No rounds yet.\n")
    assert json.loads(fedprune("server", "rounds", "--json")[1]) == {"rounds": []}


def test_every_command_has_an_example_and_every_option_a_word():
    for group in (server, client):
        for command in group.commands.values():
            assert "fedprune" in (command.epilog or ""), command.name
            for parameter in command.params:
                assert not isinstance(parameter, click.Option) or parameter.help, parameter.name
