"""PEM (RFC 7468): how certificates and revocation lists lie on disk, so that other tools read them too."""

import base64
import binascii
import re

from fedspallm_secure.errors import FormatError

CERTIFICATE, REVOCATION_LIST = "CERTIFICATE", "X509 CRL"
_COLUMNS = 64  # characters of a line, RFC 7468 section 2


def encode_pem(label: str, der: bytes) -> bytes:
    """One object with its label, lines of 64 characters."""
    text = base64.b64encode(der).decode("ascii")
    lines = [text[start : start + _COLUMNS] for start in range(0, len(text), _COLUMNS)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode("ascii")


def decode_pem(data: bytes, label: str, what: str) -> bytes:
    """The one object in `data`, which must be of this label; nothing may stand around it.  Raises FormatError.

    Line lengths and line ends are free, for files pass through mail and other systems; the DER inside is what counts.
    """
    name = re.escape(label.encode("ascii"))
    match = re.fullmatch(rb"-----BEGIN " + name + rb"-----([A-Za-z0-9+/=\s]+)-----END " + name + rb"-----\s*", data)
    if match is None:
        raise FormatError(f"{what} is not one {label} in PEM")
    try:
        return base64.b64decode(b"".join(match[1].split()), validate=True)
    except (binascii.Error, ValueError):
        raise FormatError(f"{what} is not base64 between its lines") from None


def pem_label(data: bytes) -> str | None:
    """The label that `data` begins with, if it is PEM; a claim until `decode_pem` has read it."""
    match = re.match(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----", data)
    return match[1].decode("ascii") if match else None
