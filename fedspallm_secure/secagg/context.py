"""What every secret of a group is bound to: federation, round, plan and group (SPEC sections 12 and 13)."""

from dataclasses import dataclass

from fedspallm_secure.crypto.merkle import HASH_SIZE


@dataclass(frozen=True, slots=True)
class GroupContext:
    """One group of one round.  plan_hash: 32 bytes, raw; group: number of the decoder layer."""

    federation: str
    round: int
    plan_hash: bytes
    group: int

    def __post_init__(self) -> None:
        if len(self.plan_hash) != HASH_SIZE:
            raise ValueError(f"a plan hash has {HASH_SIZE} bytes, not {len(self.plan_hash)}")

    @property
    def parts(self) -> tuple[bytes, bytes]:
        """plan_hash and u32(group): how every digest and key of the group begins."""
        return self.plan_hash, self.group.to_bytes(4, "little")
