"""What the certificates, requests and revocation lists of a federation share (SPEC section 5): bounds, times, names.

The X.509 library has no common class for what it raises on hostile input, so it is called in one place per kind of
file, and there anything it raises becomes CertificateRefused.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, SignatureAlgorithmOID

from fedspallm_secure.errors import CertificateRefused, FedSpaError, FormatError

CERTIFICATE_LIMIT = 8 * 1024  # bytes of a certificate or of a certificate signing request (SPEC section 10)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+$|0x")  # resolvers read a name that ends in one as an address
_EARLIEST, _LATEST = -631_152_000, 253_402_300_799  # Unix seconds; RFC 5280, section 4.1.2.5
_CLOCK = "set the clock of this machine right"
_SERIAL_BOUND = 1 << 159  # RFC 5280, section 4.1.2.2
_VERSION_3 = bytes.fromhex("a003020102")
_ED25519 = bytes.fromhex("300506032b6570")  # the AlgorithmIdentifier of RFC 8410
_USAGE_FIELDS = {"digitalSignature": "digital_signature", "keyCertSign": "key_cert_sign", "cRLSign": "crl_sign"}
_EXTENDED_USAGES = {"serverAuth": ExtendedKeyUsageOID.SERVER_AUTH, "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH}
_ALL_USAGES = (
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


@dataclass(frozen=True, slots=True)
class CertificateFields:
    """A parsed certificate, nothing of it verified yet.  issuer, subject: names in DER; times: Unix seconds."""

    serial: int
    issuer: bytes
    subject: bytes
    not_before: int
    not_after: int
    public_key: CertificatePublicKeyTypes
    extensions: x509.Extensions
    signed: bytes
    signature: bytes


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn whatever the X.509 library raises into CertificateRefused."""
    try:
        yield
    except FedSpaError:
        raise
    except Exception as error:
        raise CertificateRefused(f"{what} is not in the form of RFC 5280") from error


def check_size(der: bytes, limit: int, what: str) -> None:
    """Raise CertificateRefused if `der` is longer than `limit` bytes."""
    if len(der) > limit:
        raise CertificateRefused(f"{what} has {len(der)} bytes; at most {limit} are read")


def read_certificate(der: bytes, what: str) -> CertificateFields:
    """Parse a certificate signed with Ed25519.  Raises CertificateRefused."""
    check_size(der, CERTIFICATE_LIMIT, what)
    with refusing(what):
        certificate = x509.load_der_x509_certificate(der)
        found = CertificateFields(
            certificate.serial_number,
            certificate.issuer.public_bytes(),
            certificate.subject.public_bytes(),
            unix_seconds(certificate.not_valid_before_utc),
            unix_seconds(certificate.not_valid_after_utc),
            certificate.public_key(),
            certificate.extensions,
            certificate.tbs_certificate_bytes,
            certificate.signature,
        )
        algorithm = certificate.signature_algorithm_oid
    if not 0 < found.serial < _SERIAL_BOUND:
        raise CertificateRefused(f"{what} has a serial number that is not positive, or longer than 20 bytes")
    check_algorithm(found.signed, _VERSION_3 + _der_integer(found.serial), algorithm, what)
    check_signature_bytes(der, found.signature, what)
    return found


def check_algorithm(signed: bytes, before: bytes, outer: x509.ObjectIdentifier, what: str) -> None:
    """Raise CertificateRefused unless Ed25519 stands both outside and inside of the signed part (RFC 5280, 4.1.1.2).

    signed: a SEQUENCE in DER; before: what its content has before the algorithm.  The library shows the outer one only.
    """
    header = 2 if signed[1] < 0x80 else 2 + signed[1] - 0x80  # the length in one byte, or its own length and it
    if outer != SignatureAlgorithmOID.ED25519 or not signed[header:].startswith(before + _ED25519):
        raise CertificateRefused(f"{what} is not of the version of RFC 5280, or not signed with Ed25519")


