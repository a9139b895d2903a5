"""The vectors of records: one pass of every window, alone, through the model as the round found it.

Nothing that a record does to the model comes back to another record: windows are walked one by one, and the weights are
those that everybody has.  So each vector is a function of its own window and of public things, as clipping needs it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.states import Revision
from fedspallm_secure.app.walking.workshop import Workshop
from fedspallm_secure.crypto.draws import PublicDraws
from fedspallm_secure.pruning.privacy import RecordNorms, Vectors
from fedspallm_secure.pruning.statistics import Gram, InputNorms

_HELD_BYTES = 1 << 29  # of vectors, float32, before they are clipped and added up
_REFERENCE_WINDOWS = 8
_LEAST = 1e-4  # of the mean over an input: less is taken for as much


@dataclass(frozen=True, slots=True)
class Part:
    """Where one input stands in a record's vector.  linear: the first that reads it; start, stop: its features."""

    layer: int
    linear: str
    start: int
    stop: int


def layout(workshop: Workshop, layers: Sequence[int]) -> list[Part]:
    """Every input that the matrices of `layers` read, once, in the order in which they run."""
    parts: list[Part] = []
    for block in workshop.skeleton.blocks:
        if block.index in layers:
            widths = {linear.module: linear.shape[1] for linear in block.linears}
            for group in workshop.found.shared[block.index]:
                start = parts[-1].stop if parts else 0
                parts.append(Part(block.index, group[0], start, start + widths[group[0]]))
    return parts


def public_unit(workshop: Workshop, revision: Revision, parts: Sequence[Part], seqlen: int, seed: bytes) -> Vectors:
    """What a window of random tokens gives in every feature, (features,) > 0: a scale that no private text decides.

    Features differ by orders of magnitude, and random tokens tell roughly how.  The unit is the geometric mean of the
    feature's own value and of the mean over its input, so that a feature that was guessed badly does not rule a vector.
    """
    draws = PublicDraws(seed, "windows of random tokens")
    ids = [draws.below(workshop.skeleton.vocabulary) for _ in range(_REFERENCE_WINDOWS * seqlen)]
    windows = torch.tensor(ids, dtype=torch.int64).view(_REFERENCE_WINDOWS, seqlen)
    unit: Vectors = _walk(workshop, revision, parts, windows).mean(axis=0)
    for part in parts:
        here = unit[part.start : part.stop]
        mean = float(here.mean())
        usual = 0 < mean < np.inf
        unit[part.start : part.stop] = np.sqrt(np.maximum(here, _LEAST * mean) * mean) if usual else 1.0
    return unit


def record_vectors(
    workshop: Workshop, revision: Revision, parts: Sequence[Part], windows: Tensor, progress: Progress, task: str
) -> Iterator[Vectors]:
    """The vectors of all windows, (some, features) >= 0 at a time, in the order of the windows.

    windows: (windows, tokens) int64.  Memory: half a gigabyte of vectors in float32, more while they are converted.
    """
    step = max(1, _HELD_BYTES // (4 * parts[-1].stop))
    for start in range(0, len(windows), step):
        some = windows[start : start + step]
        yield _walk(workshop, revision, parts, some)
        progress.update(task, start + len(some), len(windows), "windows")


def _walk(workshop: Workshop, revision: Revision, parts: Sequence[Part], windows: Tensor) -> Vectors:
    """What each window adds to every feature, (windows, features)."""
    walk = replace(workshop, tokens_per_batch=1).walk(windows)  # at least one window at a time, so exactly one
    skeleton = workshop.skeleton
    found = np.empty((len(windows), parts[-1].stop), np.float32)
    last = parts[-1].layer
    for block in skeleton.blocks[: last + 1]:
        here = [part for part in parts if part.layer == block.index]
        with skeleton.loaded(block, revision.replaced(block)) as module:
            if here:
                norms = {p.linear: RecordNorms(torch.zeros(p.stop - p.start, device=skeleton.device)) for p in here}
                observed: dict[str, Gram | InputNorms] = dict(norms)
                walk.observe(block, module, observed)
                for part in here:
                    found[:, part.start : part.stop] = torch.stack(norms[part.linear].rows).numpy()
            if block.index != last:
                walk.advance(block, module)
    return found.astype(np.float64)
