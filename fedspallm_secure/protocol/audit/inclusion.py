"""Proofs of inclusion, as files that can be handed on and checked by anybody: C2SP tlog-proof (SPEC section 22.6)."""

import re
from dataclasses import dataclass
from typing import Final

from fedspallm_secure.crypto.encoding import INTEGER_BOUND, decode_base64, encode_base64
from fedspallm_secure.crypto.merkle import HASH_SIZE, leaf_hash, root_from_inclusion
from fedspallm_secure.crypto.notes import NOTE_LIMIT, Checkpoint, Note, NoteKey, open_checkpoint
from fedspallm_secure.errors import AuditIncomplete, FormatError, LimitExceeded
from fedspallm_secure.protocol.audit.tiles import ENTRY_LIMIT

PATH_LIMIT: Final = 63  # hashes
PROOF_LIMIT: Final = NOTE_LIMIT + 96 * 1024  # bytes of the file: the note, the entry in base64, the hashes
_FIRST_LINE: Final = "c2sp.org/tlog-proof@v1"
_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,15})")
_WHAT: Final = "the proof of inclusion"


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That an entry is number `index` of the log whose checkpoint `note` is; proves nothing before `check`.

    path: hashes of 32 bytes, the leaf's sibling first; extra: the entry itself, where it is carried along.
    """

    index: int
    path: tuple[bytes, ...]
    note: Note
    extra: bytes = b""

    def encode(self) -> bytes:
        """The file.  Raises FormatError or LimitExceeded for what could not be read back."""
        lines = [_FIRST_LINE]
        lines += [f"extra {encode_base64(self.extra)}"] if self.extra else []
        lines += [f"index {self.index}", *map(encode_base64, self.path), "", ""]
        data = "\n".join(lines).encode() + self.note.encode()
        if InclusionProof.parse(data) != self:
            raise FormatError(f"{_WHAT} cannot be written down")
        return data

    @classmethod
    def parse(cls, data: bytes) -> "InclusionProof":
        """Read a file; encoding gives back `data`.  Raises FormatError or LimitExceeded."""
        if len(data) > PROOF_LIMIT:
            raise LimitExceeded(f"{_WHAT} has {len(data)} bytes; at most {PROOF_LIMIT} are read")
        head, empty, note = data.partition(b"\n\n")
        if not empty or not head.isascii():
            raise FormatError(f"{_WHAT} is not lines of ASCII, an empty one and a note")
        first, *lines = head.decode("ascii").split("\n")
        if first != _FIRST_LINE:
            raise FormatError(f"{_WHAT} does not begin with {_FIRST_LINE}")
        extra = b""
        if lines and lines[0].startswith("extra "):
            extra = decode_base64(lines.pop(0).removeprefix("extra "), f"extra of {_WHAT}")
            if not 1 <= len(extra) <= ENTRY_LIMIT:
                raise FormatError(f"extra of {_WHAT} is empty, or more than {ENTRY_LIMIT} bytes")
        index = _INDEX.fullmatch(lines[0]) if lines else None
        if index is None or len(lines) > PATH_LIMIT + 1 or int(index[1]) >= INTEGER_BOUND:
            raise FormatError(f"{_WHAT} has no index, or more than {PATH_LIMIT} hashes")
        path = tuple(decode_base64(line, f"a hash of {_WHAT}", HASH_SIZE) for line in lines[1:])
        found = Note.parse(note)
        Checkpoint.parse(found.text)
        return cls(int(index[1]), path, found, extra)

    def check(self, leaf_data: bytes, log_key: NoteKey) -> Checkpoint:
        """The checkpoint that has the entry `leaf_data` at `index`.

        Asks for no cosignatures.  Raises BadSignature or FormatError for the checkpoint; AuditIncomplete if the entry
        does not stand there.
        """
        checkpoint = open_checkpoint(self.note, log_key)
        found = root_from_inclusion(leaf_hash(leaf_data), self.index, checkpoint.size, self.path)
        if found != checkpoint.root:
            said = f"the entry does not stand at {self.index} of the {checkpoint.size} entries of {checkpoint.origin}"
            raise AuditIncomplete(said, indices=(self.index,))
        return checkpoint
