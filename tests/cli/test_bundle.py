"""`fedprune bundle`: between homes on disk, by way of a medium."""

import base64
import io
import json
import shutil
import sys
import time

import pytest
from fedprune_cli.bundle import _tell_import, bundle
from fedprune_cli.main import cli
from fedprune_cli.services import tell_to_carry

from fedspallm_secure.app.configuration import templates
from fedspallm_secure.app.courier.media import open_medium
from fedspallm_secure.app.courier.outcomes import Imported
from fedspallm_secure.app.service.live import Live
from fedspallm_secure.app.service.status import live_path
from fedspallm_secure.app.stations.opening import open_post
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import ForeignBundle, UnknownSender
from tests.ceremony import PASSWORD, Ceremony

PARTIES = ("server/hub", "member/north", "member/south")


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory):
    """A server and two members, with homes and configuration files."""
    folder = tmp_path_factory.mktemp("enrolled") / "place"
    ceremony = Ceremony(folder)
    for name in PARTIES:
        ceremony.enrol(name)
    roster = ceremony.roster()
    for name in PARTIES:
        ceremony.take(name, roster)
    filled = {
        "member": {"home": "../member-north"},
        "server": {"id": "hub", "url": ""},
        "model": {"path": "../model"},
        "texts": {"files": ["x.jsonl"]},
    }
    for name in ("north", "hub", "medium", "model"):
        (folder / name).mkdir()
    templates.write_member_template(folder / "north/member.toml", filled)
    server = {"server": {"home": "../server-hub"}, "model": {"path": "../model"}}
    templates.write_federation_template(folder / "hub/federation.toml", server)
    return folder


