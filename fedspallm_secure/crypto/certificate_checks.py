"""Reading and checking leaf certificates, exactly as SPEC section 5 (a) to (f) says."""

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fedspallm_secure.crypto.certificate_fields import (
    extended_key_usage,
    host_name,
    key_usage,
    read_certificate,
    read_extensions,
)
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.profiles import PACKAGE_SIGNING
from fedspallm_secure.crypto.revocation import RevocationList
from fedspallm_secure.crypto.roots import Root, check_root_time
from fedspallm_secure.crypto.signing import check_public_key, key_id, verify_raw
from fedspallm_secure.errors import CertificateExpired, CertificateRefused, CertificateRevoked, FormatError

_EXTENSIONS: dict[type[x509.ExtensionType], bool] = {  # and whether each is critical
    x509.BasicConstraints: True,
    x509.KeyUsage: True,
    x509.ExtendedKeyUsage: False,
    x509.SubjectAlternativeName: False,
    x509.SubjectKeyIdentifier: False,
    x509.AuthorityKeyIdentifier: False,
}
_TLS_USAGES = {Role.SERVER: "serverAuth"}  # every other role: clientAuth


class Purpose(Enum):
    """What a leaf's key is for."""

    SIGNING = "signing"
    TLS = "tls"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf certificate whose form, name and signature hold; its time and revocation are other questions.

    public: the raw Ed25519 key (32 bytes) of a signing leaf, the SubjectPublicKeyInfo in DER of a TLS leaf;
    hosts: DNS names and addresses of a server's TLS leaf; times: Unix seconds.
    """

    der: bytes
    purpose: Purpose
    party: Party
    uri: str
    serial: int
    public: bytes
    hosts: tuple[str, ...]
    not_before: int
    not_after: int

    @property
    def key_id(self) -> str:
        """Identifier of a signing leaf's key, 64 hex digits."""
        return key_id(self.public)


def check_leaf(der: bytes, root: Root, party: Party, purpose: Purpose, at: int, crl: RevocationList) -> Leaf:
    """Check a leaf of `party` at time `at` against the newest list, in the order (b) to (f).

    Whoever made `root` has compared its fingerprint (a).
    Raises CertificateRefused, WeakKey, CertificateExpired, RevocationListStale, CertificateRevoked.
    """
    leaf = parse_leaf(der, root, purpose, party)
    check_root_time(root, at)
    check_leaf_time(leaf, at)
    check_leaf_revoked(leaf, crl, at)
    return leaf


@lru_cache(maxsize=1024)  # every message names certificates that earlier ones did; what is refused is not kept
def parse_leaf(der: bytes, root: Root, purpose: Purpose, party: Party | None) -> Leaf:
    """Check (b), (c) and (d): form, name and the root's signature, without the time in question and revocation.

    party: whose it has to be; None to accept any party of the federation, only to show the certificate.
    Raises CertificateRefused or WeakKey.
    """
    what = f"the {purpose.value} certificate" + (f" of {party}" if party else "")
    found = read_certificate(der, what)
    if found.issuer != root.subject or not verify_raw(root.public, found.signed, found.signature):  # (b)
        raise CertificateRefused(f"{what} is not issued by the root with fingerprint {root.fingerprint}")
    if found.not_after > root.not_after:  # (e)
        raise CertificateRefused(f"{what} outlives the root")
    public = (
        signing_public(found.public_key, what) if purpose is Purpose.SIGNING else tls_public(found.public_key, what)
    )
    values = read_extensions(found.extensions, _EXTENSIONS, what)  # (c)
    names = cast(x509.SubjectAlternativeName, values[x509.SubjectAlternativeName])
    named = _named_party(names, root.federation, what)
    if party is not None and named != party:  # (d)
        raise CertificateRefused(f"{what} belongs to {named}")
    hosts = _hosts(names, named, purpose, what)
    _check_usages(values, root, named, purpose, what)
    uri = named.uri(root.federation)
    return Leaf(der, purpose, named, uri, found.serial, public, hosts, found.not_before, found.not_after)


def signing_public(key: object, what: str) -> bytes:
    """The raw bytes of a sound Ed25519 key.  Raises CertificateRefused for another kind, WeakKey."""
    if not isinstance(key, Ed25519PublicKey):
        raise CertificateRefused(f"{what} must have an Ed25519 key")
    public = key.public_bytes_raw()
    check_public_key(public, what)
    return public


def tls_public(key: object, what: str) -> bytes:
    """The SubjectPublicKeyInfo of a P-256 key, in DER.  Raises CertificateRefused for another kind."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateRefused(f"{what} must have an ECDSA key on P-256")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _named_party(names: x509.SubjectAlternativeName, federation: str, what: str) -> Party:
    uris, start = names.get_values_for_type(x509.UniformResourceIdentifier), f"spiffe://{federation}/"
    if len(uris) != 1:
        raise CertificateRefused(f"{what} names {len(uris)} URIs; it must be exactly one")
    if not uris[0].startswith(start):
        raise CertificateRefused(f"{what} does not name a party of the federation {federation}")
    try:
        return Party.parse(uris[0].removeprefix(start))
    except FormatError as error:
        raise CertificateRefused(f"{what}: {error}") from None


def _hosts(names: x509.SubjectAlternativeName, party: Party, purpose: Purpose, what: str) -> tuple[str, ...]:
    """The names other than the URI, if they may be there."""
    others = [name for name in names if not isinstance(name, x509.UniformResourceIdentifier)]
    if others and (purpose is not Purpose.TLS or party.role is not Role.SERVER):
        raise CertificateRefused(f"{what} has other names than its URI")
    hosts = tuple(str(name.value) for name in others)
    try:
        if [host_name(host) for host in hosts] != others:  # equal in kind and value
            raise FormatError("a name is neither a DNS name nor an address")
    except FormatError as error:
        raise CertificateRefused(f"{what}: {error}") from None
    return hosts


def _check_usages(
    values: dict[type[x509.ExtensionType], x509.ExtensionType], root: Root, party: Party, purpose: Purpose, what: str
) -> None:
    """The rest of (c), after the key and the closed set of extensions."""
    if values[x509.BasicConstraints] != x509.BasicConstraints(ca=False, path_length=None):
        raise CertificateRefused(f"{what} is an authority's")
    if values[x509.KeyUsage] != key_usage(["digitalSignature"]):
        raise CertificateRefused(f"{what} has another key usage than digitalSignature")
    usage = PACKAGE_SIGNING if purpose is Purpose.SIGNING else _TLS_USAGES.get(party.role, "clientAuth")
    if values[x509.ExtendedKeyUsage] != extended_key_usage([usage]):
        raise CertificateRefused(f"{what} has another extended key usage than that of a {party.role_name}")
    if values[x509.AuthorityKeyIdentifier] != root.authority_identifier:
        raise CertificateRefused(f"{what} refers to another authority's key")


def check_leaf_time(leaf: Leaf, at: int) -> None:
    """Raise CertificateExpired unless `at` lies in the leaf's validity (e)."""
    if not leaf.not_before <= at <= leaf.not_after:
        word = "not valid yet" if at < leaf.not_before else "no longer valid"
        raise CertificateExpired(f"the {leaf.purpose.value} certificate of {leaf.party} is {word}")


def check_leaf_revoked(leaf: Leaf, crl: RevocationList, at: int) -> None:
    """Raise RevocationListStale if the list is too old at `at`, CertificateRevoked if it holds the leaf (f)."""
    crl.check_fresh(at)
    if crl.is_revoked(leaf.serial):
        raise CertificateRevoked(f"the {leaf.purpose.value} certificate of {leaf.party} was withdrawn")
