"""Numbers as people read them: perplexities, shares, bytes, times, runs of layers.  Pure, no markup."""

from collections.abc import Iterable

SPACE = "\N{NO-BREAK SPACE}"
_MINUS = "\N{MINUS SIGN}"
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_BINARY_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_FINEST_PERCENT = 9  # decimals, enough to tell one weight of a billion from none


def perplexity(value: float) -> str:
    """A perplexity: two decimals, whole numbers from a thousand on, powers of ten from a million on."""
    if round(value, 2) < 1000:
        return f"{value:.2f}"
    if round(value) < 1_000_000:
        return f"{value:,.0f}"
    mantissa, exponent = f"{value:.2e}".split("e+")
    return f"{mantissa}{SPACE}×{SPACE}10{str(int(exponent)).translate(_RAISED)}"


def percent(share: float, decimals: int = 1) -> str:
    """A share in [0, 1] as a percentage that says 0 or 100 only where that is exact."""
    for places in range(decimals, _FINEST_PERCENT + 1):
        text = f"{share * 100:.{places}f}"
        if share in (0, 1) or float(text) not in (0, 100):
            break
    return f"{text}{SPACE}%"


def change(before: float, after: float) -> str:
    """How `after` relates to `before` > 0: "+2.5 %", "−3.0 %", "×7.1", "almost equal"."""
    ratio = after / before
    if ratio >= 2:
        return f"×{ratio:.1f}" if ratio < 1000 else f"×{SPACE}{perplexity(ratio)}"
    if ratio == 1:
        return "equal"
    size = f"{abs(ratio - 1) * 100:.1f}"
    if size == "0.0":
        return "almost equal"
    if size == "100.0" and ratio < 1:
        return f"almost {_MINUS}100{SPACE}%"
    return f"{'+' if ratio > 1 else _MINUS}{size}{SPACE}%"


def count(value: int) -> str:
    """A count with thousands separated."""
    return f"{value:,}"


def plural(value: int, noun: str) -> str:
    """A count and its noun: "1 silo", "3 silos"."""
    return f"{count(value)}{SPACE}{noun}" + ("" if value == 1 else "s")


def size(value: int) -> str:
    """A number of bytes in the largest binary unit that leaves at least one of it."""
    scaled = float(value)
    for unit in _BINARY_UNITS:
        if scaled < 1024 or unit == _BINARY_UNITS[-1]:
            break
        scaled /= 1024
    return f"{value}{SPACE}bytes" if unit == "bytes" else f"{scaled:,.1f}{SPACE}{unit}"


def duration(seconds: float) -> str:
    """A time: "0.43 s", "15.1 s", "2 min 06 s", "3 h 12 min"."""
    if seconds < 10:
        return f"{seconds:.2f}{SPACE}s"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}{SPACE}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{SPACE}min{SPACE}{whole % 60:02d}{SPACE}s"
    return f"{whole // 3600}{SPACE}h{SPACE}{whole % 3600 // 60:02d}{SPACE}min"


def runs(layers: Iterable[int]) -> str:
    """Layer numbers as runs: "0–5, 8, 10–12"; "none" if there are none."""
    found: list[list[int]] = []
    for layer in sorted(layers):
        if found and layer == found[-1][1] + 1:
            found[-1][1] = layer
        else:
            found.append([layer, layer])
    return ", ".join(f"{first}–{last}" if last > first else f"{first}" for first, last in found) or "none"


def listed(parts: list[str]) -> str:
    """Words as a list in a sentence: "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
