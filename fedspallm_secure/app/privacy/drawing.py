"""One noised statistic: how it is drawn from records, and what pruning may know by it.  For silos and for members."""

from collections.abc import Mapping, Sequence
from math import sqrt

from torch import Tensor

from fedspallm_secure.app.privacy.gathering import Part, record_vectors
from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.states import Revision
from fedspallm_secure.app.walking.workshop import Workshop
from fedspallm_secure.pruning.discrete_gaussian import Integers
from fedspallm_secure.pruning.privacy import RecordSum, Vectors, input_norms, record_weight
from fedspallm_secure.pruning.pruners import Statistics
from fedspallm_secure.storage.checkpoints.noised import NoisedStatistic

KnownStatistics = Mapping[int, Mapping[str, Statistics]]  # layer -> first linear of each input -> what is known of it


def draw(
    workshop: Workshop,
    revision: Revision,
    parts: Sequence[Part],
    windows: Tensor,
    unit: Vectors,
    clip: float,
    steps: int,
    progress: Progress,
    task: str,
) -> NoisedStatistic:
    """Walk, clip, add up and add noise: the one place where a record's influence is spent.  Each call spends.

    windows: (records, tokens) ids; unit: (features,) of `public_unit`; clip: in units of the length of a window of
    random tokens; steps: the clip in steps of the noise's grid.
    """
    features = parts[-1].stop
    whole = unit * (sqrt(features) * clip)
    gathered = RecordSum.empty(features, steps)
    for vectors in record_vectors(workshop, revision, parts, windows, progress, task):
        gathered.add(vectors / whole)
    return NoisedStatistic(gathered.noised(), whole, gathered.steps, gathered.records, gathered.clipped)


def known_by(
    noised: Integers, unit: Vectors, parts: Sequence[Part], tokens: int, workshop: Workshop
) -> KnownStatistics:
    """What pruning may know of its inputs.  noised, unit: (features,) of a statistic; tokens: in all windows."""
    known: dict[int, dict[str, Statistics]] = {}
    for part in parts:
        here = slice(part.start, part.stop)
        norms = input_norms(noised[here], unit[here], tokens)
        norms.sum_squares = norms.sum_squares.to(workshop.skeleton.device)
        known.setdefault(part.layer, {})[part.linear] = norms
    return known


def told_by_records(noised: Integers, parts: Sequence[Part]) -> float:
    """The mean weight of the records over all features, 0 to 1; the rest of an estimate is a public guess."""
    told = sum((p.stop - p.start) * record_weight(noised[p.start : p.stop]) for p in parts)
    return told / len(noised)
