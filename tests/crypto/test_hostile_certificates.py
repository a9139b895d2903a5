"""Certificates that must be refused, one fault each, each with the class that SPEC section 5 names."""

from functools import cache
from ipaddress import ip_address, ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.certificate_fields import key_usage
from fedspallm_secure.crypto.certificates import Purpose, check_leaf, check_root, parse_leaf, parse_root
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.profiles import DAY
from fedspallm_secure.errors import CertificateExpired, CertificateRefused, FormatError, TrustError, WeakKey
from tests.authority import FEDERATION, HUB, NORTH, NOW, Authority, signer
from tests.crypto.forgery import IDENTITY, ORDER_EIGHT, flips, forge, resign, weak_key

CA = Authority()
SOUTH = Party.parse("member/south")
PARTIES = {"member": NORTH, "server": HUB}


def uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


def names(*general: x509.GeneralName) -> dict:
    return {x509.SubjectAlternativeName: (x509.SubjectAlternativeName(general), False)}


def usage(*oids: x509.ObjectIdentifier, critical: bool = False) -> dict:
    return {x509.ExtendedKeyUsage: (x509.ExtendedKeyUsage(oids), critical)}


def good(purpose: Purpose, party: Party = NORTH) -> bytes:
    return (CA.leaf(party) if purpose is Purpose.SIGNING else CA.tls_leaf(party)).der


def refused(der: bytes, purpose: Purpose, party: Party = NORTH, words: str = ".") -> None:
    with pytest.raises(CertificateRefused, match=words):
        check_leaf(der, CA.root, party, purpose, NOW, CA.crl())


OWN = uri(NORTH.uri(FEDERATION))
PACKAGE = x509.ObjectIdentifier("2.25.253809565053869446045003847362290417585")
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
ACCESS = x509.AuthorityInformationAccess(
    [x509.AccessDescription(AuthorityInformationAccessOID.OCSP, uri("http://x.example"))]
)
BOTH = {
    "two URIs": names(OWN, uri(SOUTH.uri(FEDERATION))),
    "the URI twice": names(OWN, OWN),
    "no URI": names(x509.RFC822Name("north@lungs.example")),
    "an address beside the URI": names(OWN, x509.IPAddress(ip_address("10.0.0.1"))),
    "a mailbox beside the URI": names(OWN, x509.RFC822Name("north@lungs.example")),
    "a host beside the URI": names(OWN, x509.DNSName("north.example")),
    "another party": names(uri(SOUTH.uri(FEDERATION))),
    "another role": names(uri("spiffe://lungs.example/auditor/north")),
    "a role that does not exist": names(uri("spiffe://lungs.example/king/north")),
    "another federation": names(uri("spiffe://hearts.example/member/north")),
    "a federation that begins like ours": names(uri("spiffe://lungs.example.org/member/north")),
    "another scheme": names(uri("https://lungs.example/member/north")),
    "no scheme": names(uri("member/north")),
    "capitals": names(uri("spiffe://lungs.example/member/North")),
    "something after the party": names(uri("spiffe://lungs.example/member/north/x")),
    "a query after the party": names(uri("spiffe://lungs.example/member/north?x")),
    "critical names": {x509.SubjectAlternativeName: (x509.SubjectAlternativeName([OWN]), True)},
    "no names": {x509.SubjectAlternativeName: None},
    "an authority": {x509.BasicConstraints: (x509.BasicConstraints(ca=True, path_length=None), True)},
    "an authority with path length": {x509.BasicConstraints: (x509.BasicConstraints(ca=True, path_length=0), True)},
    "constraints not critical": {x509.BasicConstraints: (x509.BasicConstraints(ca=False, path_length=None), False)},
    "no constraints": {x509.BasicConstraints: None},
    "may sign certificates": {x509.KeyUsage: (key_usage(["digitalSignature", "keyCertSign"]), True)},
    "may sign lists alone": {x509.KeyUsage: (key_usage(["cRLSign"]), True)},
    "key usage not critical": {x509.KeyUsage: (key_usage(["digitalSignature"]), False)},
    "no key usage": {x509.KeyUsage: None},
    "any extended usage": usage(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE),
    "server": usage(ExtendedKeyUsageOID.SERVER_AUTH),
    "two extended usages": usage(ExtendedKeyUsageOID.CLIENT_AUTH, PACKAGE),
    "code signing": usage(ExtendedKeyUsageOID.CODE_SIGNING),
    "no extended usage": {x509.ExtendedKeyUsage: None},
    "no subject key identifier": {x509.SubjectKeyIdentifier: None},
    "no authority key identifier": {x509.AuthorityKeyIdentifier: None},
    "another authority key identifier": {
        x509.AuthorityKeyIdentifier: (x509.AuthorityKeyIdentifier(bytes(20), None, None), False)
    },
    "a fuller authority key identifier": {
        x509.AuthorityKeyIdentifier: (
            x509.AuthorityKeyIdentifier(CA.root.key_identifier, [x509.DirectoryName(CA.root.name)], 7),
            False,
        )
    },
    "an unknown extension": {x509.UnrecognizedExtension: (UNKNOWN, False)},
    "an unknown critical extension": {x509.UnrecognizedExtension: (UNKNOWN, True)},
    "a known extension outside the table": {x509.AuthorityInformationAccess: (ACCESS, False)},
    "name constraints": {x509.NameConstraints: (x509.NameConstraints([uri(FEDERATION)], None), True)},
}


