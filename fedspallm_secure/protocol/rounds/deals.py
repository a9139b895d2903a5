"""What a member hands in for one group, but for the masked vector itself (SPEC section 16.3).

A deal is a member's signed word on everything that it contributes: the vector, its seeds, and the shares that it dealt.
The server passes it on to those who hold the shares, so each of them can see that they got what was signed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fedspallm_secure.crypto import merkle
from fedspallm_secure.crypto.encoding import pae
from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.crypto.signing import SIGNATURE_SIZE, Signer, sign, verify
from fedspallm_secure.errors import FormatError
from fedspallm_secure.protocol.limits import TILE_SIZE
from fedspallm_secure.secagg.commitments import row_commitment
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.envelopes import envelope_hash, envelope_size

_H = merkle.HASH_SIZE


@dataclass(frozen=True, slots=True)
class Deal:
    """A deal as its member signed it.

    vector_root, self_commitment: 32 bytes; edges: commitment per neighbour; rows: commitment per holder; envelopes:
    hash per neighbour, or, where vectors are encrypted, of the one for the key holder.  All in cohort order.
    """

    vector_root: bytes
    self_commitment: bytes
    edges: tuple[bytes, ...]
    rows: tuple[bytes, ...]
    envelopes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        parts = (self.vector_root, self.self_commitment, *self.edges, *self.rows, *self.envelopes)
        if any(len(part) != _H for part in parts):
            raise FormatError(f"every part of a deal has {_H} bytes")
        sealed = {len(self.edges)} if self.edges else {0, 1}  # without neighbours there may be a key holder
        if len(self.edges) != len(self.rows) - 1 or len(self.envelopes) not in sealed:
            raise FormatError("a deal has an edge and an envelope for each neighbour, and a row for each holder")

    def encode(self) -> bytes:
        """`deal_size` bytes."""
        return b"".join((self.vector_root, self.self_commitment, *self.edges, *self.rows, *self.envelopes))

    @classmethod
    def parse(cls, raw: bytes, neighbours: int, envelopes: int) -> "Deal":
        """Read a deal of a member with that many neighbours, and envelopes.  Raises FormatError."""
        size = deal_size(neighbours, envelopes)
        if len(raw) != size:
            raise FormatError(f"a deal among {neighbours} neighbours has {size} bytes, not {len(raw)}")
        parts = [raw[start : start + _H] for start in range(0, len(raw), _H)]
        edges, rows, sealed = (2, 2 + neighbours), (2 + neighbours, 3 + 2 * neighbours), (3 + 2 * neighbours, None)
        return cls(parts[0], parts[1], *(tuple(parts[slice(*bounds)]) for bounds in (edges, rows, sealed)))


def deal_size(neighbours: int, envelopes: int) -> int:
    """Bytes of a deal.  Both are numbers of `GroupPlan.deal_form`."""
    return _H * (3 + 2 * neighbours + envelopes)


def sign_deal(signer: Signer, context: GroupContext, member: str, deal: bytes) -> bytes:
    """The member's signature, 64 bytes."""
    return sign(signer, Label.SIGN_DEAL, _signed(context, member, deal))


def check_deal(public: bytes, context: GroupContext, member: str, deal: bytes, signature: bytes) -> None:
    """Raise BadSignature unless the holder of `public` signed this deal as `member`, for this plan and group."""
    verify(public, Label.SIGN_DEAL, _signed(context, member, deal), signature, f"the deal of {member}")


def deal_digest(context: GroupContext, member: str, deal: bytes) -> str:
    """Identifier of a deal, 64 hex digits: what survivor lists name."""
    return digest(Label.DIGEST_DEAL, *context.parts, member.encode(), deal).hex()


def _signed(context: GroupContext, member: str, deal: bytes) -> bytes:
    return pae(*context.parts, member.encode(), deal)


