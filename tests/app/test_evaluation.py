"""Perplexity against transformers' own loss, and what the server refuses to add up."""

import math

import pytest
import torch

from fedspallm_secure.app.evaluation import Perplexities, perplexities
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.results import agreement_figures, standalone_mean
from fedspallm_secure.app.server import LayerFigures, ServerSpec, aggregate_layer
from fedspallm_secure.app.states import Revision
from fedspallm_secure.app.walking.workshop import ComputeSettings, open_workshop
from fedspallm_secure.errors import NumericalFailure, RecordDamaged
from fedspallm_secure.pruning.aggregation import Strategy
from fedspallm_secure.pruning.patterns import NofM
from fedspallm_secure.storage.checkpoints.layers import LayerMatrix, save_layer
from tests.models import VOCABULARY, make_model
from tests.reference import perplexity


def test_perplexity_is_that_of_transformers(tmp_path):
    model = make_model(tmp_path)
    ids = torch.randint(2, VOCABULARY, (7, 24), generator=torch.Generator().manual_seed(0))
    shop = open_workshop(tmp_path, ComputeSettings(device="cpu"))
    tests = {"one": ids[:3], "two": ids[3:]}
    found = perplexities(shop, Revision(shop.skeleton.checkpoint), tests, Silent(), "measure")
    for name, windows in tests.items():
        with torch.no_grad():
            loss = float(model(input_ids=windows, labels=windows).loss)
            log_probs = model(input_ids=windows).logits[:, :-1].double().log_softmax(-1)
        targets = log_probs.gather(-1, windows[:, 1:, None]).flatten().tolist()
        assert found.by_test[name] == pytest.approx(math.exp(loss), rel=1e-5)
        assert found.by_test[name] == pytest.approx(perplexity(targets), rel=1e-5)
        assert found.tokens[name] == len(targets)


def test_predictions_that_are_no_numbers_are_an_error(tmp_path):
    make_model(tmp_path)
    shop = open_workshop(tmp_path, ComputeSettings(device="cpu"))
    shop.skeleton.model.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(NumericalFailure, match="measure: the model's predictions on one are not numbers"):
        perplexities(shop, Revision(shop.skeleton.checkpoint), {"one": torch.ones(2, 8).long()}, Silent(), "measure")


def test_means_are_what_they_say():
    each = {"a": Perplexities({"x": 4.0, "y": 9.0}, {}), "b": Perplexities({"x": 16.0, "y": 1.0}, {})}
    assert each["a"].mean == pytest.approx(6.0)
    mean = standalone_mean(each)
    assert mean == pytest.approx({"x": 10.0, "y": 5.0, "mean": 5.0, "least": 4.0, "most": 6.0})


def test_agreement_counts_unanimous_and_single_positions():
    layer = LayerFigures(0, 3, {"a": [4, 1, 2, 3], "b": [0, 1, 0, 9]}, {"a": 5, "b": 1}, {"a": 10, "b": 10}, 0)
    found = agreement_figures([layer])
    assert found["unanimous"] == (4 + 3 + 9) / 20
    assert found["single"] == 2 / 20
    assert found["layers"][0]["histogram"] == [4, 2, 2, 12]


def test_one_member_is_unanimous_and_single_at_once():
    layer = LayerFigures(0, 1, {"a": [5, 5]}, {"a": 5}, {"a": 10}, 0)
    found = agreement_figures([layer])
    assert (found["unanimous"], found["single"]) == (1.0, 0.5)


@pytest.mark.parametrize("wrong", ["missing", "shape"])
def test_contributions_of_another_shape_are_not_added(tmp_path, wrong):
    make_model(tmp_path / "model")
    shop = open_workshop(tmp_path / "model", ComputeSettings(device="cpu"))
    block = shop.skeleton.blocks[0]
    matrices = {}
    for linear in block.linears:
        keep = torch.ones(linear.shape, dtype=torch.bool)
        matrices[linear.name] = LayerMatrix(torch.zeros(linear.shape), keep)
    name = block.linears[2].name
    if wrong == "missing":
        del matrices[name]
    else:
        matrices[name] = LayerMatrix(torch.zeros(3, 5), torch.ones(3, 5, dtype=torch.bool))
    save_layer(tmp_path / "contribution", matrices, {})
    spec = ServerSpec(NofM(2, 4), Strategy.FEDSPALLM)
    with pytest.raises(RecordDamaged, match=name):
        aggregate_layer(block, Revision(shop.skeleton.checkpoint), [tmp_path / "contribution"], spec, tmp_path / "out")
    assert not (tmp_path / "out").exists()
