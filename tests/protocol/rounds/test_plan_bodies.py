"""The body of a package with a plan: what it says, what reads back, and every form that is refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import given

from fedspallm_secure.crypto.encoding import canonical_json, encode_base64
from fedspallm_secure.errors import CapacityExceeded, FormatError, LimitExceeded
from fedspallm_secure.protocol.limits import PREKEYS_LIMIT
from fedspallm_secure.protocol.rounds.limits import GROUP_LIMIT, HISTORY_LIMIT, ROUND_LIMIT
from fedspallm_secure.protocol.rounds.plan_bodies import PastDeal, PlanBody
from fedspallm_secure.secagg.context import GroupContext
from tests.protocol.rounds.altering import HEX, faults, near, replaced
from tests.protocol.rounds.member_stage import opened, own_bundle, plan

PLAN, OPENING, BEACONS = opened(plan(), ["ant", "bee"])
BUNDLES = (own_bundle("east"), own_bundle("north"))
PAST = PastDeal(3, HEX, 5, b"deal", bytes(64))
BODY = PlanBody(PLAN, BUNDLES, OPENING, BEACONS, (PAST, replace(PAST, gid=6)))
VALUE = {  # by hand, from SPEC section 16.2
    "plan": PLAN.to_dict(),
    "bundles": [encode_base64(bundle.encode()) for bundle in BUNDLES],
    "opening": encode_base64(OPENING.encode()),
    "beacons": [{"id": name, "signature": encode_base64(signature)} for name, signature in BEACONS],
    "history": [
        {"round": 3, "plan_hash": HEX, "gid": gid, "deal": "ZGVhbA==", "signature": encode_base64(bytes(64))}
        for gid in (5, 6)
    ],
    "cipher_key": "",
}


def test_a_body_says_what_the_specification_lists_and_reads_back():
    assert json.loads(BODY.encode()) == VALUE
    assert BODY.encode() == canonical_json(VALUE)
    assert PlanBody.parse(BODY.encode()) == BODY


def test_a_body_with_nothing_but_a_plan():
    bare = PlanBody(PLAN, ())
    assert json.loads(bare.encode()) == {**VALUE, "bundles": [], "opening": "", "beacons": [], "history": []}
    assert PlanBody.parse(bare.encode()) == bare


def test_bodies_with_one_fault():
    """What is wrong with the plan in it has a test of its own; the order of earlier deals means nothing."""
    accepted = set()
    for what, value in faults(VALUE):
        if what.startswith("it.plan."):
            continue
        try:
            found = PlanBody.parse(canonical_json(value))
        except (FormatError, CapacityExceeded):
            continue
        assert found.encode() == canonical_json(value), what
        accepted.add(what)
    assert accepted == {"it.history is turned", "it.history[0] is there twice", "it.history[1] is there twice"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bundles": BUNDLES[::-1]}, "not in order"),
        ({"bundles": BUNDLES[:1] * 2}, "not in order"),
        ({"beacons": BEACONS[::-1]}, "not in order"),
        ({"beacons": BEACONS[:1] * 2}, "not in order"),
        ({"beacons": (("Ant", bytes(64)),)}, "cannot name a party"),
        ({"beacons": (("ant", bytes(63)),)}, "64 bytes"),
        ({"history": (PAST,) * (HISTORY_LIMIT + 1)}, "at most 4096 earlier deals"),
    ],
    ids=lambda value: type(value).__name__,  # never their random bytes: workers have to agree
)
def test_other_bodies_do_not_exist(changes, message):
    with pytest.raises(FormatError, match=message):
        replace(BODY, **changes)


def test_as_many_earlier_deals_as_are_read():
    assert len(replace(BODY, history=(PAST,) * HISTORY_LIMIT).history) == HISTORY_LIMIT


@pytest.mark.parametrize(
    "changes",
    [
        {"round": 0},
        {"round": ROUND_LIMIT},
        {"plan_hash": HEX[1:]},
        {"plan_hash": "*"},
        {"gid": -1},
        {"gid": GROUP_LIMIT},
        {"signature": bytes(63)},
        {"signature": bytes(65)},
    ],
    ids=str,
)
def test_other_earlier_deals_do_not_exist(changes):
    with pytest.raises(FormatError):
        replace(PAST, **changes)


def test_an_earlier_deal_knows_what_it_was_signed_for():
    assert PAST.context("lungs.example") == GroupContext("lungs.example", 3, bytes.fromhex(HEX), 5)
    assert PAST.context("hearts.example").federation == "hearts.example"


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        (("bundles", 0), "", FormatError),
        (("bundles", 0), 1, FormatError),
        (("bundles", 0), "====", FormatError),
        (("bundles", 0), encode_base64(bytes(PREKEYS_LIMIT + 1)), FormatError),
        (("bundles", 0), encode_base64(own_bundle("east").encode() + bytes(PREKEYS_LIMIT)), LimitExceeded),
        (("opening",), encode_base64(own_bundle("east").encode()), FormatError),
        (("beacons", 0), "ant", FormatError),
        (("plan", "groups", 0, "count_bits"), 8, CapacityExceeded),
        (("plan", "v"), 2, FormatError),
    ],
    ids=lambda value: type(value).__name__,  # never their random bytes: workers have to agree
)
def test_what_is_in_a_body_is_read_strictly(path, value, error):
    with pytest.raises(error):
        PlanBody.parse(canonical_json(replaced(VALUE, *path, by=value)))


@given(near({name: "plan" if name == "plan" else member for name, member in VALUE.items()}))
def test_whatever_is_read_is_written_as_it_was(value):
    if type(value) is dict and value.get("plan") == "plan":
        value = {**value, "plan": VALUE["plan"]}
    try:
        found = PlanBody.parse(canonical_json(value))
    except (FormatError, CapacityExceeded):
        return
    assert found.encode() == canonical_json(value)


def test_a_body_does_not_show_everything():
    assert "ZGVhbA" not in repr(PAST) and b"deal" not in repr(PAST).encode()