@dataclass(frozen=True, slots=True)
class Handover:
    """Everything of a contribution before its streams.

    rows: for every holder its share commitments, one per secret; envelopes: one per neighbour, or one for the key
    holder; all in cohort order.
    """

    deal: Deal
    signature: bytes
    rows: tuple[tuple[bytes, ...], ...]
    envelopes: tuple[bytes, ...] = field(repr=False)

    def encode(self) -> bytes:
        """`handover_size` bytes."""
        return b"".join((self.deal.encode(), self.signature, *(b"".join(row) for row in self.rows), *self.envelopes))

    @classmethod
    def parse(cls, raw: bytes, neighbours: int, envelopes: int) -> "Handover":
        """Read it.  Raises FormatError for any other length (check S2)."""
        expected = handover_size(neighbours, envelopes)
        if len(raw) != expected:
            raise FormatError(f"this part of a contribution has {expected} bytes, not {len(raw)}")
        secrets, size = neighbours + 1, envelope_size(neighbours + 1)
        at = deal_size(neighbours, envelopes)
        deal, signature = Deal.parse(raw[:at], neighbours, envelopes), raw[at : at + SIGNATURE_SIZE]
        at += SIGNATURE_SIZE
        commitments = [raw[start : start + _H] for start in range(at, at + _H * secrets**2, _H)]
        rows = tuple(tuple(commitments[start : start + secrets]) for start in range(0, secrets**2, secrets))
        at += _H * secrets**2
        sealed = tuple(raw[start : start + size] for start in range(at, len(raw), size))
        return cls(deal, signature, rows, sealed)

    def rows_fit(self) -> bool:
        """Check S4: the share commitments give the row commitments of the deal."""
        return tuple(map(row_commitment, self.rows)) == self.deal.rows

    def envelopes_fit(self) -> bool:
        """Check S5: the envelopes have the hashes of the deal."""
        return tuple(map(envelope_hash, self.envelopes)) == self.deal.envelopes


def handover_size(neighbours: int, envelopes: int) -> int:
    """Bytes before the streams of a contribution, by a member with that many neighbours and envelopes."""
    secrets = neighbours + 1
    return deal_size(neighbours, envelopes) + SIGNATURE_SIZE + _H * secrets**2 + envelopes * envelope_size(secrets)


def tile_hashes(stream: memoryview, tile: int = TILE_SIZE) -> list[bytes]:
    """Leaf hashes of the tiles of a stream, the last one possibly shorter; 32 bytes each.  tile: bytes of one."""
    view = stream.cast("B")
    return [merkle.leaf_hash(view[start : start + tile]) for start in range(0, len(view), tile)]


def vector_root(streams: Sequence[memoryview], tile: int = TILE_SIZE) -> bytes:
    """Root over the tiles of the streams, one after the other; 32 bytes.  tile: `GroupPlan.upload_tile`, bytes."""
    hasher = VectorHasher(tile)
    for stream in streams:
        hasher.write(stream)
    return hasher.root


class VectorHasher:
    """The vector root of streams that come piece by piece, in any pieces."""

    def __init__(self, tile: int = TILE_SIZE) -> None:
        """tile: bytes of a leaf."""
        self._leaves: list[bytes] = []
        self._size = tile
        self._tile = bytearray()  # what the last tile has so far

    def write(self, piece: memoryview) -> None:
        """The next piece."""
        view = piece.cast("B")
        if self._tile:
            missing = min(self._size - len(self._tile), len(view))
            self._tile += view[:missing]
            view = view[missing:]
            if len(self._tile) == self._size:
                self._leaves.append(merkle.leaf_hash(self._tile))
                self._tile = bytearray()
        whole = len(view) - len(view) % self._size
        self._leaves += tile_hashes(view[:whole], self._size)  # as they lie: nothing is copied
        self._tile += view[whole:]

    @property
    def root(self) -> bytes:
        """`vector_root` of what came, 32 bytes."""
        last = [merkle.leaf_hash(self._tile)] if self._tile else []
        return merkle.root([*self._leaves, *last])
