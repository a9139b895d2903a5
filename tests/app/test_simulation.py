"""The main job, end to end, on a model of a few thousand weights."""

import hashlib
import json
import resource
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from fedspallm_secure.app import member
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.runner import simulate
from fedspallm_secure.errors import NotEnoughText, OutputExists, PlanRefused, RunLocked, TokenizerMismatch
from fedspallm_secure.pruning.aggregation import Group, Strategy
from fedspallm_secure.pruning.keepmasks import is_n_of_m
from fedspallm_secure.pruning.patterns import NofM, Unstructured
from fedspallm_secure.pruning.pruners import Pruner
from fedspallm_secure.storage.checkpoints.reader import Checkpoint
from fedspallm_secure.storage.files import sole_writer
from tests.ground import Ground
from tests.models import make_tokenizer

HALF = Fraction(1, 2)


def tree(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = Checkpoint.open(folder)
    return {name: checkpoint.read(name) for name in checkpoint.tensors}


def test_everything_is_measured_and_reported(ground: Ground):
    result = simulate(ground.settings(compare=("standalone", "centralised", "random")), Silent())
    for kind in ("dense", "centralised", "random", "federated"):
        assert set(result[kind]) == {"north", "south", "mean"}
        assert result[kind]["mean"] == pytest.approx((result[kind]["north"] * result[kind]["south"]) ** 0.5)
    assert set(result["standalone"]) == {"north", "south", "west"}
    assert result["sparsity"]["target"] == result["sparsity"]["achieved"] == 0.5
    for name, matrix in result["sparsity"]["per_matrix"].items():
        assert matrix["dropped"] == -(-matrix["size"] // 2), name
    assert sum(sum(layer["histogram"]) for layer in result["agreement"]["layers"]) == result["sparsity"]["size"]
    # 4 bits of count and 32 of sum for every weight of every layer
    assert set(result["bytes_per_silo"].values()) == {result["sparsity"]["size"] * 36 // 8}
    assert result["inputs"]["silos"]["north"] == hashlib.sha256(ground.silos[0].path.read_bytes()).hexdigest()
    assert {"seconds", "peak_rss_bytes", "versions", "seed", "cohorts"} <= set(result)
    assert json.loads((ground.folder / "out/result.json").read_text()) == result
    assert (ground.folder / "out/report.html").stat().st_size > 1000
    assert not (ground.folder / "out/work").exists()


def test_the_model_on_disk_is_the_aggregate(ground: Ground):
    simulate(ground.settings(pruner=Pruner.WANDA), Silent())
    dense, pruned = weights(ground.model), weights(ground.folder / "out/model")
    assert dense.keys() == pruned.keys()
    for name, weight in pruned.items():
        if "proj" in name:
            assert int((weight == 0).sum()) == -(-weight.numel() // 2)
            assert torch.equal(weight[weight != 0], dense[name][weight != 0])  # Wanda leaves survivors untouched
        else:
            assert torch.equal(weight, dense[name])
    AutoModelForCausalLM.from_pretrained(ground.folder / "out/model")


def test_votes_and_sums_agree_where_survivors_are_untouched(ground: Ground):
    simulate(ground.settings("sums", pruner=Pruner.WANDA), Silent())
    result = simulate(ground.settings("votes", pruner=Pruner.WANDA, strategy=Strategy.VOTES), Silent())
    assert tree(ground.folder / "sums/model") == tree(ground.folder / "votes/model")
    assert set(result["bytes_per_silo"].values()) == {result["sparsity"]["size"] * 4 // 8}


def test_same_seed_same_bytes_and_another_seed_others(ground: Ground):
    one = simulate(ground.settings("one"), Silent())
    two = simulate(ground.settings("two"), Silent())
    simulate(ground.settings("three", seed=1), Silent())
    assert tree(ground.folder / "one/model") == tree(ground.folder / "two/model")
    assert tree(ground.folder / "one/model") != tree(ground.folder / "three/model")
    assert one["federated"] == two["federated"]


@pytest.mark.parametrize("pruner", list(Pruner))
def test_n_of_m_survives_aggregation(ground: Ground, pruner: Pruner):
    simulate(ground.settings(pruner=pruner, schedule=(NofM(2, 4),)), Silent())
    for name, weight in weights(ground.folder / "out/model").items():
        if "proj" in name:
            assert is_n_of_m(weight != 0, 2, 4)
            assert int((weight == 0).sum()) == weight.numel() // 2


def test_rows_can_be_the_comparison_group(ground: Ground):
    simulate(ground.settings(group=Group.ROW), Silent())
    weight = weights(ground.folder / "out/model")["model.layers.0.mlp.up_proj.weight"]
    assert (weight == 0).sum(dim=1).unique().tolist() == [weight.shape[1] // 2]


def test_silos_with_their_own_sparsity_still_meet_the_target(ground: Ground):
    own = {
        "north": Unstructured(Fraction(9, 10)),
        "south": Unstructured(Fraction(9, 10)),
        "west": Unstructured(Fraction(8, 10)),
    }
    result = simulate(ground.settings(silo_patterns=own), Silent())
    assert result["sparsity"]["achieved"] == 0.5
    assert result["agreement"]["restored"] > 0  # all went further than the target, so dense weights return


def test_budgets_are_kept_and_every_layer_is_covered(ground: Ground):
    budgets = {"north": 2, "south": 3, "west": 1}
    result = simulate(ground.settings(budgets=budgets, min_cohort=2), Silent())
    layers = result["cohorts"][0]["layers"]
    assert all(len(members) == 2 for members in layers.values())
    for silo, budget in budgets.items():
        assert sum(silo in members for members in layers.values()) == budget
    assert result["sparsity"]["achieved"] == 0.5


def test_budgets_that_cannot_cover_are_refused_or_spread(ground: Ground):
    budgets = {"north": 1, "south": 2, "west": 1}
    with pytest.raises(PlanRefused, match=r"add up to 4 layers.*3 layers with a cohort of 2 need 6"):
        simulate(ground.settings(budgets=budgets, min_cohort=2), Silent())
    result = simulate(ground.settings("spread", budgets=budgets, min_cohort=2, spread=True), Silent())
    assert len(result["cohorts"]) == 2
    assert sorted(layer for plan in result["cohorts"] for layer in plan["layers"]) == ["0", "1", "2"]
    assert result["sparsity"]["achieved"] == 0.5


def test_two_silos_need_an_explicit_word(ground: Ground):
    with pytest.raises(PlanRefused, match="2 members cannot form a cohort of 3"):
        simulate(ground.settings(silos=ground.silos[:2]), Silent())
    simulate(ground.settings("two", silos=ground.silos[:2], min_cohort=2), Silent())
    simulate(ground.settings("one", silos=ground.silos[:1], min_cohort=1), Silent())


@pytest.mark.parametrize("pruner", list(Pruner))
def test_rounds_never_bring_a_weight_back(ground: Ground, pruner: Pruner):
    steps = (Unstructured(Fraction(3, 10)), Unstructured(HALF))
    result = simulate(ground.settings(pruner=pruner, schedule=steps, compare=("standalone", "random")), Silent())
    assert [plan["target"] for plan in result["cohorts"]] == ["30 %", "50 %"]
    assert result["sparsity"]["achieved"] == 0.5
    simulate(ground.settings("first", pruner=pruner, schedule=steps[:1]), Silent())
    first, last = weights(ground.folder / "first/model"), weights(ground.folder / "out/model")
    for name in result["sparsity"]["per_matrix"]:
        assert not last[name][first[name] == 0].any(), name


def test_a_finished_run_is_not_repeated(ground: Ground, monkeypatch):
    result = simulate(ground.settings(), Silent())
    monkeypatch.setattr("fedspallm_secure.app.runner._run", None)
    assert simulate(ground.settings(), Silent()) == result


def test_other_settings_do_not_touch_a_finished_run(ground: Ground):
    simulate(ground.settings(), Silent())
    before = tree(ground.folder / "out")
    with pytest.raises(OutputExists, match=r"differs in settings\.seed"):
        simulate(ground.settings(seed=1), Silent())
    ground.silos[0].path.write_text("other text")
    with pytest.raises(OutputExists, match=r"differs in inputs\.silos"):
        simulate(ground.settings(), Silent())
    assert tree(ground.folder / "out") == before


def test_a_refused_plan_can_be_mended_under_the_same_output(ground: Ground):
    with pytest.raises(PlanRefused):
        simulate(ground.settings(budgets={"north": 1}), Silent())
    with pytest.raises(NotEnoughText):
        simulate(ground.settings(samples=10_000), Silent())
    assert simulate(ground.settings(), Silent())["sparsity"]["achieved"] == 0.5


def test_another_tokenizer_is_another_run(ground: Ground):
    result = simulate(ground.settings(), Silent())
    assert "tokenizer.json" in result["inputs"]["model"]
    make_tokenizer(ground.model, first=5)
    with pytest.raises(OutputExists, match=r"differs in inputs\.model"):
        simulate(ground.settings(), Silent())


def test_a_foreign_folder_is_not_touched(ground: Ground):
    (ground.folder / "out").mkdir()
    (ground.folder / "out/thesis.txt").write_text("mine")
    with pytest.raises(OutputExists):
        simulate(ground.settings(), Silent())
    assert [file.name for file in (ground.folder / "out").iterdir()] == ["thesis.txt"]


def test_two_runs_do_not_share_a_folder(ground: Ground):
    with sole_writer(ground.folder / "out"):
        (ground.folder / "out/run.json").write_text("{}")
        with pytest.raises(RunLocked):
            simulate(ground.settings(), Silent())


@pytest.mark.parametrize("pruner", list(Pruner))
@pytest.mark.parametrize("stop_after", [0, 1, 4, 8])
def test_an_interrupted_run_continues_to_the_same_bytes(ground: Ground, monkeypatch, pruner, stop_after):
    """Stopped after any number of finished layers, 9 in all."""
    simulate(ground.settings("whole", pruner=pruner), Silent())
    saved = 0
    save = member.save_layer

    def save_some(*arguments: Any) -> None:
        nonlocal saved
        if saved == stop_after:
            raise KeyboardInterrupt
        save(*arguments)
        saved += 1

    monkeypatch.setattr(member, "save_layer", save_some)
    with pytest.raises(KeyboardInterrupt):
        simulate(ground.settings(pruner=pruner), Silent())
    assert not (ground.folder / "out/model").exists()

    def count(*arguments: Any) -> None:
        nonlocal saved
        save(*arguments)
        saved += 1

    monkeypatch.setattr(member, "save_layer", count)
    simulate(ground.settings(pruner=pruner), Silent())
    assert saved == 9  # nothing was done twice
    assert tree(ground.folder / "out/model") == tree(ground.folder / "whole/model")


@pytest.mark.slow
def test_kill_minus_nine_loses_at_most_a_layer(ground: Ground):
    """A real process, really killed, at whatever it was doing then."""
    simulate(ground.settings("whole"), Silent())
    command = [sys.executable, "-m", "fedprune_cli", *ground.arguments("--sparsity", "0.5", "--compare", "")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list((ground.folder / "out").glob("work/member-*/round-1/layer-*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (ground.folder / "out/result.json").exists()
    finished = subprocess.run(command, capture_output=True, check=True, text=True)
    assert "federated" in finished.stdout
    assert tree(ground.folder / "out/model") == tree(ground.folder / "whole/model")


def test_spilling_does_not_change_the_result(ground: Ground):
    from fedspallm_secure.app.walking.workshop import ComputeSettings

    simulate(ground.settings("memory"), Silent())
    simulate(ground.settings("disk", compute=ComputeSettings(device="cpu", activation_budget=0)), Silent())
    assert tree(ground.folder / "memory/model") == tree(ground.folder / "disk/model")


def test_too_little_text_says_how_much_is_missing(ground: Ground):
    ground.silos[1].path.write_text("short")
    with pytest.raises(NotEnoughText, match=r"south holds 6 tokens; 6 windows of 32 need 192, 186 more"):
        simulate(ground.settings(), Silent())
    ground.silos[1].path.write_text("")
    with pytest.raises(NotEnoughText, match="south holds 0 tokens"):
        simulate(ground.settings("empty"), Silent())


def test_a_tokenizer_of_another_model_is_refused(ground: Ground):
    make_tokenizer(ground.model, first=300)
    with pytest.raises(TokenizerMismatch, match="but the model's vocabulary ends at 319"):
        simulate(ground.settings(), Silent())


@pytest.mark.slow
@pytest.mark.parametrize("limit", [8_000, 20_000])
def test_a_full_disk_is_one_line_and_loses_nothing(ground: Ground, limit: int):
    """A real process whose files may not grow past `limit` bytes: too little for a layer, then for the model."""
    command = [sys.executable, "-m", "fedprune_cli", *ground.arguments("--sparsity", "0.5", "--compare", "")]

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    failed = subprocess.run(command, capture_output=True, text=True, preexec_fn=small_disk)
    assert failed.returncode == 51
    assert "no space left while writing" in failed.stderr
    assert "free some space" in failed.stderr
    assert not (ground.folder / "out/model").exists()
    subprocess.run(command, capture_output=True, check=True)
    simulate(ground.settings("whole"), Silent())
    assert tree(ground.folder / "out/model") == tree(ground.folder / "whole/model")
