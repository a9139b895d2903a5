"""The course of a round as inline SVG: its stages, and per member when its packages arrived.  Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from fedspallm_secure.app.audit.course import stages
from fedspallm_secure.app.audit.sayings import clock, lasted
from fedspallm_secure.app.audit.timeline import Round
from fedspallm_secure.app.reporting.charts import label, line, number, rect, svg
from fedspallm_secure.app.reporting.numbers import SPACE
from fedspallm_secure.protocol.audit.entries import EntryType

MOST_ROWS: Final = 30  # members with a row of their own
_WIDTH: Final = 640  # units, what fits the width of a printed page
_LEFT: Final = 136  # units for names
_RIGHT: Final = 14
_PITCH: Final = 18
_LETTERS: Final = 19  # of a name
_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800)
_MARKS: Final = {
    EntryType.CONTRIBUTION: "m-vector",
    EntryType.ENDORSEMENT: "m-signed",
    EntryType.UNMASK_RESPONSE: "m-answer",
    EntryType.REFUSAL: "m-refused",
}


@dataclass(frozen=True, slots=True)
class _Scale:
    """Unix seconds -> units."""

    begin: int
    end: int

    @property
    def seconds(self) -> int:
        return max(self.end - self.begin, 1)

    def x(self, at: int) -> float:
        return _LEFT + (min(max(at, self.begin), self.end) - self.begin) / self.seconds * (_WIDTH - _LEFT - _RIGHT)


def course(found: Round, members: Sequence[str]) -> Markup:
    """The stages of a round above, below it a row for each of these members with a mark for each of its packages."""
    spans = stages(found)
    last = max(line.at for line in found.lines)
    scale = _Scale(min([found.begun, *(begun for _, begun, _ in spans)]), found.ended or last)
    top = 30.0
    bottom = top + 10 + _PITCH * len(members)
    parts = [_axis(scale, top, bottom), *_stages(scale, spans, top)]
    for row, member in enumerate(members):
        parts.append(_row(found, member, scale, top + 10 + _PITCH * row + _PITCH / 2))
    told = "; ".join(f"{name} {lasted((end or last) - begun)}" for name, begun, end in spans)
    return svg(_WIDTH, bottom + 36, f"Course of round {found.number}: {told}", parts)


def _stages(scale: _Scale, spans: Sequence[tuple[str, int, int | None]], top: float) -> list[Markup]:
    parts = []
    for place, (name, begun, end) in enumerate(spans):
        x, until = scale.x(begun), scale.x(scale.end if end is None else end)
        spoken = f"{name}: {lasted((end or scale.end) - begun)}"
        parts.append(rect(x, 8, max(until - x, 1.5), top - 10, f"stage s-{place}", spoken))
        if until - x > 6.2 * len(name):
            parts.append(label(x + 6, 23, name, "t small onstage"))
    parts.append(label(_LEFT - 8, 23, "stage", "t small", "end"))
    return parts


def _axis(scale: _Scale, top: float, bottom: float) -> Markup:
    step = next((step for step in _STEPS if scale.seconds / step <= 6), -(-scale.seconds // 6))
    parts = []
    for offset in range(0, scale.seconds + 1, step):
        x = scale.x(scale.begin + offset)
        parts.append(line(x, top, x, bottom, "grid" if offset else "axis"))
        parts.append(label(x, bottom + 14, _spell(offset), "t small", "middle" if offset else "start"))
    parts.append(label(_LEFT, bottom + 30, f"time after {clock(scale.begin)}{SPACE}UTC", "t small"))
    return Markup().join(parts)


def _spell(seconds: int) -> str:
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:g}{SPACE}{name}" if seconds % size == 0 else f"{seconds / size:.1f}{SPACE}{name}"
    return f"{seconds}{SPACE}s"


def _row(found: Round, member: str, scale: _Scale, y: float) -> Markup:
    short = member if len(member) <= _LETTERS else f"{member[: _LETTERS - 1]}…"
    parts = [label(_LEFT - 8, y + 4, short, "t", "end"), line(_LEFT, y, _WIDTH - _RIGHT, y, "lane")]
    for entry in found.lines:
        css = _MARKS.get(entry.type)
        if css is not None and entry.who == f"member/{member}":
            parts.append(mark(scale.x(entry.at), y, css, f"{clock(entry.at)}{SPACE}UTC: {entry.text}"))
    return Markup().join(parts)


def mark(x: float, y: float, css: str, spoken: str = "") -> Markup:
    """One package on its lane: a circle, a diamond, a square or a cross, so that colour is not needed to tell."""
    a, b, c, d = number(x - 4), number(x + 4), number(y - 4), number(y + 4)
    title = Markup("<title>{}</title>").format(spoken) if spoken else Markup()
    if css == "m-vector":
        return Markup('<circle cx="{}" cy="{}" r="4" class="{}">{}</circle>').format(number(x), number(y), css, title)
    if css == "m-signed":
        path = Markup("M{0} {4} L{1} {5} L{2} {4} L{1} {3} Z").format(a, number(x), b, c, number(y), d)
    elif css == "m-answer":
        path = Markup("M{0} {2} H{1} V{3} H{0} Z").format(a, b, c, d)
    else:
        path = Markup("M{0} {2} L{1} {3} M{0} {3} L{1} {2}").format(a, b, c, d)
    return Markup('<path d="{}" class="{}">{}</path>').format(path, css, title)


def legend_mark(css: str) -> Markup:
    """A mark for a legend."""
    return Markup('<svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">{}</svg>').format(mark(6, 6, css))
