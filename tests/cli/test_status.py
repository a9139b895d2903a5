"""`fedprune status` as people see it: on a narrow terminal without colour, while it changes, and as JSON."""

import json
import sys

import pytest
from fedprune_cli import status as command
from fedprune_cli.main import cli, run
from fedprune_cli.spelling import ago, listed, moment, numbers, span
from fedprune_cli.status import _ended, lasting, print_rounds, status_text
from fedprune_cli.status_text import _waiting as waits
from rich.console import Console

from fedspallm_secure.app.service import status as service
from fedspallm_secure.app.service.control import rounds_of
from fedspallm_secure.app.service.status import status_of
from fedspallm_secure.app.service.watched import SAYS
from tests.app.service.stages import open_round, write_configs
from tests.stationary import stations


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A round that waits for two of six."""
    folder = tmp_path_factory.mktemp("status")
    with stations(folder, members=6, layers=4) as found:
        write_configs(folder, found.names)
        open_round(found, ("west", "middle"))
        yield folder


def text_of(found, width=80):
    out = Console(width=width, record=True, color_system=None, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    out.print(status_text(found, width))
    out.file.close()
    return out.export_text()


def test_a_server_at_80_columns(place):
    text = text_of(status_of(place / "federation.toml"))
    assert max(map(len, text.splitlines())) <= 80
    assert "server/hub of lungs.example: not running" in text
    assert "for middle, west" in text
    assert any(line.startswith("Until") and line.rstrip().endswith("left") for line in text.splitlines())
    assert ["0-3", "6", "5", "4", "middle,", "west"] in [line.split() for line in text.splitlines()]
    assert ["west", "all", "layers", "1", "left", "not", "fetched", "0", "of", "4"] in [
        line.split()[:10] for line in text.splitlines()
    ]


def test_what_a_server_has_for_couriers(place):
    text = text_of(status_of(place / "federation.toml"), 120)
    assert "To be carried" in text and "fedprune bundle export" in text
    assert ["member/west", "plan", "1", "1"] in [line.split()[:4] for line in text.splitlines()]


def test_plans_that_were_declined(place):
    found = status_of(place / "federation.toml")
    one = {"member": "north", "check": "P14", "reason": "I do not prune with wanda", "at": 0}
    text = text_of({**found, "round": {**found["round"], "declined": [one]}, "model": "/data/model"}, 120)
    assert "north declined the plan by P14: I do not prune with wanda" in text
    assert "declined: P14" in text and "/data/model" in text
    others = [one, one | {"member": "south"}, one | {"member": "west", "check": "P13"}]
    text = text_of({**found, "round": {**found["round"], "declined": others}}, 120)
    assert text.count("I do not prune with wanda") == 2
    assert "north, south declined the plan by P14: I" in text and "west declined the plan by P13: I" in text
    assert _ended({"ended": "no result", "declined": others}) == (
        "no result: north, south declined by P14; west declined by P13"
    )
    found = status_of(place / "north.toml")
    declined = {"round": 2, "check": "P14", "reason": "P14: the time to contribute is over"}
    waits_for_one = {**found, "state": "waiting for a plan", "declined": declined}
    assert "you have accepted none yet" in text_of(waits_for_one, 120)
    assert "has not opened a round with you yet" in text_of({**waits_for_one, "declined": None}, 120)
    assert "the plan of round 2 by P14: the time" in text_of({**found, "declined": declined}, 120)


def test_a_member_at_80_columns(place):
    text = text_of(status_of(place / "north.toml"))
    assert max(map(len, text.splitlines())) <= 80
    assert "sent, receipt here" in text
    assert "server/hub, carried by hand: last contact" in text


def test_a_member_whose_work_folder_lacks_something(place):
    found = status_of(place / "north.toml") | {"follows": {"round": 1, "result": "ab", "layers": 4, "missing": []}}
    assert "Trouble" not in text_of(found) and "4 in the result; all here" in text_of(found)
    text = " ".join(text_of(found | {"lacking": "/data/model is gone: copy it"}).split())
    assert "Trouble /data/model is gone: copy it" in text and "4 in the result; all came" in text


def test_a_member_that_lacks_layers_is_told_which_and_what_its_model_is(place):
    found = status_of(place / "north.toml") | {"model": "/data/model", "model_round": 2}
    for missing, said in (([0], "layer 0 is missing"), ([0, 2], "layers 0, 2 are missing")):
        text = text_of(found | {"follows": {"round": 3, "result": "ab", "layers": 6, "missing": missing}})
        assert f"Layers of round 3: 6 in the result; {said}" in text
        assert "/data/model, of round 2" in text


def test_a_member_with_a_privacy_budget_at_80_columns(place):
    path = place / "north.toml"
    assert status_of(path)["privacy"] is None and "Privacy" not in text_of(status_of(path))
    private = place / "private.toml"
    private.write_text(path.read_text() + "[privacy]\nepsilon = 8\nrounds = 2\n")
    found = status_of(private)
    assert (found["privacy"]["spent"], found["privacy"]["releases_left"], found["privacy"]["records"]) == (0, 2, 32)
    text = text_of(found)
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.split())
    assert (
        "Privacy: nothing is spent yet; there is epsilon 8 at delta 1e-06 for 2 rounds; a record is one of 32" in words
    )
    spent = found["privacy"] | {"spent": 5.4, "left": 2.6, "releases": 1, "releases_left": 1}
    words = " ".join(text_of(found | {"privacy": spent}).split())
    assert "(5.4, 1e-06) record-level differential privacy for the released keep-masks with respect to your" in words
    assert "left of epsilon 8 at delta 1e-06 for 2 rounds: epsilon 2.60, 1 round; a record is one of 32" in words


def test_what_is_on_the_way(place):
    move = {"key": "k", "direction": "down", "peer": "member/west", "type": "contribution", "round": 1, "group": "2"}
    found = status_of(place / "federation.toml") | {
        "running": True, "pid": 7, "trouble": "no connection\x1b", "warnings": ["soon over"],
        "transfers": [{**move, "done": 1 << 30, "size": 3 << 30, "rate": 1 << 20, "left": 2048}],
        "work": [{"task": "add up", "done": 1, "total": 4, "unit": "layers", "rate": 0.1, "left": 30},
                 {"task": "mask", "done": 1 << 20, "total": 4 << 20, "unit": "bytes", "rate": 2 << 20, "left": 2},
                 {"task": "read", "done": 1, "total": 2, "unit": "files", "rate": 0.0, "left": None}],
        "refused": [{"sender": "member/west", "type": "contribution", "layer": 2, "check": "S4", "at": 0,
                     "reason": "S4: a row does not give its commitment"}],
    }  # fmt: skip
    text = text_of(found, 120)
    for words in (
        "running, pid 7", "no connection\\x1b", "soon over", "contribution 2", "1.0 GiB of 3.0 GiB", "1.0 MiB/s",
        "34 min 8 s left", "add up: 1 of 4 layers, 6.0 layers/min, about 30 s left",
        "mask: 1.0 MiB of 4.0 MiB, 2.0 MiB/s, about 2 s left", "read: 1 of 2 files\n", "S4     a row does not give",
    ):  # fmt: skip
        assert words in text
    assert max(map(len, text_of(found).splitlines())) <= 80


def test_a_server_that_waits_to_begin_says_for_what():
    row = {"member": "north", "offered": None, "certificate": ""}
    found = {"role": "server", "state": "offers", "round": None, "members": [row], "phase": "the server's own words"}
    assert waits(found) == ["for offers of north"]
    assert waits({**found, "members": [{**row, "certificate": "not valid"}]}) == ["the server's own words"]
    row["offered"] = 1
    assert waits(found) == ["the server's own words"], "everybody is there, and still no round begins"
    assert waits({**found, "phase": "offers"}) == waits({**found, "phase": ""}) == []


def test_a_member_that_the_server_waits_for_is_told_what_for():
    found = {"role": "member", "state": "waiting for a plan", "round": None, "phase": f"{SAYS}north would decline it"}
    assert waits(found) == ["the server says: north would decline it"]
    assert waits({**found, "phase": "round 1 is collecting"}) == []


def test_what_has_moved_as_a_whole_does_not_stand_still(place):
    move = {"key": "k", "direction": "up", "peer": "server/hub", "type": "contribution", "round": 1, "group": "2"}
    rows = [
        {**move, "done": done << 20, "size": 3 << 20, "rate": 0, "left": left} for done, left in ((2, None), (3, None))
    ]
    first, second = text_of(status_of(place / "north.toml") | {"transfers": rows}, 120).splitlines()[-2:]
    assert first.split()[-2:] == ["standing", "still"]
    assert second.split()[-4:] == ["of", "3.0", "MiB", "complete"]


def test_a_round_that_ended_without_a_result(place):
    found = status_of(place / "federation.toml")
    groups = [group | {"ended": "BAD_DEALING"} for group in found["round"]["groups"]]
    text = text_of(
        {**found, "state": "finished", "round": {**found["round"], "state": "finished", "groups": groups}}, 120
    )
    assert "finished: the round is over, without a result: BAD_DEALING" in text
    found = status_of(place / "north.toml")
    assert "no list yet, not endorsed, not answered; no result yet" in text_of(found)
    text = text_of({**found, "round": {**found["round"], "ended": {"*": "STOPPED"}}}, 120)
    assert "no result, for the round ended: STOPPED" in text


@pytest.mark.parametrize("state", ["done", "given up", "between rounds"])
def test_states_between_rounds(place, state):
    found = status_of(place / "federation.toml")
    found |= {"state": state, "round": {**found["round"], "over": True, "result": "ab" * 32}}
    assert f"{state}: " in text_of(found)


def test_json(place, capfd, monkeypatch):
    monkeypatch.setitem(cli.commands, "status", command.status)
    assert run(["status", "--config", str(place / "federation.toml"), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["state"] == "collecting"
    assert run(["status", "--config", str(place)]) == 0
    assert run(["status", "--config", str(place / "nothing.toml")]) == 11


def watched(monkeypatch, place, found, as_json=False):
    """Watch these statuses, one a second, until they are used up."""
    remaining = iter(found)
    monkeypatch.setattr(command.time, "sleep", lambda _: None)

    def next_one(path):
        try:
            return next(remaining)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(service, "status_of", next_one)
    command.show_status(place / "federation.toml", True, as_json)


def test_watching_without_a_terminal_tells_news_once(place, capfd, monkeypatch):
    first = status_of(place / "federation.toml")
    later = {**first, "now": first["now"] + 30, "disk_free": 5}
    other = {**later, "state": "done"}
    watched(monkeypatch, place, [first, later, later, other], as_json=True)
    lines = capfd.readouterr().out.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["collecting", "done"]
    watched(monkeypatch, place, [first, later, other])
    assert capfd.readouterr().out.count("server/hub of") == 2


def test_watching_on_a_terminal_ends_quietly(place, capfd, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    first = status_of(place / "federation.toml")
    watched(monkeypatch, place, [first, first])
    assert "server/hub" in capfd.readouterr().out


def test_what_is_news():
    assert lasting({"now": 1, "a": [{"left": 2, "b": 3}]}) == {"a": [{"b": 3}]}


def test_rounds(place, capfd):
    print_rounds(rounds_of(place / "federation.toml"))
    print_rounds(rounds_of(place / "north.toml"))
    out = capfd.readouterr().out
    assert "collecting" in out
    assert "0-3; in the sum: none" in out


def test_a_round_that_was_declined(place, capfd):
    (row,) = rounds_of(place / "north.toml")
    told = {"ended": "declined", "check": "P14", "reason": "I do not trust it", "over": 0, "in_the_sum": []}
    print_rounds([row | told, row | told | {"round": 2, "step": None, "target": None, "layers": []}])
    first, second = [line.split() for line in capfd.readouterr().out.splitlines()[2:]]
    assert first[:5] == ["1", "1", "50", "%", "0-3"] and "declined by P14: I do not trust it" in " ".join(first)
    assert "sum:" not in first and second[0] == "2" and "None" not in second


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_601, "1 h"), (20_880, "5 h 48 min"), (90_000, "1 d 1 h"), (-5, "0 s")],
)
def test_spans(seconds, words):
    assert span(seconds) == words


def test_words():
    assert (ago(10, 10), ago(10, 200), ago(10, 5)) == ("just now", "3 min ago", "just now")
    assert (listed([], 3), listed(list("abcd"), 3)) == ("nobody", "a, b, c and 1 more")
    assert (numbers([3, 1, 2, 7]), numbers([])) == ("1-3, 7", "")
    assert len(moment(0, 0)) == 5
    assert moment(0, 10**9).startswith("19")
