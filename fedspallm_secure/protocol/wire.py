"""How many bytes a member sends for a layer.  The widths are those of the secure-aggregation streams.

Masked vectors are uniformly random, so no compression can make them smaller.
"""

from fedspallm_secure.errors import CapacityExceeded, UsageError
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.fields import CountField, SumWord


def count_bits(cohort: int) -> int:
    """Bits per keep count for sums up to `cohort`.  Raises UsageError below 1 and above 65,535 members."""
    try:
        return CountField.for_cohort(cohort).bits
    except CapacityExceeded as error:
        raise UsageError(str(error)) from error


def contribution_bytes(weights: int, cohort: int, strategy: Strategy, sum_bits: int = 32) -> int:
    """Payload bytes one member sends for a layer of `weights` prunable weights, each stream in whole bytes.

    sum_bits: 32 or 16, read where sums are sent.  Raises UsageError where the cohort is too large for these widths.
    """
    try:
        counts = CountField.for_cohort(cohort).size(weights)
        return counts + (SumWord.default(sum_bits, cohort).size(weights) if strategy is Strategy.FEDSPALLM else 0)
    except CapacityExceeded as error:
        raise UsageError(str(error)) from error
