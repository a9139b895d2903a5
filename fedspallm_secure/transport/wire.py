"""What stands in requests and answers: paths, header fields, and the JSON of both (SPEC section 19.2)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from fedspallm_secure.crypto.encoding import canonical_json, decode_hex, fields, parse_canonical_json
from fedspallm_secure.errors import FormatError
from fedspallm_secure.transport.depot import Listed

HELLO = "/v1/hello"
PACKAGES = "/v1/packages"
PACKAGE = re.compile(r"/v1/packages/([0-9a-f]{64})")
UPLOAD_LENGTH = "Upload-Length"
UPLOAD_OFFSET = "Upload-Offset"
ANSWER_LIMIT = 1 << 20  # bytes of an answer in JSON
PIECE = 1 << 20  # bytes that one call reads or writes on the disk
WAITING_LIMIT: Final = 500  # characters that say why a party is waited for

_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
_RANGE = re.compile(r"bytes=([0-9]{1,16})-")
_HELLO: dict[str, type] = {
    "federation": str,
    "software": str,
    "roster": dict,
    "crl": int,
    "time": int,
    "sequence": int,
}
_ROSTER: dict[str, type] = {"version": int, "hash": str}
_LISTING: dict[str, type] = {"packages": list, "again": list, "waiting": str}
_LISTED: dict[str, type] = {"number": int, "digest": str, "size": int, "type": str, "round": int, "group": str}


@dataclass(frozen=True, slots=True)
class Hello:
    """What a server says about itself, to whoever asks.

    crl: number of its revocation list; time: its clock, Unix seconds; sequence: the highest sequence number of the
    caller's packages that it has taken in, 0 for none.
    """

    federation: str
    software: str
    roster_version: int
    roster_hash: str
    crl: int
    time: int
    sequence: int

    def encode(self) -> bytes:
        """As JSON."""
        roster = {"version": self.roster_version, "hash": self.roster_hash}
        value = {"federation": self.federation, "software": self.software, "roster": roster, "crl": self.crl}
        return canonical_json({**value, "time": self.time, "sequence": self.sequence})

    @classmethod
    def parse(cls, data: bytes) -> "Hello":
        """Read it.  Raises FormatError."""
        found = fields(parse_canonical_json(data, "the greeting"), _HELLO, "the greeting")
        roster = fields(found["roster"], _ROSTER, "the greeting: roster")
        decode_hex(roster["hash"], 32, "the greeting: roster")
        numbers = (roster["version"], found["crl"], found["time"], found["sequence"])
        if min(numbers) < 0:
            raise FormatError("the greeting has a number below 0")
        return cls(found["federation"], found["software"], roster["version"], roster["hash"], *numbers[1:])


@dataclass(frozen=True, slots=True)
class Listing:
    """What waits for the caller, in order, and the digests of what it is asked to send once more.

    waiting: why the server waits for the caller, for people; empty if it does not.
    """

    packages: Sequence[Listed]
    again: Sequence[str]
    waiting: str = ""

    def encode(self) -> bytes:
        """As JSON."""
        packages = [_row(listed) for listed in self.packages]
        return canonical_json(
            {"packages": packages, "again": list(self.again), "waiting": self.waiting[:WAITING_LIMIT]}
        )

    @classmethod
    def parse(cls, data: bytes, after: int) -> "Listing":
        """Read it.  after: the number that was asked for.  Raises FormatError."""
        found = fields(parse_canonical_json(data, "the listing"), _LISTING, "the listing")
        packages = tuple(_listed(value) for value in found["packages"])
        numbers = [after, *(listed.number for listed in packages)]
        if any(earlier >= later for earlier, later in pairwise(numbers)):
            raise FormatError("the listing is not in order")
        for digest in found["again"]:
            _check_digest(digest)
        if len(found["waiting"]) > WAITING_LIMIT:
            raise FormatError(f"the listing says in more than {WAITING_LIMIT} characters why we are waited for")
        return cls(packages, tuple(found["again"]), found["waiting"])


def read_number(text: str | None, what: str) -> int:
    """A number of a header field or a query.  Raises FormatError."""
    if text is None or not _NUMBER.fullmatch(text):
        raise FormatError(f"{what} must be a whole number", hint="update the program at the other end")
    return int(text)


def read_range(text: str | None) -> int:
    """Where a download begins: 0, or the start of an open range, the one kind that is served.  Raises FormatError."""
    if text is None:
        return 0
    found = _RANGE.fullmatch(text)
    if found is None:
        raise FormatError("a range must be bytes=START-", hint="update the program at the other end")
    return int(found[1])


def _row(listed: Listed) -> dict[str, Any]:
    return {name: getattr(listed, name) for name in _LISTED}


def _listed(value: Any) -> Listed:
    found = Listed(**fields(value, _LISTED, "a row of the listing"))
    _check_digest(found.digest)
    if min(found.number, found.size) < 1 or found.round < 0:
        raise FormatError("a row of the listing has a number that is out of range")
    return found


def _check_digest(digest: Any) -> None:
    if not isinstance(digest, str):
        raise FormatError("a digest in the listing is not a string")
    decode_hex(digest, 32, "a digest in the listing")
