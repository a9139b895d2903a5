"""What one party, and everybody together, may have at once (SPEC sections 10 and 19.4)."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import Throttled
from fedspallm_secure.transport.pacing import Bucket


@dataclass(frozen=True, slots=True)
class Limits:
    """All limits of a server.  Times in seconds, sizes in bytes; how many bytes may wait is the depot's to say.

    connections: in all; unproven: those that have not made a request that held; handshakes: those of them that have
    begun one; of both the oldest are dropped first; peer_*: of one party; rate, window: the least speed of a
    transfer; up, down: bytes per second of all uploads and of all downloads, None for any; wait: the longest that a
    listing waits; listed: its rows.
    """

    connections: int = 4096
    unproven: int = 1024
    handshakes: int = 256
    handshake: float = 10.0
    header: float = 10.0
    idle: float = 60.0
    peer_connections: int = 16
    peer_requests: int = 16
    peer_transfers: int = 4
    peer_rate: float = 20.0
    peer_burst: float = 100.0
    rate: float = 64_000.0
    window: float = 60.0
    up: float | None = None
    down: float | None = None
    wait: float = 50.0
    listed: int = 1000


class Allowances:
    """Counts what each party has going.  Only parties of the roster get here, so there are not many."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buckets: dict[Party, Bucket] = {}
        self._requests: Counter[Party] = Counter()
        self._transfers: Counter[Party] = Counter()

    @contextmanager
    def request(self, peer: Party) -> Iterator[None]:
        """One request of `peer`.  Raises Throttled for too many at once or too many one after another."""
        limits = self._limits
        bucket = self._buckets.setdefault(peer, Bucket(limits.peer_rate, limits.peer_burst))
        if (wait := bucket.take()) > 0.0:
            raise Throttled(f"{peer} makes more than {limits.peer_rate:g} requests per second", wait=wait)
        with _one_of(self._requests, peer, limits.peer_requests, "requests"):
            yield

    @contextmanager
    def transfer(self, peer: Party) -> Iterator[None]:
        """One transfer of `peer`, up or down.  Raises Throttled."""
        with _one_of(self._transfers, peer, self._limits.peer_transfers, "transfers"):
            yield


@contextmanager
def _one_of(counts: Counter[Party], peer: Party, most: int, what: str) -> Iterator[None]:
    if counts[peer] >= most:
        raise Throttled(f"{peer} has {most} {what} under way, and may not have more")
    counts[peer] += 1
    try:
        yield
    finally:
        counts[peer] -= 1
