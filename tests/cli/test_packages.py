"""`fedprune package`: stdout, stderr and exit code, as a person and as a program sees them."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fedprune_cli.main import run

from fedspallm_secure import errors
from tests.ceremony import PASSWORD, Ceremony
from tests.vector_format import VECTORS, load

SECRET = "open sesame"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Ceremony:
    ceremony = Ceremony(tmp_path_factory.mktemp("federation"))
    names = ("server/hub", "member/north", "member/south")
    for name in names:
        ceremony.enrol(name)
    roster = ceremony.roster()
    for name in names:
        ceremony.take(name, roster)
    return ceremony


@pytest.fixture
def place(made, tmp_path, monkeypatch) -> Path:
    """A folder of one's own with copies of the homes, and a file to send."""
    assert SECRET.encode() == PASSWORD.encoded
    for name in ("hub", "north", "south"):
        (source,) = made.folder.glob(f"*-{name}")
        shutil.copytree(source, tmp_path / name)
    (tmp_path / "report.txt").write_bytes(b"confidential " * 1000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDPRUNE_PASSWORD", SECRET)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return tmp_path


@pytest.fixture
def fedprune(place, capfd):
    def call(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run(["package", *words])
        out, err = capfd.readouterr()
        assert SECRET not in out + err
        assert "Traceback" not in err
        return code, out, err

    return call


def done(result) -> str:
    code, out, err = result
    assert code == 0, err
    return out


def refused(result, error: type[errors.FedSpaError]) -> str:
    """One error line, one hint line, nothing on stdout, and the code of the class."""
    code, out, err = result
    assert (code, out) == (error.exit_code, ""), err
    said = [line for line in err.splitlines() if line.startswith("fedprune: ")]
    assert [line.split(": ")[1] for line in said] == ["error", "hint"]
    return err


@pytest.fixture
def sealed(fedprune) -> Path:
    done(fedprune("seal", "report.txt", "--to", "member/south", "--home", "north"))
    return Path("report.txt.fspkg")


def test_from_one_to_another(fedprune, sealed):
    out = done(fedprune("open", str(sealed), "--out", "got.txt", "--home", "south"))
    assert out == "Opened: got.txt, 12.7 KiB, from member/north\n"
    assert Path("got.txt").read_bytes() == Path("report.txt").read_bytes()


def test_the_package_is_named_after_the_file(fedprune):
    out = done(fedprune("seal", "report.txt", "--to", "member/south", "--home", "north"))
    assert out.startswith("Sealed: report.txt.fspkg, ")
    assert Path("report.txt.fspkg").exists()
    refused(fedprune("seal", "report.txt", "--to", "member/south", "--home", "north"), errors.OutputExists)
    done(fedprune("seal", "report.txt", "--to", "server/hub", "--home", "north", "--out", "other.fspkg"))


def test_the_kem_can_be_chosen_and_the_days(fedprune):
    done(
        fedprune(
            "seal", "report.txt", "--to", "member/south", "--home", "north", "--kem", "x25519", "--valid-days", "2"
        )
    )
    found = json.loads(done(fedprune("inspect", "report.txt.fspkg", "--json")))["packages"][0]["claims"]
    assert found["kem"] == "x25519"
    assert found["not_after"] - found["created"] == 2 * 86_400


def test_a_second_opening_is_a_replay(fedprune, sealed):
    done(fedprune("open", str(sealed), "--out", "got.txt", "--home", "south"))
    refused(fedprune("open", str(sealed), "--out", "again.txt", "--home", "south"), errors.ReplayedPackage)
    assert not Path("again.txt").exists()


def test_it_is_for_nobody_else(fedprune, sealed):
    err = refused(fedprune("open", str(sealed), "--out", "got.txt", "--home", "hub"), errors.WrongRecipient)
    assert "for member/south, you are server/hub" in err


def test_others_can_verify_it_without_a_password(fedprune, sealed, monkeypatch):
    monkeypatch.delenv("FEDPRUNE_PASSWORD")
    for home in ("hub", "south", "north"):
        out = done(fedprune("verify", str(sealed), "--home", home))
        assert out == "Genuine: report.txt.fspkg, file from member/north for member/south\n"
    damaged = bytearray(sealed.read_bytes())
    damaged[-1] ^= 1
    sealed.write_bytes(damaged)
    refused(fedprune("verify", str(sealed), "--home", "hub"), errors.TileMismatch)


def test_inspecting_needs_nothing_and_calls_it_claims(fedprune, sealed, monkeypatch):
    monkeypatch.delenv("FEDPRUNE_PASSWORD")
    lines = done(fedprune("inspect", str(sealed))).splitlines()
    assert lines[0] == "report.txt.fspkg: nothing of this is verified"
    assert all(line.startswith("  claims ") for line in lines[1:])
    assert "member/north, package number 1" in "".join(lines)
    found = json.loads(done(fedprune("inspect", str(sealed), "--json")))
    assert found["packages"][0]["verified"] is False
    assert found["packages"][0]["claims"]["sender"] == "member/north"


def test_a_checkpoint_is_told_in_words_and_believed_in_nothing(fedprune):
    assert "log seen" not in done(fedprune("inspect", str(written("good-file-x25519"))))
    for name, words in (
        ("good-checkpoint", "clinics.example/log/coordinator with 20 entries"),
        ("good-checkpoint-longest", "what stands there is no checkpoint"),
        ("good-checkpoint-1-byte", "what stands there is no checkpoint"),
    ):
        lines = done(fedprune("inspect", str(written(name)))).splitlines()
        assert f"  claims {'log seen':<17} {words}" in lines
        claims = json.loads(done(fedprune("inspect", str(written(name)), "--json")))["packages"][0]["claims"]
        assert claims["log"] == words


def written(name: str) -> Path:
    """The package of a test vector, in a file."""
    path = Path(f"{name}.fspkg")
    path.write_bytes(load(VECTORS / "package" / f"{name}.vec").package())
    return path


def test_json_everywhere(fedprune):
    words = ("--home", "north", "--json")
    found = json.loads(done(fedprune("seal", "report.txt", "--to", "member/south", *words)))
    assert (found["package"], found["seq"], found["plaintext_bytes"]) == ("report.txt.fspkg", 1, 13_000)
    found = json.loads(done(fedprune("verify", "report.txt.fspkg", *words)))
    assert found["packages"][0]["success"] is True
    found = json.loads(done(fedprune("open", "report.txt.fspkg", "--out", "got.txt", "--home", "south", "--json")))
    assert found["packages"][0]["output"] == "got.txt"
    code, out, _ = fedprune("open", "report.txt.fspkg", "--out", "again.txt", "--home", "hub", "--json")
    assert json.loads(out)["packages"][0]["error"] == "WrongRecipient"  # the same shape whatever the refusal
    assert code == errors.WrongRecipient.exit_code
    code, out, err = fedprune("open", "report.txt.fspkg", "--out", "again.txt", "--home", "south", "--json")
    row = json.loads(out)["packages"][0]
    assert code == row["code"] == errors.ReplayedPackage.exit_code
    assert (row["success"], row["error"]) == (False, "ReplayedPackage")
    assert row["message"]
    assert row["hint"]
    assert "error" not in err


def test_a_folder_stands_for_its_packages_and_one_refusal_stops_nobody(fedprune, place):
    inbox = place / "inbox"
    inbox.mkdir()
    for number in range(3):
        (place / "part.txt").write_bytes(b"%d" % number)
        out = str(inbox / f"{number}.fspkg")
        done(fedprune("seal", "part.txt", "--to", "member/south", "--home", "north", "--out", out))
    data = bytearray((inbox / "1.fspkg").read_bytes())
    data[-1] ^= 1
    (inbox / "1.fspkg").write_bytes(data)
    (inbox / "notes.txt").write_text("not a package")
    code, out, err = fedprune("open", "inbox", "--into", "new", "--home", "south")
    assert code == errors.TileMismatch.exit_code
    assert out.count("Opened: ") == 2
    assert "1.fspkg: tile 0" in err
    assert sorted(path.read_bytes() for path in (place / "new").iterdir()) == [b"0", b"2"]
    code, out, err = fedprune("open", "inbox", "--into", "new", "--home", "south")
    assert code == errors.ReplayedPackage.exit_code
    assert len(list((place / "new").iterdir())) == 2


@pytest.mark.parametrize(
    "words",
    [
        ("open", "report.txt.fspkg", "--home", "south"),
        ("open", "report.txt.fspkg", "--home", "south", "--out", "a", "--into", "b"),
        ("open", "report.txt.fspkg", "report.txt.fspkg", "--home", "south", "--out", "a"),
        ("seal", "report.txt", "--to", "member/south"),
        ("seal", "report.txt", "--home", "north"),
        ("seal", "report.txt", "--to", "member/south", "--home", "north", "--kem", "rot13"),
        ("verify", "--home", "north"),
    ],
)
def test_senseless_words_are_a_usage_error(fedprune, sealed, words):
    refused(fedprune(*words), errors.UsageError)
    assert not Path("a").exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("seal", "report.txt", "--to", "member/nobody", "--home", "north"), errors.UnknownSender),
        (("seal", "report.txt", "--to", "nobody", "--home", "north"), errors.UsageError),
        (("seal", "nothing.txt", "--to", "member/south", "--home", "north"), errors.MissingInput),
        (("open", "report.txt", "--out", "a", "--home", "south"), errors.PackageFormatError),
        (("inspect", "report.txt"), errors.PackageFormatError),
        (("inspect", "nothing"), errors.MissingInput),
        (("inspect", "north"), errors.MissingInput),
        (("verify", "report.txt", "--home", "nowhere"), errors.MissingInput),
    ],
)
def test_each_refusal_has_its_code(fedprune, words, error):
    refused(fedprune(*words), error)
    assert not Path("a").exists()


