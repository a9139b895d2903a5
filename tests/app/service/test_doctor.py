"""`fedprune doctor`: every check finds what is in order, and its own kind of problem; and how the table reads."""

import asyncio
import io
import json
import os
import re
import resource
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fedprune_cli.doctor import doctor
from fedprune_cli.main import cli, run

from fedspallm_secure.app.configuration import asking
from fedspallm_secure.app.configuration.federation import read_federation
from fedspallm_secure.app.configuration.member import MemberConfig
from fedspallm_secure.app.configuration.templates import write_federation_template, write_member_template
from fedspallm_secure.app.privacy.releases import MemberLedger
from fedspallm_secure.app.privacy.settings import MemberTerms, PrivacySettings
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.service import doctor_anchor, doctor_machine, doctor_network
from fedspallm_secure.app.service.client import run_client
from fedspallm_secure.app.service.doctor import examine
from fedspallm_secure.app.service.doctor_cohorts import dropouts
from fedspallm_secure.app.service.doctor_model import Demand
from fedspallm_secure.app.service.findings import Finding, State, amount
from fedspallm_secure.app.states import layer_file
from fedspallm_secure.app.stations.layers import digest_in_shape
from fedspallm_secure.app.stations.opening import open_station
from fedspallm_secure.app.stations.revisions import Revisions, layers_folder
from fedspallm_secure.app.walking.workshop import ComputeSettings, open_workshop
from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.crypto.notes import NoteKey, NoteKind
from fedspallm_secure.crypto.passwords import Password
from fedspallm_secure.crypto.revocation import CLOCK_SKEW
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.errors import Unhealthy, UsageError
from fedspallm_secure.he import parameters
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement
from fedspallm_secure.protocol.audit.policies import make_policy
from fedspallm_secure.protocol.rounds.outcomes import GroupResult, Result
from fedspallm_secure.storage.anchor import Anchor
from fedspallm_secure.storage.checkpoints.layers import LayerMatrix, save_layer
from fedspallm_secure.storage.checkpoints.reader import Checkpoint
from fedspallm_secure.storage.checkpoints.stored_layers import stored_layer
from fedspallm_secure.storage.files import sole_writer
from fedspallm_secure.storage.home import Unlocking, open_home
from fedspallm_secure.storage.home_folder import Identity
from fedspallm_secure.transport.server import Server
from fedspallm_secure.transport.tls import Credentials
from fedspallm_secure.transport.wire import Hello
from tests.app.privacy.terms import release
from tests.ceremony import PASSWORD, Ceremony, Clock
from tests.models import make_model, make_text
from tests.stationary import SERVER
from tests.transport.depot import FolderDepot
from tests.transport.relays import Proxy

PARTIES = ("server/hub", "member/north", "member/south", "member/west")
Fedprune = Callable[..., tuple[int, str, str]]


class Town(Ceremony):
    """A federation whose server is reached on loopback."""

    def identity(self, name: str) -> Identity:
        hosts = ("localhost", "127.0.0.1") if name == "server/hub" else ()
        return replace(super().identity(name), hosts=hosts)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A federation on disk, made once: a server, three members, a model and a text."""
    folder = tmp_path_factory.mktemp("federation")
    town = Town(folder)
    for name in PARTIES:
        town.enrol(name)
    roster = town.roster()
    for name in PARTIES:
        town.take(name, roster)
    make_model(folder / "model", "llama")
    make_text(folder / "north.txt", 1)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to spoil."""
    folder = tmp_path / "federation"
    shutil.copytree(made, folder, copy_function=shutil.copy2)
    monkeypatch.chdir(folder)
    return folder


def town(place: Path) -> Town:
    return Town(place, new=False)


def server(place: Path, **more: dict) -> Path:
    path = place / "federation.toml"
    listen = {"listen": ["127.0.0.1:0"]}
    filled = {"server": {"home": "server-hub", **listen}, "model": {"path": "model"}, **more}
    if "server" in more:
        filled["server"] = {"home": "server-hub", **listen, **more["server"]}
    path.unlink(missing_ok=True)
    write_federation_template(path, filled)
    return path


def member(place: Path, **more: dict) -> Path:
    path = place / "member.toml"
    filled = {
        "member": {"home": "member-north"},
        "server": {"id": "hub"},
        "model": {"path": "model"},
        "texts": {"files": ["north.txt"], "samples": 4, "seqlen": 32},
        "compute": {"device": "cpu"},
    }
    for section, keys in more.items():
        filled[section] = {**filled.get(section, {}), **keys}
    path.unlink(missing_ok=True)
    write_member_template(path, filled)
    return path


def findings(path: Path, password: Password | None = PASSWORD, quick: bool = True) -> list[Finding]:
    found = list(examine(path, password, quick))
    for one in found:
        assert one.fix or one.state is not State.BAD, one
        assert one.text, one
    return found


