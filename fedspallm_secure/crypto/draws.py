"""Public, reproducible draws: random choices that every party recomputes from a published seed.

For choices that must be *checkable* (which member prunes which layer, which windows calibrate), never
for secrets.  The stream is SHAKE-256 over a length-prefixed (seed, purpose), so two purposes never
share numbers and the result is the same on every platform and Python version.
"""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_WORD = 8  # bytes per draw; rejection keeps the result exactly uniform
_BLOCK = 4096  # bytes of stream squeezed at a time


class PublicDraws:
    """A stream of uniform integers fixed by (`seed`, `purpose`).

    seed: any bytes, published in the plan; purpose: what the numbers are for.
    """

    def __init__(self, seed: bytes, purpose: str) -> None:
        label = purpose.encode()
        self._key = len(seed).to_bytes(4, "big") + seed + len(label).to_bytes(4, "big") + label
        self._block = 0
        self._buffer = b""

    def below(self, bound: int) -> int:
        """Return a uniform integer in [0, bound).  Raises ValueError unless 0 < bound <= 2**64."""
        if not 0 < bound <= 1 << 64:
            raise ValueError(f"bound must lie in 1..2**64, got {bound}")
        limit = (1 << 64) - (1 << 64) % bound
        while True:
            word = int.from_bytes(self._take(_WORD), "big")
            if word < limit:
                return word % bound

    def permutation(self, items: Sequence[T]) -> list[T]:
        """Return `items` in a uniformly drawn order (Fisher-Yates)."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order

    def _take(self, size: int) -> bytes:
        if len(self._buffer) < size:
            block = self._block.to_bytes(8, "big")
            self._buffer += hashlib.shake_256(self._key + block).digest(_BLOCK)
            self._block += 1
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


def seed_bytes(number: int) -> bytes:
    """Turn a human-sized seed such as 0 into the 32 bytes that plans carry."""
    return hashlib.sha256(b"fedspallm-secure/v1/seed\0" + str(number).encode()).digest()
