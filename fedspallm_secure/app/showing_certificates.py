"""What a certificate or a revocation list in a file says."""

from cryptography import x509

from fedspallm_secure.app.showing import UNKNOWN, Row, Shown, attempt, list_row, until
from fedspallm_secure.crypto.certificate_fields import day, read_certificate, refusing, unix_seconds
from fedspallm_secure.crypto.certificates import Leaf, Purpose, Root, parse_leaf, parse_root
from fedspallm_secure.crypto.revocation import RevocationList, Revoked
from fedspallm_secure.errors import CertificateRefused, FormatError
from fedspallm_secure.storage.home import Home

_OWN = "signed by its own key; whose root it is, only the fingerprint tells, compared by voice"


def show_certificate(der: bytes, home: Home | None, now: int) -> Shown:
    """A certificate, in DER.  home: whose root and list to check it against.  Raises CertificateRefused."""
    found = read_certificate(der, "the certificate")
    with refusing("the certificate"):
        certificate = x509.load_der_x509_certificate(der)
        subject = certificate.subject.rfc4514_string()
    rows = [
        Row("subject", subject),
        Row("names", _names(found.extensions)),
        Row("serial", f"{found.serial:x}"),
        until("valid", f"from {day(found.not_before)}", found.not_after, now),
    ]
    if found.issuer == found.subject:
        root, refused = attempt(lambda: _self_signed(der, found.extensions))
        if root is None:
            return Shown("certificate", "certificate", False, tuple(rows), refused)
        rows.append(Row("root fingerprint", root.fingerprint))
        mine = home is not None and home.root.der == der
        return Shown("certificate", "root certificate", mine, tuple(rows), "" if mine else _OWN)
    if home is None:
        return Shown("certificate", "certificate", False, tuple(rows), UNKNOWN)
    leaf, refused = attempt(lambda: _any_leaf(der, home.root))
    if leaf is None:
        return Shown("certificate", "certificate", False, tuple(rows), refused)
    withdrawn = home.crl.is_revoked(leaf.serial)
    note = f"WITHDRAWN, as revocation list {home.crl.number} says" if withdrawn else ""
    return Shown("certificate", f"{leaf.purpose.value} certificate of {leaf.party}", True, tuple(rows), note)


def _self_signed(der: bytes, extensions: x509.Extensions) -> Root:
    """The root certificate of whichever federation it is constrained to."""
    with refusing("the certificate"):
        values = [extension.value for extension in extensions]
        subtrees = [list(value.permitted_subtrees or []) for value in values if isinstance(value, x509.NameConstraints)]
    names = [name.value for found in subtrees for name in found if isinstance(name, x509.UniformResourceIdentifier)]
    if len(names) != 1:
        raise CertificateRefused("it is issued by itself, but is not the root certificate of a federation")
    try:
        return parse_root(der, names[0])
    except FormatError as error:
        raise CertificateRefused(f"the certificate: {error}") from None


def _any_leaf(der: bytes, root: Root) -> Leaf:
    """A leaf of whichever purpose."""
    try:
        return parse_leaf(der, root, Purpose.SIGNING, None)
    except CertificateRefused as error:
        try:
            return parse_leaf(der, root, Purpose.TLS, None)
        except CertificateRefused:
            raise error from None


def _names(extensions: x509.Extensions) -> str:
    with refusing("the certificate"):
        found = [e.value for e in extensions if isinstance(e.value, x509.SubjectAlternativeName)]
        return ", ".join(str(name.value) for names in found for name in names) or "none"


def show_list(der: bytes, home: Home | None, now: int) -> Shown:
    """A revocation list, in DER.  home: whose root to check it against.  Raises CertificateRefused."""
    refused = UNKNOWN
    if home is not None:
        found, refused = attempt(lambda: RevocationList.parse(der, home.root))
        if found is not None:
            older = f"older than yours, which is number {home.crl.number}" if found.number < home.crl.number else ""
            title = f"revocation list of {home.federation}"
            return Shown("crl", title, True, (list_row(found, now), *map(_entry, found.entries)), older)
    with refusing("the revocation list"):
        crl = x509.load_der_x509_crl(der)
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        end, size = crl.next_update_utc, len(crl)
    rows = [Row("revocation list", f"number {number}, {size} withdrawn")]
    if end is not None:
        rows.append(until("valid", "until the next one", unix_seconds(end), now))
    return Shown("crl", "revocation list", False, tuple(rows), refused)


def _entry(entry: Revoked) -> Row:
    return Row("withdrawn", f"serial {entry.serial:x} on {day(entry.time)}, {entry.reason.value}")
