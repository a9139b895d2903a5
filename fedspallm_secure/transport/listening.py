"""Sockets that listen, and what comes in by them: taken in by portions, watched for a first byte, served by turns."""

import asyncio
import os
import socket
from collections.abc import Callable

from fedspallm_secure.errors import CannotListen

_BACKLOG = 4096
_PORTION = 16  # connections that are taken in before those who are in get a turn; with 64 these wait longer
_PAUSE = 0.1  # seconds, when there are no descriptors left

Address = tuple[str, int]


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on an address or a host name, IPv4 and IPv6; port 0 for any.  Raises CannotListen."""
    bound: list[socket.socket] = []
    try:
        for family, address in _resolve(host, port):
            bound.append(socket.create_server(address, family=family, backlog=_BACKLOG))
            bound[-1].setblocking(False)
    except OSError as error:
        for listener in bound:
            listener.close()
        raise CannotListen(f"cannot listen on {host} port {port}: {_words(error)}") from error
    return bound


async def accept(listener: socket.socket, admit: Callable[[socket.socket, str], None]) -> None:
    """Hand every connection to `admit`, with the address that it comes from, until cancelled.

    Whoever connects stands behind all that did before, and if only one were taken in between two turns of the event
    loop, would wait for all their handshakes too.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            sock, address = await loop.sock_accept(listener)
            admit(sock, str(address[0]))
            for _ in range(_PORTION - 1):
                sock, address = listener.accept()
                sock.setblocking(False)
                admit(sock, str(address[0]))
        except BlockingIOError:  # nobody else waits
            pass
        except OSError:  # no descriptors left, or gone before it was accepted
            await asyncio.sleep(_PAUSE)
        await asyncio.sleep(0)


async def first_byte(sock: socket.socket) -> None:
    """Wait until there is something to read."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[None] = loop.create_future()

    def arrive() -> None:
        if not arrived.done():
            arrived.set_result(None)

    number = sock.fileno()  # of a socket that it does not know yet, the selector would write a description first
    loop.add_reader(number, arrive)
    try:
        await arrived
    finally:
        loop.remove_reader(number)


class Turns:
    """Lets one begin in each turn of the event loop, the newest first: nobody waits for many that came before."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], None] = {}  # the oldest first
        self._going = False

    async def mine(self) -> None:
        """Wait for a turn."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting[turn] = None
        if not self._going:
            self._going = True
            loop.call_soon(self._next)
        try:
            await turn
        finally:
            self._waiting.pop(turn, None)

    def _next(self) -> None:
        self._going = bool(self._waiting)
        if self._going:
            turn, _ = self._waiting.popitem()
            if not turn.done():  # else its task was cancelled, and will see that in a moment
                turn.set_result(None)
            asyncio.get_running_loop().call_soon(self._next)


def _words(error: OSError) -> str:
    """What the system says; `create_server` appends the address to it, and errors of names have numbers below 0."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror or error)


def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, Address]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, (str(address[0]), int(address[1]))) for family, _, _, _, address in found))
