"""One rank of a group that prunes: `python -m tests.rank MODEL CASES OUT`, with torchrun's environment variables.

CASES is a JSON list that rank 0 tells the others one by one.  What is checked is in tests/app/test_ranks.py.
"""

import json
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedspallm_secure.app import member
from fedspallm_secure.app.privacy.gathering import layout
from fedspallm_secure.app.privacy.member import spread
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.rank_group import Together
from fedspallm_secure.app.ranks import ALONE, Ranks, follow, join_ranks
from fedspallm_secure.app.states import Revision
from fedspallm_secure.app.walking.walk import Walk
from fedspallm_secure.app.walking.workshop import ComputeSettings, Workshop, open_workshop
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.pruning.patterns import NofM, Unstructured, parse_sparsity
from fedspallm_secure.pruning.pruners import LocalSpec, Pruner
from fedspallm_secure.storage.checkpoints.noised import NoisedStatistic
from tests.models import VOCABULARY

LENGTH = 24


def open_model(model: Path, device: str = "cpu") -> Workshop:
    """Batches of two windows."""
    shop = open_workshop(model, ComputeSettings(device=device, dtype="float32"))
    return Workshop(shop.skeleton, shop.found, tokens_per_batch=2 * LENGTH)


def prune(shop: Workshop, case: dict[str, Any], out: Path, ranks: Ranks = ALONE) -> dict[int, Path]:
    """Run one case into OUT/name; `after` names the case whose result it starts from."""
    ids = torch.randint(2, VOCABULARY, (case["windows"], LENGTH), generator=torch.Generator().manual_seed(1))
    pattern = NofM(2, 4) if case["sparsity"] == "2:4" else Unstructured(parse_sparsity(case["sparsity"]))
    revision = Revision(shop.skeleton.checkpoint)
    if "after" in case:
        folder = out / case["after"]
        revision = revision.with_layers({n: member.layer_file(folder, n) for n in range(len(shop.skeleton.blocks))})
    spec, known = LocalSpec(Pruner(case["pruner"]), pattern), None
    if case.get("noised"):
        known = spread(statistic(shop, case["layers"]) if ranks.rank == 0 else None, case["layers"], 1, shop, ranks)
    pruning = member.LocalPruning(shop, revision, ids, spec, ranks, known)
    return pruning.run(case["layers"], out / case["name"], Silent(), "prune")


def statistic(shop: Workshop, layers: list[int]) -> NoisedStatistic:
    """One that rank 0 alone has drawn; here always the same."""
    features = layout(shop, layers)[-1].stop
    drawn = np.random.default_rng(7)
    return NoisedStatistic(drawn.integers(1, 1 << 40, features), drawn.uniform(0.5, 2.0, features), 1 << 20, 3, 0)


def break_down(fault: str) -> None:
    """Arrange for something to go wrong in the middle of a run."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def hang(*_: object) -> None:
        time.sleep(600)

    def refuse(*_: object) -> None:
        raise FedSpaError("a matrix was refused")

    if fault == "die":
        Walk.advance = die  # type: ignore[assignment]
    elif fault == "hang":
        Walk.advance = hang  # type: ignore[assignment]
    elif fault == "refuse":
        member.prune_together = refuse  # type: ignore[assignment]


def main() -> int:
    """Rank 0 tells the cases, the others follow; returns the exit code."""
    model, cases, out = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    limit = timedelta(seconds=float(os.environ.get("RANK_LIMIT", "60")))
    device = os.environ.get("RANK_DEVICE", "cpu")
    try:
        # Several ranks on one GPU: NCCL refuses that, gloo does not.
        ranks = join_ranks(limit=limit) if device == "cpu" else Together(rank, size, 0, limit, "gloo")
        shop = open_model(model, ranks.device(device))
        if rank:
            break_down(os.environ.get("RANK_FAULT", ""))
            follow(ranks, lambda case: prune(shop, case, out, ranks) and None)
        elif os.environ.get("RANK_FAULT") == "leave":
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            for case in cases:
                ranks.tell({"prune": case})
                prune(shop, case, out, ranks)
            ranks.tell({"stop": True})
        ranks.close()
    except FedSpaError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a group that lost a rank has threads that wait for it
