"""How long a member waits beside connections that say nothing.

A half-open connection sends nothing; a slow one sends half of a handshake, the first message or some bytes of it, and
then nothing more.  What is closed by the server is opened again after a while.
"""

import asyncio
import os
import ssl
import statistics
import tempfile
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter

from benchmarks.upload_servers import HOST, HUB, World
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.transport.client import Courier
from tests.figures.loaded_server import SPAWN, courier, members, raise_limit, server

AGAIN = 10.0  # seconds until a connection that was closed is opened again
PACE = 2000  # connections that are opened in a second
PAUSE = 0.12  # seconds between two requests and the next two: whoever asks more often than it may is told to wait


def client_hello() -> bytes:
    """The first message of a handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    out = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    return out.read()


def attack(port: int, slow: int, half_open: int, cores: set[int], yielding: int, pipe: Connection) -> None:
    """Open so many connections, tell when all were opened once, and open again what the server closes."""
    os.sched_setaffinity(0, cores)
    os.nice(yielding)
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

    async def measure(self, asked: int) -> dict[str, list[float]]:
        (member,) = members(1)
        kept, new = [], []
        async with courier(self.world, self.port, member) as line:
            await line.hello()
            for _ in range(asked):
                kept.append(await self.ask(line))
                async with courier(self.world, self.port, member) as other:
                    new.append(await self.ask(other))
                await asyncio.sleep(PAUSE)
        return {"kept": kept, "new": new}


def slow_connections(
    slow: int, half_open: int, asked: int = 100, yielding: int = 0, apart: bool = False
) -> dict[str, object]:
    """An honest member's waiting time before and during an attack, in milliseconds.

    asked: how often; during is twice: while the connections are being opened, and once all of them were.  yielding: by
    how much the attacker's process is nicer; with 19 it has what server and member leave of the cores that they share.
    apart: server and member have one core, before and during the attack, and the attacker another one.
    """
    everything = os.sched_getaffinity(0)
    if apart and len(everything) < 2:
        raise ValueError("apart needs two cores")
    ours = {min(everything)} if apart else everything
    os.sched_setaffinity(0, ours)  # the server inherits it
    try:
        return _measure(slow, half_open, asked, yielding, everything - ours or everything)
    finally:
        os.sched_setaffinity(0, everything)


def _measure(slow: int, half_open: int, asked: int, yielding: int, cores: set[int]) -> dict[str, object]:
    world = World.make([HUB, *members(1)])
    with tempfile.TemporaryDirectory() as name, server(world, Path(name)) as running:
        honest = Honest(world, running.port)
        here, there = SPAWN.Pipe()
        attacker = SPAWN.Process(
            target=attack, args=(running.port, slow, half_open, cores, yielding, there), daemon=True
        )
        before = asyncio.run(honest.measure(asked))
        attacker.start()
        opening = {"kept": [], "new": []}
        while not here.poll():
            for kind, found in asyncio.run(honest.measure(5)).items():
                opening[kind] += found
        here.recv()
        during = asyncio.run(honest.measure(asked))
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
