"""Signed notes, checkpoints of a log and their cosignatures: signed-note, tlog-checkpoint and tlog-cosignature of C2SP.

The keys here sign notes and nothing else: what they sign begins with no label (SPEC section 22.1).  Stricter than C2SP
in what has one spelling: base64 is canonical, no control characters, no extension lines, no line twice.
"""

import hashlib
import re
from dataclasses import dataclass
from enum import IntEnum

from fedspallm_secure.crypto.encoding import INTEGER_BOUND, decode_base64, decode_hex, encode_base64
from fedspallm_secure.crypto.merkle import EMPTY_ROOT, HASH_SIZE
from fedspallm_secure.crypto.signing import KEY_SIZE, Signer, check_public_key, verify_raw
from fedspallm_secure.errors import BadSignature, FormatError, LimitExceeded

NOTE_LIMIT = 64 << 10  # bytes
SIGNATURES_LIMIT = 100
NAME_LIMIT = 255  # bytes of the name of a key, and of an origin
ID_SIZE = 4  # bytes
_TIME_SIZE = 8  # bytes before a cosignature
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # all but line feeds, and halves of pairs
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")
_SIGNATURE_START = "\u2014 "


class NoteKind(IntEnum):
    """What a key of notes signs: the type byte of signed-note."""

    LOG = 0x01
    COSIGNER = 0x04


