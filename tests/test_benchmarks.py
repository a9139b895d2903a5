"""The peers that benchmarks measure against compute the same thing: otherwise the ratio would mean nothing."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks import literal
from benchmarks.measure import Ground, Row, alternate
from benchmarks.memory import make_model as make_deep_model
from benchmarks.pruning import METHODS, prune
from fedspallm_secure.app.evaluation import perplexities
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.walking.workshop import ComputeSettings, open_workshop
from fedspallm_secure.pruning.pruners import Pruner
from tests.models import VOCABULARY, make_model


def make_ground(folder: Path) -> Ground:
    make_model(folder)
    shop = open_workshop(folder, ComputeSettings(device="cpu"))
    ids = torch.randint(2, VOCABULARY, (20, 48), generator=torch.Generator().manual_seed(0))
    return Ground(folder, shop, ids[:16], ids[16:])


@pytest.mark.parametrize("pruner", list(METHODS))
def test_the_literal_rendering_computes_the_same(tmp_path, pruner: Pruner):
    ground = make_ground(tmp_path / "model")
    peer = AutoModelForCausalLM.from_pretrained(ground.model, dtype=torch.float32).eval()
    literal.prune(peer, ground.calibration, METHODS[pruner], 0.5)
    revision = prune(ground, pruner, 3, tmp_path / "layers")
    agree = total = 0
    for block in ground.workshop.skeleton.blocks:
        for name, matrix in revision.matrices(block).items():
            agree += int(((peer.get_parameter(name) != 0) == matrix.keep).sum())
            total += matrix.keep.numel()
    assert agree / total > 0.99  # near-ties may fall differently
    ours = perplexities(ground.workshop, revision, {"test": ground.tests}, Silent(), "measure").mean
    assert ours == pytest.approx(literal.perplexity(peer, ground.tests), rel=0.02)


def test_rows_quote_the_median_and_runs_alternate():
    order: list[str] = []
    alternate(lambda: order.append("peer"), lambda: order.append("ours"), 2)
    assert order == ["peer", "ours"] * 3
    row = Row("P0", "what", "target", [3.0, 1.0, 2.0], {"figure": 1})
    assert row.median == 2.0
    assert row.markdown() == "| P0 | what | **2.00** | 1.00 to 3.00 | target | figure 1 |"


def test_the_deep_models_are_models(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.memory.WIDTH", 32)
    monkeypatch.setattr("benchmarks.memory.INNER", 48)
    size = make_deep_model(tmp_path / "deep", 3)
    shop = open_workshop(tmp_path / "deep", ComputeSettings(device="cpu"))
    assert len(shop.skeleton.blocks) == 3
    assert size == sum(info.nbytes for info in shop.skeleton.checkpoint.tensors.values())
