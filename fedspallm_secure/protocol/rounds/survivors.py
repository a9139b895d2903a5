"""Survivor lists: whose vectors a sum is over, and the endorsements that keep the list the same for all (SPEC 16.4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fedspallm_secure.crypto.encoding import (
    canonical_json,
    decode_base64,
    decode_hex,
    encode_base64,
    fields,
    parse_canonical_json,
)
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.crypto.signing import SIGNATURE_SIZE, Signer, sign, verify
from fedspallm_secure.errors import FormatError, NotAwaited
from fedspallm_secure.protocol.rounds.groups import is_ascending
from fedspallm_secure.protocol.rounds.limits import COHORT_LIMIT, GROUP_LIMIT, GROUPS_LIMIT
from fedspallm_secure.protocol.statements import (
    Statement,
    StatementType,
    check_round,
    check_same_round,
    make_statement,
    read_statement_body,
    statement_body,
)

_WHAT = "the survivor list"
_ENDORSEMENT = "the endorsement"
_SCHEMA: dict[str, type] = {"federation": str, "round": int, "plan_hash": str, "groups": list, "ended": list}


class EndCode(StrEnum):
    """Why a group or a round ended without a sum.  They tell nothing about anybody's data."""

    TOO_FEW_CONTRIBUTIONS = "TOO_FEW_CONTRIBUTIONS"
    TOO_FEW_ENDORSEMENTS = "TOO_FEW_ENDORSEMENTS"
    TOO_FEW_RESPONSES = "TOO_FEW_RESPONSES"
    BAD_DEALING = "BAD_DEALING"
    SUM_OUT_OF_RANGE = "SUM_OUT_OF_RANGE"
    STOPPED = "STOPPED"  # by the operator