@dataclass(frozen=True, slots=True)
class NoteKey:
    """Who signs notes: a name, a kind and an Ed25519 key of 32 bytes.  Raises FormatError or WeakKey."""

    name: str
    kind: NoteKind
    public: bytes

    def __post_init__(self) -> None:
        check_name(self.name, "the name of a key of notes")
        check_public_key(self.public, self.name)

    @property
    def id(self) -> bytes:
        """The key id, 4 bytes: tells lines apart, proves nothing."""
        return hashlib.sha256(self.name.encode() + b"\n" + self._typed).digest()[:ID_SIZE]

    @property
    def vkey(self) -> str:
        """NAME+KEYID+BASE64."""
        return f"{self.name}+{self.id.hex()}+{encode_base64(self._typed)}"

    @property
    def _typed(self) -> bytes:
        return bytes([self.kind]) + self.public

    @classmethod
    def parse(cls, vkey: str) -> "NoteKey":
        """Read NAME+KEYID+BASE64 of a kind that is known here.  Raises FormatError or WeakKey."""
        name, *rest = vkey.split("+", 2)  # base64 may have a + of its own
        if len(rest) != 2:
            raise FormatError("a key of notes is written NAME+KEYID+BASE64")
        id, typed = decode_hex(rest[0], ID_SIZE, "a key id"), decode_base64(rest[1], "a key of notes", KEY_SIZE + 1)
        if typed[0] not in set(NoteKind):
            raise FormatError(f"a key of notes is of the unknown type {typed[0]}")
        key = cls(name, NoteKind(typed[0]), typed[1:])
        if key.id != id:
            raise FormatError(f"the key id of {name} does not belong to its key")
        return key


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One line under a note.  id: 4 bytes; signature: what follows them, for a cosignature with its time before it."""

    name: str
    id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """As it stands in a note, with its line feed."""
        return f"{_SIGNATURE_START}{self.name} {encode_base64(self.id + self.signature)}\n"

    @classmethod
    def parse(cls, line: str) -> "NoteSignature":
        """Read a line without its line feed.  Raises FormatError."""
        name, space, text = line.removeprefix(_SIGNATURE_START).partition(" ")
        if not line.startswith(_SIGNATURE_START) or not space:
            raise FormatError("a line under a note is not '\u2014 NAME BASE64'")
        check_name(name, "the name under a note")
        data = decode_base64(text, "a signature of a note")
        if len(data) <= ID_SIZE:
            raise FormatError("a signature of a note is empty")
        return cls(name, data[:ID_SIZE], data[ID_SIZE:])


@dataclass(frozen=True, slots=True)
class Note:
    """A text, ended by a line feed, and who signed it; nothing is verified yet."""

    text: str
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def parse(cls, data: bytes) -> "Note":
        """Read a note; encoding gives back `data`.  Raises FormatError or LimitExceeded."""
        if len(data) > NOTE_LIMIT:
            raise LimitExceeded(f"this note has {len(data)} bytes; at most {NOTE_LIMIT} are read")
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError("this note is not UTF-8") from None
        if _CONTROL.search(whole):
            raise FormatError("this note holds a control character")
        text, empty, rest = whole.rpartition("\n\n")
        if not empty or not rest.endswith("\n"):
            raise FormatError("a note is a text, an empty line and signatures, each line ended by a line feed")
        lines = rest[:-1].split("\n")
        if len(lines) > SIGNATURES_LIMIT:
            raise LimitExceeded(f"this note has {len(lines)} signatures; at most {SIGNATURES_LIMIT} are read")
        if len(set(lines)) != len(lines):
            raise FormatError("this note has a signature twice")
        return cls(text + "\n", tuple(map(NoteSignature.parse, lines)))

    def encode(self) -> bytes:
        """The note as a file.  Raises FormatError or LimitExceeded for one that could not be read back."""
        data = (self.text + "\n" + "".join(signature.line for signature in self.signatures)).encode()
        if Note.parse(data) != self:
            raise FormatError("this text cannot stand in a note")
        return data

    def of(self, key: NoteKey) -> list[NoteSignature]:
        """The lines that claim to be by `key`."""
        return [line for line in self.signatures if (line.name, line.id) == (key.name, key.id)]

    def only(self, key: NoteKey) -> "Note":
        """The same text with the lines of `key` alone.  Raises BadSignature if there is none; verifies nothing."""
        lines = self.of(key)
        if not lines:
            raise BadSignature(f"the note has no signature of {key.name}")
        return Note(self.text, tuple(lines))

    def joined(self, other: "Note") -> "Note":
        """The same text with the lines of both, none twice.  Raises FormatError if the texts differ."""
        if other.text != self.text:
            raise FormatError("two notes with different texts cannot be joined")
        return Note(self.text, tuple(dict.fromkeys(self.signatures + other.signatures)))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a log: its name, how many entries it has, their root.  Raises FormatError for what no log has."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        check_name(self.origin, "the origin of a checkpoint")
        if not 0 <= self.size < INTEGER_BOUND or len(self.root) != HASH_SIZE:
            raise FormatError("a checkpoint has a size below 2^53 and a root of 32 bytes")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise FormatError("a checkpoint of no entries has another root than the empty one")

    @property
    def text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read the text of a note; there may be no extension lines.  Raises FormatError."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise FormatError("a checkpoint has three lines: origin, size and root")
        if not _SIZE.fullmatch(lines[1]):
            raise FormatError("the size of a checkpoint is a number without leading zeros")
        return cls(lines[0], int(lines[1]), decode_base64(lines[2], "the root of a checkpoint", HASH_SIZE))

    @classmethod
    def of_note(cls, data: bytes) -> "Checkpoint":
        """Read a note, and verify nothing.  Raises FormatError or LimitExceeded."""
        return cls.parse(Note.parse(data).text)


def check_name(name: str, what: str) -> None:
    """Raise FormatError unless `name` can name a key of notes: no white space, no +, no control characters."""
    if "+" in name or any(character.isspace() for character in name) or _CONTROL.search(name):
        raise FormatError(f"{what} holds white space, a + or a control character")
    if not 1 <= len(name.encode()) <= NAME_LIMIT:
        raise FormatError(f"{what} must have 1 to {NAME_LIMIT} bytes")


def sign_checkpoint(signer: Signer, key: NoteKey, checkpoint: Checkpoint) -> Note:
    """The checkpoint, signed by the log that it is about.  Raises ValueError if key, signer and origin differ."""
    _check_signer(signer, key, NoteKind.LOG)
    if checkpoint.origin != key.name:
        raise ValueError(f"{key.name} signs its own checkpoints only")
    return Note(checkpoint.text, (NoteSignature(key.name, key.id, signer.sign(checkpoint.text.encode())),))


def verify_note(note: Note, key: NoteKey) -> None:
    """Raise BadSignature unless `key`, of the kind of logs, signed the text, and no line of it is wrong."""
    _check_kind(key, NoteKind.LOG)
    for line in note.only(key).signatures:
        if not verify_raw(key.public, note.text.encode(), line.signature):
            raise BadSignature(f"the signature of {key.name} on the note does not match")


def open_checkpoint(note: Note, key: NoteKey) -> Checkpoint:
    """What the log that holds `key` signed.

    Raises BadSignature: there is no signature of it, or a wrong one, whatever other lines there are.
    Raises FormatError: the text is no checkpoint of this log.
    """
    verify_note(note, key)
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != key.name:
        raise FormatError(f"{key.name} signed a checkpoint of {checkpoint.origin}")
    return checkpoint


def cosign(signer: Signer, key: NoteKey, note: Note, at: int) -> Note:
    """The note with a cosignature of `key` more.

    at: Unix seconds.  Verifies nothing: whoever cosigns has checked consistency.  Raises FormatError if the text is no
    checkpoint, ValueError if key and signer differ or the time cannot be written.
    """
    _check_signer(signer, key, NoteKind.COSIGNER)
    Checkpoint.parse(note.text)
    if not 0 <= at < 1 << 63:
        raise ValueError("the time of a cosignature is below 2^63")
    signature = at.to_bytes(_TIME_SIZE, "big") + signer.sign(_cosigned(note, at))
    return note.joined(Note(note.text, (NoteSignature(key.name, key.id, signature),)))


def cosigned_at(note: Note, key: NoteKey) -> int | None:
    """When `key` cosigned the note last, in Unix seconds; None if it did not.  Raises BadSignature, FormatError."""
    _check_kind(key, NoteKind.COSIGNER)
    times = []
    for line in note.of(key):
        at, signature = int.from_bytes(line.signature[:_TIME_SIZE], "big"), line.signature[_TIME_SIZE:]
        if at >> 63 or not verify_raw(key.public, _cosigned(note, at), signature):
            raise BadSignature(f"the cosignature of {key.name} does not match")
        times.append(at)
    if times:
        Checkpoint.parse(note.text)
    return max(times, default=None)


def _cosigned(note: Note, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{note.text}".encode()


def _check_signer(signer: Signer, key: NoteKey, kind: NoteKind) -> None:
    _check_kind(key, kind)
    if signer.public != key.public:
        raise ValueError(f"this is not the signer of {key.name}")


def _check_kind(key: NoteKey, kind: NoteKind) -> None:
    if key.kind is not kind:
        raise ValueError(f"{key.name} is not a key of the kind {kind.name}")
