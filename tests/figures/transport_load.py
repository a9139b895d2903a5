"""A server under load, in a process of its own: many uploads at once, connections that say nothing, lines that break.

    python -m tests.figures.transport_load UPLOADS MEBIBYTES SLOW HALF_OPEN CUTS     prints the figures as JSON

Everything goes over TCP on loopback with real certificates, and what is uploaded are packages, sealed and signed by
members of the roster.  The server has behind it what a service has: heads are checked as they arrive, files are
flushed, and the journal has a row for each.  Uploads come from other processes, one from each member.  A half-open
connection sends nothing; a slow one sends half of a handshake, the first message or some bytes of it, and then nothing
more.  What is closed by the server is opened again after a while.
"""

import asyncio
import hashlib
import multiprocessing
import random
import resource
import ssl
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.upload_servers import HOST, HUB, MEBIBYTE, REGISTER, World, receiving
from fedspallm_secure.app.memory import peak_bytes
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.storage.journal import read_journal
from fedspallm_secure.storage.spool import SUFFIX
from fedspallm_secure.transport.client import Courier, Manners
from fedspallm_secure.transport.patience import Patience
from fedspallm_secure.transport.problems import Route
from fedspallm_secure.transport.server import Server
from tests.figures.spread import show
from tests.transport.relays import Wire

MOST_MEMORY = 1 << 30  # bytes, of the server
MOST_RATIO = 2.0  # of an honest member's median waiting time during an attack to that before
GENERATORS = 4  # processes
AGAIN = 10.0  # seconds until a connection that was closed is opened again
PACE = 2000  # connections that are opened in a second
HANDSHAKE = 8_000  # bytes after which a connection has begun
SPAWN = multiprocessing.get_context("spawn")


def members(count: int) -> list[Party]:
    """So many members."""
    return [Party("member", f"m-{number:03d}") for number in range(count)]


def raise_limit() -> None:
    """As many descriptors as are allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# --- the server -------------------------------------------------------------------------------------------------------


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


# --- many uploads -----------------------------------------------------------------------------------------------------


def generate(world: World, port: int, parties: list[Party], size: int, folder: Path, pipe: Connection) -> None:
    """Make a package of each, say what was made, and when told upload all; says how many got through."""
    heads = {member: world.package(member, folder / member.id, size) for member in parties}
    pipe.send({head.digest.hex(): sha256(folder / member.id) for member, head in heads.items()})

    async def upload(line: Courier, member: Party) -> bool:
        with suppress(FedSpaError):
            await line.push(heads[member].digest.hex(), folder / member.id, heads[member].size)
            return True
        return False

    async def run() -> int:
        lines = {member: courier(world, port, member) for member in parties}
        done = await asyncio.gather(*(upload(line, member) for member, line in lines.items()))
        for line in lines.values():
            await line.close()
        return sum(done)

    pipe.recv()
    pipe.send(asyncio.run(run()))


def many_uploads(count: int, size: int) -> dict[str, object]:
    """A package of `size` bytes of plaintext from each of `count` members, all at once.

    The disk of the temporary folder holds all packages twice.
    """
    parties = members(count)
    world = World.make([HUB, *parties])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with server(world, folder / "hub") as running:
            pipes, sent = [], {}
            for share in range(min(GENERATORS, count)):
                here, there = SPAWN.Pipe()
                values = (world, running.port, parties[share::GENERATORS], size, folder, there)
                SPAWN.Process(target=generate, args=values, daemon=True).start()
                pipes.append(here)
            for pipe in pipes:
                sent |= pipe.recv()
            start = perf_counter()
            for pipe in pipes:
                pipe.send("go")
            completed = sum(pipe.recv() for pipe in pipes)
            seconds = perf_counter() - start
        found = arrived(folder / "hub")
        corrupt = sum(sha256(path) != sent.get(digest) for digest, path in found.items())
    return {
        "uploads": count,
        "bytes of each": size,
        "completed": completed,
        "arrived": len(found),
        "corrupt": corrupt,
        "seconds": round(seconds, 1),
        **running.figures,
    }


def sha256(path: Path) -> str:
    """Of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- connections that say nothing -------------------------------------------------------------------------------------


