"""The two servers of P11, in a process that does without torch, and the identities on both ends."""

import asyncio
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from aiohttp import web
from cryptography.hazmat.primitives.serialization import load_der_private_key

from fedspallm_secure.app.federation import Federation
from fedspallm_secure.crypto.certificates import (
    Root,
    generate_tls_key,
    parse_root,
    read_tls_request,
    tls_certificate,
    tls_request,
)
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.revocation import RevocationList
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.transport.depot import Listed
from fedspallm_secure.transport.server import Server
from fedspallm_secure.transport.tls import Credentials, server_context

MEBIBYTE = 1 << 20
HUB, NORTH = Party.parse("server/hub"), Party.parse("member/north")
HOST = "127.0.0.1"


@dataclass(frozen=True)
class World:
    """What two processes share, as bytes."""

    root: bytes
    roster: bytes
    crl: bytes
    leaves: dict[Party, tuple[bytes, bytes]]

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
        return cls(root.der, made.trust.roster.encode(), made.trust.crl.der, leaves)

    def credentials(self, party: Party) -> Credentials:
        """Certificate and key of one of them."""
        certificate, key = self.leaves[party]
        return Credentials(certificate, load_der_private_key(key, None))  # type: ignore[arg-type]

    def trust(self) -> Trust:
        """What both pin."""
        root: Root = parse_root(self.root, "bench.example")
        return Trust(root, Roster.parse(self.roster, root), RevocationList.parse(self.crl, root))


class File:
    """An arrival in a file, flushed when it is whole."""

    def __init__(self, path: Path, size: int) -> None:
        self.size, self.offset = size, 0
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append."""
        self.offset += os.pwrite(self._file, data, self.offset)

    def finish(self) -> None:
        """Flush, and make room for the next one."""
        os.fsync(self._file)
        self._path.unlink()

    def close(self) -> None:
        """Close."""
        os.close(self._file)


class Folder:
    """A depot that takes everything in and gives nothing out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def arrival(self, peer: Party, digest: str, size: int) -> File:
        """A new file."""
        return File(self.folder / digest, size)

    def listing(self, peer: Party, after: int, most: int) -> list[Listed]:
        """Nothing."""
        return []

    def departure(self, peer: Party, digest: str) -> None:
        """Nothing."""

    def again(self, peer: Party) -> list[str]:
        """Nothing."""
        return []

    def departed(self, peer: Party, digest: str) -> None:
        """Never."""


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
    """Both servers, until the pipe says something."""

    async def run() -> None:
        trust = world.trust()
        server = Server(Folder(folder), world.credentials(HUB), "bench", lambda: trust, lambda _: 0)
        ((_, ours),) = await server.start([(HOST, 0)])
        app = web.Application()
        app[FOLDER] = folder
        app.router.add_put("/", bare)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, HOST, 0, ssl_context=server_context(world.credentials(HUB), trust.root, trust.crl))
        await site.start()
        pipe.send((ours, site.port))
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        await server.stop()
        await runner.cleanup()

    asyncio.run(run())


@contextmanager
def servers(world: World, folder: Path) -> Iterator[tuple[int, int]]:
    """Their ports: ours, and that of the peer."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(world, folder, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        here.send("end")
        process.join(30)
