"""What went wrong with a connection, in words: every error of the HTTP client, of TLS and of the system as one of ours.

In TLS 1.3 a client has finished its handshake before the server has looked at its certificate.  If the server does
not like it, all that the client sees is a connection that ends before the first answer (SPEC section 19.1).
"""

import asyncio
import errno
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import (
    CertificateExpired,
    CertificateRefused,
    CertificateRevoked,
    ConnectionBroken,
    FedSpaError,
    NotAdmitted,
    ProtocolViolation,
    ProxyRefused,
    RevocationListStale,
    Unreachable,
)
from fedspallm_secure.transport.tls import PeerUnfit

_CLOCK = "compare the clock of this machine, which says {now}, with the true time; if it is right, tell the operator"
_OTHER_ROOT = "compare the root fingerprint with the authority's; a firewall that opens TLS looks like this too"
_NAME = "use a name that is in the certificate, or ask the operator for a certificate that names this host"
_NEW_LIST = "get the newest one from the authority and import it: fedprune certs import FILE"
_VERIFY: dict[int, tuple[type[FedSpaError], str, str]] = {  # X509_V_ERR_* of OpenSSL -> error, words, hint
    3: (RevocationListStale, "no revocation list covers the certificate of {end}", _NEW_LIST),
    9: (CertificateExpired, "the certificate of {end} is not valid yet, by the clock of this machine", _CLOCK),
    10: (CertificateExpired, "the certificate of {end} is no longer valid, by the clock of this machine", _CLOCK),
    11: (RevocationListStale, "the revocation list here was made in the future, by the clock of this machine", _CLOCK),
    12: (RevocationListStale, "the revocation list here is past its next update", _NEW_LIST),
    18: (CertificateRefused, "the certificate of {end} is signed by itself, not by the federation", _OTHER_ROOT),
    19: (CertificateRefused, "the certificate of {end} was issued by another authority", _OTHER_ROOT),
    20: (CertificateRefused, "the certificate of {end} was issued by another authority", _OTHER_ROOT),
    23: (CertificateRevoked, "the authority has withdrawn the certificate of {end}", CertificateRevoked.hint),
    26: (CertificateRefused, "the certificate of {end} is not that of a server", "ask who runs a service there"),
    62: (CertificateRefused, "the certificate of {end} does not name this host", _NAME),
    64: (CertificateRefused, "the certificate of {end} does not name this address", _NAME),
}
_NOT_LIKED = {  # alerts in which the other end says what it thinks of our certificate
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it saw none",
    "TLSV1_ALERT_UNKNOWN_CA": "it trusts another authority",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it was withdrawn",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it is not valid now, by its clock",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it is for another purpose",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it is not in the form of this federation",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not say why",
    "TLSV1_ALERT_ACCESS_DENIED": "it does not say why",
}
_NOT_TLS_1_3 = {
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "UNSUPPORTED_PROTOCOL",
    "WRONG_SSL_VERSION",
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "HTTP_REQUEST",
    "UNEXPECTED_MESSAGE",
}
_WORDS = {
    errno.ECONNREFUSED: "nobody listens there",
    errno.EHOSTUNREACH: "there is no way to that host",
    errno.ENETUNREACH: "there is no way to that network",
}


_ASK = "its operator sees the reason: the client there says what it found"
_SHAKEN = {  # alerts of a client that did not like this server's certificate -> words, and what to do
    "TLSV1_ALERT_UNKNOWN_CA": (
        "it cannot trace this server's certificate to the root that it has pinned",
        "compare root fingerprints, and see that both sides have the newest revocation list and roster",
    ),
    "SSLV3_ALERT_CERTIFICATE_REVOKED": (
        "by its list the certificate of this server was withdrawn",
        "ask the authority; a server that was withdrawn enrols anew",
    ),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": (
        "this server's certificate or the list there is out of date, by its clock",
        "it imports the newest list; fedprune doctor looks at the certificate here",
    ),
    "SSLV3_ALERT_BAD_CERTIFICATE": ("it did not accept this server's certificate", _ASK),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": ("it did not accept this server's certificate", _ASK),
}
_WITHDRAWN = "nothing, if that was meant; else the authority enrols that party again"


