"""`fedprune witness`: the file it writes, the key it shows, and a round of it by bundle."""

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedspallm_secure.app.configuration.witness import read_witness
from fedspallm_secure.app.courier.exporting import export
from fedspallm_secure.app.courier.importing import import_from
from fedspallm_secure.app.courier.media import open_medium
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.stations.opening import open_station
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.notes import Checkpoint, NoteKey, NoteKind, sign_checkpoint
from fedspallm_secure.errors import MissingInput, OutputExists, WrongPassword
from fedspallm_secure.protocol.audit.cosigning import Answer, Shown
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement, log_name
from fedspallm_secure.protocol.audit.policies import TrustPolicy
from fedspallm_secure.protocol.receiving import Awaited
from tests.ceremony import PASSWORD, Ceremony
from tests.protocol.audit.logs import tree

Fedprune = Callable[..., tuple[int, str, str]]
PARTIES = ("server/hub", "member/north", "witness/wyn")
INIT = ["witness", "init", "--home", "witness-wyn", "--by-hand"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the homes of a server, a member and a witness, and nobody at the terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setenv("FEDPRUNE_PASSWORD", "open sesame")
    ceremony = Ceremony(tmp_path)
    ceremony.enrol_all(*PARTIES)
    return tmp_path


@pytest.fixture
def hub(place: Path) -> Iterator[Post]:
    with open_station(place / "server-hub", place / "data", lambda _: PASSWORD, lambda: int(time.time())) as post:
        yield post


def told(fedprune: Fedprune, *words: str) -> dict:
    code, out, err = fedprune(*words, "--json")
    assert code == 0, err
    return json.loads(out)


def carry_in(hub: Post, medium: Path, start: int, size: int, parted: int | None = None) -> None:
    """A checkpoint of the server, onto a medium."""
    key = NoteKey(log_name(hub.home.federation, "hub"), NoteKind.LOG, hub.note_signer.public)
    statement = NoteKeyStatement.make(hub.signer, hub.home.federation, hub.party, key, hub.now())
    log = tree(size, parted)
    note = sign_checkpoint(hub.note_signer, key, Checkpoint(key.name, size, log.root()))
    with hub.at_once():
        body = Shown(statement, note, start, tuple(log.consistency(start, size))).encode()
        hub.send("checkpoint", Party.parse("witness/wyn"), [body])
    medium.mkdir()
    export(hub, medium, None, [], False, "", Silent())


def carry_back(hub: Post, medium: Path) -> list[Answer]:
    with open_medium(medium) as opened:
        import_from(hub, opened, Silent())
    found = []
    for arrived in hub.spool.arrived():
        with hub.at_once():
            body = hub.open(arrived, Awaited(types=frozenset({"cosignature"}))).body
            found.append(Answer.parse(bytes(body)))
            hub.settle(arrived, "taken")
    return found


def test_a_witness_begins(fedprune, place):
    code, out, err = fedprune("witness", "init", "--home", "witness-wyn", "--url", "https://hub.example.org:8443")
    assert code == 0, err
    first, second = out.splitlines()
    assert first == "Written: witness.toml, for server/hub, reached at https://hub.example.org:8443"
    key = NoteKey.parse(second.removeprefix("Key: "))
    assert (key.name, key.kind) == ("lungs.example/witness/wyn", NoteKind.COSIGNER)
    assert "Next: fedprune witness run" in err
    found = read_witness(place / "witness.toml")
    assert (found.witness.home, found.witness.data) == (place / "witness-wyn", place / "witnessing")
    assert (place / "witness-wyn/cosigner.key").stat().st_mode & 0o777 == 0o600


def test_init_says_the_same_as_json_and_keeps_the_key(fedprune, place):
    first = told(fedprune, *INIT)
    assert (first["server"], first["url"]) == ("hub", "")
    (place / "witness.toml").unlink()
    (place / "far").mkdir()
    assert told(fedprune, *INIT, "--data", "other", "--anchor", "far", "--out", "wyn.toml")["vkey"] == first["vkey"]
    found = read_witness(place / "wyn.toml").witness
    assert (found.data, found.anchor) == (place / "other", place / "far")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--home", "member-north"], 2, "fedprune client init"),
        (["--home", "nowhere"], 11, "nobody's home"),
        (["--server", "rim"], 2, "no such server"),
        (["--url", "https://x:1"], 2, "exclude each other"),
    ],
)
def test_a_witness_that_cannot_begin(fedprune, place, words, code, said):
    found, out, err = fedprune(*INIT, *words)
    assert (found, out) == (code, "")
    assert said in err
    assert not (place / "witness.toml").exists()


