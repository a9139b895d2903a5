"""The types of entries, and what the data of each holds: a check for each field (the table of SPEC section 22.2)."""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from fedspallm_secure.crypto.encoding import decode_base64, decode_hex, encode_base64, fields
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.crypto.signing import SIGNATURE_SIZE
from fedspallm_secure.errors import FedSpaError, FormatError
from fedspallm_secure.protocol.limits import HEADER_LIMIT
from fedspallm_secure.protocol.packages import Head, Header

_WHAT: Final = "an entry of the log"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,200}(/[A-Za-z0-9._-]{1,200}){0,4}")


class EntryType(StrEnum):
    """What happened."""

    GENESIS = "genesis"
    ROSTER = "roster"
    CERTIFICATE = "certificate"
    REVOCATIONS = "revocations"
    SOFTWARE = "software"
    WITNESSES = "witnesses"
    PREKEYS = "prekeys"
    ROUND_OPEN = "round-open"
    PLAN = "plan"
    CONTRIBUTION = "contribution"
    REFUSAL = "refusal"
    EQUIVOCATION = "equivocation"
    SURVIVORS = "survivors"
    ENDORSEMENT = "endorsement"
    UNMASK_REQUEST = "unmask-request"
    UNMASK_RESPONSE = "unmask-response"
    DECRYPT_CHALLENGE = "decrypt-challenge"
    DECRYPT_RESPONSE = "decrypt-response"
    COMPLAINT = "complaint"
    GROUP_ENDED = "group-ended"
    RESULT = "result"
    MODEL = "model"
    ABORT = "abort"
    RETENTION = "retention"


def head_data(encoded: bytes, signature: bytes) -> dict[str, Any]:
    """What the sender of a package signed, as an entry shows it.  encoded: the header; signature: 64 bytes."""
    return {"header": encode_base64(encoded), "signature": encode_base64(signature)}


def read_head(value: Any) -> Head:
    """Read it back; the signature is not checked yet.  Raises FormatError or PackageFormatError."""
    found = fields(value, {"header": str, "signature": str}, f"the head in {_WHAT}")
    return _read_head(found["header"], found["signature"])


@lru_cache(maxsize=4)  # whoever checks the form of an entry looks at its head right after
def _read_head(header: str, signature: str) -> Head:
    encoded = decode_base64(header, f"the header in {_WHAT}")
    if len(encoded) > HEADER_LIMIT:
        raise FormatError(f"the header in {_WHAT} is too long")
    return Head(encoded, Header.parse(encoded), decode_base64(signature, "its signature", SIGNATURE_SIZE))


def _hash(value: Any) -> None:
    decode_hex(_text(value), HASH_SIZE, f"a hash in {_WHAT}")


def _hash_or_empty(value: Any) -> None:
    if value != "":
        _hash(value)


def _text(value: Any) -> str:
    if type(value) is not str or not 0 <= len(value) <= 400:
        raise FormatError(f"{_WHAT} holds something else than a short string")
    return value


def _number(value: Any) -> None:
    if type(value) is not int or value < 0:
        raise FormatError(f"{_WHAT} holds something else than a number")


def _signature(value: Any) -> None:
    decode_base64(_text(value), f"a signature in {_WHAT}", SIGNATURE_SIZE)


def _sorted(check: Callable[[Any], object]) -> Callable[[Any], None]:
    def check_all(value: Any) -> None:
        if type(value) is not list:
            raise FormatError(f"{_WHAT} holds something else than a list")
        for item in value:
            check(item)
        if value != sorted(set(value)):
            raise FormatError(f"{_WHAT} has a list out of order, or something in it twice")

    return check_all


def _id(value: Any) -> None:
    Party(Role.MEMBER.value, _text(value))


def _heads(value: Any) -> None:
    if type(value) is not list or len(value) != 2:
        raise FormatError(f"an equivocation in {_WHAT} has two heads")
    for item in value:
        read_head(item)


def _files(value: Any) -> None:
    names = []
    for item in value if type(value) is list else [None]:
        found = fields(item, {"name": str, "size": int, "sha256": str}, f"a file in {_WHAT}")
        if not _NAME.fullmatch(found["name"]) or ".." in found["name"].split("/"):
            raise FormatError(f"{_WHAT} names a file {found['name'][:64]!r}")
        _number(found["size"])
        _hash(found["sha256"])
        names.append(found["name"])
    if names != sorted(set(names)):
        raise FormatError(f"{_WHAT} has files out of order, or one twice")


def _removed(value: Any) -> None:
    if value not in ("contributions", "answers"):
        raise FormatError(f"{_WHAT} says that something unknown was removed")


_DATA: Final[dict[EntryType, dict[str, Callable[[Any], object]]]] = {
    EntryType.GENESIS: {"root": _hash, "origin": _text, "note_key": _hash},
    EntryType.ROSTER: {"version": _number, "hash": _hash, "document": _hash},
    EntryType.CERTIFICATE: {"key": _hash, "not_before": _number, "not_after": _number},
    EntryType.REVOCATIONS: {"number": _number, "document": _hash},
    EntryType.SOFTWARE: {"name": _text},
    EntryType.WITNESSES: {"policy": _hash, "note_keys": _sorted(_hash)},
    EntryType.PREKEYS: {"hash": _hash, "document": _hash},
    EntryType.ROUND_OPEN: {"opening": _hash_or_empty},
    EntryType.PLAN: {"hash": _hash, "document": _hash},
    EntryType.CONTRIBUTION: {"group": _number, "package": _hash, "deal": _hash, "head": read_head},
    EntryType.REFUSAL: {"type": _text, "group": _text, "package": _hash, "check": _text, "head": read_head},
    EntryType.EQUIVOCATION: {"heads": _heads},
    EntryType.SURVIVORS: {"hash": _hash, "document": _hash},
    EntryType.ENDORSEMENT: {"survivors": _hash, "signature": _signature, "head": read_head},
    EntryType.UNMASK_REQUEST: {"recipients": _sorted(_id)},
    EntryType.UNMASK_RESPONSE: {"package": _hash, "head": read_head},
    EntryType.DECRYPT_CHALLENGE: {"group": _number, "package": _hash, "head": read_head},
    EntryType.DECRYPT_RESPONSE: {"group": _number, "package": _hash, "head": read_head},
    EntryType.COMPLAINT: {"group": _number, "check": _text, "guilty": _sorted(_id), "suspects": _sorted(_id)},
    EntryType.GROUP_ENDED: {"group": _number, "code": _text, "named": _sorted(_id)},
    EntryType.RESULT: {"hash": _hash, "document": _hash},
    EntryType.MODEL: {"result": _hash, "files": _files},
    EntryType.ABORT: {"code": _text},
    EntryType.RETENTION: {"removed": _removed, "reason": _text},
}


def check_data(type: EntryType, data: Mapping[str, Any]) -> None:
    """Raise FormatError unless `data` is what an entry of this type holds."""
    schema = _DATA[type]
    if set(data) != set(schema):
        raise FormatError(f"{_WHAT} of type {type.value} has {', '.join(sorted(schema))}, and nothing else")
    for name, check in schema.items():
        try:
            check(data[name])
        except FedSpaError as error:
            raise FormatError(f"{_WHAT} of type {type.value}: {name}: {error}") from None
