"""From keep bits and quantised values to the numbers in the slots of a chunk, and from their sums back.

A weight is one number below B = (n_max + 1) (2 V n_max + 1): its vote plus n_max + 1 times its value, shifted by V so
that it is never negative, and 0 where the weight was dropped.  Over n members these add up to C + (n_max + 1) F with
F = S + C V, so votes and values can be told apart again, and 0 <= F <= 2 V C says the same as |S| <= C V.  A slot holds
k such numbers as digits of radix B, the weight with the lowest index in the lowest digit; no honest sum carries.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedspallm_secure.errors import SumOutOfRange
from fedspallm_secure.he.parameters import Parameters

Slots = NDArray[np.int64]
Keep = NDArray[np.bool_]
Counts = NDArray[np.uint16]
Sums = NDArray[np.int32]

SLOT_SIZE: Final = 8  # bytes of a slot's number between processes, little-endian
SLOT_WORD: Final = np.dtype("<i8")


@dataclass(frozen=True, slots=True)
class ChunkSums:
    """What the sums of one chunk are.  counts: (weights,); sums: (weights,), None where only votes were summed."""

    counts: Counts
    sums: Sums | None


def chunk_weights(parameters: Parameters, weights: int) -> Iterator[slice]:
    """Which weights of a vector each of its chunks holds, in order.  Raises CapacityExceeded for too many."""
    step = parameters.weights_per_chunk
    for number in range(parameters.chunks(weights)):
        yield slice(number * step, min((number + 1) * step, weights))


def slots_used(parameters: Parameters, weights: int) -> int:
    """How many slots of a chunk hold its `weights` weights; the others are 0 and nobody gets to see them."""
    return -(-weights // parameters.per_slot)


def pack(parameters: Parameters, keep: Keep, values: NDArray[np.signedinteger] | None = None) -> Slots:
    """The slots of one chunk of a member's vector.

    keep: (weights,), up to `weights_per_chunk`, True where a weight stays; values: (weights,), signed, in quantisation
    steps, what `quantize` writes; None where only votes are summed.  Returns (slots used,).
    Raises ValueError for other shapes and types, for values beyond the bound, and for a dropped one that is not 0.
    """
    if keep.ndim != 1 or keep.dtype != np.bool_ or not 1 <= keep.size <= parameters.weights_per_chunk:
        raise ValueError(f"a chunk packs up to {parameters.weights_per_chunk} bools, in one dimension")
    if (values is None) != (parameters.bound == 0):
        raise ValueError("values are packed where they are summed, and only there")
    padded: Slots = np.zeros((slots_used(parameters, keep.size), parameters.per_slot), np.int64)
    numbers = padded.reshape(-1)[: keep.size]
    numbers[:] = keep
    if values is not None:
        numbers += (parameters.members + 1) * _shifted(parameters, keep, values)
    slots: Slots = padded[:, -1].copy()
    for digit in range(parameters.per_slot - 2, -1, -1):
        slots *= parameters.base
        slots += padded[:, digit]
    return slots


def _shifted(parameters: Parameters, keep: Keep, values: NDArray[np.signedinteger]) -> Slots:
    bound = parameters.bound
    if values.shape != keep.shape or values.dtype.kind != "i":
        raise ValueError("one signed value goes with each weight")
    if bool((values > bound).any()) or bool((values < -bound).any()):  # the smallest number has no absolute value
        raise ValueError(f"a value is larger than the bound {bound}")
    if values[~keep].any():
        raise ValueError("a dropped weight has a value")
    return (values.astype(np.int64) + bound) * keep


def unpack(parameters: Parameters, slots: Slots, weights: int, survivors: int) -> ChunkSums:
    """Counts and sums of one chunk's weights, from its decrypted slots.

    slots: exactly those that `weights` weights use, 0 <= slot < t; survivors: how many ciphertexts were added up.
    Raises SumOutOfRange unless every number is one that so many members can have made: no slot above its digits, no
    count above the survivors, no |sum| above count * V, zeros after the last weight; nothing of the sum is used then.
    Raises ValueError for another number of slots, or survivors that the parameters have no room for.
    """
    if slots.ndim != 1 or slots.dtype != np.int64 or not 1 <= weights <= parameters.weights_per_chunk:
        raise ValueError("slots are int64, in one dimension, of one chunk")
    if slots.size != slots_used(parameters, weights) or not 1 <= survivors <= parameters.members:
        raise ValueError(f"{slots.size} slots are not the sum of {survivors} vectors of {weights} weights")
    digits: Slots = np.empty((slots.size, parameters.per_slot), np.int64)
    rest = slots.copy()
    for digit in range(parameters.per_slot):
        rest, digits[:, digit] = np.divmod(rest, parameters.base)
    wrong = int(np.count_nonzero(rest))  # above the digits; -1 for a negative number
    numbers = digits.reshape(-1)
    wrong += int(np.count_nonzero(numbers[weights:]))
    shifted, counts = np.divmod(numbers[:weights], parameters.members + 1)
    wrong += int(np.count_nonzero((counts > survivors) | (shifted > 2 * parameters.bound * counts)))
    if wrong:
        raise SumOutOfRange(f"{wrong} numbers of a decrypted sum are none that {survivors} members can have made")
    if parameters.bound == 0:
        return ChunkSums(counts.astype(np.uint16), None)
    return ChunkSums(counts.astype(np.uint16), (shifted - counts * parameters.bound).astype(np.int32))


def slot_bytes(slots: Slots) -> bytes:
    """As they go to the process that encrypts."""
    return slots.astype(SLOT_WORD, copy=False).tobytes()


def slots_from(data: bytes | bytearray | memoryview) -> Slots:
    """As they come from the process that decrypts.  data: a whole number of words."""
    return np.frombuffer(data, SLOT_WORD).astype(np.int64)
