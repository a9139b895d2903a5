"""Checks of the way to the server, step by step: name, connection, TLS, and whether it is the one that was meant."""

import asyncio
import socket
import ssl
import time
from urllib.parse import urlsplit

from fedspallm_secure import SOFTWARE
from fedspallm_secure.app.configuration.key_holder import KeyHolderConfig
from fedspallm_secure.app.configuration.member import MemberConfig
from fedspallm_secure.app.configuration.witness import WitnessConfig
from fedspallm_secure.app.service.findings import Finding, Findings, Patient, bad, good, note, told
from fedspallm_secure.crypto.certificate_fields import day
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.revocation import CLOCK_SKEW
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.protocol.software import is_trusted
from fedspallm_secure.storage import home_folder as folder
from fedspallm_secure.transport.client import Courier, Manners
from fedspallm_secure.transport.line import Timeouts
from fedspallm_secure.transport.patience import Patience
from fedspallm_secure.transport.peers import check_server, read_leaf
from fedspallm_secure.transport.problems import Route, problem
from fedspallm_secure.transport.tls import Credentials, client_context
from fedspallm_secure.transport.wire import Hello

HTTPS = 443
_SECONDS = 10.0  # for each step
_SKEW = 60  # seconds by which clocks may differ without a word
_MANNERS = Manners(Timeouts(_SECONDS, _SECONDS), Patience(tries=1))


def reach(patient: Patient) -> Findings:
    """Whether whoever follows a server reaches it, and whether the two agree on what they know."""
    config = patient.follower
    if config is None:
        return
    if not config.server.url:
        yield note("server", "no [server] url: packages are carried by hand")
        return
    route = route_of(config)
    if route.proxy is None:
        found = list(_connect(route))
        yield from found
        if any(finding.fix for finding in found):
            return
    if patient.unlocking is None:
        yield note("TLS", "not looked at: no password was given", "give one, as for fedprune client run")
        return
    trust = patient.home.trust
    key = patient.home.tls_key(patient.unlocking.key(patient.home.path / folder.TLS_KEY))
    credentials = Credentials(patient.home.tls.der, key)
    if route.proxy is None:
        shaken = _handshake(route, credentials, trust)
        yield shaken
        if shaken.fix:
            return
    try:
        hello, skew = asyncio.run(_greet(route, credentials, trust))
    except FedSpaError as error:
        yield told("server", error)
        return
    if route.proxy is not None:
        yield good("TLS", f"the server answered by way of {route.proxy}; nothing below TLS 1.3 is spoken")
    yield from about(hello, skew, trust, config)


def route_of(config: MemberConfig | WitnessConfig | KeyHolderConfig) -> Route:
    """Where the configuration says that the server is."""
    found = urlsplit(config.server.url)
    server = Party(Role.SERVER.value, config.server.id)
    return Route(found.hostname or "", found.port or HTTPS, server, config.server.proxy or None)


def _connect(route: Route) -> Findings:
    """The name, and a TCP connection to what it stands for."""
    try:
        found = socket.getaddrinfo(route.host, route.port, type=socket.SOCK_STREAM)
    except OSError as error:
        text = f"there is no address for {route.host}: {error.strerror or error}"
        yield bad("network", text, "check [server] url, and the name server of this machine")
        return
    addresses = sorted({str(address[0]) for *_, address in found})
    try:
        with socket.create_connection((route.host, route.port), _SECONDS):
            pass
    except OSError as error:
        text = f"{route.host} port {route.port} cannot be reached: {error.strerror or error}"
        fix = "check address and port, firewalls on the way, and whether fedprune server runs there"
        yield bad("network", text, fix)
        return
    yield good("network", f"{route.host} is {', '.join(addresses)}, and port {route.port} is open")


def _handshake(route: Route, credentials: Credentials, trust: Trust) -> Finding:
    """TLS, and whose certificate comes back."""
    context = client_context(credentials, trust.root, trust.crl, lambda _: None)
    try:
        with (
            socket.create_connection((route.host, route.port), _SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=route.host) as secured,
        ):
            leaf = read_leaf(secured.getpeercert(binary_form=True) or b"", trust)
            check_server(leaf, route.server, trust, int(time.time()))
            name, protocol, _ = secured.cipher() or ("no cipher", "TLS", 0)
    except (OSError, ssl.SSLError) as error:
        return told("TLS", problem(error, route, False))
    except FedSpaError as error:
        return told("TLS", error)
    return good("TLS", f"{protocol} with {name}; the certificate of {leaf.party} ends on {day(leaf.not_after)}")


async def _greet(route: Route, credentials: Credentials, trust: Trust) -> tuple[Hello, int]:
    """What the server says, and by how many seconds its clock is ahead."""
    async with Courier(route, credentials, SOFTWARE, lambda: trust, _MANNERS) as courier:
        return await courier.hello(), courier.skew


def about(hello: Hello, skew: int, trust: Trust, config: MemberConfig | WitnessConfig | KeyHolderConfig) -> Findings:
    """What the server says of itself, compared with what is pinned here.  skew: seconds its clock is ahead."""
    yield good("server", f"server/{config.server.id} of {hello.federation} answers, with {hello.software}")
    trusted = config.policy.software if isinstance(config, MemberConfig) else ()
    if trusted and not is_trusted(hello.software, trusted):
        text = f"it runs {hello.software}, which [policy] software does not name"
        yield bad("server", text, "ask its operator for a program you trust, or name it there")
    yield _roster(hello, trust)
    if hello.crl > trust.crl.number:
        fix = "get it from the authority and import it: fedprune certs import FILE"
        yield bad("server", f"it has revocation list {hello.crl}, and yours is {trust.crl.number}", fix)
    elif hello.crl < trust.crl.number:
        fix = "ask its operator to import the newest one"
        yield note("server", f"it has revocation list {hello.crl}, and yours is {trust.crl.number}", fix)
    word = "ahead of" if skew > 0 else "behind"
    apart = f"the server's is {abs(skew)} seconds {word} yours"
    if abs(skew) > CLOCK_SKEW:
        yield bad("clock", apart, "set the wrong one of the two, best by NTP: nothing is accepted this far apart")
    elif abs(skew) > _SKEW:
        yield note("clock", apart, "set the wrong one of the two, best by NTP")
    else:
        yield good("clock", "it agrees with the server's")


def _roster(hello: Hello, trust: Trust) -> Finding:
    mine = trust.roster
    if hello.roster_hash == mine.hash:
        return good("server", f"it has the same roster, version {mine.version}")
    if hello.roster_version == mine.version:
        text = f"it has another roster of the same version {mine.version}: somebody was given a false one"
        return bad("server", text, "take part in nothing, and compare fingerprints with the authority by voice")
    text = f"it has version {hello.roster_version} of the roster, and yours is {mine.version}"
    if hello.roster_version > mine.version:
        return bad("server", text, "get the newest from the authority and import it: fedprune certs import FILE")
    return bad("server", text, "ask its operator to import the newest one; until then it declines your packages")
