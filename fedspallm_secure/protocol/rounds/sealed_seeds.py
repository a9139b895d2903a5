"""The one seed of a member whose vector is encrypted: sealed to the key holder, who takes its keystream off the sum.

It is a deal with one holder of shares (SPEC section 24.3): the key holder's row has one share, the seed itself.
"""

from typing import Final

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.crypto.sealing import RecipientSecret
from fedspallm_secure.errors import BadShare, CannotDecrypt
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.deals import Deal
from fedspallm_secure.secagg.commitments import BLIND_SEED_SIZE, Row
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.envelopes import envelope_hash, open_row, seal_row
from fedspallm_secure.secagg.keystreams import Kind, Stream, stream_key
from fedspallm_secure.secagg.seeds import decode_element, encode_element, self_commitment

_ONE_KEY: Final = 0  # in place of a prekey's index: a plan names one key of its key holder


def seal_seed(context: GroupContext, member: str, seed: int, key: CipherKey) -> tuple[Row, bytes]:
    """The key holder's row, and the envelope of it.  key: of the round.  Raises FormatError for a useless key."""
    row = Row(member, str(key.party), random_bytes(BLIND_SEED_SIZE), (encode_element(seed),))
    return row, seal_row(context, row, key.recipient, _ONE_KEY)


def check_seed(
    context: GroupContext, member: str, deal: Deal, envelope: bytes, holder: Party, secret: RecipientSecret
) -> None:
    """Raise BadShare, naming the member, unless the envelope is the deal's and holds the seed that it commits to.

    deal: of a group whose vectors are encrypted, signed by `member`; secret: of the key that the plan names.
    """
    if envelope_hash(envelope) != deal.envelopes[0]:
        raise BadShare(f"the envelope of {member} is not the one that it signed")
    try:
        row = open_row(context, member, str(holder), envelope, secret, _ONE_KEY, 1)
    except CannotDecrypt:
        raise BadShare(f"what {member} sealed does not open") from None
    row.check(context, deal.rows[0])
    if self_commitment(context, member, decode_element(row.shares[0])) != deal.self_commitment:
        raise BadShare(f"{member} sealed another seed than the one that it commits to")


def opened_key(context: GroupContext, member: str, envelope: bytes, holder: Party, secret: RecipientSecret) -> bytes:
    """The key of a member's keystream, 32 bytes, from an envelope that `check_seed` accepted.  Raises CannotDecrypt."""
    row = open_row(context, member, str(holder), envelope, secret, _ONE_KEY, 1)
    return slot_key(context, decode_element(row.shares[0]))


def slot_key(context: GroupContext, seed: int) -> bytes:
    """The key of the keystream that goes with a seed, 32 bytes."""
    return stream_key(seed, context, Kind.SELF, Stream.SLOT)
