"""`fedprune certs`: the whole ceremony by commands alone, what people see, and what they are refused."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fedprune_certs.make_dev_certs as dev
import pytest
from click.testing import CliRunner
from cryptography import x509
from fedprune_cli import homes
from fedprune_cli.main import run

from fedspallm_secure.crypto.fingerprints import fingerprint
from fedspallm_secure.crypto.profiles import DEVELOPMENT
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.protocol.enrolment import Request
from fedspallm_secure.storage import home_folder as folder
from fedspallm_secure.storage.home import open_home
from tests.ceremony import CHEAP, Clock

PASSWORD = "open sesame, says Ali"
Fedprune = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, a password in the environment, and no terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDPRUNE_PASSWORD", PASSWORD)
    monkeypatch.setattr(homes, "KDF", CHEAP)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return tmp_path


@pytest.fixture
def fedprune(place: Path, capfd: pytest.CaptureFixture[str]) -> Fedprune:
    def call(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run(["certs", *words])
        out, err = capfd.readouterr()
        assert PASSWORD not in out + err
        return code, out, err

    return call


def done(result: tuple[int, str, str]) -> str:
    code, out, err = result
    assert code == 0, err
    return out


def data(result: tuple[int, str, str]) -> dict:
    return json.loads(done(result))


def refused(result: tuple[int, str, str], code: int) -> str:
    """Nothing on stdout, one error line, one hint line, and this exit code."""
    found, out, err = result
    lines = [line.split(":")[1] for line in err.splitlines() if line.startswith("fedprune: ")]
    assert (found, out) == (code, ""), err
    assert [line for line in lines if line != " warning"] == [" error", " hint"], err
    assert "Traceback" not in err
    return err


class Terminal(io.StringIO):
    """A person who types."""

    def isatty(self) -> bool:
        return True


ASK = ["request", "--federation", "lungs.example", "--role", "member", "--name", "north", "--prekeys", "2"]


def enrol(fedprune: Fedprune, name: str = "north", role: str = "member", *more: str) -> None:
    words = ["--federation", "lungs.example", "--role", role, "--name", name, "--home", name, *more]
    asked = data(fedprune("request", *words, "--json"))
    signed = data(fedprune("sign", asked["request"], "--ca", "ca", "--fingerprint", asked["fingerprint"], "--json"))
    root = data(fedprune("show", "ca", "--json"))["rows"][1]["text"]
    data(fedprune("import", signed["enrolment"], "--home", name, "--root-fingerprint", root, "--json"))


@pytest.fixture
def enrolled(fedprune: Fedprune, place: Path) -> Path:
    done(fedprune("init", "lungs.example", "--ca", "ca"))
    enrol(fedprune, "north", "member", "--prekeys", "2")
    return place


def test_the_ceremony_as_people_see_it(fedprune: Fedprune, place: Path, monkeypatch: pytest.MonkeyPatch):
    made = done(fedprune("init", "lungs.example", "--ca", "ca"))
    assert made.startswith("Made: ca, authority of lungs.example, root fingerprint ")
    code, out, err = fedprune(*ASK, "--home", "north")
    assert code == 0
    assert out.startswith("Written: member-north.request.fsdoc, fingerprint ")
    assert out.count("\n") == 1
    assert err.startswith("Next: send the file to the authority")

    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    code, out, err = fedprune("sign", "member-north.request.fsdoc", "--ca", "ca")
    request = Request.parse((place / "member-north.request.fsdoc").read_bytes())
    assert code == 0
    assert out.startswith("Signed: member-north.enrolment.fsdoc, for member/north, valid until 20")
    for words in ("member/north asks to be enrolled in lungs.example", request.fingerprint, "Call the party", "[y/N]"):
        assert words in err

    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    code, out, err = fedprune("import", "member-north.enrolment.fsdoc", "--home", "north")
    assert (code, out) == (0, "Imported: member/north of lungs.example is enrolled\n")
    assert made.split("fingerprint ")[1].strip() in err
    assert "ask the authority for the roster" in err

    monkeypatch.setattr(sys, "stdin", io.StringIO())
    out = done(fedprune("roster", "--ca", "ca"))
    assert out.startswith("Written: lungs.example.roster-1.fsdoc, version 1, 1 party, fingerprint ")
    imported = done(fedprune("import", "lungs.example.roster-1.fsdoc", "--home", "north"))
    assert imported.startswith("Imported: roster version 1, 1 party, fingerprint ")
    assert imported.split("fingerprint ")[1] == out.split("fingerprint ")[1]
    assert "\x1b" not in out + err  # no colours where there is no terminal


def test_the_json_of_every_command(fedprune: Fedprune, enrolled: Path):
    roster = data(fedprune("roster", "--ca", "ca", "--json"))
    assert (roster["version"], roster["parties"], roster["crl_number"]) == (1, ["member/north"], 1)
    found = data(fedprune("import", roster["roster"], "--home", "north", "--json"))["imported"][0]
    assert (found["kind"], found["changed"], found["hash"]) == ("roster", True, roster["hash"])
    crl = data(fedprune("crl", "--ca", "ca", "--days", "9", "--json"))
    assert (crl["number"], crl["revoked"]) == (2, [])
    more = data(fedprune("prekeys", "--home", "north", "--count", "3", "--json"))
    assert (more["first"], more["count"]) == (2, 3)
    renewal = data(fedprune("renew", "--home", "north", "--prekeys", "1", "--out", "renewal", "--json"))
    assert renewal["renews"] == open_home(enrolled / "north").signing.key_id
    shown = data(fedprune("show", "north", "--json"))
    assert (shown["kind"], shown["verified"]) == ("home", True)
    assert all(row["days_left"] > 0 for row in shown["rows"] if "until" in row)
    gone = data(fedprune("revoke", "member/north", "--ca", "ca", "--reason", "keyCompromise", "--json"))
    assert (gone["withdrawn"], gone["number"], len(gone["revoked"])) == (2, 3, 2)


def test_renewals_have_names_of_their_own(fedprune: Fedprune, enrolled: Path):
    asked = data(fedprune("renew", "--home", "north", "--prekeys", "0", "--json"))
    assert asked["request"].startswith("member-north.request-20")
    words = ["sign", asked["request"], "--ca", "ca", "--fingerprint", asked["fingerprint"], "--json"]
    assert data(fedprune(*words))["enrolment"].startswith("member-north.enrolment-20")


def test_renewing_by_commands(fedprune: Fedprune, enrolled: Path):
    asked = data(fedprune("renew", "--home", "north", "--prekeys", "1", "--out", "renewal.fsdoc", "--json"))
    again = data(fedprune("renew", "--home", "north", "--out", "same.fsdoc", "--json"))
    assert (enrolled / "same.fsdoc").read_bytes() == (enrolled / "renewal.fsdoc").read_bytes()
    assert again["fingerprint"] == asked["fingerprint"]
    words = ["renewal.fsdoc", "--ca", "ca", "--fingerprint", asked["fingerprint"], "--out", "answer.fsdoc"]
    signed = data(fedprune("sign", *words, "--json"))
    assert signed["renewal"] is True
    assert "renewal asked for" in done(fedprune("show", "north"))
    assert done(fedprune("import", "answer.fsdoc", "--home", "north")) == (
        "Imported: member/north of lungs.example is renewed\n"
    )
    assert done(fedprune("import", "answer.fsdoc", "--home", "north")).startswith("Unchanged: ")


def test_who_was_withdrawn_is_not_sent_for_another_roster(fedprune: Fedprune, enrolled: Path):
    done(fedprune("roster", "--ca", "ca"))
    done(fedprune("import", "lungs.example.roster-1.fsdoc", "--home", "north"))
    enrol(fedprune, "south", "member", "--prekeys", "2")
    gone = data(fedprune("revoke", "member/north", "--ca", "ca", "--json"))
    newer = data(fedprune("roster", "--ca", "ca", "--json"))
    code, _, err = fedprune("import", gone["crl"], newer["roster"], "--home", "north")
    assert code == 0 and "import the new roster as well" not in err
    assert "ask the authority why your certificate was withdrawn" in err


def test_a_command_can_be_run_again(fedprune: Fedprune, enrolled: Path):
    before = (enrolled / "member-north.enrolment.fsdoc").read_bytes()
    out = done(fedprune("sign", "member-north.request.fsdoc", "--ca", "ca"))  # no fingerprint, no password
    assert out.startswith("Signed before: ")
    assert (enrolled / "member-north.enrolment.fsdoc").read_bytes() == before
    done(fedprune(*ASK[:-4], "--name", "west", "--home", "west"))
    first = (enrolled / "member-west.request.fsdoc").read_bytes()
    done(fedprune(*ASK[:-4], "--name", "west", "--home", "west"))
    assert (enrolled / "member-west.request.fsdoc").read_bytes() == first


def test_folders_may_come_from_the_environment(fedprune: Fedprune, enrolled: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FEDPRUNE_HOME", "north")
    monkeypatch.setenv("FEDPRUNE_CA", "ca")
    assert done(fedprune("show")).startswith("member/north of lungs.example\n")
    done(fedprune("roster"))
    out = done(fedprune("import", "lungs.example.roster-1.fsdoc"))
    assert out.startswith("Imported: roster")
    assert "claims" not in done(fedprune("show", "lungs.example.roster-1.fsdoc"))


def test_nobody_is_asked_where_there_is_no_terminal(fedprune: Fedprune, place: Path):
    done(fedprune("init", "lungs.example", "--ca", "ca"))
    asked = data(fedprune(*ASK, "--home", "north", "--json"))
    err = refused(fedprune("sign", asked["request"], "--ca", "ca"), 2)
    assert "--fingerprint" in err
    assert asked["fingerprint"] not in err  # or else it would be copied instead of compared
    signed = data(fedprune("sign", asked["request"], "--ca", "ca", "--fingerprint", asked["fingerprint"], "--json"))
    assert "--root-fingerprint" in refused(fedprune("import", signed["enrolment"], "--home", "north"), 2)
    assert not (place / "north" / folder.ROOT).exists()


@pytest.mark.parametrize("answer", ["n\n", "\n", "nonsense\nn\n"])
def test_a_person_may_say_no(fedprune: Fedprune, place: Path, monkeypatch: pytest.MonkeyPatch, answer: str):
    done(fedprune("init", "lungs.example", "--ca", "ca"))
    asked = data(fedprune(*ASK, "--home", "north", "--json"))
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    code, out, err = fedprune("sign", asked["request"], "--ca", "ca")
    assert (code, out) == (69, ""), err
    data(fedprune("sign", asked["request"], "--ca", "ca", "--fingerprint", asked["fingerprint"], "--json"))
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert fedprune("import", "member-north.enrolment.fsdoc", "--home", "north")[:2] == (69, "")
    assert not (place / "north" / folder.ROOT).exists()


def test_a_person_may_go_away(fedprune: Fedprune, place: Path, monkeypatch: pytest.MonkeyPatch):
    done(fedprune("init", "lungs.example", "--ca", "ca"))
    asked = data(fedprune(*ASK, "--home", "north", "--json"))
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    assert fedprune("sign", asked["request"], "--ca", "ca")[0] == 130


WRONG = "00000 11111 22222 33333 44444 55555 66666 77777"


def test_wrong_fingerprints(fedprune: Fedprune, enrolled: Path):
    asked = data(fedprune(*ASK[:-4], "--name", "west", "--home", "west", "--json"))
    for given, code in ((WRONG, 69), ("12345", 18), (asked["fingerprint"][:-1], 18)):
        refused(fedprune("sign", asked["request"], "--ca", "ca", "--fingerprint", given), code)
    typed = asked["fingerprint"].replace(" ", "-")
    signed = data(fedprune("sign", asked["request"], "--ca", "ca", "--fingerprint", typed, "--json"))
    refused(fedprune("import", signed["enrolment"], "--home", "west", "--root-fingerprint", WRONG), 69)
    refused(fedprune("import", "member-north.enrolment.fsdoc", "--home", "north", "--root-fingerprint", WRONG), 69)


def test_what_cannot_be_written_is_not_signed(fedprune: Fedprune, enrolled: Path, monkeypatch: pytest.MonkeyPatch):
    """Or else a number would be used up, and a list or roster be signed that nobody has."""
    done(fedprune("roster", "--ca", "ca", "--out", "roster"))
    names = ["notes", "lungs.example.crl-2.pem", "lungs.example.roster-2.fsdoc", "member-north.prekeys-2.fsdoc"]
    for name in names:
        (enrolled / name).write_text("notes")
    withdraw = ["revoke", "member/north", "--ca", "ca"]
    for words in (["crl", "--ca", "ca"], ["roster", "--ca", "ca"], ["prekeys", "--home", "north"], withdraw):
        for out in ([], ["--out", "notes"]):
            refused(fedprune(*words, *out), 52)
    for name in names:
        (enrolled / name).unlink()
    assert data(fedprune("crl", "--ca", "ca", "--json"))["number"] == 2
    assert data(fedprune("roster", "--ca", "ca", "--json"))["version"] == 2
    assert data(fedprune("prekeys", "--home", "north", "--json"))["first"] == 2
    assert data(fedprune(*withdraw, "--json"))["withdrawn"] == 2
    assert data(fedprune(*withdraw, "--json"))["withdrawn"] == 0  # the same list is written again


def test_nobody_is_asked_where_there_is_no_input(fedprune: Fedprune, place: Path, monkeypatch: pytest.MonkeyPatch):
    done(fedprune("init", "lungs.example", "--ca", "ca"))
    asked = data(fedprune(*ASK, "--home", "north", "--json"))
    monkeypatch.setattr(sys, "stdin", None)
    refused(fedprune("sign", asked["request"], "--ca", "ca"), 2)
    signed = data(fedprune("sign", asked["request"], "--ca", "ca", "--fingerprint", asked["fingerprint"], "--json"))
    refused(fedprune("import", signed["enrolment"], "--home", "north"), 2)
    monkeypatch.delenv("FEDPRUNE_PASSWORD")
    refused(fedprune("crl", "--ca", "ca"), 92)


def test_who_had_a_name_before_is_said_to_the_operator(
    fedprune: Fedprune, enrolled: Path, monkeypatch: pytest.MonkeyPatch
):
    first = data(fedprune("show", "ca", "--json"))
    assert first["fingerprint"] == data(fedprune("show", "north", "--json"))["root_fingerprint"]
    done(fedprune("revoke", "member/north", "--ca", "ca", "--reason", "keyCompromise"))
    asked = data(fedprune(*ASK, "--home", "again", "--out", "again.request", "--json"))
    assert data(fedprune("show", "again.request", "--json"))["fingerprint"] == asked["fingerprint"]
    words = ["sign", "again.request", "--ca", "ca", "--fingerprint", asked["fingerprint"], "--out", "again.answer"]
    code, out, err = fedprune(*words, "--json")
    assert code == 0
    assert "warning: member/north was enrolled before: its certificate, valid until 20" in err
    assert "keyCompromise" in err
    before = json.loads(out)["enrolled_before"]
    assert (before["reason"], before["withdrawn"] < before["not_after"]) == ("keyCompromise", True)
    assert data(fedprune(*words, "--json"))["enrolled_before"] is None  # it was answered, and is repeated
    Clock(monkeypatch).pass_days(366)
    asked = data(fedprune(*ASK, "--home", "third", "--out", "third.request", "--json"))
    words = ["sign", "third.request", "--ca", "ca", "--fingerprint", asked["fingerprint"], "--out", "third.answer"]
    code, out, err = fedprune(*words, "--json")
    assert (code, "has ended; make sure" in err, json.loads(out)["enrolled_before"]["withdrawn"]) == (0, True, None)


def test_names_that_no_folder_can_have(fedprune: Fedprune, place: Path):
    long = "a" * 300
    for words in (["show", long], ["renew", "--home", long], ["roster", "--ca", long], ["show", "x", "--home", long]):
        refused(fedprune(*words), 11)
    for words in (["init", "a.example", "--ca", long], [*ASK, "--home", long]):
        refused(fedprune(*words), 50)


REFUSALS: dict[str, tuple[int, list[str]]] = {
    "authority exists": (94, ["init", "lungs.example", "--ca", "ca"]),
    "bad federation": (2, ["init", "Lungs", "--ca", "other"]),
    "bad name": (2, [*ASK[:-4], "--name", "North", "--home", "other"]),
    "bad role": (2, ["request", "--federation", "a", "--role", "king", "--name", "x", "--home", "other"]),
    "host of a member": (2, [*ASK, "--home", "other", "--host", "a.example"]),
    "prekeys of an auditor": (2, [*ASK[:4], "auditor", "--name", "x", "--prekeys", "1", "--home", "other"]),
    "enrolled already": (94, [*ASK, "--home", "north"]),
    "somebody else's home": (94, [*ASK[:-4], "--name", "west", "--home", "north"]),
    "no home": (2, ["renew"]),
    "no such home": (11, ["renew", "--home", "nowhere"]),
    "not a home": (11, ["prekeys", "--home", "ca"]),
    "not an authority": (11, ["roster", "--ca", "north"]),
    "no such file": (11, ["import", "nothing", "--home", "north"]),
    "no document": (12, ["import", "north/root.pem", "--home", "north"]),
    "a request is not imported": (12, ["import", "member-north.request.fsdoc", "--home", "north"]),
    "an answer is not signed": (18, ["sign", "member-north.enrolment.fsdoc", "--ca", "ca"]),
    "unknown party": (68, ["revoke", "member/nobody", "--ca", "ca"]),
    "no party": (2, ["revoke", "north", "--ca", "ca"]),
    "bad reason": (2, ["revoke", "member/north", "--ca", "ca", "--reason", "anger"]),
    "nothing to show": (2, ["show"]),
    "not ours": (12, ["show", "notes.txt"]),
    "folder of nobody": (12, ["show", "."]),
    "output is there": (52, ["prekeys", "--home", "north", "--out", "notes.txt", "--count", "1"]),
    "output of a request is there": (52, [*ASK[:-4], "--name", "west", "--home", "other", "--out", "notes.txt"]),
    "profiles of somebody": (18, ["init", "a.example", "--ca", "other", "--profiles", "notes.txt"]),
}


def test_each_refusal_is_one_clear_line(fedprune: Fedprune, enrolled: Path):
    (enrolled / "notes.txt").write_text("notes")
    for case, (code, words) in REFUSALS.items():
        err = refused(fedprune(*words), code)
        assert len(err.splitlines()) == 2, case
    assert not (enrolled / "other").exists()


def test_a_wrong_password_is_said_plainly(fedprune: Fedprune, enrolled: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FEDPRUNE_PASSWORD", "open barley")
    for words in (["renew", "--home", "north"], ["roster", "--ca", "ca"], ["crl", "--ca", "ca"]):
        assert "open barley" not in refused(fedprune(*words), 91)
    monkeypatch.delenv("FEDPRUNE_PASSWORD")
    refused(fedprune("renew", "--home", "north"), 92)
    assert not (enrolled / "north" / folder.PENDING).exists()


def test_exposed_folders_are_refused(fedprune: Fedprune, enrolled: Path):
    (enrolled / "north").chmod(0o755)
    (enrolled / "ca").chmod(0o755)
    assert "chmod 700" in refused(fedprune("show", "north"), 93)
    assert "chmod 700" in refused(fedprune("roster", "--ca", "ca"), 93)


def test_what_will_end_is_said_by_every_command(fedprune: Fedprune, enrolled: Path, monkeypatch: pytest.MonkeyPatch):
    roster = data(fedprune("roster", "--ca", "ca", "--json"))["roster"]
    clock = Clock(monkeypatch)
    clock.pass_days(310)
    for words in (
        ["show", "north"],
        ["prekeys", "--home", "north", "--count", "1", "--out", "more"],
        ["import", roster, "--home", "north"],
        ["renew", "--home", "north", "--prekeys", "0", "--json"],
        ["show", "ca"],
        ["crl", "--ca", "ca"],
        ["roster", "--ca", "ca"],
    ):
        code, out, err = fedprune(*words)
        assert code == 0, err
        assert "fedprune: warning: " in err, words
        assert " ends on " in err, words
        assert "warning" not in out or "--json" in words


def test_shown_values_are_safe_on_a_terminal(fedprune: Fedprune, place: Path):
    from fedspallm_secure.crypto.signing import Ed25519Signer
    from fedspallm_secure.protocol.statements import StatementType, make_statement

    value = {"federation": "evil\u202etxt", "version": "\u2028", "parties": [{"role": "\u200fx", "id": "y"}]}
    (place / "evil").write_bytes(make_statement(StatementType.ROSTER, value, [Ed25519Signer.generate()[0]]).encode())
    out = done(fedprune("show", "evil"))
    assert all(character.isprintable() or character == "\n" for character in out)
    assert "\\u202e" in out


def test_the_page_about_the_ceremony_can_be_followed(fedprune: Fedprune, monkeypatch: pytest.MonkeyPatch):
    page = (Path(dev.__file__).parent / "README.md").read_text()
    commands = re.findall(r"^ +fedprune certs (.*)$", page, re.MULTILINE)
    assert len(commands) == 9
    for command in commands:
        monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
        done(fedprune(*command.split()))


def test_every_command_has_an_example(fedprune: Fedprune):
    from fedprune_cli.certs import certs

    assert set(certs.commands) == {
        "init", "request", "sign", "import", "show", "revoke", "crl", "renew", "roster", "prekeys",
    }  # fmt: skip
    for name, command in certs.commands.items():
        out = done(fedprune(name, "--help"))
        assert f"Example: fedprune certs {name}" in out
        assert "--json" in out
        assert command.help


# --- the federation for development


@pytest.fixture(scope="module")
def development(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("development") / "dev"
    result = CliRunner().invoke(dev.main, ["--out", str(out)])
    assert result.exit_code == 0, result.output
    assert f"*** {DEVELOPMENT} ***" in result.stderr
    assert "development" in result.stderr
    assert f"fedprune package seal README.md --to member/south --home {out}/north" in result.stderr
    return out


def test_the_development_federation_is_enrolled_and_says_what_it_is(development: Path):
    for name in ("hub", "north", "south", "west", "watch"):
        home = open_home(development / name)
        assert len(home.trust.roster.entries) == 5
        for pem in (folder.ROOT, folder.SIGNING, folder.TLS):
            certificate = x509.load_pem_x509_certificate((development / name / pem).read_bytes())
            assert DEVELOPMENT in certificate.subject.rfc4514_string()
            assert DEVELOPMENT in certificate.issuer.rfc4514_string()
    trusted = development / "trusted.pem"
    trusted.write_bytes(b"".join((development / "hub" / name).read_bytes() for name in (folder.ROOT, folder.CRL)))
    words = ["openssl", "verify", "-x509_strict", "-crl_check", "-CAfile", str(trusted)]
    subprocess.run([*words, str(development / "hub" / folder.TLS)], check=True, capture_output=True)


def test_the_development_password_opens_it(development: Path, fedprune: Fedprune, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("FEDPRUNE_PASSWORD")
    words = ["--password-file", str(development / "password"), "--json"]
    assert data(fedprune("prekeys", "--home", str(development / "north"), "--count", "1", *words))["first"] == 64
    assert data(fedprune("roster", "--ca", str(development / "ca"), *words))["version"] == 2


def test_it_overwrites_nothing(development: Path):
    before = (development / "ca/root.pem").read_bytes()
    result = CliRunner().invoke(dev.main, ["--out", str(development)])
    assert result.exit_code == 52
    assert "already exists" in result.stderr
    assert (development / "ca/root.pem").read_bytes() == before


def test_nothing_like_a_key_can_be_committed():
    root = Path(__file__).parent.parent.parent
    names = ["dev/north/signing.key", "x.pem", "a.key", "b.p12", "c.fsdoc", "register.sqlite", "password", "d.der"]
    paths = [f"certs/{name}" for name in names]
    found = subprocess.run(["git", "check-ignore", *paths], cwd=root, capture_output=True, text=True)
    if found.returncode == 128:
        pytest.skip("not a git checkout")
    assert found.stdout.split() == paths


def test_fingerprints_on_paper_are_those_of_the_tools(enrolled: Path, fedprune: Fedprune):
    der = open_home(enrolled / "north").root.der
    assert fingerprint(der) in done(fedprune("show", "north/root.pem"))


def test_who_wants_only_the_hybrid_key_offers_no_other(fedprune: Fedprune, enrolled: Path):
    south = [*ASK[:5], "--name", "south", "--home", "south"]
    done(fedprune(*south, "--hybrid-only", "--out", "request"))
    request = Request.parse(Path("request").read_bytes())
    assert [key.kem for key in request.key_statement.keys] == [Kem.HYBRID]
    west = [*ASK[:5], "--name", "west", "--home", "west"]
    done(fedprune(*west, "--out", "both"))
    assert [key.kem for key in Request.parse(Path("both").read_bytes()).key_statement.keys] == list(Kem)
    code, _, err = fedprune(*west, "--hybrid-only", "--out", "other")
    assert (code, "other recipient keys" in err) == (94, True)
    done(fedprune("renew", "--home", "north", "--hybrid-only", "--out", "renewal"))
    renewal = Request.parse(Path("renewal").read_bytes())
    assert [key.kem for key in renewal.key_statement.keys] == [Kem.HYBRID]
