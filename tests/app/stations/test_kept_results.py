"""A member's work folder, held against what its journal says was taken home."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fedspallm_secure.app.states import layer_file
from fedspallm_secure.app.stations.kept_results import Kept, lacking, read_kept
from fedspallm_secure.app.stations.revisions import layers_folder
from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.errors import RecordDamaged
from fedspallm_secure.protocol.rounds.outcomes import GroupResult, Result
from tests.protocol.audit.logs import SERVER_SIGNER
from tests.protocol.rounds.test_plans import PLAN, SAMPLING

HASH = "ab" * 32


def result(number: int, layer: str = HASH) -> Result:
    groups = [GroupResult(gid, 30, 3, HASH, HASH, 15, 3, layer) for gid in (0, 1)]
    return Result.make(SERVER_SIGNER, "lungs.example", number, PLAN.hash, HASH, groups, (), ("north",))


class Member:
    """A work folder and a journal, both after round 2 of two."""

    def __init__(self, data: Path) -> None:
        self.data = data
        last = replace(PLAN, sampling=replace(SAMPLING, number=2, spread=False, min_cohort=2))
        self.facts = {("applied", "*"): 2, ("followed", "2"): {"plan": last.to_dict(), "hash": last.hash}}
        for number in (1, 2):
            self.facts["result", str(number)] = encode_base64(result(number).encode())
        self.keep(2)
        (data / "model").mkdir()

    def keep(self, number: int, digest: str = "") -> None:
        files = [layer_file(layers_folder(self.data, number), gid) for gid in (0, 1)]
        files[0].parent.mkdir(parents=True, exist_ok=True)
        for path in files:
            path.write_bytes(b"weights")
        layers = {gid: str(path.relative_to(self.data)) for gid, path in enumerate(files)}
        value = {"round": number, "result": digest or result(number).hash, "layers": layers}
        (self.data / "revision.json").write_text(json.dumps(value))

    def look(self) -> tuple[str, str] | None:
        found = lacking(self.data, lambda kind, name, default: self.facts.get((kind, name), default))
        return None if found is None else (found.text, found.fix)


@pytest.fixture
def member(tmp_path):
    return Member(tmp_path)


def test_nothing_is_lacking_where_nothing_was_taken_home(tmp_path):
    assert lacking(tmp_path, lambda kind, name, default: default) is None
    assert read_kept(tmp_path) == Kept()


def test_all_is_there(member):
    assert member.look() is None
    assert (read_kept(member.data).round, set(read_kept(member.data).layers)) == (2, {0, 1})


def test_a_work_folder_that_has_gone(member):
    shutil.rmtree(member.data)
    text, fix = member.look()
    assert text == f"the result of round 2 was taken home, and {member.data} has nothing of it any more"
    assert "its disk mounted" in fix and "P10" in fix and "enrol again" in fix


def test_a_work_folder_that_is_older_than_the_journal(member):
    member.keep(1)
    text, fix = member.look()
    assert text.startswith(f"{member.data} has the result {result(1).hash[:16]} of round 1, and the journal follows")
    assert "that of round 2" in text and "enrol again" in fix


def test_a_work_folder_of_another_result_of_the_same_round(member):
    member.keep(2, "cd" * 32)
    assert "has the result cdcdcdcdcdcdcdcd of round 2" in member.look()[0]


def test_a_work_folder_of_another_home(member):
    member.facts.clear()
    assert member.look()[0].endswith("of round 2, and the journal knows of none")


def test_a_kill_between_folder_and_journal_is_no_lack(member):
    member.facts["applied", "*"] = 1
    assert member.look() is None


def test_layers_that_have_gone(member):
    layer_file(layers_folder(member.data, 2), 1).unlink()
    text, fix = member.look()
    assert text == f"round-2/layers/layer-0001.safetensors in {member.data} is gone"
    assert "backup" in fix and "another member" in fix
    layer_file(layers_folder(member.data, 2), 0).unlink()
    assert member.look()[0] == f"round-2/layers/layer-0000.safetensors and 1 more in {member.data} are gone"


def test_a_model_that_has_gone(member):
    (member.data / "model").rmdir()
    assert member.look()[0] == f"{member.data / 'model'}, the pruned model, is gone"
    before = replace(PLAN, sampling=replace(SAMPLING, number=1, spread=False, min_cohort=2))
    member.facts["followed", "2"] = {"plan": before.to_dict(), "hash": before.hash}
    assert member.look() is None  # it is written after the last round


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"round": 1, "result": "x", "layers": []}', '{"round": Infinity, "result": "x", "layers": {}}'],
)
def test_what_does_not_read_back(member, text):
    (member.data / "revision.json").write_text(text)
    with pytest.raises(RecordDamaged, match="does not read back as it was written"):
        member.look()
