"""What a member brings to a round: who it is, its own files, and what it remembers of earlier rounds (SPEC section 17).

All of it comes from the member's own machine.  Nothing that a plan says is ever used in its place.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import UsageError
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.protocol.rounds.groups import MatrixShape
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.secagg.disclosure import Ledger

PRIVATE_PRUNER: Final = "wanda"  # the one whose choices can be made from a noised statistic


@dataclass(frozen=True, slots=True)
class Own:
    """Who the member is, whom it trusts, and what it insists on.  Raises UsageError for another role."""

    party: Party
    signer: Signer = field(repr=False)
    trust: Trust
    policy: Policy

    def __post_init__(self) -> None:
        if self.party.role is not Role.MEMBER:
            raise UsageError(f"{self.party} is no member")

    def public(self, party: Party) -> bytes:
        """The signing key that the roster has for a party, 32 bytes.  Raises UnknownSender."""
        return self.trust.roster.entry(party).leaf.public

    @property
    def server(self) -> bytes:
        """The signing key of the one server that is obeyed, 32 bytes.  Raises UnknownSender."""
        return self.public(self.policy.server)


@dataclass(frozen=True, slots=True)
class LocalGroup:
    """A decoder layer as the member's own files have it.  base: digest of the base weights, hex."""

    base: str
    matrices: tuple[MatrixShape, ...]


@dataclass(frozen=True, slots=True)
class PrivacyLeft:
    """What a member that prunes with noise can still promise about its records.

    releases: noised statistics that its privacy budget still pays for; paid: the layers of each that was paid for and
    starts from where the member stands, so that another attempt with the same layers costs nothing.
    """

    releases: int
    paid: Collection[tuple[int, ...]] = ()


@dataclass(frozen=True, slots=True)
class LocalModel:
    """The member's own files.

    groups: gid -> group; previous: digest of the last result it verified, hex, or `*`; privacy: None if it prunes
    without noise.
    """

    groups: Mapping[int, LocalGroup]
    previous: str = NONE
    privacy: PrivacyLeft | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What a plan is held against, at `now` in Unix seconds.

    bundle, next_prekey: the member's own prekeys and the index of the first that was not burned; last_round: the newest
    round that it accepted a plan for, 0 if none; deals: digests of all its deals so far, hex.
    """

    model: LocalModel
    ledger: Ledger
    bundle: Prekeys
    next_prekey: int
    now: int
    last_round: int = 0
    deals: Collection[str] = ()
