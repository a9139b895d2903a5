"""How much memory it takes to prune one block: arithmetic, held against a GPU in docs/BENCHMARKS.md ("GPU memory").

A block's inputs are observed first, a batch at a time; then its matrices are solved, those of one input together, while
results and the statistics of other inputs wait.  Whichever takes more is the peak.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import torch

from fedspallm_secure.app.walking.capture import Probe
from fedspallm_secure.app.walking.skeleton import Block, Skeleton
from fedspallm_secure.pruning.pruners import Pruner

TOKENS_PER_BATCH: Final = {"cpu": 512, "cuda": 16384, "mps": 8192}  # on a CPU, what stays in cache is fastest

_FLOAT: Final = 4  # bytes of a float32, in which statistics, scores and results are
_RESULT: Final = _FLOAT + 1  # bytes of a result: the weight, and whether it stays
_FACTORS: Final = 6  # matrices as large as the Gram matrix, that one among them, while it is factorised
_RANKING: Final = {Pruner.WANDA: 16, Pruner.MAGNITUDE: 38}  # bytes a weight while the weights of a matrix are ranked
_HIDDEN: Final = 3  # hidden states, residuals and norms of a batch
_IN_PIECES: Final = Fraction(2, 5)  # what torch holds of a GPU beside that, in pieces that fit nothing


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes at the peak, of the block that takes most.

    resident: embeddings, norms and head; block: the weights of the block; statistics: of all its inputs; working: what
    the batch, or the solver and the results, take beyond these; total: all of them, and on a GPU what torch cannot use.
    """

    resident: int
    block: int
    statistics: int
    working: int
    total: int


def footprint(skeleton: Skeleton, found: Probe, pruner: Pruner, batch: int) -> Footprint:
    """What pruning takes beside the hidden states of all windows.  batch: tokens of a forward pass."""
    resident = sum(p.numel() * p.element_size() for p in skeleton.model.parameters() if p.device.type != "meta")
    width = skeleton.dtype.itemsize
    most = (0, 0, 0)
    for block in skeleton.blocks:
        weights = sum(linear.size for linear in block.linears) * width
        inputs = list(_inputs(block, found.shared[block.index]))
        statistics = sum(_FLOAT * columns**2 for columns, _ in inputs) if pruner is Pruner.SPARSEGPT else 0
        peak = max(_observed(skeleton, pruner, statistics, inputs, batch), _solved(pruner, statistics, inputs))
        most = max(most, (weights + peak, weights, statistics))
    peak, weights, statistics = most
    total = resident + peak
    if skeleton.device.type == "cuda":
        total += int(total * _IN_PIECES)
    return Footprint(resident, weights, statistics, peak - weights - statistics, total)


def batch_windows(device: torch.device, length: int, tokens: int | None = None) -> int:
    """How many windows of `length` tokens go through a block at once.  tokens: at most so many; None for the usual."""
    return max(1, (tokens or TOKENS_PER_BATCH[device.type]) // length)


def _inputs(block: Block, shared: list[list[str]]) -> Iterator[tuple[int, list[int]]]:
    """Of each input, in the order they are solved: its numbers, and the rows of the matrices that read it."""
    linears = {linear.module: linear for linear in block.linears}
    for group in shared:
        yield linears[group[0]].shape[1], [linears[name].shape[0] for name in group]


def _observed(
    skeleton: Skeleton, pruner: Pruner, statistics: int, inputs: list[tuple[int, list[int]]], batch: int
) -> int:
    """Bytes while a batch runs, statistics among them."""
    if pruner is Pruner.MAGNITUDE:
        return 0
    width = skeleton.dtype.itemsize
    copies = (_FLOAT if width != _FLOAT else 0) + (_FLOAT if pruner is Pruner.WANDA else 0)  # as float32; squared
    widest = max(columns for columns, _ in inputs)
    hidden = int(skeleton.model.get_input_embeddings().weight.shape[1])
    return statistics + batch * (_HIDDEN * hidden * width + widest * (width + copies))


def _solved(pruner: Pruner, statistics: int, inputs: list[tuple[int, list[int]]]) -> int:
    """Bytes while the most demanding input is solved, with the results before it and the statistics after it."""
    most = results = 0
    for columns, rows in inputs:
        if pruner is Pruner.SPARSEGPT:
            gram = _FLOAT * columns**2
            work = max(_FACTORS * gram, 2 * gram + 2 * _RESULT * sum(rows) * columns)
            statistics -= gram
        else:
            work = _RANKING[pruner] * max(rows) * columns
        most = max(most, statistics + results + work)
        results += _RESULT * sum(rows) * columns
    return most
