"""The two servers of P11, in a process that does without torch, and the identities and packages on both ends.

Ours takes in what a service takes in, as it does: heads are checked against the roster as soon as they are there, the
file is flushed, and its row stands in the journal before the answer goes out.  Only the folder of a home is missing:
root, roster, revocation list and keys come from memory.
"""

import asyncio
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from aiohttp import web
from cryptography.hazmat.primitives.serialization import load_der_private_key

from fedspallm_secure.app.federation import Federation
from fedspallm_secure.app.service.live import Live
from fedspallm_secure.app.service.shelf import Shelf
from fedspallm_secure.app.stations.opening import AWAITED
from fedspallm_secure.crypto.certificates import (
    Root,
    generate_tls_key,
    parse_root,
    read_tls_request,
    tls_certificate,
    tls_request,
)
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.crypto.revocation import RevocationList
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.protocol.package_types import BodyType
from fedspallm_secure.protocol.packages import Context, Head
from fedspallm_secure.protocol.receiving import Reader, Trust, check_head
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.storage.journal import Journal, open_journal
from fedspallm_secure.storage.memory import MemoryPlaintext
from fedspallm_secure.storage.package_writer import write_package
from fedspallm_secure.storage.register import open_register
from fedspallm_secure.storage.spool import Spool, open_spool
from fedspallm_secure.transport.server import Server
from fedspallm_secure.transport.tls import Credentials, server_context

MEBIBYTE = 1 << 20
HUB, NORTH = Party.parse("server/hub"), Party.parse("member/north")
HOST = "127.0.0.1"
REGISTER = "register.sqlite"
DAY = 86_400  # seconds


@dataclass(frozen=True)
class World:
    """What the processes share.  reader: the hub with its recipient keys."""

    root: bytes
    roster: bytes
    crl: bytes
    leaves: dict[Party, tuple[bytes, bytes]]
    signers: dict[Party, Signer]
    reader: Reader

    @classmethod
    def make(cls, parties: Sequence[Party] = (HUB, NORTH)) -> "World":
        """A federation, all with TLS keys."""
        now = int(time.time())
        made = Federation.make("bench.example", parties, now)
        root, leaves = made.trust.root, {}
        for party in parties:
            key = generate_tls_key()
            public = read_tls_request(tls_request(key, party, root.federation), party, root.federation)
            hosts = [HOST] if party is HUB else []
            leaves[party] = tls_certificate(made.authority, root, party, public, hosts, made.profiles, now), key
        signers = {party: made[party].signer for party in parties}
        return cls(root.der, made.trust.roster.encode(), made.trust.crl.der, leaves, signers, made[HUB].reader)

    def credentials(self, party: Party) -> Credentials:
        """Certificate and key of one of them."""
        certificate, key = self.leaves[party]
        return Credentials(certificate, load_der_private_key(key, None))  # type: ignore[arg-type]

    def trust(self) -> Trust:
        """What both pin."""
        root: Root = parse_root(self.root, "bench.example")
        return Trust(root, Roster.parse(self.roster, root), RevocationList.parse(self.crl, root))

    def package(self, sender: Party, path: Path, size: int, number: int = 1) -> Head:
        """A contribution of `size` bytes from `sender` to the hub, sealed and signed, in a new file.

        number: the sender's own of its packages.  The plaintext is one random MiB again and again.
        """
        trust, now = self.trust(), int(time.time())
        key = trust.roster.entry(HUB).key_statement.keys[0]
        context = Context(
            type="contribution",
            federation=trust.roster.federation,
            roster=trust.roster.hash,
            round=1,
            plan_hash="ab" * 32,
            group="0",
            sender=sender,
            sender_key=trust.roster.entry(sender).leaf.key_id,
            recipient=HUB,
            recipient_key=key.key_id,
            kem=key.kem,
            sequence=number,
            created=now,
            not_after=now + DAY,
            body_type=BodyType.BYTES,
        )
        piece = os.urandom(min(size, MEBIBYTE))
        whole, rest = divmod(size, len(piece))
        plain = MemoryPlaintext(*[piece] * whole, piece[:rest])
        return write_package(path, plain, context, key, self.signers[sender], lambda _: None)


@dataclass(frozen=True)
class Receiving:
    """What a service's network has behind it."""

    shelf: Shelf
    spool: Spool
    journal: Journal

    def forget(self) -> None:
        """Remove what has arrived; it may come again, as after the machine has found it damaged."""
        for one in self.spool.arrived():
            self.spool.drop(one.digest)
            self.journal.settle(one.digest, "damaged")


@contextmanager
def receiving(world: World, folder: Path) -> Iterator[Receiving]:
    """The hub's journal and spool in `folder`, with the checks of a server's station."""
    folder.mkdir(parents=True, exist_ok=True)
    trust, path = world.trust(), folder / REGISTER

    def check(head: Head) -> None:
        check_head(head, world.reader, trust, None, AWAITED[HUB.role], int(time.time()))

    with open_register(path):
        pass
    with open_journal(path, str(HUB), random_bytes(32)) as journal, open_spool(path, folder / "spool", check) as spool:
        spool.key_of = lambda peer: trust.roster.entry(peer).leaf.key_id
        live = Live(folder / "live.json")
        try:
            yield Receiving(Shelf(spool, live, lambda _: ""), spool, journal)
        finally:
            live.close()


async def bare(request: web.Request) -> web.Response:
    """The peer: what comes in goes to a file."""
    path = request.app[FOLDER] / "bare"
    with path.open("wb") as file:
        async for piece in request.content.iter_chunked(MEBIBYTE):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    return web.Response(status=204)


FOLDER = web.AppKey("folder", Path)


def serve(world: World, folder: Path, pipe: Connection) -> None:
    """Both servers, until the pipe says "end"; at any other word what has arrived is forgotten."""

    async def run(behind: Receiving) -> None:
        trust, shelf = world.trust(), behind.shelf
        server = Server(shelf, world.credentials(HUB), "bench", lambda: trust, shelf.last_sequence)
        ((_, ours),) = await server.start([(HOST, 0)])
        app = web.Application()
        app[FOLDER] = folder
        app.router.add_put("/", bare)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, HOST, 0, ssl_context=server_context(world.credentials(HUB), trust.root, trust.crl))
        await site.start()
        pipe.send((ours, site.port))
        while await asyncio.get_running_loop().run_in_executor(None, pipe.recv) != "end":
            behind.forget()
            pipe.send("forgotten")
        await server.stop()
        await runner.cleanup()

    with receiving(world, folder / "hub") as behind:
        asyncio.run(run(behind))


@dataclass(frozen=True)
class Ports:
    """Of our server and of the peer.  forget: makes room for the same package once more."""

    ours: int
    peer: int
    forget: Callable[[], None]


@contextmanager
def servers(world: World, folder: Path) -> Iterator[Ports]:
    """Both, as long as the block."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(world, folder, there), daemon=True)
    process.start()

    def forget() -> None:
        here.send("forget")
        here.recv()

    try:
        ours, peer = here.recv()
        yield Ports(ours, peer, forget)
    finally:
        here.send("end")
        process.join(30)
