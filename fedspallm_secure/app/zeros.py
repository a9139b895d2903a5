"""Where a model's zeros are: how many, and whether they follow a pattern that some hardware can use."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.walking.discovery import Linear
from fedspallm_secure.app.walking.skeleton import Skeleton
from fedspallm_secure.errors import InputError, ModelError
from fedspallm_secure.pruning.keepmasks import is_n_of_m
from fedspallm_secure.pruning.patterns import NofM
from fedspallm_secure.storage.checkpoints.pieces import DTYPES
from fedspallm_secure.storage.checkpoints.reader import Checkpoint

TWO_FOUR = NofM(2, 4)
PATTERNS = (TWO_FOUR, NofM(4, 8))
_BAND = 256  # rows


@dataclass(frozen=True, slots=True)
class Zeros:
    """Exact zeros of a model on file; -0.0 counts as one.

    weights, zeros: over all floating-point tensors; matrices: prunable ones, that is linear layers inside the decoder
    blocks; matrix_weights, matrix_zeros: over those; patterns: what every one of them satisfies along its inputs;
    unknown: why the prunable matrices could not be told apart, empty where they could.
    """

    weights: int
    zeros: int
    matrices: int
    matrix_weights: int
    matrix_zeros: int
    patterns: tuple[NofM, ...]
    unknown: str = ""

    @property
    def share(self) -> float:
        """Share of all weights that is zero."""
        return self.zeros / self.weights if self.weights else 0.0

    @property
    def matrix_share(self) -> float:
        """Share of the prunable weights that is zero."""
        return self.matrix_zeros / self.matrix_weights if self.matrix_weights else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {
            "weights": self.weights,
            "zeros": self.zeros,
            "share": self.share,
            "matrices": self.matrices,
            "matrix_weights": self.matrix_weights,
            "matrix_zeros": self.matrix_zeros,
            "matrix_share": self.matrix_share,
            "patterns": [str(pattern) for pattern in self.patterns],
            "unknown": self.unknown,
        }


def count_zeros(checkpoint: Checkpoint, progress: Progress) -> Zeros:
    """Read a model once, one tensor in memory at a time.  A model that cannot be pruned is counted all the same.

    Raises ForeignFile when a tensor cannot be read.
    """
    prunable, unknown = _prunable(checkpoint)
    weights = zeros = matrix_weights = matrix_zeros = 0
    patterns: tuple[NofM, ...] = PATTERNS if prunable else ()
    names = [name for name, info in checkpoint.tensors.items() if info.dtype in DTYPES]
    for number, name in enumerate(names, start=1):
        nonzero = checkpoint.read(name) != 0
        found = nonzero.numel() - int(torch.count_nonzero(nonzero))
        weights += nonzero.numel()
        zeros += found
        if name in prunable:
            matrix_weights += nonzero.numel()
            matrix_zeros += found
            keep = nonzero.T if prunable[name].transposed else nonzero
            patterns = tuple(pattern for pattern in patterns if follows(keep, pattern))
        progress.update("count zeros", number, len(names), "tensors")
    return Zeros(weights, zeros, len(prunable), matrix_weights, matrix_zeros, patterns, unknown)


def follows(keep: Tensor, pattern: NofM) -> bool:
    """Whether at most N of every M consecutive inputs of a row stay.  keep: (out, in) bool."""
    if keep.shape[1] % pattern.m:
        return False
    # The pruner's own test, a band of rows at a time: its group sums take more room than the keep-mask.
    bands = (keep[start : start + _BAND] for start in range(0, keep.shape[0], _BAND))
    return all(is_n_of_m(band, pattern.n, pattern.m) for band in bands)


def _prunable(checkpoint: Checkpoint) -> tuple[dict[str, Linear], str]:
    """The prunable matrices by checkpoint name, or why there is no saying which they are."""
    try:
        # On `meta` no weight stays in memory, and a narrow dtype keeps the copies on the way there small.
        skeleton = Skeleton(checkpoint, torch.device("meta"), torch.bfloat16)
    except (ModelError, InputError) as error:
        return {}, str(error)
    return {linear.name: linear for block in skeleton.blocks for linear in block.linears}, ""