def handshake_failure(error: ssl.SSLError) -> str:
    """Why a handshake failed at a server, and what to do, as one line for its log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        kind, words, hint = _VERIFY.get(error.verify_code, (None, "", ""))
        if kind is None:
            return f"the certificate that it showed was refused: {error.verify_message}"
        if kind is CertificateRevoked:
            return f"{words.format(end='this client')}.  To do: {_WITHDRAWN}"
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        return f"{words.format(end='this client')}.  To do: {hint.format(now=now)}"
    reason = getattr(error, "reason", None) or ""
    if reason in _SHAKEN:
        words, hint = _SHAKEN[reason]
        return f"{words}.  To do: {hint}"
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "it showed no certificate: no client of this federation"
    if reason in _NOT_TLS_1_3:
        return "it does not speak TLS 1.3: no client of this federation"
    return reason or "it was broken off"


@dataclass(frozen=True, slots=True)
class Route:
    """Where a server is.  proxy: http://HOST:PORT on the way, None for none; it may hold a name and a password."""

    host: str
    port: int
    server: Party
    proxy: str | None = None

    def __str__(self) -> str:
        return f"{self.server} at {self.host} port {self.port}"

    @property
    def shown_proxy(self) -> str:
        """The proxy without what must not be shown."""
        return (self.proxy or "").rpartition("@")[2].removeprefix("http://")


def problem(error: BaseException, route: Route, fresh: bool) -> FedSpaError:
    """`error` as one of ours.

    fresh: the connection was new and nothing had come over it, and the request had no body: then an end without an
    answer means that the certificate was refused.
    """
    for found in _causes(error):
        if isinstance(found, FedSpaError):
            return found
        if isinstance(found, PeerUnfit):
            return found.refusal
    for found in _causes(error):
        if isinstance(found, aiohttp.ClientError):  # some of them are errors of TLS too, without what those know
            continue
        if isinstance(found, ssl.SSLCertVerificationError):
            return _unverified(found, route)
        if isinstance(found, ssl.SSLError):
            return _tls(found, route)
    return _network(error, route, fresh)


def not_admitted(route: Route, why: str) -> NotAdmitted:
    """The server has dropped the connection after the handshake."""
    return NotAdmitted(
        f"{route} closed the connection right after the handshake: it refused your certificate{why and f': {why}'}"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what lies behind it."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
        error = inner if isinstance(inner, BaseException) and inner is not error else error.__cause__


def _unverified(error: ssl.SSLCertVerificationError, route: Route) -> FedSpaError:
    kind, words, hint = _VERIFY.get(
        error.verify_code,
        (
            CertificateRefused,
            f"the certificate of {{end}} was refused: {error.verify_message}",
            CertificateRefused.hint,
        ),
    )
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return kind(words.format(end=route), hint=hint.format(now=now))


def _tls(error: ssl.SSLError, route: Route) -> FedSpaError:
    reason = getattr(error, "reason", None) or ""  # only what OpenSSL itself has raised has one
    if reason in _NOT_LIKED:
        return not_admitted(route, _NOT_LIKED[reason])
    if reason in _NOT_TLS_1_3:
        return ProtocolViolation(
            f"{route} does not speak TLS 1.3",
            hint="check the port; something on the way that opens TLS has to let this connection alone",
        )
    return ConnectionBroken(f"TLS with {route} failed: {reason or 'it was broken off'}")


def _network(error: BaseException, route: Route, fresh: bool) -> FedSpaError:
    match error:
        case aiohttp.ClientHttpProxyError():
            return ProxyRefused(f"the proxy {route.shown_proxy} answered {error.status} when asked for {route}")
        case aiohttp.ClientProxyConnectionError():
            return ProxyRefused(
                f"the proxy {route.shown_proxy} cannot be reached: {_words(error.os_error)}",
                hint="check the address of the proxy in the settings",
            )
        case aiohttp.ClientConnectorDNSError():
            return Unreachable(f"there is no address for {route.host}: {_words(error.os_error)}")
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionResetError | BrokenPipeError):
            return ConnectionBroken(
                f"{route} closed the connection during the handshake",
                hint="if this happens again: check the port; what listens there may not speak TLS 1.3",
            )
        case aiohttp.ClientConnectorError():
            return Unreachable(f"{route} cannot be reached: {_words(error.os_error)}")
        case aiohttp.ConnectionTimeoutError():
            return Unreachable(f"{route} cannot be reached: no answer in time")
        case asyncio.TimeoutError():
            return ConnectionBroken(f"nothing came from {route} for too long")
        case aiohttp.ClientResponseError():
            return ProtocolViolation(f"{route} does not answer as a server of a federation does")
        case aiohttp.ServerDisconnectedError() | ConnectionError() | aiohttp.ClientOSError() if fresh:
            return not_admitted(route, "")
    return ConnectionBroken(f"the connection to {route} broke")


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno in _WORDS:
        return _WORDS[error.errno]
    return getattr(error, "strerror", None) or "no connection"
