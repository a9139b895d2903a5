"""What a party's program calls itself, NAME/VERSION, and which programs somebody trusts (SPEC 16.2 and 17, P14).

Nobody can prove what it runs.  The name is signed with the plan or the offer that it stands in, so that a program that
is known to be wrong can be refused, and so that it can be looked up later who ran it.
"""

import re
from collections.abc import Collection

from fedspallm_secure.errors import FormatError

SOFTWARE_LIMIT = 64  # characters
_FORM = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+")


def is_software(text: str) -> bool:
    """Whether `text` has the form NAME/VERSION."""
    return len(text) <= SOFTWARE_LIMIT and _FORM.fullmatch(text) is not None


def check_software(text: str, what: str) -> None:
    """Raise FormatError unless `text` has the form NAME/VERSION.  what: in which it stands."""
    if not is_software(text):
        raise FormatError(f"{what}: {text[:80]!r} is no software")


def is_trusted(software: str, entries: Collection[str]) -> bool:
    """Whether one of the entries is exactly this software, or a beginning of it that a dot follows.

    `x/0.1` trusts x/0.1 and x/0.1.2, and not x/0.10.
    """
    return any(software == entry or software.startswith(f"{entry}.") for entry in entries)
