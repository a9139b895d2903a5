"""What is remembered of bundles: numbers, receipts, requests, and proofs."""

import base64
import json
import sqlite3

import pytest

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import Equivocation, RecordDamaged
from fedspallm_secure.protocol.bundles import Bundle, BundleFile, Contents
from fedspallm_secure.storage.bundle_register import BundleRegister, Place
from tests.parties import Federation

HUB, NORTH = Party.parse("server/hub"), Party.parse("member/north")
DIGESTS = [f"{number:064x}" for number in range(9)]


@pytest.fixture(scope="module")
def federation():
    return Federation()


@pytest.fixture
def register(tmp_path):
    connection = sqlite3.connect(tmp_path / "register.sqlite", isolation_level=None)
    yield BundleRegister(connection, tmp_path / "register.sqlite")
    connection.close()


@pytest.fixture
def make(federation):
    def made(number: int, *digests: str, **contents) -> Bundle:
        files = tuple(BundleFile(digest, 10, "plan", 1, "*") for digest in digests)
        signer, before = federation["server/hub"].signer, "*" if number == 1 else "ab" * 32
        values = (federation.name, HUB, NORTH, number, before, federation.now, Contents(files, **contents))
        return Bundle.make(signer, *values)

    return made


def take(register, bundle, arrived=(), sent=lambda digest: True, key="key"):
    register.place(bundle, key)
    register.take_in(bundle, key, arrived, sent, 0)


def test_numbers_are_used_once(register, make):
    first = register.make(NORTH, lambda before: make(1))
    assert register.make(NORTH, lambda before: before) == first == register.newest(NORTH)
    second = register.make(NORTH, lambda before: make(before.number + 1))
    assert register.newest(NORTH) == second
    assert register.newest(HUB) is None


def test_what_was_not_made_uses_no_number(register, make):
    def fail(before):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        register.make(NORTH, fail)
    assert register.newest(NORTH) is None
    assert not register.connection.in_transaction


def test_places(register, make):
    assert register.place(make(1), "key") == Place(True, False, None)
    assert register.place(make(4), "key") == Place(True, False, (1, 3))
    take(register, make(4))
    assert register.place(make(4), "key") == Place(False, True, None)
    assert register.place(make(3), "key") == Place(False, False, None)
    assert register.place(make(5), "key") == Place(True, False, None)
    assert register.place(make(6), "key") == Place(True, False, (5, 5))
    take(register, make(6))
    assert register.place(make(4), "key") == Place(False, False, None)


def test_after_a_renewal_numbers_go_on_and_after_a_new_home_they_begin_again(register, make):
    take(register, make(4))
    assert register.place(make(5), "new key") == Place(True, False, None)
    assert register.place(make(7), "new key") == Place(True, False, (5, 6))
    assert register.place(make(1), "new key") == Place(True, False, None)
    assert register.seen(HUB, "new key") == 0


def test_two_bundles_under_one_number_are_a_proof(register, make, tmp_path, federation):
    first, second, third = make(2, DIGESTS[0]), make(2, DIGESTS[1]), make(2, DIGESTS[2])
    take(register, first)
    for other in (second, third):
        with pytest.raises(Equivocation, match="number 2"):
            register.place(other, "key")
    proofs = list((tmp_path / "evidence").iterdir())
    assert len(proofs) == 1  # one for a number
    found = json.loads(proofs[0].read_bytes())
    assert found["format"] == "fedspallm-secure/1 bundle-equivocation"
    shown = [Bundle.parse(base64.b64decode(file)) for file in found["bundles"]]
    assert shown == [first, second]
    for bundle in shown:  # anybody can check it
        bundle.statement.verify_by(federation["server/hub"].signer.public)


def test_receipts_last_until_they_were_seen(register, make):
    take(register, make(1, DIGESTS[0]), DIGESTS[:1])
    assert register.untold() == [HUB]
    register.make(HUB, lambda before: make(1, received=tuple(register.receipts(HUB))))
    assert (register.untold(), register.receipts(HUB)) == ([], DIGESTS[:1])
    take(register, make(2, DIGESTS[1]), DIGESTS[1:2])
    register.make(HUB, lambda before: make(2, received=tuple(register.receipts(HUB))))
    take(register, make(3, seen=1))
    assert register.receipts(HUB) == DIGESTS[1:2]
    take(register, make(4, seen=2))
    assert register.receipts(HUB) == []


def test_requests_last_until_they_were_met(register, make):
    take(register, make(1, again=tuple(DIGESTS[:3])), sent=lambda digest: digest != DIGESTS[1])
    assert register.requests(HUB) == {DIGESTS[0], DIGESTS[2]}
    take(register, make(2, received=(DIGESTS[2],)))
    assert register.requests(HUB) == {DIGESTS[0]}


def test_it_is_there_again_after_a_restart(register, make, tmp_path):
    take(register, make(3), DIGESTS[:1])
    register.make(NORTH, lambda before: make(1))
    connection = sqlite3.connect(tmp_path / "register.sqlite", isolation_level=None)
    again = BundleRegister(connection, tmp_path / "register.sqlite")
    assert (again.seen(HUB, "key"), again.receipts(HUB), again.newest(NORTH)) == (3, DIGESTS[:1], make(1))
    connection.close()


def test_damage_is_told(tmp_path):
    path = tmp_path / "register.sqlite"
    path.write_bytes(b"no database" * 1000)
    connection = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(RecordDamaged):
        BundleRegister(connection, path)
    connection.close()
