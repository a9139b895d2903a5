"""Who may talk to whom, asked again for every request; and how keys get into OpenSSL."""

import asyncio
import os
import ssl
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import (
    CertificateExpired,
    CertificateRefused,
    CertificateRevoked,
    RevocationListStale,
    UnknownSender,
)
from fedspallm_secure.transport import tls
from fedspallm_secure.transport.client import Manners
from fedspallm_secure.transport.gate import Gate
from fedspallm_secure.transport.guards import Limits
from fedspallm_secure.transport.line import Timeouts
from fedspallm_secure.transport.patience import Patience
from fedspallm_secure.transport.peers import check_client, check_server, read_leaf
from fedspallm_secure.transport.problems import handshake_failure
from fedspallm_secure.transport.tls import Credentials, client_context, load_crl, server_context
from tests.transport.ground import HUB, NORTH, SOUTH, Town, asynchronous, running, until
from tests.transport.raw import Raw

ONCE = Manners(Timeouts(5.0, 5.0), Patience(1))
YEAR = 366 * 86_400


# --- while a connection is open ---------------------------------------------------------------------------------------


@asynchronous
async def test_whoever_is_withdrawn_while_connected_is_refused_at_the_next_request(tmp_path):
    async with running(tmp_path) as place, Raw(place) as north, Raw(place, SOUTH) as south:
        assert (await north.ask("GET", "/v1/hello"))[0] == (await south.ask("GET", "/v1/hello"))[0] == 200
        place.town.revoke(NORTH)
        status, answer, _ = await north.ask("GET", "/v1/hello")
        assert (status, answer["error"]) == (403, "CertificateRevoked")
        assert answer["message"] == "the tls certificate of member/north was withdrawn"
        assert await north.ended(5) < 5
        assert (await south.ask("GET", "/v1/hello"))[0] == 200


@asynchronous
async def test_whoever_leaves_the_roster_while_connected_is_refused(tmp_path):
    async with running(tmp_path) as place, Raw(place) as raw:
        assert (await raw.ask("GET", "/v1/hello"))[0] == 200
        place.town.roster = place.town.authority.roster(HUB, SOUTH, version=2)
        status, answer, _ = await raw.ask("GET", "/v1/hello")
        assert (status, answer["error"]) == (403, "UnknownSender")
        assert "south" not in answer["message"]


@asynchronous
async def test_whoever_expires_while_connected_is_refused(tmp_path, monkeypatch):
    async with running(tmp_path) as place, Raw(place) as raw:
        assert (await raw.ask("GET", "/v1/hello"))[0] == 200
        later = time.time() + YEAR
        monkeypatch.setattr("fedspallm_secure.transport.server.time.time", lambda: later)
        status, answer, _ = await raw.ask("GET", "/v1/hello")
        assert (status, answer["error"]) == (403, "CertificateExpired")


@asynchronous
async def test_a_courier_drops_a_server_that_is_withdrawn_while_connected(tmp_path):
    mine, theirs = Town(), Town()
    theirs.leaves = mine.leaves
    async with running(tmp_path, town=theirs) as place, mine.courier(place.port, manners=ONCE) as courier:
        await courier.hello()
        mine.revoke(HUB)
        with pytest.raises(CertificateRevoked, match="server/hub"):
            await courier.hello()


@asynchronous
async def test_a_courier_drops_a_server_that_expires_while_connected(tmp_path, monkeypatch):
    async with running(tmp_path) as place, place.courier(manners=ONCE) as courier:
        await courier.hello()
        expired = replace(courier._line._leaf, not_after=int(time.time()) - 1)
        courier._line._leaf = expired
        monkeypatch.setattr("fedspallm_secure.transport.line.read_leaf", lambda der, trust: expired)
        with pytest.raises(CertificateExpired):
            await courier.hello()


