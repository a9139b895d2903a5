"""Charts over decoder layers and keep counts, as inline SVG built from the parts in `charts`.

Keep counts fall into four classes that mean something to a silo, whatever the size of its cohort: the weight was kept
by none, by exactly one (its sum is that silo's weight), by some, or by all.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fedspallm_secure.app.reporting.charts import label, line, number, rect, svg, ticks
from fedspallm_secure.app.reporting.numbers import SPACE, percent

CLASSES = ("none", "one", "some", "all")  # also style sheet classes k-<name>, from the bottom of a column up
_WIDTH = 640  # units, what fits the width of a printed page
_HIGH = 150
_LETTER = 6.2  # units, an average letter of the labels
_LONGEST = 32  # letters of a label


@dataclass(frozen=True, slots=True)
class Votes:
    """How the cohort of one layer voted.  histogram: weights kept by 0, 1, .. n of its n silos."""

    layer: int
    histogram: Sequence[int]

    @property
    def total(self) -> int:
        """Weights of the layer."""
        return sum(self.histogram)

    @property
    def classes(self) -> tuple[int, int, int, int]:
        """Weights kept by none, exactly one, some, all.  In a cohort of one, "one" is meant, not "all"."""
        counts = [0, 0, 0, 0]
        for kept_by, weights in enumerate(self.histogram):
            counts[class_of(kept_by, len(self.histogram) - 1)] += weights
        return counts[0], counts[1], counts[2], counts[3]


def class_of(kept_by: int, cohort: int) -> int:
    """Index into `CLASSES` of a weight that `kept_by` of `cohort` silos kept."""
    if kept_by <= 1:
        return kept_by
    return 3 if kept_by == cohort else 2


def keep_count_chart(histogram: Sequence[int]) -> Markup:
    """Share of weights by keep count 0 .. n, as columns.  histogram: n + 1 numbers of weights."""
    shares = [weights / max(1, sum(histogram)) for weights in histogram]
    top = max(max(shares), 1e-9)
    left, high = 44, _HIGH
    step = min(64.0, (388 - left) / len(shares))
    right = left + step * len(shares)
    parts = _share_axis(left, high, right, top)
    every = 1 if len(shares) <= 12 else 5
    for kept_by, share in enumerate(shares):
        x = left + step * kept_by
        tall = share / top * high
        kind = CLASSES[class_of(kept_by, len(shares) - 1)]
        spoken = f"kept by {kept_by}: {percent(share)} of the weights"
        parts.append(rect(x + step * 0.12, 20 + high - tall, step * 0.76, tall, f"k-{kind}", spoken))
        if step >= 38:
            parts.append(label(x + step / 2, 14 + high - tall, percent(share), "t small", "middle"))
        if kept_by % every == 0 or kept_by == len(shares) - 1:
            parts.append(label(x + step / 2, 36 + high, str(kept_by), "t small", "middle"))
    parts.append(label(left, 54 + high, "number of silos that kept the weight", "t small"))
    return svg(max(right + 12, 260), 60 + high, "Share of weights by the number of silos that kept them", parts)


def _share_axis(left: float, high: float, right: float, top: float) -> list[Markup]:
    parts = []
    for tick in ticks(top * 100, most=5):
        y = 20 + high - high * tick / (top * 100)
        parts.append(line(left, y, right, y, "grid" if tick else "axis"))
        parts.append(label(left - 6, y + 4, f"{tick:g}{SPACE}%", "t small", "end"))
    return parts


def agreement_chart(layers: Sequence[Votes]) -> Markup:
    """Per layer, the shares of weights kept by none, one, some and all, as columns of full height."""
    left, high = 44, _HIGH
    step = min(56.0, (_WIDTH - left) / len(layers))
    width = max(left + step * len(layers), 240.0)
    parts = _share_axis(left, high, left + step * len(layers), 1.0)
    for place, votes in enumerate(layers):
        y = 20.0 + high
        for kind, weights in zip(CLASSES, votes.classes, strict=True):
            share = weights / max(1, votes.total)
            y -= share * high
            spoken = f"layer {votes.layer}, kept by {kind}: {percent(share)}"
            x = left + step * place
            parts.append(rect(x + step * 0.08, y, step * 0.84, share * high, f"k-{kind}", spoken))
    parts += _layer_labels([votes.layer for votes in layers], left, step, 36 + high)
    parts.append(label(left, 54 + high, "decoder layer", "t small"))
    return svg(width, 60 + high, "Share of weights kept by none, one, some and all silos, per layer", parts)


def _layer_labels(layers: Sequence[int], left: float, step: float, y: float) -> list[Markup]:
    every = next(e for e in (1, 2, 5, 10, 20, 50, 100, len(layers) + 1) if e * step >= 22 or e > len(layers))
    return [
        label(left + step * (place + 0.5), y, str(layer), "t small", "middle")
        for place, layer in enumerate(layers)
        if place % every == 0
    ]


def heat_map(shares: Mapping[str, Mapping[int, float]]) -> Markup:
    """Sparsity by matrix (down) and layer (across).  shares: kind of matrix -> layer -> share of zeros in [0, 1]."""
    layers = sorted({layer for row in shares.values() for layer in row})
    values = [share for row in shares.values() for share in row.values()]
    least, most = min(values), max(values)
    left = 10 + _LETTER * min(_LONGEST, max(len(kind) for kind in shares))
    step = min(64.0, (_WIDTH - left) / len(layers))
    parts: list[Markup] = []
    for row, (kind, cells) in enumerate(shares.items()):
        y = 4.0 + 22 * row
        parts.append(_row_label(kind, left - 8, y + 15))
        for place, layer in enumerate(layers):
            if layer in cells:
                depth = (cells[layer] - least) / (most - least) if most > least else 0.5
                parts += _cell(left + step * place, y, step, cells[layer], depth, f"layer {layer}, {kind}")
    bottom = 4.0 + 22 * len(shares)
    parts += _layer_labels(layers, left, step, bottom + 16)
    parts.append(label(left, bottom + 34, "decoder layer", "t small"))
    width = max(left + step * len(layers), left + 90)
    return svg(width, bottom + 40, "Share of zeros per matrix and layer", parts)


def _row_label(text: str, x: float, y: float) -> Markup:
    """A label of bounded length; the whole of it is in the tooltip."""
    if len(text) <= _LONGEST:
        return label(x, y, text, "t small mono", "end")
    half = _LONGEST // 2 - 1
    shown = f"{text[:half]}…{text[-half:]}"
    return Markup("<g><title>{}</title>{}</g>").format(text, label(x, y, shown, "t small mono", "end"))


def _cell(x: float, y: float, step: float, share: float, depth: float, where: str) -> list[Markup]:
    """One cell; the deeper the shade (depth 0 .. 1), the more zeros."""
    wide = number(step - (1 if step >= 8 else 0))
    spoken = f"{where}: {percent(share, 4)}"
    cell = Markup('<rect x="{}" y="{}" width="{}" height="20" class="heat" fill-opacity="{}"><title>{}</title></rect>')
    parts = [cell.format(number(x), number(y), wide, f"{0.12 + 0.4 * depth:.2f}", spoken)]
    if step >= 44:
        parts.append(label(x + step / 2, y + 14, percent(share, 2), "t cell", "middle"))
    return parts


def layer_strip(layers: int, in_round: Iterable[int], pruned: Iterable[int]) -> Markup:
    """Which of `layers` layers one silo pruned in a round: filled; others of the round light; the rest outlined."""
    step = min(12.0, 200 / max(1, layers))
    mine, round_ = set(pruned), set(in_round)
    gap = 1.0 if step >= 4 else 0.4
    parts = []
    for layer in range(layers):
        kind = "mine" if layer in mine else "others" if layer in round_ else "outside"
        parts.append(rect(step * layer, 1, step - gap, 10, f"s-{kind}"))
    return svg(step * max(1, layers), 12, f"{len(mine)} of {layers} layers", parts)
