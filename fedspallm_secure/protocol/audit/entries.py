"""Entries of the log: what happened, who did it and what shows it, in one form for each type (SPEC section 22.2).

An `Entry` cannot exist half-valid: parsing checks everything that its bytes alone can tell.  Whether who acted has
signed what stands in it is checked with keys, by whoever has them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from fedspallm_secure.crypto.encoding import (
    canonical_json,
    decode_base64,
    decode_hex,
    encode_base64,
    fields,
    parse_canonical_json,
)
from fedspallm_secure.crypto.identity import Party, Role, check_federation
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.crypto.signing import SIGNATURE_SIZE, Signer, sign, verify
from fedspallm_secure.errors import FedSpaError, FormatError, LimitExceeded
from fedspallm_secure.protocol.limits import HEADER_LIMIT, LATEST_TIME
from fedspallm_secure.protocol.packages import Head, Header
from fedspallm_secure.protocol.rounds.limits import ROUND_LIMIT

ENTRY_LIMIT: Final = 65_535  # bytes: what the length before an entry of a bundle can say
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
    COMPLAINT = "complaint"
    GROUP_ENDED = "group-ended"
    RESULT = "result"
    MODEL = "model"
    ABORT = "abort"
    RETENTION = "retention"


@dataclass(frozen=True, slots=True)
class Entry:
    """One leaf.  seq: its index; round: 0 outside of rounds; at: Unix seconds; data: by type; signature: 64 bytes.

    Raises FormatError.
    """

    type: EntryType
    federation: str
    seq: int
    round: int
    actor: Party
    at: int
    data: Mapping[str, Any]
    signature: bytes

    def __post_init__(self) -> None:
        check_federation(self.federation)
        if self.seq < 0 or not 0 <= self.at <= LATEST_TIME or not 0 <= self.round < ROUND_LIMIT:
            raise FormatError(f"{_WHAT}: index, round or time is out of range")
        if self.type in _OUTSIDE and self.round or self.type in _INSIDE and not self.round:
            raise FormatError(f"{_WHAT} of type {self.type.value} is not of round {self.round}")
        if self.actor.role not in _ACTORS.get(self.type, (Role.SERVER,)):
            raise FormatError(f"{_WHAT} of type {self.type.value} is not by a {self.actor.role.value}")
        _check_data(self.type, self.data)

    @classmethod
    def make(
        cls,
        signer: Signer,
        *,
        type: EntryType,
        federation: str,
        seq: int,
        round: int,
        actor: Party,
        at: int,
        data: Mapping[str, Any],
    ) -> "Entry":
        """An entry with the server's signature.  Raises FormatError, LimitExceeded."""
        bare = cls(type, federation, seq, round, actor, at, data, bytes(SIGNATURE_SIZE))
        made = cls(type, federation, seq, round, actor, at, data, sign(signer, Label.SIGN_ENTRY, bare.payload))
        made.encode()
        return made

    @property
    def payload(self) -> bytes:
        """What the server signs: the canonical JSON without the signature."""
        return canonical_json(self._plain())

    def _plain(self) -> dict[str, Any]:
        return {
            "v": 1,
            "fed": self.federation,
            "seq": self.seq,
            "round": self.round,
            "type": self.type.value,
            "actor": str(self.actor),
            "at": self.at,
            "data": dict(self.data),
        }

    def encode(self) -> bytes:
        """The leaf.  Raises LimitExceeded for one that no bundle can hold."""
        encoded = canonical_json({**self._plain(), "signature": encode_base64(self.signature)})
        if len(encoded) > ENTRY_LIMIT:
            raise LimitExceeded(f"{_WHAT} has {len(encoded)} bytes; at most {ENTRY_LIMIT} are allowed")
        return encoded

    @classmethod
    def parse(cls, data: bytes) -> "Entry":
        """Read a leaf; its signature is not checked yet.  Raises FormatError or LimitExceeded."""
        if len(data) > ENTRY_LIMIT:
            raise LimitExceeded(f"{_WHAT} has {len(data)} bytes; at most {ENTRY_LIMIT} are read")
        found = fields(parse_canonical_json(data, _WHAT), _SCHEMA, _WHAT)
        if found["v"] != 1:
            raise FormatError(f"{_WHAT} is of version {found['v']}")
        if found["type"] not in {type.value for type in EntryType}:
            raise FormatError(f"{_WHAT} is of an unknown type {found['type'][:40]!r}")
        return cls(
            EntryType(found["type"]),
            found["fed"],
            found["seq"],
            found["round"],
            Party.parse(found["actor"]),
            found["at"],
            found["data"],
            decode_base64(found["signature"], f"{_WHAT}: signature", SIGNATURE_SIZE),
        )

    def check_signature(self, public: bytes) -> None:
        """Raise BadSignature unless the server with this key signed it."""
        verify(public, Label.SIGN_ENTRY, self.payload, self.signature, f"entry {self.seq}")


