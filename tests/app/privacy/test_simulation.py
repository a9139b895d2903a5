"""Differential privacy in the main job: what is released, when it is paid for, and what the report says about it."""

import hashlib
import itertools
import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedspallm_secure.app import member
from fedspallm_secure.app.privacy import silos as private
from fedspallm_secure.app.privacy.gathering import layout, public_unit, record_vectors
from fedspallm_secure.app.privacy.settings import PrivacySettings
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.rounds.settings import SecureSettings
from fedspallm_secure.app.runner import simulate
from fedspallm_secure.app.states import Revision
from fedspallm_secure.app.walking.workshop import open_workshop
from fedspallm_secure.errors import PlanRefused, RecordDamaged, UsageError
from fedspallm_secure.pruning import discrete_gaussian
from fedspallm_secure.pruning.patterns import Unstructured
from fedspallm_secure.pruning.pruners import Pruner
from fedspallm_secure.pruning.statistics import InputNorms
from fedspallm_secure.storage.checkpoints.noised import NoisedStatistic, load_noised, save_noised
from tests.app.test_simulation import tree
from tests.ground import Ground, make_ground

pytest.importorskip("dp_accounting")
EIGHT = PrivacySettings(8.0)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Ground:
    return make_ground(tmp_path_factory.mktemp("three"))


@pytest.fixture
def settings(shared: Ground, tmp_path: Path):
    """Settings with noise, into a folder of this test's own."""
    return lambda out="out", **more: shared.settings(
        str(tmp_path / out), **({"pruner": Pruner.WANDA, "privacy": EIGHT} | more)
    )


@pytest.fixture
def same_noise(monkeypatch):
    """Begin the same random bytes anew when called."""

    def begin() -> None:
        blocks = itertools.count()
        monkeypatch.setattr(
            discrete_gaussian, "random_bytes", lambda size: hashlib.shake_256(b"%d" % next(blocks)).digest(size)
        )

    return begin


def ledger(out: Path, silo: str = "north") -> dict[str, Any]:
    return json.loads((out / f"privacy/{silo}.json").read_text())


def stop_after(monkeypatch, files: int) -> None:
    """Interrupt the run when so many layer files were written."""
    save, count = member.save_layer, itertools.count()

    def some(*arguments: Any) -> None:
        if next(count) == files:
            raise KeyboardInterrupt
        save(*arguments)

    monkeypatch.setattr(member, "save_layer", some)


def test_every_silo_says_what_it_spent_and_the_report_what_that_means(settings, tmp_path):
    result = simulate(settings(), Silent())
    assert {key: result["privacy"][key] for key in ("epsilon", "delta", "clip")} == EIGHT.to_dict()
    for silo, found in result["privacy"]["members"].items():
        assert 7.9 < found["epsilon"] <= 8 and found["delta"] == 1e-6
        assert (found["records"], found["releases"], found["features"]) == (6, 1, 432)
        assert 0.68 < found["sigma"] == found["noise_multiplier"] * found["clip"] < 0.70
        assert 0 <= found["clipped_share"] <= 1 and 0 <= found["weight"] <= 1
        assert ledger(tmp_path / "out", silo)["terms"]["epsilon"] == 8
    assert result["sparsity"]["achieved"] == 0.5
    page = (tmp_path / "out/report.html").read_text()
    assert (
        "(8, 1e-06) record-level differential privacy for the released keep-masks with respect to north&#39;s" in page
    )
    assert "assuming north runs the published clipping and noise code" in page
    assert "No differential privacy was in effect" not in page and "anonym" not in page.lower()


def test_noise_is_no_function_of_the_seed(settings, tmp_path):
    simulate(settings("one"), Silent())
    simulate(settings("two"), Silent())
    assert ledger(tmp_path / "one")["terms"] == ledger(tmp_path / "two")["terms"]
    assert ledger(tmp_path / "one")["spent"] != ledger(tmp_path / "two")["spent"]