def problems(path: Path, password: Password | None = PASSWORD, quick: bool = True) -> dict[str, str]:
    told: dict[str, str] = {}
    for one in findings(path, password, quick):
        if one.state is State.BAD:
            told[one.check] = told.get(one.check, "") + f"{one.text} | {one.fix}\n"
    return told


def of(found: list[Finding], check: str) -> Finding:
    (one,) = [one for one in found if one.check == check]
    return one


# All in order


def test_a_healthy_server(place):
    found = findings(server(place), quick=False)
    assert {one.check for one in found if one.state is State.BAD} == set(), found
    assert [one.check for one in found] == [
        "configuration", "home", "certificates", "roster", "cohorts", "revocation list", "key files", "keys", "journal",
        "anchor", "clock", "folders", "folders", "open files", "OpenSSL", "ports", "model", "pattern", "disk",
    ]  # fmt: skip
    assert of(found, "roster").text == "version 1, 4 parties, 3 members"
    assert "all covered" in of(found, "model").text
    assert of(found, "ports").text == "127.0.0.1:0 is free"


def test_a_healthy_member_by_hand(place):
    found = findings(member(place), quick=False)
    assert {one.check for one in found if one.state is State.BAD} == set(), found
    assert of(found, "server").text == "no [server] url: packages are carried by hand"
    assert of(found, "prekeys").text.startswith("2 are left")
    assert "128 are needed" in of(found, "texts").text
    assert "are free of this machine" in of(found, "memory").text


def test_without_a_password_less_is_seen(place):
    found = findings(member(place), None)
    assert of(found, "keys").text == "not looked at: no password was given"
    assert of(found, "keys").state is State.NOTE
    hub = of(findings(server(place), None), "keys")
    assert "--password-file" in hub.fix and "client" not in hub.fix
    assert "prekeys" not in {one.check for one in found}


def test_nothing_is_changed(place):
    path = member(place)
    before = {file: file.stat().st_mtime_ns for file in place.rglob("*") if "register" not in file.name}
    findings(path, quick=False)
    after = {file: file.stat().st_mtime_ns for file in place.rglob("*") if "register" not in file.name}
    assert {file: after[file] for file in before if not file.is_dir()} == {
        file: at for file, at in before.items() if not file.is_dir()
    }
    assert not (place / "pruning").exists()


# Identity


def test_what_cannot_be_read_ends_the_examination(place):
    path = place / "member.toml"
    path.write_text("[member]\nhoem = 3\n")
    (only,) = findings(path)
    assert (only.check, only.state) == ("configuration", State.BAD)
    assert "did you mean home?" in only.text
    path = member(place, member={"home": "nowhere"})
    assert [one.check for one in findings(path)] == ["configuration", "home"]
    assert "nobody's home" in problems(path)["home"]
    assert "not of a member" in problems(member(place, member={"home": "server-hub"}))["home"]


@pytest.mark.parametrize(
    ("days", "check", "words"),
    [
        (320, "certificates", None),
        (400, "certificates", "the TLS certificate ended on"),
        (400, "certificates", "the signing certificate ended on"),
        (40, "revocation list", None),
        (46, "revocation list", "was due to be replaced"),
        (-20, "certificates", "is valid from"),
        (-20, "clock", "something here was made on"),
    ],
)
def test_time_passes(place, monkeypatch, days, check, words):
    path = member(place)
    Clock(monkeypatch).pass_days(days)
    found = findings(path)
    if words is None:
        assert any(one.check == check and one.state is State.NOTE and one.fix for one in found)
    else:
        assert words in problems(path)[check]
    if days == 400:
        assert "enrol anew" in problems(path)[check]


def test_withdrawn_certificates(place):
    path, ceremony = member(place), town(place)
    ceremony.take("member/north", ceremony.revoke("member/north"))
    assert "was withdrawn" in problems(path)["certificates"]


def test_rosters(place):
    path = member(place, server={"id": "spare"})
    assert "server/spare is not in version 1" in problems(path)["roster"]
    (place / "member-north/roster.fsdoc").unlink()
    assert "there is none yet" in problems(path)["roster"]
    path = server(place, rounds={"members": ["north", "south", "east"], "witnesses": ["wyn"]})
    assert "member/east, witness/wyn" in problems(path)["roster"]
    assert "cannot make a cohort of 4" in problems(server(place, rounds={"min_cohort": 4}))["roster"]


