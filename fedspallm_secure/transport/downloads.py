"""Handing packages out: what waits for a party, as soon as there is something, and the files from where it likes."""

import asyncio
import os
from pathlib import Path

from aiohttp import web

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import ConnectionBroken, FormatError, MissingInput, StorageError
from fedspallm_secure.transport.depot import Depot
from fedspallm_secure.transport.disk import Disk
from fedspallm_secure.transport.guards import Allowances, Limits
from fedspallm_secure.transport.pacing import Bandwidth, Pace
from fedspallm_secure.transport.wire import PIECE, Listing, read_number, read_range

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Bell:
    """Wakes whoever waits."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake everybody who has taken `next` before."""
        self._event.set()
        self._event = asyncio.Event()

    def next(self) -> asyncio.Event:
        """What the next ring sets."""
        return self._event


class Downloads:
    """What a server does with GET.  peer: whom TLS has authenticated."""

    def __init__(self, depot: Depot, limits: Limits, allowances: Allowances, bandwidth: Bandwidth, bell: Bell) -> None:
        self._depot, self._limits = depot, limits
        self._allowances, self._bandwidth, self._bell = allowances, bandwidth, bell
        self._stopping = False
        self._disk = Disk(8, "departing")
        self._looking = Disk(2, "listing")

    async def listing(self, peer: Party, request: web.BaseRequest) -> web.StreamResponse:
        """What waits for `peer` after a number, at once or when something comes; empty when the time is over."""
        query = request.rel_url.query
        after, wait = read_number(query.get("after", "0"), "after"), read_number(query.get("wait", "0"), "wait")
        deadline = asyncio.get_running_loop().time() + min(wait, self._limits.wait)
        while True:
            bell = self._bell.next()  # taken before looking, so that nothing slips in between
            found = await self._looking.run(self._look, peer, after)
            left = deadline - asyncio.get_running_loop().time()
            if found.packages or found.again or left <= 0 or self._stopping:
                return web.Response(body=found.encode(), content_type="application/json")
            try:
                async with asyncio.timeout(left):
                    await bell.wait()
            except TimeoutError:
                continue

    def stop_waiting(self) -> None:
        """From now on nobody waits."""
        self._stopping = True
        self._bell.ring()

    async def send(self, peer: Party, digest: str, request: web.BaseRequest) -> web.StreamResponse:
        """The file of a package, from the start of a range if one is asked for.

        Raises MissingInput for a package that does not wait for `peer`, FormatError for another range, Throttled.
        """
        with self._allowances.transfer(peer):
            path = await self._disk.run(self._depot.departure, peer, digest)
            if path is None:
                raise MissingInput("this package does not wait for you", hint="ask for the listing again")
            start = read_range(request.headers.get("Range"))
            descriptor, size = await self._disk.acquire(lambda opened: os.close(opened[0]), _open, path)
            try:
                if start and start >= size:
                    raise FormatError(f"the package has {size} bytes", hint="ask for the listing again")
                response = _response(start, size)
                await response.prepare(request)
                await self._send(response, descriptor, start, size)
                await self._disk.run(self._depot.departed, peer, digest)
                await response.write_eof()
            except (ConnectionBroken, StorageError) as error:
                raise ConnectionResetError("a file was begun, so there is no place for a refusal") from error
            finally:
                await self._disk.run(os.close, descriptor)
            return response

    def close(self) -> None:
        """End the threads, when no request is under way."""
        self._disk.close()
        self._looking.close()

    async def _send(self, response: web.StreamResponse, descriptor: int, start: int, size: int) -> None:
        """Write from `start` to the end; the next piece is read while one is written."""
        pace = Pace(self._limits.rate, self._limits.window)
        piece = self._bandwidth.piece(PIECE // 4)
        reading = self._disk.start(os.pread, descriptor, piece, start)
        try:
            async with pace():
                while start < size:
                    with pace.holding():
                        data = (await self._disk.settle(reading))[: size - start]
                        if not data:
                            raise StorageError("a package ends before its length")
                        start += len(data)
                        if start < size:
                            reading = self._disk.start(os.pread, descriptor, piece, start)
                        await self._bandwidth.spend(len(data))
                    await response.write(data)
                    pace.moved(len(data))
        finally:
            if not reading.done():  # the descriptor is closed next
                await self._disk.settle(reading)

    def _look(self, peer: Party, after: int) -> Listing:
        waits = self._depot.listing(peer, after, self._limits.listed)
        return Listing(waits, self._depot.again(peer), self._depot.why_awaited(peer))


def _response(start: int, size: int) -> web.StreamResponse:
    response = web.StreamResponse(status=206 if start else 200)
    response.content_length = size - start
    response.content_type = "application/octet-stream"
    if start:
        response.headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
    return response


def _open(path: Path) -> tuple[int, int]:
    """Descriptor and size."""
    try:
        descriptor = os.open(path, _FLAGS)
        return descriptor, os.fstat(descriptor).st_size
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
