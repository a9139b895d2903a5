"""Nobody but the right party gets through TLS; the same attackers do, with the right certificate or less care."""

import asyncio
import ssl

import pytest

from fedspallm_secure.crypto.identity import Party
from tests.attacks.tls_cases import (
    CLIENT,
    KEYS,
    OLD,
    SERVER,
    Case,
    Forger,
    Shown,
    _accepted,
    _stage,
    as_client,
    as_server,
    cases,
    context,
    resumed,
    run,
)
from tests.transport.ground import HUB, NORTH

CASES = list(cases())
KINDS = list(KEYS)


@pytest.mark.parametrize(
    ("case", "kind"),
    [(case, KINDS[number % 2]) for number, case in enumerate(CASES)],
    ids=[f"{case.side}: {case.name}" for case in CASES],
)
def test_an_attacker_is_refused(tmp_path, case: Case, kind: str):
    assert not asyncio.run(_accepted(case, kind, tmp_path))


@pytest.mark.slow
def test_every_case_with_every_kind_of_key(tmp_path):
    count, accepted = run(tmp_path)
    assert accepted == []
    assert count == 2 * (len(CASES) + 1) >= 60


def test_cases_differ():
    assert len({(case.side, case.name) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("side", [CLIENT, SERVER])
def test_the_right_certificate_is_accepted(tmp_path, side):
    async def play() -> bool:
        async with _stage(tmp_path) as (place, town):
            own = town.credentials(NORTH if side == CLIENT else HUB)
            shown = Shown((own.certificate,), own.key)
            return await (as_client(place, shown, tmp_path) if side == CLIENT else as_server(town, shown, tmp_path))

    assert asyncio.run(play())


@pytest.mark.parametrize("side", [CLIENT, SERVER])
def test_a_forged_copy_of_the_right_one_is_accepted(tmp_path, side):
    """So what the cases are refused for is the one thing in which they differ from it."""

    async def play() -> bool:
        async with _stage(tmp_path) as (place, town):
            forger = Forger(town, KEYS["P-256"](), side)
            shown = forger.shown(forger.leaf())
            return await (as_client(place, shown, tmp_path) if side == CLIENT else as_server(town, shown, tmp_path))

    assert asyncio.run(play())


@pytest.mark.parametrize("name", ["two URIs", "more key usage", "an extension too many", "not in the roster"])
def test_without_our_own_checks_openssl_would_let_some_in(tmp_path, monkeypatch, name):
    """The twin: what `peers` adds to what OpenSSL checks."""
    (case,) = [case for case in CASES if case.side == CLIENT and case.name == name]
    monkeypatch.setattr("fedspallm_secure.transport.server.read_leaf", lambda der, trust: None)
    monkeypatch.setattr(
        "fedspallm_secure.transport.server.check_client", lambda leaf, trust, at: Party.parse("member/north")
    )
    assert asyncio.run(_accepted(case, "P-256", tmp_path))


def test_without_openssl_our_own_checks_would_hold(tmp_path, monkeypatch):
    """The other fence alone: a withdrawn certificate that OpenSSL was not told of."""
    (case,) = [case for case in CASES if case.side == CLIENT and case.name == "withdrawn"]
    monkeypatch.setattr("fedspallm_secure.transport.server.load_crl", lambda context, crl: None)
    assert not asyncio.run(_accepted(case, "P-256", tmp_path))


def test_with_tickets_a_session_would_outlive_its_certificate(tmp_path):
    """The twin of the case with a session of before: it is reused as soon as there are tickets."""

    async def play() -> bool:
        async with _stage(tmp_path) as (place, town):
            place.server._context.num_tickets = 2
            return await resumed(place, town, tmp_path)

    assert asyncio.run(play())


@pytest.mark.parametrize("version", OLD, ids=lambda version: version.name)
def test_old_versions_are_really_spoken(tmp_path, version):
    """Against a server that takes anything the attackers of the first cases do get through."""

    async def play() -> str:
        async with _stage(tmp_path) as (_, town):
            own = town.credentials(NORTH)
            lax = context(Shown((own.certificate,), own.key, version), SERVER, tmp_path)
            server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=lax)
            port = server.sockets[0].getsockname()[1]
            used = context(Shown((own.certificate,), own.key, version), CLIENT, tmp_path)
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=used)
            found: ssl.SSLObject = writer.get_extra_info("ssl_object")
            spoken = str(found.version())
            writer.close()
            server.close()
            await server.wait_closed()
            return spoken.replace(".", "_")

    assert asyncio.run(play()) == version.name.replace("TLSv1_0", "TLSv1")
