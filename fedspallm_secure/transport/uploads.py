"""Taking packages in: begun with PUT, continued with PATCH where HEAD says, finished when all of it is there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import FormatError, LimitExceeded, ProtocolViolation
from fedspallm_secure.transport.answers import encode_refusal
from fedspallm_secure.transport.depot import Arrival, Depot
from fedspallm_secure.transport.disk import Disk
from fedspallm_secure.transport.guards import Allowances, Limits
from fedspallm_secure.transport.intake import Intake
from fedspallm_secure.transport.pacing import Bandwidth, Pace
from fedspallm_secure.transport.wire import UPLOAD_LENGTH, UPLOAD_OFFSET, read_number


class Uploads:
    """What a server does with PUT, HEAD and PATCH.  peer: whom TLS has authenticated."""

    def __init__(self, depot: Depot, limits: Limits, allowances: Allowances, bandwidth: Bandwidth) -> None:
        self._depot, self._limits = depot, limits
        self._allowances, self._bandwidth = allowances, bandwidth
        self._disk = Disk(8, "arriving")
        self._underway: dict[tuple[Party, str], tuple[web.BaseRequest, asyncio.Event]] = {}

    async def create(self, peer: Party, digest: str, request: web.BaseRequest) -> web.StreamResponse:
        """PUT: 201 if nothing is there yet, 200 with the offset if it was begun, 204 if the whole of it is here."""
        _check_body(request, 0)
        size, offset = await self._look(peer, digest, request)
        return _answer({0: 201, size: 204}.get(offset, 200), size, offset)

    async def status(self, peer: Party, digest: str, request: web.BaseRequest) -> web.StreamResponse:
        """HEAD: where to continue; the offset equals the length if the whole of it is here."""
        size, offset = await self._look(peer, digest, request)
        response = _answer(200, size, offset)
        response.headers["Content-Length"] = "0"  # otherwise the connection would not be used again
        return response

    async def append(self, peer: Party, digest: str, request: web.BaseRequest) -> web.StreamResponse:
        """PATCH: 204 with the new offset, 409 with the right one where the given one is not it.

        Raises LimitExceeded for more than was announced, ConnectionBroken for a transfer that is too slow, and what
        the depot raises.
        """
        size = read_number(request.headers.get(UPLOAD_LENGTH), UPLOAD_LENGTH)
        start = read_number(request.headers.get(UPLOAD_OFFSET), UPLOAD_OFFSET)
        _check_body(request, None)
        async with self._alone(peer, digest, request):
            with self._allowances.transfer(peer):
                arrival = await self._disk.acquire(_close, self._depot.arrival, peer, digest, size)
                if arrival is None:
                    return _answer(204, size, size)
                try:
                    return await self._append(request, arrival, start)
                finally:
                    await self._disk.run(arrival.close)

    def close(self) -> None:
        """End the threads, when no request is under way."""
        self._disk.close()

    async def _append(self, request: web.BaseRequest, arrival: Arrival, start: int) -> web.StreamResponse:
        if arrival.offset != start:
            _, body, _ = encode_refusal(ProtocolViolation(f"{arrival.offset} bytes are here, not {start}"))
            headers = {UPLOAD_OFFSET: str(arrival.offset), UPLOAD_LENGTH: str(arrival.size)}
            return web.Response(status=409, body=body, content_type="application/json", headers=headers)
        if (request.content_length or 0) > arrival.size - start:
            raise LimitExceeded(f"{request.content_length} bytes are to follow byte {start} of {arrival.size}")
        await self._receive(request, arrival)
        if arrival.offset == arrival.size:
            await self._disk.run(arrival.finish)
        return _answer(204, arrival.size, arrival.offset)

    async def _receive(self, request: web.BaseRequest, arrival: Arrival) -> None:
        pace = Pace(self._limits.rate, self._limits.window)
        intake = Intake(arrival.write, self._disk)
        try:
            async with pace():
                while data := await request.content.readany():
                    pace.moved(len(data))
                    with pace.holding():
                        await intake.add(data)
                        await self._bandwidth.spend(len(data))
        except BaseException:
            await intake.keep()  # the next request continues from here
            raise
        await intake.finish()

    async def _look(self, peer: Party, digest: str, request: web.BaseRequest) -> tuple[int, int]:
        """Length and offset."""
        size = read_number(request.headers.get(UPLOAD_LENGTH), UPLOAD_LENGTH)
        async with self._alone(peer, digest, request):
            arrival = await self._disk.acquire(_close, self._depot.arrival, peer, digest, size)
            if arrival is None:
                return size, size
            await self._disk.run(arrival.close)
            return size, arrival.offset

    @asynccontextmanager
    async def _alone(self, peer: Party, digest: str, request: web.BaseRequest) -> AsyncIterator[None]:
        """End what the same party has under way for the same package: it has come back because that broke."""
        key = (peer, digest)
        while (found := self._underway.get(key)) is not None:
            earlier, ended = found
            if earlier.transport is not None:
                earlier.transport.abort()
            await ended.wait()
        mine = asyncio.Event()
        self._underway[key] = (request, mine)
        try:
            yield
        finally:
            del self._underway[key]
            mine.set()


def _close(arrival: Arrival | None) -> None:
    if arrival is not None:
        arrival.close()


def _answer(status: int, size: int, offset: int) -> web.Response:
    return web.Response(status=status, headers={UPLOAD_LENGTH: str(size), UPLOAD_OFFSET: str(offset)})


def _check_body(request: web.BaseRequest, most: int | None) -> None:
    """Bodies come as they are, and with their length."""
    if "Content-Encoding" in request.headers or "Transfer-Encoding" in request.headers:
        raise FormatError("a body is sent as it is, with its length", hint="update the program at the other end")
    if most is None and request.content_length is None:
        raise FormatError("the length of the body is missing", hint="update the program at the other end")
    if most is not None and (request.content_length or 0) > most:
        raise FormatError("a body where none belongs", hint="update the program at the other end")