def test_both_aggregations_give_the_same_model_from_the_same_noise(settings, tmp_path, same_noise):
    same_noise()
    simulate(settings("plain"), Silent())
    same_noise()
    result = simulate(settings("secure", secure=SecureSettings()), Silent())
    assert tree(tmp_path / "plain/model") == tree(tmp_path / "secure/model")
    assert result["secagg"] and result["privacy"]["members"]["west"]["releases"] == 1


@pytest.mark.parametrize("files", [0, 4])
def test_an_interrupted_run_neither_spends_nor_draws_twice(settings, tmp_path, monkeypatch, same_noise, files):
    same_noise()
    simulate(settings("whole"), Silent())
    same_noise()
    with monkeypatch.context() as patch:
        stop_after(patch, files)
        with pytest.raises(KeyboardInterrupt):
            simulate(settings(), Silent())
    before = ledger(tmp_path / "out")
    assert simulate(settings(), Silent())["privacy"]["members"]["north"]["releases"] == 1
    assert ledger(tmp_path / "out") == before
    assert tree(tmp_path / "out/model") == tree(tmp_path / "whole/model")
    with monkeypatch.context() as patch:
        patch.setattr("fedspallm_secure.pruning.privacy.discrete_gaussian", None)
        simulate(settings(), Silent())  # a finished run draws nothing either


