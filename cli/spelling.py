"""Times, spans, and lists of names and numbers, as people read them."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def span(seconds: float) -> str:
    """A time span in its two largest units: 5 h 48 min."""
    rest, parts = max(round(seconds), 0), []
    for name, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append((name, f"{count} {name}"))
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(text for _, text in parts) or "0 s"


def ago(at: float, now: float) -> str:
    """How long ago, in the largest unit."""
    passed = max(round(now - at), 0)
    for name, size in _UNITS:
        if passed >= size:
            return f"{passed // size} {name} ago"
    return "just now"


def moment(at: float, now: float) -> str:
    """A moment in local time; with the day where that is not today."""
    then, today = time.localtime(at), time.localtime(now)
    same = (then.tm_year, then.tm_yday) == (today.tm_year, today.tm_yday)
    return time.strftime("%H:%M" if same else "%Y-%m-%d %H:%M", then)


def listed(names: Sequence[str], most: int) -> str:
    """Names, and how many more there are."""
    if not names:
        return "nobody"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def alike(rows: Iterable[Mapping[str, Any]], *keys: str) -> dict[tuple[Any, ...], list[str]]:
    """The members of rows that have the same under these keys, in the order of the rows."""
    found: dict[tuple[Any, ...], list[str]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row["member"])
    return found


def numbers(found: Sequence[int]) -> str:
    """Whole numbers with runs drawn together: 0-3, 7."""
    runs: list[list[int]] = []
    for number in sorted(found):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
