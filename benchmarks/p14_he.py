"""P14: encrypting, adding and decrypting a vector under BFV, against TenSEAL called in this process.

Ours starts a process, packs keep bits and values into slots, adds a keystream to them or takes it off, and moves slots
and ciphertexts through pipes; its time has all of that in it.  The peer has its slots packed beforehand, its context
loaded, and nothing between it and the library.  But it calls what TenSEAL documents, which turns each list into an
array and back on its way to the bindings that ours calls: of these differences one is for us, the others against us.

Ratios are of seconds of CPU, over both processes, so that other work on the machine weighs little; the ratio on the
clock depends on it, and on whether a core is free to pack on while the other process encrypts.  `bytes` are of
ciphertexts as they are sent, with SEAL's compression.
"""

import resource
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.measure import SEED, Row
from fedspallm_secure.he import bfv
from fedspallm_secure.he.packing import Slots, chunk_weights, pack
from fedspallm_secure.he.parameters import DEGREE, Parameters, choose
from fedspallm_secure.secagg.fields import SumWord
from fedspallm_secure.secagg.slot_keystreams import slot_keystream

MEMBERS = 15
TARGET = ">= 0.8 of TenSEAL called directly"
CHUNKS = 400
ADDED = 3  # vectors that the server adds
_LIMITS = bfv.DEFAULT_LIMITS
_KEY = bytes(32)  # of a keystream

Cost = tuple[float, float]  # seconds of CPU, and on the clock
Keep = np.ndarray[Any, np.dtype[np.bool_]]
Values = np.ndarray[Any, np.dtype[np.int32]]


def measure(times: int, chunks: int = CHUNKS) -> list[Row]:
    """Encryption of votes, and of votes with 32-bit sums; addition and decryption of the latter."""
    votes, sums = choose(MEMBERS), choose(MEMBERS, SumWord.default(32, MEMBERS).bound)
    rows = []
    for parameters, what in ((votes, "votes"), (sums, "votes and 32-bit sums")):
        ground = Ground(parameters, chunks)
        theirs, mine = alternate(ground.peer_encrypt, ground.encrypt, times)
        rows.append(_row(f"encrypting {ground.weights:,} weights, {what}", TARGET, theirs, mine, ground))
    for what, peer, ours in (
        (f"adding {ADDED} such vectors", ground.peer_add, ground.add),
        ("decrypting one", ground.peer_decrypt, ground.decrypt),
    ):
        theirs, mine = alternate(peer, ours, times)
        rows.append(_row(what, "none: the process is the price of safety", theirs, mine, ground))
    return rows


def alternate(peer: Callable[[], None], ours: Callable[[], None], times: int) -> tuple[list[Cost], list[Cost]]:
    """Costs of both, in turn, after one warm-up of each."""
    peer()
    ours()
    costs: tuple[list[Cost], list[Cost]] = ([], [])
    for _ in range(times):
        for run, kept in zip((peer, ours), costs, strict=True):
            start, before = perf_counter(), _cpu()
            run()
            kept.append((_cpu() - before, perf_counter() - start))
    return costs


def _cpu() -> float:
    """Seconds of this process and of those that it started and that have ended."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(found.ru_utime + found.ru_stime for found in both)


class Ground:
    """A vector, its slots, and a key; every method does the whole vector once."""

    def __init__(self, parameters: Parameters, chunks: int) -> None:
        import tenseal

        self.library, self.parameters, self.weights = tenseal, parameters, chunks * parameters.weights_per_chunk
        draws = np.random.default_rng(SEED)
        self.keep: Keep = draws.integers(0, 2, self.weights, np.uint8).astype(bool)
        self.values: Values | None = None
        if parameters.bound:
            drawn = draws.integers(-parameters.bound, parameters.bound, self.weights, np.int32, endpoint=True)
            self.values = drawn * self.keep
        self.pair = bfv.generate(parameters)
        self.public = tenseal.context_from(self.pair.public, n_threads=1)
        self.secret = tenseal.context_from(bytes(self.pair.secret.view), n_threads=1)
        self.slots = list(self.packed())
        self.sent: list[bytes] = list(self.encrypted())

    def packed(self) -> Iterator[Slots]:
        """The slots of each chunk."""
        for piece in chunk_weights(self.parameters, self.weights):
            yield pack(self.parameters, self.keep[piece], None if self.values is None else self.values[piece])

    def keystream(self) -> Iterator[Slots]:
        """What is added to them."""
        for number in range(self.parameters.chunks(self.weights)):
            yield slot_keystream(_KEY, number, DEGREE, self.parameters.plain_modulus)

    def covered(self) -> Iterator[Slots]:
        """Slots as they are encrypted."""
        for slots, added in zip(self.packed(), self.keystream(), strict=True):
            yield (slots + added) % self.parameters.plain_modulus

    def encrypted(self) -> Iterator[bytes]:
        """The ciphertexts, our way."""
        return bfv.encrypt(self.parameters, self.pair.public, self.covered(), self.weights, _LIMITS)

    def encrypt(self) -> None:
        """Ours: from keep bits and values to ciphertexts."""
        _exhaust(self.encrypted())

    def peer_encrypt(self) -> None:
        """The library: from packed slots to ciphertexts."""
        for slots in self.slots:
            self.library.bfv_vector(self.public, slots.tolist()).serialize()

    def add(self) -> None:
        """Ours: from ciphertexts to those of their sum."""
        _exhaust(bfv.add(self.parameters, self.pair.public, [self.sent] * ADDED, self.weights, _LIMITS))

    def peer_add(self) -> None:
        """The library: the same."""
        for chunk in self.sent:
            total = self.library.bfv_vector_from(self.public, chunk)
            for _ in range(ADDED - 1):
                total.add_(self.library.bfv_vector_from(self.public, chunk))
            total.serialize()

    def decrypt(self) -> None:
        """Ours: from ciphertexts to checked counts and sums."""
        _exhaust(bfv.decrypt(self.parameters, self.pair.secret, self.sent, self.weights, 1, self.keystream(), _LIMITS))

    def peer_decrypt(self) -> None:
        """The library: from ciphertexts to lists of numbers."""
        for chunk in self.sent:
            self.library.bfv_vector_from(self.secret, chunk).decrypt()


def _exhaust(results: Iterator[object]) -> None:
    for _ in results:
        pass


def _row(what: str, target: str, theirs: Sequence[Cost], mine: Sequence[Cost], ground: Ground) -> Row:
    row = Row("P14", what, target, [one[0] / other[0] for one, other in zip(theirs, mine, strict=True)])
    size, chunks = sum(map(len, ground.sent)), len(ground.sent)
    row.figures = {
        "ms of CPU per chunk": f"{1e3 * median(cpu for cpu, _ in mine) / chunks:.2f}",
        "of the library": f"{1e3 * median(cpu for cpu, _ in theirs) / chunks:.2f}",
        "weights per second of CPU": f"{ground.weights / median(cpu for cpu, _ in mine):,.0f}",
        "ratio on the clock": f"{median(one[1] / other[1] for one, other in zip(theirs, mine, strict=True)):.2f}",
        "bytes per slot": f"{size / chunks / DEGREE:.2f}",
        "bytes per weight": f"{size / ground.weights:.2f}",
    }
    return row
