"""Envelopes: a holder's row, sealed to its one-time prekey, and how a complaint about one is judged (SPEC section 13).

The key of an envelope is committed to.  A holder whose envelope is bad shows that key, and everybody can then see who
is wrong, without learning anything else that the holder's prekey opens:

    the key is not the one committed to           it proves nothing                 BadShare
    it is, and the rest does not open             the dealer sealed garbage         CannotDecrypt
    it opens to a row that was not committed to   the dealer dealt another row      BadShare, from Row.check
    it opens to the row that was committed to     the complaint is unfounded

Whoever judges first compares the envelope's digest with the one the dealer signed, and takes the prekey's index and
the number of secrets from the plan: under others a good envelope does not open either.
"""

import hmac

from fedspallm_secure.crypto.aead import KEY_SIZE, NONCE_SIZE, decrypt, encrypt
from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.crypto.sealing import Kem, RecipientKey, RecipientSecret, unwrap, wrap
from fedspallm_secure.errors import BadShare, CannotDecrypt, FormatError
from fedspallm_secure.secagg.commitments import BLIND_SEED_SIZE, Row
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.seeds import ELEMENT_SIZE

_KEY_AT = Kem.HYBRID.wrap_size  # where the key commitment stands
_BODY_AT = _KEY_AT + HASH_SIZE
_TAG_SIZE = 16  # bytes
_NONCE = bytes(NONCE_SIZE)  # every envelope has a key of its own


def envelope_size(secrets: int) -> int:
    """Bytes of the envelope of a row of `secrets` shares."""
    return _BODY_AT + BLIND_SEED_SIZE + ELEMENT_SIZE * secrets + _TAG_SIZE


def envelope_hash(envelope: bytes) -> bytes:
    """What identifies an envelope; 32 bytes."""
    return digest(Label.SECAGG_ENVELOPE_HASH, envelope)


def seal_row(context: GroupContext, row: Row, prekey_recipient: RecipientKey, prekey_index: int) -> bytes:
    """The envelope of `row`, `envelope_size(len(row.shares))` bytes, under a new key.

    prekey_recipient: the holder's prekey, of kind `mlkem768-x25519`; prekey_index: its index among the holder's.
    Raises FormatError for a key that cannot be sealed to, ValueError for one of another kind.
    """
    if prekey_recipient.kem is not Kem.HYBRID:
        raise ValueError(f"envelopes are sealed to keys of kind {Kem.HYBRID.value}, not {prekey_recipient.kem.value}")
    info = _info(context, row.dealer, row.holder, prekey_index)
    key = random_bytes(KEY_SIZE)
    body = encrypt(key, _NONCE, b"".join((row.blind_seed, *row.shares)), info)
    return wrap(key, prekey_recipient, info) + _key_commitment(key) + body


def open_row(
    context: GroupContext,
    dealer: str,
    holder: str,
    envelope: bytes,
    secret: RecipientSecret,
    prekey_index: int,
    secrets: int,
) -> Row:
    """The row in an envelope from `dealer`; whether it is the one committed to is for `Row.check`.

    secret: that of the holder's prekey number `prekey_index`; secrets: how many secrets the dealer has.
    Raises CannotDecrypt, with one message for every cause.
    """
    key = unwrap_key(context, dealer, holder, envelope, secret, prekey_index)
    return _open_body(context, dealer, holder, envelope, key, prekey_index, secrets)


def unwrap_key(
    context: GroupContext, dealer: str, holder: str, envelope: bytes, secret: RecipientSecret, prekey_index: int
) -> bytes:
    """The key of an envelope, 32 bytes, to show with a complaint when `open_row` failed.

    The digest of the envelope must be the one that its dealer signed.  Otherwise whoever passed it on could spoil the
    body of a good envelope, be shown its key, and open the good one.
    Raises CannotDecrypt, with one message for every cause, also where the dealer wrapped another key than it committed
    to: nobody would believe a complaint that shows it.
    """
    key = unwrap(envelope[:_KEY_AT], secret, _info(context, dealer, holder, prekey_index))
    if not _is_committed(key, envelope):
        raise CannotDecrypt()
    return key


def open_with_key(
    context: GroupContext,
    dealer: str,
    holder: str,
    envelope: bytes,
    key: bytes,
    prekey_index: int,
    secrets: int,
) -> Row:
    """The row in an envelope, for whoever judges the complaint with which `holder` showed `key`.

    Raises BadShare if the envelope does not commit to this key, and CannotDecrypt if it does and holds no row, or has
    a size that no key can mend: then the dealer is proved guilty.
    """
    if len(envelope) == envelope_size(secrets) and not _is_committed(key, envelope):
        raise BadShare(f"{holder} complains about {dealer} with a key that is not the envelope's")
    return _open_body(context, dealer, holder, envelope, key, prekey_index, secrets)


def _open_body(
    context: GroupContext,
    dealer: str,
    holder: str,
    envelope: bytes,
    key: bytes,
    prekey_index: int,
    secrets: int,
) -> Row:
    if len(envelope) != envelope_size(secrets):
        raise CannotDecrypt()
    plaintext = decrypt(key, _NONCE, envelope[_BODY_AT:], _info(context, dealer, holder, prekey_index))
    starts = range(BLIND_SEED_SIZE, len(plaintext), ELEMENT_SIZE)
    shares = tuple(plaintext[at : at + ELEMENT_SIZE] for at in starts)
    try:
        return Row(dealer, holder, plaintext[:BLIND_SEED_SIZE], shares)
    except FormatError:  # a share that is no element of the field
        raise CannotDecrypt() from None


def _info(context: GroupContext, dealer: str, holder: str, prekey_index: int) -> bytes:
    named = (dealer.encode(), holder.encode(), prekey_index.to_bytes(8, "little"))
    return digest(Label.SECAGG_ENVELOPE_INFO, *context.parts, *named)


def _key_commitment(key: bytes) -> bytes:
    return digest(Label.SECAGG_ENVELOPE_KEY, key)


def _is_committed(key: bytes, envelope: bytes) -> bool:
    return hmac.compare_digest(_key_commitment(key), envelope[_KEY_AT:_BODY_AT])
