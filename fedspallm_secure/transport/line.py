"""Connections to one server: opened when needed, kept for a while, dropped when what is trusted changes."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from yarl import URL

from fedspallm_secure.crypto.certificates import Leaf
from fedspallm_secure.errors import (
    CertificateExpired,
    FedSpaError,
    NotAdmitted,
    PackageExpired,
    ProtocolViolation,
    RevocationListStale,
    TrustError,
    UsageError,
)
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.transport.answers import decode_refusal
from fedspallm_secure.transport.peers import check_client, check_server, read_leaf
from fedspallm_secure.transport.problems import Route, not_admitted, problem
from fedspallm_secure.transport.tls import Credentials, client_context
from fedspallm_secure.transport.wire import ANSWER_LIMIT

_KEPT = 30.0  # seconds that an idle connection is kept; the server keeps it longer
_SKEW = 300  # seconds by which clocks may differ without a word


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds.  connect: for a connection and its handshake; answer: without a byte from the server."""

    connect: float = 15.0
    answer: float = 120.0


class Line:
    """Sends requests to the server of a route, after its certificate was checked."""

    def __init__(
        self,
        route: Route,
        credentials: Credentials,
        software: str,
        trust: Callable[[], Trust],
        timeouts: Timeouts,
    ) -> None:
        if route.proxy is not None and not route.proxy.startswith("http://"):
            raise UsageError("a proxy is given as http://HOST:PORT", hint="TLS goes through it to the server unopened")
        self.route = route
        self._credentials, self._software, self._trust = credentials, software, trust
        self._timeouts = timeouts
        self._session: aiohttp.ClientSession | None = None
        self._held: Trust | None = None
        self._leaf: Leaf | None = None
        self._busy: Counter[aiohttp.ClientSession] = Counter()

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        wait: float = 0.0,
        accept: tuple[int, ...] = (200,),
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request, and its answer to be read inside of the block.

        wait: seconds for which the server may keep silent; accept: statuses that are no refusal.
        Raises TransportError, TrustError, and what the server refuses with.
        """
        session = await self._ready()
        url = URL.build(scheme="https", host=self.route.host, port=self.route.port, path=path, query=query or {})
        limit = aiohttp.ClientTimeout(None, None, self._timeouts.answer + wait, self._timeouts.connect)
        state = {"fresh": False, "answered": False}
        self._busy[session] += 1
        try:
            async with session.request(
                method,
                url,
                headers=headers,
                data=body,
                allow_redirects=False,
                timeout=limit,
                proxy=self.route.proxy,
                trace_request_ctx=state,
            ) as response:
                state["answered"] = True
                if response.status not in accept:
                    raise await self._refusal(response)
                yield response
        except FedSpaError:
            raise
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            fresh = state["fresh"] and not state["answered"] and body is None
            found = problem(error, self.route, fresh)
            raise (self._explained() if isinstance(found, NotAdmitted) and fresh else found) from error
        finally:
            await self._leave(session)

    async def close(self) -> None:
        """Drop all connections."""
        for session in {*self._busy, *([self._session] if self._session else [])}:
            await session.close()
        self._session = None
        self._busy.clear()

    # Inside

    async def _ready(self) -> aiohttp.ClientSession:
        """The session for what is trusted now.  Kept connections were checked against what was trusted then."""
        trust = self._trust()
        same = self._held is not None and (self._held.crl.der, self._held.roster.hash) == (
            trust.crl.der,
            trust.roster.hash,
        )
        if self._session is None or not same or not self._still_fit(trust):
            old, self._session = self._session, self._open(trust)
            self._held, self._leaf = trust, None
            if old is not None and not self._busy[old]:
                await old.close()
        return self._session

    async def _leave(self, session: aiohttp.ClientSession) -> None:
        self._busy[session] -= 1
        if not self._busy[session]:
            del self._busy[session]
            if session is not self._session:
                await session.close()

    def _still_fit(self, trust: Trust) -> bool:
        try:
            if self._leaf is not None:
                check_server(self._leaf, self.route.server, trust, int(time.time()))
        except TrustError:
            return False
        return True

    def _open(self, trust: Trust) -> aiohttp.ClientSession:
        def check(der: bytes) -> None:
            leaf = read_leaf(der, trust)
            check_server(leaf, self.route.server, trust, int(time.time()))
            self._leaf = leaf

        context = client_context(self._credentials, trust.root, trust.crl, check)
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_create_end.append(_note_fresh)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0, keepalive_timeout=_KEPT),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self._software, "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,  # the way there is what the configuration says, whatever the environment names
            trace_configs=[tracing],
        )

    async def _refusal(self, response: aiohttp.ClientResponse) -> FedSpaError:
        data = await read_bounded(response)
        error = decode_refusal(response.status, data, response.headers, str(self.route.server))
        skew = _skew(response.headers.get("Date"))
        if abs(skew) > _SKEW and isinstance(error, CertificateExpired | PackageExpired | RevocationListStale):
            word = "behind" if skew > 0 else "ahead of"
            error.hint = f"the clock of this machine is {abs(skew)} seconds {word} the server's; {error.hint}"
        return error

    def _explained(self) -> NotAdmitted:
        """The server does not say why it drops a connection; often enough it can be seen here."""
        try:
            trust = self._trust()
            check_client(read_leaf(self._credentials.certificate, trust), trust, int(time.time()))
        except TrustError as error:
            return not_admitted(self.route, str(error))
        return not_admitted(self.route, "")


async def read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """The body of an answer in JSON.  Raises ProtocolViolation above ANSWER_LIMIT."""
    data = bytearray()
    while piece := await response.content.readany():
        data += piece
        if len(data) > ANSWER_LIMIT:
            raise ProtocolViolation(f"an answer has more than {ANSWER_LIMIT} bytes")
    return bytes(data)


async def _note_fresh(_: aiohttp.ClientSession, context: Any, __: aiohttp.TraceConnectionCreateEndParams) -> None:
    context.trace_request_ctx["fresh"] = True


def _skew(date: str | None) -> int:
    """Seconds by which the server's clock is ahead of ours; 0 if it does not say."""
    try:
        return int(parsedate_to_datetime(date or "").replace(tzinfo=UTC).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0
