"""A seed that the server cannot choose: the opening of a round, and what beacon witnesses sign (SPEC section 16.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedspallm_secure.crypto.encoding import (
    INTEGER_BOUND,
    canonical_json,
    decode_base64,
    decode_hex,
    encode_base64,
    fields,
    parse_canonical_json,
)
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.crypto.signing import SIGNATURE_SIZE, Signer, sign, verify
from fedspallm_secure.errors import FormatError, WrongRoster
from fedspallm_secure.protocol.rounds.groups import is_ascending
from fedspallm_secure.protocol.rounds.limits import COHORT_LIMIT
from fedspallm_secure.protocol.statements import (
    Statement,
    StatementType,
    check_round,
    check_same_round,
    make_statement,
    read_statement_body,
    statement_body,
)

_WHAT = "the opening"
_BEACON = "the beacon"
_SCHEMA: dict[str, type] = {"federation": str, "round": int, "roster": str, "sampling": str, "prekeys": list}


@dataclass(frozen=True, slots=True)
class PrekeyUse:
    """Which prekey a member uses in a round.

    id: the member's; bundle: statement digest of the bundle, hex; index: of the leaf.  Raises FormatError.
    """

    id: str
    bundle: str
    index: int

    def __post_init__(self) -> None:
        Party(Role.MEMBER.value, self.id)
        decode_hex(self.bundle, HASH_SIZE, f"the bundle of {self.id}")
        if not 0 <= self.index < INTEGER_BOUND:
            raise FormatError(f"prekey {self.index} of {self.id} is out of range")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"id": self.id, "bundle": self.bundle, "index": self.index}

    @classmethod
    def from_dict(cls, value: Any) -> "PrekeyUse":
        """Read it back.  Raises FormatError."""
        return cls(**fields(value, {"id": str, "bundle": str, "index": int}, "the use of a prekey"))


@dataclass(frozen=True, slots=True)
class Opening:
    """What the server fixes before the seed is known.

    roster: roster hash, hex; sampling: digest of how cohorts are drawn, hex; prekeys: of everybody who takes part,
    sorted by id, at least one.  Raises FormatError.
    """

    statement: Statement
    federation: str
    round: int
    roster: str
    sampling: str
    prekeys: tuple[PrekeyUse, ...]

    def __post_init__(self) -> None:
        check_round(self.federation, self.round, _WHAT)
        decode_hex(self.roster, HASH_SIZE, f"{_WHAT}: roster")
        decode_hex(self.sampling, HASH_SIZE, f"{_WHAT}: sampling")
        if not 1 <= len(self.prekeys) <= COHORT_LIMIT or not is_ascending([use.id for use in self.prekeys]):
            raise FormatError(f"{_WHAT}: there are no prekeys, too many, or not in order, one for each member")
        if self.statement.value != _value(self.federation, self.round, self.roster, self.sampling, self.prekeys):
            raise FormatError(f"{_WHAT} is not what its statement says")

    @classmethod
    def make(
        cls, signer: Signer, federation: str, round: int, roster: str, sampling: str, prekeys: Sequence[PrekeyUse]
    ) -> "Opening":
        """Open a round, signed by the server's signing key.  Raises FormatError or LimitExceeded."""
        return cls._of(
            make_statement(StatementType.OPENING, _value(federation, round, roster, sampling, prekeys), [signer])
        )

    @classmethod
    def parse(cls, data: bytes) -> "Opening":
        """Read an opening; its signature is not checked yet.  Raises FormatError or LimitExceeded."""
        return cls._of(Statement.parse(data, StatementType.OPENING))

    @classmethod
    def _of(cls, statement: Statement) -> "Opening":
        value = fields(statement.value, _SCHEMA, _WHAT)
        prekeys = tuple(map(PrekeyUse.from_dict, value["prekeys"]))
        return cls(statement, value["federation"], value["round"], value["roster"], value["sampling"], prekeys)

    def encode(self) -> bytes:
        """The statement file."""
        return self.statement.encode()

    @property
    def hash(self) -> str:
        """The statement digest, 64 hex digits: the `plan_hash` of the packages `opening` and `beacon`."""
        return self.statement.digest.hex()

    def check(self, public: bytes, federation: str, round: int, roster: str) -> None:
        """Raise BadSignature unless `public` signed it; WrongFederation, NotAwaited, WrongRoster if it is another."""
        self.statement.verify_by(public)
        check_same_round((self.federation, self.round), (federation, round), _WHAT)
        if self.roster != roster:
            raise WrongRoster(f"{_WHAT} was made under another roster")


def encode_opening(opening: Opening) -> bytes:
    """The body of a package `opening`."""
    return statement_body(opening.statement)


def parse_opening(body: bytes) -> Opening:
    """The opening in such a body; its signature is not checked yet.  Raises FormatError or LimitExceeded."""
    return Opening.parse(read_statement_body(body, "the package with the opening"))


def beacon_signature(signer: Signer, opening: Opening) -> bytes:
    """What a beacon witness answers, 64 bytes.  It answers the first opening of a round, and no other of that round."""
    return sign(signer, Label.SIGN_BEACON, opening.statement.payload)


def check_beacon(public: bytes, opening: Opening, signature: bytes) -> None:
    """Raise BadSignature unless the witness with the key `public` signed this opening."""
    verify(public, Label.SIGN_BEACON, opening.statement.payload, signature, _BEACON)


def beacon_seed(opening: Opening, signatures: Sequence[bytes]) -> bytes:
    """The plan's seed, 32 bytes.

    signatures: of all beacon witnesses, in the order of their ids, each accepted by `check_beacon`.
    Raises FormatError without any: then the server could choose the seed.
    """
    if not signatures or any(len(signature) != SIGNATURE_SIZE for signature in signatures):
        raise FormatError(f"a seed is drawn from one signature or more, each of {SIGNATURE_SIZE} bytes")
    return digest(Label.SECAGG_BEACON, opening.statement.payload, *signatures)


def encode_beacon(signature: bytes) -> bytes:
    """The body of a package `beacon`.  Raises FormatError unless it is 64 bytes."""
    if len(signature) != SIGNATURE_SIZE:
        raise FormatError(f"{_BEACON} is a signature of {SIGNATURE_SIZE} bytes, not {len(signature)}")
    return canonical_json({"signature": encode_base64(signature)})


def parse_beacon(body: bytes) -> bytes:
    """The signature in such a body, 64 bytes; whose it is, is not checked yet.  Raises FormatError."""
    found = fields(parse_canonical_json(body, _BEACON), {"signature": str}, _BEACON)
    return decode_base64(found["signature"], _BEACON, SIGNATURE_SIZE)


def _value(federation: str, round: int, roster: str, sampling: str, prekeys: Sequence[PrekeyUse]) -> dict[str, Any]:
    return {
        "federation": federation,
        "round": round,
        "roster": roster,
        "sampling": sampling,
        "prekeys": [use.to_dict() for use in prekeys],
    }
