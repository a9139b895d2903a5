"""What a member offers for the rounds to come: the body of a package `offer` (SPEC section 16)."""

from dataclasses import dataclass
from typing import Final

from fedspallm_secure.crypto.encoding import canonical_json, decode_hex, fields, parse_canonical_json
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.errors import FormatError
from fedspallm_secure.protocol.rounds.limits import GROUPS_LIMIT
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.software import check_software

OFFER_VERSION: Final = 1
_WHAT: Final = "the offer"
_SCHEMA: Final = {
    "v": int,
    "software": str,
    "layers": int,
    "bundle": str,
    "model": str,
    "spent": bool,
    "policy": dict,
}


@dataclass(frozen=True, slots=True)
class Offer:
    """software: the member's program, NAME/VERSION; layers: how many it prunes in a round at most, 0 for all;
    bundle: statement digest of the prekey bundle to take its prekey from, hex; model: digest of the model that it
    prunes, before any round, hex (`groups.model_digest`); policy: what it insists on; spent: whether it has a privacy
    budget that pays for no more rounds.  Raises FormatError.
    """

    software: str
    layers: int
    bundle: str
    model: str
    policy: Policy
    spent: bool = False

    def __post_init__(self) -> None:
        check_software(self.software, _WHAT)
        decode_hex(self.bundle, HASH_SIZE, f"{_WHAT}: bundle")
        decode_hex(self.model, HASH_SIZE, f"{_WHAT}: model")
        if not 0 <= self.layers <= GROUPS_LIMIT:
            raise FormatError(f"{_WHAT} is for {self.layers} layers")

    def encode(self) -> bytes:
        """The body of a package `offer`, canonical JSON."""
        value = {
            "v": OFFER_VERSION,
            "software": self.software,
            "layers": self.layers,
            "bundle": self.bundle,
            "model": self.model,
            "spent": self.spent,
            "policy": self.policy.to_dict(),
        }
        return canonical_json(value)

    @classmethod
    def parse(cls, body: bytes, server: Party) -> "Offer":
        """Read it back.  server: to whom it was made.  Raises FormatError."""
        found = dict(fields(parse_canonical_json(body, _WHAT), _SCHEMA, _WHAT))
        if found.pop("v") != OFFER_VERSION:
            raise FormatError(f"{_WHAT} is not of version {OFFER_VERSION}")
        policy = Policy.from_dict(found.pop("policy"), server)
        return cls(policy=policy, **found)
