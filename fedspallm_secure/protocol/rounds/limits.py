"""The limits of a round, in one place (SPEC section 10)."""

from typing import Final

COHORT_LIMIT: Final = 10_000  # members of a group
GROUPS_LIMIT: Final = 4_096  # groups of a round
GROUP_LIMIT: Final = 10**9  # first number that no group has
MATRIX_SIDE_LIMIT: Final = 1 << 24  # rows or columns
ROUND_LIMIT: Final = 1 << 53  # first number that no round has
HISTORY_LIMIT: Final = 4_096  # deals of `history` in a plan's package