@pytest.mark.parametrize("purpose", Purpose, ids=lambda purpose: purpose.value)
def test_the_twin_without_a_fault_is_accepted(purpose):
    again = forge(good(purpose), CA.key)
    assert check_leaf(again, CA.root, NORTH, purpose, NOW, CA.crl()).party == NORTH


@pytest.mark.parametrize("purpose", Purpose, ids=lambda purpose: purpose.value)
@pytest.mark.parametrize("fault", BOTH)
def test_a_leaf_with_a_fault_is_refused(purpose, fault):
    forged = forge(good(purpose), CA.key, BOTH[fault])
    refused(forged, purpose)
    if fault not in {"another party", "another role", "server"}:
        with pytest.raises(CertificateRefused):
            parse_leaf(forged, CA.root, purpose, None)


@pytest.mark.parametrize("purpose", Purpose, ids=lambda purpose: purpose.value)
def test_a_leaf_of_the_other_purpose_is_refused(purpose):
    other = next(kind for kind in Purpose if kind is not purpose)
    refused(good(other), purpose, words="must have an")
    swapped = usage(PACKAGE if other is Purpose.SIGNING else ExtendedKeyUsageOID.CLIENT_AUTH)
    refused(forge(good(purpose), CA.key, swapped), purpose, words="extended key usage")


def test_a_critical_extended_usage_is_refused():
    refused(forge(good(Purpose.SIGNING), CA.key, usage(PACKAGE, critical=True)), Purpose.SIGNING, words="critical")


def test_a_server_is_no_client():
    forged = forge(good(Purpose.TLS, HUB), CA.key, usage(ExtendedKeyUsageOID.CLIENT_AUTH))
    refused(forged, Purpose.TLS, HUB, "extended key usage")


@pytest.mark.parametrize(
    "name",
    [
        x509.DNSName("*.lungs.example"),
        x509.DNSName("HUB.example"),
        x509.RFC822Name("hub@lungs.example"),
        x509.RFC822Name("hub.example"),
        x509.DNSName("10.0.0.7"),
    ],
    ids=lambda name: str(name.value),
)
def test_a_server_names_hosts_in_their_one_spelling(name):
    refused(forge(good(Purpose.TLS, HUB), CA.key, names(uri(HUB.uri(FEDERATION)), name)), Purpose.TLS, HUB)


def test_a_network_is_no_host():
    network = x509.IPAddress(ip_network("10.0.0.0/8"))
    refused(forge(good(Purpose.TLS, HUB), CA.key, names(uri(HUB.uri(FEDERATION)), network)), Purpose.TLS, HUB)


def test_other_kinds_of_names_are_refused():
    other = x509.SubjectAlternativeName([uri(HUB.uri(FEDERATION)), x509.RegisteredID(PACKAGE)])
    forged = forge(good(Purpose.TLS, HUB), CA.key, {x509.SubjectAlternativeName: (other, False)})
    refused(forged, Purpose.TLS, HUB)


@pytest.mark.parametrize("purpose", Purpose, ids=lambda purpose: purpose.value)
def test_another_root_of_the_same_name_is_refused(purpose):
    twin = Authority(signer("twin of the root"))
    assert twin.root.subject == CA.root.subject
    der = (twin.leaf(NORTH) if purpose is Purpose.SIGNING else twin.tls_leaf(NORTH)).der
    refused(der, purpose, words="not issued by the root")
    refused(forge(good(purpose), twin.key), purpose, words="not issued by the root")


def test_another_issuer_is_refused_even_if_the_key_is_the_root_s():
    other = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "another")])
    refused(forge(good(Purpose.SIGNING), CA.key, issuer=other), Purpose.SIGNING, words="not issued by the root")


def test_a_leaf_issues_nothing():
    north = CA.leaf(NORTH)
    refused(forge(north.der, signer(str(NORTH))), Purpose.SIGNING, words="not issued by the root")


@pytest.mark.parametrize(
    ("key", "purpose"),
    [
        (ec.generate_private_key(ec.SECP384R1()).public_key(), Purpose.TLS),
        (ec.generate_private_key(ec.SECP256K1()).public_key(), Purpose.TLS),
        (x25519.X25519PrivateKey.generate().public_key(), Purpose.SIGNING),
    ],
)
def test_other_kinds_of_keys_are_refused(key, purpose):
    refused(forge(good(purpose), CA.key, key=key), purpose, words="must have an")


