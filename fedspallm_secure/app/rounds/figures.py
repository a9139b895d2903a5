"""What is measured of a secure round: how exact it was, what it cost, what its counts give away."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedspallm_secure.app.rounds.playing import Played
from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.errors import SumOutOfRange
from fedspallm_secure.protocol.limits import TILE_SIZE
from fedspallm_secure.protocol.rounds.collecting import contribution_size
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.pruning.aggregation import MatrixSums
from fedspallm_secure.secagg.quantization import row_exponents

_TILE = 1 << 17  # weights; in float64 they fill 1 MiB


@dataclass(frozen=True, slots=True)
class Exactness:
    """Secure sums against plain ones, over the same members.  Figures of several matrices combine with `+`.

    weights: compared; kept: of them kept by somebody; bf16: whose mean differs as bf16; worst: largest difference of a
    mean, in quantisation steps of its row.  Counts have no figure: unless they are equal there are no figures at all.
    """

    weights: int = 0
    kept: int = 0
    bf16: int = 0
    worst: float = 0.0

    @classmethod
    def of(cls, secure: MatrixSums, plain: MatrixSums, base: Tensor, totals: Tensor | None, group: GroupPlan) -> Self:
        """Compare one matrix.

        base: (out, in) float32; totals: (out, in), the sums as they came out, in steps, None under `votes`.
        Raises SumOutOfRange if a count differs.
        """
        if not torch.equal(secure.count, plain.count):
            raise SumOutOfRange("a keep count from secure aggregation is not the plain one")
        count = plain.count.numpy()
        weights, kept = count.size, int(np.count_nonzero(count))
        if secure.kept is None or plain.kept is None or totals is None or group.sums is None:
            return cls(weights, kept)
        ours, theirs, values = secure.kept.numpy(), plain.kept.numpy(), base.contiguous().numpy()
        per_step = np.ldexp(1.0, group.sums.fraction - row_exponents(values))[:, None]
        differ, worst = 0, 0.0
        for rows in _row_tiles(count):
            keepers = np.maximum(count[rows], 1)
            means = theirs[rows] / keepers
            differ += int(np.count_nonzero((_as_bf16(ours[rows] / keepers) != _as_bf16(means)) & (count[rows] > 0)))
            # In float64: rounding a mean to float32 in the end is the same on both sides, and no quantisation.
            apart = np.subtract(values[rows], means, out=means)
            apart *= per_step[rows]
            apart += totals[rows].numpy() / keepers
            worst = max(worst, float(np.max(np.abs(apart, out=apart), initial=0.0, where=count[rows] > 0)))
        return cls(weights, kept, differ, worst)

    def __add__(self, other: "Exactness") -> "Exactness":
        return Exactness(
            self.weights + other.weights,
            self.kept + other.kept,
            self.bf16 + other.bf16,
            max(self.worst, other.worst),
        )

    def to_dict(self) -> dict[str, int | float]:
        """Plain data; `bf16` as a share of the kept weights."""
        return {
            "weights": self.weights,
            "kept": self.kept,
            "bf16_differs": self.bf16 / max(self.kept, 1),
            "worst_steps": self.worst,
        }


def _row_tiles(matrix: NDArray[Any]) -> Iterable[slice]:
    step = max(1, _TILE // max(1, matrix.shape[1]))
    return (slice(start, start + step) for start in range(0, len(matrix), step))


def _as_bf16(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The values as float32, and then as a checkpoint in bf16 would hold them: to nearest, ties to even."""
    words = values.astype(np.float32).view(np.uint32)
    words += 0x7FFF + (words >> 16 & 1)
    words &= 0xFFFF0000
    return words.view(np.float32)


def package_size(group: GroupPlan) -> int:
    """Bytes of a contribution as a package, but for its header: the formula of SPEC sections 8 and 16.3."""
    body = body_length(contribution_size(group))
    return body + 32 * -(-body // TILE_SIZE)


def group_figures(group: GroupPlan, survivors: Iterable[str]) -> dict[str, Any]:
    """The numbers of one group's plan, and who was in its sum.  survivors: names of silos."""
    return {
        "layer": group.gid,
        "base": group.base,
        "cohort": len(group.cohort),
        "shares": group.shares,
        "survivors_needed": group.survivors,
        "survivors": list(survivors),
        "degree": group.neighbours,
        "count_bits": group.counts.bits,
        "sum_bits": 0 if group.sums is None else group.sums.bits,
        "fraction": 0 if group.sums is None else group.sums.fraction,
        "bound": 0 if group.sums is None else group.sums.bound,
    }


def wire_figures(played: Played, ids: Mapping[str, str], groups: Iterable[GroupPlan]) -> dict[str, Any]:
    """Bytes that went over the wire.  ids: id of a member -> name of its silo."""
    by_type: dict[str, list[int]] = {}
    sent: dict[str, int] = dict.fromkeys(ids.values(), 0)
    for (sender, type), (packages, size) in sorted(played.sent.items()):
        found = by_type.setdefault(type, [0, 0])
        found[0] += packages
        found[1] += size
        member = sender.partition("/")[2]
        if sender.startswith("member/") and member in ids:
            sent[ids[member]] += size
    expected = sum(package_size(group) * len(group.cohort) for group in groups)
    return {
        "by_type": {type: {"packages": packages, "bytes": size} for type, (packages, size) in by_type.items()},
        "sent_by_silo": sent,
        "contributions_by_formula": expected,
    }
