"""Note-key statements: the key of a log or of a cosigner, signed by its holder's signing key (SPEC section 22.1)."""

from dataclasses import dataclass

from fedspallm_secure.crypto.encoding import fields
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.notes import NoteKey, NoteKind
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import FormatError
from fedspallm_secure.protocol.statements import (
    Statement,
    StatementType,
    check_named,
    make_statement,
    party_fields,
    read_party,
    read_time,
)

_WHAT = "the note-key statement"
_SCHEMA: dict[str, type] = {"federation": str, "role": str, "id": str, "created": int, "vkey": str}


def log_name(federation: str, id: str) -> str:
    """Origin of the log of the server `id`, and the name that its notes are signed under."""
    return f"{federation}/log/{id}"


def cosigner_name(federation: str, id: str) -> str:
    """The name that the witness `id` cosigns under."""
    return f"{federation}/witness/{id}"


def note_key(federation: str, party: Party, public: bytes) -> NoteKey:
    """The key of notes that `party` has if its raw key is `public`.

    Raises FormatError for parties that have none, WeakKey.
    """
    if party.role is Role.SERVER:
        return NoteKey(log_name(federation, party.id), NoteKind.LOG, public)
    if party.role is Role.WITNESS:
        return NoteKey(cosigner_name(federation, party.id), NoteKind.COSIGNER, public)
    raise FormatError(f"{party} is neither a server nor a witness: it signs no notes")


@dataclass(frozen=True, slots=True)
class NoteKeyStatement:
    """The key of a server's log or of a witness.  created: Unix seconds."""

    statement: Statement
    federation: str
    party: Party
    created: int
    key: NoteKey

    @classmethod
    def make(cls, signer: Signer, federation: str, party: Party, key: NoteKey, created: int) -> "NoteKeyStatement":
        """State the party's key of notes, signed by its signing key.  Raises FormatError."""
        value = {**party_fields(federation, party), "created": created, "vkey": key.vkey}
        return cls._of(make_statement(StatementType.NOTE_KEY, value, [signer]))

    @classmethod
    def parse(cls, data: bytes) -> "NoteKeyStatement":
        """Read a note-key statement; its signature is not checked yet.

        Raises FormatError, LimitExceeded or WeakKey: the key is not one that this party could have.
        """
        return cls._of(Statement.parse(data, StatementType.NOTE_KEY))

    @classmethod
    def _of(cls, statement: Statement) -> "NoteKeyStatement":
        value = fields(statement.value, _SCHEMA, _WHAT)
        federation, party = read_party(value)
        key = NoteKey.parse(value["vkey"])
        if key != note_key(federation, party, key.public):
            raise FormatError(f"{_WHAT} of {party} has the key of another name or kind: {key.name[:160]!r}")
        return cls(statement, federation, party, read_time(value, "created", _WHAT), key)

    def encode(self) -> bytes:
        """The statement file."""
        return self.statement.encode()

    def check(self, public: bytes, federation: str, party: Party) -> None:
        """Raise BadSignature unless `public` signed it, CertificateRefused unless it is this party's.

        Raises FormatError if it states the signing key itself, whose signatures have labels.
        """
        self.statement.verify_by(public)
        check_named((self.federation, self.party), (federation, party), _WHAT)
        if self.key.public == public:
            raise FormatError(f"{_WHAT} of {party} states its signing key, which may not sign notes")
