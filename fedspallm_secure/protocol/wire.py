"""How many bytes a member sends for a layer.  The widths are those of the secure-aggregation streams.

Counts travel in fields of 4, 8 or 16 bits, the smallest that holds the cohort; sums in 32-bit words.  Masked vectors
are uniformly random, so no compression can make them smaller.
"""

from fedspallm_secure.errors import UsageError
from fedspallm_secure.pruning.aggregation import Strategy

SUM_BITS = 32


def count_bits(cohort: int) -> int:
    """Bits per keep count for sums up to `cohort`.  Raises UsageError above 65,535 members."""
    for bits in (4, 8, 16):
        if cohort < 1 << bits:
            return bits
    raise UsageError(f"a cohort of {cohort} members does not fit a 16-bit count")


def contribution_bytes(weights: int, cohort: int, strategy: Strategy) -> int:
    """Payload bytes one member sends for a layer of `weights` prunable weights, rounded up to whole bytes."""
    bits = count_bits(cohort) + (SUM_BITS if strategy is Strategy.FEDSPALLM else 0)
    return -(-weights * bits // 8)
