"""A server in a process of its own, with behind it what a service has, and members who come to it.

    with server(world, folder) as running:
        async with courier(world, running.port, member) as line: ...
    running.figures, arrived(folder)

Everything goes over TCP on loopback with real certificates.  Heads are checked as they arrive, files are flushed, and
the journal has a row for each.
"""

import asyncio
import hashlib
import multiprocessing
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.upload_servers import HOST, HUB, REGISTER, World, receiving
from fedspallm_secure.app.memory import peak_bytes
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.storage.journal import read_journal
from fedspallm_secure.storage.spool import SUFFIX
from fedspallm_secure.transport.client import Courier, Manners
from fedspallm_secure.transport.patience import Patience
from fedspallm_secure.transport.problems import Route
from fedspallm_secure.transport.server import Server

SPAWN = multiprocessing.get_context("spawn")


def members(count: int) -> list[Party]:
    """So many members."""
    return [Party("member", f"m-{number:03d}") for number in range(count)]


def raise_limit() -> None:
    """As many descriptors as are allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve(world: World, folder: Path, pipe: Connection) -> None:
    """A server with its defaults, until the pipe says something; then it tells what it took and what went wrong."""
    errors = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["message"]))
        trust = world.trust()
        with receiving(world, folder) as behind:
            shelf = behind.shelf
            server = Server(shelf, world.credentials(HUB), "figures", lambda: trust, shelf.last_sequence)
            before = peak_bytes()
            ((_, port),) = await server.start([(HOST, 0)])
            pipe.send(port)
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
            pipe.send((before, peak_bytes(), len(errors)))
            await server.stop(1.0)

    raise_limit()
    asyncio.run(run())


class Running:
    """The server's process.

    before, peak: bytes of memory before the first connection and at most, after the end; errors: that nobody caught.
    """

    port = before = peak = errors = 0

    @property
    def figures(self) -> dict[str, int]:
        """What it took, and what went wrong."""
        return {
            "memory of the server before": self.before,
            "memory of the server at most": self.peak,
            "errors that the server did not catch": self.errors,
        }


@contextmanager
def server(world: World, folder: Path) -> Iterator[Running]:
    """A server that runs as long as the block."""
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=serve, args=(world, folder, there), daemon=True)
    process.start()
    found = Running()
    try:
        found.port = here.recv()
        yield found
        here.send("end")
        found.before, found.peak, found.errors = here.recv()
        process.join(30)
    finally:
        process.kill()
        process.join()


def courier(world: World, port: int, member: Party, tries: int = 8) -> Courier:
    """Of a member, through a port on loopback."""
    trust = world.trust()
    manners = Manners(patience=Patience(tries, 0.05, 1.0))
    return Courier(Route(HOST, port, HUB), world.credentials(member), "figures", lambda: trust, manners)


def arrived(folder: Path) -> dict[str, Path]:
    """What lies in the inbox of a server that works in `folder` and waits for its machine, by digest."""
    with read_journal(folder / REGISTER) as journal:
        rows = journal.execute("SELECT digest FROM inbox WHERE state = 'waiting'").fetchall()
    paths = {digest: folder / "spool" / "in" / (digest + SUFFIX) for (digest,) in rows}
    return {digest: path for digest, path in paths.items() if path.exists()}


def sha256(path: Path) -> str:
    """Of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
