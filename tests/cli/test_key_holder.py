"""`fedprune key-holder`: the file it writes, what it refuses, and a round of it by bundles."""

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedspallm_secure.app.configuration.federation import read_federation
from fedspallm_secure.app.configuration.key_holder import read_key_holder
from fedspallm_secure.app.configuration.member import read_member
from fedspallm_secure.app.courier.exporting import export
from fedspallm_secure.app.courier.importing import import_from
from fedspallm_secure.app.courier.media import open_medium
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.rounds import round_keys
from fedspallm_secure.app.service import doctor_encryption
from fedspallm_secure.errors import (
    CapacityExceeded,
    MissingExtra,
    MissingInput,
    OutputExists,
    UsageError,
    WrongPassword,
)
from fedspallm_secure.he import parameters
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.thresholds import Profile
from tests.app.stations.holding import HOLDER, VAULT, setting
from tests.ceremony import Ceremony
from tests.clear_cipher import clear
from tests.stationary import Stations

Fedprune = Callable[..., tuple[int, str, str]]
PARTIES = ("server/hub", "member/north", "member/south", "member/west", VAULT)
INIT = ["key-holder", "init", "--home", "key-holder-vault", "--by-hand"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("homes")
    Ceremony(folder).enrol_all(*PARTIES)
    (folder / "model").mkdir()
    (folder / "model/config.json").write_text("{}")
    (folder / "north.jsonl").write_text('{"text": "x"}\n')
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the homes of all parties, and nobody at the terminal."""
    folder = tmp_path / "place"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setenv("FEDPRUNE_PASSWORD", "open sesame")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # else every copy after the first is an old one
    with clear():
        yield folder


def told(fedprune: Fedprune, *words: str) -> dict:
    code, out, err = fedprune(*words, "--json")
    assert code == 0, err
    return json.loads(out)


# Writing the file


def test_a_key_holder_begins(fedprune, place):
    code, out, err = fedprune("key-holder", "init", "--home", "key-holder-vault", "--url", "https://hub.example.org:1")
    assert code == 0, err
    first, second = out.splitlines()
    assert first == "Written: key-holder.toml, for server/hub, reached at https://hub.example.org:1"
    assert second == "Keys: for sums over 3 members at most"
    assert "Next: fedprune key-holder run" in err
    found = read_key_holder(place / "key-holder.toml")
    assert (found.holder.home, found.holder.data) == (place / "key-holder-vault", place / "decrypting")
    assert found.keys.members == 3


def test_what_is_typed_stands_in_the_file(fedprune, place):
    words = "--members 9 --strategy votes --sum-bits 16 --colluders 2 --least-cohort 6 --data other --out vault.toml"
    facts = told(fedprune, *INIT, *words.split(), "--anchor", "far")
    assert (facts["server"], facts["url"], facts["members"]) == ("hub", "", 9)
    found = read_key_holder(place / "vault.toml")
    assert (found.keys.members, found.keys.strategy, found.keys.sum_bits) == (9, Strategy.VOTES, 16)
    assert (found.policy.colluders, found.policy.least_cohort) == (2, 6)
    assert (found.holder.data, found.holder.anchor) == (place / "other", place / "far")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--home", "member-north"], 2, "fedprune client init"),
        (["--home", "nowhere"], 11, "nobody's home"),
        (["--server", "rim"], 2, "no such server"),
        (["--url", "https://x:1"], 2, "exclude each other"),
        (["--members", "1"], 2, "--members"),
        (["--colluders", "-1"], 2, "--colluders"),
        (["--least-cohort", "2"], 2, "--least-cohort"),
        (["--sum-bits", "24"], 2, "sum-bits"),
    ],
)
def test_a_key_holder_that_cannot_begin(fedprune, place, words, code, said):
    found, out, err = fedprune(*INIT, *words)
    assert (found, out) == (code, "")
    assert said in err
    assert not (place / "key-holder.toml").exists()


def test_init_overwrites_nothing(fedprune, place):
    (place / "key-holder.toml").write_text("mine")
    assert fedprune(*INIT)[0] == OutputExists.exit_code
    assert (place / "key-holder.toml").read_text() == "mine"


def test_a_server_and_a_member_name_their_key_holder(fedprune, place):
    server = ["server", "init", "--home", "server-hub", "--model", "model", "--profile", "one-trip"]
    assert fedprune(*server, "--key-holder", "vault")[0] == 0
    found = read_federation(place / "federation.toml").rounds
    assert (found.profile, found.key_holder) == (Profile.ONE_TRIP, "vault")
    member = ["client", "init", "--home", "member-north", "--model", "model", "--text", "north.jsonl", "--by-hand"]
    assert fedprune(*member, "--profile", "one-trip", "--key-holder", "vault")[0] == 0
    policy = read_member(place / "member.toml").policy
    assert (policy.profiles, policy.key_holders) == ((Profile.ONE_TRIP,), ("vault",))
    for name in ("federation.toml", "member.toml"):
        (place / name).unlink()
    for words in ([], ["--key-holder", "nobody"]):
        assert fedprune(*server, *words)[0] == UsageError.exit_code
        assert fedprune(*member, "--profile", "one-trip", *words)[0] == UsageError.exit_code
    assert not list(place.glob("*.toml"))


# Running


def test_it_makes_its_keys_once_and_says_what_has_to_be_carried(fedprune, place):
    fedprune(*INIT)
    assert told(fedprune, "key-holder", "status")["state"] == "not begun"
    for _ in range(2):
        code, out, err = fedprune("key-holder", "run", "--once")
        assert (code, out) == (0, ""), err
        assert "fedprune bundle export" in err
    found = told(fedprune, "status")
    assert (found["role"], found["state"]) == ("key-holder", "waiting for a plan")
    assert (found["keys_ready"], found["round"], found["by_hand"], found["last_contact"]) == (2, None, True, None)
    assert found["leaving"][0]["type"] == "cipher-key"
    text = fedprune("key-holder", "status")[1]
    assert "Keys that lie ready at the server: 2" in text
    assert "carried by hand" in text


def test_run_is_meant_without_a_command(fedprune, place):
    code, _, err = fedprune("key-holder")
    assert code == MissingInput.exit_code
    assert "key-holder.toml" in err


def test_what_it_does_not_run_with(fedprune, place, monkeypatch):
    fedprune(*INIT)
    text = (place / "key-holder.toml").read_text()
    (place / "key-holder.toml").write_text(text.replace("key-holder-vault", "member-north"))
    code, _, err = fedprune("key-holder", "run", "--once")
    assert code == UsageError.exit_code
    assert "a key-holder is wanted" in err
    (place / "key-holder.toml").write_text(text)
    monkeypatch.setenv("FEDPRUNE_PASSWORD", "open barley")
    assert fedprune("key-holder", "run", "--once")[0] == WrongPassword.exit_code
    assert told(fedprune, "status")["state"] == "not begun"


def test_without_the_library_it_says_what_to_install(fedprune, place, monkeypatch):
    def missing(_):
        raise MissingExtra("encrypted sums need the tenseal package", hint="pip install 'fedspallm-secure[he]'")

    fedprune(*INIT)
    monkeypatch.setattr(round_keys.bfv, "generate", missing)
    code, out, err = fedprune("key-holder", "run", "--once")
    assert (code, out) == (MissingExtra.exit_code, "")
    assert "fedspallm-secure[he]" in err
    assert told(fedprune, "status")["keys_ready"] == 0


def take_in(found: Stations, medium: Path) -> None:
    """The server imports what was carried to it."""
    with open_medium(medium) as opened:
        outcomes = import_from(found.server.post, opened, Silent())
    assert [str(error) for outcome in outcomes for error in outcome.errors] == []


def test_a_round_by_bundles(fedprune, place, monkeypatch):
    """Server and members are in this process; the key holder is what the commands do, and has no network."""
    folder = place / "round"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with Stations(folder, setting=setting()) as found:
        found.close(VAULT)
        assert fedprune(*INIT, "--data", str(found.data(VAULT)))[0] == 0
        for journey in range(12):
            medium = folder / f"medium-{journey}"
            medium.mkdir()
            assert fedprune("key-holder", "run", "--once")[0] == 0
            assert fedprune("bundle", "export", "--to", str(medium))[0] == 0
            if list(medium.iterdir()):
                take_in(found, medium)
            found.run()
            back = folder / f"back-{journey}"
            back.mkdir()
            export(found.server.post, back, None, [HOLDER], False, "", Silent())
            if list(back.glob("*.fsdoc")):
                assert fedprune("bundle", "import", "--from", str(back))[0] == 0
            state = told(fedprune, "key-holder", "status")
            if found.model.done and state["state"] == "waiting for a plan" and state["round"] is not None:
                break
        assert found.server.waiting == "all rounds are done"
        assert found.model.done == [1]
        assert all(work.taken == [(1, 0)] for work in found.works.values())
    (group,) = state["round"]["groups"]
    assert (group["layer"], group["cohort"], group["survivors"], group["decrypted"]) == (0, 4, 4, True)
    assert (group["sampled"], group["chunks"]) == (1, 1)
    assert state["round"]["over"]
    text = fedprune("key-holder", "status")[1]
    for words in ("its key is wiped", "4 of 4", "1 of 1", "yes"):
        assert words in text


# Looking before


def checks(fedprune: Fedprune) -> dict[str, tuple[str, str, str]]:
    code, out, _ = fedprune("doctor", "--json")
    assert code in (0, 125)
    return {one["check"]: (one["state"], one["text"], one["fix"]) for one in json.loads(out)["checks"]}


def test_a_healthy_key_holder(fedprune, place, monkeypatch):
    fedprune(*INIT)
    monkeypatch.delitem(sys.modules, "tenseal", raising=False)
    found = checks(fedprune)
    assert {name for name, (state, *_) in found.items() if state == "bad"} == set()
    assert found["encryption"][:2] == ("good", "TenSEAL is installed; the key holder decrypts with it")
    assert found["cipher keys"][:2] == ("good", "they are for sums over 3 members at most; the roster has 3")
    assert "of each layer its sum lies there" in found["disk"][1]
    assert "model" not in found
    assert "tenseal" not in sys.modules


def test_a_key_holder_with_problems(fedprune, place, monkeypatch):
    fedprune(*INIT, "--members", "2")
    monkeypatch.setattr(doctor_encryption, "find_spec", lambda _: None)
    usage = shutil.disk_usage(place)
    monkeypatch.setattr(doctor_encryption.shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    found = checks(fedprune)
    assert found["encryption"][0] == "bad"
    assert found["encryption"][2] == "pip install 'fedspallm-secure[he]'"
    assert found["cipher keys"][0] == "note"
    assert "raise [keys] members" in found["cipher keys"][2]
    assert found["disk"][0] == "note"
    text = (place / "key-holder.toml").read_text()
    (place / "key-holder.toml").write_text(text.replace('id = "hub"', 'id = "rim"'))
    assert "server/rim is not in version" in checks(fedprune)["roster"][1]
    (place / "key-holder.toml").write_text(text.replace("key-holder-vault", "member-north"))
    assert checks(fedprune)["home"][0] == "bad"


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("installed", [True, False])
def test_servers_and_members_of_such_rounds_need_the_library(fedprune, place, monkeypatch, role, installed):
    home = {"server": "server-hub", "client": "member-north"}[role]
    words = [role, "init", "--home", home, "--model", "model", "--by-hand"]
    words += [] if role == "server" else ["--text", "north.jsonl"]
    assert fedprune(*words, "--profile", "one-trip", "--key-holder", "vault")[0] == 0
    if not installed:
        monkeypatch.setattr(doctor_encryption, "find_spec", lambda _: None)
    out = fedprune("doctor", "--quick", "--json")[1]
    (found,) = [one for one in json.loads(out)["checks"] if one["check"] == "encryption"]
    assert found["state"] == ("good" if installed else "bad")
    for path in place.glob("*.toml"):
        path.unlink()
    assert fedprune(*words)[0] == 0  # of the usual profile
    assert "encryption" not in fedprune("doctor", "--quick", "--json")[1]


# Simulating


def test_a_simulation_says_beforehand_what_encryption_costs(fedprune, place):
    code, out, err = fedprune("simulate", "--members", "4", "--vector", "100", "--aggregation", "he", "--json")
    assert code == 0, err
    assert json.loads(out)["profile"] == "one-trip"
    cost = err.index("encrypted, a member sends up to")
    assert "by secure aggregation it would send" in err[cost:]
    assert cost < err.index("contribute")
    code, _, err = fedprune("simulate", "--members", "4", "--vector", "100", "--json")
    assert (code, "encrypted" in err) == (0, False)


def test_encryption_leaves_no_choice_of_trips(fedprune, place):
    code, out, err = fedprune(
        "simulate", "--members", "4", "--vector", "9", "--aggregation", "he", "--profile", "two-trip"
    )
    assert (code, out) == (UsageError.exit_code, "")
    assert "there is one trip" in err


def test_sums_that_no_modulus_holds_are_refused_before_anybody_enrols(fedprune, place, monkeypatch):
    monkeypatch.setattr(parameters, "CHUNKS_LIMIT", 1)
    code, out, err = fedprune("simulate", "--members", "4", "--vector", "9000", "--aggregation", "he")
    assert (code, out) == (CapacityExceeded.exit_code, "")
    assert "plan fewer layers" in err
    assert "enrol" not in err
