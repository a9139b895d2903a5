"""What a dealer commits to before anybody can open anything: shares, and a holder's row of them (SPEC section 13).

The shares of all secrets of one dealer for one holder are a row.  Each share has a commitment, blinded so that nobody
can try out guesses, and the row has one over these.  So a holder that passes on one share proves that it is the one
it was dealt, and nothing about the others; and a dealer cannot deny what it dealt.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.errors import BadShare, FormatError
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.seeds import decode_element, encode_element
from fedspallm_secure.secagg.sharing import split

BLIND_SEED_SIZE = 32  # bytes


def blind(blind_seed: bytes, number: int) -> bytes:
    """What blinds the commitment to the share of secret `number`; 32 bytes."""
    return digest(Label.SECAGG_BLIND, blind_seed, number.to_bytes(4, "little"))


def share_commitment(
    context: GroupContext, dealer: str, holder: str, number: int, share: bytes, blinding: bytes
) -> bytes:
    """Commitment to the share of secret `number`; 32 bytes.  share: an element, 32 bytes; blinding: from `blind`."""
    named = (dealer.encode(), holder.encode(), number.to_bytes(4, "little"))
    return digest(Label.SECAGG_SHARE, *context.parts, *named, share, blinding)


def row_commitment(commitments: Sequence[bytes]) -> bytes:
    """Commitment to a row; 32 bytes.  commitments: those to the shares of secret 0, secret 1, …"""
    return digest(Label.SECAGG_ROW, *commitments)


def check_row(dealer: str, holder: str, commitments: Sequence[bytes], committed: bytes) -> None:
    """Raise BadShare unless `commitments` are those of the row that `committed`, 32 bytes, stands for."""
    if not hmac.compare_digest(row_commitment(commitments), committed):
        raise BadShare(f"the row that {dealer} dealt to {holder} is not the one it committed to")


def open_share(
    context: GroupContext, dealer: str, holder: str, number: int, share: bytes, blinding: bytes, committed: bytes
) -> int:
    """The value of a share that a holder passed on, once it is the one that was committed to.

    committed: the share's commitment, from a row that `check_row` accepted.  Raises BadShare.
    """
    found = share_commitment(context, dealer, holder, number, share, blinding)
    if not hmac.compare_digest(found, committed):
        raise BadShare(f"the share of secret {number} of {dealer} that {holder} passed on is not the one it was dealt")
    try:
        return decode_element(share)
    except FormatError:
        raise BadShare(f"{dealer} dealt {holder} a share of secret {number} that is no element of the field") from None


@dataclass(frozen=True, slots=True)
class Row:
    """The shares of all secrets of `dealer` for `holder`; both are ids of members.

    blind_seed: 32 bytes; shares: that of secret 0, secret 1, …, each an element of 32 bytes, at least one.
    Raises FormatError.
    """

    dealer: str
    holder: str
    blind_seed: bytes = field(repr=False)
    shares: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.blind_seed) != BLIND_SEED_SIZE:
            raise FormatError(f"a blind seed has {BLIND_SEED_SIZE} bytes, not {len(self.blind_seed)}")
        if not self.shares:
            raise FormatError("a row holds at least one share")
        for share in self.shares:
            decode_element(share)

    def commitments(self, context: GroupContext) -> tuple[bytes, ...]:
        """The commitment to each share, in their order."""
        return tuple(
            share_commitment(context, self.dealer, self.holder, number, share, blind(self.blind_seed, number))
            for number, share in enumerate(self.shares)
        )

    def commitment(self, context: GroupContext) -> bytes:
        """The commitment to the row; 32 bytes."""
        return row_commitment(self.commitments(context))

    def check(self, context: GroupContext, committed: bytes) -> None:
        """Raise BadShare unless this is the row that its dealer committed to with the 32 bytes `committed`."""
        check_row(self.dealer, self.holder, self.commitments(context), committed)


def deal_rows(dealer: str, holders: Mapping[str, int], secrets: Sequence[int], threshold: int) -> list[Row]:
    """Share every secret among `holders`; their rows, in the order of `holders`, each with a new blind seed.

    holders: id -> x coordinate, the dealer among them; secrets: secret 0, secret 1, …, at least one.
    Raises ValueError as `split`, and without secrets.
    """
    if not secrets:
        raise ValueError("a dealer has at least one secret")
    dealt = [split(secret, threshold, tuple(holders.values())) for secret in secrets]
    return [
        Row(dealer, holder, random_bytes(BLIND_SEED_SIZE), tuple(map(encode_element, shares)))
        for holder, shares in zip(holders, zip(*dealt, strict=True), strict=True)
    ]
