"""Record-level differential privacy of input norms: clip each record, add up, add noise; the rest is post-processing.

A *record* is one calibration window.  Its vector holds, for every input of every matrix that its silo prunes, the sum
over its tokens of X_j squared, in a unit that is public.  Neighbouring: one window of the silo contributes nothing.
Vectors are cut to a length of at most the clip and counted in whole steps of a grid; sigma has 2^20 of them.  From
there on all are integers, so the sensitivity is exact and so is the noise.  Accounting is elsewhere (`app/privacy`).
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedspallm_secure.pruning.discrete_gaussian import Integers, discrete_gaussian
from fedspallm_secure.pruning.noise import SIGMA, SIGMA_BITS
from fedspallm_secure.pruning.statistics import InputNorms

_SMALL = 1e-3  # of the mean over an input, below which no estimate lies
_MARGIN = 2.0**-40  # kept free below the clip for the rounding of a length computed in floating point

Vectors = NDArray[np.float64]


@dataclass(slots=True)
class RecordNorms(InputNorms):
    """Input norms of each batch by itself; batches have to be of one record.  rows: one (in,) float32 per record."""

    rows: list[Tensor] = field(default_factory=list)

    def add(self, part: Tensor, tokens: int) -> None:
        """Note what one record gave."""
        self.rows.append(part.cpu())
        self.tokens += tokens


def clip_records(vectors: Vectors, steps: int) -> tuple[Integers, NDArray[np.bool_]]:
    """Cut every record to a Euclidean length of at most the clip, in whole steps, rounded down.

    vectors: (records, features) >= 0, in units of the clip; steps: the clip in steps.  Returns (records, features)
    integers whose squares add up to at most steps^2 in each row, and which records were cut, (records,).
    A record that is not finite counts as nothing: to stop there would tell that it is present.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(np.square(vectors).sum(axis=1))
    finite = np.isfinite(lengths)
    cut = ~(lengths <= 1.0)
    scale = np.divide(steps * (1.0 - _MARGIN), np.maximum(lengths, 1.0), where=finite, out=np.zeros(len(vectors)))
    counted: Integers = np.floor(np.where(finite[:, None], vectors, 0.0) * scale[:, None]).astype(np.int64)
    # The promise hangs on this inequality, so it is checked in integers; the margin makes it hold.
    longer = np.square(counted).sum(axis=1) > steps**2
    counted[longer] = 0
    return counted, cut | longer


@dataclass(slots=True)
class RecordSum:
    """Clipped records of one silo, added up.  Secret until noise is added.

    total: (features,) in steps; steps: the clip in steps; records: how many; clipped: how many of them were cut.
    """

    total: Integers
    steps: int
    records: int = 0
    clipped: int = 0

    @classmethod
    def empty(cls, features: int, steps: int) -> "RecordSum":
        """No records yet."""
        return cls(np.zeros(features, np.int64), steps)

    def add(self, vectors: Vectors) -> None:
        """Clip some records and add them.  vectors: (records, features) >= 0, in units of the clip."""
        counted, cut = clip_records(vectors, self.steps)
        self.total += counted.sum(axis=0)
        self.records += len(counted)
        self.clipped += int(cut.sum())

    def noised(self) -> Integers:
        """The sum with fresh noise in every feature, (features,) in steps.  Call it once: each call spends."""
        return self.total + discrete_gaussian(len(self.total), SIGMA_BITS)


def record_weight(noised: Integers) -> float:
    """How far the noised sums of one input tell features apart, 0 to 1: the share of their spread beyond noise's."""
    spread = float(noised.astype(np.float64).var())
    return max(0.0, 1.0 - SIGMA**2 / spread) if spread > 0 else 0.0


def input_norms(noised: Integers, unit: Vectors, tokens: int) -> InputNorms:
    """What Wanda reads, from the noised sum of one input.  Post-processing: it spends nothing.

    Features are drawn towards their mean by as much as noise spreads them; raw values would drop what noise made small,
    and rank by it, where `unit` alone is a better guess.  What noise made negative becomes small.

    noised: (in,) in steps; unit: (in,) > 0, the public scale of each feature.  Only ratios within one input matter.
    """
    values = noised.astype(np.float64)
    mean = float(values.mean())
    drawn = mean + record_weight(noised) * (values - mean)
    relative = np.maximum(drawn / mean, _SMALL) if mean > 0 else np.ones(len(values))
    return InputNorms(torch.from_numpy(relative * unit).float(), tokens)
