"""Receipts: the server's signed word that it has a contribution (SPEC section 16.4).

A receipt can be handed on: held against the log of the server it shows what was received and left out (SPEC 22.6).
"""

from dataclasses import dataclass
from typing import Any

from fedspallm_secure.crypto.encoding import decode_hex, fields
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import FormatError, NotAwaited
from fedspallm_secure.protocol.rounds.survivors import check_gid
from fedspallm_secure.protocol.statements import (
    Statement,
    StatementType,
    check_round,
    check_same_round,
    make_statement,
)

_WHAT = "the receipt"
_SCHEMA: dict[str, type] = {
    "federation": str,
    "round": int,
    "plan_hash": str,
    "group": int,
    "member": str,
    "package": str,
    "deal": str,
}


@dataclass(frozen=True, slots=True)
class Receipt:
    """The server has a contribution.

    group: gid; member: its id; plan_hash, package, deal: plan hash, package digest and deal digest, hex.
    Raises FormatError.
    """

    statement: Statement
    federation: str
    round: int
    plan_hash: str
    group: int
    member: str
    package: str
    deal: str

    def __post_init__(self) -> None:
        check_round(self.federation, self.round, _WHAT)
        check_gid(self.group)
        Party(Role.MEMBER.value, self.member)
        for name in ("plan_hash", "package", "deal"):
            decode_hex(getattr(self, name), HASH_SIZE, f"{_WHAT}: {name}")
        if self.statement.value != {name: getattr(self, name) for name in _SCHEMA}:
            raise FormatError(f"{_WHAT} is not what its statement says")

    @classmethod
    def make(
        cls,
        signer: Signer,
        federation: str,
        round: int,
        plan_hash: str,
        group: int,
        member: str,
        package: str,
        deal: str,
    ) -> "Receipt":
        """State a receipt, signed by the server's signing key.  Raises FormatError."""
        values: tuple[Any, ...] = (federation, round, plan_hash, group, member, package, deal)
        return cls._of(make_statement(StatementType.RECEIPT, dict(zip(_SCHEMA, values, strict=True)), [signer]))

    @classmethod
    def parse(cls, data: bytes) -> "Receipt":
        """Read a receipt, the body of a package `receipt`; its signature is not checked yet.

        Raises FormatError or LimitExceeded.
        """
        return cls._of(Statement.parse(data, StatementType.RECEIPT))

    @classmethod
    def _of(cls, statement: Statement) -> "Receipt":
        return cls(statement, **fields(statement.value, _SCHEMA, _WHAT))

    def encode(self) -> bytes:
        """The statement file, which is the body of a package `receipt`."""
        return self.statement.encode()

    def check(
        self,
        public: bytes,
        federation: str,
        round: int,
        plan_hash: str,
        group: int,
        member: str,
        package: str,
        deal: str,
    ) -> None:
        """Check that it is for the contribution that is named so, as in `Receipt`.

        Raises BadSignature unless `public` signed it, WrongFederation or NotAwaited if it is for another one.
        """
        self.statement.verify_by(public)
        check_same_round((self.federation, self.round), (federation, round), _WHAT)
        found = (self.plan_hash, self.group, self.member, self.package, self.deal)
        if found != (plan_hash, group, member, package, deal):
            raise NotAwaited(f"{_WHAT} is not for this contribution, of {member} for group {group}")
