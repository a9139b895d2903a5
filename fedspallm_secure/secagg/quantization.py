"""Weights as signed fixed-point differences to the public base, and back (SPEC section 12).

The scale is public and one per matrix row: a power of two, so that scaling is exact and every platform finds the same
one.  All arithmetic is in float64, which rounds the same way everywhere; with 32-bit words equal inputs give equal
bytes.  With 16 bits rounding is by chance, so a vector must be made once and kept: made again it is another one.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.errors import CorruptWeights, SumOutOfRange
from fedspallm_secure.secagg.fields import Counts, Sums, SumWord

LEAST_EXPONENT: Final = -100  # of a row with weights; below it float32 is close to its end

_TILE: Final = 1 << 17  # weights; in float64 they fill 1 MiB
_CHANCE: Final = np.dtype("<u4")  # one draw for stochastic rounding, which is unbiased to 2^-32


def row_exponents(base: NDArray[np.float32]) -> NDArray[np.int32]:
    """e_r of every row: the smallest integer with max |base[r]| < 2^e_r, at least -100; 0 for a row of zeros.

    base: (rows, columns); returns (rows,).  Raises CorruptWeights when the base holds NaN or infinite values.
    """
    largest: NDArray[np.float32] = np.maximum(base.max(axis=1, initial=0.0), -base.min(axis=1, initial=0.0))
    broken = int(np.count_nonzero(~np.isfinite(largest)))
    if broken:
        raise CorruptWeights(f"{broken} rows of a base matrix hold NaN or infinite weights")
    # frexp gives a fraction from 1/2 up to but not 1, and (0, 0) for a row of zeros.
    exponents: NDArray[np.int32] = np.maximum(np.frexp(largest)[1], LEAST_EXPONENT)
    return exponents


def quantize(
    weight: NDArray[np.float32], base: NDArray[np.float32], keep: NDArray[np.bool_], word: SumWord, out: Sums
) -> int:
    """Write v = clip(round((weight - base) / 2^(e_r - f)), -V, V) where kept, and 0 where dropped.

    weight, base: (rows, columns); keep: (rows, columns), True where a weight stays; what stands at a dropped position
    is not read.  out: (rows * columns,) of `word.signed`, usually a view into the stream.  Returns how many values were
    clipped.  Raises CorruptWeights when the base or a kept weight is NaN or infinite, and ValueError for other shapes
    and types; `out` is of no use then.
    """
    _check_matrix(base, weight, keep)
    if weight.dtype != np.float32 or keep.dtype != np.bool_ or out.dtype != word.signed or out.shape != (base.size,):
        raise ValueError(f"weights are float32, keep-masks bool, and their {base.size} words {word.signed}")
    scale = np.ldexp(1.0, word.fraction - row_exponents(base))[:, None]  # steps per unit, (rows, 1) float64
    words, clipped = out.reshape(base.shape), 0
    for rows in _row_tiles(base):
        with np.errstate(invalid="ignore"):
            steps = np.subtract(weight[rows], base[rows], dtype=np.float64)
        # Their bits times 0 make 0.0 of all dropped weights, NaN and infinity too, and faster than choosing would.
        np.multiply(steps.view(np.uint64), keep[rows], out=steps.view(np.uint64))
        if not np.isfinite(steps).all():
            raise CorruptWeights(_broken(keep & ~np.isfinite(weight)))
        steps *= scale[rows]
        if word.stochastic:
            steps += _chances(steps.shape)
            np.floor(steps, out=steps)
        else:
            np.rint(steps, out=steps)
        clipped += int(np.count_nonzero(steps > word.bound)) + int(np.count_nonzero(steps < -word.bound))
        np.clip(steps, -word.bound, word.bound, out=steps)
        np.copyto(words[rows], steps, casting="unsafe")
    return clipped


def dequantize(
    base: NDArray[np.float32], counts: Counts, sums: Sums, word: SumWord, places: NDArray[np.intp]
) -> NDArray[np.float32]:
    """The means base + S * 2^(e_r - f) / C of the weights at some places.

    Where S is 0, and so wherever C is 0, that is the base weight, bit for bit.

    base: (rows, columns), of whole rows; counts, sums: (rows * columns,), both passed by `check_range`; places: of
    weights in them, ascending.  Returns (places,), computed in float64 and rounded once.  Raises CorruptWeights when
    the base is not finite, SumOutOfRange when a mean is not, which no finite weights lead to, and ValueError for other
    shapes and types.
    """
    _check_matrix(base)
    if counts.shape != (base.size,) or sums.shape != (base.size,) or sums.dtype != word.signed:
        raise ValueError(f"a matrix of {base.size} weights has as many counts, and sums in {word.signed}")
    step = np.ldexp(1.0, row_exponents(base) - word.fraction)  # (rows,) float64
    in_row = np.diff(np.searchsorted(places, np.arange(len(base) + 1) * base.shape[1]))
    # Numbers become float64 before they are used: doing both at once takes numpy twice as long.
    below = sums.take(places).astype(np.float64)
    below *= step.repeat(in_row)
    below /= np.maximum(counts.take(places), 1).astype(np.float64)
    # base - (-S) and not base + S: taking 0.0 away leaves every weight as it is, -0.0 too.
    np.subtract(0.0, below, out=below)
    np.subtract(base.reshape(-1).take(places), below, out=below)
    with np.errstate(over="ignore"):
        mean = below.astype(np.float32)
    if not np.isfinite(mean).all():
        raise SumOutOfRange("a mean is beyond the largest float32 number")
    return mean


def _check_matrix(base: NDArray[np.float32], *others: NDArray[np.float32] | NDArray[np.bool_]) -> None:
    if base.ndim != 2 or base.dtype != np.float32 or any(other.shape != base.shape for other in others):
        raise ValueError("a base matrix is float32 of (rows, columns), and what goes with it has its shape")


def _row_tiles(matrix: NDArray[np.float32]) -> Iterator[slice]:
    step = max(1, _TILE // max(1, matrix.shape[1]))
    for start in range(0, len(matrix), step):
        yield slice(start, start + step)


def _chances(shape: tuple[int, ...]) -> NDArray[np.float64]:
    draws = np.frombuffer(random_bytes(_CHANCE.itemsize * int(np.prod(shape))), _CHANCE)
    # Below 1 and of 32 places, so that a whole number within the bound of 15 bits stays what it is.
    return np.multiply(draws.reshape(shape), 2.0**-32, dtype=np.float64)


def _broken(places: NDArray[np.bool_]) -> str:
    row, column = np.argwhere(places)[0]
    return f"{np.count_nonzero(places)} kept weights are NaN or infinite, the first in row {row}, column {column}"
