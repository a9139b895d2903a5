"""Every way in which a connection can fail is said in words that tell who has to do what."""

import asyncio
import errno
import socket
import ssl
import time
from contextlib import suppress
from email.utils import formatdate

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from cryptography.hazmat.primitives.asymmetric import ec

from fedspallm_secure import errors
from fedspallm_secure.crypto.encoding import canonical_json
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.profiles import DAY
from fedspallm_secure.errors import (
    CertificateExpired,
    CertificateRefused,
    CertificateRevoked,
    ConnectionBroken,
    FedSpaError,
    NotAdmitted,
    PackageExpired,
    ProtocolViolation,
    ProxyRefused,
    RevocationListStale,
    Throttled,
    Unreachable,
    UsageError,
)
from fedspallm_secure.transport.answers import decode_refusal, encode_refusal
from fedspallm_secure.transport.client import Manners
from fedspallm_secure.transport.line import Timeouts, _skew
from fedspallm_secure.transport.patience import Patience
from fedspallm_secure.transport.problems import Route, problem
from fedspallm_secure.transport.wire import Hello, Listing
from tests.attacks.tls_cases import SERVER, Forger, Shown, context
from tests.authority import Authority, signer
from tests.transport.ground import HUB, NORTH, Town, asynchronous, running
from tests.transport.relays import Proxy, Wire

ONCE = Manners(Timeouts(2.0, 2.0), Patience(1))
SPARE = Party.parse("server/spare")


async def failure(courier) -> FedSpaError:
    async with courier:
        with pytest.raises(FedSpaError) as caught:
            await courier.hello()
    found = caught.value
    assert found.hint
    for text in (str(found), found.hint):
        assert text.isprintable() and "PRIVATE" not in text and "secret" not in text and "_ssl.c" not in text
    return found


# --- the server's certificate -----------------------------------------------------------------------------------------


async def against(town: Town, tmp_path, shown: Shown) -> FedSpaError:
    """What a courier says of a server that shows this."""
    used = context(shown, SERVER, tmp_path)

    def serve() -> None:  # not with asyncio, which keeps the last alert to itself
        plain, _ = listener.accept()
        with plain, suppress(OSError), used.wrap_socket(plain, server_side=True) as sock:
            sock.recv(100)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = asyncio.create_task(asyncio.to_thread(serve))
        found = await failure(town.courier(listener.getsockname()[1], manners=ONCE))
        await served
    return found


SERVERS = {
    "of another authority": (
        lambda f: f.shown(f.leaf(by=signer("stranger"))),
        CertificateRefused,
        "failure",
    ),
    "no longer valid": (
        lambda f: f.shown(f.leaf(start=f.now - DAY, end=f.now - 60)),
        CertificateExpired,
        "is no longer valid, by the clock of this machine",
    ),
    "not valid yet": (
        lambda f: f.shown(f.leaf(start=f.now + 3600)),
        CertificateExpired,
        "is not valid yet, by the clock of this machine",
    ),
    "a member's": (
        lambda f: f.shown(f.leaf(der=f.town.leaf(NORTH).der)),
        CertificateRefused,
        "is not that of a server",
    ),
    "another server's": (
        lambda f: f.shown(f.leaf(f.names("spiffe://lungs.example/server/spare"))),
        CertificateRefused,
        "server/spare answers, not server/hub",
    ),
    "of TLS 1.2": (
        lambda f: f.shown(f.leaf(), version=ssl.TLSVersion.TLSv1_2),
        ProtocolViolation,
        "does not speak TLS 1.3",
    ),
}


@pytest.mark.parametrize("case", SERVERS)
@asynchronous
async def test_a_server_that_is_not_the_right_one(tmp_path, case):
    make, kind, words = SERVERS[case]
    town = Town()
    found = await against(town, tmp_path, make(Forger(town, ec.generate_private_key(ec.SECP256R1()), SERVER)))
    assert type(found) is kind
    assert words in str(found)
    if kind is CertificateExpired:
        assert time.strftime("%Y-%m-%d", time.gmtime()) in found.hint


@asynchronous
async def test_a_withdrawn_server(tmp_path):
    mine, theirs = Town(), Town()
    theirs.leaves = mine.leaves
    mine.leaf(HUB)
    mine.revoke(HUB)
    async with running(tmp_path, town=theirs) as place:
        found = await failure(mine.courier(place.port, manners=ONCE))
    assert type(found) is CertificateRevoked
    assert "the authority has withdrawn the certificate of server/hub at 127.0.0.1 port" in str(found)