@asynchronous
async def test_a_newer_roster_does_not_break_what_is_under_way(tmp_path):
    async with running(tmp_path) as place, place.courier(manners=ONCE) as courier:
        waiting = asyncio.create_task(courier.listing(0, wait=20))
        await until(lambda: place.server._active == 1)
        old = courier._line._session
        place.town.roster = place.town.authority.roster(*place.town.parties, version=2)
        assert (await courier.hello()).roster_version == 2
        assert courier._line._session is not old and not old.closed
        listed = place.depot.put(NORTH, b"news")
        place.server.notify()
        assert (await waiting).packages == (listed,)
        assert old.closed


@asynchronous
async def test_a_server_takes_a_newer_list_into_its_handshakes(tmp_path):
    async with running(tmp_path) as place:
        place.town.revoke(NORTH)
        async with place.courier(SOUTH) as south:
            await south.hello()
        assert place.server._crl.number == 2
        assert place.server._context.cert_store_stats() == {"x509": 1, "crl": 2, "x509_ca": 1}
        with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
            async with Raw(place) as raw:
                await raw.ask("GET", "/v1/hello")


@asynchronous
async def test_the_log_says_who_failed_and_what_to_do(tmp_path, caplog):
    caplog.set_level("INFO")
    async with running(tmp_path) as place:
        async with place.courier(NORTH) as north:
            await north.hello()
        place.town.revoke(NORTH)
        async with place.courier(SOUTH) as south:
            await south.hello()
        with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
            async with Raw(place) as raw:
                await raw.ask("GET", "/v1/hello")
        await until(lambda: "handshake failed" in caplog.text)
    assert "(from there member/north, member/south came before)" in caplog.text
    assert (
        "the authority has withdrawn the certificate of this client.  To do: nothing, if that was meant" in caplog.text
    )


def test_why_a_handshake_failed():
    def alert(reason):
        error = ssl.SSLError(1, "words of OpenSSL")
        error.reason = reason
        return handshake_failure(error)

    assert "cannot trace this server's certificate" in alert("TLSV1_ALERT_UNKNOWN_CA")
    assert "To do: compare root fingerprints" in alert("TLSV1_ALERT_UNKNOWN_CA")
    assert alert("PEER_DID_NOT_RETURN_A_CERTIFICATE") == "it showed no certificate: no client of this federation"
    assert alert("HTTP_REQUEST").startswith("it does not speak TLS 1.3")
    assert (alert("SOMETHING_ELSE"), alert(None)) == ("SOMETHING_ELSE", "it was broken off")
    error = ssl.SSLCertVerificationError(1, "words")
    error.verify_code, error.verify_message = 10, "certificate has expired"
    assert "the certificate of this client is no longer valid" in handshake_failure(error)
    error.verify_code = 999
    assert handshake_failure(error) == "the certificate that it showed was refused: certificate has expired"


def test_who_came_from_where_is_forgotten_in_the_end():
    gate = Gate(Limits(), None, lambda: None, lambda: None)
    for number in range(2000):
        gate._remember(f"address {number}", NORTH)
    assert len(gate._seen) == 1024
    for number in range(9):
        gate._remember("one", Party.parse(f"member/m{number}"))
    assert [party.id for party in gate._seen["one"]] == ["m5", "m6", "m7", "m8"]


# --- the checks -------------------------------------------------------------------------------------------------------


def test_all_but_servers_are_clients():
    town, now = Town(), int(time.time())
    for party in town.parties:
        leaf = read_leaf(town.leaf(party).der, town.trust())
        if party == HUB:
            check_server(leaf, HUB, town.trust(), now)
            with pytest.raises(CertificateRefused, match="servers do not ask each other"):
                check_client(leaf, town.trust(), now)
        else:
            assert check_client(leaf, town.trust(), now) == party
            with pytest.raises(CertificateRefused, match="which is no server"):
                check_server(leaf, HUB, town.trust(), now)


def test_a_server_is_the_one_that_was_meant():
    town = Town()
    with pytest.raises(CertificateRefused, match="server/hub answers, not server/spare"):
        check_server(town.leaf(HUB), Party.parse("server/spare"), town.trust(), int(time.time()))


