"""How fast things may go, and how slow: bandwidth, request rates, and the least speed of a transfer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic

from fedspallm_secure.errors import ConnectionBroken

_SMALLEST_PIECE = 1 << 14  # bytes
_CREDIT = 0.25  # seconds for which unused bandwidth is kept


class Bucket:
    """Tokens that come back at a steady rate.  rate: per second; most: how many are kept."""

    def __init__(self, rate: float, most: float, clock: Callable[[], float] = monotonic) -> None:
        self._rate, self._most, self._clock = rate, most, clock
        self._level, self._at = most, clock()

    def take(self, count: float = 1.0) -> float:
        """Take `count` tokens if they are there: 0.0.  Otherwise nothing is taken: seconds until they will be."""
        self._refill()
        if self._level >= count:
            self._level -= count
            return 0.0
        return (count - self._level) / self._rate

    def owe(self, count: float) -> float:
        """Take `count` tokens in any case; seconds until the debt is paid, 0.0 if there is none."""
        self._refill()
        self._level -= count
        return max(0.0, -self._level / self._rate)

    def _refill(self) -> None:
        now = self._clock()
        self._level = min(self._most, self._level + (now - self._at) * self._rate)
        self._at = now


class Bandwidth:
    """A limit that transfers share.  rate: bytes per second, None for no limit."""

    def __init__(self, rate: float | None) -> None:
        self._bucket = Bucket(rate, rate * _CREDIT) if rate else None
        self._rate = rate

    def piece(self, most: int) -> int:
        """Bytes to move at once, at most `most`: small enough that a slow line moves several times in a second."""
        return most if self._rate is None else max(min(most, int(self._rate * _CREDIT)), _SMALLEST_PIECE)

    async def spend(self, count: int) -> None:
        """Account for `count` bytes, and sleep as long as that takes."""
        if self._bucket is not None and (seconds := self._bucket.owe(count)) > 0.0:
            await asyncio.sleep(seconds)


class Pace:
    """The least speed of one transfer: who moves nothing for `window` seconds is cut off, and so is, later, a trickle.

    The other end has a credit of `window` seconds; time uses it up, and `rate` bytes earn one second back.  Time in
    which it waits for this end does not count.
    """

    def __init__(self, rate: float, window: float) -> None:
        self._rate, self._window = rate, window
        self._deadline = 0.0
        self._timeout = asyncio.timeout(None)

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        """The transfer.  Raises ConnectionBroken out of it when the other end is too slow."""
        self._deadline = asyncio.get_running_loop().time() + self._window
        try:
            async with self._timeout:
                self._timeout.reschedule(self._deadline)
                yield
        except TimeoutError:
            if not self._timeout.expired():
                raise
            raise ConnectionBroken(
                f"less than {self._rate:.0f} bytes per second came through over {self._window:g} seconds"
            ) from None

    def moved(self, count: int) -> None:
        """So many bytes went over the wire."""
        now = asyncio.get_running_loop().time()
        self._deadline = min(now + self._window, self._deadline + count / self._rate)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """A time in which the other end waits for this one."""
        loop = asyncio.get_running_loop()
        self._timeout.reschedule(None)
        start = loop.time()
        yield
        self._deadline += loop.time() - start
        self._timeout.reschedule(self._deadline)