@asynchronous
async def test_a_server_under_another_root(tmp_path):
    other = Town(Authority(key=signer("another transport root"), now=int(time.time()) - 2 * DAY))
    async with running(tmp_path, town=other) as place:
        found = await failure(Town().courier(place.port, manners=ONCE))
    assert type(found) is CertificateRefused
    assert "root" in found.hint or "authority" in str(found)


@asynchronous
async def test_a_name_that_the_certificate_does_not_have(tmp_path):
    async with running(tmp_path, host="127.0.0.2") as place:
        found = await failure(place.courier(host="127.0.0.2", manners=ONCE))
    assert type(found) is CertificateRefused
    assert "does not name this address" in str(found)
    assert "ask the operator for a certificate that names this host" in found.hint


@asynchronous
async def test_a_revocation_list_of_ours_that_is_too_old(tmp_path):
    mine, theirs = Town(), Town()
    theirs.leaves = mine.leaves
    mine.crl = mine.authority.crl(now=int(time.time()) - 80 * DAY)
    async with running(tmp_path, town=theirs) as place:
        found = await failure(mine.courier(place.port, manners=ONCE))
    assert type(found) is RevocationListStale
    assert "past its next update" in str(found)
    assert "fedprune certs import" in found.hint


# --- our certificate --------------------------------------------------------------------------------------------------


@asynchronous
async def test_a_client_that_is_withdrawn_is_told_what_the_drop_means(tmp_path):
    mine, theirs = Town(), Town()
    theirs.leaves = mine.leaves
    mine.leaf(NORTH)
    theirs.revoke(NORTH)
    async with running(tmp_path, town=theirs) as place:
        found = await failure(mine.courier(place.port, manners=ONCE))
        assert type(found) is NotAdmitted
        assert str(found).endswith("closed the connection right after the handshake: it refused your certificate")
        mine.revoke(NORTH)  # now it can be seen here as well
        found = await failure(mine.courier(place.port, manners=ONCE))
    assert str(found).endswith("it refused your certificate: the tls certificate of member/north was withdrawn")


@asynchronous
async def test_a_client_of_another_authority(tmp_path):
    """Its own checks of the server hold, say because it was given the server's root; the server does not know its."""
    town = Town()
    other = Town(Authority(key=signer("another transport root"), now=int(time.time()) - 2 * DAY))
    async with running(tmp_path, town=town) as place:
        found = await failure(place.courier(credentials=other.credentials(NORTH), manners=ONCE))
    assert type(found) is NotAdmitted
    assert "is not issued by the root with fingerprint" in str(found)


@asynchronous
async def test_a_refusal_is_believed_when_it_was_repeated(tmp_path):
    mine, theirs = Town(), Town()
    theirs.leaves = mine.leaves
    mine.leaf(NORTH)
    theirs.revoke(NORTH)
    async with running(tmp_path, town=theirs) as place, Wire(place.port).open() as wire:
        await failure(mine.courier(wire.port, manners=Manners(Timeouts(2.0, 2.0), Patience(8, 0.01, 0.02))))
        assert wire.connections == 6, "three tries, and the HTTP client makes two of each"


@asynchronous
async def test_a_wrong_role_is_said_by_the_server_or_seen_here(tmp_path):
    town = Town(parties=(*Town.parties, SPARE))
    async with running(tmp_path, town=town) as place:
        found = await failure(place.courier(SPARE, manners=ONCE))
    assert type(found) is NotAdmitted
    assert "servers do not ask each other" in str(found)


@asynchronous
async def test_somebody_who_is_not_in_the_roster_is_told_so(tmp_path):
    town = Town()
    town.roster = town.authority.roster(HUB)
    async with running(tmp_path, town=town) as place:
        found = await failure(Town().courier(place.port, manners=ONCE))
    assert type(found) is errors.UnknownSender
    assert str(found) == "server/hub says: member/north is not in version 1 of the roster"


# --- the way ----------------------------------------------------------------------------------------------------------


@asynchronous
async def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = await failure(Town().courier(port, manners=ONCE))
    assert type(found) is Unreachable
    assert str(found) == f"server/hub at 127.0.0.1 port {port} cannot be reached: nobody listens there"


