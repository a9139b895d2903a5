"""Certificates that the authority issues: what is in them, and that other programs accept them too."""

import ssl
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from fedspallm_secure.crypto.certificate_fields import host_name
from fedspallm_secure.crypto.certificates import (
    Leaf,
    Purpose,
    check_leaf,
    check_root,
    generate_tls_key,
    parse_leaf,
    read_signing_request,
    read_tls_request,
    root_certificate,
    signing_certificate,
    signing_request,
    tls_certificate,
    tls_request,
)
from fedspallm_secure.crypto.fingerprints import fingerprint
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.profiles import DAY
from fedspallm_secure.crypto.revocation import Reason, Revoked, revocation_list
from fedspallm_secure.crypto.root_signing import signing_key
from fedspallm_secure.crypto.signing import Ed25519Signer, key_id
from fedspallm_secure.errors import (
    BadSignature,
    CertificateExpired,
    CertificateRefused,
    CertificateRevoked,
    FormatError,
    RevocationListStale,
    WeakKey,
)
from tests.authority import FEDERATION, HUB, NORTH, NOW, PROFILES, Authority, signer, tls_key
from tests.crypto.forgery import IDENTITY, ORDER_EIGHT, flips, forge

HOSTS = ["hub.lungs.example", "10.0.0.7", "2001:db8::7"]
PARTIES = [Party(role.value, "a" * 63) for role in Role]


def tls_leaf(authority: Authority, party: Party) -> Leaf:
    return authority.tls_leaf(party, HOSTS if party.role is Role.SERVER else [])


def pem(der: bytes) -> str:
    return ssl.DER_cert_to_PEM_cert(der)


def crl_pem(der: bytes) -> str:
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM).decode()


def test_the_root_is_what_the_table_says():
    root = Authority().root
    assert (root.federation, root.public) == (FEDERATION, signer("root").public)
    assert (root.not_before, root.not_after) == (NOW, NOW + 3650 * DAY)
    assert root.fingerprint == fingerprint(root.der)
    assert check_root(root.der, FEDERATION, NOW) == root
    assert "FOR DEVELOPMENT ONLY" in root.name.rfc4514_string()


@pytest.mark.parametrize("party", PARTIES, ids=lambda party: party.role_name)
def test_leaves_of_every_role_are_accepted(party):
    authority, crl = Authority(), Authority().crl()
    signing, tls = authority.leaf(party), tls_leaf(authority, party)
    assert check_leaf(signing.der, authority.root, party, Purpose.SIGNING, NOW, crl) == signing
    assert check_leaf(tls.der, authority.root, party, Purpose.TLS, NOW, crl) == tls
    assert signing.public == signer(str(party)).public
    assert signing.key_id == key_id(signing.public)
    assert signing.uri == tls.uri == f"spiffe://{FEDERATION}/{party}"
    assert tls.hosts == (tuple(HOSTS) if party.role is Role.SERVER else ())
    assert parse_leaf(signing.der, authority.root, Purpose.SIGNING, None).party == party
    with pytest.raises(CertificateRefused):
        parse_leaf(signing.der, authority.root, Purpose.TLS, party)
    with pytest.raises(CertificateRefused):
        parse_leaf(tls.der, authority.root, Purpose.SIGNING, party)


def test_serial_numbers_are_random_and_long():
    serials = {Authority().leaf(NORTH).serial for _ in range(20)}
    assert len(serials) == 20
    assert all(serial.bit_length() == 128 for serial in serials)


def test_a_leaf_never_outlives_the_root():
    authority = Authority()
    late = authority.root.not_after - DAY
    assert authority.leaf(NORTH, now=late).not_after == authority.root.not_after
    with pytest.raises(CertificateExpired):
        authority.leaf(NORTH, now=authority.root.not_after + 1)


def test_a_leaf_is_valid_from_its_first_to_its_last_second():
    authority, leaf = Authority(), Authority().leaf(NORTH, now=NOW + DAY)
    for at in (leaf.not_before, leaf.not_after):
        check_leaf(leaf.der, authority.root, NORTH, Purpose.SIGNING, at, authority.crl(now=at))
    for at, words in ((leaf.not_before - 1, "not valid yet"), (leaf.not_after + 1, "no longer valid")):
        with pytest.raises(CertificateExpired, match=words):
            check_leaf(leaf.der, authority.root, NORTH, Purpose.SIGNING, at, authority.crl(now=at))


