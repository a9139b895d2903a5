"""Envelopes: a row reaches its holder and nobody else, and of two who accuse each other the liar is found."""

import hashlib
import struct
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspallm_secure.crypto.sealing import Kem, RecipientKey, RecipientSecret, wrap
from fedspallm_secure.errors import BadShare, CannotDecrypt, FormatError
from fedspallm_secure.secagg import envelopes
from fedspallm_secure.secagg.commitments import Row, deal_rows
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.envelopes import (
    envelope_hash,
    envelope_size,
    open_row,
    open_with_key,
    seal_row,
    unwrap_key,
)
from fedspallm_secure.secagg.seeds import PRIME, encode_element
from tests.crypto import reference

PLAN = bytes(range(32))
CONTEXT = GroupContext("lungs.example", 3, PLAN, 7)
SECRET = RecipientSecret(Kem.HYBRID, bytes(range(96)))
PREKEY = SECRET.recipient_key
INDEX = 258
ROW = Row("north", "south", bytes(range(100, 132)), tuple(map(encode_element, (5, PRIME - 1, 2**255))))
COUNT = len(ROW.shares)
SIZE = 1168 + 32 + 32 + 3 * 32 + 16
KEY = bytes(range(50, 82))


@pytest.fixture(scope="module")
def envelope():
    return seal_row(CONTEXT, ROW, PREKEY, INDEX)


def by_hand(label: str, *parts: bytes) -> bytes:
    """The twin of a digest: SHA-256 over the pre-authentication encoding, written out."""
    encoded = struct.pack("<Q", len(parts) + 1)
    for part in (label.encode(), *parts):
        encoded += struct.pack("<Q", len(part)) + part
    return hashlib.sha256(encoded).digest()


def info_by_hand(group: int = 7, dealer: bytes = b"north", holder: bytes = b"south", index: int = INDEX) -> bytes:
    return by_hand(
        "fsps/1/secagg/envelope-info", PLAN, struct.pack("<I", group), dealer, holder, struct.pack("<Q", index)
    )


def forged(plaintext: bytes, key: bytes = KEY, wrapped: bytes = KEY, committed: bytes = KEY) -> bytes:
    """An envelope as a dealer with a program of its own may make it."""
    body = AESGCM(key).encrypt(bytes(12), plaintext, info_by_hand())
    return wrap(wrapped, PREKEY, info_by_hand()) + by_hand("fsps/1/secagg/envelope-key", committed) + body


