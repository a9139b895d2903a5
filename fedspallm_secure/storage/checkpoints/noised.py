"""A silo's noised statistic on disk: what it released to its own pruning, kept so that noise is drawn once.

Two tensors, `noised` (features,) int64 in steps and `unit` (features,) float64, and the figures as metadata.  The sum
without noise is never written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fedspallm_secure.errors import RecordDamaged
from fedspallm_secure.storage.files import atomic_write, disk_errors

_FIGURES = ("steps", "records", "clipped")


@dataclass(frozen=True, slots=True)
class NoisedStatistic:
    """The noised sum of one silo's clipped records in one round.

    noised: (features,) int64, in steps; unit: (features,) float64, what one clip in each feature stands for; steps: the
    clip in steps; records: how many; clipped: how many of them were cut.
    """

    noised: NDArray[np.int64]
    unit: NDArray[np.float64]
    steps: int
    records: int
    clipped: int


def save_noised(path: Path, statistic: NoisedStatistic) -> None:
    """Write a statistic durably under `path`, complete or not at all.  Raises StorageError or DiskFull."""
    tensors = {"noised": torch.from_numpy(statistic.noised), "unit": torch.from_numpy(statistic.unit)}
    figures = {"steps": statistic.steps, "records": statistic.records, "clipped": statistic.clipped}
    written: bytes = save(tensors, metadata={name: str(figure) for name, figure in figures.items()})
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(written)


def load_noised(path: Path, features: int) -> NoisedStatistic:
    """Read back what `save_noised` wrote about so many features.  Raises RecordDamaged."""
    try:
        with safe_open(path, framework="pt") as file:
            noised, unit = file.get_tensor("noised"), file.get_tensor("unit")
            steps, records, clipped = _figures(file.metadata() or {})
        if noised.dtype != torch.int64 or unit.dtype != torch.float64 or not noised.shape == unit.shape == (features,):
            raise ValueError(f"it is not about {features} features")
        return NoisedStatistic(noised.numpy(), unit.numpy(), steps, records, clipped)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise RecordDamaged(f"{path} does not read back as it was written: {error}") from error


def _figures(metadata: Mapping[str, str]) -> tuple[int, int, int]:
    steps, records, clipped = (int(metadata[name]) for name in _FIGURES)
    if not (steps > 0 and 0 <= clipped <= records):
        raise ValueError("its figures contradict each other")
    return steps, records, clipped