def test_a_root_is_valid_from_its_first_to_its_last_second():
    root = Authority().root
    check_root(root.der, FEDERATION, root.not_after)
    for at in (root.not_before - 1, root.not_after + 1):
        with pytest.raises(CertificateExpired):
            check_root(root.der, FEDERATION, at)


def test_a_revoked_leaf_is_refused_and_a_stale_list_too():
    authority, leaf = Authority(), Authority().leaf(NORTH)
    crl = authority.crl(Revoked(leaf.serial, NOW, Reason.KEY_COMPROMISE))
    with pytest.raises(CertificateRevoked):
        check_leaf(leaf.der, authority.root, NORTH, Purpose.SIGNING, NOW, crl)
    with pytest.raises(RevocationListStale):
        check_leaf(leaf.der, authority.root, NORTH, Purpose.SIGNING, crl.next_update + 1, crl)


def test_only_the_root_key_issues():
    authority, other = Authority(), signer("somebody")
    with pytest.raises(CertificateRefused, match="not that of the root"):
        signing_certificate(other, authority.root, NORTH, signer("x").public, PROFILES, NOW)
    with pytest.raises(CertificateRefused, match="not that of the root"):
        revocation_list(other, authority.root, 1, [], NOW, NOW + DAY)


@pytest.mark.parametrize("raw", [IDENTITY, ORDER_EIGHT, bytes(32), b"\xff" * 32, b"short"])
def test_no_certificate_for_a_weak_key(raw):
    with pytest.raises(WeakKey):
        signing_certificate(signer("root"), Authority().root, NORTH, raw, PROFILES, NOW)


def test_no_root_for_what_is_no_federation():
    with pytest.raises(FormatError):
        root_certificate(signer("root"), "Lungs.example", PROFILES, NOW)


def test_no_root_for_a_weak_key():
    class Weak:
        public = IDENTITY

        def sign(self, message: bytes) -> bytes:
            return bytes(64)

    with pytest.raises(WeakKey):
        root_certificate(Weak(), FEDERATION, PROFILES, NOW)


def test_tls_certificates_are_for_p256_keys_alone():
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    for spki in (other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), b"", b"0"):
        with pytest.raises(CertificateRefused):
            tls_certificate(signer("root"), Authority().root, NORTH, spki, [], PROFILES, NOW)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "Hub.example",
        "*.example",
        "hub.example.",
        "-hub.example",
        "hub_1.example",
        "hub..example",
        "h\u00fcb.example",
        "1.2.3",
        "10.0.0.01",
        "2001:DB8::7",
        "2001:db8:0::7",
        "fe80::1%eth0",
        "a" * 64,
        ".".join(["a" * 63] * 4),
        "http://hub",
        "hub.7",
        "127.0.0.0x1",
        "0x7f000001",
        "hub.0xg",
        "::ffff:192.0.2.1",
        "::ffff:c000:201",
        "::ffff:192.0.2.1%eth0",
    ],
)
def test_hosts_have_one_spelling(host):
    root = Authority()
    with pytest.raises(FormatError):
        tls_certificate(root.key, root.root, HUB, tls_leaf(root, HUB).public, [host], PROFILES, NOW)


def test_an_address_inside_of_another_is_refused_plainly():
    for host in ("::ffff:192.0.2.1", "::ffff:c000:201"):
        with pytest.raises(FormatError, match=r"name 192\.0\.2\.1 itself"):
            host_name(host)
    assert host_name("0x7.example").value == "0x7.example"  # only the end makes a name an address


def test_no_root_is_made_by_a_clock_that_is_far_off():
    for now in (253_402_300_000, 10**12, -(10**10)):
        with pytest.raises(CertificateRefused) as caught:
            root_certificate(signer("root"), FEDERATION, PROFILES, now)
        assert "clock" in caught.value.hint


def test_only_servers_have_hosts():
    root = Authority()
    with pytest.raises(FormatError, match="only servers"):
        tls_certificate(root.key, root.root, NORTH, tls_leaf(root, NORTH).public, ["a.example"], PROFILES, NOW)


