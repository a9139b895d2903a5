"""The HTTPS server of a federation: it takes packages in and hands packages out, and knows nothing of what is in them.

    server = Server(depot, credentials, SOFTWARE, trust, sequence)
    bound = await server.start([("0.0.0.0", 8443), ("::", 8443)])
    ...
    await server.stop(grace=30)

Every request is answered for the one party whose certificate the connection shows, judged by what `trust()` says at
that moment (SPEC section 19).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from aiohttp import web

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import ConnectionBroken, FedSpaError, MissingInput, TrustError, Unreachable
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.transport.answers import encode_refusal
from fedspallm_secure.transport.depot import Depot
from fedspallm_secure.transport.downloads import Bell, Downloads
from fedspallm_secure.transport.gate import Connection, Gate
from fedspallm_secure.transport.guards import Allowances, Limits
from fedspallm_secure.transport.listening import Address
from fedspallm_secure.transport.pacing import Bandwidth
from fedspallm_secure.transport.peers import check_client, read_leaf
from fedspallm_secure.transport.tls import Credentials, load_crl, server_context
from fedspallm_secure.transport.uploads import Uploads
from fedspallm_secure.transport.wire import HELLO, PACKAGE, PACKAGES, Hello

_log = logging.getLogger(__name__)
_READ = 1 << 18  # bytes that HTTP keeps before a handler has taken them
_LINGER = 2.0  # seconds in which the rest of a refused body is read, so that the refusal arrives


class Server:
    """A running server.  Made and used in one event loop, but for `notify`."""

    def __init__(
        self,
        depot: Depot,
        credentials: Credentials,
        software: str,
        trust: Callable[[], Trust],
        sequence: Callable[[Party], int],
        limits: Limits | None = None,
    ) -> None:
        """trust: what holds now; sequence: the highest sequence number that was taken in from a party.

        Raises CertificateRefused if certificate and key of `credentials` do not belong together.
        """
        self._trust, self._sequence, self._software = trust, sequence, software
        self._limits = limits or Limits()
        held = trust()
        self._context, self._crl = server_context(credentials, held.root, held.crl), held.crl
        self._allowances, self._bell = Allowances(self._limits), Bell()
        self._uploads = Uploads(depot, self._limits, self._allowances, Bandwidth(self._limits.up))
        self._downloads = Downloads(depot, self._limits, self._allowances, Bandwidth(self._limits.down), self._bell)
        self._http = web.Server(
            self._handle,
            handler_cancellation=True,
            keepalive_timeout=self._limits.idle,
            lingering_time=_LINGER,
            read_bufsize=_READ,
            auto_decompress=False,
            access_log=None,
        )
        self._gate = Gate(self._limits, self._context, self._http, self._refresh)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._active = 0

    async def start(self, addresses: Sequence[Address]) -> list[Address]:
        """Listen; returns the addresses that were bound.  Raises CannotListen if one cannot be."""
        self._loop = asyncio.get_running_loop()
        return self._gate.open(addresses)

    def notify(self) -> None:
        """Something new waits in the outbox: whoever waits for a listing gets it.  From any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                self._loop.call_soon_threadsafe(self._bell.ring)

    async def stop(self, grace: float = 10.0) -> None:
        """Take no more requests, let those that are under way finish for `grace` seconds, and close."""
        self._stopping = True
        self._gate.close()
        self._downloads.stop_waiting()
        end = asyncio.get_running_loop().time() + grace
        while self._active and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)
        await self._http.shutdown(0.1)
        await self._gate.drop_all()
        self._uploads.close()
        self._downloads.close()

    # One request

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = self._gate.connection(request.protocol)
        if connection is None:
            raise ConnectionResetError("the connection is gone")
        with self._counted(connection):
            try:
                peer = self._identify(connection, request)
                with self._allowances.request(peer):
                    return await self._answer(peer, request)
            except (ConnectionError, web.RequestPayloadError) as error:
                raise ConnectionResetError("the connection broke") from error
            except FedSpaError as error:
                if isinstance(error, TrustError):
                    self._gate.say(connection, f"{connection.party or 'a party'} was refused: {error}")
                return self._refuse(error)
            except Exception as error:
                _log.exception("a request failed")
                return self._refuse(error)

    def _identify(self, connection: Connection, request: web.BaseRequest) -> Party:
        """Whose request this is.  Raises TrustError if that party may make none, now."""
        trust = self._trust()
        if connection.leaf is None:
            shown = request.transport and request.transport.get_extra_info("ssl_object")
            if not shown:
                raise ConnectionResetError("the connection is gone")
            connection.leaf = read_leaf(shown.getpeercert(binary_form=True) or b"", trust)
        party = check_client(connection.leaf, trust, int(time.time()))
        self._gate.prove(connection, party)
        return party

    async def _answer(self, peer: Party, request: web.BaseRequest) -> web.StreamResponse:
        if self._stopping:
            raise Unreachable("the service is closing", hint="try again later")
        method, path = request.method, request.path
        if method == "GET" and path == HELLO:
            return await self._hello(peer)
        if method == "GET" and path == PACKAGES:
            return await self._downloads.listing(peer, request)
        found = PACKAGE.fullmatch(path)
        handle = found and {
            "PUT": self._uploads.create,
            "HEAD": self._uploads.status,
            "PATCH": self._uploads.append,
            "GET": self._downloads.send,
        }.get(method)
        if found is None or handle is None:
            raise MissingInput("there is no such thing here", hint="update the program at the other end")
        return await handle(peer, found[1], request)

    async def _hello(self, peer: Party) -> web.StreamResponse:
        trust = self._trust()
        hello = Hello(
            trust.roster.federation,
            self._software,
            trust.roster.version,
            trust.roster.hash,
            trust.crl.number,
            int(time.time()),
            self._sequence(peer),
        )
        return web.Response(body=hello.encode(), content_type="application/json")

    # Inside

    @contextmanager
    def _counted(self, connection: Connection) -> Iterator[None]:
        self._active += 1
        connection.busy += 1
        try:
            yield
        finally:
            self._active -= 1
            connection.busy -= 1

    def _refuse(self, error: Exception) -> web.Response:
        status, body, headers = encode_refusal(error)
        response = web.Response(status=status, body=body, content_type="application/json", headers=headers)
        if isinstance(error, TrustError | ConnectionBroken):
            response.force_close()
        return response

    def _refresh(self) -> None:
        """Bring a newer revocation list into the context, before the next handshake."""
        crl = self._trust().crl
        if crl.number > self._crl.number:
            load_crl(self._context, crl)
            self._crl = crl