@dataclass(frozen=True, slots=True)
class Ended:
    """A group that ended without a sum.  named: ids of those who caused it, sorted.  Raises FormatError."""

    gid: int
    code: EndCode
    named: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_gid(self.gid)
        check_ids(self.named, f"those named with group {self.gid}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"gid": self.gid, "code": self.code.value, "named": list(self.named)}

    @classmethod
    def from_dict(cls, value: Any) -> "Ended":
        """Read it back.  Raises FormatError."""
        found = fields(value, {"gid": int, "code": str, "named": list}, "a group that ended")
        return cls(found["gid"], read_code(found["code"]), read_ids(found["named"]))


@dataclass(frozen=True, slots=True)
class Listed:
    """A member whose vector is in the sum.  deal: digest of its deal, hex.  Raises FormatError."""

    id: str
    deal: str

    def __post_init__(self) -> None:
        Party(Role.MEMBER.value, self.id)
        decode_hex(self.deal, HASH_SIZE, f"the deal of {self.id}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"id": self.id, "deal": self.deal}

    @classmethod
    def from_dict(cls, value: Any) -> "Listed":
        """Read it back.  Raises FormatError."""
        return cls(**fields(value, {"id": str, "deal": str}, "a survivor"))


@dataclass(frozen=True, slots=True)
class ListedGroup:
    """A group that goes on.  members: its survivors, sorted by id, at least one.  Raises FormatError."""

    gid: int
    members: tuple[Listed, ...]

    def __post_init__(self) -> None:
        check_gid(self.gid)
        if not self.members:
            raise FormatError(f"group {self.gid} goes on without survivors")
        check_ids(self.ids, f"the survivors of group {self.gid}")

    @property
    def ids(self) -> tuple[str, ...]:
        """The survivors, in cohort order."""
        return tuple(member.id for member in self.members)

    @property
    def deals(self) -> dict[str, str]:
        """Survivor -> digest of its deal, hex, in cohort order."""
        return {member.id: member.deal for member in self.members}

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"gid": self.gid, "members": [member.to_dict() for member in self.members]}

    @classmethod
    def from_dict(cls, value: Any) -> "ListedGroup":
        """Read it back.  Raises FormatError."""
        found = fields(value, {"gid": int, "members": list}, "a group of survivors")
        return cls(found["gid"], tuple(map(Listed.from_dict, found["members"])))


@dataclass(frozen=True, slots=True)
class SurvivorList:
    """Who survived, group by group.  groups, ended: sorted by gid, none in both.  Raises FormatError."""

    statement: Statement
    federation: str
    round: int
    plan_hash: str
    groups: tuple[ListedGroup, ...]
    ended: tuple[Ended, ...]

    def __post_init__(self) -> None:
        check_round(self.federation, self.round, _WHAT)
        decode_hex(self.plan_hash, HASH_SIZE, f"{_WHAT}: plan_hash")
        check_groups([group.gid for group in self.groups], self.ended, _WHAT)
        if self.statement.value != _value(self.federation, self.round, self.plan_hash, self.groups, self.ended):
            raise FormatError(f"{_WHAT} is not what its statement says")

    @classmethod
    def make(
        cls,
        signer: Signer,
        federation: str,
        round: int,
        plan_hash: str,
        groups: Sequence[ListedGroup],
        ended: Sequence[Ended],
    ) -> "SurvivorList":
        """State a list, signed by the server's signing key.  Raises FormatError or LimitExceeded."""
        value = _value(federation, round, plan_hash, groups, ended)
        return cls._of(make_statement(StatementType.SURVIVORS, value, [signer]))

    @classmethod
    def parse(cls, data: bytes) -> "SurvivorList":
        """Read a list; its signature is not checked yet.  Raises FormatError or LimitExceeded."""
        return cls._of(Statement.parse(data, StatementType.SURVIVORS))

    @classmethod
    def _of(cls, statement: Statement) -> "SurvivorList":
        value = fields(statement.value, _SCHEMA, _WHAT)
        groups = tuple(map(ListedGroup.from_dict, value["groups"]))
        ended = tuple(map(Ended.from_dict, value["ended"]))
        return cls(statement, value["federation"], value["round"], value["plan_hash"], groups, ended)

    def encode(self) -> bytes:
        """The statement file."""
        return self.statement.encode()

    @property
    def hash(self) -> str:
        """The statement digest, 64 hex digits: what endorsements, requests and answers name."""
        return self.statement.digest.hex()

    def group(self, gid: int) -> ListedGroup | None:
        """The group with this number, if it goes on."""
        return next((group for group in self.groups if group.gid == gid), None)

    def check(self, public: bytes, federation: str, round: int, plan_hash: str) -> None:
        """Raise BadSignature unless `public` signed it, WrongFederation or NotAwaited if it is of another round."""
        self.statement.verify_by(public)
        check_same_round((self.federation, self.round), (federation, round), _WHAT)
        if self.plan_hash != plan_hash:
            raise NotAwaited(f"{_WHAT} is that of another plan")


def encode_survivors(survivors: SurvivorList) -> bytes:
    """The body of a package `survivors`."""
    return statement_body(survivors.statement)


def parse_survivors(body: bytes) -> SurvivorList:
    """The list in such a body; its signature is not checked yet.  Raises FormatError or LimitExceeded."""
    return SurvivorList.parse(read_statement_body(body, "the package with the survivor list"))


def endorse(signer: Signer, survivors: SurvivorList) -> bytes:
    """A member's or witness's signature over exactly these bytes; 64 bytes.  It endorses one list of a round."""
    return sign(signer, Label.SIGN_ENDORSEMENT, survivors.statement.payload)


def check_endorsement(public: bytes, survivors: SurvivorList, signature: bytes) -> None:
    """Raise BadSignature unless the holder of `public` endorsed exactly this list."""
    verify(public, Label.SIGN_ENDORSEMENT, survivors.statement.payload, signature, _ENDORSEMENT)


@dataclass(frozen=True, slots=True)
class Endorsement:
    """What `endorse` gave.  survivors: digest of the list, hex; signature: 64 bytes.  Raises FormatError."""

    survivors: str
    signature: bytes

    def __post_init__(self) -> None:
        decode_hex(self.survivors, HASH_SIZE, f"{_ENDORSEMENT}: survivors")
        if len(self.signature) != SIGNATURE_SIZE:
            raise FormatError(f"{_ENDORSEMENT} is a signature of {SIGNATURE_SIZE} bytes, not {len(self.signature)}")

    def encode(self) -> bytes:
        """The body of a package `endorsement`."""
        return canonical_json({"survivors": self.survivors, "signature": encode_base64(self.signature)})

    @classmethod
    def parse(cls, body: bytes) -> "Endorsement":
        """Read it back; whose signature it is, is not checked yet.  Raises FormatError."""
        value = parse_canonical_json(body, _ENDORSEMENT)
        found = fields(value, {"survivors": str, "signature": str}, _ENDORSEMENT)
        return cls(found["survivors"], decode_base64(found["signature"], _ENDORSEMENT))


def check_gid(gid: int) -> None:
    """Raise FormatError unless it may number a group."""
    if not 0 <= gid < GROUP_LIMIT:
        raise FormatError(f"gid {gid} is out of range")


def check_ids(ids: Sequence[str], what: str) -> None:
    """Raise FormatError unless all may name members, and are in order, each once."""
    for member in ids:
        Party(Role.MEMBER.value, member)
    if len(ids) > COHORT_LIMIT or not is_ascending(ids):
        raise FormatError(f"{what} are too many, or not in order, each once")


def check_groups(gids: Sequence[int], ended: Sequence[Ended], what: str) -> None:
    """Raise FormatError unless groups that go on and groups that ended are in order, each in one of the two, once."""
    gone = [group.gid for group in ended]
    if len(gids) + len(gone) > GROUPS_LIMIT or not is_ascending(gids) or not is_ascending(gone):
        raise FormatError(f"{what}: the groups are too many, or not in order, each once")
    if not set(gids).isdisjoint(gone):
        raise FormatError(f"{what}: a group goes on although it ended")


def read_ids(value: Sequence[Any]) -> tuple[str, ...]:
    """The strings of an array that holds nothing else; `check_ids` looks at them.  Raises FormatError."""
    if not all(type(member) is str for member in value):
        raise FormatError("an id of a member is a string")
    return tuple(value)


def read_code(text: str) -> EndCode:
    """Raises FormatError for what is no code."""
    if text not in set(EndCode):
        raise FormatError(f"{text[:40]!r} is not why a group can end")
    return EndCode(text)


def _value(
    federation: str, round: int, plan_hash: str, groups: Sequence[ListedGroup], ended: Sequence[Ended]
) -> dict[str, Any]:
    return {
        "federation": federation,
        "round": round,
        "plan_hash": plan_hash,
        "groups": [group.to_dict() for group in groups],
        "ended": [group.to_dict() for group in ended],
    }