@asynchronous
async def test_there_is_no_such_host():
    found = await failure(Town().courier(8443, host="hub.lungs.invalid", manners=ONCE))
    assert type(found) is Unreachable
    assert "there is no address for hub.lungs.invalid" in str(found)


@asynchronous
async def test_somebody_listens_who_never_answers():
    quick = Manners(Timeouts(0.3, 0.3), Patience(1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = await failure(Town().courier(silent.getsockname()[1], manners=quick))
    assert isinstance(found, Unreachable | ConnectionBroken)
    assert "no answer in time" in str(found) or "for too long" in str(found)


@asynchronous
async def test_a_server_that_falls_silent(tmp_path):
    quick = Manners(Timeouts(2.0, 0.3), Patience(1))
    async with running(tmp_path) as place:
        place.depot.listing = lambda *_: time.sleep(1) or []
        async with place.courier(manners=quick) as courier:
            with pytest.raises(ConnectionBroken, match=r"nothing came from server/hub .* for too long"):
                await courier.listing(0)


@asynchronous
async def test_somebody_listens_who_does_not_speak_tls():
    def serve() -> None:
        plain, _ = listener.accept()
        with plain:
            plain.recv(10)
            plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = asyncio.create_task(asyncio.to_thread(serve))
        found = await failure(Town().courier(listener.getsockname()[1], manners=ONCE))
        await served
    assert type(found) is ProtocolViolation
    assert "does not speak TLS 1.3" in str(found)


@asynchronous
async def test_a_break_in_the_handshake(tmp_path):
    async with running(tmp_path) as place, Wire(place.port, iter([300])).open() as wire:
        found = await failure(place.town.courier(wire.port, manners=ONCE))
    assert type(found) is ConnectionBroken


# --- proxies ----------------------------------------------------------------------------------------------------------


@asynchronous
async def test_a_proxy_is_gone_through(tmp_path):
    async with running(tmp_path) as place, Proxy().open() as proxy:
        secret = proxy.url.replace("http://", "http://me:secret@")
        async with place.courier(proxy=secret, manners=ONCE) as courier:
            assert (await courier.hello()).federation == "lungs.example"
        assert proxy.asked == [f"127.0.0.1:{place.port}"]
        assert b"Proxy-Authorization: Basic" in proxy.heads[0]


@asynchronous
async def test_a_proxy_cannot_be_the_server(tmp_path):
    """It sees TLS, and what it makes of that is refused like anybody else's certificate."""
    other = Town(Authority(key=signer("another transport root"), now=int(time.time()) - 2 * DAY))
    async with running(tmp_path, town=other) as false, Proxy().open() as proxy:
        courier = Town().courier(false.port, proxy=proxy.url, manners=ONCE)
        assert type(await failure(courier)) is CertificateRefused


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "answered 403"),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "answered 407"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "answered 502"),
    ],
    ids=["forbidden", "password", "gateway"],
)
@asynchronous
async def test_a_proxy_that_does_not_let_us_through(answer, words):
    async with Proxy(lambda target: answer).open() as proxy:
        secret = proxy.url.replace("http://", "http://me:secret@")
        found = await failure(Town().courier(8443, proxy=secret, manners=ONCE))
    assert type(found) is ProxyRefused
    assert words in str(found)
    assert proxy.url.removeprefix("http://") in str(found)


@asynchronous
async def test_a_proxy_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = await failure(Town().courier(8443, proxy=f"http://me:secret@127.0.0.1:{port}", manners=ONCE))
    assert type(found) is ProxyRefused
    assert str(found) == f"the proxy 127.0.0.1:{port} cannot be reached: nobody listens there"


@pytest.mark.parametrize("proxy", ["https://proxy:1", "socks5://proxy:1", "proxy:1"])
def test_other_proxies_are_refused(proxy):
    async def make() -> None:
        Town().courier(1, proxy=proxy)

    with pytest.raises(UsageError, match="a proxy is given as http://HOST:PORT"):
        asyncio.run(make())


@asynchronous
async def test_proxies_of_the_environment_are_ignored(tmp_path, monkeypatch):
    async with running(tmp_path) as place, Proxy().open() as proxy:
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with place.courier(manners=ONCE) as courier:
            await courier.hello()
        assert not proxy.asked


# --- alerts, which other servers send ---------------------------------------------------------------------------------


def ssl_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] {reason.lower()} (_ssl.c:2580)")
    error.reason = reason
    return error


