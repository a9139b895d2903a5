"""P11: uploading a package over mutual TLS on loopback, against a bare PUT into a file.

Both servers live in one other process, with the same TLS context, and write to the same folder; both flush the file to
the disk before they answer, and remove it within the time that counts.  The peer is what aiohttp gives by itself: a
file as the body of a PUT, and a handler that writes what comes in, 1 MiB at a time.  Ours is what a service receives
with: it can resume, limits, asks who is there for every request, writes in threads, checks header, signature and
roster of a real package as soon as they are there, and writes its row into the journal, durably.
"""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

import aiohttp

from benchmarks.measure import Row, alternate
from benchmarks.upload_servers import HOST, HUB, MEBIBYTE, NORTH, Ports, World, servers
from fedspallm_secure.transport.client import Courier
from fedspallm_secure.transport.problems import Route
from fedspallm_secure.transport.tls import client_context

TARGET = ">= 0.8 of a bare PUT"


def uploads(world: World, file: Path, digest: str, ports: Ports) -> tuple[Callable[[], None], Callable[[], None]]:
    """Upload the package once: to the peer, to us."""
    trust, size = world.trust(), file.stat().st_size

    async def put() -> None:
        context = client_context(world.credentials(NORTH), trust.root, trust.crl, lambda _: None)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            with file.open("rb") as body:
                async with session.put(f"https://{HOST}:{ports.peer}/", data=body) as response:
                    response.raise_for_status()

    async def push() -> None:
        route = Route(HOST, ports.ours, HUB)
        async with Courier(route, world.credentials(NORTH), "bench", lambda: trust) as courier:
            await courier.push(digest, file, size)

    def ours() -> None:
        asyncio.run(push())
        ports.forget()

    return lambda: asyncio.run(put()), ours


def measure(times: int, size: int = 1024) -> list[Row]:
    """A package with a plaintext of `size` MiB."""
    world = World.make()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "package"
        head = world.package(NORTH, file, size * MEBIBYTE)
        with servers(world, folder) as ports:
            theirs, mine = alternate(*uploads(world, file, head.digest.hex(), ports), times)
    row = Row("P11", f"upload of {size} MiB over mutual TLS, both ends on this machine", TARGET)
    row.ratios = [one / other for one, other in zip(theirs, mine, strict=True)]
    row.figures = {"ours": f"{size / min(mine):.0f} MiB/s", "bare": f"{size / min(theirs):.0f} MiB/s"}
    return [row]
