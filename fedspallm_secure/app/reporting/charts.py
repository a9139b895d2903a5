"""Bar charts as inline SVG.  Colours, fonts and dark mode are the style sheet's: here are only classes and places.

Everything shown goes through `Markup.format`, which escapes it.  Elements carry no `style` attribute, so the page's
content security policy can forbid them.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from fedspallm_secure.app.reporting.numbers import duration, percent, perplexity

_WIDTH = 400  # units, about a phone's width, so that a panel is never scaled down far enough to be hard to read
_NUMBERS = 112  # units kept free for the number behind a bar, and its note
_LETTERS = 16  # what fits there
_STUB = 30  # units by which a cut bar is longer than the axis, break included
_PITCH, _THICK = 24, 14
_CUT = 3  # a bar longer than this many times the two that matter is cut


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.  value: its length, not negative; note: said behind the value; least, most: a range, a thin line."""

    label: str
    value: float
    kind: str = "other"  # style sheet class b-<kind>
    note: str = ""
    least: float | None = None
    most: float | None = None


def svg(width: float, height: float, label: str, parts: Iterable[Markup]) -> Markup:
    """A drawing of `width` x `height` units with a text for readers who cannot see it."""
    return Markup('<svg role="img" width="{0}" height="{1}" viewBox="0 0 {0} {1}"><title>{2}</title>{3}</svg>').format(
        number(width), number(height), label, Markup().join(parts)
    )


def number(value: float) -> str:
    """A coordinate, to a tenth of a unit."""
    return f"{value:.1f}".removesuffix(".0")


def rect(x: float, y: float, width: float, height: float, css: str, title: str | None = None) -> Markup:
    """A rectangle, with a tooltip if `title` is given."""
    inside = Markup("<title>{}</title>").format(title) if title is not None else Markup()
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}">{}</rect>').format(
        number(x), number(y), number(max(width, 0)), number(max(height, 0)), css, inside
    )


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> Markup:
    """A straight line."""
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(
        number(x1), number(y1), number(x2), number(y2), css
    )


def label(x: float, y: float, content: str, css: str = "t", anchor: str = "start") -> Markup:
    """A line of text on the baseline y.  anchor: start, middle or end."""
    return Markup('<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>').format(
        number(x), number(y), css, anchor, content
    )


def ticks(limit: float, most: int = 5) -> list[float]:
    """Round numbers from 0 up to `limit` > 0, at most `most` of them above 0."""
    power = 10.0 ** math.floor(math.log10(limit))
    steps = [power * factor for factor in (0.1, 0.2, 0.5, 1.0, 2.0)]
    step = next(step for step in steps if limit / step < most + 1)
    return [step * i for i in range(int(limit / step + 1e-9) + 1)]


def swatch(kind: str) -> Markup:
    """A little square for a legend, in the colour of style sheet class `kind`."""
    return Markup('<svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">{}</svg>').format(
        rect(0, 0, 12, 12, kind)
    )


def perplexity_limit(bars: Sequence[Bar], matter: Sequence[str] = ("dense", "federated")) -> float:
    """Where the axis of a perplexity panel ends.

    The bars whose kind `matter`s decide; longer ones are shown whole while they stay within three times those, and
    are cut otherwise, so that one bad alternative cannot shrink the comparison to nothing.
    """
    floor = max(bar.value for bar in bars if bar.kind in matter)
    within = [value for bar in bars for value in (bar.value, bar.most or 0.0) if value <= _CUT * floor]
    return max([floor, *within])


def perplexity_panel(where: str, bars: Sequence[Bar]) -> Markup:
    """Perplexities of several models on one text, as horizontal bars from zero; a dashed line marks the first."""
    return _panel(f"Perplexity {where}", bars, perplexity_limit(bars), 84, "perplexity (lower is better)", perplexity)


def duration_panel(bars: Sequence[Bar], title: str = "Seconds by phase") -> Markup:
    """Seconds by phase, as horizontal bars from zero."""
    limit = max([bar.value for bar in bars] + [0.001])
    return _panel(title, bars, limit, 150, "seconds", duration, reference=False)