def test_a_signer_needs_no_more_than_its_interface_and_gives_no_more():
    class Token:
        """A key in hardware: it signs, and that is all."""

        __slots__ = ("_inside", "public")

        def __init__(self) -> None:
            self._inside = Ed25519Signer.generate()[0]
            self.public = self._inside.public

        def sign(self, message: bytes) -> bytes:
            assert type(message) is bytes
            return self._inside.sign(message)

    token = Token()
    root = check_root(root_certificate(token, FEDERATION, PROFILES, NOW), FEDERATION, NOW)
    assert root.public == token.public
    key = signing_key(token)
    with pytest.raises(TypeError):
        key.private_bytes_raw()
    with pytest.raises(TypeError):
        key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def test_tls_keys_are_p256_and_new():
    keys = {generate_tls_key() for _ in range(5)}
    assert len(keys) == 5
    assert all(load_der_private_key(key, None).curve.name == "secp256r1" for key in keys)


# Certificate signing requests


def test_requests_give_the_keys():
    assert (
        read_signing_request(signing_request(signer("n"), NORTH, FEDERATION), NORTH, FEDERATION) == signer("n").public
    )
    spki = read_tls_request(tls_request(tls_key("n"), NORTH, FEDERATION), NORTH, FEDERATION)
    own = load_der_private_key(tls_key("n"), None).public_key()
    assert spki == own.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(("party", "federation"), [(HUB, FEDERATION), (NORTH, "other.example")])
def test_nobody_hands_in_the_request_of_somebody_else(party, federation):
    with pytest.raises(CertificateRefused, match="does not name"):
        read_signing_request(signing_request(signer("n"), NORTH, FEDERATION), party, federation)
    with pytest.raises(CertificateRefused, match="does not name"):
        read_tls_request(tls_request(tls_key("n"), NORTH, FEDERATION), party, federation)


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), Ed25519PrivateKey.generate(), None])
def test_tls_requests_are_made_with_p256_keys_alone(key):
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()) if key else b"0"
    with pytest.raises(CertificateRefused):
        tls_request(der, NORTH, FEDERATION)


def made_request(*extensions: x509.ExtensionType, digest: HashAlgorithm, critical: bool = False) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for value in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(load_der_private_key(tls_key("n"), None), digest).public_bytes(Encoding.DER)


NAMES = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(NORTH.uri(FEDERATION))])
MORE = x509.SubjectAlternativeName([*NAMES, x509.DNSName("evil.example")])


def test_requests_have_one_form():
    read_tls_request(made_request(NAMES, digest=SHA256()), NORTH, FEDERATION)
    usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH])
    for forged in (
        made_request(NAMES, digest=SHA384()),
        made_request(NAMES, digest=SHA256(), critical=True),
        made_request(MORE, digest=SHA256()),
        made_request(NAMES, usage, digest=SHA256()),
        made_request(digest=SHA256()),
    ):
        with pytest.raises(CertificateRefused):
            read_tls_request(forged, NORTH, FEDERATION)


def test_requests_have_no_other_attributes():
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(NAMES, False)
    builder = builder.add_attribute(x509.oid.AttributeOID.CHALLENGE_PASSWORD, b"secret")
    forged = builder.sign(load_der_private_key(tls_key("n"), None), SHA256()).public_bytes(Encoding.DER)
    with pytest.raises(CertificateRefused, match="attributes"):
        read_tls_request(forged, NORTH, FEDERATION)


def test_requests_are_for_their_kind_of_key():
    signing, tls = signing_request(signer("n"), NORTH, FEDERATION), tls_request(tls_key("n"), NORTH, FEDERATION)
    with pytest.raises(CertificateRefused, match="Ed25519"):
        read_signing_request(tls, NORTH, FEDERATION)
    with pytest.raises(CertificateRefused, match="P-256"):
        read_tls_request(signing, NORTH, FEDERATION)
    with pytest.raises(CertificateRefused, match="at most"):
        read_tls_request(bytes(8193), NORTH, FEDERATION)


@pytest.mark.parametrize("read", [read_signing_request, read_tls_request])
def test_no_bit_of_a_request_can_be_changed(read):
    make, key = (signing_request, signer("n")) if read is read_signing_request else (tls_request, tls_key("n"))
    good = make(key, NORTH, FEDERATION)
    read(good, NORTH, FEDERATION)
    for changed in flips(good):
        with pytest.raises((CertificateRefused, BadSignature, WeakKey)):
            read(changed, NORTH, FEDERATION)


# Other programs