@pytest.mark.parametrize("raw", [IDENTITY, ORDER_EIGHT, bytes(32), b"\xff" * 32], ids=bytes.hex)
def test_weak_signing_keys_are_refused(raw):
    forged = forge(good(Purpose.SIGNING), CA.key, key=weak_key(raw))
    with pytest.raises(WeakKey):
        check_leaf(forged, CA.root, NORTH, Purpose.SIGNING, NOW, CA.crl())


@pytest.mark.parametrize("purpose", Purpose, ids=lambda purpose: purpose.value)
def test_times(purpose):
    for start, end in ((NOW - 2 * DAY, NOW - 1), (NOW + 1, NOW + DAY)):
        forged = forge(good(purpose), CA.key, start=start, end=end)
        with pytest.raises(CertificateExpired):
            check_leaf(forged, CA.root, NORTH, purpose, NOW, CA.crl())
    as_long = forge(good(purpose), CA.key, end=CA.root.not_after)
    with pytest.raises(CertificateExpired, match="root"):
        check_leaf(as_long, CA.root, NORTH, purpose, CA.root.not_after + 1, CA.crl(now=CA.root.not_after))


@pytest.mark.filterwarnings("ignore")  # the library warns about some of them before it hands them over
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01"),  # version 2
        (b"\x06\x03\x2b\x65\x70", b"\x06\x03\x2b\x65\x71"),  # the inner algorithm is Ed448
        (b"\x06\x03\x55\x1d\x25", b"\x06\x03\x55\x1d\x11"),  # two subject alternative names
        (b"\x06\x03\x55\x1d\x0e", b"\x06\x03\x55\x1d\x23"),  # two authority key identifiers
        (b"\x01\x01\xff", b"\x01\x01\x01"),  # a truth that is not DER
        (b"\x86#spiffe", b"\x87#spiffe"),  # the URI is called an address
        (b"spiffe", b"spiff\xe9"),  # not ASCII
    ],
    ids=["version", "algorithm", "names", "identifiers", "boolean", "kind", "charset"],
)
def test_what_no_builder_writes_is_refused(old, new):
    leaf = CA.leaf(NORTH)
    signed = x509.load_der_x509_certificate(leaf.der).tbs_certificate_bytes
    refused(resign(signed, CA.key, old, new), Purpose.SIGNING)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "serial",
    [b"\x02\x01\x00", b"\x02\x01\xff", b"\x02\x15\x01" + bytes(20), b"\x02\x82\x01\x2c\x01" + bytes(299)],
    ids=["zero", "negative", "21 bytes", "300 bytes"],
)
def test_serials_are_positive_and_of_20_bytes(serial):
    leaf = CA.leaf(NORTH)
    signed = x509.load_der_x509_certificate(leaf.der).tbs_certificate_bytes
    own = b"\x02\x11" + leaf.serial.to_bytes(17, "big")
    assert parse_leaf(resign(signed, CA.key, own, b"\x02\x01\x07"), CA.root, Purpose.SIGNING, NORTH).serial == 7
    refused(resign(signed, CA.key, own, serial), Purpose.SIGNING)


@pytest.mark.parametrize("purpose", Purpose, ids=lambda purpose: purpose.value)
def test_no_bit_of_a_leaf_can_be_changed(purpose):
    der = good(purpose)
    for changed in flips(der):
        with pytest.raises(CertificateRefused):
            parse_leaf(changed, CA.root, purpose, NORTH)


@pytest.mark.parametrize("change", [lambda der: der + b"\0", lambda der: der[:-1], lambda der: b""])
def test_nothing_may_follow_or_lack(change):
    refused(change(good(Purpose.SIGNING)), Purpose.SIGNING)
    with pytest.raises(CertificateRefused):
        parse_root(change(CA.root.der), FEDERATION)


def test_a_signature_is_of_whole_bytes():
    """One that ends in a zero bit can also be written as 511 bits, which would be another file for the same leaf."""
    even = next(der for der in (good(Purpose.SIGNING) for _ in range(200)) if not der[-1] & 1)
    assert even[-67:-64] == b"\x03\x41\x00"
    refused(even[:-65] + b"\x01" + even[-64:], Purpose.SIGNING, words="whole bytes")


def test_a_certificate_has_at_most_8_kib():
    long = {x509.UnrecognizedExtension: (x509.UnrecognizedExtension(UNKNOWN.oid, bytes(8000)), False)}
    refused(forge(good(Purpose.SIGNING), CA.key, long), Purpose.SIGNING, words="at most 8192")


