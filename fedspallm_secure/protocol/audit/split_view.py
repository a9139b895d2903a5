"""Evidence that the key of a log has signed two histories that contradict each other (SPEC section 22.6).

Two checkpoints of one size with two roots contradict each other.  For two sizes the file shows which root the first
entries of the larger tree have: by a proof of consistency that holds for that root, and so for no other.
"""

from collections.abc import Iterable, Sequence
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
from fedspallm_secure.crypto.merkle import HASH_SIZE, Tree, is_consistent
from fedspallm_secure.crypto.notes import NOTE_LIMIT, Checkpoint, Note, open_checkpoint
from fedspallm_secure.errors import FormatError, LimitExceeded
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement

SPLIT_VIEW_LIMIT: Final = 4 * NOTE_LIMIT  # bytes
_FORMAT: Final = "fedspallm-secure/1 split-view"
_WHAT: Final = "the evidence of a split view"
_SCHEMA: Final[dict[str, type]] = {"format": str, "note_key": str, "notes": list, "root": str, "proof": list}


@dataclass(frozen=True, slots=True)
class SplitViewProof:
    """Two notes of one log, the smaller size first; of one size, the smaller root first.

    note_key: whose log it is; root: 32 bytes, of the larger tree's first entries, as many as the smaller has; proof:
    from it to the root of the larger.  Both are empty for checkpoints of one size.
    """

    note_key: NoteKeyStatement
    notes: tuple[Note, Note]
    root: bytes
    proof: tuple[bytes, ...]

    @classmethod
    def make(
        cls, note_key: NoteKeyStatement, notes: tuple[Note, Note], leaves: Iterable[bytes] = ()
    ) -> "SplitViewProof":
        """Evidence of two notes in any order.

        leaves: leaf hashes of the larger tree; of one size they are not needed.
        Raises BadSignature or FormatError if it would prove nothing.
        """
        opened = [(open_checkpoint(note, note_key.key), note) for note in notes]
        (small, first), (large, second) = sorted(opened, key=lambda pair: _order(pair[0]))
        root: bytes = b""
        proof: tuple[bytes, ...] = ()
        if small.size != large.size:
            tree = Tree(leaves)
            if tree.size != large.size:
                raise FormatError(f"{_WHAT} needs the {large.size} leaves of the larger tree")
            root, proof = tree.root(small.size), tuple(tree.consistency(small.size, large.size))
        made = cls(note_key, (first, second), root, proof)
        made.check()
        return made

    def encode(self) -> bytes:
        """The file: canonical JSON."""
        return canonical_json(
            {
                "format": _FORMAT,
                "note_key": encode_base64(self.note_key.encode()),
                "notes": [encode_base64(note.encode()) for note in self.notes],
                "root": self.root.hex(),
                "proof": [entry.hex() for entry in self.proof],
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "SplitViewProof":
        """Read a file; it proves nothing before `check`.  Raises FormatError or LimitExceeded."""
        if len(data) > SPLIT_VIEW_LIMIT:
            raise LimitExceeded(f"{_WHAT} has {len(data)} bytes; at most {SPLIT_VIEW_LIMIT} are read")
        found = fields(parse_canonical_json(data, _WHAT), _SCHEMA, _WHAT)
        if found["format"] != _FORMAT:
            raise FormatError(f"{_WHAT} is of the format {found['format'][:64]!r}, not {_FORMAT}")
        note_key = NoteKeyStatement.parse(decode_base64(found["note_key"], f"note_key of {_WHAT}"))
        notes = [Note.parse(decode_base64(text, f"a note of {_WHAT}")) for text in _strings(found["notes"])]
        if len(notes) != 2:
            raise FormatError(f"{_WHAT} has two notes")
        root = decode_hex(found["root"], HASH_SIZE if found["root"] else 0, f"root of {_WHAT}")
        proof = tuple(decode_hex(text, HASH_SIZE, f"a hash of {_WHAT}") for text in _strings(found["proof"]))
        return cls(note_key, (notes[0], notes[1]), root, proof)

    def check(self) -> tuple[Checkpoint, Checkpoint]:
        """The two checkpoints, which no one log can have.

        Raises BadSignature if the stated key has not signed both, FormatError if they do not contradict each other.
        Who holds that key, `note_key.check` tells.
        """
        small, large = (open_checkpoint(note, self.note_key.key) for note in self.notes)
        if _order(small) >= _order(large):
            raise FormatError(f"{_WHAT} has one checkpoint twice, or the larger first")
        if small.size == large.size:
            proven = not self.root and not self.proof
        else:
            whole = is_consistent(small.size, self.root, large.size, large.root, self.proof)
            proven = whole and self.root != small.root
        if not proven:
            raise FormatError(f"{_WHAT} does not show that the checkpoints contradict each other")
        return small, large


def _order(checkpoint: Checkpoint) -> tuple[int, bytes]:
    return checkpoint.size, checkpoint.root


def _strings(values: Sequence[Any]) -> Sequence[str]:
    if not all(type(value) is str for value in values):
        raise FormatError(f"{_WHAT} holds something that is no string")
    return values
