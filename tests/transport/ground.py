"""A federation with TLS identities that are valid now, a server of it on loopback, and couriers to that server."""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_der_private_key

from fedspallm_secure.crypto.certificates import Leaf, Root
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.profiles import DAY
from fedspallm_secure.crypto.revocation import Reason, RevocationList, Revoked
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.transport.client import Courier, Manners
from fedspallm_secure.transport.guards import Limits
from fedspallm_secure.transport.line import Timeouts
from fedspallm_secure.transport.patience import Patience
from fedspallm_secure.transport.problems import Route
from fedspallm_secure.transport.server import Server
from fedspallm_secure.transport.tls import Credentials
from tests.authority import Authority, signer, tls_key
from tests.transport.depot import FolderDepot

HOSTS = ("localhost", "127.0.0.1", "::1")
HUB, NORTH, SOUTH = Party.parse("server/hub"), Party.parse("member/north"), Party.parse("member/south")
OTHERS = tuple(map(Party.parse, ("auditor/watch", "key-holder/vault", "witness/wit")))
PARTIES = (HUB, NORTH, SOUTH, *OTHERS)
SOFTWARE = "fedspallm-secure/test"
HASTY = Manners(Timeouts(5.0, 5.0), Patience(3, 0.01, 0.05))


def asynchronous(test: Callable[..., Any]) -> Callable[..., None]:
    """Run a coroutine as a test."""

    @functools.wraps(test)
    def run(*values: Any, **named: Any) -> None:
        asyncio.run(test(*values, **named))

    return run


@dataclass
class Town:
    """Everything that parties pin; `trust()` is what they hold at the moment."""

    authority: Authority = field(
        default_factory=lambda: Authority(key=signer("transport root"), now=int(time.time()) - 2 * DAY)
    )
    parties: tuple[Party, ...] = PARTIES
    sequences: dict[Party, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.roster: Roster = self.authority.roster(*self.parties)
        self.crl: RevocationList = self.authority.crl(now=int(time.time()) - 100)
        self.leaves: dict[Party, Leaf] = {}

    @property
    def root(self) -> Root:
        return self.authority.root

    def trust(self) -> Trust:
        return Trust(self.root, self.roster, self.crl)

    def leaf(self, party: Party) -> Leaf:
        if party not in self.leaves:
            hosts = HOSTS if party.role_name == "server" else ()
            self.leaves[party] = self.authority.tls_leaf(party, hosts)
        return self.leaves[party]

    def credentials(self, party: Party) -> Credentials:
        return Credentials(self.leaf(party).der, load_der_private_key(tls_key(str(party)), None))

    def revoke(self, *parties: Party) -> None:
        number, now = self.crl.number + 1, int(time.time())
        revoked = [Revoked(self.leaf(party).serial, now - 60, Reason.KEY_COMPROMISE) for party in parties]
        self.crl = self.authority.crl(*revoked, number=number, now=now - 50 + number)

    def server(self, depot: FolderDepot, limits: Limits | None = None, party: Party = HUB) -> Server:
        sequence = lambda peer: self.sequences.get(peer, 0)  # noqa: E731
        return Server(depot, self.credentials(party), SOFTWARE, self.trust, sequence, limits)

    def courier(self, port: int, party: Party = NORTH, **changes: Any) -> Courier:
        route = Route(changes.pop("host", "127.0.0.1"), port, changes.pop("server", HUB), changes.pop("proxy", None))
        trust = changes.pop("trust", self.trust)
        credentials = changes.pop("credentials", None) or self.credentials(party)
        return Courier(route, credentials, SOFTWARE, trust, changes.pop("manners", HASTY))


@dataclass
class Place:
    """A server that runs, with its depot."""

    town: Town
    depot: FolderDepot
    server: Server
    port: int

    def courier(self, party: Party = NORTH, **changes: Any) -> Courier:
        return self.town.courier(self.port, party, **changes)


@asynccontextmanager
async def running(
    folder: Path, limits: Limits | None = None, town: Town | None = None, host: str = "127.0.0.1", **depot: Any
) -> AsyncIterator[Place]:
    town = town or Town()
    made = FolderDepot(folder / "depot", **depot)
    server = town.server(made, limits)
    ((_, port),) = await server.start([(host, 0)])
    try:
        yield Place(town, made, server, port)
    finally:
        await server.stop(1.0)


def write(folder: Path, data: bytes) -> Path:
    path = folder / "package"
    path.write_bytes(data)
    return path


async def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until something holds; fails if it does not in time."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)
