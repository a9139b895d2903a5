"""What is measured of a secure round: how exact it was, what it cost, what its counts give away."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from fedspallm_secure.app.rounds.playing import Played
from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.errors import SumOutOfRange
from fedspallm_secure.protocol.limits import TILE_SIZE
from fedspallm_secure.protocol.rounds.collecting import contribution_size
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.pruning.aggregation import MatrixSums, l0_average
from fedspallm_secure.secagg.quantization import row_exponents


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
        if secure.kept is None or plain.kept is None or totals is None or group.sums is None:
            return cls(secure.count.numel(), int((secure.count > 0).sum()))
        kept, counts = plain.count > 0, plain.count.clamp(min=1)
        exponents = torch.from_numpy(row_exponents(base.contiguous().numpy())).double()
        steps = torch.exp2(exponents - group.sums.fraction)[:, None]
        # In float64: rounding a mean to float32 in the end is the same on both sides, and no quantisation.
        apart = (base.double() - plain.kept / counts) / steps + totals.double() / counts
        apart = apart.abs_()
        ours, theirs = l0_average(secure.count, secure.kept), l0_average(plain.count, plain.kept)
        differ = (ours.bfloat16() != theirs.bfloat16()) & kept
        worst = float(apart[kept].max()) if bool(kept.any()) else 0.0
        return cls(kept.numel(), int(kept.sum()), int(differ.sum()), worst)

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


def package_size(group: GroupPlan) -> int:
    """Bytes of a contribution as a package, but for its header: the formula of SPEC sections 8 and 16.3."""
    body = body_length(contribution_size(group))
    return body + 32 * -(-body // TILE_SIZE)


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
