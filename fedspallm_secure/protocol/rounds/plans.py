"""The plan of a round: what everybody in it works from, and what its hash ties every key to (SPEC section 16.2)."""

import re
from dataclasses import dataclass
from typing import Any, Self

from fedspallm_secure.crypto.encoding import canonical_json, decode_hex, fields
from fedspallm_secure.crypto.identity import Role, check_federation
from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.errors import FormatError
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.rounds.groups import GroupPlan, is_ascending
from fedspallm_secure.protocol.rounds.limits import GROUPS_LIMIT, ROUND_LIMIT
from fedspallm_secure.protocol.rounds.openings import PrekeyUse
from fedspallm_secure.protocol.rounds.plan_parts import (
    DRAWING_LIMIT,
    SAMPLE_WHOLE,
    Deadlines,
    KeyUse,
    Sampling,
    check_target,
)
from fedspallm_secure.protocol.software import check_software
from fedspallm_secure.pruning.strategies import Group, Strategy
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.thresholds import Profile

__all__ = ["DRAWING_LIMIT", "SAMPLE_WHOLE", "Deadlines", "KeyUse", "Plan", "Sampling"]

PLAN_VERSION = 1
_WHAT = "the plan"
_WORD = re.compile(r"[a-z0-9-]{1,32}")
_SCHEMA: dict[str, type] = {
    "v": int,
    "federation": str,
    "round": int,
    "nonce": str,
    "roster": str,
    "crl": int,
    "software": str,
    "profile": str,
    "colluders": int,
    "strategy": str,
    "pruner": str,
    "target": str,
    "compare": str,
    "previous": str,
    "seed": str,
    "sampling": dict,
    "groups": list,
    "prekeys": list,
    "deadlines": dict,
    "counts_to": list,
    "key_holder": dict,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """One round, the same for all its members.

    nonce, roster, seed: hex, 32 bytes; previous: hex or `*`; software: the server's program, NAME/VERSION; key_holder:
    under the profile one-trip alone.
    """

    federation: str
    round: int
    nonce: str
    roster: str
    crl: int
    software: str
    profile: Profile
    colluders: int
    strategy: Strategy
    pruner: str
    target: str
    compare: Group
    previous: str
    seed: str
    sampling: Sampling
    groups: tuple[GroupPlan, ...]
    prekeys: tuple[PrekeyUse, ...]
    deadlines: Deadlines
    counts_to: tuple[Role, ...]
    key_holder: KeyUse | None = None

    def __post_init__(self) -> None:
        check_federation(self.federation)
        for name, text in (("nonce", self.nonce), ("roster", self.roster), ("seed", self.seed)):
            decode_hex(text, HASH_SIZE, f"{_WHAT}: {name}")
        if self.previous != NONE:
            decode_hex(self.previous, HASH_SIZE, f"{_WHAT}: previous")
        check_software(self.software, _WHAT)
        if not _WORD.fullmatch(self.pruner):
            raise FormatError(f"{_WHAT}: {self.pruner[:64]!r} is no pruner")
        if not 1 <= self.round < ROUND_LIMIT or self.colluders < 0 or self.crl < 1:
            raise FormatError(f"{_WHAT}: round, crl or colluders is out of range")
        if not 1 <= len(self.groups) <= GROUPS_LIMIT or not is_ascending([group.gid for group in self.groups]):
            raise FormatError(f"{_WHAT}: no groups, too many, or not in order, each once")
        if not is_ascending([use.id for use in self.prekeys]):
            raise FormatError(f"{_WHAT}: the prekeys are not in order, one for each member")
        if set().union(*(group.cohort for group in self.groups)) != {use.id for use in self.prekeys}:
            raise FormatError(f"{_WHAT}: there is not one prekey for every member of a cohort, and no other")
        if any((group.sums is None) != (self.strategy is Strategy.VOTES) for group in self.groups):
            raise FormatError(f"{_WHAT}: sums go with the strategy {Strategy.FEDSPALLM}, and with no other")
        encrypted = self.profile is Profile.ONE_TRIP
        if {group.cipher is not None for group in self.groups} | {self.key_holder is not None} != {encrypted}:
            raise FormatError(f"{_WHAT}: vectors are encrypted to a key holder in {Profile.ONE_TRIP}, and only there")
        if len({group.cipher for group in self.groups}) > 1:
            raise FormatError(f"{_WHAT}: one key has one set of parameters")
        if not is_ascending([role.value for role in self.counts_to]):
            raise FormatError(f"{_WHAT}: counts_to is not in order")

    def encode(self) -> bytes:
        """Canonical JSON: the bytes that the plan hash is over."""
        return canonical_json(self.to_dict())

    @property
    def split(self) -> bool:
        """Whether nothing keeps the server from showing members different survivor lists (SPEC section 14)."""
        return self.profile is Profile.TWO_TRIP

    @property
    def hash(self) -> str:
        """plan_hash, 64 hex digits.  Computed anew: keep it."""
        return digest(Label.DIGEST_PLAN, self.encode()).hex()

    def group(self, gid: int) -> GroupPlan | None:
        """The group with this number."""
        return next((group for group in self.groups if group.gid == gid), None)

    def groups_of(self, member: str) -> tuple[GroupPlan, ...]:
        """The groups whose cohort `member` belongs to."""
        return tuple(group for group in self.groups if member in group.cohort)

    def neighbours_of(self, member: str) -> set[str]:
        """Everybody who shares an edge with `member` in any group."""
        found: set[str] = set()
        for group in self.groups_of(member):
            graph = group.graph(bytes.fromhex(self.seed))
            found.update(group.cohort[other] for other in graph.neighbours(group.cohort.index(member)))
        return found

    def context(self, gid: int, plan_hash: str) -> GroupContext:
        """What the secrets of a group are bound to.  plan_hash: that of this plan."""
        return GroupContext(self.federation, self.round, bytes.fromhex(plan_hash), gid)

    def to_dict(self) -> dict[str, Any]:
        """Plain data under the names of SPEC section 16.2."""
        return {
            "v": PLAN_VERSION,
            "federation": self.federation,
            "round": self.round,
            "nonce": self.nonce,
            "roster": self.roster,
            "crl": self.crl,
            "software": self.software,
            "profile": self.profile.value,
            "colluders": self.colluders,
            "strategy": self.strategy.value,
            "pruner": self.pruner,
            "target": self.target,
            "compare": self.compare.value,
            "previous": self.previous,
            "seed": self.seed,
            "sampling": self.sampling.to_dict(),
            "groups": [group.to_dict() for group in self.groups],
            "prekeys": [use.to_dict() for use in self.prekeys],
            "deadlines": self.deadlines.to_dict(),
            "counts_to": [role.value for role in self.counts_to],
            "key_holder": {} if self.key_holder is None else self.key_holder.to_dict(),
        }

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """Read a plan.  Raises FormatError, or CapacityExceeded (check P12)."""
        found = dict(fields(value, _SCHEMA, _WHAT))
        if found.pop("v") != PLAN_VERSION:
            raise FormatError(f"{_WHAT} is not of version {PLAN_VERSION}")
        try:
            words = {
                "profile": Profile(found["profile"]),
                "strategy": Strategy(found["strategy"]),
                "compare": Group(found["compare"]),
                "counts_to": tuple(map(Role, found["counts_to"])),
            }
        except ValueError as error:
            raise FormatError(f"{_WHAT}: {str(error)[:100]}") from None
        check_target(found["target"])
        return cls(
            **{
                **found,
                **words,
                "sampling": Sampling.from_dict(found["sampling"]),
                "groups": tuple(map(GroupPlan.from_dict, found["groups"])),
                "prekeys": tuple(map(PrekeyUse.from_dict, found["prekeys"])),
                "deadlines": Deadlines.from_dict(found["deadlines"]),
                "key_holder": KeyUse.from_dict(found["key_holder"]) if found["key_holder"] else None,
            }
        )
