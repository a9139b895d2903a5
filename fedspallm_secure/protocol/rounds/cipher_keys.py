"""Cipher keys: what a key holder publishes before a round, and members encrypt and seal to (SPEC section 24.2)."""

import hashlib
from dataclasses import dataclass, field

from fedspallm_secure.crypto.encoding import INTEGER_BOUND, decode_base64, decode_hex, encode_base64, fields
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.crypto.sealing import FILE_KEY_SIZE, Kem, RecipientKey, wrap
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import FormatError
from fedspallm_secure.he.parameters import Parameters
from fedspallm_secure.protocol.limits import CIPHER_KEY_LIMIT
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

_WHAT = "the cipher key"
_LENGTH = 4  # bytes of the length before the statement
_SCHEMA: dict[str, type] = {
    "federation": str,
    "role": str,
    "id": str,
    "index": int,
    "parameters": dict,
    "public": str,
    "recipient": str,
    "not_before": int,
    "not_after": int,
}


@dataclass(frozen=True, slots=True)
class CipherKey:
    """The public keys for one round.

    index: from 1, ascending for one key holder; public: what members encrypt with, as the library writes it; recipient:
    what they seal their seeds to, of kind `mlkem768-x25519`.
    """

    statement: Statement
    federation: str
    party: Party
    index: int
    parameters: Parameters
    public: bytes = field(repr=False)
    recipient: RecipientKey = field(repr=False)
    not_before: int
    not_after: int

    @classmethod
    def make(
        cls,
        signer: Signer,
        federation: str,
        party: Party,
        index: int,
        parameters: Parameters,
        public: bytes,
        recipient: RecipientKey,
        not_before: int,
        not_after: int,
    ) -> "CipherKey":
        """State a key, signed by the key holder's signing key.  Raises FormatError."""
        value = {
            **party_fields(federation, party),
            "index": index,
            "parameters": parameters.to_dict(),
            "public": hashlib.sha256(public).hexdigest(),
            "recipient": encode_base64(recipient.public),
            "not_before": not_before,
            "not_after": not_after,
        }
        return cls._of(make_statement(StatementType.CIPHER_KEY, value, [signer]), public)

    @classmethod
    def parse(cls, body: bytes) -> "CipherKey":
        """Read the body of a package `cipher-key`; its signature is not checked yet.

        Raises FormatError or LimitExceeded.
        """
        length = int.from_bytes(body[:_LENGTH], "little")
        if not 0 < length <= CIPHER_KEY_LIMIT or len(body) <= _LENGTH + length:
            raise FormatError(f"{_WHAT}: there is no statement with a key after it")
        statement = Statement.parse(body[_LENGTH : _LENGTH + length], StatementType.CIPHER_KEY)
        return cls._of(statement, body[_LENGTH + length :])

    @classmethod
    def _of(cls, statement: Statement, public: bytes) -> "CipherKey":
        value = fields(statement.value, _SCHEMA, _WHAT)
        federation, party = read_party(value)
        if party.role is not Role.KEY_HOLDER:
            raise FormatError(f"{_WHAT} is that of {party}; only key holders have any")
        if not 1 <= value["index"] < INTEGER_BOUND:
            raise FormatError(f"{_WHAT}: indices count from 1")
        if decode_hex(value["public"], HASH_SIZE, f"{_WHAT}: public") != hashlib.sha256(public).digest():
            raise FormatError(f"{_WHAT} is not the one of its statement")
        parameters = Parameters.from_dict(value["parameters"])
        recipient = RecipientKey(Kem.HYBRID, decode_base64(value["recipient"], f"{_WHAT}: recipient"))
        validity = read_validity(value, _WHAT)
        return cls(statement, federation, party, value["index"], parameters, public, recipient, *validity)

    def encode(self) -> bytes:
        """The body of a package `cipher-key`: length of the statement (4 bytes), statement, public key."""
        statement = self.statement.encode()
        return len(statement).to_bytes(_LENGTH, "little") + statement + self.public

    @property
    def hash(self) -> str:
        """The statement digest, 64 hex digits: what plans name."""
        return self.statement.digest.hex()

    def check(self, public: bytes, federation: str, party: Party, at: int) -> None:
        """Raise BadSignature unless `public` signed it; CertificateRefused, CertificateExpired if it is another's.

        at: Unix seconds.  Raises FormatError where nothing can be sealed to it: found later, that would cost a prekey.
        """
        self.statement.verify_by(public)
        check_named((self.federation, self.party), (federation, party), _WHAT)
        check_validity(self.not_before, self.not_after, at, f"{_WHAT} of {self.party}")
        wrap(bytes(FILE_KEY_SIZE), self.recipient, b"")