@given(st.binary(max_size=200), st.integers(0, 400))
def test_any_bytes_are_a_leaf_or_a_refusal(data, cut):
    der = good_signing()
    for candidate in (data, der[:cut] + data + der[cut + len(data) :]):
        try:
            leaf = parse_leaf(candidate, CA.root, Purpose.SIGNING, None)
        except TrustError:
            continue
        assert leaf.der == candidate == der


@cache
def good_signing() -> bytes:
    """One leaf for all examples."""
    return good(Purpose.SIGNING)


# The root

ROOT = {
    "path length 1": {x509.BasicConstraints: (x509.BasicConstraints(ca=True, path_length=1), True)},
    "no path length": {x509.BasicConstraints: (x509.BasicConstraints(ca=True, path_length=None), True)},
    "no authority": {x509.BasicConstraints: (x509.BasicConstraints(ca=False, path_length=None), True)},
    "no constraints": {x509.BasicConstraints: None},
    "more usages": {x509.KeyUsage: (key_usage(["keyCertSign", "cRLSign", "digitalSignature"]), True)},
    "fewer usages": {x509.KeyUsage: (key_usage(["keyCertSign"]), True)},
    "usages not critical": {x509.KeyUsage: (key_usage(["keyCertSign", "cRLSign"]), False)},
    "an extended usage": usage(ExtendedKeyUsageOID.SERVER_AUTH),
    "a name": names(uri("spiffe://lungs.example/authority/root")),
    "no name constraints": {x509.NameConstraints: None},
    "name constraints not critical": {x509.NameConstraints: (x509.NameConstraints([uri(FEDERATION)], None), False)},
    "another federation": {x509.NameConstraints: (x509.NameConstraints([uri("hearts.example")], None), True)},
    "two federations": {x509.NameConstraints: (x509.NameConstraints([uri(FEDERATION), uri("b.example")], None), True)},
    "subdomains": {x509.NameConstraints: (x509.NameConstraints([uri("." + FEDERATION)], None), True)},
    "DNS names": {x509.NameConstraints: (x509.NameConstraints([x509.DNSName(FEDERATION)], None), True)},
    "an exclusion": {x509.NameConstraints: (x509.NameConstraints([uri(FEDERATION)], [uri("x.example")]), True)},
    "no subject key identifier": {x509.SubjectKeyIdentifier: None},
    "no authority key identifier": {x509.AuthorityKeyIdentifier: None},
    "another authority": {x509.AuthorityKeyIdentifier: (x509.AuthorityKeyIdentifier(bytes(20), None, None), False)},
    "an unknown extension": {x509.UnrecognizedExtension: (UNKNOWN, False)},
}


def test_the_root_twin_without_a_fault_is_accepted():
    assert check_root(forge(CA.root.der, CA.key), FEDERATION, NOW).public == CA.root.public


@pytest.mark.parametrize("fault", ROOT)
def test_a_root_with_a_fault_is_refused(fault):
    with pytest.raises(CertificateRefused):
        check_root(forge(CA.root.der, CA.key, ROOT[fault]), FEDERATION, NOW)


def test_a_root_of_another_federation_is_refused():
    with pytest.raises(CertificateRefused, match="constrained"):
        check_root(CA.root.der, "hearts.example", NOW)
    with pytest.raises(FormatError):
        check_root(CA.root.der, "Lungs.example", NOW)


def test_a_root_is_issued_and_signed_by_itself():
    other = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "another")])
    with pytest.raises(CertificateRefused, match="not issued by itself"):
        check_root(forge(CA.root.der, CA.key, issuer=other), FEDERATION, NOW)
    with pytest.raises(CertificateRefused, match="not signed by its own key"):
        check_root(forge(CA.root.der, signer("somebody")), FEDERATION, NOW)


def test_a_root_has_a_sound_ed25519_key():
    p256 = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(CertificateRefused, match="Ed25519"):
        check_root(forge(CA.root.der, CA.key, key=p256), FEDERATION, NOW)
    for raw in (IDENTITY, ORDER_EIGHT):
        with pytest.raises(WeakKey):
            check_root(forge(CA.root.der, CA.key, key=weak_key(raw)), FEDERATION, NOW)


def test_a_leaf_is_no_root():
    with pytest.raises(CertificateRefused):
        check_root(good(Purpose.SIGNING), FEDERATION, NOW)


def test_no_bit_of_a_root_can_be_changed():
    for changed in flips(CA.root.der):
        with pytest.raises((CertificateRefused, WeakKey)):
            parse_root(changed, FEDERATION)


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_leaf_that_ends_after_the_root_is_refused(purpose):
    refused(forge(good(purpose), CA.key, end=CA.root.not_after + 1), purpose, words="outlives the root")
    parse_leaf(forge(good(purpose), CA.key, end=CA.root.not_after), CA.root, purpose, NORTH)