@pytest.fixture
def place(enrolled, tmp_path, monkeypatch):
    """Homes of its own for each test, nobody at the terminal, and the group in place."""
    folder = tmp_path / "place"
    shutil.copytree(enrolled, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setenv("FEDPRUNE_PASSWORD", "open sesame")
    monkeypatch.setitem(cli.commands, "bundle", bundle)
    return folder


HUB, NORTH = ("--config", "hub/federation.toml"), ("--config", "north/member.toml")


def wait(path, to: str, *bodies: bytes, checkpoint: bytes = b"") -> None:
    """Put packages into an outbox."""
    with open_post(path, lambda _: PASSWORD, lambda: int(time.time())) as post:
        post.postbox.checkpoint = lambda: checkpoint
        for body in bodies:
            with post.at_once():
                post.send("receipt" if to.startswith("member") else "offer", Party.parse(to), [body], *_round(to))


def _round(to: str) -> tuple:
    return (1, "ab" * 32) if to.startswith("member") else ()


def test_there_and_back_again(place, fedprune):
    wait(place / "hub/federation.toml", "member/north", b"one", b"two")
    code, out, _ = fedprune("bundle", "export", "--to", "medium", *HUB)
    assert (code, out) == (0, out)
    assert out.startswith("Exported: bundle 1 for member/north, 2 packages, ")
    assert "Next: carry it to member/north; there: fedprune bundle import --from medium" in _
    code, out, err = fedprune("bundle", "import", "--from", "medium", *NORTH)
    assert (code, out) == (0, "bundle 1 of server/hub for member/north: 2 new packages\n")
    assert "Next: fedprune client run --once --config north/member.toml" in err
    code, out, _ = fedprune("bundle", "import", "--from", "medium", *NORTH)
    assert out == "bundle 1 of server/hub for member/north: nothing new, 2 were here before\n"
    wait(place / "north/member.toml", "server/hub", b"answer")
    code, out, _ = fedprune("bundle", "export", "--to", "medium", *NORTH)
    assert "for server/hub, 1 package, " in out
    assert "; it tells that 2 packages arrived the other way" in out  # as inspect says it
    code, out, _ = fedprune("bundle", "import", "--from", "medium", *HUB)
    assert code == 0
    assert "1 new package, 2 packages of yours arrived there" in out
    assert "made by you; it was left alone" in out
    code, out, _ = fedprune("bundle", "export", "--to", "medium", "--for", "member/south", *HUB)
    assert (code, out) == (0, "Nothing waits for member/south\n")


def test_receipts_that_nobody_was_told_of_are_to_be_carried(place, fedprune, capfd):
    config = place / "north/member.toml"
    wait(place / "hub/federation.toml", "member/north", b"one")
    fedprune("bundle", "export", "--to", "medium", *HUB)
    fedprune("bundle", "import", "--from", "medium", *NORTH)
    tell_to_carry(config, once=True, json_log=False)
    export = f"fedprune bundle export --to FOLDER --config {config}"
    assert f"Next: receipts for server/hub: {export}" in capfd.readouterr().err
    fedprune("bundle", "export", "--to", "medium", *NORTH)
    tell_to_carry(config, once=True, json_log=False)
    assert "Next" not in capfd.readouterr().err


def test_an_error_that_names_its_bundle_is_told_without_a_second_name(place, fedprune, capfd):
    wait(place / "hub/federation.toml", "member/north", b"one")
    fedprune("bundle", "export", "--to", "medium", *HUB)
    with open_medium(place / "medium") as medium:
        (bundle,) = [found.bundle for found in medium.found]
    for said in (f"{bundle} belongs to other.example", "it is torn"):
        _tell_import(Imported("index", bundle, "refused", ForeignBundle(said)))
    first, second = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
    assert first == f"fedprune: error: {bundle} belongs to other.example"
    assert second == f"fedprune: error: {bundle}: it is torn"


def test_bundles_for_others_are_one_line(place, fedprune):
    for name in ("north", "south"):
        wait(place / "hub/federation.toml", f"member/{name}", b"one")
    fedprune("bundle", "export", "--to", "medium", *HUB)
    wait(place / "hub/federation.toml", "member/south", b"two")
    fedprune("bundle", "export", "--to", "medium", *HUB)
    _, out, _ = fedprune("bundle", "import", "--from", "medium", *NORTH)
    assert out.splitlines()[-1] == "2 bundles for member/south left alone"
    assert out.count("member/south") == 1


def test_a_running_service_goes_on_with_what_was_imported(place, fedprune, monkeypatch):
    monkeypatch.setattr(Live, "_write_on", lambda self: None)  # two who write at once would spoil each other's file
    wait(place / "hub/federation.toml", "member/north", b"one")
    fedprune("bundle", "export", "--to", "medium", *HUB)
    live = Live(live_path(place / "north/pruning"))
    live.phase("x")
    live._write()
    code, out, err = fedprune("bundle", "import", "--from", "medium", *NORTH)
    live.close()
    assert code == 0 and "The running service goes on with it" in out and "Next: " not in err


def test_a_name_that_is_nearly_right(place, fedprune):
    code, _, err = fedprune("bundle", "export", "--to", "medium", "--for", "member/nroth", *HUB)
    assert (code, "did you mean member/north" in err) == (UnknownSender.exit_code, True)


def test_json(place, fedprune):
    wait(place / "hub/federation.toml", "member/north", b"one")
    _, out, _ = fedprune("bundle", "export", "--to", "medium", "--json", *HUB)
    made = json.loads(out)["bundles"][0]
    assert (made["recipient"], made["number"], made["packages"]) == ("member/north", 1, 1)
    (place / "medium/x\x1b[2Jy").touch()
    _, out, _ = fedprune("bundle", "inspect", "medium", "--json")
    seen = json.loads(out)
    assert seen["verified"] is False
    assert seen["ignored"] == ["x\\x1b[2Jy"]
    assert seen["bundles"][0]["kinds"][0]["kind"] == "the confirmation that something arrived"
    assert seen["bundles"][0]["packages"][0]["state"] == "there"
    _, out, _ = fedprune("bundle", "import", "--from", "medium", "--json", *NORTH)
    taken = json.loads(out)["bundles"][0]
    assert (taken["state"], len(taken["arrived"]), taken["missing"]) == ("taken", 1, [])


def test_inspecting_needs_nothing_and_promises_nothing(place, fedprune, monkeypatch):
    wait(place / "hub/federation.toml", "member/north", b"one", b"two")
    fedprune("bundle", "export", "--single", "carried", "--purpose", "for the north", *HUB)
    monkeypatch.delenv("FEDPRUNE_PASSWORD")
    for name in ("hub", "north", "server-hub", "member-north"):
        (place / name).rename(place / f"away-{name}")
    code, out, err = fedprune("bundle", "inspect", "carried")
    assert (code, err) == (0, "")
    for words in (
        "Nothing of this is verified",
        "its recipient alone can read",
        "bundle 1 of server/hub for member/north in lungs.example",
        "for the north",
        "2 × receipt",
        "the confirmation that something arrived",
    ):
        assert words in out


def test_what_is_told_of_a_log_is_shown_in_words(place, fedprune):
    wait(place / "hub/federation.toml", "member/north", b"one", b"two")
    fedprune("bundle", "export", "--single", "without", *HUB)
    assert "log seen" not in fedprune("bundle", "inspect", "without")[1]
    root = base64.b64encode(bytes(32)).decode()
    note = f"lungs.example/log/hub\n1\n{root}\n\n\u2014 lungs.example/log/hub {root}\n".encode()
    wait(place / "hub/federation.toml", "member/north", b"three", b"four", checkpoint=note)
    wait(place / "hub/federation.toml", "member/north", b"five", checkpoint=b"\x1b[2J")
    fedprune("bundle", "export", "--single", "with", *HUB)
    code, out, _ = fedprune("bundle", "inspect", "with")
    shown = [line for line in out.splitlines() if line.startswith("log seen")]
    assert code == 0
    assert shown == [
        "log seen    lungs.example/log/hub with 1 entry",
        "log seen    what stands there is no checkpoint",
    ]
    seen = json.loads(fedprune("bundle", "inspect", "with", "--json")[1])["bundles"][0]["packages"]
    assert sorted({one["log"] for one in seen}) == ["", *(line[12:] for line in shown)]


def test_what_is_missing_ends_with_a_code_and_is_named(place, fedprune):
    wait(place / "hub/federation.toml", "member/north", b"one", b"two")
    fedprune("bundle", "export", "--to", "medium", *HUB)
    lost = sorted((place / "medium").glob("*.fspkg"))[0]
    lost.unlink()
    code, out, err = fedprune("bundle", "import", "--from", "medium", *NORTH)
    assert code == 123
    assert "1 new package" in out
    assert f"to be carried again: {lost.name[:16]}" in out
    assert "not on the medium" in err
    assert "hint: " in err
    code, out, _ = fedprune("bundle", "inspect", "medium")
    assert code == 0
    assert "MISSING" in out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["export"], 2),
        (["export", "--to", "medium", "--single", "x"], 2),
        (["export", "--to", "nowhere"], 11),
        (["export", "--to", "medium", "--for", "north"], 2),
        (["export", "--to", "medium", "--for", "member/nobody"], 68),
        (["import", "--from", "nowhere"], 11),
        (["import", "--from", "medium"], 123),
        (["import", "--from", "model"], 123),
        (["import", "--from", "hub/federation.toml"], 18),
        (["inspect", "nowhere"], 11),
    ],
    ids=lambda value: "-".join(value).replace("/", " ") if isinstance(value, list) else str(value),
)
def test_mistakes(fedprune, words, code):
    extra = [] if words[0] == "inspect" else list(HUB)
    found, out, err = fedprune("bundle", *words, *extra)
    assert (found, out) == (code, ""), err
    assert "fedprune: error: " in err
    assert "fedprune: hint: " in err


def test_a_medium_for_somebody_else(place, fedprune):
    wait(place / "hub/federation.toml", "member/south", b"one")
    fedprune("bundle", "export", "--to", "medium", *HUB)
    code, _, err = fedprune("bundle", "import", "--from", "medium", *NORTH)
    assert code == 122
    assert "for member/south" in err


def test_no_password_is_asked_for_a_medium_that_is_not_there(fedprune, monkeypatch):
    monkeypatch.delenv("FEDPRUNE_PASSWORD")
    for words in (["export", "--to", "nowhere"], ["import", "--from", "nowhere"]):
        assert fedprune("bundle", *words, *HUB)[0] == 11
    assert fedprune("bundle", "export", "--to", "medium", *HUB)[0] == 92
