"""Key statements: a party's recipient keys, signed by its signing key (SPEC section 6.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedspallm_secure.crypto.encoding import decode_base64, encode_base64, fields
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.sealing import Kem, RecipientKey
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import FormatError
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

_WHAT = "the key statement"
_SCHEMA: dict[str, type] = {
    "federation": str,
    "role": str,
    "id": str,
    "keys": list,
    "not_before": int,
    "not_after": int,
}


@dataclass(frozen=True, slots=True)
class KeyStatement:
    """One or two recipient keys in the order of preference; times: Unix seconds."""

    statement: Statement
    federation: str
    party: Party
    keys: tuple[RecipientKey, ...]
    not_before: int
    not_after: int

    @classmethod
    def make(
        cls,
        signer: Signer,
        federation: str,
        party: Party,
        keys: Sequence[RecipientKey],
        not_before: int,
        not_after: int,
    ) -> "KeyStatement":
        """State the keys, signed by the party's signing key.  Raises FormatError."""
        stated = [{"kem": key.kem.value, "public": encode_base64(key.public)} for key in keys]
        value = {
            **party_fields(federation, party),
            "keys": stated,
            "not_before": not_before,
            "not_after": not_after,
        }
        return cls._of(make_statement(StatementType.KEY_STATEMENT, value, [signer]))

    @classmethod
    def parse(cls, data: bytes) -> "KeyStatement":
        """Read a key statement; its signature is not checked yet.  Raises FormatError or LimitExceeded."""
        return cls._of(Statement.parse(data, StatementType.KEY_STATEMENT))

    @classmethod
    def _of(cls, statement: Statement) -> "KeyStatement":
        value = fields(statement.value, _SCHEMA, _WHAT)
        federation, party = read_party(value)
        keys = tuple(map(_read_key, value["keys"]))
        if not 1 <= len(keys) <= len(Kem) or len({key.kem for key in keys}) != len(keys):
            raise FormatError(f"{_WHAT} must have one key, or one of each kem")
        return cls(statement, federation, party, keys, *read_validity(value, _WHAT))

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


def _read_key(value: Any) -> RecipientKey:
    found = fields(value, {"kem": str, "public": str}, f"a key of {_WHAT}")
    if found["kem"] not in {kem.value for kem in Kem}:
        raise FormatError(f"{_WHAT} has a key of an unknown kem {found['kem'][:40]!r}")
    return RecipientKey(Kem(found["kem"]), decode_base64(found["public"], f"a key of {_WHAT}"))
