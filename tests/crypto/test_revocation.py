"""Revocation lists: made and read, every forgery refused, and never an older one for a newer."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto import revocation
from fedspallm_secure.crypto.encoding import INTEGER_BOUND
from fedspallm_secure.crypto.profiles import DAY
from fedspallm_secure.crypto.revocation import (
    CLOCK_SKEW,
    REVOCATION_LIST_LIMIT,
    Reason,
    RevocationList,
    Revoked,
    check_successor,
    revocation_list,
)
from fedspallm_secure.crypto.root_signing import signing_key
from fedspallm_secure.errors import CertificateRefused, LimitExceeded, RevocationListStale, RolledBack, TrustError
from tests.authority import NOW, Authority, signer
from tests.crypto.forgery import flips, resign

CA = Authority()
ENTRIES = tuple(Revoked(serial, NOW - serial, reason) for serial, reason in enumerate(Reason, start=5))
TIME = datetime.fromtimestamp(NOW, UTC)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")


def test_a_list_says_what_was_put_into_it():
    made = CA.crl(*reversed(ENTRIES), number=7)
    assert (made.number, made.entries) == (7, ENTRIES)
    assert (made.this_update, made.next_update) == (NOW, NOW + 45 * DAY)
    assert all(made.is_revoked(entry.serial) for entry in ENTRIES)
    assert not made.is_revoked(4)
    assert CA.crl().entries == ()


def test_it_is_fresh_until_the_next_update():
    made = CA.crl()
    made.check_fresh(made.next_update)
    with pytest.raises(RevocationListStale, match="number 1"):
        made.check_fresh(made.next_update + 1)


def test_it_may_be_made_one_clock_skew_ahead_and_no_further():
    made = CA.crl()
    made.check_fresh(NOW - CLOCK_SKEW)
    with pytest.raises(RevocationListStale, match="future"):
        made.check_fresh(NOW - CLOCK_SKEW - 1)


def test_a_lower_number_never_takes_the_place_of_a_higher_one():
    first, second = CA.crl(number=1), CA.crl(number=2)
    check_successor(None, first)
    check_successor(first, second)
    check_successor(second, second)
    with pytest.raises(RolledBack, match="older"):
        check_successor(second, first)


def test_two_lists_of_one_number_are_refused():
    with pytest.raises(RolledBack, match="two different"):
        check_successor(CA.crl(number=2), CA.crl(ENTRIES[0], number=2))


@pytest.mark.parametrize(("start", "end"), [(NOW, NOW - 1), (-(10**10), NOW), (NOW, 10**12)])
def test_no_list_is_made_by_a_clock_that_is_far_off(start, end):
    with pytest.raises(CertificateRefused) as caught:
        revocation_list(CA.key, CA.root, 1, [], start, end)
    assert "clock" in caught.value.hint


@pytest.mark.parametrize("number", [0, -1, INTEGER_BOUND])
def test_numbers_are_those_of_canonical_json(number):
    with pytest.raises(CertificateRefused):
        revocation_list(CA.key, CA.root, number, [], NOW, NOW + DAY)


def test_only_the_root_key_makes_lists():
    with pytest.raises(CertificateRefused, match="not that of the root"):
        revocation_list(signer("somebody"), CA.root, 1, [], NOW, NOW + DAY)


def test_a_list_longer_than_the_limit_is_not_made(monkeypatch):
    size = len(CA.crl().der)
    monkeypatch.setattr(revocation, "REVOCATION_LIST_LIMIT", size)
    CA.crl()
    with pytest.raises(LimitExceeded):
        CA.crl(ENTRIES[0])


def test_a_reason_that_is_not_in_use_is_named():
    with pytest.raises(CertificateRefused, match="not in use here: certificateHold"):
        RevocationList.parse(FORGED["an entry on hold"](), CA.root)


@pytest.mark.slow
def test_a_list_that_nobody_would_read_is_not_made():
    many = [Revoked(1 << 126 | serial, NOW, Reason.SUPERSEDED) for serial in range(30_000)]
    with pytest.raises(LimitExceeded):
        CA.crl(*many)
    assert len(CA.crl(*many[:15_000]).entries) == 15_000


def test_a_list_is_read_up_to_its_limit():
    with pytest.raises(CertificateRefused, match="at most"):
        RevocationList.parse(CA.crl().der + bytes(REVOCATION_LIST_LIMIT), CA.root)


def builder(*left_out: type, issuer: x509.Name = CA.root.name) -> x509.CertificateRevocationListBuilder:
    made = x509.CertificateRevocationListBuilder().issuer_name(issuer).last_update(TIME).next_update(TIME)
    for extension in (x509.CRLNumber(1), CA.root.authority_identifier):
        if type(extension) not in left_out:
            made = made.add_extension(extension, False)
    return made


def entry(*extensions: tuple[x509.ExtensionType, bool], serial: int = 9) -> x509.RevokedCertificate:
    made = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(TIME)
    for value, critical in extensions:
        made = made.add_extension(value, critical)
    return made.build()


def signed(made: x509.CertificateRevocationListBuilder, by: str = "root") -> bytes:
    return made.sign(signing_key(signer(by)), None).public_bytes(Encoding.DER)


FORGED: dict[str, Callable[[], bytes]] = {
    "another key": lambda: signed(builder(), "somebody"),
    "another root of the same name": lambda: Authority(signer("twin of the root")).crl().der,
    "another issuer": lambda: signed(builder(issuer=x509.Name([]))),
    "no number": lambda: signed(builder(x509.CRLNumber)),
    "a critical number": lambda: signed(builder(x509.CRLNumber).add_extension(x509.CRLNumber(1), True)),
    "number 0": lambda: signed(builder(x509.CRLNumber).add_extension(x509.CRLNumber(0), False)),
    "a number too large": lambda: signed(builder(x509.CRLNumber).add_extension(x509.CRLNumber(INTEGER_BOUND), False)),
    "no authority": lambda: signed(builder(x509.AuthorityKeyIdentifier)),
    "another authority": lambda: signed(
        builder(x509.AuthorityKeyIdentifier).add_extension(x509.AuthorityKeyIdentifier(bytes(20), None, None), False)
    ),
    "an unknown extension": lambda: signed(builder().add_extension(UNKNOWN, False)),
    "a part only": lambda: signed(builder().add_extension(x509.DeltaCRLIndicator(1), True)),
    "a scope": lambda: signed(
        builder().add_extension(x509.IssuingDistributionPoint(None, None, True, False, None, False, False), True)
    ),
    "an entry twice": lambda: signed(builder().add_revoked_certificate(entry()).add_revoked_certificate(entry())),
    "an entry on hold": lambda: signed(
        builder().add_revoked_certificate(entry((x509.CRLReason(x509.ReasonFlags.certificate_hold), False)))
    ),
    "a reason that is unspecified": lambda: signed(
        builder().add_revoked_certificate(entry((x509.CRLReason(x509.ReasonFlags.unspecified), False)))
    ),
    "an entry taken back": lambda: signed(
        builder().add_revoked_certificate(entry((x509.CRLReason(x509.ReasonFlags.remove_from_crl), False)))
    ),
    "a critical reason": lambda: signed(
        builder().add_revoked_certificate(entry((x509.CRLReason(x509.ReasonFlags.superseded), True)))
    ),
    "an entry with more than a reason": lambda: signed(
        builder().add_revoked_certificate(entry((x509.InvalidityDate(TIME), False)))
    ),
    "an entry of another authority": lambda: signed(
        builder().add_revoked_certificate(entry((x509.CertificateIssuer([x509.DNSName("x")]), True)))
    ),
    "another inner algorithm": lambda: patched(b"\x06\x03\x2b\x65\x70", b"\x06\x03\x2b\x65\x71"),
    "another algorithm": lambda: patched(b"\x06\x03\x2b\x65\x70", b"\x06\x03\x2b\x65\x71", outer="300506032b6571"),
    "version 1": lambda: patched(b"\x02\x01\x01\x30\x05", b"\x30\x05"),
    "another version": lambda: patched(b"\x02\x01\x01", b"\x02\x01\x00"),
    "no next update": lambda: patched(b"\x17\x0d" + f"{TIME:%y%m%d%H%M%SZ}".encode() + b"\x30", b"\x30"),
    "a date that is none": lambda: patched(f"{TIME:%y%m%d}".encode(), b"279999"),
    "a certificate": lambda: CA.root.der,
    "nothing": lambda: b"",
    "something after it": lambda: CA.crl().der + b"\0",
}


def patched(old: bytes, new: bytes, **outer: str) -> bytes:
    made = builder().add_revoked_certificate(entry((x509.CRLReason(x509.ReasonFlags.superseded), False)))
    for i in range(10):  # long enough for two bytes of length
        made = made.add_revoked_certificate(entry(serial=100 + i))
    return resign(x509.load_der_x509_crl(signed(made)).tbs_certlist_bytes, CA.key, old, new, **outer)


def test_the_twins_without_a_fault_are_accepted():
    reason = (x509.CRLReason(x509.ReasonFlags.superseded), False)
    found = RevocationList.parse(signed(builder().add_revoked_certificate(entry(reason))), CA.root)
    assert found.entries == (Revoked(9, NOW, Reason.SUPERSEDED),)
    assert len(RevocationList.parse(patched(b"", b""), CA.root).entries) == 11


@pytest.mark.parametrize("fault", FORGED)
def test_a_list_with_a_fault_is_refused(fault):
    with pytest.raises(CertificateRefused):
        RevocationList.parse(FORGED[fault](), CA.root)


def test_no_bit_of_a_list_can_be_changed():
    good = CA.crl(*ENTRIES).der
    for changed in flips(good):
        with pytest.raises(CertificateRefused):
            RevocationList.parse(changed, CA.root)


def test_one_list_is_one_file():
    """A signature that ends in a zero bit can also be written as 511 bits; that must not make a second list of it."""
    even = next(der for der in (CA.crl(number=number).der for number in range(1, 200)) if not der[-1] & 1)
    RevocationList.parse(even, CA.root)
    with pytest.raises(CertificateRefused, match="whole bytes"):
        RevocationList.parse(even[:-65] + b"\x01" + even[-64:], CA.root)


@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_bytes_are_a_list_or_a_refusal(data, cut):
    good = GOOD
    for candidate in (data, good[:cut] + data + good[cut + len(data) :]):
        try:
            assert RevocationList.parse(candidate, CA.root).der == candidate == good
        except TrustError:
            continue


GOOD = CA.crl(*ENTRIES).der
