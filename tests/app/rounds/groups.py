"""Small groups and vectors for the tests beside this file."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fedspallm_secure.app.rounds.planning import LayerBase, Terms, make_group
from fedspallm_secure.app.rounds.vectors import Streams
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.fields import CountField, SumWord
from fedspallm_secure.secagg.thresholds import Profile

SHAPES = (
    MatrixShape("a", 3, 5),
    MatrixShape("b", 2, 3),
    MatrixShape("c", 1, 4),
)  # 25 weights: an odd half byte is left
NAMES = ("ann", "ben", "cat", "dan", "eve")


def group(
    names: Sequence[str] = NAMES,
    strategy: Strategy = Strategy.FEDSPALLM,
    sum_bits: int = 32,
    count_bits: int | None = None,
    shapes: Sequence[MatrixShape] = SHAPES,
) -> GroupPlan:
    """A group of one made-up layer; count_bits: other fields than the narrowest."""
    terms = Terms(Profile.THREE_TRIP, 0, strategy, "wanda", sum_bits=sum_bits)
    found = make_group(0, tuple(sorted(names)), LayerBase("ab" * 32, tuple(shapes)), terms)
    return found if count_bits is None else replace(found, counts=CountField(count_bits, len(names)))


def read(group: GroupPlan, streams: Streams) -> tuple[list[int], list[int]]:
    """Counts and sums weight by weight, read the obvious way."""
    octets, bits = streams.count.tolist(), group.counts.bits
    fields = {
        4: lambda j: octets[j // 2] >> 4 * (j % 2) & 15,
        8: lambda j: octets[j],
        16: lambda j: octets[2 * j] + 256 * octets[2 * j + 1],
    }
    counts = [fields[bits](j) for j in range(group.weights)]
    if group.sums is None or streams.total is None:
        return counts, []
    size, raw = group.sums.bits // 8, streams.total.tobytes()
    sums = [int.from_bytes(raw[size * j : size * (j + 1)], "little", signed=True) for j in range(group.weights)]
    return counts, sums


def random_streams(group: GroupPlan, seed: int) -> Streams:
    """Streams of bytes as they come, as masked vectors look."""
    draws = np.random.default_rng(seed)
    count = draws.integers(0, 256, group.count_size, np.uint8)
    return Streams(count, None if group.sums is None else draws.integers(0, 256, group.sum_size, np.uint8))


def word(sums: SumWord | None) -> SumWord:
    """The format of sums of a group that has some."""
    assert sums is not None
    return sums
