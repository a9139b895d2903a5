"""Adaptive mask expansion of a matrix that is never whole in memory (Bai et al. 2025, eq. 6, 7).

The weights that go are those with the smallest (C, importance, index).  What is asked for is one boundary in that
order, and it is found by counting: how many weights have each C, then, of those with the C at the boundary, how many
have the upper half of its importance, then how many the lower half.  So the sums are read tile by tile, up to three
times, and memory holds a tile, some histograms and, where they are few, what these two count, whatever the matrix is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fedspallm_secure.pruning.keepmasks import drop_lowest, keep_n_of_m
from fedspallm_secure.pruning.patterns import NofM, Pattern
from fedspallm_secure.pruning.strategies import Group

Places = NDArray[np.intp]
Keep = NDArray[np.bool_]

_TILE: Final = 1 << 19  # weights at once; as float32 they fill 2 MiB
_FEW: Final = 1 << 22  # weights whose magnitudes are kept rather than read twice; they fill 16 MiB
_EIGHT: Final = 8  # rows of a tile are a multiple of it, so that its keep-mask begins with a byte
_MAGNITUDE: Final = 0x7FFFFFFF  # 31 bits of a float32, in the order of the numbers: 15 upper ones and 16 lower ones
_LOWER: Final = 16
COUNT_SHIFT: Final = 1 << 32  # all magnitudes lie below it, so C always outranks the importance

Tile = tuple[Keep, NDArray[np.float32]]  # the keep-mask of some rows, and the values of what stays in them


class BaseMatrix(Protocol):
    """The public matrix (out, in) that a round started from."""

    def weights(self, rows: slice) -> NDArray[np.float32]:
        """Some of its rows: (rows, in)."""

    def kept(self, rows: slice) -> Keep | None:
        """Which weights of these rows earlier rounds kept, (rows, in); None where they kept all."""


@dataclass(frozen=True, slots=True)
class BaseArrays:
    """A `BaseMatrix` in memory.  weight: (out, in) float32; keep: (out, in) or None."""

    weight: NDArray[np.float32]
    keep: Keep | None = None

    def weights(self, rows: slice) -> NDArray[np.float32]:
        """A view of some rows."""
        return self.weight[rows]

    def kept(self, rows: slice) -> Keep | None:
        """A view of some rows."""
        return None if self.keep is None else self.keep[rows]


class SummedRows(Protocol):
    """Some rows of what was summed."""

    @property
    def count(self) -> NDArray[Any]:
        """C: (rows, columns) integers."""

    @property
    def before(self) -> Keep | None:
        """(rows, columns), False where an earlier round dropped a weight; None where none did."""

    def average(self, places: Places) -> NDArray[np.float32]:
        """W_g, and W_dense where C = 0, of the weights at these places, ascending, of the rows in row-major order."""


class SummedMatrix(Protocol):
    """What was summed of one matrix."""

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""

    @property
    def histogram(self) -> NDArray[np.int64]:
        """How many weights have each C, from 0 to the number of members: (members + 1,)."""

    def rows(self, rows: slice) -> SummedRows:
        """Some of its rows, in memory from now on."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """Which weights of a matrix stay, found but not written down.

    histogram: how many weights had each C, from 0 to `members`; kept: how many stay; restored: how many of them no
    member kept.
    """

    matrix: SummedMatrix
    histogram: list[int]
    kept: int
    restored: int
    _rule: "_RowRule | _Boundary"

    def tiles(self) -> Iterator[Tile]:
        """The rows of the matrix, some at a time: their keep-mask (rows, columns), and W_g of what stays, (kept,).

        Each call goes through them anew.
        """
        return self._rule.tiles(self.matrix)


def expand_rows(matrix: SummedMatrix, pattern: Pattern, group: Group) -> Expansion:
    """The server's choice, exactly: `aggregation.expand` says by which rule."""
    if isinstance(pattern, NofM) or group is Group.ROW:
        return _row_by_row(matrix, pattern)
    counts = matrix.histogram
    thawed = counts - _frozen(matrix, len(counts))
    drop = max(0, pattern.drop_count(int(counts.sum())) - int((counts - thawed).sum()))  # beyond the frozen ones
    boundary, kept = _find(matrix, thawed, drop), int(thawed.sum()) - drop
    return Expansion(matrix, counts.tolist(), kept, max(0, int(thawed[0]) - drop), boundary)


def _frozen(matrix: SummedMatrix, length: int) -> NDArray[np.int64]:
    """How many weights that an earlier round dropped have each C: (length,)."""
    found = np.zeros(length + 1, np.int64)  # one more to the left, for those that it kept
    for rows in _each(matrix):
        if rows.before is None:
            break
        found += np.bincount(((rows.count.astype(np.int32) + 1) * ~rows.before).reshape(-1), minlength=length + 1)
    return found[1:]