def test_everything_is_asked_of_what_holds_now():
    town, now = Town(), int(time.time())
    leaf = town.leaf(NORTH)
    check_client(leaf, town.trust(), now)
    with pytest.raises(CertificateExpired):
        check_client(leaf, town.trust(), leaf.not_after + 1)
    with pytest.raises(CertificateExpired):
        check_client(leaf, town.trust(), leaf.not_before - 1)
    with pytest.raises(RevocationListStale):
        check_client(leaf, town.trust(), town.crl.next_update + 1)
    with pytest.raises(RevocationListStale):
        check_client(leaf, replace(town.trust(), roster=town.authority.roster(NORTH, crl_number=2)), now)
    with pytest.raises(UnknownSender):
        check_client(leaf, replace(town.trust(), roster=town.authority.roster(HUB, SOUTH)), now)
    town.revoke(NORTH)
    with pytest.raises(CertificateRevoked):
        check_client(leaf, town.trust(), now)


# --- contexts ---------------------------------------------------------------------------------------------------------


def contexts(town: Town) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return (
        server_context(town.credentials(HUB), town.root, town.crl),
        client_context(town.credentials(NORTH), town.root, town.crl, lambda _: None),
    )


def test_contexts_are_as_the_specification_says():
    server, client = contexts(Town())
    for context in (server, client):
        assert context.minimum_version == context.maximum_version == ssl.TLSVersion.TLSv1_3
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.verify_flags & ssl.VERIFY_X509_STRICT
        assert context.verify_flags & ssl.VERIFY_CRL_CHECK_LEAF
        assert context.cert_store_stats() == {"x509": 1, "crl": 1, "x509_ca": 1}, "the root and nothing of the system"
    assert server.num_tickets == 0
    assert client.check_hostname


def test_a_key_that_is_not_the_certificates_is_refused():
    town = Town()
    other = Credentials(town.leaf(HUB).der, ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(CertificateRefused, match="do not belong together"):
        server_context(other, town.root, town.crl)


def test_credentials_do_not_show_their_key():
    assert "key" not in repr(Town().credentials(HUB))


@pytest.mark.parametrize("memory", [True, False], ids=["in memory", "without memfd"])
def test_no_key_has_a_name_or_is_in_the_clear(monkeypatch, memory):
    if not memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    town, seen = Town(), []
    real = ssl.SSLContext.load_cert_chain

    def spy(context, certfile, keyfile=None, password=None):
        status = Path(keyfile).stat()
        seen.append((status.st_nlink, status.st_mode & 0o777, Path(keyfile).read_bytes()))
        return real(context, certfile, keyfile, password)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", spy)
    before = len(list(Path("/dev/fd").iterdir()))
    contexts(town)
    assert len(list(Path("/dev/fd").iterdir())) == before
    assert len(seen) == 2
    for links, mode, data in seen:
        assert (links, mode) == (0, 0o600)
        assert data.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")


def test_a_kernel_without_files_in_memory_is_no_obstacle(monkeypatch):
    def refuse(*_):
        raise OSError("not here")

    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    contexts(Town())


def test_the_newest_list_that_was_loaded_counts():
    town = Town()
    server, client = contexts(town)
    shake(server, client)
    town.revoke(NORTH)
    load_crl(server, town.crl)
    with pytest.raises(ssl.SSLError, match="certificate revoked"):
        shake(server, client)


def shake(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """A handshake in memory."""
    one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = server.wrap_bio(one, other, server_side=True)
    there = client.wrap_bio(other, one, server_hostname="localhost")
    done: set[ssl.SSLObject] = set()
    for _ in range(10):
        for end in (there, here):
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                continue
        if len(done) == 2:
            assert here.selected_alpn_protocol() == there.selected_alpn_protocol() == "http/1.1"
            assert here.version() == "TLSv1.3"
            return
    raise AssertionError("no end of the handshake")


def test_a_certificate_is_seen_before_anything_is_sent():
    town, seen = Town(), []

    def check(der: bytes) -> None:
        seen.append(der)
        raise CertificateRefused("not this one")

    client = client_context(town.credentials(NORTH), town.root, town.crl, check)
    with pytest.raises(tls.PeerUnfit) as caught:
        shake(contexts(town)[0], client)
    assert seen == [town.leaf(HUB).der]
    assert str(caught.value.refusal) == "not this one"
