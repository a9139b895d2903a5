"""Fingerprints that two people compare by voice (SPEC section 4): eight groups of five decimal digits, 132 bits."""

import re

from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.errors import FingerprintMismatch, FormatError

GROUPS, DIGITS = 8, 5


def fingerprint(data: bytes) -> str:
    """The fingerprint of `data`, for example of a root certificate in DER: "38201 99213 ..."."""
    value = digest(Label.DIGEST_FINGERPRINT, data)
    numbers = (int.from_bytes(value[4 * i : 4 * i + 4], "big") % 10**DIGITS for i in range(GROUPS))
    return " ".join(f"{number:0{DIGITS}}" for number in numbers)


def parse_fingerprint(text: str) -> str:
    """Read a fingerprint as people type it, with any white space or hyphens; the form of `fingerprint` comes back.

    Raises FormatError unless there are exactly 40 decimal digits.
    """
    digits = re.sub(r"[\s-]", "", text)
    if not re.fullmatch(rf"[0-9]{{{GROUPS * DIGITS}}}", digits):
        raise FormatError(
            f"a fingerprint has {GROUPS} groups of {DIGITS} digits",
            hint="type all of it, as it was read out to you",
        )
    return " ".join(digits[start : start + DIGITS] for start in range(0, len(digits), DIGITS))


def check_fingerprint(data: bytes, expected: str, what: str) -> None:
    """Raise FingerprintMismatch unless `expected`, as typed by a person, is the fingerprint of `data`."""
    found = fingerprint(data)
    if parse_fingerprint(expected) != found:
        raise FingerprintMismatch(f"the fingerprint of {what} is {found}, which is not the one that was expected")
