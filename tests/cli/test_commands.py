"""The command line: stdout, stderr and exit code of every command, each judged separately."""

import json
import os
from pathlib import Path

import pytest
import torch
from fedprune_cli.main import cli, run
from safetensors.torch import load_file, save_file

from tests.ground import Ground
from tests.models import make_model


def invoke(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capfd.readouterr()
    code = run(arguments)
    out, err = capfd.readouterr()
    return code, out, err


def refused(capfd: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """Run, and demand nothing on stdout, one error line, one hint line, and this exit code."""
    found, out, err = invoke(capfd, *arguments)
    lines = [line for line in err.splitlines() if line.startswith("fedprune: ")]
    assert found == code, err
    assert out == ""
    assert [line.split(":")[1] for line in lines] == [" error", " hint"], err
    assert "Traceback" not in err
    return err


def test_json_is_one_object_and_nothing_else(ground: Ground, capfd):
    code, out, err = invoke(capfd, *ground.arguments("--sparsity", "0.5", "--json"))
    assert code == 0
    result = json.loads(out)
    assert result["sparsity"]["achieved"] == 0.5
    assert "north prunes" in err


def test_people_get_tables(ground: Ground, capfd):
    code, out, err = invoke(capfd, *ground.arguments("--pattern", "2:4", "--pruner", "wanda"))
    assert code == 0
    for word in ("dense", "north alone", "standalone, mean", "centralised", "random", "federated", "50.0000% achieved"):
        assert word in out
    assert "\x1b" not in out + err  # no colours where there is no terminal


def test_a_schedule_reaches_its_last_step(ground: Ground, capfd):
    words = ground.arguments("--rounds", "2", "--schedule", "0.3,0.5", "--compare", "", "--json")
    code, out, _ = invoke(capfd, *words)
    assert code == 0
    assert [plan["target"] for plan in json.loads(out)["cohorts"]] == ["30 %", "50 %"]


def test_inspect_tells_before_anything_runs(ground: Ground, capfd):
    code, out, _ = invoke(capfd, "inspect", "--model", str(ground.model), "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["blocks"], found["block_path"]) == (3, "model.layers")
    matrices = {m["name"]: m for m in found["layers"][0]["matrices"]}
    assert matrices["model.layers.0.self_attn.v_proj.weight"]["shares_input_with"] == "self_attn.q_proj"
    assert found["prunable"] + sum(found["left_alone"].values()) == found["parameters"]
    assert found["estimate"]["seconds"] > 0
    code, out, _ = invoke(capfd, "inspect", "--model", str(ground.model))
    assert code == 0
    assert "Layers 0-2" in out


def test_inspect_refuses_what_would_be_skipped(tmp_path: Path, capfd):
    make_model(tmp_path, "mixtral")
    assert "mlp.experts.gate_up_proj" in refused(capfd, 21, "inspect", "--model", str(tmp_path))


def test_evaluate_measures_what_simulate_measured(ground: Ground, capfd):
    words = ground.arguments("--sparsity", "0.5", "--compare", "", "--json")
    simulated = json.loads(invoke(capfd, *words)[1])
    words = ["evaluate", "--model", simulated["model"], "--seqlen", "32", "--test-tokens", "256", "--device", "cpu"]
    for test in ground.tests:
        words += ["--data", f"{test.name}={test.path}"]
    code, out, _ = invoke(capfd, *words, "--json")
    assert code == 0
    assert json.loads(out)["perplexity"] == simulated["federated"]
    assert json.loads(out)["sparsity"]["achieved"] == 0.5
    assert invoke(capfd, *words)[0] == 0


def spoil_weights(ground: Ground) -> None:
    file = ground.model / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(tensors, file, {"format": "pt"})


def truncate_weights(ground: Ground) -> None:
    file = ground.model / "model.safetensors"
    os.truncate(file, file.stat().st_size // 2)


def replace_by_pickle(ground: Ground) -> None:
    (ground.model / "model.safetensors").unlink()
    torch.save({}, ground.model / "pytorch_model.bin")


def drop_tensor(ground: Ground) -> None:
    file = ground.model / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, file, {"format": "pt"})


BAD_GROUND = {
    "no tokenizer": (11, lambda g: [f.unlink() for f in g.model.glob("tokenizer*")], "no tokenizer files"),
    "no model": (11, lambda g: (g.model / "config.json").unlink(), "config.json"),
    "config is no config": (12, lambda g: (g.model / "config.json").write_text("[]"), "no model_type"),
    "weights cut off": (12, truncate_weights, "cannot be read as safetensors"),
    "weights missing": (12, drop_tensor, "lacks the tensors model.layers.1.mlp.up_proj.weight"),
    "pickled weights": (12, replace_by_pickle, "nothing is ever unpickled"),
    "NaN in the weights": (15, spoil_weights, "model.layers.1.mlp.up_proj.weight"),
    "text missing": (11, lambda g: g.silos[0].path.unlink(), "north.txt"),
    "silo without text": (14, lambda g: g.silos[0].path.write_text(""), "north holds 0 tokens"),
    "text is binary": (12, lambda g: g.silos[0].path.write_bytes(b"\x00\x01"), "zero bytes"),
}


@pytest.mark.parametrize("case", BAD_GROUND)
def test_bad_files_end_in_one_clear_line(ground: Ground, capfd, case):
    code, spoil, words = BAD_GROUND[case]
    spoil(ground)
    assert words in refused(capfd, code, *ground.arguments("--sparsity", "0.5"))
    assert not (ground.folder / "out/model").exists()
    assert not (ground.folder / "out/result.json").exists()


BAD_WORDS = {
    "sparsity 1": (2, ["--sparsity", "1"], "below 1"),
    "sparsity negative": (2, ["--sparsity", "-0.1"], "at least 0"),
    "sparsity no number": (2, ["--sparsity", "half"], "must be a number"),
    "no target": (2, [], "how sparse"),
    "two targets": (2, ["--sparsity", "0.5", "--pattern", "2:4"], "exclude each other"),
    "pattern no pattern": (2, ["--pattern", "24"], "N:M"),
    "pattern keeps all": (2, ["--pattern", "4:4"], "0 < N < M"),
    "pattern does not divide": (23, ["--pattern", "2:5"], "which 2:5 does not divide"),
    "schedule falls": (2, ["--schedule", "0.5,0.3"], "goes back"),
    "rounds contradict": (2, ["--rounds", "3", "--schedule", "0.3,0.5"], "contradict"),
    "budget for a stranger": (2, ["--sparsity", "0.5", "--budget", "east=1"], "not a silo"),
    "budget too large": (2, ["--sparsity", "0.5", "--budget", "north=4"], "3 decoder layers"),
    "budgets cannot cover": (30, ["--sparsity", "0.5", "--budget", "north=1"], "need 9"),
    "cohort too large": (30, ["--sparsity", "0.5", "--min-cohort", "4"], "cannot form a cohort of 4"),
    "window too long": (2, ["--sparsity", "0.5", "--seqlen", "65"], "outside 2..64"),
    "silo twice": (2, ["--sparsity", "0.5", "--silo", "north=x"], "given twice"),
    "silo without file": (2, ["--sparsity", "0.5", "--silo", "east"], "NAME=FILE"),
    "silo name is a path": (2, ["--sparsity", "0.5", "--silo", "../east=x"], "cannot be a name"),
    "comparison unknown": (2, ["--sparsity", "0.5", "--compare", "magic"], "cannot compare"),
    "own sparsity under N:M": (2, ["--pattern", "2:4", "--silo-sparsity", "north=0.3"], "N:M"),
    "no such blocks": (22, ["--sparsity", "0.5", "--blocks", "model.rows"], "model.layers"),
    "test called mean": (2, ["--sparsity", "0.5", "--test", "mean=x"], "cannot be called mean"),
    "unknown option": (2, ["--sparsty", "0.5"], "--sparsty"),
}


@pytest.mark.parametrize("case", BAD_WORDS)
def test_bad_words_end_in_one_clear_line(ground: Ground, capfd, case):
    code, more, words = BAD_WORDS[case]
    assert words in refused(capfd, code, *ground.arguments(*more))
    assert not (ground.folder / "out/model").exists()


def test_unexpected_errors_are_one_line_too(ground: Ground, capfd, monkeypatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("who divided?")

    monkeypatch.setattr("fedspallm_secure.app.runner.simulate", fail)
    err = refused(capfd, 1, *ground.arguments("--sparsity", "0.5"))
    assert "unexpected ZeroDivisionError: who divided?" in err
    run([*ground.arguments("--sparsity", "0.5"), "--json"])
    found = json.loads(capfd.readouterr().out)
    assert (found["error"], found["code"]) == ("ZeroDivisionError", 1)
    assert found["message"] == "unexpected ZeroDivisionError: who divided?" and "this is a defect" in found["hint"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_too_little_memory_has_its_own_code(ground: Ground, capfd, monkeypatch, error):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("fedspallm_secure.app.runner.simulate", fail)
    assert "activation budget" in refused(capfd, 41, *ground.arguments("--sparsity", "0.5"))


def test_interrupting_says_how_to_go_on(ground: Ground, capfd, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fedspallm_secure.app.runner.simulate", interrupt)
    assert "continues where it stopped" in refused(capfd, 130, *ground.arguments("--sparsity", "0.5"))


@pytest.mark.parametrize("command", ["", *cli.commands])
def test_help_shows_an_example(command, capfd):
    code, out, _ = invoke(capfd, *command.split(), "-h")
    assert code == 0
    assert "fedprune " + (command or "demo") in out.split("\n", 1)[1]


def test_options_come_from_the_environment_too(ground: Ground, capfd, monkeypatch):
    monkeypatch.setenv("FEDPRUNE_SIMULATE_SPARSITY", "1.5")
    assert "below 1, got 1.5" in refused(capfd, 2, *ground.arguments())


def test_a_model_goes_through_a_compact_file_and_comes_back(ground: Ground, capfd):
    compact, back = ground.folder / "model.fspc", ground.folder / "back"
    words = ["export", "--model", str(ground.model), "--format", "compact", "--out", str(compact)]
    code, out, _ = invoke(capfd, *words)
    assert code == 0
    assert "must be restored to full size" in out
    code, out, _ = invoke(capfd, "import", "--from", str(compact), "--out", str(back), "--json")
    assert code == 0
    assert json.loads(out)["form"] == "restored"
    assert (back / "model.safetensors").read_bytes() == (ground.model / "model.safetensors").read_bytes()
    assert "already exists" in refused(capfd, 52, *words)
    compact.write_bytes(compact.read_bytes()[:-1])
    refused(capfd, 12, "import", "--from", str(compact), "--out", str(ground.folder / "again"))
    assert not (ground.folder / "again").exists()


def test_a_dense_copy_says_that_zeros_save_nothing(ground: Ground, capfd):
    words = ["export", "--model", str(ground.model), "--format", "hf", "--out", str(ground.folder / "copy")]
    code, out, _ = invoke(capfd, *words)
    assert code == 0
    assert "as much as a dense model" in out
