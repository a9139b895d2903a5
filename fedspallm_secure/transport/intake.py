"""Bytes from the network to the disk: small pieces gathered, and written in a thread while the next ones come in."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.transport.disk import Disk
from fedspallm_secure.transport.wire import PIECE


class Intake:
    """Two buffers: one fills, the other is being written.  No more memory than that, however long the transfer."""

    def __init__(self, write: Callable[[memoryview], None], disk: Disk, expected: int) -> None:
        """write: called in a thread, one call at a time; expected: bytes to come, at most."""
        self._write, self._disk = write, disk
        self._size = max(1, min(PIECE, expected))
        self._filling = memoryview(bytearray(self._size))
        self._spare: memoryview | None = None
        self._filled = 0
        self._writing: asyncio.Future[None] | None = None

    async def add(self, data: bytes) -> None:
        """Take some bytes.  Raises what `write` raised of earlier ones."""
        view = memoryview(data)
        while view:
            count = min(len(view), self._size - self._filled)
            self._filling[self._filled : self._filled + count] = view[:count]
            self._filled += count
            view = view[count:]
            if self._filled == self._size:
                await self._hand_over()

    async def finish(self) -> None:
        """Write what is left, and wait.  Raises what `write` raises."""
        if self._filled:
            await self._hand_over()
        await self._settle()

    async def keep(self) -> None:
        """As `finish`, after an error that is more telling than what `write` may raise now."""
        with suppress(FedSpaError):
            await self.finish()

    async def _hand_over(self) -> None:
        await self._settle()
        full, self._filling = self._filling, self._spare or memoryview(bytearray(self._size))
        self._spare, count, self._filled = full, self._filled, 0
        self._writing = self._disk.start(self._write, full[:count])

    async def _settle(self) -> None:
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            await self._disk.settle(writing)
        except FedSpaError:
            self._filled = 0  # what was refused has no continuation
            raise
