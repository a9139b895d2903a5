"""The client of a federation's HTTPS server: it asks, brings and fetches, and does not give up at the first break.

    async with Courier(Route("hub.lungs.example", 8443, hub), credentials, SOFTWARE, trust) as courier:
        await courier.push(digest, path, size)
        for listed in (await courier.listing(after=0, wait=50)).packages:
            await courier.pull(listed, arrival)

It talks to one server, whose certificate it has checked before it sends anything (SPEC section 19).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from fedspallm_secure.errors import ConnectionBroken, FormatError, ProtocolViolation
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.transport.depot import Arrival, Listed
from fedspallm_secure.transport.disk import Disk
from fedspallm_secure.transport.intake import Intake
from fedspallm_secure.transport.line import Line, Timeouts, read_bounded
from fedspallm_secure.transport.pacing import Bandwidth
from fedspallm_secure.transport.patience import Patience
from fedspallm_secure.transport.problems import Route
from fedspallm_secure.transport.sending import Sending, opened
from fedspallm_secure.transport.tls import Credentials
from fedspallm_secure.transport.wire import HELLO, PACKAGES, Hello, Listing

T = TypeVar("T")
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Manners:
    """How a courier behaves.  up, down: bytes per second of all transfers together, None for no limit."""

    timeouts: Timeouts = field(default_factory=Timeouts)
    patience: Patience = field(default_factory=Patience)
    up: float | None = None
    down: float | None = None


class Courier:
    """Moves packages to and from one server.  Made and used in one event loop.

    Every method raises TransportError for what is wrong with the way, TrustError where one end does not accept the
    other, and what the server refuses a request with.  A package has arrived when its receipt has, and not before.
    skew: seconds by which the server's clock is ahead of this one, after `hello`.
    """

    def __init__(
        self,
        route: Route,
        credentials: Credentials,
        software: str,
        trust: Callable[[], Trust],
        manners: Manners | None = None,
    ) -> None:
        """Raises UsageError for a proxy that is none."""
        manners = manners or Manners()
        self.skew = 0
        self._line = Line(route, credentials, software, trust, manners.timeouts)
        self._patience = manners.patience
        self._up, self._down = Bandwidth(manners.up), Bandwidth(manners.down)
        self._disk = Disk(4, "courier")

    async def __aenter__(self) -> "Courier":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def hang_up(self) -> None:
        """Drop all connections; what is under way fails, and can put its files away."""
        await self._line.close()

    async def close(self) -> None:
        """End, once nothing is under way any more."""
        await self._line.close()
        self._disk.close()

    async def hello(self) -> Hello:
        """What the server says about itself."""

        async def attempt() -> Hello:
            async with self._line.exchange("GET", HELLO) as response:
                return self._read(Hello.parse, await read_bounded(response))

        found = await self._patience.persist(attempt)
        self.skew = found.time - int(time.time())
        return found

    async def listing(self, after: int, wait: int = 0) -> Listing:
        """What waits here of numbers above `after`; if nothing does, the server waits for `wait` seconds."""
        query = {"after": str(after), "wait": str(wait)}

        async def attempt() -> Listing:
            async with self._line.exchange("GET", PACKAGES, query=query, wait=wait) as response:
                return self._read(lambda data: Listing.parse(data, after), await read_bounded(response))

        return await self._patience.persist(attempt)

    async def push(self, digest: str, path: Path, size: int, progress: Progress | None = None) -> None:
        """Bring a package to the server, from where an earlier try has got to.

        progress: is told how many bytes are over there, or on their way.
        Raises MissingInput for a file that does not have `size` bytes.
        """
        sending = Sending(self._line, self._disk, self._up, digest, size, progress or (lambda _: None))
        async with opened(self._disk, path, size) as file:
            await self._patience.persist(lambda: sending.attempt(file), lambda: sending.offset)

    async def pull(self, listed: Listed, arrival: Arrival, progress: Progress | None = None) -> None:
        """Fetch a package into `arrival`, from where that has got to; finishes and closes it.

        Raises what `Arrival.write` and `Arrival.finish` raise.
        """

        async def attempt() -> None:
            if arrival.offset < listed.size:
                await self._fetch(listed, arrival, progress or (lambda _: None))

        try:
            await self._patience.persist(attempt, lambda: arrival.offset)
            await self._disk.run(arrival.finish)
        finally:
            await self._disk.run(arrival.close)

    # Inside

    async def _fetch(self, listed: Listed, arrival: Arrival, progress: Progress) -> None:
        start = arrival.offset
        headers = {"Range": f"bytes={start}-"} if start else {}
        path, expected = f"{PACKAGES}/{listed.digest}", 206 if start else 200
        intake = Intake(arrival.write, self._disk)
        async with self._line.exchange("GET", path, headers=headers, accept=(expected,)) as response:
            if response.content_length != listed.size - start:
                raise ProtocolViolation(f"{self._line.route} sends another length than it listed")
            try:
                while data := await response.content.readany():
                    await intake.add(data)
                    start += len(data)
                    progress(start)
                    await self._down.spend(len(data))
            except BaseException:
                await intake.keep()
                raise
            await intake.finish()
        if start != listed.size:
            raise ConnectionBroken(f"{self._line.route} ended a transfer early")

    def _read(self, parse: Callable[[bytes], T], data: bytes) -> T:
        try:
            return parse(data)
        except FormatError as error:
            raise ProtocolViolation(
                f"{self._line.route} does not answer as a server of a federation: {error}"
            ) from None
