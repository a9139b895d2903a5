"""Roots, signing certificates and revocation lists (SPEC section 5), the right ones and wrong ones of every kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from tests.vectorkit.primitives import seeded

PACKAGE_SIGNING = x509.ObjectIdentifier("2.25.253809565053869446045003847362290417585")
DAY = 86_400

Extension = tuple[x509.ExtensionType, bool]
Change = Callable[[list[Extension]], list[Extension]]


def key_named(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seeded(f"ed25519/{name}"))


def at(time: int) -> datetime:
    return datetime.fromtimestamp(time, UTC)


def serial_named(name: str) -> int:
    """A positive number of at most 127 bits and at least 64."""
    return int.from_bytes(seeded(f"serial/{name}", 16), "big") >> 1 | 1 << 126


def people_name(text: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "FOR DEVELOPMENT ONLY"),
            x509.NameAttribute(NameOID.COMMON_NAME, text),
        ]
    )


def usage(*which: str) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in which for name in names})


@dataclass(frozen=True)
class Root:
    """A certificate authority with its certificate."""

    key: Ed25519PrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def make_root(name: str, federation: str, start: int, end: int) -> Root:
    key = key_named(f"root/{name}")
    subject = people_name(f"{federation} root")
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial_named(f"root/{name}"))
        .not_valid_before(at(start))
        .not_valid_after(at(end))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(
            x509.NameConstraints([x509.UniformResourceIdentifier(federation)], excluded_subtrees=None), critical=True
        )
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
    )
    return Root(key, builder.sign(key, None))


@dataclass(frozen=True)
class Leaf:
    """What a signing certificate says; `change` and the other fields with defaults make the wrong ones."""

    uri: str
    key: Ed25519PrivateKey
    start: int
    end: int
    serial: int
    change: Change = list
    issuer_name: str = ""
    signed_by: Ed25519PrivateKey | None = None


def make_leaf(root: Root, leaf: Leaf) -> bytes:
    issuer = people_name(leaf.issuer_name) if leaf.issuer_name else root.certificate.subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(people_name(leaf.uri.removeprefix("spiffe://")))
        .issuer_name(issuer)
        .public_key(leaf.key.public_key())
        .serial_number(leaf.serial)
        .not_valid_before(at(leaf.start))
        .not_valid_after(at(leaf.end))
    )
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(root.key.public_key())
    extensions: list[Extension] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage("digital_signature"), True),
        (x509.ExtendedKeyUsage([PACKAGE_SIGNING]), False),
        (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(leaf.uri)]), False),
        (x509.SubjectKeyIdentifier.from_public_key(leaf.key.public_key()), False),
        (authority, False),
    ]
    for extension, critical in leaf.change(extensions):
        builder = builder.add_extension(extension, critical)
    return builder.sign(leaf.signed_by or root.key, None).public_bytes(Encoding.DER)


def make_crl(root: Root, number: int, start: int, end: int, revoked: Sequence[int]) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(root.certificate.subject)
        .last_update(at(start))
        .next_update(at(end))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.key.public_key()), critical=False)
    )
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at(start))
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(root.key, None).public_bytes(Encoding.DER)


def without(kind: type[x509.ExtensionType]) -> Change:
    return lambda extensions: [e for e in extensions if not isinstance(e[0], kind)]


def instead(extension: x509.ExtensionType, *, critical: bool) -> Change:
    """The extension takes the place of the one of its kind."""
    return lambda extensions: [(extension, critical) if isinstance(e[0], type(extension)) else e for e in extensions]


def besides(extension: x509.ExtensionType, *, critical: bool = False) -> Change:
    return lambda extensions: [*extensions, (extension, critical)]


def made_critical(kind: type[x509.ExtensionType]) -> Change:
    return lambda extensions: [(e[0], e[1] or isinstance(e[0], kind)) for e in extensions]


def is_authority(extension: x509.ExtensionType) -> bool:
    return isinstance(extension, x509.AuthorityKeyIdentifier)


def with_certificate(identifier: x509.ExtensionType) -> x509.AuthorityKeyIdentifier:
    assert isinstance(identifier, x509.AuthorityKeyIdentifier)
    issuer = x509.DirectoryName(people_name("clinics.example root"))
    return x509.AuthorityKeyIdentifier(identifier.key_identifier, [issuer], serial_named("root/main"))


def names(*uris: str, hosts: Sequence[str] = ()) -> Change:
    found = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, hosts)]
    return instead(x509.SubjectAlternativeName(found), critical=False)


def wrong_leaves(federation: str) -> dict[str, tuple[str, Change]]:
    """By name: what is wrong with the extensions of a certificate of member/birch."""
    party = f"spiffe://{federation}/member/birch"
    private = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.25.1"), b"\x05\x00")
    url = x509.UniformResourceIdentifier("http://crl.example/list")
    point = x509.DistributionPoint([url], None, None, None)
    access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, url)
    other_authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(key_named("root/impostor").public_key())
    leaf, signing = x509.BasicConstraints(ca=False, path_length=None), usage("digital_signature")
    both = x509.ExtendedKeyUsage([PACKAGE_SIGNING, ExtendedKeyUsageOID.CLIENT_AUTH])
    client = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    any_use = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
    return {
        "ca": ("says that it is an authority", instead(x509.BasicConstraints(ca=True, path_length=0), critical=True)),
        "no-basic-constraints": ("has no basic constraints", without(x509.BasicConstraints)),
        "basic-constraints-not-critical": (
            "has basic constraints that are not critical",
            instead(leaf, critical=False),
        ),
        "no-key-usage": ("has no key usage", without(x509.KeyUsage)),
        "key-usage-not-critical": ("has a key usage that is not critical", instead(signing, critical=False)),
        "key-usage-more": (
            "may be used for key agreement too",
            instead(usage("digital_signature", "key_agreement"), critical=True),
        ),
        "key-usage-cert-sign": ("may sign certificates only", instead(usage("key_cert_sign"), critical=True)),
        "no-extended-usage": ("has no extended key usage", without(x509.ExtendedKeyUsage)),
        "extended-usage-tls": ("is one for TLS clients", instead(client, critical=False)),
        "extended-usage-any": ("is one for any use", instead(any_use, critical=False)),
        "extended-usage-both": ("is one for packages and for TLS clients", instead(both, critical=False)),
        "no-names": ("names nobody", without(x509.SubjectAlternativeName)),
        "two-uris": ("names two parties", names(party, f"spiffe://{federation}/member/cedar")),
        "uri-twice": ("names its party twice", names(party, party)),
        "uri-and-host": ("has a DNS name besides its URI", names(party, hosts=["birch.example"])),
        "host-only": ("has a DNS name and no URI", names(hosts=["birch.example"])),
        "other-id": ("names another member", names(f"spiffe://{federation}/member/cedar")),
        "other-role": ("names another role", names(f"spiffe://{federation}/server/birch")),
        "other-federation": ("names another federation", names("spiffe://elsewhere.example/member/birch")),
        "upper-case-uri": ("names its party in upper case", names(f"spiffe://{federation}/member/BIRCH")),
        "no-subject-key-id": ("has no subject key identifier", without(x509.SubjectKeyIdentifier)),
        "no-authority-key-id": ("has no authority key identifier", without(x509.AuthorityKeyIdentifier)),
        "extended-usage-critical": ("has a critical extended key usage", made_critical(x509.ExtendedKeyUsage)),
        "names-critical": ("has a critical alternative name", made_critical(x509.SubjectAlternativeName)),
        "subject-key-id-critical": ("has a critical key identifier", made_critical(x509.SubjectKeyIdentifier)),
        "authority-key-id-critical": (
            "has a critical authority key identifier",
            made_critical(x509.AuthorityKeyIdentifier),
        ),
        "authority-key-id-other": ("names the key of another authority", instead(other_authority, critical=False)),
        "authority-key-id-more": (
            "names the authority's certificate besides its key",
            lambda extensions: [(with_certificate(e), c) if is_authority(e) else (e, c) for e, c in extensions],
        ),
        "extra-critical": ("has an unknown critical extension", besides(private, critical=True)),
        "extra-unknown": ("has an unknown extension", besides(private)),
        "extra-crl-points": ("has CRL distribution points", besides(x509.CRLDistributionPoints([point]))),
        "extra-authority-access": ("has an authority access", besides(x509.AuthorityInformationAccess([access]))),
    }
