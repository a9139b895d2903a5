"""Where connections come in: bound, counted, and dropped when nobody has shown in time who they are.

A socket costs next to nothing until its first byte arrives; TLS begins with that.  Until a request has named its party
a connection is unproven.  There is room for a number of those, and the oldest make way for new ones, silent ones before
those that have begun to shake hands: members, who are through within one round trip or two, get in beside thousands of
connections that say nothing.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence

from fedspallm_secure.crypto.certificates import Leaf
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import CannotListen
from fedspallm_secure.transport.guards import Limits
from fedspallm_secure.transport.listening import Address, Turns, accept, first_byte, listen
from fedspallm_secure.transport.pacing import Bucket
from fedspallm_secure.transport.problems import handshake_failure

_log = logging.getLogger(__name__)
_NAMED, _ADDRESSES = 4, 1024  # parties of one address, and addresses, that are remembered
_SHUTDOWN = 2.0  # seconds for the other end to answer a TLS farewell


class Connection:
    """One accepted connection.  leaf: the certificate that was shown, once a request has come; busy: requests."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.leaf: Leaf | None = None
        self.party: Party | None = None
        self.busy = 0
        self.task: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport | None = None

    def drop(self) -> None:
        """End it at once."""
        if self.transport is not None:
            self.transport.abort()
        elif self.task is not None:
            self.task.cancel()


