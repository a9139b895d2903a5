"""What pruning is said to take.  tests/app/test_cuda.py holds it against what a GPU is asked for."""

import pytest
import torch

from fedspallm_secure.app.walking import activations
from fedspallm_secure.app.walking.footprint import batch_windows, footprint
from fedspallm_secure.app.walking.workshop import ComputeSettings, open_workshop
from fedspallm_secure.pruning.pruners import Pruner
from tests.models import make_model

LARGE = {"hidden_size": 1536, "intermediate_size": 4096, "num_hidden_layers": 2, "max_position_embeddings": 256}


@pytest.mark.parametrize("pruner", list(Pruner))
def test_the_peak_is_the_sum_of_its_parts_and_on_a_gpu_two_fifths_more(tmp_path, pruner):
    make_model(tmp_path)
    shop = open_workshop(tmp_path, ComputeSettings(device="cpu", dtype="float32"))
    small, large = (footprint(shop.skeleton, shop.found, pruner, batch) for batch in (64, 6400))
    parts = small.resident + small.block + small.statistics + small.working
    assert small.total == parts
    assert small.resident == 4 * sum(p.numel() for p in shop.skeleton.model.parameters() if p.device.type != "meta")
    grams = 4 * (3 * 32**2 + 48**2)  # what q, k, v read, what o reads, gate and up, and down
    assert small.statistics == (grams if pruner is Pruner.SPARSEGPT else 0)
    assert (large.total > small.total) == (pruner is not Pruner.MAGNITUDE)
    shop.skeleton.device = torch.device("cuda", 0)
    assert footprint(shop.skeleton, shop.found, pruner, 64).total == parts + parts * 2 // 5


def test_a_batch_holds_whole_windows_and_at_least_one():
    gpu = torch.device("cuda")
    assert [batch_windows(gpu, length) for length in (1, 2048, 2049, 20_000)] == [16384, 8, 7, 1]
    assert batch_windows(torch.device("cpu"), 256) == 2
    assert batch_windows(torch.device("cpu"), 256, 1024) == 4


def test_hidden_states_leave_room_for_the_dearest_pruner(tmp_path, monkeypatch):
    make_model(tmp_path)
    shop = open_workshop(tmp_path, ComputeSettings(device="cpu", dtype="float32"))
    asked = []
    monkeypatch.setattr(activations, "_has_room", lambda *of: bool(asked.append(of)))
    shop.walk(torch.zeros(3, 16, dtype=torch.int64))
    needs = [footprint(shop.skeleton, shop.found, pruner, 48).total for pruner in Pruner]
    assert asked == [(shop.skeleton.device, 3 * 16 * 32 * 4, max(needs))]