def flipped(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def opened(envelope: bytes) -> Row:
    return open_row(CONTEXT, "north", "south", envelope, SECRET, INDEX, COUNT)


def judged(envelope: bytes, key: bytes) -> Row:
    return open_with_key(CONTEXT, "north", "south", envelope, key, INDEX, COUNT)


def shown(envelope: bytes) -> bytes:
    return unwrap_key(CONTEXT, "north", "south", envelope, SECRET, INDEX)


# --- the bytes --------------------------------------------------------------------------------------------------------


def test_an_envelope_opens_by_hand(envelope):
    assert len(envelope) == SIZE == envelope_size(COUNT)
    key = reference.hpke_open_hybrid(envelope[:1168], SECRET.secret, info_by_hand())
    assert envelope[1168:1200] == by_hand("fsps/1/secagg/envelope-key", key)
    plaintext = AESGCM(key).decrypt(bytes(12), envelope[1200:], info_by_hand())
    assert plaintext == ROW.blind_seed + b"".join(ROW.shares)
    assert envelope_hash(envelope) == by_hand("fsps/1/secagg/envelope-hash", envelope)


def test_an_envelope_made_by_hand_opens():
    assert opened(forged(ROW.blind_seed + b"".join(ROW.shares))) == ROW


def test_the_key_comes_from_the_system(monkeypatch):
    """With a key that is known, all but the encapsulation can be foreseen."""
    asked = []
    monkeypatch.setattr(envelopes, "random_bytes", lambda size: asked.append(size) or KEY[:size])
    made = seal_row(CONTEXT, ROW, PREKEY, INDEX)
    assert asked == [32]
    assert made[1168:] == forged(ROW.blind_seed + b"".join(ROW.shares))[1168:]


def test_every_envelope_has_a_new_key():
    made = [seal_row(CONTEXT, ROW, PREKEY, INDEX) for _ in range(20)]
    assert len({shown(one) for one in made}) == len({envelope_hash(one) for one in made}) == 20


@settings(max_examples=20)
@given(
    st.lists(st.integers(0, PRIME - 1).map(encode_element), min_size=1, max_size=20),
    st.binary(min_size=32, max_size=32),
)
def test_what_is_sealed_is_opened(shares, blind_seed):
    row = Row("north", "south", blind_seed, tuple(shares))
    made = seal_row(CONTEXT, row, PREKEY, INDEX)
    assert len(made) == envelope_size(len(shares)) == 1248 + 32 * len(shares)
    found = open_row(CONTEXT, "north", "south", made, SECRET, INDEX, len(shares))
    assert found == row
    assert found.commitment(CONTEXT) == row.commitment(CONTEXT)


# --- what does not open -----------------------------------------------------------------------------------------------


def test_flipped_bits_are_noticed(envelope):
    for at in range(SIZE):
        for bit in range(8) if at >= 1168 else (at % 8,):  # its other bits: below
            with pytest.raises(CannotDecrypt, match="the body cannot be decrypted"):
                opened(flipped(envelope, at, bit))


@pytest.mark.slow
def test_every_flipped_bit_of_the_wrap_is_noticed(envelope):
    for at in range(1168):
        for bit in range(8):
            with pytest.raises(CannotDecrypt, match="the body cannot be decrypted"):
                opened(flipped(envelope, at, bit))


def test_other_lengths_are_refused(envelope):
    for size in range(SIZE):
        with pytest.raises(CannotDecrypt):
            opened(envelope[:size])
    for longer in (envelope + b"\0", envelope + bytes(32), b"\0" + envelope):
        with pytest.raises(CannotDecrypt):
            opened(longer)


def test_an_envelope_is_for_one_holder_dealer_group_plan_and_prekey(envelope):
    other = RecipientSecret.generate(Kem.HYBRID)
    plain = (CONTEXT, "north", "south", envelope, SECRET, INDEX, COUNT)
    assert open_row(*plain) == ROW
    changes = [
        (0, replace(CONTEXT, group=8)),
        (0, replace(CONTEXT, plan_hash=bytes(32))),
        (1, "west"),
        (2, "west"),
        (4, other),
        (4, RecipientSecret(Kem.X25519, SECRET.secret[64:])),
        (5, INDEX + 1),
        (5, 0),
        (6, COUNT - 1),
        (6, COUNT + 1),
        (6, 0),
    ]
    for place, value in changes:
        with pytest.raises(CannotDecrypt) as raised:
            open_row(*plain[:place], value, *plain[place + 1 :])
        assert str(raised.value) == "the body cannot be decrypted"
        assert raised.value.__cause__ is None
    with pytest.raises(CannotDecrypt):
        open_row(CONTEXT, "south", "north", *plain[3:])


def test_parts_of_two_envelopes_do_not_fit_together(envelope):
    other = seal_row(CONTEXT, ROW, PREKEY, INDEX)
    for cut in (1168, 1200):
        with pytest.raises(CannotDecrypt):
            opened(envelope[:cut] + other[cut:])
    with pytest.raises(CannotDecrypt):
        opened(envelope[:1168] + other[1168:1200] + envelope[1200:])


@pytest.mark.parametrize("number", range(COUNT))
@pytest.mark.parametrize("share", [PRIME.to_bytes(32, "big"), b"\xff" * 32], ids=["p", "2^256 - 1"])
def test_shares_outside_the_field_do_not_open(number, share):
    shares = [*ROW.shares[:number], share, *ROW.shares[number + 1 :]]
    with pytest.raises(CannotDecrypt):
        opened(forged(ROW.blind_seed + b"".join(shares)))


def test_a_wrapped_key_that_is_not_the_committed_one_does_not_open():
    plaintext, other = ROW.blind_seed + b"".join(ROW.shares), KEY[::-1]
    for made in (
        forged(plaintext, committed=other),
        forged(plaintext, wrapped=other),
        forged(plaintext, key=other, wrapped=other),
        forged(plaintext, key=other),
    ):
        with pytest.raises(CannotDecrypt):
            opened(made)


def test_envelopes_are_sealed_to_hybrid_keys_alone():
    with pytest.raises(ValueError, match="envelopes are sealed to keys of kind mlkem768-x25519, not x25519"):
        seal_row(CONTEXT, ROW, RecipientSecret.generate(Kem.X25519).recipient_key, INDEX)


def test_a_prekey_of_small_order_is_not_sealed_to():
    useless = RecipientKey(Kem.HYBRID, PREKEY.public[:1184] + bytes(32))
    with pytest.raises(FormatError, match="this recipient key cannot be sealed to"):
        seal_row(CONTEXT, ROW, useless, INDEX)


# --- complaints -------------------------------------------------------------------------------------------------------


def test_whoever_has_the_key_can_judge(envelope):
    """An unfounded complaint: the key is right, and the row is the one that was committed to."""
    row = judged(envelope, shown(envelope))
    assert row == ROW
    row.check(CONTEXT, ROW.commitment(CONTEXT))


def test_a_dealer_that_sealed_garbage_is_proved_guilty():
    good = ROW.blind_seed + b"".join(ROW.shares)
    made = forged(good)
    for garbage in (
        flipped(made, len(made) - 1, 0),
        flipped(made, 1200, 7),
        forged(good, key=KEY[::-1]),
        forged(ROW.blind_seed + b"".join(ROW.shares[:-1]) + b"\xff" * 32),
    ):
        with pytest.raises(CannotDecrypt):
            opened(garbage)
        assert shown(garbage) == KEY
        with pytest.raises(CannotDecrypt):
            judged(garbage, shown(garbage))


def test_a_dealer_that_sealed_another_length_is_proved_guilty():
    """Whatever key is shown: no key makes it an envelope."""
    for made in (forged(bytes(32)), forged(ROW.blind_seed + bytes(32 * 4)), b"", bytes(SIZE - 1)):
        with pytest.raises(CannotDecrypt):
            opened(made)
        for key in (KEY, KEY[::-1], b""):
            with pytest.raises(CannotDecrypt):
                judged(made, key)


def test_a_dealer_that_sealed_another_row_is_proved_guilty():
    """It opens, and is not what the dealer committed to."""
    committed = ROW.commitment(CONTEXT)
    for other in (
        replace(ROW, shares=(encode_element(6), *ROW.shares[1:])),
        replace(ROW, blind_seed=bytes(32)),
        replace(ROW, shares=ROW.shares[::-1]),
    ):
        made = seal_row(CONTEXT, other, PREKEY, INDEX)
        for row in (opened(made), judged(made, shown(made))):
            with pytest.raises(BadShare, match="the row that north dealt to south is not the one it committed to"):
                row.check(CONTEXT, committed)


def test_a_holder_with_a_false_key_is_not_believed(envelope):
    key = shown(envelope)
    others = [flipped(key, at, at % 8) for at in range(32)]
    others += [b"", key[:-1], key + b"\0", bytes(32), KEY, shown(seal_row(CONTEXT, ROW, PREKEY, INDEX))]
    for other in others:
        with pytest.raises(BadShare, match="south complains about north with a key that is not the envelope's"):
            judged(envelope, other)
    assert judged(envelope, key) == ROW


def test_a_false_key_does_not_help_against_garbage_either():
    garbage = forged(ROW.blind_seed + bytes(31) + b"".join(ROW.shares)[31:], key=KEY[::-1])
    with pytest.raises(BadShare):
        judged(garbage, KEY[::-1])
    with pytest.raises(CannotDecrypt):
        judged(garbage, KEY)


def test_a_key_that_would_not_be_believed_is_not_shown(envelope):
    """The dealer wrapped another key than it committed to: the holder cannot prove it, nor must it seem to lie."""
    made = forged(ROW.blind_seed + b"".join(ROW.shares), committed=KEY[::-1])
    for bad in (made, flipped(envelope, 1168, 0), flipped(envelope, 0, 0), envelope[:1180], envelope[:100], b""):
        with pytest.raises(CannotDecrypt):
            shown(bad)


def test_the_key_of_an_envelope_is_shown_for_what_it_was_sealed_for_alone(envelope):
    plain = (CONTEXT, "north", "south", envelope, SECRET, INDEX)
    changes = [(0, replace(CONTEXT, group=8)), (1, "west"), (2, "west"), (4, RecipientSecret.generate(Kem.HYBRID))]
    for place, value in [*changes, (5, INDEX + 1)]:
        with pytest.raises(CannotDecrypt):
            unwrap_key(*plain[:place], value, *plain[place + 1 :])


def test_a_complaint_is_judged_where_it_belongs(envelope):
    """The right key for an envelope said to be for another place does not open it: the judge must name the place."""
    key = shown(envelope)
    plain = (CONTEXT, "north", "south", envelope, key, INDEX, COUNT)
    assert open_with_key(*plain) == ROW
    changes = [(0, replace(CONTEXT, group=8)), (1, "west"), (2, "west"), (5, INDEX + 1), (6, COUNT + 1)]
    for place, value in changes:
        with pytest.raises(CannotDecrypt):
            open_with_key(*plain[:place], value, *plain[place + 1 :])


# --- from the secret to the share -------------------------------------------------------------------------------------


def test_rows_of_a_whole_deal_reach_their_holders():
    holders = {"east": 1, "north": 2, "south": 3}
    secrets = {holder: RecipientSecret.generate(Kem.HYBRID) for holder in holders}
    rows = deal_rows("north", holders, [1, 2, 3], 3)
    for row in rows:
        made = seal_row(CONTEXT, row, secrets[row.holder].recipient_key, 9)
        for holder, secret in secrets.items():
            if holder == row.holder:
                found = open_row(CONTEXT, "north", holder, made, secret, 9, 3)
                found.check(CONTEXT, row.commitment(CONTEXT))
            else:
                with pytest.raises(CannotDecrypt):
                    open_row(CONTEXT, "north", holder, made, secret, 9, 3)
