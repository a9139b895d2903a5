"""`fedprune simulate` with differential privacy: options, errors, and what a person reads."""

import json

import pytest

from tests.cli.test_commands import invoke, refused
from tests.ground import Ground

pytest.importorskip("dp_accounting")
HALF = ("--sparsity", "0.5", "--compare", "")


def test_people_get_a_table_and_programs_the_figures(ground: Ground, capfd):
    words = ground.arguments(*HALF, "--pruner", "wanda", "--dp-epsilon", "8", "--dp-delta", "1e-5", "--dp-clip", "2")
    code, out, _ = invoke(capfd, *words)
    assert code == 0
    assert "Differential privacy of single calibration windows in the keep-masks: at most epsilon 8, delta 1e-05" in out
    assert "told by text" in out
    code, out, _ = invoke(capfd, *words, "--json")
    found = json.loads(out)["privacy"]
    assert (code, found["epsilon"], found["delta"], found["clip"]) == (0, 8, 1e-5, 2)
    err = refused(capfd, 52, *words[:-4], "--dp-delta", "1e-7")
    assert "differs in settings.privacy" in err


def test_magnitude_has_epsilon_zero(ground: Ground, capfd):
    code, out, _ = invoke(capfd, *ground.arguments(*HALF, "--pruner", "magnitude", "--dp-epsilon", "1"))
    assert code == 0
    assert "Differential privacy: epsilon 0, because magnitude pruning reads no text" in out


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--dp-epsilon", "8"], "--dp-epsilon does not work with sparsegpt"),
        (["--dp-delta", "1e-6"], "--dp-delta and --dp-clip without --dp-epsilon"),
        (["--pruner", "wanda", "--dp-clip", "1"], "--dp-delta and --dp-clip without --dp-epsilon"),
        (["--pruner", "wanda", "--dp-epsilon", "0"], "--dp-epsilon must lie above 0"),
        (["--pruner", "wanda", "--dp-epsilon", "nan"], "--dp-epsilon must lie above 0"),
        (["--pruner", "wanda", "--dp-epsilon", "1", "--dp-delta", "0.2"], "publishing one whole record would satisfy"),
        (["--pruner", "wanda", "--dp-epsilon", "0.001"], "no noise fits this privacy budget"),
    ],
)
def test_what_promises_nothing_is_one_clear_line(ground: Ground, capfd, more, told):
    assert told in refused(capfd, 2, *ground.arguments(*HALF, *more))


@pytest.mark.parametrize("words", [["--dp-epsilon", "0"], ["--plain", "--dp-epsilon", "1000"]])
def test_a_demonstration_with_a_budget_that_promises_nothing_is_refused(tmp_path, capfd, words):
    assert "--dp-epsilon must lie above 0" in refused(capfd, 2, "demo", "--out", str(tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def test_what_noise_cost_stands_in_the_table_and_below_it(ground: Ground, capfd):
    words = ground.arguments("--sparsity", "0.5", "--compare", "noiseless", "--pruner", "wanda", "--dp-epsilon", "8")
    code, out, _ = invoke(capfd, *words)
    assert code == 0 and "federated, no noise" in out
    assert "Noise for epsilon = 8 at delta = 1e-06 cost " in " ".join(out.split())


def test_made_up_vectors_have_no_records(capfd):
    err = refused(capfd, 2, "simulate", "--members", "5", "--vector", "64", "--dp-epsilon", "8")
    assert "leave --dp-epsilon away" in err
