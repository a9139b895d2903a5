"""Issuing: the root, the leaves, and the requests for them (SPEC section 5, RFC 5280, RFC 2986).

What reads and checks certificates is imported from here too, so that callers need one module.
"""

from collections.abc import Sequence
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_der_public_key,
)
from cryptography.x509.oid import SignatureAlgorithmOID

from fedspallm_secure.crypto.certificate_checks import (
    Leaf,
    Purpose,
    check_leaf,
    check_leaf_revoked,
    check_leaf_time,
    parse_leaf,
    signing_public,
    tls_public,
)
from fedspallm_secure.crypto.certificate_fields import (
    CERTIFICATE_LIMIT,
    check_signature_bytes,
    check_size,
    extended_key_usage,
    host_name,
    key_usage,
    read_extensions,
    refusing,
    subject_name,
    utc_validity,
)
from fedspallm_secure.crypto.identity import Party, Role, check_federation
from fedspallm_secure.crypto.profiles import Profile, Profiles
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.crypto.root_signing import check_root_key, signing_key
from fedspallm_secure.crypto.roots import Root, check_root, check_root_time, federation_constraint, parse_root
from fedspallm_secure.crypto.signing import Signer, check_public_key, verify_raw
from fedspallm_secure.errors import BadSignature, CertificateRefused, FormatError

__all__ = [
    "CERTIFICATE_LIMIT",
    "Leaf",
    "Purpose",
    "Root",
    "check_leaf",
    "check_leaf_revoked",
    "check_leaf_time",
    "check_root",
    "check_root_time",
    "generate_tls_key",
    "parse_leaf",
    "parse_root",
    "read_signing_request",
    "read_tls_request",
    "root_certificate",
    "signing_certificate",
    "signing_request",
    "tls_certificate",
    "tls_request",
]

PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey


def root_certificate(root: Signer, federation: str, profiles: Profiles, now: int) -> bytes:
    """Make the federation's root certificate, signed by its own key; DER.  Raises FormatError, WeakKey."""
    check_federation(federation)
    check_public_key(root.public, "the root")
    key = signing_key(root)
    name = subject_name(profiles.organisation, "root", federation)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        _builder(name, name, key.public_key(), now, profiles.root.until(now))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(profiles.root.usages), critical=True)
        .add_extension(federation_constraint(federation), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(identifier.digest, None, None), critical=False)
    )
    return builder.sign(key, None).public_bytes(Encoding.DER)


def signing_certificate(
    root: Signer, root_cert: Root, party: Party, public: bytes, profiles: Profiles, now: int
) -> bytes:
    """Issue the leaf of a signing key; DER.  public: raw Ed25519 key, 32 bytes.  Never outlives the root.

    Raises WeakKey, CertificateRefused if `root` is not the key of `root_cert`, CertificateExpired if that has ended.
    """
    check_public_key(public, str(party))
    name = subject_name(profiles.organisation, f"{party.role_name} signing", party.id)
    key = Ed25519PublicKey.from_public_bytes(public)
    return _issue(root, root_cert, party, name, key, [], profiles.signing, now)


def tls_certificate(
    root: Signer,
    root_cert: Root,
    party: Party,
    public_spki_der: bytes,
    hosts: Sequence[str],
    profiles: Profiles,
    now: int,
) -> bytes:
    """Issue the leaf of a TLS key; DER.  public_spki_der: SubjectPublicKeyInfo of a P-256 key; hosts: servers only.

    Raises CertificateRefused for another key or root, FormatError for a host, CertificateExpired if the root has ended.
    """
    if hosts and party.role is not Role.SERVER:
        raise FormatError(f"{party} cannot have host names: only servers are connected to")
    with refusing(f"the TLS key of {party}"):
        key = load_der_public_key(public_spki_der)
    tls_public(key, f"the TLS key of {party}")
    name = subject_name(profiles.organisation, f"{party.role_name} TLS", party.id)
    others = [host_name(host) for host in hosts]
    return _issue(root, root_cert, party, name, cast(PublicKey, key), others, profiles.tls, now)


