"""The federation's root certificate: reading and checking it (SPEC section 5)."""

from dataclasses import dataclass
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fedspallm_secure.crypto.certificate_fields import key_usage, read_certificate, read_extensions
from fedspallm_secure.crypto.fingerprints import fingerprint
from fedspallm_secure.crypto.identity import check_federation
from fedspallm_secure.crypto.signing import check_public_key, verify_raw
from fedspallm_secure.errors import CertificateExpired, CertificateRefused

_WHAT = "the root certificate"
_EXTENSIONS: dict[type[x509.ExtensionType], bool] = {  # and whether each is critical
    x509.BasicConstraints: True,
    x509.KeyUsage: True,
    x509.NameConstraints: True,
    x509.SubjectKeyIdentifier: False,
    x509.AuthorityKeyIdentifier: False,
}


@dataclass(frozen=True, slots=True)
class Root:
    """A root certificate whose form and self-signature hold.  Whether it is the pinned one, its fingerprint tells.

    public: raw Ed25519 key; subject: `name` in DER; key_identifier: what leaves and lists refer to; times in Unix
    seconds.
    """

    der: bytes
    federation: str
    public: bytes
    subject: bytes
    key_identifier: bytes
    not_before: int
    not_after: int

    @property
    def name(self) -> x509.Name:
        """The subject, as builders take it for the issuer of leaves and lists."""
        return x509.load_der_x509_certificate(self.der).subject

    @property
    def authority_identifier(self) -> x509.AuthorityKeyIdentifier:
        """The one authority key identifier that leaves and lists of this root have."""
        return x509.AuthorityKeyIdentifier(self.key_identifier, None, None)

    @property
    def fingerprint(self) -> str:
        """Eight groups of five digits, to compare by voice (SPEC section 4)."""
        return fingerprint(self.der)


def check_root(der: bytes, federation: str, at: int) -> Root:
    """Check a root certificate for `federation` at time `at`.

    Raises CertificateRefused, WeakKey or CertificateExpired.  The caller compares the fingerprint.
    """
    root = parse_root(der, federation)
    check_root_time(root, at)
    return root


def parse_root(der: bytes, federation: str) -> Root:
    """As `check_root`, without the time.  Raises CertificateRefused or WeakKey."""
    check_federation(federation)
    found = read_certificate(der, _WHAT)
    if found.issuer != found.subject:
        raise CertificateRefused(f"{_WHAT} is not issued by itself")
    if not isinstance(found.public_key, Ed25519PublicKey):
        raise CertificateRefused(f"{_WHAT} must have an Ed25519 key")
    public = found.public_key.public_bytes_raw()
    check_public_key(public, _WHAT)
    if not verify_raw(public, found.signed, found.signature):
        raise CertificateRefused(f"{_WHAT} is not signed by its own key")
    identifier = _check_extensions(found.extensions, federation)
    return Root(der, federation, public, found.subject, identifier, found.not_before, found.not_after)


def check_root_time(root: Root, at: int) -> None:
    """Raise CertificateExpired unless `at` lies in the root's validity."""
    if not root.not_before <= at <= root.not_after:
        word = "not valid yet" if at < root.not_before else "no longer valid"
        raise CertificateExpired(f"{_WHAT} of {root.federation} is {word}")


def federation_constraint(federation: str) -> x509.NameConstraints:
    """URIs of this federation alone."""
    return x509.NameConstraints([x509.UniformResourceIdentifier(federation)], None)


def _check_extensions(extensions: x509.Extensions, federation: str) -> bytes:
    """Check them against the table of SPEC section 5 and return the subject key identifier."""
    values = read_extensions(extensions, _EXTENSIONS, _WHAT)
    identifier = cast(x509.SubjectKeyIdentifier, values[x509.SubjectKeyIdentifier]).digest
    if values[x509.BasicConstraints] != x509.BasicConstraints(ca=True, path_length=0):
        raise CertificateRefused(f"{_WHAT} must be an authority's with path length 0")
    if values[x509.KeyUsage] != key_usage(["keyCertSign", "cRLSign"]):
        raise CertificateRefused(f"{_WHAT} has another key usage than keyCertSign and cRLSign")
    if values[x509.NameConstraints] != federation_constraint(federation):
        raise CertificateRefused(f"{_WHAT} is not constrained to the federation {federation}")
    if values[x509.AuthorityKeyIdentifier] != x509.AuthorityKeyIdentifier(identifier, None, None):
        raise CertificateRefused(f"{_WHAT} refers to another authority's key")
    return identifier
