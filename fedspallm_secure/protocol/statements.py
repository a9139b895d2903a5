"""Statements: what one party says once and others keep (SPEC section 6)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from fedspallm_secure.crypto.encoding import (
    INTEGER_BOUND,
    canonical_json,
    decode_base64,
    encode_base64,
    fields,
    parse_canonical_json,
)
from fedspallm_secure.crypto.identity import Party, check_federation
from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.crypto.signing import SIGNATURE_SIZE, Signer, key_id, sign, verify
from fedspallm_secure.errors import (
    BadSignature,
    CertificateExpired,
    CertificateRefused,
    FormatError,
    LimitExceeded,
    NotAwaited,
    WrongFederation,
)
from fedspallm_secure.protocol import limits

STATEMENT_START = b"fedspallm-secure/1 "
_SIGNATURE_LINE = re.compile(rb"([0-9a-f]{64}) ([A-Za-z0-9+/=]{88})")
_SIGNERS_LIMIT = 2


class StatementType(Enum):
    """The types of statements, spelled as on their first line."""

    REQUEST = "request"
    ENROLMENT = "enrolment"
    KEY_STATEMENT = "key-statement"
    PREKEYS = "prekeys"
    ROSTER = "roster"
    OPENING = "opening"
    SURVIVORS = "survivors"
    RESULT = "result"
    BUNDLE = "bundle"
    RECEIPT = "receipt"
    NOTE_KEY = "note-key"
    CIPHER_KEY = "cipher-key"

    @property
    def sign_label(self) -> Label:
        """Label of its signatures."""
        return Label(f"fsps/1/sign/{self.value}")

    @property
    def digest_label(self) -> Label:
        """Label of its digest."""
        return Label(f"fsps/1/digest/{self.value}")

    @property
    def size_limit(self) -> int:
        """Bytes of the whole file, at most."""
        return _SIZE_LIMITS[self.value]


_SIZE_LIMITS = {
    "request": limits.REQUEST_LIMIT,
    "enrolment": limits.ENROLMENT_LIMIT,
    "key-statement": limits.KEY_STATEMENT_LIMIT,
    "prekeys": limits.PREKEYS_LIMIT,
    "roster": limits.ROSTER_LIMIT,
    "opening": limits.OPENING_LIMIT,
    "survivors": limits.SURVIVORS_LIMIT,
    "result": limits.RESULT_LIMIT,
    "bundle": limits.BUNDLE_LIMIT,
    "receipt": limits.RECEIPT_LIMIT,
    "note-key": limits.NOTE_KEY_LIMIT,
    "cipher-key": limits.CIPHER_KEY_LIMIT,
}


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as it stands in its file; who signed it is checked by `verify_by` alone.

    payload: the second line, the bytes that are signed; value: what they mean; signatures: (key id in hex, 64 bytes).
    """

    type: StatementType
    payload: bytes
    value: dict[str, Any] = field(compare=False, repr=False)
    signatures: tuple[tuple[str, bytes], ...]

    @classmethod
    def parse(cls, data: bytes, expected: StatementType | None) -> "Statement":
        """Read a statement file of type `expected`, or of any type if None.  Raises FormatError or LimitExceeded."""
        kind = _read_type(data, expected)
        if len(data) > kind.size_limit:
            raise LimitExceeded(f"this {kind.value} has {len(data)} bytes; at most {kind.size_limit} are read")
        _, payload, *rest = data.split(b"\n")
        if not 2 <= len(rest) <= _SIGNERS_LIMIT + 1 or rest.pop() != b"":
            raise FormatError(f"a {kind.value} has three or four lines, each ended by a line feed, and nothing after")
        value = parse_canonical_json(payload, f"the {kind.value}")
        if type(value) is not dict:
            raise FormatError(f"the {kind.value} must be an object")
        signatures = tuple(_read_signature(line, kind) for line in rest)
        if len({signer for signer, _ in signatures}) != len(signatures):
            raise FormatError(f"the {kind.value} has two signatures by one key")
        return cls(kind, payload, value, signatures)

    def encode(self) -> bytes:
        """The file; exactly the bytes that were parsed."""
        signatures = (f"{signer} {encode_base64(signature)}".encode() for signer, signature in self.signatures)
        return b"\n".join([STATEMENT_START + self.type.value.encode(), self.payload, *signatures, b""])

    @property
    def digest(self) -> bytes:
        """The statement digest, 32 bytes."""
        return digest(self.type.digest_label, self.payload)

    def verify_by(self, *publics: bytes) -> None:
        """Raise BadSignature unless exactly the holders of these raw keys signed, each once.

        A signature that nobody asks about would be an unauthenticated part of the file, so there may be none.
        """
        keys = {key_id(public): public for public in publics}
        if {signer for signer, _ in self.signatures} != keys.keys():
            raise BadSignature(f"the {self.type.value} is not signed by the key that has to sign it, and by it alone")
        for signer, signature in self.signatures:
            verify(keys[signer], self.type.sign_label, self.payload, signature, f"the {self.type.value}")