def generate_tls_key() -> bytes:
    """A new P-256 key as PKCS #8 in DER: what the key file of purpose `tls` holds.

    OpenSSL draws it, from a generator that it seeds from the operating system's.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def signing_request(signer: Signer, party: Party, federation: str) -> bytes:
    """A certificate signing request by a signing key, in DER, that names the party."""
    return _request(party, federation).sign(signing_key(signer), None).public_bytes(Encoding.DER)


def tls_request(private_pkcs8: bytes, party: Party, federation: str) -> bytes:
    """A certificate signing request by a TLS key, in DER, that names the party.  private_pkcs8: P-256 key in DER.

    Raises CertificateRefused for another key.
    """
    with refusing("the TLS key"):
        key = load_der_private_key(private_pkcs8, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateRefused("a TLS key must be an ECDSA key on P-256")
    return _request(party, federation).sign(key, SHA256()).public_bytes(Encoding.DER)


def read_signing_request(der: bytes, party: Party, federation: str) -> bytes:
    """Check that the request is this party's and signed by the key in it; the raw Ed25519 key, 32 bytes.

    Raises CertificateRefused, WeakKey or BadSignature.
    """
    what = f"the request for a signing certificate of {party}"
    found, key = _read_request(der, party.uri(federation), what)
    public = signing_public(key, what)
    if found.signature_algorithm_oid != SignatureAlgorithmOID.ED25519:
        raise CertificateRefused(f"{what} must be signed with Ed25519")
    if not verify_raw(public, found.tbs_certrequest_bytes, found.signature):
        raise BadSignature(f"{what} is not signed by the key in it")
    return public


def read_tls_request(der: bytes, party: Party, federation: str) -> bytes:
    """Check that the request is this party's and signed by the P-256 key in it; its SubjectPublicKeyInfo in DER.

    Raises CertificateRefused or BadSignature.
    """
    what = f"the request for a TLS certificate of {party}"
    found, key = _read_request(der, party.uri(federation), what)
    public = tls_public(key, what)
    if found.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
        raise CertificateRefused(f"{what} must be signed with ECDSA and SHA-256")
    with refusing(what):
        valid = found.is_signature_valid
    if not valid:
        raise BadSignature(f"{what} is not signed by the key in it")
    return public


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, not_before: int, not_after: int
) -> x509.CertificateBuilder:
    start, end = utc_validity(not_before, not_after)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(int.from_bytes(random_bytes(16), "big") | 1 << 127)  # 127 random bits, always positive
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _issue(
    root: Signer,
    root_cert: Root,
    party: Party,
    name: x509.Name,
    key: PublicKey,
    hosts: Sequence[x509.GeneralName],
    profile: Profile,
    now: int,
) -> bytes:
    check_root_key(root, root_cert)
    check_root_time(root_cert, now)
    uri = x509.UniformResourceIdentifier(party.uri(root_cert.federation))
    server = party.role is Role.SERVER
    usages = (server and profile.server_extended_usages) or profile.extended_usages
    builder = (
        _builder(name, root_cert.name, key, now, min(profile.until(now), root_cert.not_after))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(profile.usages), critical=True)
        .add_extension(extended_key_usage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName([uri, *hosts]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(root_cert.authority_identifier, critical=False)
    )
    return builder.sign(signing_key(root), None).public_bytes(Encoding.DER)


def _request(party: Party, federation: str) -> x509.CertificateSigningRequestBuilder:
    """It names the party, so that nobody can hand in somebody else's request as their own."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(party.uri(check_federation(federation)))])
    return x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, critical=False)


def _read_request(der: bytes, uri: str, what: str) -> tuple[x509.CertificateSigningRequest, object]:
    check_size(der, CERTIFICATE_LIMIT, what)
    with refusing(what):
        found = x509.load_der_x509_csr(der)
        key, extensions, attributes = found.public_key(), found.extensions, len(found.attributes)
        signature = found.signature
    check_signature_bytes(der, signature, what)
    values = read_extensions(extensions, {x509.SubjectAlternativeName: False}, what)
    if attributes != 1:
        raise CertificateRefused(f"{what} has attributes that it may not have")
    expected = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    if values[x509.SubjectAlternativeName] != expected:
        raise CertificateRefused(f"{what} does not name {uri} and nothing else")
    return found, key