@dataclass(frozen=True, slots=True)
class _Boundary:
    """Of the weights with this count all below this importance go, and as many equal ones as `equal` says.

    count: the smallest of which not all weights go; importance: the bits of a magnitude.
    """

    count: int
    importance: int = 0
    equal: int = 0

    def tiles(self, matrix: SummedMatrix) -> Iterator[Tile]:
        left = self.equal
        for rows in _each(matrix):
            keep = np.ascontiguousarray(_thawed(rows, rows.count > self.count))  # sums in memory may lie otherwise
            tied = _places(rows, rows.count == self.count)
            magnitude = rows.average(tied).view(np.int32) & _MAGNITUDE
            stay = magnitude > self.importance
            equal = np.flatnonzero(magnitude == self.importance)
            stay[equal[left:]] = True  # the smaller index goes first
            left -= min(left, equal.size)
            keep.reshape(-1)[tied] = stay
            yield keep, rows.average(np.flatnonzero(keep))


def _find(matrix: SummedMatrix, thawed: NDArray[np.int64], drop: int) -> _Boundary:
    """The boundary behind the `drop` first of the weights that are not frozen.  thawed: how many have each count."""
    count, left = _step(thawed, drop)
    if left == 0:
        return _Boundary(count)
    tied: Iterable[NDArray[np.int32]] = _Tied(matrix, count)
    if thawed[count] <= _FEW:
        tied = list(tied)  # both counts go through them, and reading them again takes longer than all the rest
    upper = np.zeros((_MAGNITUDE >> _LOWER) + 1, np.int64)
    for magnitude in tied:
        upper += np.bincount(magnitude >> _LOWER, minlength=len(upper))
    high, left = _step(upper, left)
    lower = np.zeros(1 << _LOWER, np.int64)
    for magnitude in tied:
        lower += np.bincount(magnitude[magnitude >> _LOWER == high] & len(lower) - 1, minlength=len(lower))
    low, left = _step(lower, left)
    return _Boundary(count, high << _LOWER | low, left)


@dataclass(frozen=True, slots=True)
class _Tied:
    """The bits of the magnitudes of the weights that have this count and are not frozen, some at a time, from anew."""

    matrix: SummedMatrix
    count: int

    def __iter__(self) -> Iterator[NDArray[np.int32]]:
        for rows in _each(self.matrix):
            yield rows.average(_places(rows, rows.count == self.count)).view(np.int32) & _MAGNITUDE


def _step(histogram: NDArray[np.int64], drop: int) -> tuple[int, int]:
    """The bin within which `drop` weights are reached, and how many of its own go: fewer than it has."""
    at_most = histogram.cumsum()
    # The first bin with more than `drop` up to it; behind the last one where all weights go.
    bin = int(np.searchsorted(at_most, drop, side="right"))
    return bin, drop - (int(at_most[bin - 1]) if bin else 0)


def _places(rows: SummedRows, where: Keep) -> Places:
    return np.flatnonzero(_thawed(rows, where))


def _thawed(rows: SummedRows, where: Keep) -> Keep:
    return where if rows.before is None else where & rows.before


@dataclass(frozen=True, slots=True)
class _RowRule:
    """Patterns by which no row depends on another.  Lowest keys go first, and frozen weights never stay."""

    pattern: Pattern

    def tiles(self, matrix: SummedMatrix) -> Iterator[Tile]:
        for rows in _each(matrix):
            yield self.choose(rows)

    def choose(self, rows: SummedRows) -> Tile:
        average = rows.average(np.arange(rows.count.size))
        keys = (rows.count.astype(np.int64) + 1) * COUNT_SHIFT
        keys += (average.view(np.int32) & _MAGNITUDE).reshape(keys.shape)
        if rows.before is not None:
            keys *= rows.before  # frozen ones are below all others
        keep = _thawed(rows, self._keep(torch.from_numpy(keys)).numpy())
        return keep, average.take(np.flatnonzero(keep))

    def _keep(self, keys: torch.Tensor) -> torch.Tensor:
        if isinstance(self.pattern, NofM):
            return keep_n_of_m(keys, self.pattern.n, self.pattern.m)
        return drop_lowest(keys, self.pattern.drop_count(keys.shape[1]))


def _row_by_row(matrix: SummedMatrix, pattern: Pattern) -> Expansion:
    rule, kept, restored = _RowRule(pattern), 0, 0
    for rows in _each(matrix):
        keep, _ = rule.choose(rows)
        kept += int(np.count_nonzero(keep))
        restored += int(np.count_nonzero(keep & (rows.count == 0)))
    return Expansion(matrix, matrix.histogram.tolist(), kept, restored, rule)


def _each(matrix: SummedMatrix) -> Iterator[SummedRows]:
    for rows in row_tiles(matrix.shape):
        yield matrix.rows(rows)


def row_tiles(shape: tuple[int, int]) -> Iterator[slice]:
    """Rows of a matrix that are worked on at once; their keep-mask begins with a whole byte of the matrix's."""
    step = max(_EIGHT, _TILE // max(1, shape[1]) // _EIGHT * _EIGHT)
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))
