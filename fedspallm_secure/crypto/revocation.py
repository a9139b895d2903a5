"""Revocation lists: X.509 v2 CRLs with a number, signed by the root (SPEC section 5, RFC 5280 section 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, cast

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from fedspallm_secure.crypto.certificate_fields import (
    check_algorithm,
    check_signature_bytes,
    check_size,
    read_extensions,
    refusing,
    unix_seconds,
    utc_time,
    utc_validity,
)
from fedspallm_secure.crypto.encoding import INTEGER_BOUND
from fedspallm_secure.crypto.root_signing import check_root_key, signing_key
from fedspallm_secure.crypto.roots import Root
from fedspallm_secure.crypto.signing import Signer, verify_raw
from fedspallm_secure.errors import CertificateRefused, LimitExceeded, RevocationListStale, RolledBack

REVOCATION_LIST_LIMIT = 1 << 20  # bytes (SPEC section 10)
_VERSION_2 = bytes.fromhex("020101")
CLOCK_SKEW = 86_400  # seconds that the clock of somebody else may be ahead of ours
_WHAT = "the revocation list"
_EXTENSIONS: dict[type[x509.ExtensionType], bool] = {x509.CRLNumber: False, x509.AuthorityKeyIdentifier: False}


class Reason(Enum):
    """Why a certificate was withdrawn, spelled as in RFC 5280."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"


class Revoked(NamedTuple):
    """One withdrawn certificate; time: Unix seconds."""

    serial: int
    time: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A list whose form and signature hold.  entries: by growing serial; times: Unix seconds."""

    der: bytes
    number: int
    this_update: int
    next_update: int
    entries: tuple[Revoked, ...]

    @classmethod
    def parse(cls, der: bytes, root: Root) -> "RevocationList":
        """Read a list and check that `root` signed it.  Raises CertificateRefused."""
        check_size(der, REVOCATION_LIST_LIMIT, _WHAT)
        with refusing(_WHAT):
            found = x509.load_der_x509_crl(der)
            issuer, algorithm, extensions = found.issuer.public_bytes(), found.signature_algorithm_oid, found.extensions
            signed, signature, end = found.tbs_certlist_bytes, found.signature, found.next_update_utc
        check_algorithm(signed, _VERSION_2, algorithm, _WHAT)
        check_signature_bytes(der, signature, _WHAT)
        if issuer != root.subject:
            raise CertificateRefused(f"{_WHAT} is not this root's")
        if not verify_raw(root.public, signed, signature):
            raise CertificateRefused(f"{_WHAT} is not signed by the root")
        if end is None:
            raise CertificateRefused(f"{_WHAT} does not say when the next one is due")
        number = _number(extensions, root)
        with refusing(_WHAT):
            entries = tuple(sorted(map(_entry, found), key=lambda entry: entry.serial))
            start = unix_seconds(found.last_update_utc)
        if len({entry.serial for entry in entries}) != len(entries):
            raise CertificateRefused(f"{_WHAT} names a certificate twice")
        return cls(der, number, start, unix_seconds(end), entries)

    def is_revoked(self, serial: int) -> bool:
        """Whether the certificate with this serial number was withdrawn."""
        return any(entry.serial == serial for entry in self.entries)

    def check_fresh(self, at: int) -> None:
        """Raise RevocationListStale if the next list was due before `at`, or if this one comes from the future.

        A list from the future means that the clock here is wrong, and then nothing that it judges holds.
        """
        if self.this_update > at + CLOCK_SKEW:
            raise RevocationListStale(
                f"{_WHAT} number {self.number} was made in the future", hint="set the clock of this machine right"
            )
        if at > self.next_update:
            raise RevocationListStale(f"{_WHAT} number {self.number} is past its next update")


def check_successor(old: RevocationList | None, new: RevocationList) -> None:
    """Raise RolledBack if `new` may not take the place of `old`, the newest list seen so far."""
    if old is None or new.number > old.number or new.der == old.der:
        return
    if new.number == old.number:
        raise RolledBack(f"there are two different revocation lists number {new.number}")
    raise RolledBack(f"{_WHAT} number {new.number} is older than number {old.number}, which was seen before")


def revocation_list(
    root: Signer, root_cert: Root, number: int, revoked: Sequence[Revoked], now: int, next_update: int
) -> bytes:
    """Make and sign a list; DER.  number: higher than every earlier one; revoked: all of them, old and new.

    Raises CertificateRefused if `root` is not the key of `root_cert` or a time cannot be written, LimitExceeded if the
    list grows too long.
    """
    check_root_key(root, root_cert)
    if not 0 < number < INTEGER_BOUND:
        raise CertificateRefused(f"{number} cannot be the number of a revocation list")
    start, end = utc_validity(now, next_update)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(root_cert.name)
        .last_update(start)
        .next_update(end)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(root_cert.authority_identifier, critical=False)
    )
    for entry in sorted(revoked, key=lambda entry: entry.serial):
        builder = builder.add_revoked_certificate(_revoked_certificate(entry))
    der = builder.sign(signing_key(root), None).public_bytes(serialization.Encoding.DER)
    if len(der) > REVOCATION_LIST_LIMIT:
        raise LimitExceeded(f"{_WHAT} would have {len(der)} bytes; readers take {REVOCATION_LIST_LIMIT}")
    return der


def _revoked_certificate(entry: Revoked) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(entry.serial).revocation_date(utc_time(entry.time))
    if entry.reason is not Reason.UNSPECIFIED:  # left out, as RFC 5280 section 5.3.1 asks
        builder = builder.add_extension(x509.CRLReason(x509.ReasonFlags(entry.reason.value)), critical=False)
    return builder.build()


def _number(extensions: x509.Extensions, root: Root) -> int:
    """Check the extensions of a list and return its number."""
    values = read_extensions(extensions, _EXTENSIONS, _WHAT)
    if values[x509.AuthorityKeyIdentifier] != root.authority_identifier:
        raise CertificateRefused(f"{_WHAT} refers to another authority's key")
    number = cast(x509.CRLNumber, values[x509.CRLNumber]).crl_number
    if not 0 < number < INTEGER_BOUND:
        raise CertificateRefused(f"{_WHAT} has a number that is out of range")
    return number


def _entry(revoked: x509.RevokedCertificate) -> Revoked:
    present = list(revoked.extensions)
    if any(extension.oid != x509.CRLReason.oid or extension.critical for extension in present):
        raise CertificateRefused(f"{_WHAT} says more of an entry than a reason")
    flag = cast(x509.CRLReason, present[0].value).reason.value if present else Reason.UNSPECIFIED.value
    if present and flag == Reason.UNSPECIFIED.value:
        raise CertificateRefused(f"{_WHAT} says that a reason is unspecified, which is said by leaving it out")
    if flag not in {reason.value for reason in Reason}:
        raise CertificateRefused(f"{_WHAT} gives a reason that is not in use here: {flag}")
    return Revoked(revoked.serial_number, unix_seconds(revoked.revocation_date_utc), Reason(flag))
