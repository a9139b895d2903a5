"""The streams of a group as bytes, whoever they belong to, and what their sums show (SPEC section 12).

Nothing here knows tensors: whoever adds up or audits needs no torch for it.
"""

import hashlib
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fedspallm_secure.crypto import merkle
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.rounds.deals import tile_hashes
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.secagg.fields import check_range

Octets = NDArray[np.uint8]
_TILE: Final = 1 << 18  # weights that are checked at once; even, so that none begins within a byte of counts


class TileHashes(NamedTuple):
    """Leaf hashes of the tiles of 2^20 bytes of count and sum stream, 32 bytes each; none where there is no stream."""

    counts: list[bytes]
    sums: list[bytes]

    @property
    def roots(self) -> tuple[str, str]:
        """Their roots in hex; `*` where there is no stream (SPEC section 16.4)."""
        return merkle.root(self.counts).hex(), merkle.root(self.sums).hex() if self.sums else NONE


@dataclass(frozen=True, slots=True)
class Streams:
    """The streams of one group, whoever they belong to.  count, total: bytes; total is None under `votes`."""

    count: Octets
    total: Octets | None

    @classmethod
    def empty(cls, group: GroupPlan) -> Self:
        """All zero."""
        total = None if group.sums is None else np.zeros(group.sum_size, np.uint8)
        return cls(np.zeros(group.count_size, np.uint8), total)

    @property
    def parts(self) -> tuple[Octets, ...]:
        """What is there, in the order in which it travels."""
        return (self.count,) if self.total is None else (self.count, self.total)

    @property
    def tile_hashes(self) -> TileHashes:
        """One pass over both."""
        return TileHashes(tile_hashes(self.count.data), [] if self.total is None else tile_hashes(self.total.data))

    @property
    def hash(self) -> bytes:
        """SHA-256 of both, one after the other, 32 bytes."""
        hasher = hashlib.sha256()
        for part in self.parts:
            hasher.update(part.data)
        return hasher.digest()


def plain_streams(body: memoryview, group: GroupPlan) -> Streams:
    """The streams in the body of a package, copied."""
    octets = np.frombuffer(body, np.uint8)
    count, total = octets[: group.count_size], octets[group.count_size :]
    # Words need their alignment; where the sums begin depends on the sizes before them.
    return Streams(count.copy(), None if group.sums is None else total.copy())


def word_sizes(group: GroupPlan) -> tuple[int, ...]:
    """Bytes of a word of each stream, in the order in which they travel."""
    count = group.counts.word.itemsize
    return (count,) if group.sums is None else (count, group.sums.word.itemsize)


@dataclass(frozen=True, slots=True)
class SumFigures:
    """What unmasked sums show.

    violations: weights that violate check R6; histograms: of every matrix in the order of the group, how many weights
    have each C; unanimous, single: how many in all have C = 0 or C = |U|, and C = 1.
    """

    violations: int
    histograms: tuple[NDArray[np.int64], ...]
    unanimous: int
    single: int

    @classmethod
    def of(cls, group: GroupPlan, streams: Streams, survivors: int) -> Self:
        """Look at them, a tile at a time.  survivors: how many members are in the sums."""
        spare = group.counts.bits == 4 and group.weights % 2 and int(streams.count[-1]) >> 4
        words = None if streams.total is None or group.sums is None else streams.total.view(group.sums.signed)
        violations = int(bool(spare))  # nobody counts in the half byte after the last weight
        histograms, begin = [], 0
        for shape in group.matrices:
            histogram, end = np.zeros(1 << group.counts.bits, np.int64), begin + shape.weights
            for start in range(begin, end, _TILE):
                length = min(_TILE, end - start)
                counts = group.counts.unpack(streams.count[group.counts.piece(start, length)], length, start)
                totals = None if words is None else words[start : start + length]
                violations += check_range(counts, totals, survivors, group.sums)
                histogram += group.counts.histogram(counts)
            histograms.append(histogram)
            begin = end
        whole = np.sum(histograms, axis=0)
        unanimous = sum(int(whole[count]) for count in {0, survivors})
        return cls(violations, tuple(histograms), unanimous, int(whole[1]))
