"""A witness's side of a log: it cosigns what extends what it cosigned before, and nothing else (SPEC section 22.5).

The rules are those of C2SP `tlog-witness`, between packages.  Whoever runs it writes down what it cosigned, durably,
before the answer leaves: a witness that forgot would cosign a second history.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fedspallm_secure.crypto.encoding import (
    canonical_json,
    decode_base64,
    decode_hex,
    encode_base64,
    fields,
    parse_canonical_json,
)
from fedspallm_secure.crypto.merkle import EMPTY_ROOT, HASH_SIZE, is_consistent
from fedspallm_secure.crypto.notes import Checkpoint, Note, NoteKey, cosign, cosigned_at, open_checkpoint
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import BadSignature, FormatError, LogRefused, SplitView
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement

HASHES_LIMIT: Final = 63  # hashes of a consistency proof, as in C2SP
_SHOWN, _ANSWERED = "the package with a checkpoint", "the package with a cosignature"


@dataclass(frozen=True, slots=True)
class Shown:
    """The body of a package `checkpoint`: what a server wants cosigned.

    note_key: who holds the log's key; start: the size that the proof begins from; proof: hashes of RFC 6962 section
    2.1.2, 32 bytes each.  Raises FormatError.
    """

    note_key: NoteKeyStatement
    note: Note
    start: int
    proof: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.start < 0 or len(self.proof) > HASHES_LIMIT or any(len(one) != HASH_SIZE for one in self.proof):
            raise FormatError(f"{_SHOWN} begins before the log, or has a proof that is none")

    def encode(self) -> bytes:
        """The body: canonical JSON."""
        return canonical_json(
            {
                "note_key": encode_base64(self.note_key.encode()),
                "note": encode_base64(self.note.encode()),
                "from": self.start,
                "proof": [one.hex() for one in self.proof],
            }
        )

    @classmethod
    def parse(cls, body: bytes) -> "Shown":
        """Read it back; no signature in it is checked yet.  Raises FormatError or LimitExceeded."""
        schema: dict[str, type] = {"note_key": str, "note": str, "from": int, "proof": list}
        found = fields(parse_canonical_json(body, _SHOWN), schema, _SHOWN)
        note = Note.parse(decode_base64(found["note"], f"{_SHOWN}: note"))
        return cls(_statement(found, _SHOWN), note, found["from"], tuple(map(_hash, found["proof"])))


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of a package `cosignature`.

    note_key: who cosigns; note: the witness's newest checkpoint with its cosignature, None before the first.
    """

    note_key: NoteKeyStatement
    note: Note | None

    def encode(self) -> bytes:
        """The body: canonical JSON."""
        note = b"" if self.note is None else self.note.encode()
        return canonical_json({"note_key": encode_base64(self.note_key.encode()), "note": encode_base64(note)})

    @classmethod
    def parse(cls, body: bytes) -> "Answer":
        """Read it back; no signature in it is checked yet.  Raises FormatError or LimitExceeded."""
        found = fields(parse_canonical_json(body, _ANSWERED), {"note_key": str, "note": str}, _ANSWERED)
        note = decode_base64(found["note"], f"{_ANSWERED}: note")
        return cls(_statement(found, _ANSWERED), Note.parse(note) if note else None)


def _statement(found: dict[str, Any], what: str) -> NoteKeyStatement:
    return NoteKeyStatement.parse(decode_base64(found["note_key"], f"{what}: note_key"))


def _hash(value: Any) -> bytes:
    if type(value) is not str:
        raise FormatError(f"{_SHOWN}: proof holds something that is no string")
    return decode_hex(value, HASH_SIZE, f"{_SHOWN}: a hash of the proof")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a checkpoint that was shown.

    newest: what is cosigned now, None if nothing is yet; signed: whether that is new; refusal: what was wrong, None
    where nothing is but the size to begin from; contradicted: what was cosigned and cannot be of the same log.
    """

    newest: Note | None
    signed: bool = False
    refusal: LogRefused | None = None
    contradicted: Note | None = None


class Cosigner:
    """One witness for one log.  newest: what it cosigned last; changed by `on_checkpoint` alone.

    A note of it holds the log's signature and the witness's, and no other.
    """

    def __init__(
        self,
        signer: Signer,
        key: NoteKey,
        log: NoteKey,
        newest: Note | None = None,
        earlier: Callable[[int], Note | None] = lambda _: None,
    ) -> None:
        """signer, key: the witness's own, used for nothing else; earlier: what it cosigned of this size, if it did."""
        self.key = key
        self.log = log
        self.newest = newest
        self._signer = signer
        self._earlier = earlier

    @property
    def size(self) -> int:
        """The size that it cosigned last, 0 before the first."""
        return 0 if self.newest is None else self._open(self.newest).size

    def on_checkpoint(self, shown: Shown, now: int) -> Verdict:
        """Cosign a checkpoint if it extends the newest one.  now: Unix seconds; cosignatures never go back in time."""
        try:
            found = self._open(shown.note)
        except (BadSignature, FormatError) as error:
            return Verdict(self.newest, refusal=LogRefused(f"this is no checkpoint of {self.log.name}: {error}"))
        before = self.contradicted(found)
        if before is not None:
            said = f"{self.log.name} has signed two roots of {found.size} entries"
            return Verdict(self.newest, refusal=SplitView(said), contradicted=before)
        if shown.start != self.size:
            return Verdict(self.newest)
        if not self._extends(found, shown):
            said = f"nothing shows that the first {self.size} of {found.size} entries are those cosigned before"
            return Verdict(self.newest, refusal=LogRefused(said))
        self.newest = cosign(self._signer, self.key, shown.note.only(self.log), max(now, self._last_time()))
        return Verdict(self.newest, signed=True)

    def contradicted(self, found: Checkpoint) -> Note | None:
        """What was cosigned of the same size and another root; None if nothing was.  found: signed by the log."""
        for note in (self.newest, self._earlier(found.size)):
            if note is not None:
                known = self._open(note)
                if known.size == found.size and known.root != found.root:
                    return note
        return None

    def _extends(self, found: Checkpoint, shown: Shown) -> bool:
        old = Checkpoint(self.log.name, 0, EMPTY_ROOT) if self.newest is None else self._open(self.newest)
        return is_consistent(old.size, old.root, found.size, found.root, shown.proof)

    def _last_time(self) -> int:
        return 0 if self.newest is None else cosigned_at(self.newest, self.key) or 0

    def _open(self, note: Note) -> Checkpoint:
        return open_checkpoint(note, self.log)
