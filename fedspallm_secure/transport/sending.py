"""Bringing one package to the server: begin, send, and after a break ask where to go on."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from fedspallm_secure.errors import FormatError, MissingInput, ProtocolViolation
from fedspallm_secure.transport.disk import Disk
from fedspallm_secure.transport.line import Line
from fedspallm_secure.transport.pacing import Bandwidth
from fedspallm_secure.transport.wire import PACKAGES, PIECE, UPLOAD_LENGTH, UPLOAD_OFFSET, read_number

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CORRECTIONS = 3  # times that a server may name another offset before that is not believed any more


class Sending:
    """A package on its way out.  offset: bytes that the server says it has."""

    def __init__(
        self, line: Line, disk: Disk, bandwidth: Bandwidth, digest: str, size: int, progress: Callable[[int], None]
    ) -> None:
        self.offset = 0
        self._line, self._disk, self._bandwidth = line, disk, bandwidth
        self._path, self._size, self._progress = f"{PACKAGES}/{digest}", size, progress
        self._begun = False

    async def attempt(self, file: int) -> None:
        """Send what is missing of the open file.  Raises what `Line.exchange` raises; then the next call goes on."""
        self.offset = await self._ask()
        corrections = 0
        while self.offset < self._size:
            self._progress(self.offset)
            before = self.offset
            if not await self._send(file):
                corrections += 1
            if corrections > _CORRECTIONS or (self.offset <= before and not corrections):
                raise ProtocolViolation(f"{self._line.route} keeps on naming other offsets")
        self._progress(self._size)

    async def _ask(self) -> int:
        """Where to go on.  HEAD has no words for a refusal, so whatever it is not answered well is asked with PUT."""
        headers = {UPLOAD_LENGTH: str(self._size)}
        if self._begun:
            async with self._line.exchange("HEAD", self._path, headers=headers, accept=_ANY) as response:
                if response.status == 200:
                    return self._offset(response)
        async with self._line.exchange("PUT", self._path, headers=headers, accept=(200, 201, 204)) as response:
            self._begun = True
            return self._offset(response)

    async def _send(self, file: int) -> bool:
        """Send the rest; False if the server wants it from another offset."""
        headers = {
            UPLOAD_LENGTH: str(self._size),
            UPLOAD_OFFSET: str(self.offset),
            "Content-Length": str(self._size - self.offset),
            "Content-Type": "application/octet-stream",
        }
        body = self._pieces(file, self.offset)
        async with self._line.exchange("PATCH", self._path, headers=headers, body=body, accept=(204, 409)) as response:
            self.offset = self._offset(response)
            return response.status == 204

    async def _pieces(self, file: int, start: int) -> AsyncIterator[bytes]:
        """The file from `start` on; the next piece is read while one is sent."""
        piece = self._bandwidth.piece(PIECE // 4)
        reading = self._disk.start(os.pread, file, piece, start)
        try:
            while start < self._size:
                data = (await self._disk.settle(reading))[: self._size - start]
                if not data:
                    raise MissingInput(f"the package ends after {start} of {self._size} bytes")
                start += len(data)
                if start < self._size:
                    reading = self._disk.start(os.pread, file, piece, start)
                await self._bandwidth.spend(len(data))
                yield data
                self._progress(start)
        finally:
            if not reading.done():  # the file is closed next
                await self._disk.settle(reading)

    def _offset(self, response: aiohttp.ClientResponse) -> int:
        try:
            offset = read_number(response.headers.get(UPLOAD_OFFSET), UPLOAD_OFFSET)
        except FormatError as error:
            raise ProtocolViolation(f"{self._line.route}: {error}") from None
        if offset > self._size:
            raise ProtocolViolation(f"{self._line.route} says that it has {offset} of {self._size} bytes")
        return offset


@asynccontextmanager
async def opened(disk: Disk, path: Path, size: int) -> AsyncIterator[int]:
    """A descriptor of the file, which has to have `size` bytes.  Raises MissingInput."""
    try:
        file = await disk.acquire(os.close, os.open, path, _FLAGS)
    except OSError as error:
        raise MissingInput(f"cannot read {path}: {error.strerror or error}") from error
    try:
        if (found := os.fstat(file).st_size) != size:
            raise MissingInput(f"{path} has {found} bytes, not {size}")
        yield file
    finally:
        await disk.run(os.close, file)


_ANY = tuple(range(200, 600))
