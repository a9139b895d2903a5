"""Prekey bundles: leaves, their indices, their hash tree, and who may have them."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.encoding import INTEGER_BOUND, encode_base64
from fedspallm_secure.crypto.profiles import DAY
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.errors import BadSignature, CertificateExpired, CertificateRefused, FedSpaError, FormatError
from fedspallm_secure.protocol.limits import PREKEYS_LIMIT
from fedspallm_secure.protocol.prekeys import PREKEY_SIZE, Prekey, Prekeys
from tests.authority import FEDERATION, HUB, NORTH, NOW, recipient, signer
from tests.protocol.altering import NAMES, TIMES, altered, schema_faults

OWN = signer(str(NORTH))
LEAVES = [
    Prekey(recipient(f"exchange {i}").recipient_key.public, recipient(f"leaf {i}", Kem.HYBRID).recipient_key)
    for i in range(3)
]
GOOD = Prekeys.make(OWN, FEDERATION, NORTH, 5, LEAVES, NOW, NOW + DAY)


def test_what_is_made_reads_back():
    found = Prekeys.parse(GOOD.encode())
    assert found == GOOD
    assert (found.federation, found.party, found.first, found.leaves) == (FEDERATION, NORTH, 5, tuple(LEAVES))
    assert found.leaves[0].raw == LEAVES[0].raw and len(LEAVES[0].raw) == PREKEY_SIZE == 1248
    found.check(OWN.public, FEDERATION, NORTH)


def test_every_bundle_has_a_name_of_its_own():
    assert Prekeys.make(OWN, FEDERATION, NORTH, 5, LEAVES, NOW, NOW + DAY).bundle != GOOD.bundle


def test_the_root_is_that_of_the_specification():
    a, b, c = (
        hashlib.sha256(b"\x00" + (5 + i).to_bytes(8, "little") + leaf.exchange + leaf.recipient.public).digest()
        for i, leaf in enumerate(LEAVES)
    )
    left = hashlib.sha256(b"\x01" + a + b).digest()
    assert GOOD.root == hashlib.sha256(b"\x01" + left + c).digest()


def test_only_the_member_s_own_key_signs_its_bundle():
    with pytest.raises(BadSignature):
        GOOD.check(signer("somebody").public, FEDERATION, NORTH)
    for federation, party in ((FEDERATION, HUB), ("hearts.example", NORTH)):
        with pytest.raises(CertificateRefused):
            GOOD.check(OWN.public, federation, party)


def test_it_is_valid_from_its_first_to_its_last_second():
    GOOD.check_time(NOW)
    GOOD.check_time(NOW + DAY)
    for at in (NOW - 1, NOW + DAY + 1):
        with pytest.raises(CertificateExpired):
            GOOD.check_time(at)


def test_only_members_have_prekeys():
    with pytest.raises(FormatError, match="only members"):
        Prekeys.make(signer(str(HUB)), FEDERATION, HUB, 0, LEAVES, NOW, NOW + DAY)


@pytest.mark.parametrize("change", [*schema_faults(GOOD.statement), *NAMES], ids=str)
def test_the_schema_is_closed(change):
    with pytest.raises(FormatError):
        Prekeys.parse(altered(GOOD.statement, OWN, **change))


TEXTS = [encode_base64(leaf.raw) for leaf in LEAVES]


@pytest.mark.parametrize(
    "change",
    [
        {"leaves": []},
        {"leaves": TEXTS[:2]},
        {"leaves": TEXTS[::-1]},
        {"leaves": [1, *TEXTS[1:]]},
        {"leaves": ["", *TEXTS[1:]]},
        {"leaves": [TEXTS[0][:-4], *TEXTS[1:]]},
        {"first": 6},
        {"first": -1},
        {"first": INTEGER_BOUND - 3},
        {"root": 64 * "0"},
        {"root": GOOD.root.hex().upper()},
        {"root": ""},
        {"bundle": 30 * "0"},
        {"bundle": 32 * "A"},
        {"not_before": NOW + DAY + 1},
        *({name: time} for name in ("not_before", "not_after") for time in TIMES),
    ],
    ids=lambda change: ", ".join(change),
)
def test_other_bundles_are_refused(change):
    with pytest.raises(FormatError):
        Prekeys.parse(altered(GOOD.statement, OWN, **change))


def test_a_bundle_has_1_to_256_leaves_and_then_fits_its_limit():
    full = Prekeys.make(OWN, FEDERATION, NORTH, 0, LEAVES[:1] * 256, NOW, NOW + DAY)
    assert len(full.encode()) < PREKEYS_LIMIT
    assert Prekeys.parse(full.encode()) == full
    for size in (0, 257):
        with pytest.raises(FormatError, match=f"{size} leaves"):
            Prekeys.make(OWN, FEDERATION, NORTH, 0, LEAVES[:1] * size, NOW, NOW + DAY)


def test_indices_stay_below_the_bound_of_integers():
    Prekeys.make(OWN, FEDERATION, NORTH, INTEGER_BOUND - 4, LEAVES, NOW, NOW + DAY)
    with pytest.raises(FormatError):
        Prekeys.make(OWN, FEDERATION, NORTH, INTEGER_BOUND - 3, LEAVES, NOW, NOW + DAY)


def test_a_leaf_holds_two_keys_of_their_kinds():
    x25519 = recipient("exchange 0").recipient_key
    for raw in (b"", bytes(1247), bytes(1249)):
        with pytest.raises(FormatError):
            Prekey.from_bytes(raw)
    with pytest.raises(FormatError):
        Prekey(x25519.public, x25519)
    with pytest.raises(FormatError):
        Prekey(b"short", LEAVES[0].recipient)


@given(st.integers(0, 2**14), st.binary(max_size=40))
def test_any_change_is_one_of_our_errors(position, data):
    good = GOOD.encode()
    changed = good[: position % len(good)] + data + good[position % len(good) + len(data) :]
    try:
        found = Prekeys.parse(changed)
        found.check(OWN.public, FEDERATION, NORTH)
    except FedSpaError:
        return
    assert found.encode() == changed == good
