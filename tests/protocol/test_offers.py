"""Offers, and the names of programs (SPEC sections 16, 16.2 and 17, P14)."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure import SOFTWARE
from fedspallm_secure.crypto.encoding import canonical_json
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import FormatError, UsageError
from fedspallm_secure.protocol.offers import Offer
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.software import is_software, is_trusted
from fedspallm_secure.secagg.thresholds import Profile
from tests.protocol.rounds.altering import HEX, faults, near, refuses

SERVER = Party.parse("server/hub")
POLICY = {
    "colluders": 2,
    "profiles": ["three-trip", "two-trip-witnessed"],
    "least_cohort": 4,
    "witnesses": ["notary", "registrar"],
    "dishonest": 1,
    "beacons": ["notary"],
    "upload_limit": 1 << 40,
    "horizon": 86_400,
    "counts_to": ["auditor", "server"],
    "pinned_base": True,
    "epochs": 16,
    "software": ["fedspallm-secure/0.1"],
    "pruners": ["sparsegpt", "wanda"],
    "key_holders": ["vault"],
    "sample": [1, 10],
}
VALUE = {
    "v": 1,
    "software": "fedspallm-secure/0.1.0",
    "layers": 12,
    "bundle": HEX,
    "model": "cd" * 32,
    "spent": False,
    "policy": POLICY,
}


def parse(body):
    return Offer.parse(body, SERVER)


def test_an_offer_says_what_the_specification_lists_and_reads_back():
    policy = Policy(
        SERVER,
        2,
        profiles=frozenset({Profile.THREE_TRIP, Profile.WITNESSED}),
        least_cohort=4,
        witnesses=("notary", "registrar"),
        dishonest=1,
        beacons=("notary",),
        horizon=86_400,
        counts_to=frozenset({Role.SERVER, Role.AUDITOR}),
        software=frozenset({"fedspallm-secure/0.1"}),
        pruners=frozenset({"wanda", "sparsegpt"}),
        key_holders=frozenset({"vault"}),
    )
    offer = Offer("fedspallm-secure/0.1.0", 12, HEX, "cd" * 32, policy)
    assert offer.encode() == canonical_json(VALUE)
    assert parse(offer.encode()) == offer
    for layers in (0, 4_096):
        assert parse(canonical_json({**VALUE, "layers": layers})).layers == layers


def test_every_rule_of_a_policy_is_in_the_offer_but_whom_it_obeys():
    assert {field.name for field in dataclasses.fields(Policy)} - {"server"} == POLICY.keys()
    assert Policy.from_dict(Policy(SERVER, 1).to_dict(), SERVER) == Policy(SERVER, 1)


@pytest.mark.parametrize(
    ("rule", "bad"),
    [
        ("profiles", ["none"]),
        ("profiles", [[]]),
        ("counts_to", ["everybody"]),
        ("witnesses", ["registrar", "notary"]),
        ("dishonest", 3),
        ("software", ["fedspallm-secure"]),
        ("pruners", ["wanda", "wanda"]),
        ("pruners", ["magnitude of them"]),
        ("sample", [1]),
        ("sample", [1, 2, 3]),
        ("sample", ["1", "10"]),
        ("horizon", -1),
    ],
)
def test_another_policy_is_refused(rule, bad):
    with pytest.raises(FormatError):
        parse(canonical_json({**VALUE, "policy": {**POLICY, rule: bad}}))


@pytest.mark.parametrize(
    "value",
    [
        *(bad for _, bad in faults(VALUE)),
        {**VALUE, "v": 2},
        {**VALUE, "software": "fedspallm-secure"},
        {**VALUE, "layers": -1},
        {**VALUE, "layers": 4_097},
        {**VALUE, "layers": True},
        {**VALUE, "bundle": HEX.upper()},
        {**VALUE, "bundle": "*"},
        [VALUE],
    ],
)
def test_other_offers_are_refused(value):
    with pytest.raises(FormatError):
        parse(canonical_json(value))


def test_one_spelling():
    for body in (canonical_json(VALUE) + b"\n", canonical_json(VALUE).replace(b":", b": "), b"", b"\xff"):
        with pytest.raises(FormatError):
            parse(body)


@pytest.mark.parametrize("rule", ["profiles", "counts_to", "witnesses", "software"])
def test_what_is_refused_is_not_repeated_at_length(rule):
    with pytest.raises(FormatError) as refused:
        parse(canonical_json({**VALUE, "policy": {**POLICY, rule: ["x" * 50_000]}}))
    assert len(str(refused.value)) < 200


@given(near(VALUE))
def test_any_json_is_an_offer_or_refused(value):
    refuses(parse, canonical_json(value))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data):
    with pytest.raises(FormatError):
        parse(data)


def test_what_this_program_calls_itself_has_the_form():
    assert is_software(SOFTWARE)
    assert is_trusted(SOFTWARE, {"fedspallm-secure/" + SOFTWARE.split("/")[1].split(".")[0]})


@pytest.mark.parametrize(
    ("entry", "trusted", "refused"),
    [
        ("x/0.1", ["x/0.1", "x/0.1.0", "x/0.1.2-rc1"], ["x/0.10", "x/0.1-rc1", "x/0.1+a", "x/0", "y/0.1", "xx/0.1"]),
        ("x/0.1.2", ["x/0.1.2", "x/0.1.2.3"], ["x/0.1", "x/0.1.20", "x/0.1.1"]),
        ("x/0", ["x/0", "x/0.9"], ["x/00", "x/1.0"]),
    ],
)
def test_an_entry_trusts_itself_and_what_goes_on_after_a_dot(entry, trusted, refused):
    assert all(is_trusted(one, {"other/9", entry}) for one in trusted)
    assert not any(is_trusted(one, {"other/9", entry}) for one in refused)
    assert not any(is_trusted(one, ()) for one in trusted)


@pytest.mark.parametrize("entry", ["", "x", "x/", "/1", "X/1", "x/1/2", "x/1\n", "x/" + 63 * "1"])
def test_a_policy_has_entries_of_that_form(entry):
    with pytest.raises(UsageError, match="no NAME/VERSION"):
        Policy(SERVER, 1, software=frozenset({entry}))
    Policy(SERVER, 1, software=frozenset({"x/1", "x/" + 62 * "1"}))


def test_a_policy_is_three_trip_and_asks_for_no_more_unless_it_says_so():
    policy = Policy(SERVER, 1)
    assert policy.profiles == {Profile.THREE_TRIP}
    assert (policy.software, policy.pruners, policy.least_cohort) == (None, None, 0)
    with pytest.raises(UsageError):
        Policy(SERVER, 1, least_cohort=-1)