def test_a_wrong_password_opens_nothing(fedprune, sealed, monkeypatch):
    monkeypatch.setenv("FEDPRUNE_PASSWORD", "something else")
    for words in (
        ("seal", "report.txt", "--to", "server/hub", "--home", "north", "--out", "x"),
        ("open", str(sealed), "--out", "x", "--home", "south"),
    ):
        refused(fedprune(*words), errors.WrongPassword)
    monkeypatch.delenv("FEDPRUNE_PASSWORD")
    refused(fedprune("open", str(sealed), "--out", "x", "--home", "south"), errors.NoPassword)
    assert not Path("x").exists()


def test_what_is_impossible_is_said_before_the_password_is_asked(fedprune, monkeypatch):
    monkeypatch.delenv("FEDPRUNE_PASSWORD")
    refused(fedprune("seal", "report.txt", "--to", "member/nobody", "--home", "north"), errors.UnknownSender)


def test_names_cannot_steer_the_terminal(fedprune, sealed):
    hostile = Path("\x1b[2J[red]\n.fspkg")
    shutil.copy(sealed, hostile)
    for words in (("inspect", str(hostile)), ("verify", str(hostile), "--home", "hub")):
        out = done(fedprune(*words))
        assert "\x1b" not in out
        assert "\\x1b[2J[red]\\n.fspkg" in out
    os.truncate(hostile, 5)
    assert "\x1b" not in refused(fedprune("inspect", str(hostile)), errors.PackageFormatError)
    not_unicode = os.fsdecode(b"\xff.fspkg")
    shutil.copy(sealed, not_unicode)
    assert json.loads(done(fedprune("inspect", not_unicode, "--json")))["packages"][0]["package"] == "\\udcff.fspkg"


