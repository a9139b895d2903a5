"""Blocking calls in threads, so that an event loop with a hundred transfers goes on turning."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Disk:
    """A few threads.  What was begun in one is always waited for, also by a task that is being cancelled."""

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    def start(self, function: Callable[P, T], *values: P.args, **named: P.kwargs) -> asyncio.Future[T]:
        """Begin a call; its result comes with `settle`."""
        return asyncio.wrap_future(self._pool.submit(function, *values, **named))

    async def settle(self, call: Awaitable[T]) -> T:
        """The result of a call, or what it raised; never before it has ended."""
        future = asyncio.ensure_future(call)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                try:
                    await asyncio.wait([future])
                except asyncio.CancelledError:
                    continue
            if not future.cancelled():
                future.exception()  # looked at, so that nobody complains that it was not
            raise

    async def run(self, function: Callable[P, T], *values: P.args, **named: P.kwargs) -> T:
        """Call and wait."""
        return await self.settle(self.start(function, *values, **named))

    async def acquire(
        self, release: Callable[[T], object], function: Callable[P, T], *values: P.args, **named: P.kwargs
    ) -> T:
        """As `run`, for a result that `release` has to give back if the caller is cancelled meanwhile."""
        call = self.start(function, *values, **named)
        try:
            return await self.settle(call)
        except asyncio.CancelledError:
            if not call.cancelled() and call.exception() is None:
                release(call.result())
            raise

    def close(self) -> None:
        """Wait for what was begun, and end the threads."""
        self._pool.shutdown(wait=True)
