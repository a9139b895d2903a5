"""Bytes from the network to the disk: small pieces gathered, and written in a thread while the next ones come in."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Lock

from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.transport.disk import Disk
from fedspallm_secure.transport.wire import PIECE

_BATCH = PIECE // 4  # bytes that are worth a call
_MOST = 2 * PIECE  # bytes that may wait for the disk: all the memory of a transfer, however long it is


class Intake:
    """Writes what it is given, in order, by one call in a thread that goes on as long as there is something to write.

    On a busy machine a thread may wait for its turn longer than a mebibyte needs to arrive; reading goes on meanwhile.
    """

    def __init__(self, write: Callable[[bytes], None], disk: Disk) -> None:
        """write: called in a thread, one call at a time."""
        self._write, self._disk = write, disk
        self._gathered: list[bytes] = []
        self._size = 0
        self._lock = Lock()
        self._batches: deque[bytes] = deque()
        self._waiting = 0
        self._writing = False
        self._call: asyncio.Future[None] | None = None

    async def add(self, data: bytes) -> None:
        """Take some bytes.  Raises what `write` raised of earlier ones."""
        self._gathered.append(data)
        self._size += len(data)
        if self._size >= _BATCH:
            self._hand_over()
            if self._waiting > _MOST or (self._call is not None and self._call.done()):
                await self._settle()

    async def finish(self) -> None:
        """Write what is left, and wait.  Raises what `write` raises."""
        if self._gathered:
            self._hand_over()
        await self._settle()

    async def keep(self) -> None:
        """As `finish`, after an error that is more telling than what `write` may raise now."""
        with suppress(FedSpaError):
            await self.finish()

    def _hand_over(self) -> None:
        batch = self._gathered[0] if len(self._gathered) == 1 else b"".join(self._gathered)
        self._gathered, self._size = [], 0
        with self._lock:
            self._batches.append(batch)
            self._waiting += len(batch)
            if self._writing:
                return
            self._writing = True
        self._call = self._disk.start(self._write_all)

    async def _settle(self) -> None:
        if self._call is not None:
            await self._disk.settle(self._call)

    def _write_all(self) -> None:
        """In a thread.  After an error nothing more is written: what was refused has no continuation."""
        while True:
            with self._lock:
                if not self._batches:
                    self._writing = False
                    return
                batch = self._batches.popleft()
                self._waiting -= len(batch)
            self._write(batch)