_SCHEMA: Final[dict[str, type]] = {
    "v": int,
    "fed": str,
    "seq": int,
    "round": int,
    "type": str,
    "actor": str,
    "at": int,
    "data": dict,
    "signature": str,
}
_OUTSIDE: Final = frozenset(
    {
        EntryType.GENESIS,
        EntryType.ROSTER,
        EntryType.CERTIFICATE,
        EntryType.REVOCATIONS,
        EntryType.SOFTWARE,
        EntryType.WITNESSES,
        EntryType.PREKEYS,
    }
)
_EITHER: Final = frozenset({EntryType.EQUIVOCATION, EntryType.RETENTION})
_INSIDE: Final = frozenset(EntryType) - _OUTSIDE - _EITHER
_ACTORS: Final[dict[EntryType, tuple[Role, ...]]] = {
    EntryType.CERTIFICATE: tuple(Role),
    EntryType.PREKEYS: (Role.MEMBER,),
    EntryType.CONTRIBUTION: (Role.MEMBER,),
    EntryType.REFUSAL: tuple(Role),
    EntryType.EQUIVOCATION: tuple(Role),
    EntryType.ENDORSEMENT: (Role.MEMBER, Role.WITNESS),
    EntryType.UNMASK_RESPONSE: (Role.MEMBER,),
}


# What the data of each type holds: a check for each field


def head_data(encoded: bytes, signature: bytes) -> dict[str, Any]:
    """What the sender of a package signed, as an entry shows it.  encoded: the header; signature: 64 bytes."""
    return {"header": encode_base64(encoded), "signature": encode_base64(signature)}


def read_head(value: Any) -> Head:
    """Read it back; the signature is not checked yet.  Raises FormatError or PackageFormatError."""
    found = fields(value, {"header": str, "signature": str}, f"the head in {_WHAT}")
    encoded = decode_base64(found["header"], f"the header in {_WHAT}")
    if len(encoded) > HEADER_LIMIT:
        raise FormatError(f"the header in {_WHAT} is too long")
    return Head(encoded, Header.parse(encoded), decode_base64(found["signature"], "its signature", SIGNATURE_SIZE))


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
    EntryType.COMPLAINT: {"group": _number, "check": _text, "guilty": _sorted(_id), "suspects": _sorted(_id)},
    EntryType.GROUP_ENDED: {"group": _number, "code": _text, "named": _sorted(_id)},
    EntryType.RESULT: {"hash": _hash, "document": _hash},
    EntryType.MODEL: {"result": _hash, "files": _files},
    EntryType.ABORT: {"code": _text},
    EntryType.RETENTION: {"removed": _removed, "reason": _text},
}


def _check_data(type: EntryType, data: Mapping[str, Any]) -> None:
    schema = _DATA[type]
    if set(data) != set(schema):
        raise FormatError(f"{_WHAT} of type {type.value} has {', '.join(sorted(schema))}, and nothing else")
    for name, check in schema.items():
        try:
            check(data[name])
        except FedSpaError as error:
            raise FormatError(f"{_WHAT} of type {type.value}: {name}: {error}") from None
