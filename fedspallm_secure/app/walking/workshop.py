"""A model ready to be walked, opened as the settings say."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fedspallm_secure.app.ranks import ALONE, Ranks
from fedspallm_secure.app.walking.activations import DEFAULT_BUDGET
from fedspallm_secure.app.walking.capture import Probe, probe
from fedspallm_secure.app.walking.footprint import batch_windows, footprint
from fedspallm_secure.app.walking.skeleton import Skeleton, choose_device
from fedspallm_secure.app.walking.walk import Walk
from fedspallm_secure.pruning.pruners import Pruner
from fedspallm_secure.storage.checkpoints.pieces import DTYPES
from fedspallm_secure.storage.checkpoints.reader import Checkpoint

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class ComputeSettings:
    """Where and how tensors are computed.

    dtype: of the forward pass, "auto" means float32 on a CPU and the checkpoint's own elsewhere; activation_budget:
    bytes of hidden states in memory before they spill to disk.
    """

    device: str = "auto"
    dtype: str = "auto"
    activation_budget: int = DEFAULT_BUDGET
    blocks: str | None = None


@dataclass(frozen=True, slots=True)
class Workshop:
    """A model ready to be walked, and how much memory that may take.

    activation_budget: bytes of hidden states in memory, the rest goes to `spill`; tokens_per_batch: tokens per
    forward pass, by device if None.
    """

    skeleton: Skeleton
    found: Probe
    activation_budget: int = DEFAULT_BUDGET
    spill: Path | None = None
    tokens_per_batch: int | None = None

    def walk(self, windows: Tensor, ranks: Ranks = ALONE) -> Walk:
        """Start walking (windows, tokens) ids, shared by `ranks`."""
        budget, at_once = self.activation_budget, self.tokens_per_batch
        batch = self.batch_tokens(*windows.shape)
        reserve = max(footprint(self.skeleton, self.found, pruner, batch).total for pruner in Pruner)
        return Walk(self.skeleton, self.found, windows, budget, self.spill, at_once, ranks, reserve)

    def batch_tokens(self, samples: int, seqlen: int) -> int:
        """Tokens of a forward pass over so many windows of so many tokens."""
        return seqlen * min(samples, batch_windows(self.skeleton.device, seqlen, self.tokens_per_batch))


def open_workshop(model: Path, compute: ComputeSettings, spill: Path | None = None) -> Workshop:
    """Open a model for walking: read its headers, build its skeleton, probe how it is wired."""
    checkpoint = Checkpoint.open(model)
    device = choose_device(compute.device)
    skeleton = Skeleton(checkpoint, device, _choose_dtype(compute.dtype, device, checkpoint), compute.blocks)
    return Workshop(skeleton, probe(skeleton), compute.activation_budget, spill)


def _choose_dtype(name: str, device: torch.device, checkpoint: Checkpoint) -> torch.dtype:
    if name != "auto":
        return _DTYPES[name]
    if device.type == "cpu":
        return torch.float32
    sizes: dict[str, int] = {}
    for info in checkpoint.tensors.values():
        sizes[info.dtype] = sizes.get(info.dtype, 0) + info.parameters
    return DTYPES.get(max(sizes, key=lambda dtype: sizes[dtype]), torch.float32)
