"""The header of a package: what its sender says about it, in the one form that is accepted (SPEC section 8).

A `Header` cannot exist half-valid: parsing checks everything of step 4 of SPEC section 9.  What it says is a claim
until steps 5 to 9 (`receiving`) have passed.
"""

import re
from dataclasses import dataclass
from typing import Any, cast

from fedspallm_secure.crypto.body import plaintext_length
from fedspallm_secure.crypto.encoding import (
    canonical_json,
    decode_base64,
    decode_hex,
    encode_base64,
    fields,
    parse_canonical_json,
)
from fedspallm_secure.crypto.identity import Party, check_federation
from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.crypto.signing import SIGNATURE_SIZE
from fedspallm_secure.errors import FormatError, PackageFormatError
from fedspallm_secure.protocol.limits import CHECKPOINT_LIMIT, HEADER_LIMIT, LATEST_TIME, TILE_SIZE
from fedspallm_secure.protocol.package_types import BodyType

MAGIC = b"FSPKG1\r\n"
PREFIX_SIZE = len(MAGIC) + 4  # bytes before the header
VERSION = 1
NONE = "*"  # stands for "no plan" and "no single group"
_GROUP = re.compile(r"0|[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a package is bound to: signed, and part of HPKE's info and of the body's key (SPEC section 8, `ctx`).

    round: 0 outside of rounds; plan_hash, group: `*` for none; created, not_after: Unix seconds; keys and roster: hex;
    checkpoint: the newest one of the log that the sender knows, a note; empty for none.  What it says is not looked at.
    """

    type: str
    federation: str
    roster: str
    round: int
    plan_hash: str
    group: str
    sender: Party
    sender_key: str
    recipient: Party
    recipient_key: str
    kem: Kem
    sequence: int
    created: int
    not_after: int
    body_type: BodyType
    version: int = VERSION
    checkpoint: bytes = b""

    def __post_init__(self) -> None:
        check_federation(self.federation)
        for name, text in (
            ("roster", self.roster),
            ("sender_key", self.sender_key),
            ("recipient_key", self.recipient_key),
        ):
            decode_hex(text, 32, name)
        if self.plan_hash != NONE:
            decode_hex(self.plan_hash, 32, "plan_hash")
        if self.group != NONE and not _GROUP.fullmatch(self.group):
            raise FormatError(f"gid {self.group[:64]!r} is no group")
        if self.round < 0 or self.sequence < 1:
            raise FormatError("round or seq is out of range")
        if not 0 <= self.created < self.not_after <= LATEST_TIME:
            raise FormatError("not_after must be later than created, and before the year 10000")
        if len(self.checkpoint) > CHECKPOINT_LIMIT:
            raise FormatError(f"a checkpoint of {len(self.checkpoint)} bytes is longer than any may be")

    def to_dict(self) -> dict[str, Any]:
        """Plain data under the names of SPEC section 8."""
        return {
            "v": self.version,
            "type": self.type,
            "fed": self.federation,
            "roster": self.roster,
            "round": self.round,
            "plan_hash": self.plan_hash,
            "gid": self.group,
            "sender": str(self.sender),
            "sender_key": self.sender_key,
            "recipient": str(self.recipient),
            "recipient_key": self.recipient_key,
            "kem": self.kem.value,
            "seq": self.sequence,
            "created": self.created,
            "not_after": self.not_after,
            "checkpoint": encode_base64(self.checkpoint),
            "body_type": self.body_type.value,
        }

    @classmethod
    def from_dict(cls, value: Any) -> "Context":
        """Read `ctx`.  Raises FormatError."""
        found = fields(value, _CONTEXT_SCHEMA, "ctx")
        try:
            kem, body_type = Kem(found["kem"]), BodyType(found["body_type"])
        except ValueError as error:
            raise FormatError(f"ctx: {str(error)[:100]}") from None
        return cls(
            version=found["v"],
            type=found["type"],
            federation=found["fed"],
            roster=found["roster"],
            round=found["round"],
            plan_hash=found["plan_hash"],
            group=found["gid"],
            sender=Party.parse(found["sender"]),
            sender_key=found["sender_key"],
            recipient=Party.parse(found["recipient"]),
            recipient_key=found["recipient_key"],
            kem=kem,
            sequence=found["seq"],
            created=found["created"],
            not_after=found["not_after"],
            checkpoint=decode_base64(found["checkpoint"], "checkpoint"),
            body_type=body_type,
        )

    @property
    def info(self) -> bytes:
        """HPKE's info and the context of the body's encryption, 32 bytes."""
        return digest(Label.KEM, canonical_json(self.to_dict()))


_CONTEXT_SCHEMA: dict[str, type] = {
    "v": int,
    "type": str,
    "fed": str,
    "roster": str,
    "round": int,
    "plan_hash": str,
    "gid": str,
    "sender": str,
    "sender_key": str,
    "recipient": str,
    "recipient_key": str,
    "kem": str,
    "seq": int,
    "created": int,
    "not_after": int,
    "checkpoint": str,
    "body_type": str,
}


@dataclass(frozen=True, slots=True)
class Header:
    """A header.  body_length: bytes of the encrypted body; body_root: 32 bytes; wrapped: HPKE enc || ciphertext."""

    context: Context
    wrapped: bytes
    body_length: int
    body_root: bytes

    def __post_init__(self) -> None:
        if len(self.wrapped) != self.context.kem.wrap_size:
            raise FormatError(f"enc has {len(self.wrapped)} bytes; {self.context.kem.value} gives another number")
        if plaintext_length(self.body_length) is None:
            raise FormatError(f"no body is {self.body_length} bytes long")

    @property
    def plaintext_length(self) -> int:
        """Bytes of plaintext that a body of this length holds."""
        return cast(int, plaintext_length(self.body_length))  # no header has an impossible body

    @property
    def tiles(self) -> int:
        """Number of tiles of the body."""
        return tile_count(self.body_length)

    def encode(self) -> bytes:
        """The canonical bytes, always fewer than HEADER_LIMIT.  Raises FormatError for an integer beyond 2^53."""
        return canonical_json(
            {
                "body_len": self.body_length,
                "body_root": self.body_root.hex(),
                "ctx": self.context.to_dict(),
                "enc": encode_base64(self.wrapped),
                "tiles": self.tiles,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "Header":
        """Step 4 of SPEC section 9.  data: at most HEADER_LIMIT bytes.  Raises PackageFormatError."""
        try:
            found = fields(parse_canonical_json(data, "the header"), _HEADER_SCHEMA, "the header")
            header = cls(
                context=Context.from_dict(found["ctx"]),
                wrapped=decode_base64(found["enc"], "enc"),
                body_length=found["body_len"],
                body_root=decode_hex(found["body_root"], 32, "body_root"),
            )
            if found["tiles"] != header.tiles:
                raise FormatError(f"a body of {header.body_length} bytes has {header.tiles} tiles")
        except FormatError as error:
            raise PackageFormatError(str(error)) from None
        return header


_HEADER_SCHEMA: dict[str, type] = {"body_len": int, "body_root": str, "ctx": dict, "enc": str, "tiles": int}


def tile_count(length: int) -> int:
    """Tiles of a body of `length` bytes."""
    return -(-length // TILE_SIZE)


def parse_prefix(data: bytes) -> int:
    """Step 3 of SPEC section 9: the header's length from the first 12 bytes.  Raises PackageFormatError."""
    if data[: len(MAGIC)] != MAGIC:
        if data.startswith(b"FSPKG1\n"):
            raise PackageFormatError("the file went through a text-mode transfer, which changes its bytes")
        raise PackageFormatError("the file does not begin like a package")
    if len(data) < PREFIX_SIZE:
        raise PackageFormatError("the file ends before its header")
    length = int.from_bytes(data[len(MAGIC) :], "little")
    if not 1 <= length <= HEADER_LIMIT:
        raise PackageFormatError(f"a header of {length} bytes is not allowed")
    return length


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before the tile hashes, as it was read: the signed bytes, their meaning, and the signature."""

    encoded: bytes
    header: Header
    signature: bytes

    @property
    def context(self) -> Context:
        """The header's context."""
        return self.header.context

    @property
    def digest(self) -> bytes:
        """The package digest, 32 bytes."""
        return digest(Label.DIGEST_PACKAGE, self.encoded)

    @property
    def size(self) -> int:
        """Bytes of a whole package with this head."""
        header = self.header
        return PREFIX_SIZE + len(self.encoded) + SIGNATURE_SIZE + 32 * header.tiles + header.body_length


def equivocation_proof(first: tuple[bytes, bytes], second: tuple[bytes, bytes]) -> bytes:
    """What proves to anybody that a sender made two packages under one number (SPEC section 9, Evidence).

    first, second: header and signature; the one that was received first stands first.  Returns canonical JSON.
    """
    pairs = (first, second)
    packages = [{"header": encode_base64(header), "signature": encode_base64(name)} for header, name in pairs]
    return canonical_json({"format": "fedspallm-secure/1 equivocation", "packages": packages})
