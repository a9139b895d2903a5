"""`fedprune audit`: what auditors type and read, exit codes, and that nothing of it needs torch."""

import io
import json
import shutil
import subprocess
import sys

import pytest
from fedprune_cli.main import run

from fedspallm_secure.crypto.fingerprints import fingerprint
from fedspallm_secure.protocol.audit.policies import make_policy
from fedspallm_secure.storage.pem import CERTIFICATE, decode_pem
from tests.app.audit.places import checkpoint_file, home, note, published
from tests.protocol.audit import logs
from tests.stationary import stations


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A round of four members with two witnesses, of which everybody's home and the log are there."""
    folder = tmp_path_factory.mktemp("audit")
    with stations(folder, members=4, layers=2, witnesses=("ada", "wyn")) as found:
        found.run()
        found.run()
        assert found.server.waiting == "all rounds are done"
        policy = make_policy(
            found.server.post.keeper.key,
            [found.witnesses[name].statement.key for name in ("ada", "wyn")],
            2,
        )
    (folder / "witnesses.txt").write_bytes(policy.encode())
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """The same, where nobody sits at a terminal and the current folder is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return made


@pytest.fixture
def audit(place, capfd):
    def call(*words):
        capfd.readouterr()
        code = run(["audit", *map(str, words)])
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture
def trust(place):
    """What an auditor was told."""
    return ["--root", place / "server-hub/root.pem", "--policy", place / "witnesses.txt"]


def read(*words):
    """A JSON object that a command prints."""
    code, out, _ = words
    return code, json.loads(out)


# verify


def test_a_log_that_passes(place, audit, trust):
    code, out, err = audit("verify", place / "data-hub", *trust)
    assert code == 0, out + err
    lines = out.splitlines()
    assert [line[:2] for line in lines if line[:1] == "V"] == [f"V{number}" for number in range(1, 9)]
    assert lines[0].startswith("V1  PASS     ") and "V7  NOT RUN" in out and "no receipts were given" in out
    assert "entries, root " in lines[-1]


def test_with_receipts_all_steps_are_run(place, audit, trust, tmp_path):
    for name in ("north", "south", "west", "east"):
        assert audit("receipts", place / f"member-{name}", "--out", "receipts")[0] == 0
    code, found = read(*audit("verify", place / "data-hub/log", *trust, "--receipts", "receipts", "--json"))
    assert code == 0 and found["passed"] is True
    assert [step["passed"] for step in found["steps"]] == [True] * 8
    assert found["witnessed"] > 0 and found["rounds"] == 1


def test_a_members_own_copy(place, audit):
    code, found = read(*audit("verify", place / "member-north", "--without-documents", "--json"))
    assert code == 0, found
    assert found["passed"] is True and found["steps"][2]["passed"] is True
    code, _, err = audit("verify", place / "member-north")
    assert code == 2 and "FAIL" not in err, "nobody is to blame for what a copy never has"
    assert "--without-documents" in err.replace("\n", " ")


def test_the_fingerprint_has_to_be_compared(place, audit):
    root = decode_pem((place / "server-hub/root.pem").read_bytes(), CERTIFICATE, "root")
    assert audit("verify", place / "data-hub")[0] == 2
    code, out, err = audit("verify", place / "data-hub", "--fingerprint", fingerprint(root))
    assert code == 0, out + err
    assert audit("verify", place / "data-hub", "--fingerprint", fingerprint(b"another"))[0] == 69


def damaged(place, tmp_path, name, change):
    """A copy of the log with one file changed."""
    shutil.copytree(place / "data-hub/log", tmp_path / "log")
    path = max((tmp_path / "log").glob(name), key=lambda path: path.stat().st_mtime_ns)
    path.write_bytes(change(path.read_bytes()))
    return tmp_path / "log"


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("checkpoint", lambda data: data[:-30] + data[-30:-20].swapcase() + data[-20:], 202),
        ("tile/0/*/*", lambda data: bytes(32) + data[32:], 203),
        ("tile/entries/*/*", lambda data: data.replace(b"not archived", b"not archivex"), 203),
    ],
    ids=["checkpoint", "hash", "entry"],
)
def test_a_log_that_does_not_pass(place, audit, trust, tmp_path, name, change, code):
    log = damaged(place, tmp_path, name, change)
    found, out, err = audit("verify", log, *trust)
    assert found == code, out + err
    assert "FAIL" in out and "fedprune: error: V" in err and "operator" in err
    assert audit("report", log, *trust, "--out", "bad.html")[0] == code
    assert "This log does not pass" in (tmp_path / "bad.html").read_text()
    found, plain = read(*audit("verify", log, *trust, "--json"))
    assert found == code and plain["passed"] is False


def test_a_quorum_that_is_missing(place, audit, tmp_path):
    shutil.copytree(place / "data-hub/log", tmp_path / "log")
    (tmp_path / "log/checkpoint.cosigned").unlink()
    trust = ["--root", place / "server-hub/root.pem", "--policy", place / "witnesses.txt"]
    assert audit("verify", tmp_path / "log", *trust)[0] == 202


# show


def test_a_readable_timeline(place, audit):
    code, out, _ = audit("show", place / "data-hub")
    assert code == 0
    assert "lungs.example/log/hub" in out and "not verified here" in out
    assert "north handed in its vector for layer 1" in out
    assert "Round 1: finished" in out and "4 of 4 members in the sums" in out
    _, alone, _ = audit("show", place / "data-hub", "--round", "1")
    assert "Round 1" in alone and "roster 1 is in force" not in alone
    code, found = read(*audit("show", place / "data-hub", "--json"))
    assert found["verified"] is False and found["rounds"][0]["counted"] == ["east", "north", "south", "west"]
    assert audit("show", place / "data-hub", "--round", "9")[0] == 11


# proof


def test_proofs_are_made_and_checked(place, audit, tmp_path):
    where = ["--member", "north", "--round", "1", "--group", "1"]
    code, found = read(*audit("proof", place / "data-hub", *where, "--out", "p.tlog-proof", "--json"))
    assert code == 0
    code, out, _ = audit("proof", "--check", "p.tlog-proof", "--vkey", found["vkey"])
    assert code == 0 and "north handed in its vector for layer 1" in out and "does not show" in out
    code, plain = read(*audit("proof", "--check", "p.tlog-proof", "--policy", place / "witnesses.txt", "--json"))
    assert code == 0 and plain["quorum"] is True and len(plain["witnesses"]) == 2
    assert audit("proof", place / "data-hub", "--entry", "0", "--out", "p.tlog-proof")[0] == 52
    data = (tmp_path / "p.tlog-proof").read_bytes()
    (tmp_path / "bad").write_bytes(data.replace(f"index {found['index']}".encode(), b"index 1"))
    assert audit("proof", "--check", "bad", "--vkey", found["vkey"])[0] == 203


@pytest.mark.parametrize(
    "words",
    [
        ["LOG", "--member", "north", "--round", "1"],
        ["LOG", "--out", "p"],
        ["LOG", "--member", "north", "--out", "p"],
        ["LOG", "--entry", "1", "--member", "north", "--out", "p"],
        ["LOG", "--check", "p"],
        ["--check", "p", "--out", "p"],
        ["LOG", "--entry", "1", "--out", "p", "--vkey", "x"],
        ["LOG", "--member", "north", "--round", "1", "--out", "p"],
    ],
)
def test_what_a_proof_needs(place, audit, words):
    assert audit("proof", *[place / "data-hub" if word == "LOG" else word for word in words])[0] == 2


def test_a_key_that_is_none(place, audit, tmp_path):
    assert audit("proof", place / "data-hub", "--entry", "0", "--out", "p")[0] == 0
    assert audit("proof", "--check", "p", "--vkey", "a+b")[0] == 2
    assert audit("proof", "--check", "p")[0] == 2


# compare


def test_everybody_saw_one_history(place, audit):
    homes = [place / f"member-{name}" for name in ("north", "south")] + [place / "witness-ada"]
    code, out, err = audit("compare", place / "data-hub", *homes)
    assert code == 0, out + err
    assert "These are of one history of lungs.example/log/hub." in out
    code, found = read(*audit("compare", place / "data-hub", *homes, "--json"))
    assert found["one_history"] is True and len({one["seen_at"] for one in found["checkpoints"]}) == 4


def test_two_histories(place, audit, tmp_path):
    log, file = published(tmp_path / "log", 20), checkpoint_file(tmp_path / "seen", 12, 5)
    code, out, err = audit("compare", log, file)
    assert code == 120 and "split-view.json" in err and "auditor" in err
    code, out, _ = audit("compare", "--check", "split-view.json")
    assert code == 0 and "has signed 12 entries that are not the first of the 20" in out and "server/hub" in out
    code, found = read(*audit("compare", log, file, "--json", "--out", "again.json"))
    assert code == 120 and [one["size"] for one in found["checkpoints"]] == [12, 20]
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "split-view.json").read_bytes()
    assert read(*audit("compare", "--check", "again.json", "--json"))[1]["proves"] is True
    member = home(tmp_path / "north", "member/north", 20, [note(20, 5)], 5)
    assert audit("compare", log, member, "--out", "third.json")[0] == 120
    assert "two roots of 20 entries" in audit("compare", "--check", "third.json")[1]


def test_a_proof_that_proves_nothing(audit, tmp_path):
    log, file = published(tmp_path / "log", 20), checkpoint_file(tmp_path / "seen", 12, 5)
    assert audit("compare", log, file)[0] == 120
    found = json.loads((tmp_path / "split-view.json").read_text())
    found["notes"] = [found["notes"][1]] * 2
    (tmp_path / "bad.json").write_text(json.dumps(found, sort_keys=True, separators=(",", ":")))
    assert audit("compare", "--check", "bad.json")[0] == 18


def test_what_cannot_be_told(audit, tmp_path):
    log, file = published(tmp_path / "log", 20), checkpoint_file(tmp_path / "seen", 25)
    code, out, err = audit("compare", log, file)
    assert code == 11 and "not known" in out and "25 entries" in err
    assert read(*audit("compare", log, file, "--json"))[1]["one_history"] is False
    same = checkpoint_file(tmp_path / "again", 25)
    assert audit("compare", same, file)[0] == 2
    assert audit("compare", same, file, "--vkey", logs.LOG.vkey)[0] == 0
    assert audit("compare")[0] == 2 and audit("compare", "--check", "x", log)[0] == 2


# report, pack


def test_a_report(place, audit, trust, tmp_path):
    code, out, err = audit("report", place / "data-hub", *trust, "--out", "audit.html")
    assert code == 0, out + err
    page = (tmp_path / "audit.html").read_text()
    assert "This log passes the audit." in page and "Round 1" in page and str(place) not in page
    assert audit("report", place / "data-hub", *trust, "--out", "audit.html")[0] == 52
    assert audit("report", place / "data-hub", *trust, "--round", "7", "--out", "seven.html")[0] == 11
    assert not (tmp_path / "seven.html").exists()
    code, found = read(*audit("report", place / "data-hub", *trust, "--round", "1", "--out", "one.html", "--json"))
    assert found["file"] == "one.html" and found["passed"] is True


def test_one_file_says_the_same(place, audit, trust, tmp_path):
    assert audit("pack", place / "data-hub", "--out", "hub.fslog")[0] == 0
    assert (tmp_path / "hub.fslog").read_bytes().startswith(b"FSLOG1\n")
    code, found = read(*audit("verify", "hub.fslog", *trust, "--json"))
    assert code == 0
    assert found["root"] == read(*audit("verify", place / "data-hub", *trust, "--json"))[1]["root"]


def test_none_of_it_needs_torch(place, trust, tmp_path):
    """A process in which torch and what comes with it cannot be imported runs every command."""
    log, trusted = place / "data-hub", list(map(str, trust))
    commands = [
        ["verify", log, *trusted],
        ["show", log],
        ["proof", log, "--entry", "0", "--out", "p"],
        ["proof", "--check", "p", "--policy", place / "witnesses.txt"],
        ["compare", log, place / "member-north"],
        ["report", log, *trusted, "--out", "audit.html"],
        ["receipts", place / "member-north", "--out", "receipts"],
        ["pack", log, "--out", "hub.fslog"],
    ]
    code = f"""
import sys
class Blocked:
    def find_spec(self, name, *_):
        if name.split(".")[0] in {{"torch", "transformers", "safetensors", "accelerate", "tokenizers"}}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)
sys.meta_path.insert(0, Blocked())
from fedprune_cli.main import run
for words in {[list(map(str, words)) for words in commands]!r}:
    code = run(["audit", *words])
    assert code == 0, (words, code)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
