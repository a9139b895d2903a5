"""Trying again after a break: longer and longer pauses, no two clients in step, and an end."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.errors import ConnectionBroken, NotAdmitted, ProxyRefused, RunLocked, Throttled, Unreachable

T = TypeVar("T")
_PASSING = (ConnectionBroken, Unreachable, NotAdmitted, ProxyRefused, Throttled, RunLocked)
_REFUSED_TRIES = 3  # a full server drops connections too, so a refusal is believed when it was repeated


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a request is tried without getting any further, and the pauses between, in seconds."""

    tries: int = 8
    first: float = 0.5
    longest: float = 30.0

    async def persist(self, attempt: Callable[[], Awaitable[T]], moved: Callable[[], int] = lambda: 0) -> T:
        """Call `attempt` until it returns; after its last failure, raise that.

        moved: how far things have got, in bytes; whoever gets further has all tries again.
        """
        failures, mark = 0, moved()
        while True:
            try:
                return await attempt()
            except _PASSING as error:
                if moved() > mark:
                    failures, mark = 0, moved()
                failures += 1
                most = min(self.tries, _REFUSED_TRIES) if isinstance(error, NotAdmitted | ProxyRefused) else self.tries
                if failures >= most:
                    raise
                await asyncio.sleep(max(self._pause(failures), error.wait if isinstance(error, Throttled) else 0.0))

    def _pause(self, failures: int) -> float:
        share = int.from_bytes(random_bytes(2), "big") / 0xFFFF
        return min(self.longest, self.first * 2.0 ** (failures - 1)) * (0.5 + share / 2)
