"""P1 and P2: pruning as the library does it, against the published algorithm run literally.

Same model, same samples, same threads, on the CPU; both start from weights in memory or in the page cache and end
with pruned weights (ours also writes every layer durably to disk).  The figure is seconds of the literal rendering over
those of ours.
"""

import copy
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from benchmarks import literal
from benchmarks.measure import Ground, Row, alternate
from fedspallm_secure.app.evaluation import perplexities
from fedspallm_secure.app.member import LocalPruning
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.states import Revision
from fedspallm_secure.pruning.patterns import Unstructured
from fedspallm_secure.pruning.pruners import LocalSpec, Pruner

HALF = Fraction(1, 2)
TARGET = ">= 3 times as fast, perplexity within 0.1 %"
METHODS: dict[Pruner, Callable[[nn.Linear], literal.Method]] = {
    Pruner.SPARSEGPT: literal.LiteralSparseGPT,
    Pruner.WANDA: literal.LiteralWanda,
}


def measure(ground: Ground, pruner: Pruner, times: int) -> list[Row]:
    """One block and the whole model."""
    dense = AutoModelForCausalLM.from_pretrained(ground.model, dtype=torch.float32).eval()
    depth = len(ground.workshop.skeleton.blocks)
    name = "P1" if pruner is Pruner.SPARSEGPT else "P2"
    rows = []
    for blocks in (1, depth):
        peer, ours = _runs(ground, dense, pruner, blocks)
        theirs, mine = alternate(peer, ours, times)
        what = f"{pruner}, {blocks} of {depth} blocks, {len(ground.calibration)} x {ground.calibration.shape[1]} tokens"
        row = Row(name, what, TARGET, [one / other for one, other in zip(theirs, mine, strict=True)])
        if blocks == depth:
            row.figures = _quality(ground, dense, pruner)
        rows.append(row)
    return rows


def _runs(ground: Ground, dense: Any, pruner: Pruner, blocks: int) -> tuple[Callable[[], None], Callable[[], None]]:
    def peer() -> None:
        literal.prune(_copy(dense), ground.calibration, METHODS[pruner], 0.5, blocks if blocks == 1 else None)

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            prune(ground, pruner, blocks, Path(folder))

    return peer, ours


def _copy(dense: Any) -> Any:
    """A model to prune in place.  Copying is part of the peer's time as reading from disk is of ours."""
    return copy.deepcopy(dense)


def prune(ground: Ground, pruner: Pruner, blocks: int, folder: Path) -> Revision:
    """The library's way: the first `blocks` layers at 50 %, each into its file in `folder`."""
    revision = Revision(ground.workshop.skeleton.checkpoint)
    pruning = LocalPruning(ground.workshop, revision, ground.calibration, LocalSpec(pruner, Unstructured(HALF)))
    return revision.with_layers(pruning.run(range(blocks), folder, Silent(), "prune"))


def _quality(ground: Ground, dense: Any, pruner: Pruner) -> dict[str, Any]:
    """Perplexity of both results, measured by the same code."""
    peer = _copy(dense)
    literal.prune(peer, ground.calibration, METHODS[pruner], 0.5)
    theirs = literal.perplexity(peer, ground.tests)
    with tempfile.TemporaryDirectory() as folder:
        revision = prune(ground, pruner, len(ground.workshop.skeleton.blocks), Path(folder))
        mine = perplexities(ground.workshop, revision, {"test": ground.tests}, Silent(), "measure").mean
    return {"perplexity literal": f"{theirs:.3f}", "ours": f"{mine:.3f}", "difference": f"{mine / theirs - 1:+.3%}"}
