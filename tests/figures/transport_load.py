"""A server under load, in a process of its own: many uploads at once, connections that say nothing, lines that break.

    python -m tests.figures.transport_load UPLOADS MEBIBYTES SLOW HALF_OPEN CUTS     prints the figures as JSON

Everything goes over TCP on loopback with real certificates, and what is uploaded are packages, sealed and signed by
members of the roster.  The server has behind it what a service has: heads are checked as they arrive, files are
flushed, and the journal has a row for each.  Uploads come from other processes, one from each member.
"""

import asyncio
import random
import sys
import tempfile
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.upload_servers import HUB, MEBIBYTE, World
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.transport.client import Courier
from tests.figures.loaded_server import SPAWN, arrived, courier, members, server, sha256
from tests.figures.silent_connections import slow_connections
from tests.figures.spread import show
from tests.transport.relays import Wire

MOST_MEMORY = 1 << 30  # bytes, of the server
MOST_RATIO = 2.0  # of an honest member's median waiting time during an attack to that before
GENERATORS = 4  # processes
HANDSHAKE = 8_000  # bytes after which a connection has begun


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


# --- all three --------------------------------------------------------------------------------------------------------


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