def share_panel(bars: Sequence[Bar], title: str) -> Markup:
    """Shares between 0 and 1, as horizontal bars on an axis up to 100 percent."""
    shown = [replace(bar, value=100 * bar.value) for bar in bars]
    return _panel(title, shown, 100, 118, "percent", lambda value: percent(value / 100), reference=False)


def _panel(
    title: str,
    bars: Sequence[Bar],
    limit: float,
    left: float,
    unit: str,
    say: Callable[[float], str],
    reference: bool = True,
) -> Markup:
    stub = _STUB if any(bar.value > limit for bar in bars) else 0
    scale = (_WIDTH - left - _NUMBERS - stub) / limit
    bottom = 4 + _PITCH * len(bars)
    parts = [_axis(limit, left, scale, bottom, unit)]
    for row, bar in enumerate(bars):
        y = 4 + _PITCH * row + (_PITCH - _THICK) / 2
        parts += _bar(bar, left, y, scale, limit, say)
    if reference:
        x = left + bars[0].value * scale
        parts.append(line(x, 4, x, bottom, "reference"))
    spoken = "; ".join(f"{bar.label} {say(bar.value)}" for bar in bars)
    return svg(_WIDTH, bottom + 38, f"{title}: {spoken}", parts)


def _axis(limit: float, left: float, scale: float, bottom: float, unit: str) -> Markup:
    parts = []
    for tick in ticks(limit, most=4):
        x = left + tick * scale
        parts.append(line(x, 4, x, bottom, "grid" if tick else "axis"))
        parts.append(label(x, bottom + 14, _short(tick), "t small", "middle"))
    parts.append(label(left, bottom + 30, unit, "t small"))
    return Markup().join(parts)


def _short(tick: float) -> str:
    return perplexity(tick) if tick >= 1_000_000 else f"{tick:,.10g}"


def _bar(bar: Bar, left: float, y: float, scale: float, limit: float, say: Callable[[float], str]) -> list[Markup]:
    cut = bar.value > limit
    length = limit * scale + _STUB if cut else bar.value * scale
    parts = [
        label(left - 8, y + _THICK - 3, bar.label, "t", "end"),
        rect(left, y, length, _THICK, f"b-{bar.kind}", f"{bar.label}: {say(bar.value)}"),
    ]
    end = left + length
    if cut:
        parts.append(_break(left + limit * scale + 8, y))
    if bar.least is not None and bar.most is not None:
        parts.append(_whisker(left, y, bar.least, bar.most, scale, limit))
        end = max(end, left + min(bar.most, limit) * scale)
    parts.append(_figure(end + 6, y + _THICK - 3, say(bar.value), bar.note, f"t value v-{bar.kind}"))
    return parts


def _figure(x: float, y: float, value: str, note: str, css: str) -> Markup:
    """The number behind a bar, with a paler note after it if both fit."""
    fits = note and len(value) + len(note) <= _LETTERS
    inside = Markup('<tspan class="aside" dx="5">{}</tspan>').format(note) if fits else Markup()
    return Markup('<text x="{}" y="{}" class="{}">{}{}</text>').format(number(x), number(y), css, value, inside)


def _break(x: float, y: float) -> Markup:
    """Two slanted lines through a bar: what follows is not to scale."""
    top, low = y - 3, y + _THICK + 3
    return Markup('<path d="M{0} {2} L{1} {3} L{4} {3} L{5} {2} Z" class="gap"/>{6}{7}').format(
        number(x),
        number(x + 6),
        number(low),
        number(top),
        number(x + 12),
        number(x + 6),
        line(x, low, x + 6, top, "edge"),
        line(x + 6, low, x + 12, top, "edge"),
    )


def _whisker(left: float, y: float, least: float, most: float, scale: float, limit: float) -> Markup:
    """The range as a line with end marks; without the right one where it leaves the axis."""
    middle = y + _THICK / 2
    first, last = left + min(least, limit) * scale, left + min(most, limit) * scale
    parts = [line(first, middle, last, middle, "whisker"), line(first, y + 2, first, y + _THICK - 2, "whisker")]
    if most <= limit:
        parts.append(line(last, y + 2, last, y + _THICK - 2, "whisker"))
    return Markup().join(parts)