ROUTE = Route("hub.lungs.example", 8443, HUB, "http://me:secret@proxy:3128")


@pytest.mark.parametrize(
    ("reason", "kind", "words"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", NotAdmitted, "it refused your certificate: it saw none"),
        ("TLSV1_ALERT_UNKNOWN_CA", NotAdmitted, "it refused your certificate: it trusts another authority"),
        ("SSLV3_ALERT_CERTIFICATE_REVOKED", NotAdmitted, "it refused your certificate: it was withdrawn"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", NotAdmitted, "it refused your certificate: it is not valid now"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", ProtocolViolation, "does not speak TLS 1.3"),
        ("WRONG_VERSION_NUMBER", ProtocolViolation, "does not speak TLS 1.3"),
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", ConnectionBroken, "TLS with server/hub"),
    ],
)
def test_alerts_have_words(reason, kind, words):
    wrapped = aiohttp.ClientOSError(1, "x")
    wrapped.__cause__ = ssl_error(reason)
    for error in (ssl_error(reason), wrapped):
        found = problem(error, ROUTE, fresh=True)
        assert type(found) is kind
        assert words in str(found)
        assert "secret" not in str(found)


def test_an_error_of_tls_without_a_reason():
    inner = ssl.SSLError(1, "record layer failure")
    assert not hasattr(inner, "reason")
    key = ConnectionKey("hub.lungs.example", 8443, True, True, None, None, None)
    for error in (inner, aiohttp.ClientConnectorSSLError(key, inner)):
        found = problem(error, ROUTE, fresh=True)
        assert type(found) is ConnectionBroken
        assert "TLS with server/hub" in str(found)


@pytest.mark.parametrize("fresh", [True, False])
def test_an_end_without_an_answer_is_a_refusal_only_on_a_new_connection(fresh):
    for error in (aiohttp.ServerDisconnectedError(), ConnectionResetError(errno.ECONNRESET, "reset")):
        assert type(problem(error, ROUTE, fresh)) is (NotAdmitted if fresh else ConnectionBroken)


def test_whatever_else_happens_is_a_break():
    assert type(problem(aiohttp.ClientPayloadError("x"), ROUTE, fresh=True)) is ConnectionBroken
    assert type(problem(TimeoutError(), ROUTE, fresh=True)) is ConnectionBroken


# --- refusals ---------------------------------------------------------------------------------------------------------

KINDS = [
    getattr(errors, name)
    for name in errors.__all__
    if issubclass(
        getattr(errors, name),
        errors.TrustError
        | errors.PackageRefused
        | errors.LimitExceeded
        | errors.MissingInput
        | errors.FormatError
        | errors.StorageError
        | errors.TransportError,
    )
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_refusals_come_back_as_what_they_were(kind):
    error = kind() if kind is errors.CannotDecrypt else kind("what it is", hint="what to do")
    status, body, fields = encode_refusal(error)
    assert 400 <= status < 600
    found = decode_refusal(status, body, fields, "server/hub")
    assert str(found).startswith("server/hub says: ")
    assert type(found) is (ProtocolViolation if kind is errors.CannotDecrypt else kind)
    inside = issubclass(kind, errors.StorageError)
    assert ("what it is" in str(found)) is (not inside and kind is not errors.CannotDecrypt)
    assert found.hint


def test_what_is_no_error_of_ours_is_not_told():
    for error in (ValueError("/srv/secret"), errors.RoundAborted("of member/west"), errors.WrongPassword("x")):
        status, body, _ = encode_refusal(error)
        assert status == 500
        assert b"something went wrong in the server" in body
        assert b"secret" not in body and b"west" not in body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b"{}",
        b"[]",
        canonical_json({"error": "X", "message": "m", "hint": "h", "code": "7"}),
        canonical_json({"error": "X", "message": "m", "hint": "h", "code": 7, "more": 1}),
    ],
)
def test_answers_of_others_are_no_refusals(body):
    found = decode_refusal(502, body, {}, "server/hub")
    assert type(found) is ProtocolViolation
    assert "status 502" in str(found)


@pytest.mark.parametrize("name", ["FedSpaError", "UsageError", "WrongPassword", "KeyboardInterrupt", "__doc__", "X"])
def test_a_server_cannot_raise_just_anything(name):
    body = canonical_json({"error": name, "message": "m", "hint": "h", "code": 1})
    assert type(decode_refusal(400, body, {}, "server/hub")) is ProtocolViolation


