"""Seeds: elements of the field, from which masking keys and shares are made (SPEC sections 12 "Seeds" and 13).

A seed is a whole number below `PRIME`.  A self seed is drawn by its member alone; the seed of an edge is what both its
ends derive from their prekeys.  Both are committed to before anybody sees a masked vector, so that a seed that is
opened later can be compared.  Python's big integers take time that depends on their value: nobody but the owner of a
seed may be able to time what is done here.
"""

from dataclasses import dataclass

from fedspallm_secure.crypto.encoding import pae
from fedspallm_secure.crypto.labels import Label, derive_key, digest
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.errors import FormatError
from fedspallm_secure.secagg.context import GroupContext

PRIME = (1 << 256) - 189
ELEMENT_SIZE = 32  # bytes
PUBLIC_SIZE = 32  # bytes of an X25519 key, and of the secret that two of them agree on
_WIDE = 48  # bytes; 128 bits more than the prime has, so that the remainder is uniform up to 2^-128


def encode_element(value: int) -> bytes:
    """I2OSP(value, 32), big-endian.  Raises ValueError unless 0 <= value < p."""
    if not 0 <= value < PRIME:
        raise ValueError("a field element lies in 0 to p - 1")  # the value may be a secret: it is not shown
    return value.to_bytes(ELEMENT_SIZE, "big")


def decode_element(raw: bytes) -> int:
    """The number in 32 big-endian bytes.  Raises FormatError for another size, and for p or more."""
    if len(raw) != ELEMENT_SIZE:
        raise FormatError(f"a field element has {ELEMENT_SIZE} bytes, not {len(raw)}")
    value = int.from_bytes(raw, "big")
    if value >= PRIME:
        raise FormatError("a field element is not below the prime")
    return value


def draw_element() -> int:
    """A uniform element, in 0 ... p - 1, from the operating system's generator; drawn again while it is p or more."""
    while True:
        value = int.from_bytes(random_bytes(ELEMENT_SIZE), "big")
        if value < PRIME:
            return value


@dataclass(frozen=True, slots=True)
class End:
    """One end of an edge.  id: the member's; public: raw X25519 key of its prekey for this round, 32 bytes."""

    id: str
    public: bytes

    def __post_init__(self) -> None:
        if len(self.public) != PUBLIC_SIZE:
            raise ValueError(f"an X25519 key has {PUBLIC_SIZE} bytes, not {len(self.public)}")


def edge_seed(dh: bytes, context: GroupContext, first: End, second: End) -> int:
    """The seed s_ij of the edge between `first` and `second`, in 0 ... p - 1; both ends get the same.

    dh: what `crypto.sealing.x25519` gave for the two prekeys, 32 bytes; it refuses a peer that makes it all zero.
    Raises ValueError for another size, and unless `first` stands before `second` in the cohort: in order of ids.
    """
    if len(dh) != PUBLIC_SIZE:
        raise ValueError(f"a Diffie-Hellman secret has {PUBLIC_SIZE} bytes, not {len(dh)}")
    _check_order(first.id, second.id)
    plan_hash, group = context.parts
    bound = pae(
        context.federation.encode(),
        context.round.to_bytes(8, "little"),
        group,
        first.id.encode(),
        second.id.encode(),
        first.public,
        second.public,
    )
    return int.from_bytes(derive_key(dh, Label.SECAGG_EDGE, bound, plan_hash, _WIDE), "big") % PRIME


def self_commitment(context: GroupContext, member: str, seed: int) -> bytes:
    """Commitment to the self seed of `member`, 32 bytes (SPEC section 13).  Raises ValueError for no field element."""
    return digest(Label.SECAGG_SELF_SEED, *context.parts, member.encode(), encode_element(seed))


def edge_commitment(context: GroupContext, first: str, second: str, seed: int) -> bytes:
    """Commitment to the seed of the edge between members `first` and `second`, 32 bytes (SPEC section 13).

    Equal from both ends.  Raises ValueError for no field element, and unless `first` stands before `second`.
    """
    _check_order(first, second)
    return digest(Label.SECAGG_EDGE_SEED, *context.parts, first.encode(), second.encode(), encode_element(seed))


def _check_order(first: str, second: str) -> None:
    # The other way round the two ends would get different seeds, and their sum would be noise that nothing explains.
    if not first < second:
        raise ValueError(f"an edge is named by its ends in order of the cohort, not {first!r} and {second!r}")