@pytest.mark.parametrize(
    ("members", "rounds", "words"),
    [
        (
            4,
            {"colluders": 1, "min_cohort": 4},
            "tolerated: 0, in cohorts of 4 members with 1 colluder under three-trip:",
        ),
        (
            5,
            {"colluders": 1, "min_cohort": 4},
            "tolerated: 1, in cohorts of 5 members with 1 colluder under three-trip",
        ),
        (7, {"profile": "two-trip"}, "tolerated: 1, in cohorts of 7 members with 2 colluders under two-trip"),
        (
            7,
            {"spread": True, "min_cohort": 4},
            "tolerated: 0, in cohorts of 4 members with 1 colluder under three-trip:",
        ),
        (4, {"colluders": 0}, "tolerated: 1, in cohorts of 4 members with 0 colluders under three-trip"),
    ],
)
def test_how_many_may_fall_silent(place, members, rounds, words):
    found = dropouts(read_federation(server(place, rounds=rounds)), members)
    assert f"dropouts {words}" in found.text and "second step" not in found.text
    if " 0, in" in words:
        assert found.state is State.NOTE and found.text.endswith(": whoever declines or is lost ends the round for all")
        where = "under [rounds] min_cohort" if "spread" in rounds else "in the roster"
        assert found.fix == f"before the first round, have 5 members {where}; later who takes part is fixed"
    else:
        assert found.state is State.GOOD


def test_how_many_may_fall_silent_with_several_steps(place):
    found = dropouts(read_federation(server(place, pruning={"schedule": ["0.3", "0.5"]})), 5)
    assert "dropouts tolerated: 1" in found.text and "; fewer from the second step on" in found.text


def test_a_roster_without_this_party(place, monkeypatch):
    path, ceremony = member(place), town(place)
    crl = place / "member-north/crl.pem"
    Clock(monkeypatch).pass_days(2)
    before, withdrawn = crl.read_bytes(), ceremony.revoke("member/north")
    ceremony.take("member/north", withdrawn, ceremony.roster())
    found = problems(path)["roster"]
    assert "member/north is not in version 2: its certificate was withdrawn | ask the authority why" in found
    crl.write_bytes(before)
    found = problems(path)["roster"]
    assert "withdrawn, or not taken up" in found and "ask the authority which" in found


def test_a_roster_from_before_an_enrolment(place, monkeypatch):
    ceremony = town(place)
    roster = (place / "member-north/roster.fsdoc").read_bytes()
    Clock(monkeypatch).pass_days(1)
    ceremony.enrol("member/east")
    (place / "member-east/roster.fsdoc").write_bytes(roster)
    found = problems(member(place, member={"home": "member-east"}))["roster"]
    assert "member/east is not in version 1, which may be older than its certificate | get the newest roster" in found
    assert "ask the authority why" in found


def test_a_roster_from_before_a_renewal(place):
    ceremony, path = town(place), member(place)
    ceremony.take("member/north", ceremony.sign(ceremony.renew("member/north")))
    assert "another signing key of yours" in problems(path)["roster"]


def test_a_roster_that_demands_a_newer_list(place):
    ceremony, path = town(place), member(place)
    crl = place / "member-north/crl.pem"
    old = crl.read_bytes()
    ceremony.take("member/north", ceremony.crl())
    ceremony.take("member/north", ceremony.roster())
    crl.write_bytes(old)
    assert "demands 2" in problems(path)["revocation list"]


def test_exposed_key_files(place):
    path, key = member(place), place / "member-north/tls.key"
    key.chmod(0o640)
    assert "has mode 0640" in problems(path)["key files"]
    key.chmod(0o600)
    (place / "member-north").chmod(0o755)
    assert "folder with keys has 0700" in problems(path)["home"]
    (place / "member-north").chmod(0o700)
    key.unlink()
    assert "cannot read" in problems(path)["key files"]


def test_keys_that_do_not_open_or_belong_to_somebody_else(place):
    path = member(place)
    assert "password is wrong" in problems(path, Password.from_text("something else"))["keys"]
    ceremony = town(place)
    ceremony.request("member/north", place / "other")  # the same party, with other keys
    for name in ("signing.key", "tls.key", "recipient.key"):
        kept = (place / "member-north" / name).read_bytes()
        shutil.copy2(place / "other/pending" / name, place / "member-north" / name)
        assert "enrol again" in problems(path)["keys"], name
        (place / "member-north" / name).write_bytes(kept)
    assert "keys" not in problems(path)


def test_prekeys(place):
    path = member(place)
    (place / "member-north/prekeys.fsdoc").unlink()
    assert "there are none" in problems(path)["prekeys"]


def test_prekeys_whose_bundle_has_ended(place, monkeypatch):
    path = member(place)
    Clock(monkeypatch).pass_days(800)
    assert "the bundle ended on" in problems(path)["prekeys"]


LOG, OTHER = (Ed25519Signer(bytes([number]) * 32).public for number in (1, 2))
WYN = NoteKey("lungs.example/witness/wyn", NoteKind.COSIGNER, Ed25519Signer(b"\3" * 32).public)


def log_key(name: str, public: bytes = LOG) -> NoteKey:
    return NoteKey(f"lungs.example/log/{name}", NoteKind.LOG, public)


