"""What "50 % sparse" and "2:4" mean, exactly.  Free of torch, so plans can be read without it.

Sparsity is a fraction, never a float: ceil(0.55 * 100) is 56 in binary floating point and 55 in truth.
"""

from dataclasses import dataclass
from fractions import Fraction

from fedspallm_secure.errors import UsageError


@dataclass(frozen=True, slots=True)
class Unstructured:
    """Any weights may go; `sparsity` in [0, 1] is the exact share that does."""

    sparsity: Fraction

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity <= 1:
            raise UsageError(f"sparsity must lie between 0 and 1, got {float(self.sparsity):g}")

    def drop_count(self, size: int) -> int:
        """How many of `size` weights go: ceil(sparsity * size)."""
        return drop_count(self.sparsity, size)

    def __str__(self) -> str:
        return f"{float(self.sparsity) * 100:g} %"


@dataclass(frozen=True, slots=True)
class NofM:
    """Of every `m` consecutive inputs of an output row, `n` weights stay (2:4 keeps two of four)."""

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 0 < self.n < self.m <= 64:
            raise UsageError(f"pattern N:M needs 0 < N < M <= 64, got {self.n}:{self.m}")

    @property
    def sparsity(self) -> Fraction:
        """The share of weights that goes: (M - N) / M."""
        return Fraction(self.m - self.n, self.m)

    def drop_count(self, size: int) -> int:
        """How many of `size` weights go; exact because M divides every row."""
        return drop_count(self.sparsity, size)

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"


Pattern = Unstructured | NofM


def drop_count(sparsity: Fraction, size: int) -> int:
    """The one rounding rule of this project: ceil(sparsity * size), computed exactly."""
    return -(-sparsity.numerator * size // sparsity.denominator)


def parse_sparsity(text: str) -> Fraction:
    """Read "0.5", "1/3" or "0" as an exact fraction in [0, 1).  Raises UsageError."""
    value = parse_fraction(text)
    if value is None:
        raise UsageError(f"sparsity must be a number such as 0.5, got {text!r}")
    if not 0 <= value < 1:
        raise UsageError(f"sparsity must be at least 0 and below 1, got {text}", hint="0.5 drops half the weights")
    return value


def parse_fraction(text: str) -> Fraction | None:
    """Read a short decimal number or fraction exactly; None for anything else, exponents included."""
    if len(text) > 32 or "e" in text.lower():  # 1e-999999999 would be a number of a billion digits
        return None
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def parse_pattern(text: str) -> NofM:
    """Read "2:4".  Raises UsageError for anything else."""
    n, colon, m = text.partition(":")
    if not (colon and n.isascii() and m.isascii() and n.isdigit() and m.isdigit()) or len(text) > 5:
        raise UsageError(f"a pattern is written N:M, for example 2:4, got {text!r}")
    return NofM(int(n), int(m))


def parse_target(text: str) -> Pattern:
    """Read what `spell_target` writes: "2:4", or an exact sparsity such as "1/2" or "0.5".  Raises UsageError."""
    return parse_pattern(text) if ":" in text else Unstructured(parse_sparsity(text))


def spell_target(pattern: Pattern) -> str:
    """The pattern as plans spell it, exactly: "2:4" or "1/2"."""
    return str(pattern) if isinstance(pattern, NofM) else str(pattern.sparsity)
