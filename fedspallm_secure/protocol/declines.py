"""That a member does not take part in a plan, and by which check: the body of a package `decline` (SPEC section 16.4).

It is for the operator of the server, who otherwise waits for somebody who will not come.  It proves nothing and binds
nobody; the member could as well have been silent.
"""

import re
from dataclasses import dataclass
from typing import Final

from fedspallm_secure.crypto.encoding import canonical_json, fields, parse_canonical_json
from fedspallm_secure.errors import FormatError

DECLINE_VERSION: Final = 1
REASON_LIMIT: Final = 200  # characters
_CHECK: Final = re.compile(r"P[0-9]{1,2}")
_WHAT: Final = "the decline"


@dataclass(frozen=True, slots=True)
class Decline:
    """check: number of a check of plans, such as P14; reason: one printable line.  Raises FormatError."""

    check: str
    reason: str

    def __post_init__(self) -> None:
        if not _CHECK.fullmatch(self.check):
            raise FormatError(f"{_WHAT} names no check of plans")
        if len(self.reason) > REASON_LIMIT or not self.reason.isprintable():
            raise FormatError(f"{_WHAT} has a reason that is no line of at most {REASON_LIMIT} characters")

    @classmethod
    def of(cls, check: str, message: str) -> "Decline":
        """From the message of a check that failed, which may begin with its number."""
        text = message.removeprefix(f"{check}: ").encode("ascii", "replace").decode()
        return cls(check, "".join(one if one.isprintable() else " " for one in text)[:REASON_LIMIT])

    def encode(self) -> bytes:
        """The body of a package `decline`, canonical JSON."""
        return canonical_json({"v": DECLINE_VERSION, "check": self.check, "reason": self.reason})

    @classmethod
    def parse(cls, body: bytes) -> "Decline":
        """Read it back.  Raises FormatError."""
        schema = {"v": int, "check": str, "reason": str}
        found = dict(fields(parse_canonical_json(body, _WHAT), schema, _WHAT))
        if found.pop("v") != DECLINE_VERSION:
            raise FormatError(f"{_WHAT} is not of version {DECLINE_VERSION}")
        return cls(**found)