def test_policies_about_the_log(place):
    path = member(place, policy={"log_policy": "witnesses.txt"})
    policy = place / "witnesses.txt"
    assert "cannot read" in problems(path)["log policy"]
    policy.write_text("witness wyn\n")
    assert "line 1 of the policy" in problems(path)["log policy"]
    policy.write_bytes(make_policy(log_key("other"), [WYN], 1).encode())
    assert "names no log lungs.example/log/hub | add a line" in problems(path)["log policy"]
    policy.write_bytes(make_policy(log_key("hub"), [], 0).encode())
    assert of(findings(path), "log policy").state is State.NOTE
    policy.write_bytes(make_policy(log_key("hub"), [WYN], 1).encode())
    assert of(findings(path), "log policy").text == "it names the server's log; witnesses: 1"
    assert "log policy" not in {one.check for one in findings(member(place))}


def test_a_policy_that_names_another_key_than_the_pinned_one(place):
    path = member(place, policy={"log_policy": "witnesses.txt"})
    policy = place / "witnesses.txt"
    stated = NoteKeyStatement.make(Ed25519Signer(b"\4" * 32), "lungs.example", SERVER, log_key("hub"), 1)
    opened = open_station(place / "member-north", place / "pruning", lambda _: PASSWORD, lambda: 1)
    with opened as post, post.at_once():
        post.remember("note key", "pinned", encode_base64(stated.encode()))
    policy.write_bytes(make_policy(log_key("hub"), [WYN], 1).encode())
    assert "log policy" not in problems(path)
    policy.write_bytes(make_policy(log_key("hub", OTHER), [WYN], 1).encode())
    assert stated.key.vkey in problems(path)["log policy"]


def taken_home(place: Path) -> Path:
    """A member that has taken home the result of a round; its work folder."""
    folder = place / "pruning"
    workshop = open_workshop(place / "model", ComputeSettings("cpu"))
    folder.mkdir()
    revisions = Revisions(workshop.skeleton, folder, Silent())
    groups = []
    for gid, block in enumerate(workshop.skeleton.blocks):
        path = layer_file(layers_folder(folder, 1), gid)
        dense = revisions.revision.matrices(block)
        save_layer(path, {name: LayerMatrix(one.weight.float(), one.weight > 0) for name, one in dense.items()}, {})
        digest = digest_in_shape(revisions.shapes(gid), stored_layer(path))
        groups.append(GroupResult(gid, 30, 3, "ab" * 32, "ab" * 32, 15, 3, digest))
    result = Result.make(Ed25519Signer(b"\4" * 32), "lungs.example", 1, "ab" * 32, "ab" * 32, groups, (), ("north",))
    revisions.advance(1, result.hash, range(len(groups)))
    opened = open_station(place / "member-north", folder, lambda _: PASSWORD, lambda: 1)
    with opened as post, post.at_once():
        post.remember("applied", "*", 1)
        post.remember("result", "1", encode_base64(result.encode()))
    return folder


def test_results_that_were_taken_home(place):
    path = member(place)
    assert "results" not in {one.check for one in findings(path, quick=False)}
    folder = taken_home(place)
    told = [one.text for one in findings(path, quick=False) if one.check == "results"]
    assert told == [
        "up to round 1 all are here: 3 pruned layers",
        "3 pruned layers are those that the signed results name",
    ]
    layers = folder / "round-1/layers"
    shutil.copyfile(layers / "layer-0000.safetensors", layers / "layer-0002.safetensors")
    found = problems(path, quick=False)["results"]
    assert f"{layers}/layer-0002.safetensors is not the layer that the signed result names | copy it from" in found
    assert "layer-0000.safetensors is not" not in found and "results" not in problems(path)
    (layers / "layer-0002.safetensors").write_bytes(b"no weights")
    assert "layer-0002.safetensors is not the layer" in problems(path, quick=False)["results"]
    (layers / "layer-0002.safetensors").unlink()
    assert "layer-0002.safetensors" in problems(path)["results"]
    shutil.rmtree(folder)
    for quick in (True, False):
        assert f"{folder} has nothing of it any more" in problems(path, quick=quick)["results"]


def test_a_slip_in_the_name_of_the_server_costs_no_identity(place, monkeypatch):
    """Before the log that the home follows is looked at: for another one the home would have to be given up."""
    monkeypatch.setenv("XDG_STATE_HOME", str(place / "state"))
    path = member(place)
    taken_home(place)
    path.write_text(path.read_text().replace('id = "hub"', 'id = "hubb"'))
    with pytest.raises(UsageError, match="server/hubb is not in") as refused:
        run_client(path, lambda _: PASSWORD, True, Silent())
    assert refused.value.hint == "correct [server] id, or import a newer roster"


def test_a_client_says_at_its_start_what_is_lacking(place, monkeypatch, caplog):
    monkeypatch.setenv("XDG_STATE_HOME", str(place / "state"))
    path, folder = member(place), taken_home(place)
    assert run_client(path, lambda _: PASSWORD, True, Silent()) == 0
    assert "any more" not in caplog.text
    shutil.rmtree(folder)
    assert run_client(path, lambda _: PASSWORD, True, Silent()) == 0
    assert f"{folder} has nothing of it any more: is the right folder named under data" in caplog.text


