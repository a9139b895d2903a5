"""The demonstration: what is made, what is refused, what is looked at, and the whole of it with a tiny model."""

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest

from fedspallm_secure.app.configuration.either import anchor_of, read_either
from fedspallm_secure.app.configuration.federation import read_federation
from fedspallm_secure.app.configuration.member import read_member
from fedspallm_secure.app.privacy.settings import PrivacySettings
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.reporting.page import render_report
from fedspallm_secure.app.service import demo
from fedspallm_secure.app.service.demo import RealRound, check_models, has_delivered, real_settings
from fedspallm_secure.app.service.demo_privacy import privacy_account, prune_again
from fedspallm_secure.app.service.town import Town
from fedspallm_secure.errors import RecordDamaged, RoundAborted, UsageError
from fedspallm_secure.pruning.pruners import Pruner
from fedspallm_secure.storage.files import write_json
from fedspallm_secure.storage.home import open_home
from fedspallm_secure.storage.texts import TextFile
from tests.ground import Ground, make_ground

NAMES = ("code", "dictionary", "manual", "novel", "speeches")


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return make_ground(tmp_path, NAMES)


@pytest.fixture
def town(ground: Ground) -> Town:
    folder = ground.folder / "out/federation"
    folder.mkdir(parents=True)
    return Town(folder, real_settings(ground.settings()), "dictionary", "speeches")


def test_a_round_between_processes_is_secure_and_says_who_falls_silent(ground):
    settings = real_settings(ground.settings())
    assert settings.secure is not None
    assert settings.secure.to_dict()["drops"] == {"endorsement": ["speeches"]}
    assert settings.compute.device == "cpu"
    with pytest.raises(UsageError, match="with 4 members none may fall silent"):
        real_settings(ground.settings(silos=ground.silos[:4]))


def test_a_federation_is_made_once_and_its_port_anew(town):
    assert town.make()
    server = read_federation(town.config("hub"))
    (first,) = server.server.listen
    assert first.loopback and server.rounds.colluders == 1 and server.rounds.min_cohort == 4
    assert [target.sparsity for target in server.pruning.targets] == [Fraction(1, 2)]
    carried, other = read_member(town.config("dictionary")), read_member(town.config("code"))
    assert carried.server.url == "" and other.server.url == f"https://127.0.0.1:{first.port}"
    assert (other.texts.samples, other.texts.seqlen, other.texts.seed) == (6, 32, 0)
    home = open_home(other.member.home)
    assert "FOR DEVELOPMENT ONLY" in (town.folder / "homes/ca/profiles.toml").read_text()
    password = town.password()
    assert len(password) >= 32
    for path in (town.folder / "homes/password", *town.folder.glob("*.toml")):
        assert path.stat().st_mode & 0o077 == 0
    assert not any(password in path.read_text() for path in town.folder.glob("*.toml"))
    assert not town.make()
    assert open_home(other.member.home).signing.der == home.signing.der


def test_a_demonstration_leaves_its_anchors_in_its_own_folder(town):
    town.make()
    configs = [read_either(path) for path in town.folder.glob("*.toml")]
    assert len(configs) == 6
    assert {anchor_of(config) for config in configs} == {town.folder / "anchors"}
    assert (town.folder / "anchors").is_dir()


def test_members_of_a_demonstration_with_noise_have_a_privacy_budget(ground):
    settings = real_settings(ground.settings(pruner=Pruner.WANDA, privacy=PrivacySettings(8.0)))
    town = Town(ground.folder / "private/federation", settings, "dictionary", "speeches")
    town.folder.mkdir(parents=True)
    town.make()
    assert read_federation(town.config("hub")).pruning.pruner == "wanda"
    terms = {name: read_member(town.config(name)).terms for name in town.members}
    assert {found.to_dict()["epsilon"] for found in terms.values()} == {8.0}
    assert terms["code"].rounds == 1 and terms["code"].settings == PrivacySettings(8.0)
    with pytest.raises(RoundAborted, match="code has not paid for the noised statistic"):
        prune_again(town, None, "code")
    with pytest.raises(RoundAborted, match="code has released nothing"):
        privacy_account(town)


def test_the_text_that_explains_names_commands_that_there_are(town):
    import click
    from fedprune_cli.main import cli

    town.explain()
    words = (town.folder.parent / "README.txt").read_text()
    lines = [line.split()[1:] for line in words.splitlines() if line.startswith("  fedprune ")]
    assert len(lines) == 9
    for line in lines:
        command, context = cli, click.Context(cli, info_name="fedprune", **cli.context_settings)
        while isinstance(command, click.Group):
            command = command.commands[line.pop(0)]
        command.make_context(command.name or "", line, parent=context)


def member(name: str, delivered: int, due: int = 4) -> dict[str, object]:
    return {"member": name, "delivered": delivered, "due": due}


def test_somebody_has_delivered_when_all_layers_are_taken_in():
    assert has_delivered({"members": [member("north", 4), member("south", 1)]}, "north")
    assert not has_delivered({"members": [member("north", 4), member("south", 1)]}, "south")
    assert not has_delivered({"members": [member("north", 0, 0)]}, "north")
    assert not has_delivered({"state": "not begun"}, "north")


def publish(town: Town, name: str, result: str, weights: bytes) -> None:
    model = town.data(name) / "model"
    model.mkdir(parents=True, exist_ok=True)
    (model / "model.safetensors").write_bytes(weights)
    write_json(town.data(name) / "revision.json", {"round": 1, "result": result, "layers": {}})


