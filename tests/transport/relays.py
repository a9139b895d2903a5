"""What stands between a courier and a server: a wire that is cut, and a proxy that tunnels or does not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress

_PIECE = 1 << 14


class Wire:
    """A TCP relay to a port on loopback.

    cuts: for one connection after another, how many bytes go through, up or down, before both ends are reset; None,
    and what is not said: no cut.
    """

    def __init__(self, target: int, cuts: Iterator[int | None] | None = None) -> None:
        self.target, self.cuts = target, cuts or iter(())
        self.connections = 0
        self.port = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Wire"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            inner = await asyncio.open_connection("127.0.0.1", self.target)
            await join((reader, writer), inner, next(self.cuts, None))
        except (OSError, asyncio.CancelledError):  # cancelled when the test is over
            return
        finally:
            writer.transport.abort()


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def join(one: Ends, other: Ends, cut: int | None = None) -> None:
    """Copy both ways until one end closes or enough went through."""
    left = [cut if cut is not None else 1 << 60]

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while left[0] > 0 and (data := await source.read(min(_PIECE, left[0]))):
            left[0] -= len(data)
            sink.write(data)
            await sink.drain()

    copies = [asyncio.create_task(copy(one[0], other[1])), asyncio.create_task(copy(other[0], one[1]))]
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for _, writer in (one, other):
            writer.transport.abort()
        for task in copies:
            task.cancel()
        await asyncio.gather(*copies, return_exceptions=True)


class Proxy:
    """An HTTP proxy that knows CONNECT alone.  answer: what it says, b"" to let the connection through."""

    def __init__(self, answer: Callable[[str], bytes] = lambda target: b"") -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Proxy"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._tunnel(reader, writer)
        finally:
            writer.close()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        method, target, _ = head.split(b"\r\n")[0].decode().split()
        assert method == "CONNECT"
        self.asked.append(target)
        if refusal := self.answer(target):
            writer.write(refusal)
            await writer.drain()
            return
        host, _, port = target.rpartition(":")
        inner = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await join((reader, writer), inner)