def test_progress_bars_take_any_name(capsys):
    from fedprune_cli.console import LiveProgress

    with LiveProgress() as bars:
        bars.update("open [/x]\x1b[2J", 1, 2, "MiB")
        bars.update("open [/x]\x1b[2J", 2, 2, "MiB")
    assert "\x1b[2J" not in capsys.readouterr().err


def test_no_bar_is_drawn_over_a_verdict(fedprune, sealed, place):
    """On a terminal: each verdict is printed when its bar is over, or the next redraw would wipe it out."""
    shutil.copy(sealed, "second.fspkg")
    Path("third.fspkg").write_bytes(sealed.read_bytes() + b"x")
    words = ["package", "verify", str(sealed), "second.fspkg", "third.fspkg", "--home", "hub"]
    leader, follower = os.openpty()
    command = [sys.executable, "-m", "fedprune_cli", *words]
    with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower) as process:
        os.close(follower)
        screen = b""
        with contextlib.suppress(OSError):  # the end of a pseudo-terminal
            while piece := os.read(leader, 1 << 16):
                screen += piece
    os.close(leader)
    assert process.returncode == errors.TrailingBytes.exit_code
    assert screen.count(b"Genuine: ") == 2
    for verdict in (b"Genuine: report", b"Genuine: second", b"third.fspkg goes on after the package ends"):
        after = screen[screen.index(verdict) :].split(b"\n", 1)[1].split(b"verify", 1)[0]
        assert b"\x1b[1A" not in after, "the cursor went up again before the next bar"


def test_a_program_reads_every_refusal(fedprune, sealed, monkeypatch):
    monkeypatch.setenv("FEDPRUNE_PASSWORD", "something else")
    code, out, err = fedprune("open", str(sealed), "--out", "x", "--home", "south", "--json")
    found = json.loads(out)
    assert (found["error"], found["code"], code) == ("WrongPassword", 91, 91)
    assert found["message"] in err
    assert found["hint"] in err
    code, out, _ = fedprune("seal", "report.txt", "--to", "nobody", "--home", "north", "--json")
    assert (json.loads(out)["error"], code) == ("UsageError", 2)
