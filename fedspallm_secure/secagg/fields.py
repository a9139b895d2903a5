"""The two kinds of numbers that are added up, how wide they are, and what a sum of them may be (SPEC section 12).

A weight travels as a bit in a count field of 4, 8 or 16 bits and, unless only votes are asked for, as a signed
fixed-point number in a word of 32 or 16 bits.  Neither type can be constructed so that an honest sum would leave its
field: that is checked once, here, and nowhere else has to think of overflow.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from fedspallm_secure.errors import CapacityExceeded

Stream = bytes | bytearray | memoryview | NDArray[np.uint8]
Counts = NDArray[np.uint8] | NDArray[np.uint16]
Sums = NDArray[np.int32] | NDArray[np.int16]

COUNT_BITS: Final = (4, 8, 16)
FRACTION_LIMIT: Final = 30  # binary places of a sum; one more, and 1.0 has no place in 32 bits

_HEADROOM: Final = {32: 3, 16: 1}  # bits of a word -> h: deltas up to 2^h times the largest weight of their row
_TILE: Final = 1 << 18  # weights; their 32-bit words fill 1 MiB


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise CapacityExceeded(message)


@dataclass(frozen=True, slots=True)
class CountField:
    """How many of `members` kept a weight, in fields of `bits` bits.

    Raises CapacityExceeded unless bits is 4, 8 or 16 and 1 <= members < 2^bits.
    """

    bits: int
    members: int

    def __post_init__(self) -> None:
        _check(self.bits in COUNT_BITS, f"counts have 4, 8 or 16 bits, not {self.bits}")
        _check(self.members >= 1, f"a sum over {self.members} members is no sum")
        _check(self.members < 1 << self.bits, f"{self.members} members do not fit a {self.bits}-bit count")

    @classmethod
    def for_cohort(cls, members: int) -> Self:
        """The narrowest fields that hold `members` votes.  Raises CapacityExceeded below 1 and above 65,535."""
        return cls(next((bits for bits in COUNT_BITS if members < 1 << bits), COUNT_BITS[-1]), members)

    @property
    def word(self) -> np.dtype[Any]:
        """The unsigned words in which streams are added: bytes for 4 and 8 bits, since no honest sum carries."""
        return np.dtype("<u2" if self.bits == 16 else "<u1")

    def size(self, weights: int) -> int:
        """Bytes of the stream of `weights` weights."""
        return -(-weights * self.bits // 8)

    def piece(self, start: int, weights: int) -> slice:
        """The bytes of a stream in which the fields of the weights from `start` on lie."""
        return slice(start * self.bits // 8, self.size(start + weights))

    def pack(self, keep: NDArray[np.bool_], out: bytearray | memoryview | NDArray[np.uint8], start: int = 0) -> None:
        """Write one bit per weight, 1 = kept, into its field.

        keep: (weights,); out: exactly the bytes of `piece(start, weights)`.  Where a piece begins with the high half
        of a byte, the low half stays as it is, so pieces are written in their order.  Raises ValueError for any other
        size, and for an `out` that cannot be written.
        """
        if keep.ndim != 1 or keep.dtype != np.bool_:
            raise ValueError("one bool per weight is packed, in one dimension")
        stream = self._bytes(out, start, keep.size)
        if self.bits == 4:
            _pack_halves(keep, stream, start % 2)
        else:
            np.copyto(stream.view(self.word), keep)

    def unpack(self, stream: Stream, weights: int, start: int = 0) -> Counts:
        """Read the counts of `weights` weights, as a new array (weights,) of uint8 or uint16.

        stream: exactly the bytes of `piece(start, weights)`.  Raises ValueError for any other size.
        """
        packed = self._bytes(stream, start, weights)
        if self.bits == 4:
            return _unpack_halves(packed)[start % 2 :][:weights]
        return packed.view(self.word).copy()

    def histogram(self, counts: Counts) -> NDArray[np.int64]:
        """How many weights have each count, honest or not: (2^bits,).  counts: as `unpack` gives them."""
        length = 1 << self.bits
        if counts.itemsize > 1 or counts.size % 2:
            found: NDArray[np.int64] = np.bincount(counts, minlength=length)
            return found
        pairs = np.bincount(counts.view(np.uint16), minlength=1 << 16).reshape(1 << 8, 1 << 8)  # half of the time
        both: NDArray[np.int64] = (pairs.sum(axis=0) + pairs.sum(axis=1))[:length]
        return both

    def write(self, counts: Counts, out: NDArray[np.uint8], start: int = 0) -> None:
        """Write counts, the inverse of `unpack`.

        counts: (weights,), each at most `members`; out: the whole stream, zero from `start` on.  Raises ValueError.
        """
        if counts.ndim != 1 or bool((counts > self.members).any()):
            raise ValueError(f"counts are at most {self.members}, in one dimension")
        piece = self.piece(start, counts.size)
        if self.bits != 4:
            out[piece].view(self.word)[:] = counts
            return
        whole = np.zeros(2 * (piece.stop - piece.start), np.uint8)
        whole[start % 2 :][: counts.size] = counts
        out[piece] |= whole[::2] | whole[1::2] << 4

    def _bytes(self, stream: Stream, start: int, weights: int) -> NDArray[np.uint8]:
        found = np.frombuffer(stream, np.uint8)
        piece = self.piece(start, weights)
        if start < 0 or weights < 0 or found.size != piece.stop - piece.start:
            raise ValueError(f"{weights} counts from {start} on are not in {found.size} bytes")
        return found


def _pack_halves(keep: NDArray[np.bool_], stream: NDArray[np.uint8], high: int) -> None:
    if high and keep.size:
        stream[0] = stream[0] & 15 | np.uint8(keep[0]) << 4
        keep, stream = keep[1:], stream[1:]
    for pairs in _tiles(keep.size // 2):
        # Two bytes 0 or 1 read as one word of 16 bits: one shift brings a pair together, several times faster than
        # taking every other element.
        fields = keep[2 * pairs.start : 2 * pairs.stop].astype(np.uint8).view("<u2")
        np.copyto(stream[pairs], fields | fields >> 4, casting="unsafe")
    if keep.size % 2:
        stream[-1] = keep[-1]


def _unpack_halves(stream: NDArray[np.uint8]) -> NDArray[np.uint8]:
    spread = np.empty(stream.size, "<u2")
    np.left_shift(stream, 4, out=spread, dtype=np.uint16)
    spread |= stream
    spread &= 0x0F0F
    return spread.view(np.uint8)


@dataclass(frozen=True, slots=True)
class SumWord:
    """Signed numbers from -bound to bound with `fraction` binary places, added over `members` in words of `bits` bits.

    Raises CapacityExceeded unless bits is 32 or 16, members and bound are positive, members * bound < 2^(bits - 1),
    and fraction lies in 0 .. 30.
    """

    bits: int
    fraction: int
    bound: int
    members: int

    def __post_init__(self) -> None:
        _check(self.bits in _HEADROOM, f"sums have 32 or 16 bits, not {self.bits}")
        _check(self.members >= 1, f"a sum over {self.members} members is no sum")
        _check(self.bound >= 1, f"a bound of {self.bound} leaves no numbers to add")
        _check(
            self.members * self.bound < 1 << self.bits - 1,
            f"{self.members} numbers up to {self.bound} can add up to more than {self.bits} bits hold",
        )
        _check(
            0 <= self.fraction <= FRACTION_LIMIT,
            f"sums have 0 to {FRACTION_LIMIT} binary places, not {self.fraction}",
        )

    @classmethod
    def default(cls, bits: int, members: int) -> Self:
        """The largest bound that `members` leave room for, and the binary places that go with it.

        Raises CapacityExceeded where no place is left: with 16 bits above 16,383 members.
        """
        _check(bits in _HEADROOM, f"sums have 32 or 16 bits, not {bits}")
        bound = ((1 << bits - 1) - 1) // max(members, 1)
        # The bit length less one is the logarithm rounded down, and rounding the quotient down does not change it.
        return cls(bits, bound.bit_length() - 1 - _HEADROOM[bits], bound, members)

    @property
    def word(self) -> np.dtype[Any]:
        """The unsigned words in which streams are added."""
        return np.dtype(f"<u{self.bits // 8}")

    @property
    def signed(self) -> np.dtype[Any]:
        """The same words as the two's complement numbers that they carry."""
        return np.dtype(f"<i{self.bits // 8}")

    @property
    def stochastic(self) -> bool:
        """Whether rounding is up with the probability of the fraction, or to nearest."""
        return self.bits == 16

    def size(self, weights: int) -> int:
        """Bytes of the stream of `weights` weights."""
        return weights * self.bits // 8


