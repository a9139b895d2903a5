"""Rounds recomputed from what their server has kept: the same bit for bit, or told who and what differs."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from fedprune_cli.main import run

from fedspallm_secure.app.audit import replay as module
from fedspallm_secure.app.audit import replay_log
from fedspallm_secure.app.audit.replay_book import Finding
from fedspallm_secure.app.audit.sampling import Sample
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.rounds.vectors import Released
from fedspallm_secure.app.stations.server_station import ServerStation
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.errors import FormatError, MissingInput, ReplayFailed, UsageError
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.survivors import EndCode, Ended
from fedspallm_secure.secagg.thresholds import Profile
from fedspallm_secure.storage.package_reader import open_package
from tests.app.audit.replayed import Kept, RandomMember, flip, keep_archive, model_stations, states
from tests.models import make_model
from tests.stationary import stations

ALL = ("log", "contributions", "answers", "sums", "layers", "layer files", "model")


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Kept:
    """Two rounds over a real model."""
    with model_stations(tmp_path_factory.mktemp("replay"), members=4, layers=3, schedule=("3/10", "1/2")) as found:
        found.run()
        assert found.server.model.revisions.round == 2
        return Kept.of(found)


@pytest.fixture
def own(kept, tmp_path) -> Kept:
    """The same, to be changed."""
    return kept.copy(tmp_path)


def found_in(report, name: str) -> list[Finding]:
    """What differs, which is in this step alone."""
    assert [step.name for step in report.steps if step.passed is False] == [name]
    assert report.failure is not None
    assert report.failure.exit_code == ReplayFailed.exit_code == 209
    return report.step(name).findings


def sender(path: Path) -> tuple[str, int]:
    with open_package(path) as package:
        return package.head.context.sender.id, int(package.head.context.group)


# As it was


@pytest.mark.parametrize("number", [1, 2])
def test_rounds_come_out_as_they_did(kept, number):
    report = kept.replay(number)
    assert states(report) == dict.fromkeys(ALL, True) | {"model": True if number == 2 else None}
    assert report.failure is None
    assert report.seconds >= sum(step.seconds for step in report.steps) > 0


def test_nothing_of_the_server_is_changed(kept):
    def everything() -> dict[Path, tuple[int, int]]:
        paths = [path for top in (kept.data, kept.home) for path in top.rglob("*") if path.is_file()]
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}

    before = everything()
    kept.replay(2)
    assert everything() == before


@pytest.mark.parametrize("profile", [one for one in Profile if one is not Profile.ONE_TRIP])
def test_every_profile_with_members_that_drop_out(tmp_path, profile):
    watchers = ("wyn", "xan", "yva") if profile is Profile.WITNESSED else ()
    setting = {"profile": profile, "witnesses": watchers, "dishonest": 1 if watchers else 0}
    with stations(tmp_path, members=6, layers=2, **setting) as found:
        keep_archive(found)
        found.model.files = lambda: ()
        while found.server.station is None or len(found.server.station.machine.received) < 12:
            found.carry()
            found.step()
        found.silent = set() if profile is Profile.TWO_TRIP else {"coast"}
        found.wait()
        assert found.model.done == [1]
        report = Kept.of(found).replay()
    done = ("log", "contributions", "answers", "sums")
    assert states(report) == dict.fromkeys(ALL) | dict.fromkeys(done, True)


# Something else than it was


def test_a_changed_contribution(own):
    path = sorted(own.folder(1, "contributions").iterdir())[0]
    flip(path)
    (finding,) = found_in(own.replay(), "contributions")
    assert (finding.member, finding.group) == sender(path)
    assert "tile 0 of the body is not what was signed" in finding.text


def test_a_changed_signature(own):
    path = sorted(own.folder(1, "contributions").iterdir())[0]
    with open_package(path) as package:
        flip(path, 12 + len(package.head.encoded))
    (finding,) = found_in(own.replay(), "contributions")
    assert "is not the package that stands in the log" in finding.text


def test_a_missing_contribution(own):
    path = sorted(own.folder(1, "contributions").iterdir())[-1]
    who = sender(path)
    path.unlink()
    (finding,) = found_in(own.replay(), "contributions")
    assert (finding.member, finding.group) == who


def test_exchanged_contributions(own):
    first, second = sorted(own.folder(1, "contributions").iterdir())[:2]
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)
    findings = found_in(own.replay(), "contributions")
    assert len(findings) == 2
    assert all("is not the package that stands in the log" in finding.text for finding in findings)


def test_a_contribution_that_was_cut(own):
    path = sorted(own.folder(1, "contributions").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-1])
    (finding,) = found_in(own.replay(), "contributions")
    assert (finding.member, finding.group) == sender(path)


def test_a_changed_answer(own):
    path = sorted(own.folder(2, "answers").iterdir())[0]
    flip(path)
    report = own.replay(2)
    (finding,) = found_in(report, "answers")
    with open_package(path) as package:
        assert finding.member == package.head.context.sender.id
    assert report.step("sums").passed is None


def test_a_missing_answer(own):
    sorted(own.folder(1, "answers").iterdir())[0].unlink()
    (finding,) = found_in(own.replay(), "answers")
    assert finding.member


def test_a_changed_tile_hash(own):
    path = own.folder(1, "tiles", "0001.json")
    kept = json.loads(path.read_text())
    kept["sums"][0] = kept["counts"][0]
    path.write_text(json.dumps(kept))
    (finding,) = found_in(own.replay(), "sums")
    assert finding.group == 1


@pytest.mark.parametrize("text", ["", "[]", '{"counts": 1, "sums": []}', '{"counts": ["x"], "sums": []}'])
def test_tile_hashes_that_are_none(own, text):
    own.folder(1, "tiles", "0000.json").write_text(text)
    (finding,) = found_in(own.replay(), "sums")
    assert finding.group == 0


def test_a_layer_on_disk_that_is_another_one(own):
    layers = own.folder(2, "layers")
    shutil.copy(own.folder(1, "layers") / "layer-0001.safetensors", layers / "layer-0001.safetensors")
    (finding,) = found_in(own.replay(2), "layer files")
    assert finding.group == 1


def test_a_layer_on_disk_that_is_none(own):
    path = own.folder(2, "layers") / "layer-0001.safetensors"
    path.write_bytes(b"no layer")
    (finding,) = found_in(own.replay(2), "layer files")
    assert finding.group == 1
    path.unlink()
    assert found_in(own.replay(2), "layer files")[0].group == 1


def test_weights_to_start_from_that_are_others(own):
    layers = own.folder(1, "layers")
    shutil.copy(own.folder(2, "layers") / "layer-0002.safetensors", layers / "layer-0002.safetensors")
    (finding,) = found_in(own.replay(2), "layers")
    assert finding.group == 2
    assert "does not hold the weights that the plan starts from" in finding.text


def test_another_model(own, tmp_path):
    make_model(tmp_path / "other", "llama", seed=5)
    findings = found_in(replace(own, model=tmp_path / "other").replay(), "layers")
    assert [finding.group for finding in findings] == [0, 1, 2]


def test_no_model_at_all(own, tmp_path):
    findings = found_in(replace(own, model=tmp_path / "nothing").replay(), "layers")
    assert "the model in" in findings[0].text


def test_a_changed_file_of_the_model(own):
    flip(own.data / "model-2" / "model.safetensors")
    (finding,) = found_in(own.replay(2), "model")
    assert finding.text == "model.safetensors is not the file that the log names"


def test_files_of_the_model_that_are_longer_gone_or_new(own):
    folder = own.data / "model-2"
    (folder / "more.json").write_text("{}")
    with (folder / "config.json").open("a") as file:
        file.write(" ")
    (folder / "tokenizer.json").unlink(missing_ok=True)
    (folder / "model.safetensors").unlink()
    texts = {finding.text.partition(" ")[0] for finding in found_in(own.replay(2), "model")}
    assert {"more.json", "config.json", "model.safetensors"} <= texts


def test_a_log_that_does_not_pass_ends_it(own):
    flip(next((own.data / "log" / "tile" / "entries").rglob("*.p/*")), 400)
    report = own.replay()
    assert found_in(report, "log")
    assert all(step.passed is None for step in report.steps[1:])


def test_a_server_that_states_other_sums(tmp_path, monkeypatch):
    """It signs them, its log is in order, and nobody else can tell."""

    finish = ServerStation._finish
    lies = {0: {"counts": "ab" * 32}, 1: {"sums": "cd" * 32}, 2: {"unanimous": 0, "single": 0}}

    def lying(self, unmasking):
        return replace(finish(self, unmasking), **lies[unmasking.group.gid])

    monkeypatch.setattr(ServerStation, "_finish", lying)
    with stations(tmp_path, members=4, layers=3) as found:
        keep_archive(found)
        found.model.files = lambda: ()
        found.run()
        report = Kept.of(found).replay()
    findings = found_in(report, "sums")
    said = [(finding.group, finding.text.split(": ")[1].split(" are ")[0]) for finding in findings]
    assert said == [(0, "counts"), (1, "sums"), (2, "unanimous"), (2, "single")]


def test_a_server_that_takes_another_step(tmp_path, monkeypatch):
    """The sums are right; the layer is made of others."""
    with model_stations(tmp_path, members=4, layers=3) as found:
        layer = found.server.model.layer

        def lying(plan, released):
            if released.group.gid == 1:
                released.streams.count[:40] = 0x11
                released = Released.of(released.group, released.streams, released.survivors)
            return layer(plan, released)

        monkeypatch.setattr(found.server.model, "layer", lying)
        found.run()
        report = Kept.of(found).replay()
    (finding,) = found_in(report, "layers")
    assert finding.group == 1


def test_packages_for_a_key_that_is_gone(kept):
    report = module.replay(replace(kept.site(), secrets={}), 1, None, Silent())
    findings = found_in(report, "contributions")
    assert len(findings) == 12
    assert all("a key that this home does not have any more" in finding.text for finding in findings)


# Results that no honest machine gives; whoever verifies the log stops most of them before


@pytest.fixture
def claim(kept, monkeypatch):
    """Have the log name a result that `change` made of the groups, ends and answers of the real one."""
    read = module.read_round

    def claimed(change, sample=None):
        def other(*arguments):
            logged = read(*arguments)
            said = logged.result
            groups, ended, answered = change(said.groups, said.ended, said.answered)
            about = (said.federation, said.round, said.plan_hash, said.survivors)
            made = Result.make(Ed25519Signer(bytes(32)), *about, groups, ended, answered)
            return replace(logged, result=made)

        monkeypatch.setattr(module, "read_round", other)
        return kept.replay(1, sample)

    return claimed


def without_group(code):
    return lambda groups, ended, answered: ((groups[0], groups[2]), (Ended(1, code),), answered)


def with_group(**values):
    return lambda groups, ended, answered: ((groups[0], replace(groups[1], **values), groups[2]), ended, answered)


def test_a_result_over_another_survivor_list(kept, monkeypatch):
    read = replay_log._Entries.result

    def other(*arguments):
        said = read(*arguments)
        about = (said.federation, said.round, said.plan_hash, "ab" * 32)
        return Result.make(Ed25519Signer(bytes(32)), *about, said.groups, said.ended, said.answered)

    monkeypatch.setattr(replay_log._Entries, "result", other)
    with pytest.raises(FormatError, match="is that of another survivor list"):
        kept.replay()


def test_a_group_that_opens_and_is_said_not_to(claim):
    (finding,) = found_in(claim(without_group(EndCode.TOO_FEW_RESPONSES)), "answers")
    assert finding.group == 1


def test_a_group_that_is_in_range_and_is_said_not_to_be(claim):
    (finding,) = found_in(claim(without_group(EndCode.SUM_OUT_OF_RANGE)), "sums")
    assert finding.text == "group 1 has sums here and none in the result"
    (finding,) = found_in(claim(without_group(EndCode.SUM_OUT_OF_RANGE), Sample(Fraction(1), bytes(32))), "sums")
    assert "the result has no sums of it" in finding.text


def test_others_are_said_to_have_answered(claim):
    (finding,) = found_in(claim(lambda groups, ended, answered: (groups, ended, answered[1:])), "answers")
    assert "names others as those who answered" in finding.text


@pytest.mark.parametrize("sample", [None, Sample(Fraction(1), bytes(32))], ids=["whole", "sample"])
@pytest.mark.parametrize("values", [{"survivors": 3}, {"weights": 10_000}, {"counts": "ab" * 32}, {"sums": "*"}])
def test_a_group_of_which_something_else_is_said(claim, values, sample):
    report = claim(with_group(**values), sample)
    assert all(finding.group == 1 for finding in found_in(report, "sums"))


def test_another_layer_is_named(claim):
    report = claim(with_group(layer="ab" * 32))
    assert states(report) == dict.fromkeys(ALL, True) | {"layers": False, "layer files": False, "model": None}


# Groups that end, rounds that cannot be replayed


def test_a_group_whose_sums_are_out_of_range(tmp_path, monkeypatch):
    streams = RandomMember.streams

    def wild(self, group):
        found, clipped = streams(self, group)
        if group.gid == 1 and self._name == "north":
            found.count[:] = 0x55
        return found, clipped

    monkeypatch.setattr(RandomMember, "streams", wild)
    with model_stations(tmp_path, members=4, layers=3) as found:
        found.run()
        kept = Kept.of(found)
        report = kept.replay()
        result = module.read_round(
            module.FolderLog(kept.data / "log"), found.server.post.log.size, kept.site().home.root, 1, lambda *_: None
        ).result
    assert [(end.gid, end.code) for end in result.ended] == [(1, EndCode.SUM_OUT_OF_RANGE)]
    assert report.failure is None
    assert report.step("sums").done == "12 vectors in 3 groups"


def test_a_round_that_is_not_there_or_has_no_result(kept, tmp_path):
    with pytest.raises(MissingInput, match="the log has no round 3"):
        kept.replay(3)
    with stations(tmp_path, members=4, layers=1) as found:
        keep_archive(found)
        found.carry()
        found.step()
        found.server.tick()
        with pytest.raises(MissingInput, match="round 1 has no result"):
            Kept.of(found).replay()


def test_a_round_of_which_nothing_was_kept(tmp_path):
    with stations(tmp_path, members=4, layers=1) as found:
        found.model.files = lambda: ()
        found.run()
        with pytest.raises(MissingInput, match="of round 1 no contributions were kept"):
            Kept.of(found).replay()


def test_only_a_server_has_an_archive(tmp_path):
    with stations(tmp_path, members=4, layers=1) as found:
        made = Kept(found.ceremony.home("member/north"), found.data("member/north"), None)
        with pytest.raises(UsageError, match="only a server"):
            made.site()


# The command


def command(kept: Kept, *more: str) -> list[str]:
    return ["audit", "replay", "2", "--home", str(kept.home), "--data", str(kept.data), *more]


@pytest.fixture
def typed(monkeypatch):
    monkeypatch.setenv("FEDPRUNE_PASSWORD", "open sesame")


@pytest.mark.usefixtures("typed")
def test_the_command_shows_every_step(kept, capsys):
    assert run(command(kept, "--model", str(kept.model))) == 0
    told = capsys.readouterr().out
    assert told.count(" OK ") == len(ALL)
    assert "Round 2 replayed in" in told


@pytest.mark.usefixtures("typed")
def test_the_command_says_what_differs(own, capsys):
    path = sorted(own.folder(2, "contributions").iterdir())[0]
    flip(path)
    member, group = sender(path)
    assert run(command(own, "--model", str(own.model))) == 209
    told = capsys.readouterr()
    assert "DIFFERS" in told.out
    assert f"the contribution of {member} to group {group}" in told.out
    assert "round 2, contributions:" in told.err
    assert run(command(own, "--without-model", "--json")) == 209
    assert json.loads(capsys.readouterr().out)["passed"] is False


def test_all_but_the_server_step_needs_no_torch():
    script = (
        "import sys, fedspallm_secure.app.audit.replay, fedspallm_secure.app.audit.sampling; "
        "assert not {'torch', 'safetensors', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.usefixtures("typed")
def test_without_torch_it_says_so(kept, capsys, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert run(command(kept, "--model", str(kept.model))) == 42
    told = capsys.readouterr()
    assert "torch is not installed" in told.out
    assert "layers were not" in told.err
    assert run(command(kept, "--without-model", "--json")) == 0
    steps = {step["step"]: step for step in json.loads(capsys.readouterr().out)["steps"]}
    assert steps["layers"]["passed"] is None
    assert steps["layers"]["why"] == "left out, as asked for"
    assert steps["model"]["passed"] is True


@pytest.mark.usefixtures("typed")
@pytest.mark.parametrize(
    "more",
    [
        ("--seed", "ab" * 32, "--without-model"),
        ("--sample", "5%", "--seed", "ab", "--without-model"),
        ("--sample", "5%", "--seed", "no hex", "--without-model"),
        ("--sample", "0%", "--without-model"),
        ("--config", "federation.toml", "--without-model"),
        (),
    ],
)
def test_options_that_make_no_sense(kept, capsys, more):
    assert run(command(kept, *more)) == 2


@pytest.mark.usefixtures("typed")
def test_the_configuration_file_says_where(kept, tmp_path, capsys):
    text = f'[server]\nhome = "{kept.home}"\ndata = "{kept.data}"\n[model]\npath = "{kept.model}"\n'
    (tmp_path / "federation.toml").write_text(text)
    assert run(["audit", "replay", "1", "--config", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["round"] == 1
