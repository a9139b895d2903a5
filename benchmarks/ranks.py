"""Seconds of pruning the bench model by several ranks, on the CPU with one thread each:

OMP_NUM_THREADS=1 torchrun --standalone --nproc-per-node N -m benchmarks.ranks --model DIR --text FILE --test FILE
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.measure import Ground, make_ground
from benchmarks.pruning import HALF
from fedspallm_secure.app.member import LocalPruning
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.ranks import Ranks, join_ranks
from fedspallm_secure.app.states import Revision
from fedspallm_secure.pruning.patterns import Unstructured
from fedspallm_secure.pruning.pruners import LocalSpec, Pruner

TIMES = 3


def main() -> None:
    """Rank 0 prints one line for each method."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranks", description=__doc__)
    for name in ("--model", "--text", "--test"):
        parser.add_argument(name, type=Path, required=True)
    options = parser.parse_args()
    ranks = join_ranks()
    ground = make_ground(options.model, options.text, options.test, 64, 256)
    for pruner in (Pruner.SPARSEGPT, Pruner.WANDA):
        _seconds(ground, pruner, ranks)
        seconds = [_seconds(ground, pruner, ranks) for _ in range(TIMES)]
        if ranks.rank == 0:
            each = ", ".join(f"{one:.2f}" for one in seconds)
            print(f"{ranks.size} ranks, {pruner}: {median(seconds):.2f} s ({each})", flush=True)
    ranks.close()


def _seconds(ground: Ground, pruner: Pruner, ranks: Ranks) -> float:
    revision = Revision(ground.workshop.skeleton.checkpoint)
    pruning = LocalPruning(ground.workshop, revision, ground.calibration, LocalSpec(pruner, Unstructured(HALF)), ranks)
    layers = range(len(ground.workshop.skeleton.blocks))
    with tempfile.TemporaryDirectory() as folder:
        ranks.share({})  # all begin together
        start = perf_counter()
        pruning.run(layers, Path(folder), Silent(), "prune")
        return perf_counter() - start


if __name__ == "__main__":
    main()
