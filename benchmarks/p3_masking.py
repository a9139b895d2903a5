"""P3: masking a vector against AES-256-CTR alone, which makes as much keystream in a buffer that stays in cache.

Ours makes the same bytes and also adds them to the vector, tile by tile.  A member with k neighbours needs k + 1
keystreams and so does the peer: the ratio is one per neighbour.  Both have as many threads: it is one per core.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from benchmarks.measure import Row, alternate
from fedspallm_secure.secagg.masking import Term, add_keystreams

MEBIBYTE = 1 << 20
TARGET = ">= 0.6 of bare AES-256-CTR"
CASES = [(1, 4), (4, 4), (4, 29)]  # bytes of a word, neighbours


def keystream(key: bytes, size: int) -> bytearray:
    """Make `size` MiB of keystream, one after another in the same buffer; returns the last of them."""
    encryptor = Cipher(AES(key), CTR(bytes(16))).encryptor()
    zeros, buffer = bytes(MEBIBYTE), bytearray(MEBIBYTE)
    for _ in range(size):
        encryptor.update_into(zeros, buffer)
    return buffer


def measure(times: int, size: int = 64) -> list[Row]:
    """Streams of `size` MiB: on one core, on all of them, and the one against the other."""
    cores = os.cpu_count() or 1
    rows = []
    for workers in sorted({1, cores}):
        for word_size, neighbours in CASES:
            peer, ours = _peer(size, neighbours, workers), _masking(size, word_size, neighbours, workers)
            rows.append(_row(peer, ours, times, _what(size, word_size, neighbours, workers)))
    word_size, neighbours = CASES[-1]
    one, every = (_masking(size, word_size, neighbours, workers) for workers in (1, cores))
    row = _row(one, every, times, f"{_what(size, word_size, neighbours, cores)}, against 1 thread of ours")
    row.target = f"all cores used: about {cores}"
    return [*rows, row]


def _what(size: int, word_size: int, neighbours: int, workers: int) -> str:
    plural = "s" if workers > 1 else ""
    return f"masking {size} MiB, words of {8 * word_size} bits, {neighbours} neighbours, {workers} thread{plural}"


def _row(peer: Callable[[], None], ours: Callable[[], None], times: int, what: str) -> Row:
    theirs, mine = alternate(peer, ours, times)
    return Row("P3", what, TARGET, [one / other for one, other in zip(theirs, mine, strict=True)])


def _keys(neighbours: int) -> list[bytes]:
    return [bytes([number]) * 32 for number in range(neighbours + 1)]


def _masking(size: int, word_size: int, neighbours: int, workers: int) -> Callable[[], None]:
    stream = bytearray(size * MEBIBYTE)
    terms = [Term(key, negative=bool(number % 2)) for number, key in enumerate(_keys(neighbours))]
    return lambda: add_keystreams(stream, terms, word_size, workers=workers)


def _peer(size: int, neighbours: int, workers: int) -> Callable[[], None]:
    """Every thread makes its share of every keystream."""

    def share(number: int) -> None:
        for key in _keys(neighbours):
            keystream(key, size // workers + (number < size % workers))

    def run() -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(share, range(workers)))

    return run