def check_signature_bytes(der: bytes, signature: bytes, what: str) -> None:
    """Raise CertificateRefused unless the signature at the end is a bit string of whole bytes.

    Otherwise a signature that ends in zero bits could be written in several ways, and one list be taken for two.
    """
    if not der.endswith(bytes([3, len(signature) + 1, 0]) + signature):
        raise CertificateRefused(f"{what} has a signature that is not of whole bytes")


def _der_integer(value: int) -> bytes:
    """A serial number in DER."""
    content = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return bytes([2, len(content)]) + content


def read_extensions(
    extensions: x509.Extensions, expected: Mapping[type[x509.ExtensionType], bool], what: str
) -> dict[type[x509.ExtensionType], x509.ExtensionType]:
    """Return the extensions by type if they are exactly those of `expected`, critical where it says True.

    A closed set, for extensions that nobody looks at are a place to hide in.  Raises CertificateRefused.
    """
    found = {extension.oid: extension for extension in extensions}
    unknown = found.keys() - {kind.oid for kind in expected}
    if unknown:
        names = ", ".join(sorted(oid.dotted_string for oid in unknown))
        raise CertificateRefused(f"{what} has an extension that it may not have: {names}")
    result = {}
    for kind, critical in expected.items():
        if kind.oid not in found:
            raise CertificateRefused(f"{what} lacks the extension {kind.__name__}")
        if found[kind.oid].critical is not critical:
            raise CertificateRefused(f"{what}: {kind.__name__} must {'' if critical else 'not '}be critical")
        result[kind] = found[kind.oid].value
    return result


def unix_seconds(time: datetime) -> int:
    """Unix seconds of an aware time."""
    return int(time.timestamp())


def utc_time(seconds: int) -> datetime:
    """The aware time that X.509 builders take.  Raises CertificateRefused for one that X.509 cannot write."""
    if not _EARLIEST <= seconds <= _LATEST:
        raise CertificateRefused("a time outside of the years 1950 to 9999 stands in no certificate", hint=_CLOCK)
    return datetime.fromtimestamp(seconds, UTC)


def day(seconds: int) -> str:
    """The date of a time, in UTC, for people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def utc_validity(start: int, end: int) -> tuple[datetime, datetime]:
    """Both times for a builder.  Raises CertificateRefused where no certificate can say so: the clock is far off."""
    if start > end:
        raise CertificateRefused("it would end before it begins: the clock is behind the root certificate", hint=_CLOCK)
    return utc_time(start), utc_time(end)


def subject_name(organisation: str, unit: str, name: str) -> x509.Name:
    """A subject; for people, never compared with anything but an issuer.  Each part has 1 to 64 characters."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def key_usage(names: Sequence[str]) -> x509.KeyUsage:
    """The key usage with exactly the bits of `names`, spelled as in RFC 5280."""
    wanted = {_USAGE_FIELDS[name] for name in names}
    return x509.KeyUsage(**{name: name in wanted for name in _ALL_USAGES})


def extended_key_usage(names: Sequence[str]) -> x509.ExtendedKeyUsage:
    """The extended key usage of `names`: serverAuth, clientAuth, or a dotted object identifier."""
    return x509.ExtendedKeyUsage([_EXTENDED_USAGES.get(name) or x509.ObjectIdentifier(name) for name in names])


def host_name(host: str) -> x509.DNSName | x509.IPAddress:
    """A DNS name or IP address as a general name.  Raises FormatError unless it is in its one spelling.

    DNS names are lower case, without wildcard and final dot, and do not end in a number; addresses as RFC 5952 writes
    them, without zone and not mapped from IPv4.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        labels = host.split(".")
        if len(host) <= 253 and all(map(_LABEL.fullmatch, labels)) and not _NUMBER.match(labels[-1]):
            return x509.DNSName(host)
        raise FormatError(f"{host[:100]!r} is neither a DNS name in lower case nor an IP address") from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise FormatError(f"{host[:100]!r} is an IPv4 address inside of an IPv6 one: name {address.ipv4_mapped} itself")
    if str(address) != host or "%" in host:
        raise FormatError(f"{host[:100]!r} is not the usual spelling of this address")
    return x509.IPAddress(address)
