"""Entries of the log: what happened, who did it and what shows it, in one form for each type (SPEC section 22.2).

An `Entry` cannot exist half-valid: parsing checks everything that its bytes alone can tell.  Whether who acted has
signed what stands in it is checked with keys, by whoever has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fedspallm_secure.crypto.encoding import (
    canonical_json,
    decode_base64,
    encode_base64,
    fields,
    parse_canonical_json,
)
from fedspallm_secure.crypto.identity import Party, Role, check_federation
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.signing import SIGNATURE_SIZE, Signer, sign, verify
from fedspallm_secure.errors import FormatError, LimitExceeded
from fedspallm_secure.protocol.audit.entry_data import EntryType, check_data, head_data, read_head
from fedspallm_secure.protocol.audit.tiles import ENTRY_LIMIT
from fedspallm_secure.protocol.limits import LATEST_TIME
from fedspallm_secure.protocol.rounds.limits import ROUND_LIMIT

__all__ = ["Entry", "EntryType", "head_data", "read_head"]

_WHAT: Final = "an entry of the log"


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
    _read: bytes | None = field(default=None, init=False, repr=False, compare=False)  # the payload, of what was parsed

    def __post_init__(self) -> None:
        check_federation(self.federation)
        if self.seq < 0 or not 0 <= self.at <= LATEST_TIME or not 0 <= self.round < ROUND_LIMIT:
            raise FormatError(f"{_WHAT}: index, round or time is out of range")
        if (self.type in _OUTSIDE and self.round) or (self.type in _INSIDE and not self.round):
            raise FormatError(f"{_WHAT} of type {self.type.value} is not of round {self.round}")
        if self.actor.role not in _ACTORS.get(self.type, (Role.SERVER,)):
            raise FormatError(f"{_WHAT} of type {self.type.value} is not by a {self.actor.role.value}")
        check_data(self.type, self.data)

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
        return canonical_json(self._plain()) if self._read is None else self._read

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
        try:
            type = EntryType(found["type"])
        except ValueError:
            raise FormatError(f"{_WHAT} is of an unknown type {found['type'][:40]!r}") from None
        entry = cls(
            type,
            found["fed"],
            found["seq"],
            found["round"],
            Party.parse(found["actor"]),
            found["at"],
            found["data"],
            decode_base64(found["signature"], f"{_WHAT}: signature", SIGNATURE_SIZE),
        )
        object.__setattr__(entry, "_read", _without_signature(data, found["signature"], found["type"]))
        return entry

    def check_signature(self, public: bytes) -> None:
        """Raise BadSignature unless the server with this key signed it."""
        verify(public, Label.SIGN_ENTRY, self.payload, self.signature, f"entry {self.seq}")


def _without_signature(data: bytes, signature: str, type: str) -> bytes:
    """The payload of an entry in canonical form: names are sorted, so type and version alone follow the signature."""
    rest = f',"type":"{type}","v":1}}'
    return data[: -len(f',"signature":"{signature}"{rest}')] + rest.encode()


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
    EntryType.DECRYPT_CHALLENGE: (Role.KEY_HOLDER,),
    EntryType.DECRYPT_RESPONSE: (Role.KEY_HOLDER,),
}