def test_anchors(place, monkeypatch):
    state = place / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    path = member(place)
    found = of(findings(path), "anchor")
    (name,) = re.findall(r"member-north-[0-9a-f]{16}[.]json", found.text)
    assert found.state is State.GOOD
    assert f"{state}/fedprune/anchors/{name} can be written" in found.text
    assert "on the disk of the home" in found.text
    assert not state.exists()
    home = open_home(place / "member-north")
    with home.open_register() as register:
        register.next_sequence()
        there = Anchor(state / "fedprune/anchors", home.identity, register.mark())
    found = of(findings(path), "anchor")
    assert found.state is State.NOTE and "this home has counted to 1" in found.text and "do not start" in found.fix
    there.folder.mkdir(parents=True)
    there.write(1)
    assert of(findings(path), "anchor").state is State.GOOD
    there.write(2)
    said = f"it has counted to 1, and its anchor, {there.path}, to 2 | stop: this home is an old copy"
    assert said in problems(path)["anchor"]
    there.path.write_bytes(b"{}\n")
    assert "is damaged" in problems(path)["anchor"]


@pytest.mark.parametrize(("inside", "what"), [("member-north/anchors", "member-north"), ("pruning", "pruning")])
def test_an_anchor_within_what_it_is_held_against(place, inside, what):
    (place / inside).mkdir(parents=True)
    (place / "link").symlink_to(inside)
    for named in (inside, "link"):
        path = member(place, member={"home": "member-north", "anchor": named})
        assert f"is in {place / what}: whoever puts that back" in problems(path)["anchor"]
        assert "name another folder under anchor in the configuration file" in problems(path)["anchor"]


def test_an_anchor_where_nothing_can_be_written(place, monkeypatch):
    path = member(place, member={"home": "member-north", "anchor": "anchors"})
    assert "is not there | is its disk mounted?" in problems(path)["anchor"]
    (place / "anchors").mkdir()
    assert "anchor" not in problems(path)
    monkeypatch.setattr(doctor_anchor, "is_writable", lambda folder: folder.name != "anchors")
    assert f"{place}/anchors cannot be written | chown or chmod it" in problems(path)["anchor"]


def test_an_anchor_on_a_disk_of_its_own_is_best(place, monkeypatch):
    (place / "anchors").mkdir()
    path = member(place, member={"home": "member-north", "anchor": "anchors"})
    real = Path.stat

    def stat(self, **options):
        found = list(real(self, **options))
        found[2] += self.name == "anchors"  # st_dev
        return os.stat_result(found)

    monkeypatch.setattr(doctor_anchor, "is_writable", lambda folder: True)
    monkeypatch.setattr(Path, "stat", stat)
    assert "on the disk of the home" not in of(findings(path), "anchor").text


def test_privacy_budgets(place, monkeypatch):
    pytest.importorskip("dp_accounting")
    assert "privacy" not in {one.check for one in findings(member(place))}
    path = member(place, privacy={"epsilon": "8"})
    found = of(findings(path), "privacy")
    assert found.state is State.GOOD
    assert found.text.startswith("nothing is spent yet; there is epsilon 8 at delta 1e-06 for 1 round; a record is one")
    assert "no noise fits [privacy] epsilon = 0.001" in problems(member(place, privacy={"epsilon": "0.001"}))["privacy"]
    terms = MemberTerms(PrivacySettings(8.0), 1, 4)
    opened = open_station(place / "member-north", place / "pruning", lambda _: PASSWORD, lambda: 1)
    with opened as post:
        ledger = MemberLedger(post.journal, terms)
        ledger.enter(release(ledger))
    told = problems(member(place, privacy={"epsilon": "8"}))["privacy"]
    assert (
        told.startswith("(8, 1e-06) record-level") and "epsilon 0.00, no round" in told and "plans are declined" in told
    )
    off = of(findings(member(place)), "privacy")
    assert off.state is State.NOTE and off.text.startswith("off: you prune without noise now")
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    told = problems(member(place, privacy={"epsilon": "9", "rounds": 2}))["privacy"]
    assert "needs the dp-accounting package" in told and "fedspallm-secure[dp]" in told


@pytest.mark.parametrize("damage", [b"", b"no database" * 1000], ids=["empty", "foreign"])
def test_journals(place, damage):
    path = member(place)
    for file in (place / "member-north").glob("register.sqlite*"):
        file.unlink()
    (place / "member-north/register.sqlite").write_bytes(damage)
    (place / "member-north/register.sqlite").chmod(0o600)
    assert "do not restore" in problems(path)["journal"]


# This machine


def test_folders_that_cannot_be_written(place, monkeypatch):
    path = member(place, member={"data": "/proc/pruning"})
    assert "data: /proc cannot be written" in problems(path)["folders"]
    monkeypatch.setattr(doctor_machine, "file_system", lambda folder: "nfs4")
    assert "on another machine (nfs4)" in problems(path)["folders"]


