"""Prekey bundles: one-time keys that a member publishes before a round (SPEC section 6.4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedspallm_secure.crypto import merkle
from fedspallm_secure.crypto.encoding import INTEGER_BOUND, decode_base64, decode_hex, encode_base64, fields
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.crypto.sealing import Kem, RecipientKey
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import FormatError
from fedspallm_secure.protocol.limits import PREKEYS_LEAVES_LIMIT
from fedspallm_secure.protocol.statements import (
    Statement,
    StatementType,
    check_named,
    check_validity,
    make_statement,
    party_fields,
    read_party,
    read_validity,
)

BUNDLE_SIZE = 16  # bytes of a bundle's name
PREKEY_SIZE = Kem.X25519.public_size + Kem.HYBRID.public_size  # bytes of a leaf
_WHAT = "the prekey bundle"
_SCHEMA: dict[str, type] = {
    "federation": str,
    "role": str,
    "id": str,
    "bundle": str,
    "first": int,
    "leaves": list,
    "root": str,
    "not_before": int,
    "not_after": int,
}


@dataclass(frozen=True, slots=True)
class Prekey:
    """One leaf.  exchange: raw X25519 key (32 bytes); recipient: key of kind `mlkem768-x25519`."""

    exchange: bytes
    recipient: RecipientKey

    def __post_init__(self) -> None:
        RecipientKey(Kem.X25519, self.exchange)  # its size and form
        if self.recipient.kem is not Kem.HYBRID:
            raise FormatError(f"a prekey holds a key of kind {Kem.HYBRID.value}")

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Prekey":
        """Read the 1248 bytes of a leaf.  Raises FormatError."""
        split = Kem.X25519.public_size
        return cls(raw[:split], RecipientKey(Kem.HYBRID, raw[split:]))

    @property
    def raw(self) -> bytes:
        """The 1248 bytes of the leaf."""
        return self.exchange + self.recipient.public


@dataclass(frozen=True, slots=True)
class Prekeys:
    """A bundle.  bundle: its random name, 16 bytes in hex; first: index of leaves[0]; root: 32 bytes."""

    statement: Statement
    federation: str
    party: Party
    bundle: str
    first: int
    leaves: tuple[Prekey, ...]
    root: bytes
    not_before: int
    not_after: int

    @classmethod
    def make(
        cls,
        signer: Signer,
        federation: str,
        party: Party,
        first: int,
        leaves: Sequence[Prekey],
        not_before: int,
        not_after: int,
    ) -> "Prekeys":
        """Make a bundle with a new random name, signed by the member's signing key.  Raises FormatError."""
        value = {
            **party_fields(federation, party),
            "bundle": random_bytes(BUNDLE_SIZE).hex(),
            "first": first,
            "leaves": [encode_base64(leaf.raw) for leaf in leaves],
            "root": merkle.root(_hashes(leaves, first)).hex(),
            "not_before": not_before,
            "not_after": not_after,
        }
        return cls._of(make_statement(StatementType.PREKEYS, value, [signer]))

    @classmethod
    def parse(cls, data: bytes) -> "Prekeys":
        """Read a bundle whose root is that of its leaves; its signature is not checked yet.

        Raises FormatError or LimitExceeded.
        """
        return cls._of(Statement.parse(data, StatementType.PREKEYS))

    @classmethod
    def _of(cls, statement: Statement) -> "Prekeys":
        value = fields(statement.value, _SCHEMA, _WHAT)
        federation, party = read_party(value)
        if party.role is not Role.MEMBER:
            raise FormatError(f"{_WHAT} is that of {party}; only members have prekeys")
        first, size = value["first"], len(value["leaves"])
        if not 1 <= size <= PREKEYS_LEAVES_LIMIT or not 0 <= first < INTEGER_BOUND - size:
            raise FormatError(f"{_WHAT} has {size} leaves from index {first}")
        decode_hex(value["bundle"], BUNDLE_SIZE, f"{_WHAT}: bundle")
        leaves = tuple(map(_read_leaf, value["leaves"]))
        root = decode_hex(value["root"], merkle.HASH_SIZE, f"{_WHAT}: root")
        if merkle.root(_hashes(leaves, first)) != root:
            raise FormatError(f"{_WHAT}: root is not that of its leaves")
        validity = read_validity(value, _WHAT)
        return cls(statement, federation, party, value["bundle"], first, leaves, root, *validity)

    def encode(self) -> bytes:
        """The statement file."""
        return self.statement.encode()

    def check(self, public: bytes, federation: str, party: Party) -> None:
        """Raise BadSignature unless `public` signed it, CertificateRefused unless it is this party's."""
        self.statement.verify_by(public)
        check_named((self.federation, self.party), (federation, party), _WHAT)

    def check_time(self, at: int) -> None:
        """Raise CertificateExpired unless `at` lies in its validity."""
        check_validity(self.not_before, self.not_after, at, f"{_WHAT} of {self.party}")


def _hash(prekey: Prekey, index: int) -> bytes:
    return merkle.leaf_hash(index.to_bytes(8, "little") + prekey.raw)


def _hashes(leaves: Sequence[Prekey], first: int) -> list[bytes]:
    return [_hash(leaf, index) for index, leaf in enumerate(leaves, start=first)]


def _read_leaf(value: Any) -> Prekey:
    if type(value) is not str:
        raise FormatError(f"a leaf of {_WHAT} must be a string")
    return Prekey.from_bytes(decode_base64(value, f"a leaf of {_WHAT}", PREKEY_SIZE))