def test_init_overwrites_nothing_and_writes_nothing_with_a_wrong_password(fedprune, place, monkeypatch):
    monkeypatch.setenv("FEDPRUNE_PASSWORD", "open barley")
    assert fedprune(*INIT)[0] == WrongPassword.exit_code
    assert not (place / "witness.toml").exists()
    (place / "witness.toml").write_text("mine")
    assert fedprune(*INIT)[0] == OutputExists.exit_code
    assert (place / "witness.toml").read_text() == "mine"


def test_the_key_needs_no_password(fedprune, place, monkeypatch):
    vkey = told(fedprune, *INIT)["vkey"]
    monkeypatch.delenv("FEDPRUNE_PASSWORD")
    assert fedprune("witness", "key")[1] == f"{vkey}\n"
    assert told(fedprune, "witness", "key") == {"vkey": vkey, "log": "", "policy": ""}
    assert told(fedprune, "witness", "key", "--policy", "wyn.policy")["policy"] == "wyn.policy"
    policy = TrustPolicy.parse((place / "wyn.policy").read_bytes())
    assert ([key.vkey for key in policy.witnesses.values()], policy.logs) == ([vkey], ())
    assert policy.quorum in policy.witnesses
    (place / "wyn.policy").write_text("mine")
    assert fedprune("witness", "key", "--policy", "wyn.policy")[0] == OutputExists.exit_code


def test_no_key_before_it_was_made(fedprune, place):
    (place / "witness.toml").write_text('[witness]\nhome = "witness-wyn"\n[server]\nid = "hub"\n')
    code, _, err = fedprune("witness", "key")
    assert code == MissingInput.exit_code
    assert "no key yet" in err


def test_a_checkpoint_is_carried_there_and_back(fedprune, place, hub):
    vkey = told(fedprune, *INIT)["vkey"]
    carry_in(hub, place / "one", 0, 5)
    assert told(fedprune, "bundle", "import", "--from", "one")["bundles"][0]["state"] == "taken"
    done = told(fedprune, "witness", "cosign")
    assert done == {"settled": 1, "refused": [], "waiting": {"cosignature": 1}, "size": 5}
    (place / "two").mkdir()
    assert told(fedprune, "bundle", "export", "--to", "two")["bundles"][0]["packages"] == 1
    (answer,) = carry_back(hub, place / "two")
    assert answer.note_key.key.vkey == vkey
    log = told(fedprune, "witness", "key", "--policy", "wyn.policy")["log"]
    assert NoteKey.parse(log).name == "lungs.example/log/hub"
    policy = TrustPolicy.parse((place / "wyn.policy").read_bytes())
    assert policy.satisfied(answer.note)
    assert not policy.satisfied(answer.note.only(policy.logs[0]))


def test_what_is_refused_is_told_and_stays_in_the_status(fedprune, place, hub, monkeypatch):
    fedprune(*INIT)
    for number, (start, parted) in enumerate([(0, None), (5, 1)]):
        carry_in(hub, place / f"medium-{number}", start, 5, parted)
        fedprune("bundle", "import", "--from", f"medium-{number}")
        code, out, err = fedprune("witness", "cosign")
        assert code == 0, err
    assert "of which 1 refused" in out
    assert "has signed two histories; the proof is in" in out
    assert "Log: 5 entries are cosigned" in out
    monkeypatch.delenv("FEDPRUNE_PASSWORD")
    found = told(fedprune, "witness", "status")
    assert (found["state"], found["log"]["size"], found["log"]["root"]) == ("cosigning", 5, tree(5).root().hex())
    assert len(found["evidence"]) == 1
    assert found["refused"][0]["type"] == "checkpoint"
    code, text, _ = fedprune("status")
    assert code == 0
    for words in ("witness/wyn", "5 entries cosigned", "Proofs against somebody", "two histories", "fedprune bundle"):
        assert words in text, text


def test_status_before_anything_and_doctor(fedprune, place):
    (place / "witness.toml").write_text('[witness]\nhome = "witness-wyn"\n[server]\nid = "hub"\n')
    assert told(fedprune, "status")["state"] == "not begun"
    told(fedprune, "witness", "cosign")
    found = told(fedprune, "status")
    assert (found["state"], found["log"], found["signed"]) == ("waiting for a checkpoint", None, None)
    assert "nothing of its log yet" in fedprune("status")[1]
    checks = told(fedprune, "doctor")
    assert checks["healthy"]
    assert "model" not in {check["check"] for check in checks["checks"]}
    (place / "witness.toml").write_text('[witness]\nhome = "member-north"\n[server]\nid = "rim"\n')
    code, out, _ = fedprune("doctor", "--json")
    assert code == 125
    assert "not of a witness" in out


def test_a_run_for_cron_ends_where_everything_is_carried(fedprune, place):
    fedprune(*INIT)
    code, out, err = fedprune("witness", "--once", "--json-log")
    assert (code, out) == (0, "")
    assert [json.loads(line)["message"] for line in err.splitlines() if line.startswith("{")][-1] == "stopped"
