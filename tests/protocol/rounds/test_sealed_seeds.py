"""A member's seed at the key holder: what was sealed comes out, and nothing else is taken for it."""

from dataclasses import replace

import pytest

from fedspallm_secure.crypto.encoding import pae
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.labels import Label, derive_key
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.errors import BadShare, FormatError
from fedspallm_secure.protocol.rounds.deals import Deal
from fedspallm_secure.protocol.rounds.sealed_seeds import check_seed, opened_key, seal_seed, slot_key
from fedspallm_secure.secagg.envelopes import envelope_hash
from fedspallm_secure.secagg.seeds import PRIME, self_commitment
from tests.protocol.rounds.holder_stage import deal, one_trip, seed_of
from tests.protocol.rounds.member_stage import HOLDER, KEY_SECRET, plan_key

CONTEXT = one_trip().context(0, one_trip().hash)
SEED = seed_of(0, "mid")
GIVEN = deal(0, "mid")
SIGNED = Deal.parse(GIVEN.deal, *one_trip().groups[0].deal_form)


def check(signed=SIGNED, envelope=GIVEN.envelope, context=CONTEXT, member="mid", holder=HOLDER, secret=KEY_SECRET):
    check_seed(context, member, signed, envelope, holder, secret)


def sealed(seed: int, **changes) -> tuple[Deal, bytes]:
    """A deal over another envelope."""
    row, envelope = seal_seed(**{"context": CONTEXT, "member": "mid", "seed": seed, "key": plan_key(), **changes})
    return replace(SIGNED, rows=(row.commitment(CONTEXT),), envelopes=(envelope_hash(envelope),)), envelope


def test_the_key_holder_gets_the_key_of_the_members_keystream():
    check()
    assert opened_key(CONTEXT, "mid", GIVEN.envelope, HOLDER, KEY_SECRET) == slot_key(CONTEXT, SEED)


def test_the_key_is_derived_as_the_specification_says():
    """SPEC section 12 "Keys", by hand."""
    plan_hash, gid = bytes.fromhex(one_trip().hash), (0).to_bytes(4, "little")
    context = pae(plan_hash, gid, b"self", b"slot")
    expected = derive_key(SEED.to_bytes(32, "big"), Label.SECAGG_STREAM, context, salt=b"", size=32)
    assert slot_key(CONTEXT, SEED) == expected


def test_keys_belong_to_one_seed_plan_and_group():
    other = one_trip().context(1, one_trip().hash), replace(CONTEXT, plan_hash=bytes(32))
    keys = [slot_key(CONTEXT, SEED), slot_key(CONTEXT, SEED + 1), *(slot_key(context, SEED) for context in other)]
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    "given",
    [
        {"member": "east"},
        {"holder": Party.parse("key-holder/other")},
        {"context": one_trip().context(1, one_trip().hash)},
        {"context": replace(CONTEXT, plan_hash=bytes(32))},
        {"secret": RecipientSecret.generate(Kem.HYBRID)},
    ],
    ids=["another member", "another key holder", "another group", "another plan", "another key"],
)
def test_an_envelope_opens_for_what_it_was_sealed_to_alone(given):
    with pytest.raises(BadShare, match="sealed does not open"):
        check(**given)


def test_of_a_changed_envelope_the_signature_says_so():
    for at in (0, 1200, len(GIVEN.envelope) - 1):
        changed = GIVEN.envelope[:at] + bytes([GIVEN.envelope[at] ^ 1]) + GIVEN.envelope[at + 1 :]
        with pytest.raises(BadShare, match="not the one that it signed"):
            check(envelope=changed)
        with pytest.raises(BadShare, match="sealed does not open"):  # if its member signed for it all the same
            check(replace(SIGNED, envelopes=(envelope_hash(changed),)), changed)


def test_who_seals_the_envelope_of_another_seals_nothing():
    """A member that works with the server has the victim's envelope, and hands it in as its own."""
    theirs = deal(0, "east")
    with pytest.raises(BadShare, match="sealed does not open"):
        check(replace(SIGNED, envelopes=(envelope_hash(theirs.envelope),)), theirs.envelope)


def test_a_seed_that_was_not_committed_to():
    other, envelope = sealed((SEED + 1) % PRIME)
    with pytest.raises(BadShare, match="another seed"):
        check(other, envelope)
    check(replace(other, self_commitment=self_commitment(CONTEXT, "mid", (SEED + 1) % PRIME)), envelope)
    with pytest.raises(BadShare, match="not the one it committed to"):
        check(replace(other, rows=SIGNED.rows), envelope)


def test_nothing_but_a_field_element_is_sealed():
    with pytest.raises((ValueError, FormatError)):
        sealed(PRIME)
