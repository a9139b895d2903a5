"""The script that measures on a GPU, tried on the CPU: it checks what it measured, and says so in one line."""

import torch

from benchmarks import gpu
from benchmarks.measure import Ground
from fedspallm_secure.app.walking.workshop import ComputeSettings, open_workshop
from fedspallm_secure.pruning.pruners import Pruner
from tests.models import VOCABULARY, make_model


def test_both_sides_are_measured_and_compared(tmp_path):
    make_model(tmp_path)
    shop = open_workshop(tmp_path, ComputeSettings(device="cpu"))
    ids = torch.randint(2, VOCABULARY, (12, 48), generator=torch.Generator().manual_seed(0))
    for pruner in (Pruner.SPARSEGPT, Pruner.WANDA):
        row = gpu.measure(Ground(tmp_path, shop, ids[:8], ids[8:]), pruner, "cpu", 1)
        assert row["figures"]["sparsity"] == "50.0000%"
        assert float(row["figures"]["keep-masks agree"].rstrip("%")) > 98
        assert {"observe", "advance", "solve", "save", "rest"} <= set(row["figures"]["phases"])
        assert gpu.markdown(row | {"what": "this"}).startswith(f"| {row['name']} | this | ")