def make_statement(type: StatementType, value: dict[str, Any], signers: Sequence[Signer]) -> Statement:
    """Say `value`, signed by one or two signers.

    Raises FormatError or LimitExceeded for what could not be read back.
    """
    payload = canonical_json(value)
    signatures = tuple((key_id(signer.public), sign(signer, type.sign_label, payload)) for signer in signers)
    return Statement.parse(Statement(type, payload, value, signatures).encode(), type)


def read_party(value: dict[str, Any]) -> tuple[str, Party]:
    """Federation and party of a statement that has `federation`, `role` and `id`.  Raises FormatError."""
    return check_federation(value["federation"]), Party(value["role"], value["id"])


def party_fields(federation: str, party: Party) -> dict[str, Any]:
    """The three members that name a party in a statement."""
    return {"federation": federation, "role": party.role_name, "id": party.id}


def read_time(value: dict[str, Any], name: str, what: str) -> int:
    """A time that people and X.509 can write.  Raises FormatError."""
    time = value[name]
    if not 0 <= time <= limits.LATEST_TIME:
        raise FormatError(f"{what}: {name} is not a time before the year 10000")
    return int(time)


def read_validity(value: dict[str, Any], what: str) -> tuple[int, int]:
    """`not_before` and `not_after`, the first not after the second.  Raises FormatError."""
    start, end = read_time(value, "not_before", what), read_time(value, "not_after", what)
    if start > end:
        raise FormatError(f"{what} ends before it begins")
    return start, end


def check_validity(start: int, end: int, at: int, what: str) -> None:
    """Raise CertificateExpired unless `at` lies in start..end."""
    if not start <= at <= end:
        raise CertificateExpired(f"{what} is {'not valid yet' if at < start else 'no longer valid'}")


def check_named(
    found: tuple[str, Party],
    expected: tuple[str, Party],
    what: str,
    hint: str = "ask its maker which party it is for",
) -> None:
    """Raise CertificateRefused unless a statement names the federation and party it has to."""
    if found != expected:
        raise CertificateRefused(
            f"{what} is about {found[1]} of {found[0]}, not about {expected[1]} of {expected[0]}",
            hint=hint,
        )


def check_round(federation: str, round: int, what: str) -> None:
    """Raise FormatError unless `round` may number a round of what may be a federation."""
    check_federation(federation)
    if not 1 <= round < INTEGER_BOUND:
        raise FormatError(f"{what}: rounds count from 1")


def check_same_round(found: tuple[str, int], expected: tuple[str, int], what: str) -> None:
    """Raise WrongFederation or NotAwaited unless a statement is about the federation and round it has to be about."""
    if found[0] != expected[0]:
        raise WrongFederation(f"{what} is that of {found[0]}, not of {expected[0]}")
    if found[1] != expected[1]:
        raise NotAwaited(f"{what} is that of round {found[1]}, not of round {expected[1]}")


def statement_body(statement: Statement) -> bytes:
    """The body of a package that carries a statement and nothing else (SPEC section 16): canonical JSON."""
    return canonical_json({"statement": encode_base64(statement.encode())})


def read_statement_body(body: bytes, what: str) -> bytes:
    """The statement file in such a body.  Raises FormatError."""
    found = fields(parse_canonical_json(body, what), {"statement": str}, what)
    return decode_base64(found["statement"], what)


def _read_type(data: bytes, expected: StatementType | None) -> StatementType:
    line = data[: len(STATEMENT_START) + 32].split(b"\n", 1)[0]
    name = line.removeprefix(STATEMENT_START)
    kind = next((kind for kind in StatementType if kind.value.encode() == name and line != name), None)
    if kind is None:
        raise FormatError("this is not a statement of version 1 and of a known type")
    if expected is not None and kind is not expected:
        raise FormatError(f"this is a statement of type {kind.value}, not {expected.value}")
    return kind


def _read_signature(line: bytes, kind: StatementType) -> tuple[str, bytes]:
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None:
        raise FormatError(f"a signature line of the {kind.value} is not KEYID SIGNATURE")
    signature = decode_base64(match[2].decode("ascii"), f"a signature of the {kind.value}", SIGNATURE_SIZE)
    return match[1].decode("ascii"), signature
