"""The masked vector: keystreams added to a vector, and taken off a sum again (SPEC section 12).

Every member adds the keystream of its own seed, and for each neighbour that of their common edge: the one that comes
first in the cohort adds it, the other subtracts it, so it is gone from their sum.  What is left the server takes off
with the seeds that were opened for it.  All of it is addition in words of 1, 2 or 4 bytes that wrap around.

A vector is gone through once, a tile at a time: all keystreams meet a tile while it lies in the cache.  Tiles are
spread over the cores, since cipher and addition run without the interpreter's lock.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import cpu_count
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.keystreams import Buffer, Kind, Stream, check_offset, stream_key, write_keystream

TILE = 1 << 20  # bytes; setting up a cipher costs as much as 30 KiB of keystream, and larger tiles gain 3 %
_WORDS: dict[int, np.dtype[np.unsignedinteger]] = {1: np.dtype("<u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4")}


@dataclass(frozen=True, slots=True)
class Term:
    """One keystream of a masked vector.  key: of the stream, 32 bytes; negative: subtracted instead of added."""

    key: bytes = field(repr=False)
    negative: bool


def member_terms(
    context: GroupContext, self_seed: int, edges: Sequence[tuple[int, bool]], stream: Stream
) -> list[Term]:
    """What a member adds to its vector x_i to have y_i.

    edges: for each neighbour the seed of the edge, and whether the neighbour comes before the member in the cohort:
    then its keystream is subtracted.  Raises ValueError for a seed that is no field element.
    """
    return [
        Term(stream_key(self_seed, context, Kind.SELF, stream), negative=False),
        *(Term(stream_key(seed, context, Kind.PAIR, stream), negative) for seed, negative in edges),
    ]


def unmask_terms(
    context: GroupContext, self_seeds: Sequence[int], edges: Sequence[tuple[int, bool]], stream: Stream
) -> list[Term]:
    """What the server adds to the sum of the survivors' masked vectors to have the sum of their vectors.

    self_seeds: of all survivors; edges: for every survivor and each neighbour of it that dropped out, the seed of the
    edge and whether the survivor subtracted its keystream, as in `member_terms`: here all of that is undone.
    Raises ValueError for a seed that is no field element.
    """
    return [
        *(Term(stream_key(seed, context, Kind.SELF, stream), negative=True) for seed in self_seeds),
        *(Term(stream_key(seed, context, Kind.PAIR, stream), not negative) for seed, negative in edges),
    ]


def add_keystreams(
    stream: Buffer,
    terms: Sequence[Term],
    word_size: int,
    offset: int = 0,
    workers: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> None:
    """Add the keystreams of `terms` to `stream`, in place, in little-endian words modulo 2^(8 word_size).

    stream: writable bytes, a whole stream or the piece of it that begins at byte `offset`, a multiple of 16.  Where it
    ends within a word, the rest counts as a word of as many bytes.
    word_size: 1, 2 or 4 bytes; workers: threads, all cores if None; advance: told in the calling thread, after every
    tile, how many more bytes are done.
    Raises ValueError for arguments that do not fit.  After any error some tiles have their keystreams and others do
    not: the stream must then be thrown away.
    """
    target, words = _octets(stream), _words(word_size)
    check_offset(offset)
    starts = range(0, len(target), TILE)
    count = min(cpu_count() if workers is None else workers, len(starts))
    if count < 1:
        raise ValueError(f"at least one worker is needed, not {workers}")
    spare: SimpleQueue[NDArray[np.uint8]] = SimpleQueue()  # a buffer for each worker, made once
    for _ in range(count):
        spare.put(np.empty(min(TILE, len(target)), np.uint8))

    def add_to_tile(start: int) -> int:
        tile, scratch = target[start : start + TILE], spare.get()
        try:
            keystream = scratch[: len(tile)]
            for term in terms:
                write_keystream(term.key, offset + start, keystream)
                _combine(tile, keystream, words, np.subtract if term.negative else np.add)
        finally:
            spare.put(scratch)
        return len(tile)

    with ThreadPoolExecutor(count, thread_name_prefix="masking") as pool:
        for done in pool.map(add_to_tile, starts):  # an error ends what has not begun, and waits for what has
            if advance is not None:
                advance(done)


def add_into(total: Buffer, stream: Buffer | bytes, word_size: int) -> None:
    """Add a masked vector, or the same piece of it, to `total`, in place, in words modulo 2^(8 word_size).

    Both have the same length in bytes; `stream` is left as it is.  word_size: 1, 2 or 4 bytes.
    Raises ValueError for arguments that do not fit.
    """
    target, words, other = _octets(total), _words(word_size), np.frombuffer(stream, np.uint8)
    if len(target) != len(other):
        raise ValueError(f"a stream of {len(other)} bytes cannot be added to one of {len(target)}")
    _combine(target, other, words, np.add)


def _octets(stream: Buffer) -> NDArray[np.uint8]:
    octets = np.frombuffer(stream, np.uint8)
    if not len(octets):
        raise ValueError("the stream is empty")
    if not octets.flags.writeable:
        raise ValueError("the stream cannot be written to")
    return octets


def _words(word_size: int) -> np.dtype[np.unsignedinteger]:
    if word_size not in _WORDS:
        raise ValueError(f"words have {', '.join(map(str, _WORDS))} bytes, not {word_size}")
    return _WORDS[word_size]


def _combine(
    target: NDArray[np.uint8], other: NDArray[np.uint8], words: np.dtype[np.unsignedinteger], operation: np.ufunc
) -> None:
    """target = operation(target, other), word by word; both of the same length in bytes."""
    rest = len(target) % words.itemsize
    whole = len(target) - rest
    numbers = target[:whole].view(words)
    operation(numbers, other[:whole].view(words), out=numbers)
    if rest:
        one, two = (int.from_bytes(octets[whole:].tobytes(), "little") for octets in (target, other))
        last = int(operation(one, two)) % (1 << 8 * rest)
        target[whole:] = np.frombuffer(last.to_bytes(rest, "little"), np.uint8)
