"""The roster: verified as a whole, in one order, and never replaced by an older one."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.errors import (
    BadSignature,
    CertificateRefused,
    FedSpaError,
    FormatError,
    RevocationListStale,
    RolledBack,
    UnknownSender,
    WeakKey,
)
from fedspallm_secure.protocol.key_statements import KeyStatement
from fedspallm_secure.protocol.limits import LATEST_TIME, PARTIES_LIMIT, ROSTER_LIMIT
from fedspallm_secure.protocol.roster import Roster, check_successor
from tests.authority import FEDERATION, HUB, NORTH, NOW, Authority, key_statement, recipient, signer
from tests.crypto.forgery import IDENTITY, forge, weak_key
from tests.protocol.altering import TIMES, altered, schema_faults

CA = Authority()
SOUTH = Party.parse("member/south")
GOOD = CA.roster(HUB, SOUTH, NORTH)
PARTIES = GOOD.statement.value["parties"]


def with_party(**changes: str) -> bytes:
    """The roster with one party, changed."""
    return altered(GOOD.statement, CA.key, parties=[{**PARTIES[0], **changes}])


def test_what_is_made_reads_back_sorted():
    found = Roster.parse(GOOD.encode(), CA.root)
    assert found == GOOD
    assert [entry.party for entry in found.entries] == [NORTH, SOUTH, HUB]
    assert (found.federation, found.version, found.created, found.crl_number) == (FEDERATION, 1, NOW, 1)
    assert found.hash == found.statement.digest.hex()
    assert CA.roster().entries == ()


def test_every_role_belongs():
    parties = [Party(role.value, "x") for role in Role]
    assert len(CA.roster(*parties).entries) == len(parties)


def test_an_entry_is_found_by_its_exact_name():
    entry = GOOD.entry(NORTH)
    assert entry.leaf.public == signer(str(NORTH)).public
    with pytest.raises(UnknownSender, match="member/west"):
        GOOD.entry(Party.parse("member/west"))


def test_only_the_root_signs():
    with pytest.raises(BadSignature):
        Roster.parse(altered(GOOD.statement, signer("somebody")), CA.root)
    with pytest.raises(BadSignature):
        Roster.parse(altered(GOOD.statement, CA.key, signer("somebody")), CA.root)
    with pytest.raises(BadSignature):
        Roster.make(signer("somebody"), CA.root, 1, NOW, 1, [])
    with pytest.raises(BadSignature):
        Roster.parse(GOOD.encode(), Authority(signer("twin of the root")).root)


def test_a_roster_of_another_federation_is_refused():
    other = Authority(CA.key, "hearts.example")
    with pytest.raises(CertificateRefused, match="federation"):
        Roster.parse(other.roster().encode(), CA.root)


@pytest.mark.parametrize("change", schema_faults(GOOD.statement), ids=str)
def test_the_schema_is_closed(change):
    with pytest.raises((FormatError, CertificateRefused)):
        Roster.parse(altered(GOOD.statement, CA.key, **change), CA.root)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"crl_number": 0},
        {"crl_number": -1},
        *({"created": at} for at in TIMES),
        {"parties": PARTIES[::-1]},
        {"parties": [PARTIES[0], PARTIES[0]]},
        {"parties": ["member/north"]},
        {"parties": [{**PARTIES[0], "more": ""}]},
        {"parties": [{**PARTIES[0], "role": "king"}]},
        {"parties": [{**PARTIES[0], "signing_certificate": "?"}]},
        {"parties": [{**PARTIES[0], "key_statement": "?"}]},
        {"parties": [{**PARTIES[0], "key_statement": ""}]},
    ],
    ids=lambda change: str(change)[:40],
)
def test_other_values_are_refused(change):
    with pytest.raises(FormatError):
        Roster.parse(altered(GOOD.statement, CA.key, **change), CA.root)


def test_an_entry_has_its_own_certificate_and_key_statement():
    west = Authority(signer("twin of the root"))
    weak = forge(CA.leaf(NORTH).der, CA.key, key=weak_key(IDENTITY))
    for change, error in (
        ({"signing_certificate": encode_base64(CA.leaf(SOUTH).der)}, CertificateRefused),
        ({"signing_certificate": encode_base64(CA.tls_leaf(NORTH).der)}, CertificateRefused),
        ({"signing_certificate": encode_base64(west.leaf(NORTH).der)}, CertificateRefused),
        ({"signing_certificate": encode_base64(weak)}, WeakKey),
        ({"key_statement": encode_base64(key_statement(SOUTH, str(NORTH)).encode())}, CertificateRefused),
        ({"key_statement": encode_base64(key_statement(NORTH, federation="b.example").encode())}, CertificateRefused),
        ({"key_statement": encode_base64(key_statement(NORTH, "somebody").encode())}, BadSignature),
        ({"id": "south"}, CertificateRefused),
        ({"role": "auditor"}, CertificateRefused),
    ):
        with pytest.raises(error):
            Roster.parse(with_party(**change), CA.root)
    Roster.parse(with_party(), CA.root)


def test_two_parties_never_share_a_key():
    entries = [CA.entry(party, "shared") for party in (NORTH, SOUTH)]
    with pytest.raises(FormatError, match="same signing key"):
        Roster.make(CA.key, CA.root, 1, NOW, 1, entries)


def test_a_roster_holds_1100_parties_and_then_fits_its_limit():
    party = Party("key-holder", "a" * 63)
    keys = [recipient("largest", kem).recipient_key for kem in Kem]
    statement = KeyStatement.make(signer(str(party)), FEDERATION, party, keys, NOW, LATEST_TIME)
    entry = {
        "role": party.role_name,
        "id": party.id,
        "signing_certificate": encode_base64(CA.leaf(party).der),
        "key_statement": encode_base64(statement.encode()),
    }
    with pytest.raises(FormatError, match="1101 parties"):
        Roster.parse(altered(GOOD.statement, CA.key, parties=[entry] * (PARTIES_LIMIT + 1)), CA.root)
    many = altered(GOOD.statement, CA.key, parties=[entry] * PARTIES_LIMIT)
    assert len(many) < ROSTER_LIMIT
    with pytest.raises(FormatError, match="not sorted"):
        Roster.parse(many, CA.root)


def test_it_demands_its_revocation_list_or_a_newer_one():
    roster = CA.roster(NORTH, crl_number=3)
    roster.check_crl(CA.crl(number=3))
    roster.check_crl(CA.crl(number=4))
    with pytest.raises(RevocationListStale, match="number 2"):
        roster.check_crl(CA.crl(number=2))


def test_a_lower_version_never_takes_the_place_of_a_higher_one():
    first, second = CA.roster(NORTH), CA.roster(NORTH, version=2)
    check_successor(None, first)
    check_successor(first, second)
    check_successor(second, second)
    with pytest.raises(RolledBack, match="older"):
        check_successor(second, first)
    with pytest.raises(RolledBack, match="two different"):
        check_successor(second, CA.roster(SOUTH, version=2))


@given(st.integers(0, 2**14), st.binary(max_size=40))
def test_any_change_is_one_of_our_errors(position, data):
    good = GOOD.encode()
    changed = good[: position % len(good)] + data + good[position % len(good) + len(data) :]
    try:
        found = Roster.parse(changed, CA.root)
    except FedSpaError:
        return
    assert found.encode() == changed == good


@pytest.mark.slow
def test_the_largest_roster_is_read_in_seconds():
    roster = CA.roster(*(Party("member", f"m{i:04}") for i in range(PARTIES_LIMIT)))
    begin = time.perf_counter()
    Roster.parse(roster.encode(), CA.root)
    assert time.perf_counter() - begin < 10
