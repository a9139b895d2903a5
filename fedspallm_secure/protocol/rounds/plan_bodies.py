"""What a plan travels with: prekeys of the recipient's neighbours, where the seed is from, and its past (SPEC 16.2)."""

from dataclasses import dataclass, field
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
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.crypto.signing import SIGNATURE_SIZE
from fedspallm_secure.errors import FormatError
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.groups import is_ascending
from fedspallm_secure.protocol.rounds.limits import HISTORY_LIMIT, ROUND_LIMIT
from fedspallm_secure.protocol.rounds.openings import Opening
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.survivors import check_gid
from fedspallm_secure.secagg.context import GroupContext

_WHAT = "the package with the plan"
_SCHEMA: dict[str, type] = {
    "plan": dict,
    "bundles": list,
    "opening": str,
    "beacons": list,
    "history": list,
    "cipher_key": str,
}


@dataclass(frozen=True, slots=True)
class PastDeal:
    """A deal by the recipient that the server knows of.  Whether the recipient signed it is not checked here.

    plan_hash: hex; deal: its bytes, of any length; signature: 64 bytes.  Raises FormatError.
    """

    round: int
    plan_hash: str
    gid: int
    deal: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    def __post_init__(self) -> None:
        decode_hex(self.plan_hash, HASH_SIZE, f"the plan of a deal in {_WHAT}")
        check_gid(self.gid)
        if not 1 <= self.round < ROUND_LIMIT or len(self.signature) != SIGNATURE_SIZE:
            raise FormatError(f"a deal in {_WHAT} is of no round, or not signed")

    def context(self, federation: str) -> GroupContext:
        """What the deal was signed for."""
        return GroupContext(federation, self.round, bytes.fromhex(self.plan_hash), self.gid)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "round": self.round,
            "plan_hash": self.plan_hash,
            "gid": self.gid,
            "deal": encode_base64(self.deal),
            "signature": encode_base64(self.signature),
        }

    @classmethod
    def from_dict(cls, value: Any) -> "PastDeal":
        """Read it back.  Raises FormatError."""
        what = f"a deal in {_WHAT}"
        found = fields(value, {"round": int, "plan_hash": str, "gid": int, "deal": str, "signature": str}, what)
        binary = {name: decode_base64(found[name], f"{what}: {name}") for name in ("deal", "signature")}
        return cls(**{**found, **binary})


@dataclass(frozen=True, slots=True)
class PlanBody:
    """The body of a package `plan`, made for one recipient.

    bundles: prekey bundles of its neighbours, sorted by id; opening: None where the server chose the seed; beacons:
    (id of a witness, its signature over the opening, 64 bytes), sorted by id; history: last deals by the recipient;
    cipher_key: what its vectors are encrypted with, None where they are not.  Raises FormatError.
    """

    plan: Plan
    bundles: tuple[Prekeys, ...]
    opening: Opening | None = None
    beacons: tuple[tuple[str, bytes], ...] = ()
    history: tuple[PastDeal, ...] = ()
    cipher_key: CipherKey | None = None

    def __post_init__(self) -> None:
        witnesses = [witness for witness, _ in self.beacons]
        for witness in witnesses:
            Party(Role.WITNESS.value, witness)
        if not is_ascending(witnesses) or not is_ascending([bundle.party.id for bundle in self.bundles]):
            raise FormatError(f"{_WHAT}: bundles or beacons are not in order, each once")
        if any(len(signature) != SIGNATURE_SIZE for _, signature in self.beacons):
            raise FormatError(f"{_WHAT}: a beacon is a signature of {SIGNATURE_SIZE} bytes")
        if len(self.history) > HISTORY_LIMIT:
            raise FormatError(f"{_WHAT}: at most {HISTORY_LIMIT} earlier deals are read, not {len(self.history)}")

    def encode(self) -> bytes:
        """The body: canonical JSON."""
        return canonical_json(
            {
                "plan": self.plan.to_dict(),
                "bundles": [encode_base64(bundle.encode()) for bundle in self.bundles],
                "opening": "" if self.opening is None else encode_base64(self.opening.encode()),
                "beacons": [
                    {"id": witness, "signature": encode_base64(signature)} for witness, signature in self.beacons
                ],
                "history": [deal.to_dict() for deal in self.history],
                "cipher_key": "" if self.cipher_key is None else encode_base64(self.cipher_key.encode()),
            }
        )

    @classmethod
    def parse(cls, body: bytes) -> "PlanBody":
        """Read it back; no signature in it is checked yet.

        Raises FormatError or LimitExceeded; CapacityExceeded where the plan's numbers could overflow (check P12).
        """
        found = fields(parse_canonical_json(body, _WHAT), _SCHEMA, _WHAT)
        opening = decode_base64(found["opening"], f"{_WHAT}: opening")
        cipher_key = decode_base64(found["cipher_key"], f"{_WHAT}: cipher_key")
        return cls(
            Plan.from_dict(found["plan"]),
            tuple(map(_read_bundle, found["bundles"])),
            Opening.parse(opening) if opening else None,
            tuple(map(_read_beacon, found["beacons"])),
            tuple(map(PastDeal.from_dict, found["history"])),
            CipherKey.parse(cipher_key) if cipher_key else None,
        )


def _read_bundle(value: Any) -> Prekeys:
    if type(value) is not str:
        raise FormatError(f"{_WHAT}: a bundle is a string")
    return Prekeys.parse(decode_base64(value, f"{_WHAT}: a bundle"))


def _read_beacon(value: Any) -> tuple[str, bytes]:
    found = fields(value, {"id": str, "signature": str}, f"{_WHAT}: a beacon")
    return found["id"], decode_base64(found["signature"], f"{_WHAT}: a beacon")