def test_all_who_live_have_the_model_of_the_server(town):
    for name in ("hub", "code", "novel"):
        publish(town, name, "ab" * 32, b"weights")
    found = check_models(town, ["code", "novel"])
    assert found["equal_models"] == ["code", "novel"] and found["result"] == "ab" * 32
    publish(town, "novel", "ab" * 32, b"weightz")
    with pytest.raises(RoundAborted, match="novel has another model"):
        check_models(town, ["code", "novel"])
    publish(town, "novel", "cd" * 32, b"weights")
    with pytest.raises(RoundAborted, match="novel has another model"):
        check_models(town, ["code", "novel"])
    write_json(town.data("novel") / "revision.json", [])
    with pytest.raises(RecordDamaged):
        town.result_at("novel")


def test_a_standstill_ends_it(ground, monkeypatch):
    monkeypatch.setattr(demo, "_STANDSTILL", 0.0)
    played = RealRound(real_settings(ground.settings()), Silent())
    facts = {"state": "offers", "members": [], "phase": "waiting for novel to offer to take part"}
    played._check_standstill(facts, facts)
    time.sleep(0.01)
    with pytest.raises(RoundAborted, match="waiting for novel") as caught:
        played._check_standstill(facts, facts)
    assert "logs" in caught.value.hint
    played._check_standstill({**facts, "phase": "round 1 is collecting"}, facts)


def test_a_round_without_a_result_ends_it(ground):
    played = RealRound(real_settings(ground.settings()), Silent())
    round = {"state": "finished", "result": None, "over": True}
    with pytest.raises(RoundAborted, match="without a result"):
        played._all_home({"round": round})
    assert not played._all_home({"round": {**round, "state": "unmasking"}})
    assert not played._all_home({"round": None})


def demo_data(ground: Ground) -> Path:
    """The tiny model and its texts as a folder for --data."""
    data = ground.folder / "data"
    (data / "texts").mkdir(parents=True)
    (data / "model").symlink_to(ground.model)
    silo: TextFile
    for silo in ground.silos:
        for part in ("calib", "test"):
            (data / f"texts/{silo.name}.{part}.txt").write_bytes(silo.path.read_bytes())
    return data


CODE = """
import sys
from dataclasses import replace
from pathlib import Path
from fedprune_cli.main import main
from fedspallm_secure.app import demo
before = demo.demo_settings
demo.demo_settings = lambda *given: replace(before(*given), samples=6, seqlen=32, test_tokens=256)
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_demonstration_with_noise_says_what_was_spent_and_what_it_cost(ground):
    pytest.importorskip("dp_accounting")
    out = ground.folder / "out"
    words = [sys.executable, "-c", CODE, "demo", "--out", str(out), "--data", str(demo_data(ground))]
    code = subprocess.run(
        [*words, "--dp-epsilon", "8", "--json"], capture_output=True, text=True, timeout=400, check=False
    )
    assert code.returncode == 0, code.stderr
    result = json.loads(code.stdout)
    assert list(result["privacy"]["members"]) == list(NAMES)
    for found in result["privacy"]["members"].values():
        assert 7.9 < found["epsilon"] <= 8 and (found["releases"], found["records"], found["delta"]) == (1, 6, 1e-6)
    [account] = result["secagg"]
    assert account["recomputed"]["equal"] == account["recomputed"]["layers"] == len(account["groups"])
    page = render_report(result)
    assert "Noise for ε = 8" in page and "Beyond this federation." in page
    assert not list((out / "federation/work/code").rglob("noised-*"))  # with the own layers, once they are in the model
    (kept,) = (out / "federation/noised").glob("code.*")
    (out / "result.json").unlink()
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")  # another statistic than the one that was paid for
    again = subprocess.run([*words, "--dp-epsilon", "8"], capture_output=True, text=True, timeout=400, check=False)
    assert again.returncode != 0 and "has not paid for the noised statistic" in again.stderr


@pytest.mark.slow
def test_the_whole_demonstration_killed_in_the_middle_and_given_again(ground):
    out, told = ground.folder / "out", ground.folder / "told"
    words = [sys.executable, "-c", CODE, "demo", "--out", str(out), "--data", str(demo_data(ground)), "--json"]
    with told.open("wb") as file:
        first = subprocess.Popen(words, stdout=file, stderr=file, env={**os.environ, "OMP_NUM_THREADS": "1"})
    end = time.monotonic() + 240
    while "is killed (SIGKILL)" not in told.read_text():
        assert first.poll() is None, told.read_text()
        assert time.monotonic() < end, told.read_text()
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    again = subprocess.run(words, capture_output=True, text=True, timeout=400, check=False)
    assert again.returncode == 0, again.stderr
    result = json.loads(again.stdout)
    [account] = result["secagg"]
    assert result["federation"]["equal_models"] == ["code", "dictionary", "manual", "novel"]
    assert result["federation"]["journeys"]
    assert account["answered"] == ["code", "dictionary", "manual", "novel"]
    assert all(len(group["survivors"]) == 5 for group in account["groups"])
    assert account["recomputed"]["equal"] == account["recomputed"]["layers"] == len(account["groups"])
    assert (out / "model/model.safetensors").read_bytes() == (
        out / "federation/rounds/model/model.safetensors"
    ).read_bytes()
    assert "carried by hand" in render_report(result)
    assert (out / "README.txt").exists() and not (out / "work").exists()
    logs = "".join(path.read_text() for path in (out / "federation/logs").iterdir())
    assert (out / "federation/homes/password").read_text().strip() not in logs + told.read_text()