def test_a_run_killed_before_the_entry_pays_for_the_statistic_it_wrote(settings, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(private.Ledger, "enter", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            simulate(settings(), Silent())
    written = tmp_path / "out/work/member-north/round-1/noised.safetensors"
    assert written.exists() and not list(written.parent.glob("layer-*")) and not (tmp_path / "out/privacy").exists()
    digest = hashlib.sha256(written.read_bytes()).hexdigest()
    simulate(settings(), Silent())
    assert ledger(tmp_path / "out")["spent"] == {"1": digest}


def test_a_lost_statistic_is_not_drawn_again(settings, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            simulate(settings(), Silent())
    shutil.rmtree(tmp_path / "out/work")
    with pytest.raises(PlanRefused, match="north has spent for round 1 already"):
        simulate(settings(), Silent())


def test_another_statistic_than_the_one_paid_for_is_refused(settings, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            simulate(settings(), Silent())
    file = tmp_path / "out/work/member-north/round-1/noised.safetensors"
    known = load_noised(file, 432)
    save_noised(file, NoisedStatistic(known.noised + 1, known.unit, known.steps, known.records, known.clipped))
    with pytest.raises(RecordDamaged, match="not the one that"):
        simulate(settings(), Silent())
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RecordDamaged, match="does not read back"):
        simulate(settings(), Silent())


def test_rounds_share_the_budget_and_need_more_noise_each(settings):
    steps = (Unstructured(Fraction(3, 10)), Unstructured(Fraction(1, 2)))
    found = simulate(settings(schedule=steps), Silent())["privacy"]["members"]["north"]
    assert found["releases"] == 2 and 7.9 < found["epsilon"] <= 8
    assert found["noise_multiplier"] == pytest.approx(0.6893 * 2**0.5, rel=1e-3)


def test_a_silo_that_prunes_little_spends_on_that_alone(settings):
    budgets = {"north": 2, "south": 0, "west": 1}
    found = simulate(settings(budgets=budgets, min_cohort=1), Silent())["privacy"]["members"]
    assert [found[silo]["features"] for silo in ("north", "south", "west")] == [288, 0, 144]
    assert (found["south"]["releases"], found["south"]["epsilon"], found["south"]["delta"]) == (0, 0, 0)


def test_magnitude_spends_nothing(settings, tmp_path):
    told = simulate(settings(pruner=Pruner.MAGNITUDE), Silent())["privacy"]
    assert not told["reads_text"]
    assert {(found["epsilon"], found["releases"]) for found in told["members"].values()} == {(0, 0)}
    assert not (tmp_path / "out/privacy").exists()
    assert "no calibration text decided any keep-mask" in (tmp_path / "out/report.html").read_text()


def test_sparsegpt_and_a_careless_delta_are_refused(settings):
    with pytest.raises(UsageError, match="does not work with sparsegpt"):
        settings(pruner=Pruner.SPARSEGPT)
    with pytest.raises(UsageError, match="whole record"):
        settings(privacy=PrivacySettings(8.0, delta=0.5))


def test_a_budget_that_needs_more_noise_than_there_is_is_refused(settings):
    with pytest.raises(UsageError, match="no noise fits"):
        simulate(settings(privacy=PrivacySettings(1e-3)), Silent())


def test_what_noise_cost_is_measured_against_the_same_plans_without_it(settings, shared, tmp_path):
    steps = (Unstructured(Fraction(3, 10)), Unstructured(Fraction(1, 2)))
    told = simulate(settings(schedule=steps, compare=("standalone", "noiseless")), Silent())
    plain = simulate(settings("plain", schedule=steps, privacy=None), Silent())
    assert told["noiseless"] == plain["federated"] != told["federated"]
    page = (tmp_path / "out/report.html").read_text()
    assert "Noise for ε = 8 at δ = 1e-06 cost" in page and "Without noise" in page
    for pointless in ({"privacy": None}, {"pruner": Pruner.MAGNITUDE}):
        with pytest.raises(UsageError, match="no noise is added"):
            settings(compare=("noiseless",), **pointless)


def test_who_prunes_alone_needs_no_noise(settings):
    with_noise = simulate(settings(compare=("standalone",)), Silent())
    without = simulate(settings("without", privacy=None, compare=("standalone",)), Silent())
    assert with_noise["standalone"] == without["standalone"]
    assert without["privacy"] == {}


# --- The vectors of records -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def walked(shared: Ground):
    """Workshop, its parts, seven windows, and their vectors."""
    shop = open_workshop(shared.model, shared.settings().compute)
    windows = torch.randint(0, 320, (7, 32), generator=torch.Generator().manual_seed(3))
    parts = layout(shop, (0, 2))
    vectors = record_vectors(shop, Revision(shop.skeleton.checkpoint), parts, windows, Silent(), "read")
    return shop, parts, windows, np.concatenate(list(vectors))


def test_a_vector_is_a_function_of_its_own_window(walked, monkeypatch):
    shop, parts, windows, vectors = walked
    dense, chosen = Revision(shop.skeleton.checkpoint), [5, 0, 3]
    some = list(record_vectors(shop, dense, parts, windows[chosen], Silent(), "read"))
    assert np.array_equal(np.concatenate(some), vectors[chosen])  # bit for bit: others change nothing
    monkeypatch.setattr("fedspallm_secure.app.privacy.gathering._HELD_BYTES", 4 * vectors.shape[1] * 2)
    pieces = list(record_vectors(shop, dense, parts, windows, Silent(), "read"))
    assert [len(piece) for piece in pieces] == [2, 2, 2, 1]
    assert np.array_equal(np.concatenate(pieces), vectors)


def test_vectors_add_up_to_the_norms_that_wanda_reads(walked):
    shop, parts, windows, vectors = walked
    assert [(part.layer, part.stop - part.start) for part in parts] == [
        (layer, width) for layer in (0, 2) for width in (32, 32, 32, 48)
    ]
    walk, first = shop.walk(windows), shop.skeleton.blocks[0]
    norms = {part.linear: InputNorms.empty(part.stop - part.start) for part in parts if part.layer == 0}
    with shop.skeleton.loaded(first) as module:
        walk.observe(first, module, norms)
    for part in parts[: len(norms)]:
        assert torch.allclose(
            torch.from_numpy(vectors[:, part.start : part.stop].sum(axis=0)).float(),
            norms[part.linear].sum_squares,
            rtol=1e-4,
        )


def test_the_unit_is_public_and_positive(walked):
    shop, parts, _, vectors = walked
    dense = Revision(shop.skeleton.checkpoint)
    unit = public_unit(shop, dense, parts, 32, b"seed")
    assert unit.shape == (vectors.shape[1],) and (unit > 0).all() and np.isfinite(unit).all()
    assert np.array_equal(unit, public_unit(shop, dense, parts, 32, b"seed"))
    assert not np.array_equal(unit, public_unit(shop, dense, parts, 32, b"other"))