def test_words_of_a_server_are_bounded_and_harmless():
    body = canonical_json({"error": "FormatError", "message": "é\u202e" + "x" * 9000, "hint": "h", "code": 18})
    found = decode_refusal(400, body, {}, "server/hub")
    assert len(str(found)) < 600
    assert str(found).isascii() and str(found).isprintable()


@pytest.mark.parametrize(("text", "wait"), [("3", 3.0), ("9999", 60.0), ("x", 1.0), ("-1", 1.0), (None, 1.0)])
def test_waits_are_bounded(text, wait):
    status, body, _ = encode_refusal(Throttled("slowly"))
    found = decode_refusal(status, body, {} if text is None else {"Retry-After": text}, "server/hub")
    assert isinstance(found, Throttled) and found.wait == wait


@asynchronous
async def test_clocks_that_differ_are_named(tmp_path, monkeypatch):
    async with running(tmp_path) as place, place.courier(manners=ONCE) as courier:

        def refuse(*_):
            raise PackageExpired("the package expired 5 seconds ago")

        place.depot.listing = refuse
        monkeypatch.setattr("fedspallm_secure.transport.line._skew", lambda date: -4000)
        with pytest.raises(PackageExpired) as caught:
            await courier.listing(0)
        assert "the clock of this machine is 4000 seconds ahead of the server's; " in caught.value.hint


@pytest.mark.parametrize("seconds", [-5000, 0, 5000])
def test_the_date_of_an_answer_tells_the_time_of_the_server(seconds):
    date = formatdate(time.time() + seconds, usegmt=True)
    assert abs(_skew(date) - seconds) <= 2


@pytest.mark.parametrize(
    "date", [None, "", "yesterday", "Wed, 99 Nov 2026 23:48:25 GMT", "Mon, 01 Jan 99999999999 0:0:0 GMT"]
)
def test_a_date_that_is_none_tells_nothing(date):
    assert _skew(date) == 0


# --- answers that no server of ours gives -----------------------------------------------------------------------------

HELLO = Hello("lungs.example", "x/1", 1, "ab" * 32, 1, 1_800_000_000, 0)
ROW = {"number": 1, "digest": "ab" * 32, "size": 5, "type": "file", "round": 0, "group": "*"}


def test_hello_and_listings_are_read_back():
    assert Hello.parse(HELLO.encode()) == HELLO
    data = canonical_json({"packages": [ROW], "again": ["cd" * 32], "waiting": "why"})
    assert Listing.parse(data, 0).encode() == data


@pytest.mark.parametrize(
    "change",
    [
        {"number": 0},
        {"size": 0},
        {"size": -1},
        {"round": -1},
        {"digest": "AB" * 32},
        {"digest": "../../etc"},
        {"digest": 5},
        {"group": 1},
        {"more": 1},
    ],
    ids=str,
)
def test_a_listing_with_a_wrong_row_is_refused(change):
    data = canonical_json({"packages": [{**ROW, **change}], "again": [], "waiting": ""})
    with pytest.raises(errors.FormatError):
        Listing.parse(data, 0)


def test_a_listing_out_of_order_is_refused():
    twice = canonical_json({"packages": [ROW, ROW], "again": [], "waiting": ""})
    with pytest.raises(errors.FormatError, match="not in order"):
        Listing.parse(twice, 0)
    with pytest.raises(errors.FormatError, match="not in order"):
        Listing.parse(canonical_json({"packages": [ROW], "again": [], "waiting": ""}), 1)
    with pytest.raises(errors.FormatError):
        Listing.parse(canonical_json({"packages": [], "again": ["x"], "waiting": ""}), 0)


@asynchronous
async def test_an_answer_without_end_is_not_read(tmp_path, monkeypatch):
    async with running(tmp_path) as place, place.courier(manners=ONCE) as courier:
        monkeypatch.setattr("fedspallm_secure.transport.line.ANSWER_LIMIT", 100)
        with pytest.raises(ProtocolViolation, match="more than 100 bytes"):
            await courier.hello()


@asynchronous
async def test_a_greeting_of_another_kind_is_refused(tmp_path, monkeypatch):
    async with running(tmp_path) as place, place.courier(manners=ONCE) as courier:
        monkeypatch.setattr(Hello, "encode", lambda self: b'{"hello":"you"}')
        with pytest.raises(ProtocolViolation, match="does not answer as a server of a federation"):
            await courier.hello()
