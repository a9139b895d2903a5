"""What the server says of a group and of a round when it is done with it (SPEC section 16.4)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedspallm_secure.crypto.encoding import INTEGER_BOUND, canonical_json, decode_hex, fields, parse_canonical_json
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import FormatError, NotAwaited
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.rounds.limits import COHORT_LIMIT
from fedspallm_secure.protocol.rounds.survivors import (
    EndCode,
    Ended,
    check_gid,
    check_groups,
    check_ids,
    read_code,
    read_ids,
)
from fedspallm_secure.protocol.statements import (
    Statement,
    StatementType,
    check_round,
    check_same_round,
    make_statement,
)

__all__ = ["Abort", "EndCode", "Ended", "GroupResult", "Result"]

_WHAT = "the result"
_GID = re.compile(r"0|[1-9][0-9]{0,8}")
_SCHEMA: dict[str, type] = {
    "federation": str,
    "round": int,
    "plan_hash": str,
    "survivors": str,
    "groups": list,
    "ended": list,
    "answered": list,
}
_GROUP_SCHEMA: dict[str, type] = {
    "gid": int,
    "weights": int,
    "survivors": int,
    "counts": str,
    "sums": str,
    "unanimous": int,
    "single": int,
    "layer": str,
}


@dataclass(frozen=True, slots=True)
class Abort:
    """A round, or one group of it, is over.  gid: None for the round; named: as in `Ended`.  Raises FormatError."""

    gid: int | None
    code: EndCode
    named: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.gid is not None:
            check_gid(self.gid)
        check_ids(self.named, "those named in the abort")

    def encode(self) -> bytes:
        """The body of a package `abort`."""
        gid = NONE if self.gid is None else str(self.gid)
        return canonical_json({"gid": gid, "code": self.code.value, "named": list(self.named)})

    @classmethod
    def parse(cls, body: bytes) -> "Abort":
        """Read it back.  Raises FormatError."""
        what = "the abort"
        found = fields(parse_canonical_json(body, what), {"gid": str, "code": str, "named": list}, what)
        gid = found["gid"]
        if gid != NONE and not _GID.fullmatch(gid):
            raise FormatError(f"{what}: gid {gid[:64]!r} is no group")
        return cls(None if gid == NONE else int(gid), read_code(found["code"]), read_ids(found["named"]))


@dataclass(frozen=True, slots=True)
class GroupResult:
    """What is told to everybody about the sum of a group.

    weights: N; survivors: |U|; counts, sums: roots of the unmasked streams, hex, sums `*` where there are none;
    unanimous: how many weights have C = 0 or C = |U|; single: how many have C = 1; layer: digest of the layer that was
    made of the sums, hex, or `*` where none was.  Raises FormatError.
    """

    gid: int
    weights: int
    survivors: int
    counts: str
    sums: str
    unanimous: int
    single: int
    layer: str = NONE

    def __post_init__(self) -> None:
        what = f"the result of group {self.gid}"
        check_gid(self.gid)
        decode_hex(self.counts, HASH_SIZE, f"{what}: counts")
        if self.sums != NONE:
            decode_hex(self.sums, HASH_SIZE, f"{what}: sums")
        if self.layer != NONE:
            decode_hex(self.layer, HASH_SIZE, f"{what}: layer")
        if not 1 <= self.weights < INTEGER_BOUND or not 1 <= self.survivors <= COHORT_LIMIT:
            raise FormatError(f"{what} is over {self.weights} weights of {self.survivors} survivors")
        if not 0 <= self.unanimous <= self.weights or not 0 <= self.single <= self.weights:
            raise FormatError(f"{what}: unanimous and single are numbers of weights")
        if self.survivors > 1 and self.unanimous + self.single > self.weights:
            raise FormatError(f"{what}: no weight is kept by one survivor and by all")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {name: getattr(self, name) for name in _GROUP_SCHEMA}

    @classmethod
    def from_dict(cls, value: Any) -> "GroupResult":
        """Read it back.  Raises FormatError."""
        return cls(**fields(value, _GROUP_SCHEMA, "a group of the result"))


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a round that gave sums.

    plan_hash, survivors: plan hash and digest of the survivor list, hex; groups, ended: sorted by gid, none in both;
    answered: ids of the members whose answers were used, sorted.  Raises FormatError.
    """

    statement: Statement
    federation: str
    round: int
    plan_hash: str
    survivors: str
    groups: tuple[GroupResult, ...]
    ended: tuple[Ended, ...]
    answered: tuple[str, ...]

    def __post_init__(self) -> None:
        check_round(self.federation, self.round, _WHAT)
        decode_hex(self.plan_hash, HASH_SIZE, f"{_WHAT}: plan_hash")
        decode_hex(self.survivors, HASH_SIZE, f"{_WHAT}: survivors")
        check_groups([group.gid for group in self.groups], self.ended, _WHAT)
        check_ids(self.answered, f"{_WHAT}: those who answered")
        said = (self.federation, self.round, self.plan_hash, self.survivors, self.groups, self.ended, self.answered)
        if self.statement.value != _value(*said):
            raise FormatError(f"{_WHAT} is not what its statement says")

    @classmethod
    def make(
        cls,
        signer: Signer,
        federation: str,
        round: int,
        plan_hash: str,
        survivors: str,
        groups: Sequence[GroupResult],
        ended: Sequence[Ended],
        answered: Sequence[str],
    ) -> "Result":
        """State a result, signed by the server's signing key.  Raises FormatError or LimitExceeded."""
        value = _value(federation, round, plan_hash, survivors, groups, ended, answered)
        return cls._of(make_statement(StatementType.RESULT, value, [signer]))

    @classmethod
    def parse(cls, data: bytes) -> "Result":
        """Read a result, the body of a package `result`; its signature is not checked yet.

        Raises FormatError or LimitExceeded.
        """
        return cls._of(Statement.parse(data, StatementType.RESULT))

    @classmethod
    def _of(cls, statement: Statement) -> "Result":
        found = fields(statement.value, _SCHEMA, _WHAT)
        groups = tuple(map(GroupResult.from_dict, found["groups"]))
        ended = tuple(map(Ended.from_dict, found["ended"]))
        lists = {"groups": groups, "ended": ended, "answered": read_ids(found["answered"])}
        return cls(statement, **{**found, **lists})

    def group(self, gid: int) -> GroupResult | None:
        """What is told about the sum of this group."""
        return next((group for group in self.groups if group.gid == gid), None)

    def encode(self) -> bytes:
        """The statement file, which is the body of a package `result`."""
        return self.statement.encode()

    @property
    def hash(self) -> str:
        """The statement digest, 64 hex digits: what the next plan names as `previous`."""
        return self.statement.digest.hex()

    def check(self, public: bytes, federation: str, round: int, plan_hash: str) -> None:
        """Raise BadSignature unless `public` signed it, WrongFederation or NotAwaited if it ends another round."""
        self.statement.verify_by(public)
        check_same_round((self.federation, self.round), (federation, round), _WHAT)
        if self.plan_hash != plan_hash:
            raise NotAwaited(f"{_WHAT} is that of another plan")


def _value(
    federation: str,
    round: int,
    plan_hash: str,
    survivors: str,
    groups: Sequence[GroupResult],
    ended: Sequence[Ended],
    answered: Sequence[str],
) -> dict[str, Any]:
    return {
        "federation": federation,
        "round": round,
        "plan_hash": plan_hash,
        "survivors": survivors,
        "groups": [group.to_dict() for group in groups],
        "ended": [group.to_dict() for group in ended],
        "answered": list(answered),
    }
