"""The network side of a service: an event loop in a thread of its own, beside the thread that runs the station.

The two share a spool, and nothing else.  `wake` tells the station that something has arrived; `notify` tells the
network that something may leave.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from threading import Event, Thread
from typing import Any

from fedspallm_secure import SOFTWARE
from fedspallm_secure.app.service.live import Live
from fedspallm_secure.app.service.refused import Refused, tell_rosters
from fedspallm_secure.app.service.shelf import Shelf
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.errors import FedSpaError, PackageRefused, TransportError, TrustError, WrongRoster
from fedspallm_secure.transport.client import Courier, Manners
from fedspallm_secure.transport.depot import Listed
from fedspallm_secure.transport.guards import Limits
from fedspallm_secure.transport.line import Timeouts
from fedspallm_secure.transport.patience import Patience
from fedspallm_secure.transport.problems import Route
from fedspallm_secure.transport.server import Server
from fedspallm_secure.transport.tls import Credentials
from fedspallm_secure.transport.wire import Hello

_log = logging.getLogger(__name__)
_POLL, _LONG_POLL = 1.0, 25  # seconds: between looks at the outbox, and at least between empty listings; of a listing
_PAUSE, _LONGEST = 5.0, 60.0  # seconds after trouble; twice as long each time, up to the longest
_FAREWELL = 0.05  # seconds in which closed connections are forgotten
_GRACE = 10.0  # seconds for requests that are under way when a server stops
_SHORT = Timeouts(connect=10.0, answer=10.0)  # of the first word to a server, for those who end soon


class Network:
    """A thread with an event loop.  Subclasses say what runs in it.  wake: called when something has happened."""

    def __init__(self) -> None:
        self.wake: Callable[[], None] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._ready = Event()
        self._failure: BaseException | None = None
        self._thread = Thread(target=self._run, name="network", daemon=True)

    def start(self) -> None:
        """Begin.  Raises what beginning raises."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def check(self) -> None:
        """Raise what has ended the network: a service without one would wait in silence for ever."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End, and wait for the end."""
        if self._loop is not None and self._stopping is not None:
            with suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread.ident is not None:  # it was started
            self._thread.join(2 * _GRACE)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()
            self.wake()

    async def _main(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        await self.work(self._stopping, self._ready.set)

    async def work(self, stopping: asyncio.Event, ready: Callable[[], None]) -> None:
        """Everything that happens in the loop, until `stopping` is set."""
        raise NotImplementedError

    def _soon(self, call: Callable[[], object]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call)


class Listening(Network):
    """The server's side.  bound: the addresses that it listens at."""

    def __init__(
        self, post: Post, credentials: Credentials, addresses: Sequence[tuple[str, int]], limits: Limits, live: Live
    ) -> None:
        super().__init__()
        self.bound: list[Any] = []
        self._addresses = addresses
        shelf = Shelf(post.spool, live, post.why_awaited)
        self._make: Callable[[], Server] = lambda: Server(
            shelf, credentials, SOFTWARE, lambda: post.home.trust, shelf.last_sequence, limits
        )
        self._server: Server | None = None

    def notify(self) -> None:
        """Something may leave."""
        if self._server is not None:
            self._server.notify()

    async def work(self, stopping: asyncio.Event, ready: Callable[[], None]) -> None:
        """Serve."""
        self._server = self._make()
        self.bound = list(await self._server.start(list(self._addresses)))
        ready()
        await stopping.wait()
        await self._server.stop(_GRACE)


class Visiting(Network):
    """A member's side: it brings what lies in the outbox and fetches what waits at the server.

    hello: what the server said when it was reached first; waiting: why it waits for this party, as it said last.  once:
    do not wait long for a server that is not reached at first.
    """

    def __init__(
        self, post: Post, credentials: Credentials, route: Route, manners: Manners, live: Live, once: bool = False
    ) -> None:
        super().__init__()
        self.hello: Hello | None = None
        self.waiting, self.refused = "", Refused()
        self._once = once
        self._post, self._spool, self._server = post, post.spool, route.server
        self._live = live
        self._heard = partial(live.contact, str(route.server))  # it has said something, if only that it refuses
        self._troubles: dict[str, FedSpaError] = {}  # by what cannot be done
        self._after = 0
        self._roster = post.home.trust.roster.hash  # under which packages are fetched
        self._looked = False
        self._wanted, self._brought = 1, 0  # looks at the outbox that were asked for, and the last one that ended
        self._bell: asyncio.Event | None = None
        self._make: Callable[..., Courier] = lambda how=manners: Courier(
            route, credentials, SOFTWARE, lambda: post.home.trust, how
        )
        self._manners = manners

    @property
    def trouble(self) -> FedSpaError | None:
        """Why the server cannot be reached, or does not take or give something now."""
        return next(iter(self._troubles.values()), None)

    @property
    def idle(self) -> bool:
        """Whether everything was brought, and nothing waited at the server at the last look."""
        return self._looked and self._brought == self._wanted

    def notify(self) -> None:
        """Something may leave."""
        self._wanted += 1
        self._soon(lambda: self._bell.set() if self._bell else None)

    async def work(self, stopping: asyncio.Event, ready: Callable[[], None]) -> None:
        """Bring and fetch."""
        self._bell = asyncio.Event()
        if self._once:
            ready()
            async with self._make(replace(self._manners, timeouts=_SHORT, patience=Patience(1))) as courier:
                await self._insist(stopping, "greet", lambda: self._greet(courier))
        async with self._make() as courier:
            ready()
            if self.hello is None:
                await self._insist(stopping, "greet", lambda: self._greet(courier))
            tasks = [
                asyncio.create_task(stopping.wait()),
                asyncio.create_task(self._forever(stopping, "bring", lambda: self._bring(courier))),
                asyncio.create_task(self._forever(stopping, "fetch", lambda: self._fetch(courier))),
            ]
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await courier.hang_up()  # before the tasks end: what is cut off now is not waited for
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(_FAREWELL)
        for task in ended:
            task.result()  # raises what should not have happened

    async def _greet(self, courier: Courier) -> None:
        hello = await courier.hello()
        self._heard()
        trust = self._post.home.trust
        if hello.roster_hash != trust.roster.hash:
            tell_rosters(hello.roster_version, trust.roster.version)
        if abs(courier.skew) > 60:
            _log.warning("the clock of the server differs from this one by %d seconds", courier.skew)
        self.hello = hello
        self.wake()

    async def _bring(self, courier: Courier) -> None:
        """Everything in the outbox that has not left yet."""
        wanted = self._wanted
        for listed in self._spool.unsent(self._server):
            show = self._shower("up", listed.type, listed.round, listed.group, listed.digest, listed.size)
            try:
                await courier.push(listed.digest, self._spool.inside("out", listed.digest), listed.size, show)
            except PackageRefused as error:  # whatever may pass by itself is tried again
                self.refused.tell(f"the server refused the {listed.type}", error)
            finally:
                self._live.done(listed.digest)
            self._heard()
            self._spool.departed(self._server, listed.digest)
        self._succeed("bring")
        self._brought = wanted
        if self._bell is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._bell.wait(), _POLL)
            self._bell.clear()

    async def _fetch(self, courier: Courier) -> None:
        """Everything that waits at the server; if nothing does, wait there for a while."""
        if self._roster != (roster := self._post.home.trust.roster.hash):  # what was refused may be good by now
            self._roster, self._after, self._looked, self.refused = roster, 0, False, Refused()
        began, wait = time.monotonic(), _LONG_POLL if self._looked else 0
        listing = await courier.listing(self._after, wait)
        self._heard()
        self.waiting = listing.waiting
        for digest in listing.again:
            if self._spool.undeparted(self._server, digest):
                self.notify()
        self._looked = not listing.packages  # before they are fetched: meanwhile nobody may think that nothing waits
        for listed in listing.packages:
            await self._take(courier, listed)
            self._after = listed.number
        self._succeed("fetch")
        if self._looked and wait:  # a server that does not wait, for whatever reason, is not asked all the time
            await asyncio.sleep(_POLL - (time.monotonic() - began))

    async def _take(self, courier: Courier, listed: Listed) -> None:
        try:
            arrival = self._spool.arrival(self._server, listed.digest, listed.size)
        except PackageRefused:
            return  # it was refused before, and is the same now
        if arrival is None:
            return
        show = self._shower("down", listed.type, listed.round, listed.group, listed.digest, listed.size)
        try:
            await courier.pull(listed, arrival, show)
            self._heard()
        except PackageRefused as error:
            self.refused.tell(f"a package of type {listed.type} was refused", error)
            if isinstance(error, WrongRoster):
                self.refused.behind = error
        finally:
            self._live.done(listed.digest)
        self.wake()

    def _shower(
        self, direction: str, type: str, round: int, group: str, digest: str, size: int
    ) -> Callable[[int], None]:
        peer = str(self._server)
        return lambda done: self._live.transfer(digest, direction, peer, type, round, group, done, size)

    async def _forever(self, stopping: asyncio.Event, what: str, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while not stopping.is_set():
            await self._insist(stopping, what, act)

    async def _insist(self, stopping: asyncio.Event, what: str, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do it, however often the network or the server fails.  Whatever else goes wrong is a defect, and raised."""
        pause = _PAUSE
        while not stopping.is_set():
            try:
                await act()
            except FedSpaError as error:
                self._fail(what, error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), pause)
                pause = min(_LONGEST, 2 * pause)
            else:
                self._succeed(what)
                return

    def _fail(self, what: str, error: FedSpaError) -> None:
        ends = self._once and self.hello is None  # then it is told as the reason
        if not ends and str(self._troubles.get(what)) != str(error):
            again = "; it is tried again" if not isinstance(error, TransportError | TrustError) else ""
            _log.warning("%s%s", error, again, extra={"code": error.exit_code, "hint": error.hint})
        self._troubles[what] = error
        self._live.trouble(str(error), error.exit_code)
        self.wake()

    def _succeed(self, what: str) -> None:
        gone = self._troubles.pop(what, None)
        if gone is not None and self.trouble is None:
            reached = isinstance(gone, TransportError | TrustError)
            _log.info("the server is reached again" if reached else "the server takes and gives packages again")
            self._live.trouble("")