def openssl_verify(folder: Path, root: bytes, leaf: bytes, *options: str, crl: bytes | None = None) -> str:
    """The output of `openssl verify` at time NOW; "... OK" if it accepts the leaf."""
    (folder / "root.pem").write_text(pem(root))
    (folder / "leaf.pem").write_text(pem(leaf))
    command = ["openssl", "verify", "-attime", str(NOW), "-CAfile", str(folder / "root.pem"), *options]
    if crl is not None:
        (folder / "crl.pem").write_text(crl_pem(crl))
        command += ["-crl_check", "-CRLfile", str(folder / "crl.pem")]
    done = subprocess.run([*command, str(folder / "leaf.pem")], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == done.stdout.endswith("OK\n")
    return done.stdout + done.stderr


@pytest.mark.parametrize("options", [[], ["-x509_strict"]], ids=["plain", "strict"])
@pytest.mark.parametrize("party", PARTIES, ids=lambda party: party.role_name)
def test_openssl_accepts_our_chains_and_refuses_revoked_leaves(tmp_path, party, options):
    authority = Authority()
    for leaf in (authority.leaf(party), tls_leaf(authority, party)):
        purpose = ["-purpose", "sslserver" if party.role is Role.SERVER else "sslclient"]
        wanted = [*options, *(purpose if leaf.purpose is Purpose.TLS else [])]
        revoked = authority.crl(Revoked(leaf.serial, NOW, Reason.SUPERSEDED))
        files = tmp_path, authority.root.der, leaf.der, *wanted
        assert openssl_verify(*files).endswith("OK\n")
        assert openssl_verify(*files, crl=authority.crl().der).endswith("OK\n")
        assert "certificate revoked" in openssl_verify(*files, crl=revoked.der)


def test_openssl_honours_the_name_constraint(tmp_path):
    """A root of one federation cannot issue for another, whatever program checks."""
    authority = Authority()
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://hearts.example/member/north")])
    forged = forge(authority.leaf(NORTH).der, authority.key, {x509.SubjectAlternativeName: (names, False)})
    assert "permitted subtree violation" in openssl_verify(tmp_path, authority.root.der, forged)


class End:
    """One end of a TLS connection that is only memory."""

    def __init__(self, context: ssl.SSLContext, server: bool, host: str | None = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server, server_hostname=host)

    def step(self, other: "End") -> bool:
        """Do what can be done and hand the output over; whether the handshake is complete."""
        try:
            self.tls.do_handshake()
            return True
        except ssl.SSLWantReadError:
            return False
        finally:
            other.incoming.write(self.outgoing.read())


def context(folder: Path, authority: Authority, leaf: Leaf, server: bool, crl: bytes) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_CRL_CHECK_LEAF
    trust, chain = folder / "trust.pem", folder / f"{leaf.party.id}.pem"
    trust.write_text(pem(authority.root.der) + crl_pem(crl))
    key = load_der_private_key(tls_key(str(leaf.party)), None)
    chain.write_text(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode() + pem(leaf.der))
    made.load_verify_locations(cafile=str(trust))
    made.load_cert_chain(str(chain))
    return made


def handshake(folder: Path, host: str, revoke_member: bool = False) -> dict:
    """The certificate of the client that the server sees."""
    authority = Authority(signer("root"), now=int(time.time()))
    hub, north = tls_leaf(authority, HUB), tls_leaf(authority, NORTH)
    revoked = [Revoked(north.serial, authority.now, Reason.KEY_COMPROMISE)] if revoke_member else []
    crl = authority.crl(*revoked).der
    server = End(context(folder, authority, hub, True, crl), True)
    client = End(context(folder, authority, north, False, crl), False, host)
    for _ in range(5):
        if all([client.step(server), server.step(client)]):
            assert server.tls.version() == "TLSv1.3"
            return server.tls.getpeercert() or {}
    raise AssertionError("the handshake does not end")


@pytest.mark.parametrize("host", HOSTS)
def test_tls_accepts_the_pair_mutually_and_strictly(tmp_path, host):
    assert handshake(tmp_path, host)["subjectAltName"] == (("URI", f"spiffe://{FEDERATION}/member/north"),)


def test_tls_refuses_another_host_and_a_revoked_member(tmp_path):
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(tmp_path, "other.lungs.example")
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        handshake(tmp_path, HOSTS[0], revoke_member=True)
