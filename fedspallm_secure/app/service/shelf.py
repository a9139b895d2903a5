"""A spool as the server's transport sees it, with what moves told to whoever watches."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Final

from fedspallm_secure.app.service.live import Live
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.storage.arrivals import FileArrival
from fedspallm_secure.storage.spool import Spool
from fedspallm_secure.transport.depot import Listed

AGAIN: Final = 60.0  # seconds for which a party that was asked for something once more is not asked again


class Shelf:
    """A spool as `transport.depot.Depot`."""

    def __init__(self, spool: Spool, live: Live, why_awaited: Callable[[Party], str]) -> None:
        """why_awaited: why the server waits for somebody."""
        self._spool, self._live = spool, live
        self.why_awaited = why_awaited
        self._asked: dict[tuple[Party, str], float] = {}  # when
        self._lock = Lock()

    def again(self, peer: Party) -> Sequence[str]:
        """What `peer` should send once more, now and then: it may have it no longer; listings wait meanwhile."""
        now = time.monotonic()
        self._live.contact(str(peer))
        with self._lock:
            self._asked = {key: at for key, at in self._asked.items() if now - at < AGAIN}
            found = [digest for digest in self._spool.again(peer) if (peer, digest) not in self._asked]
            self._asked.update({(peer, digest): now for digest in found})
        return found

    def arrival(self, peer: Party, digest: str, size: int) -> "ShownArrival | None":
        """A package on its way in, shown while it arrives."""
        self._live.contact(str(peer))
        found = self._spool.arrival(peer, digest, size)
        return None if found is None else ShownArrival(found, self._live, peer, digest)

    def listing(self, peer: Party, after: int, most: int) -> Sequence[Listed]:
        """What waits for `peer`."""
        found = self._spool.listing(peer, after, most)
        return [Listed(one.number, one.digest, one.size, one.type, one.round, one.group) for one in found]

    def last_sequence(self, peer: Party) -> int:
        """The highest sequence number that was taken in from `peer`, which asks for it when it comes."""
        self._live.contact(str(peer))
        return self._spool.last_sequence(peer)

    def departure(self, peer: Party, digest: str) -> Path | None:
        """The file of a package that waits for `peer`."""
        return self._spool.departure(peer, digest)

    def departed(self, peer: Party, digest: str) -> None:
        """The whole file was handed to `peer`; how fast, nobody watches here."""
        file, key = self._spool.departure(peer, digest), f"{digest} for {peer}"
        self._spool.departed(peer, digest)
        size = 0 if file is None else file.stat().st_size
        for done in (0, size):
            self._live.transfer(key, "down", str(peer), "package", 0, "*", done, size)
        self._live.done(key)


class ShownArrival:
    """An arrival whose progress is told.  size, offset: bytes."""

    def __init__(self, arrival: FileArrival, live: Live, peer: Party, digest: str) -> None:
        self.size, self.offset = arrival.size, arrival.offset
        self._arrival, self._live, self._peer, self._digest = arrival, live, str(peer), digest
        self._show()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append."""
        self._arrival.write(data)
        self.offset = self._arrival.offset
        self._show()

    def finish(self) -> None:
        """Make the whole file durable and put it into the inbox."""
        self._arrival.finish()

    def close(self) -> None:
        """Keep what has arrived for later."""
        self._arrival.close()
        self._live.done(self._digest)

    def _show(self) -> None:
        head = self._arrival.head
        context = None if head is None else head.context
        kind = ("package", 0, "*") if context is None else (context.type, context.round, context.group)
        self._live.transfer(self._digest, "up", self._peer, *kind, self.offset, self.size)