class Gate:
    """Listens, shakes hands, and hands over to HTTP.

    make: makes the protocol of a connection; refresh: called before a handshake, to bring in a newer revocation list.
    """

    def __init__(
        self,
        limits: Limits,
        context: ssl.SSLContext,
        make: Callable[[], asyncio.Protocol],
        refresh: Callable[[], None],
    ) -> None:
        self._limits, self._context, self._make, self._refresh = limits, context, make, refresh
        self._all: dict[Connection, None] = {}
        self._silent: dict[Connection, None] = {}  # unproven, and no handshake has begun; the oldest first
        self._shaking: dict[Connection, None] = {}  # unproven, and one has; each takes a third of a mebibyte
        self._turns = Turns()
        self._of_party: dict[Party, dict[Connection, None]] = {}
        self._of_protocol: dict[asyncio.BaseProtocol, Connection] = {}
        self._listeners: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._seen: dict[str, dict[Party, None]] = {}  # address -> who came from there last
        self._words = Bucket(1.0, 20.0)  # lines of the log; strangers must not fill the disk

    def open(self, addresses: Sequence[Address]) -> list[Address]:
        """Listen on addresses or host names, IPv4 and IPv6; port 0 for any.  Returns what was bound.

        Raises CannotListen if one of them cannot be bound.
        """
        for host, port in addresses:
            try:
                self._listeners += listen(host, port)
            except CannotListen:
                self.close()
                raise
        self._accepting = [asyncio.create_task(accept(listener, self._admit)) for listener in self._listeners]
        return [listener.getsockname()[:2] for listener in self._listeners]

    def connection(self, protocol: asyncio.BaseProtocol) -> Connection | None:
        """The connection that a protocol made by `make` serves; None if it is gone."""
        return self._of_protocol.get(protocol)

    def prove(self, connection: Connection, party: Party) -> None:
        """A request on this connection has shown to be of `party`."""
        if connection.party == party or connection not in self._all:
            return
        self._shaking.pop(connection, None)
        connection.party = party
        self._remember(connection.address, party)
        mine = self._of_party.setdefault(party, {})
        mine[connection] = None
        if len(mine) > self._limits.peer_connections:
            next((old for old in mine if not old.busy and old is not connection), connection).drop()

    def _remember(self, address: str, party: Party) -> None:
        """Who came from where: a handshake that fails names nobody."""
        here = self._seen.pop(address, {})
        here.pop(party, None)
        self._seen[address] = dict(list({**here, party: None}.items())[-_NAMED:])
        if len(self._seen) > _ADDRESSES:
            del self._seen[next(iter(self._seen))]

    def close(self) -> None:
        """Accept nothing more.  What is open stays open."""
        for task in self._accepting:
            task.cancel()
        for listener in self._listeners:
            listener.close()
        self._listeners, self._accepting = [], []
        for connection in [*self._silent, *self._shaking]:
            connection.drop()

    async def drop_all(self) -> None:
        """End every connection."""
        tasks = [connection.task for connection in self._all if connection.task is not None]
        for connection in list(self._all):
            connection.drop()
        await asyncio.gather(*tasks, return_exceptions=True)
        while self._all:
            await asyncio.sleep(0)

    # Inside

    def _admit(self, sock: socket.socket, address: str) -> None:
        full = len(self._all) >= self._limits.connections
        if full or len(self._silent) + len(self._shaking) >= self._limits.unproven:
            oldest = next(iter(self._silent), None) or next(iter(self._shaking), None)
            if oldest is None:
                sock.close()
                return
            self._forget(oldest)
            oldest.drop()
        connection = Connection(address)
        self._all[connection] = self._silent[connection] = None
        connection.task = asyncio.create_task(self._shake(connection, sock))

    async def _shake(self, connection: Connection, sock: socket.socket) -> None:
        """Wait for the first byte, for a turn, and for the end of the handshake."""
        loop, limits = asyncio.get_running_loop(), self._limits
        try:
            async with asyncio.timeout(limits.handshake):
                await first_byte(sock)
                await self._turns.mine()
                self._begin_handshake(connection)
                self._refresh()
                await loop.connect_accepted_socket(
                    lambda: Served(self, connection, self._make()),
                    sock,
                    ssl=self._context,
                    ssl_handshake_timeout=limits.handshake,
                    ssl_shutdown_timeout=_SHUTDOWN,
                )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            self._report(connection, error)
            self._forget(connection)
        except BaseException:
            self._forget(connection)
            raise
        else:
            loop.call_later(limits.header, self._still_unproven, connection)
        finally:
            connection.task = None  # or it would keep all of this alive, in a circle
            if connection.transport is None:  # else it is the transport's, which may still say farewell
                sock.close()

    def _begin_handshake(self, connection: Connection) -> None:
        if len(self._shaking) >= self._limits.handshakes:
            oldest = next(iter(self._shaking))
            self._forget(oldest)
            oldest.drop()
        self._silent.pop(connection, None)
        self._shaking[connection] = None

    def _still_unproven(self, connection: Connection) -> None:
        if connection in self._shaking:
            connection.drop()

    def began(self, connection: Connection, protocol: asyncio.Protocol, transport: asyncio.BaseTransport) -> None:
        """The handshake has ended, and HTTP begins."""
        self._of_protocol[protocol] = connection
        if isinstance(transport, asyncio.Transport):
            connection.transport = transport  # before the task that waited for it goes on, for `drop`

    def ended(self, connection: Connection, protocol: asyncio.Protocol) -> None:
        """The connection is gone."""
        self._of_protocol.pop(protocol, None)
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self._all.pop(connection, None)
        self._silent.pop(connection, None)
        self._shaking.pop(connection, None)
        if connection.party is not None:
            self._of_party[connection.party].pop(connection, None)

    def say(self, connection: Connection, text: str) -> None:
        """A line for the log, unless there were too many."""
        if self._words.take() == 0.0:
            _log.info("%s: %s", connection.address, text)

    def _report(self, connection: Connection, error: Exception) -> None:
        if isinstance(error, ssl.SSLError):
            before = ", ".join(map(str, self._seen.get(connection.address, ())))
            who = f" (from there {before} came before)" if before else ""
            self.say(connection, f"a handshake failed{who}: {handshake_failure(error)}")


class Served(asyncio.Protocol):
    """Passes everything on to the HTTP protocol, and tells the gate when a connection begins and ends."""

    def __init__(self, gate: Gate, connection: Connection, inner: asyncio.Protocol) -> None:
        self._gate, self._connection, self._inner = gate, connection, inner
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As `asyncio.Protocol`."""
        self._gate.began(self._connection, self._inner, transport)
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """As `asyncio.Protocol`."""
        self._inner.connection_lost(exc)
        self._gate.ended(self._connection, self._inner)
