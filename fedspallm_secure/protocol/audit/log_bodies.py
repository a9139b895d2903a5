"""What a server tells a member about its log: the body of a package `log` (SPEC section 22.4)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fedspallm_secure.crypto.encoding import canonical_json, decode_base64, encode_base64, fields, parse_canonical_json
from fedspallm_secure.crypto.notes import Note
from fedspallm_secure.errors import FormatError
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement

ENTRIES_AT_ONCE: Final = 4_096  # entries of one package; an array of canonical JSON has at most 10,000
BYTES_AT_ONCE: Final = 1 << 26  # of these entries: as base64, less than half of what a package `log` may hold
_WITNESSES_LIMIT: Final = 100
_WHAT = "the package with the log"
_SCHEMA: dict[str, type] = {
    "v": int,
    "note_key": str,
    "note_keys": list,
    "start": int,
    "entries": list,
    "checkpoint": str,
    "cosigned": str,
}


@dataclass(frozen=True, slots=True)
class LogBody:
    """Entries of a log from `start` on, and the checkpoint that ends with them.

    note_key: who holds the log's key; note_keys: the statements of cosigners; cosigned: the newest checkpoint with
    cosignatures, None if there is none.  Raises FormatError.
    """

    note_key: NoteKeyStatement
    note_keys: tuple[bytes, ...]
    start: int
    entries: tuple[bytes, ...]
    checkpoint: Note
    cosigned: Note | None = None

    def __post_init__(self) -> None:
        if self.start < 0 or len(self.entries) > ENTRIES_AT_ONCE or len(self.note_keys) > _WITNESSES_LIMIT:
            raise FormatError(f"{_WHAT} begins before the log, or holds too much")

    def encode(self) -> bytes:
        """The body: canonical JSON."""
        return canonical_json(
            {
                "v": 1,
                "note_key": encode_base64(self.note_key.encode()),
                "note_keys": [encode_base64(one) for one in self.note_keys],
                "start": self.start,
                "entries": [encode_base64(entry) for entry in self.entries],
                "checkpoint": encode_base64(self.checkpoint.encode()),
                "cosigned": "" if self.cosigned is None else encode_base64(self.cosigned.encode()),
            }
        )

    @classmethod
    def parse(cls, body: bytes) -> "LogBody":
        """Read it back; no signature in it is checked yet.  Raises FormatError or LimitExceeded."""
        found = fields(parse_canonical_json(body, _WHAT), _SCHEMA, _WHAT)
        if found["v"] != 1:
            raise FormatError(f"{_WHAT} is of version {found['v']}")
        cosigned = decode_base64(found["cosigned"], f"{_WHAT}: cosigned")
        return cls(
            NoteKeyStatement.parse(decode_base64(found["note_key"], f"{_WHAT}: note_key")),
            tuple(_octets(one, "note_keys") for one in found["note_keys"]),
            found["start"],
            tuple(_octets(one, "entries") for one in found["entries"]),
            Note.parse(decode_base64(found["checkpoint"], f"{_WHAT}: checkpoint")),
            Note.parse(cosigned) if cosigned else None,
        )


def fitting(entries: Iterable[bytes]) -> tuple[bytes, ...]:
    """The first of these entries, as many as one package holds: at least one."""
    found: list[bytes] = []
    room = BYTES_AT_ONCE
    for entry in entries:
        room -= len(entry)
        if found and room < 0:
            break
        found.append(entry)
    return tuple(found)


def _octets(value: object, name: str) -> bytes:
    if type(value) is not str:
        raise FormatError(f"{_WHAT}: {name} holds something that is no string")
    return decode_base64(value, f"{_WHAT}: {name}")