def client_hello() -> bytes:
    """The first message of a handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    out = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    return out.read()


def attack(port: int, slow: int, half_open: int, pipe: Connection) -> None:
    """Open so many connections, tell when all were opened once, and open again what the server closes."""
    hello, opened = client_hello(), 0

    async def hold(number: int) -> None:
        nonlocal opened
        await asyncio.sleep(number / PACE)
        first = True
        while True:
            try:
                reader, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                opened += first
                first = False
                await asyncio.sleep(AGAIN)
                continue
            opened += first
            first = False
            with suppress(OSError):
                if number < slow:
                    writer.write(hello if number % 2 else hello[: 1 + number % 50])
                while await reader.read(1 << 12):
                    pass
            writer.transport.abort()
            await asyncio.sleep(AGAIN)

    async def run() -> None:
        tasks = [asyncio.create_task(hold(number)) for number in range(slow + half_open)]
        while opened < slow + half_open:
            await asyncio.sleep(0.1)
        pipe.send("open")
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        for task in tasks:
            task.cancel()

    raise_limit()
    with suppress(asyncio.CancelledError):
        asyncio.run(run())


class Honest:
    """A member that asks again and again, over a connection that it keeps and over a new one each time."""

    def __init__(self, world: World, port: int) -> None:
        self.world, self.port = world, port
        self.failed = 0

    async def ask(self, line: Courier) -> float:
        start = perf_counter()
        try:
            await line.hello()
        except FedSpaError:
            self.failed += 1
        return perf_counter() - start

    async def measure(self, asked: int, pause: float) -> dict[str, list[float]]:
        (member,) = members(1)
        kept, new = [], []
        async with courier(self.world, self.port, member) as line:
            await line.hello()
            for _ in range(asked):
                kept.append(await self.ask(line))
                async with courier(self.world, self.port, member) as other:
                    new.append(await self.ask(other))
                await asyncio.sleep(pause)
        return {"kept": kept, "new": new}


def slow_connections(slow: int, half_open: int, asked: int = 100) -> dict[str, object]:
    """An honest member's waiting time before and during an attack, in milliseconds.

    asked: how often; during is twice: while the connections are being opened, and once all of them were.
    """
    world = World.make([HUB, *members(1)])
    with tempfile.TemporaryDirectory() as name, server(world, Path(name)) as running:
        honest = Honest(world, running.port)
        here, there = SPAWN.Pipe()
        attacker = SPAWN.Process(target=attack, args=(running.port, slow, half_open, there), daemon=True)
        before = asyncio.run(honest.measure(asked, 0.02))
        attacker.start()
        opening = {"kept": [], "new": []}
        while not here.poll():
            for kind, found in asyncio.run(honest.measure(5, 0.02)).items():
                opening[kind] += found
        here.recv()
        during = asyncio.run(honest.measure(asked, 0.02))
        here.send("end")
        attacker.join(20)
        attacker.kill()
    figures: dict[str, object] = {"slow": slow, "half-open": half_open, "failed": honest.failed}
    for kind in ("kept", "new"):
        for when, found in (("before", before), ("while opening", opening), ("during", during)):
            figures[f"{kind} connection, {when}"] = _milliseconds(found[kind])
        figures[f"{kind} connection, ratio"] = round(
            statistics.median(during[kind]) / statistics.median(before[kind]), 2
        )
    return figures | running.figures


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    most = ordered[int(0.95 * (len(ordered) - 1))]
    return {"median": round(1000 * statistics.median(ordered), 2), "95 %": round(1000 * most, 2)}


# --- lines that break -------------------------------------------------------------------------------------------------


async def _cut(world: World, port: int, folder: Path, number: int, seed: int) -> dict[str, int]:
    """One upload over a line that is cut one to three times, at drawn places.  number: the member's own."""
    draw = random.Random(seed)
    (member,) = members(1)
    path = folder / f"{number}.out"
    head = world.package(member, path, draw.randrange(500_000, 3_000_000), number)
    digest, sent = head.digest.hex(), sha256(path)
    left, cuts = head.size, []
    for _ in range(draw.randrange(1, 4)):
        cuts.append(HANDSHAKE + draw.randrange(1, max(2, left // 2)))
        left -= cuts[-1] - HANDSHAKE
    async with Wire(port, iter(cuts)).open() as wire, courier(world, wire.port, member) as line:
        with suppress(FedSpaError):
            await line.push(digest, path, head.size)
    found = arrived(folder / "hub").get(digest)
    equal = found is not None and sha256(found) == sent
    if found is not None:
        found.unlink()
    path.unlink()
    return {"uploads": 1, "cuts": wire.connections - 1, "resumed": wire.connections > 1, "equal": equal}


def cut_uploads(count: int, seed: int = 1) -> dict[str, int]:
    """`count` uploads, each cut at random offsets, resumed, and compared."""
    world = World.make([HUB, *members(1)])
    totals = dict.fromkeys(("uploads", "cuts", "resumed", "equal"), 0)
    with tempfile.TemporaryDirectory() as name, server(world, Path(name) / "hub") as running:

        async def run() -> None:
            for number in range(1, count + 1):
                drawn = seed * 100_000 + number
                for key, found in (await _cut(world, running.port, Path(name), number, drawn)).items():
                    totals[key] += found

        asyncio.run(run())
    return totals


def figures(uploads: int, mebibytes: int, slow: int, half_open: int, cuts: int) -> dict[str, object]:
    """All three."""
    many = many_uploads(uploads, mebibytes * MEBIBYTE)
    attacked, cut = slow_connections(slow, half_open), cut_uploads(cuts)
    return {
        "many uploads": many,
        "slow connections": attacked,
        "cut uploads": cut,
        "failures": failures(many, attacked, cut),
    }


def failures(many: dict[str, Any], attacked: dict[str, Any], cut: dict[str, int]) -> list[str]:
    """What must not be."""
    found, uploads, cuts = [], many["uploads"], cut["uploads"]
    if not many["completed"] == many["arrived"] == uploads or many["corrupt"]:
        found.append(f"{many['completed']} of {uploads} uploads got through, {many['corrupt']} of them changed")
    if attacked["failed"]:
        found.append(f"{attacked['failed']} requests failed beside connections that say nothing")
    for kind in ("kept", "new"):
        if attacked[f"{kind} connection, ratio"] > MOST_RATIO:
            ratio = attacked[f"{kind} connection, ratio"]
            found.append(f"an answer over a {kind} connection takes {ratio} times as long during the attack")
    for what, these in (("uploads", many), ("connections that say nothing", attacked)):
        if these["memory of the server at most"] > MOST_MEMORY:
            found.append(f"the server holds {these['memory of the server at most']} bytes under many {what}")
        if these["errors that the server did not catch"]:
            found.append(f"{these['errors that the server did not catch']} errors under many {what} were not caught")
    if cut["equal"] != cuts:
        found.append(f"{cut['equal']} of {cuts} uploads over lines that were cut are equal")
    return found


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:6])))
