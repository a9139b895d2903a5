"""How a member makes what it hands in for a group: seeds, shares, envelopes and the deal over them (SPEC 12, 13, 16.3).

A `Draft` holds secrets and is made once.  The vector gets its keystreams, and only then the deal can be signed:
it names the masked vector.  Where vectors are encrypted there is one seed, and its one share goes to the key holder
(SPEC section 24.3).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedspallm_secure.crypto.key_records import PrekeySecret
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.crypto.sealing import x25519
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.protocol.prekeys import Prekey
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.deals import Deal, Handover, sign_deal
from fedspallm_secure.protocol.rounds.links import Links
from fedspallm_secure.protocol.rounds.sealed_seeds import seal_seed, slot_key
from fedspallm_secure.secagg.commitments import BLIND_SEED_SIZE, Row, deal_rows, row_commitment
from fedspallm_secure.secagg.envelopes import envelope_hash, seal_row
from fedspallm_secure.secagg.keystreams import Stream
from fedspallm_secure.secagg.masking import Term, member_terms
from fedspallm_secure.secagg.seeds import (
    End,
    draw_element,
    edge_commitment,
    edge_seed,
    encode_element,
    self_commitment,
)


@dataclass(frozen=True, slots=True)
class Use:
    """A member's prekey in a round, as the plan has it.  index: its index."""

    index: int
    prekey: Prekey


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A contribution that lacks its masked vector.

    count_terms, sum_terms: what `masking.add_keystreams` adds to the two streams, none for sums under `votes`;
    slot_key: of the keystream that is added to slots before they are encrypted, 32 bytes, empty where they are not;
    rows: share commitments per holder; own_row: the shares that the member keeps.  It is equal to itself alone.
    """

    links: Links = field(repr=False)
    member: str
    prekey: PrekeySecret = field(repr=False)
    self_commitment: bytes
    edges: tuple[bytes, ...] = field(repr=False)
    rows: tuple[tuple[bytes, ...], ...] = field(repr=False)
    envelopes: tuple[bytes, ...] = field(repr=False)
    own_row: Row = field(repr=False)
    count_terms: tuple[Term, ...] = field(repr=False)
    sum_terms: tuple[Term, ...] = field(repr=False)
    slot_key: bytes = field(default=b"", repr=False)

    @property
    def gid(self) -> int:
        """The group."""
        return self.links.group.gid

    def handover(self, signer: Signer, vector_root: bytes) -> Handover:
        """What goes before the streams, signed.  vector_root: of the masked streams, 32 bytes.  Raises FormatError."""
        rows = tuple(map(row_commitment, self.rows))
        hashes = tuple(map(envelope_hash, self.envelopes))
        deal = Deal(vector_root, self.self_commitment, self.edges, rows, hashes)
        signature = sign_deal(signer, self.links.context, self.member, deal.encode())
        return Handover(deal, signature, self.rows, self.envelopes)


def draw(
    links: Links, member: str, prekey: PrekeySecret, uses: Mapping[str, Use], cipher_key: CipherKey | None = None
) -> Draft:
    """Draw the seeds of `member`, share them and seal the shares.

    prekey: its own; uses: of its neighbours and of itself, by id; cipher_key: of rounds whose vectors are encrypted.
    Raises WeakKey where everybody would know the seed of an edge, FormatError for a cipher key of no use.
    """
    if cipher_key is not None:
        return _draw_encrypted(links, member, prekey, cipher_key)
    context, neighbours = links.context, links.neighbours(member)
    seeds = {other: _edge_seed(links, member, other, prekey, uses) for other in neighbours}
    own_seed = draw_element()
    secrets = [own_seed, *seeds.values()]
    dealt = {row.holder: row for row in deal_rows(member, links.points(member), secrets, links.group.shares)}
    ends = [(seed, other < member) for other, seed in seeds.items()]
    sums = () if links.group.sums is None else tuple(member_terms(context, own_seed, ends, Stream.SUM))
    return Draft(
        links=links,
        member=member,
        prekey=prekey,
        self_commitment=self_commitment(context, member, own_seed),
        edges=tuple(
            edge_commitment(context, min(member, other), max(member, other), seed) for other, seed in seeds.items()
        ),
        rows=tuple(row.commitments(context) for row in dealt.values()),
        envelopes=tuple(
            seal_row(context, dealt[other], uses[other].prekey.recipient, uses[other].index) for other in neighbours
        ),
        own_row=dealt[member],
        count_terms=tuple(member_terms(context, own_seed, ends, Stream.COUNT)),
        sum_terms=sums,
    )


def _draw_encrypted(links: Links, member: str, prekey: PrekeySecret, key: CipherKey) -> Draft:
    context, seed = links.context, draw_element()
    row, envelope = seal_seed(context, member, seed, key)
    return Draft(
        links=links,
        member=member,
        prekey=prekey,
        self_commitment=self_commitment(context, member, seed),
        edges=(),
        rows=(row.commitments(context),),
        envelopes=(envelope,),
        # Of its seed a member keeps nothing, and nobody asks for it: this row is there for the form.
        own_row=Row(member, member, random_bytes(BLIND_SEED_SIZE), (encode_element(draw_element()),)),
        count_terms=(),
        sum_terms=(),
        slot_key=slot_key(context, seed),
    )


def _edge_seed(links: Links, member: str, other: str, prekey: PrekeySecret, uses: Mapping[str, Use]) -> int:
    shared = x25519(prekey.exchange, uses[other].prekey.exchange)
    first, second = (End(end, uses[end].prekey.exchange) for end in sorted((member, other)))
    return edge_seed(shared, links.context, first, second)