def check_range(counts: Counts, sums: Sums | None, survivors: int, word: SumWord | None) -> int:
    """How many weights have a count or sum to which no honest contributions add up (SPEC section 12, Unmasking).

    counts: (weights,) unsigned, as `CountField.unpack` gives them; sums: (weights,) of `word.signed`, None under
    `votes`, and then word is not needed; survivors: members that were added up.  A weight is counted once unless
    count <= survivors and |sum| <= count * word.bound, which holds for a count of 0 only where the sum is 0 too.
    Raises ValueError for arrays that do not belong together, and for more survivors than `word` has room for.
    """
    if counts.ndim != 1 or counts.dtype not in (np.uint8, np.uint16) or survivors < 0:
        raise ValueError("counts are unsigned, and in one dimension")
    if sums is None:
        return sum(int(np.count_nonzero(counts[tile] > survivors)) for tile in _tiles(counts.size))
    if word is None or sums.dtype != word.signed or sums.shape != counts.shape or survivors > word.members:
        raise ValueError("these sums do not belong to these counts, words and members")
    violations = 0
    for tile in _tiles(counts.size):
        count, total = counts[tile], sums[tile]
        # Up to `survivors` no count times the bound leaves the word, nor does its negative; a larger count may wrap
        # around here, and is wrong whatever comes of it.  The smallest number has no absolute value: two comparisons.
        limit = count.astype(word.signed)
        limit *= word.bound
        violations += int(np.count_nonzero((count > survivors) | (total > limit) | (total < -limit)))
    return violations


def _tiles(length: int) -> Iterator[slice]:
    for start in range(0, length, _TILE):
        yield slice(start, min(start + _TILE, length))
