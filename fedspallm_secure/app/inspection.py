"""What a model is made of and what pruning it would take, before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import torch

from fedspallm_secure.app.walking.footprint import Footprint, footprint
from fedspallm_secure.app.walking.skeleton import Block
from fedspallm_secure.app.walking.workshop import Workshop
from fedspallm_secure.pruning.pruners import Pruner

_PROBE_SECONDS = 0.2
_PROBE_SIZE = {"cpu": 512, "cuda": 4096, "mps": 2048}
_SOLVER_SHARE = 0.25  # of the matrix rate: the column sweep is bound by memory, not arithmetic


@dataclass(frozen=True, slots=True)
class Estimate:
    """Memory in bytes and time in seconds for one member that prunes every layer.

    activations: hidden states of all windows in memory, which on a GPU go to main memory where it lacks room; spilled:
    those on disk.
    """

    block: Footprint
    activations: int
    spilled: int
    seconds: float
    on_gpu: bool = False

    @property
    def memory(self) -> int:
        """Peak above the interpreter, bytes; on a GPU, of its memory."""
        return self.block.total + (0 if self.on_gpu else self.activations)


def inspect_model(
    workshop: Workshop, pruner: Pruner, samples: int, seqlen: int, rate: float | None = None
) -> dict[str, Any]:
    """Describe blocks, matrices and coverage, and estimate memory and time.

    rate: floating-point operations per second; measured with a short matrix product if None.
    """
    skeleton = workshop.skeleton
    tensors = skeleton.checkpoint.tensors
    total = sum(info.parameters for info in tensors.values())
    in_blocks = sum(tensors[name].parameters for block in skeleton.blocks for name in set(block.names.values()))
    prunable = sum(linear.size for block in skeleton.blocks for linear in block.linears)
    estimate = estimate_cost(workshop, pruner, samples, seqlen, rate or measure_rate(skeleton.device, skeleton.dtype))
    return {
        "model": str(skeleton.checkpoint.path),
        "digest": skeleton.checkpoint.digest(),
        "architecture": type(skeleton.model).__name__,
        "blocks": len(skeleton.blocks),
        "block_path": skeleton.block_path,
        "parameters": total,
        "prunable": prunable,
        "coverage": {"of_all": prunable / total, "of_blocks": prunable / in_blocks},
        "left_alone": _left_alone(workshop),
        "vocabulary": skeleton.vocabulary,
        "max_length": skeleton.max_length,
        "device": str(skeleton.device),
        "dtype": str(skeleton.dtype).removeprefix("torch."),
        "layers": [_describe(block, workshop.found.shared[block.index]) for block in skeleton.blocks],
        "estimate": {
            "pruner": str(pruner),
            "samples": samples,
            "seqlen": seqlen,
            "memory_bytes": estimate.memory,
            "resident_bytes": estimate.block.resident,
            "block_bytes": estimate.block.block,
            "statistics_bytes": estimate.block.statistics,
            "working_bytes": estimate.block.working,
            "activation_bytes": estimate.activations,
            "spilled_bytes": estimate.spilled,
            "seconds": estimate.seconds,
        },
    }


def _describe(block: Block, shared: Sequence[Sequence[str]]) -> dict[str, Any]:
    leaders = {name: group[0] for group in shared for name in group}
    return {
        "layer": block.index,
        "matrices": [
            {
                "name": linear.name,
                "shape": list(linear.shape),
                "transposed": linear.transposed,
                "shares_input_with": leaders[linear.module],
            }
            for linear in block.linears
        ],
    }


def _left_alone(workshop: Workshop) -> dict[str, int]:
    """Parameters that stay dense on purpose: inside blocks (norms, biases) and outside (embeddings, head)."""
    skeleton = workshop.skeleton
    tensors = skeleton.checkpoint.tensors
    pruned = {linear.name for block in skeleton.blocks for linear in block.linears}
    inside = {name for block in skeleton.blocks for name in block.names.values()}
    return {
        "in_blocks": sum(tensors[name].parameters for name in inside - pruned),
        "outside": sum(info.parameters for name, info in tensors.items() if name not in inside),
    }


def estimate_cost(workshop: Workshop, pruner: Pruner, samples: int, seqlen: int, rate: float) -> Estimate:
    """Estimate memory and time; arithmetic only.  rate: floating-point operations per second."""
    skeleton = workshop.skeleton
    tokens = samples * seqlen
    passes = 0 if pruner is Pruner.MAGNITUDE else 2  # one to observe a block's inputs, one to move past it
    hidden = tokens * _hidden_size(workshop) * skeleton.dtype.itemsize if passes else 0
    spilled = hidden if hidden > workshop.activation_budget else 0
    flops = _solver_flops(workshop, tokens) if pruner is Pruner.SPARSEGPT else 0.0
    flops += sum(2 * passes * tokens * linear.size for block in skeleton.blocks for linear in block.linears)
    return Estimate(
        footprint(skeleton, workshop.found, pruner, workshop.batch_tokens(samples, seqlen)),
        activations=hidden - spilled,
        spilled=spilled,
        seconds=flops / rate,
        on_gpu=skeleton.device.type == "cuda",
    )


def _hidden_size(workshop: Workshop) -> int:
    return int(workshop.skeleton.model.get_input_embeddings().weight.shape[1])


def _solver_flops(workshop: Workshop, tokens: int) -> float:
    """Operations for SparseGPT's statistics, and for what is solved with them."""
    flops = 0.0
    for block in workshop.skeleton.blocks:
        linears = {linear.module: linear for linear in block.linears}
        for group in workshop.found.shared[block.index]:
            columns = linears[group[0]].shape[1]
            rows = sum(linears[name].shape[0] for name in group)
            flops += 2 * tokens * columns**2 + (2 * columns**3 + rows * columns**2) / _SOLVER_SHARE
    return flops


def measure_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a square matrix product on this device, measured for a moment."""
    size = _PROBE_SIZE[device.type]
    one = torch.ones(size, size, device=device, dtype=dtype)
    float((one @ one)[0, 0])
    count = 0
    start = monotonic()
    while monotonic() - start < _PROBE_SECONDS:
        float((one @ one)[0, 0])  # reading a number waits for the device
        count += 1
    return count * 2.0 * size**3 / (monotonic() - start)