def test_the_file_system_is_that_of_the_deepest_mount(tmp_path):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        "2 1 0:50 / /srv rw shared:1 - nfs4 host:/x rw\n"
        "3 2 0:51 / /srv/my\\040disk rw - xfs /dev/sdb rw\n"
        "rubbish\n"
    )
    kinds = [doctor_machine.file_system(Path(one), mounts) for one in ("/home", "/srv/a", "/srv/my disk/a", "/srvx")]
    assert kinds == ["ext4", "nfs4", "xfs", "ext4"]
    assert doctor_machine.file_system(Path("/"), tmp_path / "nowhere") == ""


def test_too_few_open_files(place, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda what: (64, 64))
    assert "304 are needed" in problems(server(place))["open files"]
    assert "ulimit -n 256" in problems(member(place))["open files"]
    monkeypatch.setattr(resource, "getrlimit", lambda what: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert of(findings(member(place)), "open files").text == "any number may be open"


def test_kinds_of_openssl():
    states = [doctor_machine.about_openssl("OpenSSL", version, True).state for version in ((3, 0), (3, 5), (4, 0))]
    assert states == [State.NOTE, State.GOOD, State.GOOD]
    assert doctor_machine.about_openssl("OpenSSL", (1, 0), False).state is State.BAD


def test_taken_ports(place):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        path = server(place, server={"listen": [taken]})
        assert f"{taken} is taken | stop what listens there" in problems(path)["ports"]
        with sole_writer(place / "rounds"):
            assert "ports" not in problems(path)
        assert "ports" in problems(path), "the lock of a service that has ended stays there as a file"
    assert "cannot be bound" in problems(server(place, server={"listen": ["192.0.2.1:8443"]}))["ports"]


def test_more_members_than_rounds_can_have(place, monkeypatch):
    monkeypatch.setattr(asking, "COMPLETE_LIMIT", 2)
    assert "3 members are asked; cohorts of more than 2 need a beacon" in problems(server(place))["roster"]
    monkeypatch.setattr(asking, "COMPLETE_LIMIT", 3)
    assert "roster" not in problems(server(place))


def test_the_port_of_a_members_figures(place):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        path = member(place, member={"home": "member-north", "metrics": taken})
        assert f"{taken} is taken" in problems(path)["ports"]
    assert of(list(findings(path)), "ports").state is State.GOOD


# Model, texts, memory, disk


def test_models_that_cannot_be_pruned(place):
    path = server(place, model={"path": "nowhere"})
    assert "not a model folder" in problems(path, quick=False)["model"]
    assert "does not divide" in problems(server(place, pruning={"pattern": "1:5"}), quick=False)["pattern"]


def test_without_a_model_texts_are_looked_for_all_the_same(place):
    path = member(place, model={"path": "nowhere"}, texts={"files": ["north.txt", "gone.txt", "lost.txt"]})
    found = problems(path, quick=False)
    assert "not a model folder" in found["model"]
    assert "gone.txt does not exist" in found["texts"] and "lost.txt does not exist" in found["texts"]
    assert "north.txt" not in found["texts"]


def test_texts_that_are_too_short_or_unreadable(place):
    path = member(place, texts={"samples": 100_000})
    assert "100000 windows of 32 need 3,200,000" in problems(path, quick=False)["texts"]
    path = member(place, texts={"files": ["nowhere.txt"]})
    assert "does not exist" in problems(path, quick=False)["texts"]
    path = member(place, texts={"seqlen": 1 << 20})
    assert "lies outside" in problems(path, quick=False)["texts"]


def test_machines_that_are_too_small(place, monkeypatch):
    from fedspallm_secure.app.service import doctor_model

    monkeypatch.setattr(doctor_model, "available_memory", lambda: 1000)
    usage = shutil.disk_usage(place)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    found = problems(member(place, policy={"upload_limit": 10}), quick=False)
    assert "1000 bytes are free of this machine" in found["memory"]
    assert "upload_limit allows less" in found["disk"]
    found = problems(server(place, limits={"member_bytes": 10}), quick=False)
    assert "raise [limits] member_bytes" in found["disk"]
    monkeypatch.setattr(doctor_model, "available_memory", lambda: None)
    assert "memory" not in problems(member(place), quick=False)


def test_memory_can_be_asked_for():
    from fedspallm_secure.app.service.doctor_model import available_memory

    assert (available_memory() or 0) > 1 << 20


def test_the_pruned_model_needs_room(place):
    said = of(list(findings(server(place), PASSWORD, quick=False)), "disk").text
    tensors = amount(sum(info.nbytes for info in Checkpoint.open(place / "model").tensors.values()))
    assert f"{tensors} of the pruned model" in said


def test_disk_of_a_round_by_hand():
    """Layers of 800, 1,600 and 2,400 weights of 33 bits if kept; 4-bit counts, 32-bit sums; a model of 9,999 bytes."""
    demand = Demand([800, 1600, 2400], 9_999, 2, 3, 2, 4, 32)
    assert demand.mine == 4000
    assert demand.upload == 4000 * 36 // 8
    assert demand.server_bytes(archive=True) == (2 * 3 + 1) * 18_000 + 2 * 4800 * 33 // 8 + 9_999
    assert demand.server_bytes(archive=False) == (3 + 1) * 18_000 + 2 * 4800 * 33 // 8 + 9_999
    assert demand.member_bytes(spilled=7) == 18_000 + 4000 * 33 // 8 + 2 * 4800 * 33 // 8 + 9_999 + 7


def test_without_torch_pruning_is_not_possible(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "pip install" in problems(member(place), quick=False)["model"]


# The way to the server


@contextmanager
def running(place: Path, name: str = "server/hub") -> Iterator[int]:
    """The HTTPS server of a home, in a thread; yields its port."""
    home = open_home(place / name.replace("/", "-"))
    credentials = Credentials(home.tls.der, home.tls_key(Unlocking(PASSWORD).key(home.path / "tls.key")))
    ready, ended, ports = threading.Event(), threading.Event(), []

    async def serve() -> None:
        service = Server(
            FolderDepot(place / "depot"), credentials, "fedspallm-secure/9.9", lambda: home.trust, lambda _: 0
        )
        ports.append((await service.start([("127.0.0.1", 0)]))[0][1])
        ready.set()
        while not ended.is_set():
            await asyncio.sleep(0.01)
        await service.stop(0.1)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield ports[0]
    finally:
        ended.set()
        thread.join()


def test_a_server_that_answers(place):
    with running(place) as port:
        path = member(place, server={"url": f"https://localhost:{port}"})
        found = findings(path)
        assert {one.check for one in found if one.state is State.BAD} == set(), found
        assert of(found, "network").text.endswith(f"and port {port} is open")
        assert of(found, "TLS").text.startswith("TLSv1.3 with TLS_AES")
        assert [one.text for one in found if one.check == "server"] == [
            "server/hub of lungs.example answers, with fedspallm-secure/9.9",
            "it has the same roster, version 1",
        ]
        assert [one.text for one in found if one.check == "clock"][1] == "it agrees with the server's"
        found = findings(path, None)
        assert of(found, "TLS").state is State.NOTE
        path = member(place, server={"url": f"https://localhost:{port}"}, policy={"software": ["fedspallm-secure/0.1"]})
        assert "[policy] software does not name" in problems(path)["server"]


@contextmanager
def proxying() -> Iterator[str]:
    """A proxy in a thread; yields its URL."""
    ready, ended, proxy = threading.Event(), threading.Event(), Proxy()

    async def serve() -> None:
        async with proxy.open():
            ready.set()
            while not ended.is_set():
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield proxy.url
    finally:
        ended.set()
        thread.join()


def test_a_server_behind_a_proxy(place):
    with running(place) as port, proxying() as url:
        found = findings(member(place, server={"url": f"https://localhost:{port}", "proxy": url}))
    assert {one.check for one in found if one.state is State.BAD} == set(), found
    assert of(found, "TLS").text == f"the server answered by way of {url}; nothing below TLS 1.3 is spoken"


def test_servers_that_cannot_be_reached(place):
    path = member(place, server={"url": "https://nowhere.invalid"})
    assert "there is no address for nowhere.invalid" in problems(path)["network"]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    path = member(place, server={"url": f"https://127.0.0.1:{port}"})
    assert f"port {port} cannot be reached" in problems(path)["network"]
    path = member(place, server={"url": "https://127.0.0.1:8443", "proxy": f"http://127.0.0.1:{port}"})
    assert "the proxy" in problems(path)["server"]


def test_servers_that_are_somebody_else(place, monkeypatch):
    ceremony = town(place)
    ceremony.enrol("server/spare")
    roster = ceremony.roster()
    for name in ("server/spare", "server/hub", "member/north"):
        ceremony.take(name, roster)
    with running(place) as port:
        path = member(place, server={"id": "spare", "url": f"https://localhost:{port}"})
        assert "server/hub answers, not server/spare" in problems(path)["TLS"]
        path = member(place, server={"url": f"https://127.0.0.2:{port}"})
        assert problems(path).keys() & {"network", "TLS"}


def test_what_speaks_no_tls(place):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            for _ in range(2):  # a connection, and a handshake
                other.settimeout(5)
                try:
                    connection, _ = other.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        path = member(place, server={"url": f"https://localhost:{other.getsockname()[1]}"})
        assert "does not speak TLS 1.3" in problems(path)["TLS"]
        thread.join()


@pytest.mark.parametrize(
    ("change", "skew", "check", "state", "words"),
    [
        ({"roster_version": 2, "roster_hash": "00" * 32}, 0, "server", State.BAD, "get the newest from the authority"),
        ({"roster_version": 0, "roster_hash": "00" * 32}, 0, "server", State.BAD, "ask its operator to import"),
        ({"roster_hash": "00" * 32}, 0, "server", State.BAD, "take part in nothing"),
        ({"crl": 9}, 0, "server", State.BAD, "revocation list 9"),
        ({"crl": 0}, 0, "server", State.NOTE, "revocation list 0"),
        ({}, 61, "clock", State.NOTE, "61 seconds ahead of yours"),
        ({}, -61, "clock", State.NOTE, "61 seconds behind yours"),
        ({}, CLOCK_SKEW + 1, "clock", State.BAD, "nothing is accepted this far apart"),
    ],
)
def test_servers_that_know_something_else(place, change, skew, check, state, words):
    from fedspallm_secure.app.configuration.member import read_member

    trust, config = open_home(place / "member-north").trust, read_member(member(place))
    assert isinstance(config, MemberConfig)
    same = Hello("lungs.example", "fedspallm-secure/0.1", 1, trust.roster.hash, trust.crl.number, 0, 0)
    assert {one.state for one in doctor_network.about(same, 0, trust, config)} == {State.GOOD}
    found = list(doctor_network.about(replace(same, **change), skew, trust, config))
    assert any(one.check == check and one.state is state and words in f"{one.text} {one.fix}" for one in found), found


# The command


@pytest.fixture
def fedprune(place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Fedprune:
    monkeypatch.setitem(cli.commands, "doctor", doctor)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setenv("FEDPRUNE_PASSWORD", "open sesame")

    def call(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run(["doctor", *words])
        out, err = capfd.readouterr()
        assert "open sesame" not in out + err
        return code, out, err

    return call


def test_the_table_as_people_see_it(place, fedprune):
    member(place)
    code, out, err = fedprune("--quick")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["Check", "Problem", "How", "to", "fix"]
    assert lines[1].split()[:2] == ["configuration", "none:"]
    (place / "member-north/prekeys.fsdoc").unlink()
    code, out, err = fedprune("--quick")
    assert code == Unhealthy.exit_code == 125
    assert err.splitlines()[0] == "fedprune: error: 1 problem was found by 17 checks"
    assert err.splitlines()[1].startswith("fedprune: hint: the last column of the table")
    (row,) = [line for line in out.splitlines() if line.startswith("prekeys")]
    assert row.split(maxsplit=1)[1].startswith("there are none, and every round uses one")
    assert "fedprune certs prekeys" in row


ENCRYPTED = {"profile": "one-trip", "key_holder": "vault"}


def test_a_server_of_encrypted_rounds_is_told_what_they_cost(place):
    found = findings(server(place, rounds=ENCRYPTED), quick=False)
    cost, disk = of(found, "cost"), of(found, "disk")
    assert cost.state is State.GOOD
    sent = cost.text.split("a member sends up to ")[1].split(" in a round")[0]
    assert f"{sent} of each of 3 members at most" in disk.text
    assert f"it would send {sent}." not in cost.text  # by masks it is another number
    assert "key-holder/vault" in of(found, "roster").text  # this one is in no roster yet
    assert "cost" not in {one.check for one in findings(server(place), quick=False)}


def test_a_model_that_nobody_could_encrypt(place, monkeypatch):
    monkeypatch.setattr(parameters, "CHUNKS_LIMIT", 0)
    told = problems(server(place, rounds=ENCRYPTED), quick=False)
    assert "plan fewer layers in a round" in told["disk"]
    assert "disk" not in problems(server(place), quick=False)


def test_a_member_that_may_encrypt_sends_more(place):
    policy = {"profiles": ["one-trip"], "key_holders": ["vault"], "upload_limit": "110 KiB"}
    told = problems(member(place, policy=policy), quick=False)
    assert "upload_limit allows less" in told["disk"]
    assert "disk" not in problems(member(place, policy={"upload_limit": "110 KiB"}), quick=False)


def test_the_findings_for_programs(place, fedprune):
    server(place)
    code, out, err = fedprune("--quick", "--json", "--config", str(place))
    found = json.loads(out)
    assert (code, err, found["healthy"]) == (0, "", True)
    first = {"check": "configuration", "state": "good", "text": f"{place}/federation.toml is in order", "fix": ""}
    assert found["checks"][0] == first
    (place / "server-hub/tls.key").unlink()
    code, out, _ = fedprune("--quick", "--json")
    assert (code, json.loads(out)["healthy"]) == (125, False)


def test_which_file_is_meant(place, fedprune):
    code, out, err = fedprune()
    assert (code, out) == (11, "")
    assert "there is no federation.toml, member.toml, witness.toml or key-holder.toml in this folder" in err
    server(place)
    member(place)
    code, _, err = fedprune()
    assert code == 2
    assert "there are several: federation.toml, member.toml" in err
    assert fedprune("--quick", "--config", "member.toml")[0] == 0


def test_no_password_is_no_error(place, fedprune, monkeypatch):
    member(place)
    _, out, _ = fedprune("--quick", "--without-keys")
    assert "not looked at: no password was given" in out
    monkeypatch.delenv("FEDPRUNE_PASSWORD")
    assert "not looked at: no password was given" in fedprune("--quick")[1]
