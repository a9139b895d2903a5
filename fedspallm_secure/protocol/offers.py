"""What a member offers for the rounds to come: the body of a package `offer` (SPEC section 16)."""

from dataclasses import dataclass

from fedspallm_secure.crypto.encoding import canonical_json, decode_hex, fields, parse_canonical_json
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.errors import FormatError
from fedspallm_secure.protocol.rounds.limits import GROUPS_LIMIT
from fedspallm_secure.protocol.software import check_software

OFFER_VERSION = 1
_WHAT = "the offer"


@dataclass(frozen=True, slots=True)
class Offer:
    """software: the member's program, NAME/VERSION; layers: how many it prunes in a round at most, 0 for all;
    bundle: statement digest of the prekey bundle to take its prekey from, hex.  Raises FormatError.
    """

    software: str
    layers: int
    bundle: str

    def __post_init__(self) -> None:
        check_software(self.software, _WHAT)
        decode_hex(self.bundle, HASH_SIZE, f"{_WHAT}: bundle")
        if not 0 <= self.layers <= GROUPS_LIMIT:
            raise FormatError(f"{_WHAT} is for {self.layers} layers")

    def encode(self) -> bytes:
        """The body of a package `offer`, canonical JSON."""
        value = {"v": OFFER_VERSION, "software": self.software, "layers": self.layers, "bundle": self.bundle}
        return canonical_json(value)

    @classmethod
    def parse(cls, body: bytes) -> "Offer":
        """Read it back.  Raises FormatError."""
        schema = {"v": int, "software": str, "layers": int, "bundle": str}
        found = dict(fields(parse_canonical_json(body, _WHAT), schema, _WHAT))
        if found.pop("v") != OFFER_VERSION:
            raise FormatError(f"{_WHAT} is not of version {OFFER_VERSION}")
        return cls(**found)
