"""What members send, and within what the server compares.  Free of torch, so plans can be read without it."""

from enum import StrEnum


class Strategy(StrEnum):
    """What members send: keep counts and kept sums, or keep counts alone."""

    FEDSPALLM = "fedspallm"
    VOTES = "votes"


class Group(StrEnum):
    """Within what the server compares weights when it expands the keep-mask."""

    MATRIX = "matrix"
    ROW = "row"
