"""Unmask requests and responses: their form, and that no answer can open more than one kind of secret."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.encoding import canonical_json, encode_base64
from fedspallm_secure.errors import FormatError
from fedspallm_secure.protocol.rounds.limits import GROUPS_LIMIT
from fedspallm_secure.protocol.rounds.unmasking import (
    AnsweredGroup,
    Complaint,
    Endorser,
    ForwardedDeal,
    OpenedEdge,
    OpenedShare,
    RequestedGroup,
    UnmaskRequest,
    UnmaskResponse,
)
from tests.protocol.rounds.altering import HEX, OTHER_HEX, faults, near, refuses, replaced

SIGNATURE, OTHER_SIGNATURE = bytes(range(135, 199)), bytes(64)
SHARE, BLIND, KEY = bytes(range(32)), bytes(range(100, 132)), bytes(range(220, 252))
REQUEST = UnmaskRequest(
    HEX,
    (Endorser("member/east", SIGNATURE), Endorser("member/north", SIGNATURE), Endorser("witness/east", SIGNATURE)),
    (
        RequestedGroup(
            2,
            (ForwardedDeal("east", b"deal", SIGNATURE, b"envelope"), ForwardedDeal("west", b"", OTHER_SIGNATURE, b"")),
        ),
        RequestedGroup(7, ()),
    ),
)
REQUESTED = {
    "survivors": HEX,
    "endorsements": [
        {"id": "member/east", "signature": encode_base64(SIGNATURE)},
        {"id": "member/north", "signature": encode_base64(SIGNATURE)},
        {"id": "witness/east", "signature": encode_base64(SIGNATURE)},
    ],
    "groups": [
        {
            "gid": 2,
            "deals": [
                {
                    "id": "east",
                    "deal": "ZGVhbA==",
                    "signature": encode_base64(SIGNATURE),
                    "envelope": "ZW52ZWxvcGU=",
                },
                {"id": "west", "deal": "", "signature": encode_base64(OTHER_SIGNATURE), "envelope": ""},
            ],
        },
        {"gid": 7, "deals": []},
    ],
}
SELF = (OpenedShare("east", SHARE, BLIND), OpenedShare("north", SHARE, BLIND))
EDGES = (
    OpenedEdge("east", "axel", SHARE, BLIND),
    OpenedEdge("east", "west", SHARE, BLIND),
    OpenedEdge("north", "axel", SHARE, BLIND),
)
COMPLAINTS = (Complaint("dora", KEY), Complaint("south", b""))
RESPONSE = UnmaskResponse(HEX, (AnsweredGroup(2, SELF, EDGES, COMPLAINTS), AnsweredGroup(7, SELF[:1], (), ())))
OPENED = {"share": SHARE.hex(), "blind": BLIND.hex()}
RESPONDED = {
    "survivors": HEX,
    "groups": [
        {
            "gid": 2,
            "self": [{"id": "east", **OPENED}, {"id": "north", **OPENED}],
            "edges": [
                {"id": "east", "dropped": "axel", **OPENED},
                {"id": "east", "dropped": "west", **OPENED},
                {"id": "north", "dropped": "axel", **OPENED},
            ],
            "complaints": [{"id": "dora", "key": KEY.hex()}, {"id": "south", "key": ""}],
        },
        {"gid": 7, "self": [{"id": "east", **OPENED}], "edges": [], "complaints": []},
    ],
}
PARSERS = {"request": UnmaskRequest.parse, "response": UnmaskResponse.parse}
VALUES = {"request": REQUESTED, "response": RESPONDED}


@pytest.mark.parametrize(("message", "value"), [(REQUEST, REQUESTED), (RESPONSE, RESPONDED)], ids=PARSERS)
def test_bodies_are_those_of_the_specification_and_read_back(message, value):
    assert message.encode() == json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    assert type(message).parse(message.encode()) == message


def test_messages_may_be_about_no_group():
    for message in (UnmaskRequest(HEX, (), ()), UnmaskResponse(HEX, ())):
        assert type(message).parse(message.encode()) == message


@pytest.mark.parametrize(
    ("kind", "value"),
    [pytest.param(kind, bad, id=f"{kind}: {what}") for kind in PARSERS for what, bad in faults(VALUES[kind])],
)
def test_a_single_fault_is_refused(kind, value):
    with pytest.raises(FormatError):
        PARSERS[kind](canonical_json(value))


@pytest.mark.parametrize(
    ("path", "bad"),
    [
        (("survivors",), HEX.upper()),
        (("survivors",), "*"),
        (("endorsements", 0, "id"), "member/north"),
        (("endorsements", 0, "id"), "witness/west"),
        (("endorsements", 0, "id"), "east"),
        (("endorsements", 0, "id"), "server/east"),
        (("endorsements", 0, "id"), "auditor/east"),
        (("endorsements", 0, "id"), "key-holder/east"),
        (("endorsements", 0, "id"), "member/East"),
        (("endorsements", 0, "signature"), ""),
        (("endorsements", 0, "signature"), encode_base64(bytes(63))),
        (("endorsements", 0, "signature"), encode_base64(bytes(65))),
        (("endorsements", 0, "signature"), SIGNATURE.hex()),
        (("groups", 0, "gid"), 7),
        (("groups", 0, "gid"), 8),
        (("groups", 1, "gid"), 10**9),
        (("groups", 0, "deals", 0, "id"), "west"),
        (("groups", 0, "deals", 0, "id"), "member/east"),
        (("groups", 0, "deals", 0, "signature"), encode_base64(bytes(63))),
        (("groups", 0, "deals", 0, "signature"), ""),
        (("groups", 0, "deals", 0, "deal"), "ZGVhbB=="),
        (("groups", 0, "deals", 0, "deal"), "ZGVhbA"),
        (("groups", 0, "deals", 0, "envelope"), "ZW52ZWxvcGV="),
        (("groups", 0, "deals", 0, "envelope"), "ZW52ZWxvcG-="),
    ],
)
def test_other_requests_are_refused(path, bad):
    with pytest.raises(FormatError):
        UnmaskRequest.parse(canonical_json(replaced(REQUESTED, *path, by=bad)))


@pytest.mark.parametrize(
    ("path", "bad"),
    [
        (("survivors",), OTHER_HEX[2:]),
        (("groups", 0, "gid"), 7),
        (("groups", 1, "gid"), 10**9),
        (("groups", 0, "self", 0, "id"), "East"),
        (("groups", 0, "self", 0, "id"), "member/east"),
        (("groups", 0, "self", 0, "share"), ""),
        (("groups", 0, "self", 0, "share"), SHARE.hex()[2:]),
        (("groups", 0, "self", 0, "share"), SHARE.hex() + "00"),
        (("groups", 0, "self", 0, "share"), SHARE.hex().upper()),
        (("groups", 0, "self", 0, "share"), encode_base64(SHARE)),
        (("groups", 0, "self", 0, "blind"), ""),
        (("groups", 0, "self", 0, "blind"), BLIND.hex()[1:]),
        (("groups", 0, "edges", 0, "id"), "member/east"),
        (("groups", 0, "edges", 0, "dropped"), "member/axel"),
        (("groups", 0, "edges", 0, "dropped"), "west"),
        (("groups", 0, "edges", 0, "dropped"), "zoe"),
        (("groups", 0, "edges", 0, "share"), SHARE.hex()[:-2]),
        (("groups", 0, "edges", 0, "blind"), BLIND.hex()[:-2]),
        (("groups", 0, "complaints", 0, "id"), "Dora"),
        (("groups", 0, "complaints", 0, "key"), KEY.hex()[2:]),
        (("groups", 0, "complaints", 0, "key"), KEY.hex() + "00"),
        (("groups", 0, "complaints", 0, "key"), "0"),
        (("groups", 0, "complaints", 0, "key"), KEY.hex().upper()),
    ],
)
def test_other_responses_are_refused(path, bad):
    with pytest.raises(FormatError):
        UnmaskResponse.parse(canonical_json(replaced(RESPONDED, *path, by=bad)))


@pytest.mark.parametrize(
    ("self_shares", "edges", "complaints", "words"),
    [
        (SELF, (OpenedEdge("east", "north", SHARE, BLIND),), (), "takes for a survivor"),
        (SELF, (OpenedEdge("east", "east", SHARE, BLIND),), (), "takes for a survivor"),
        (SELF, (OpenedEdge("east", "dora", SHARE, BLIND),), COMPLAINTS, "takes for a survivor"),
        (SELF[:1], EDGES, (), "self share it has not"),
        ((), EDGES[:1], (), "self share it has not"),
        (SELF, (), (Complaint("east", b""),), "complains about"),
        (SELF[:1], EDGES[:1], (Complaint("east", KEY),), "complains about"),
        (SELF[::-1], (), (), "not in order"),
        (SELF[:1] * 2, (), (), "not in order"),
        (SELF, EDGES[::-1], (), "not in order"),
        (SELF, EDGES[:1] * 2, (), "not in order"),
        (SELF, EDGES[1::-1], (), "not in order"),
        (SELF, (), COMPLAINTS[::-1], "not in order"),
        (SELF, (), COMPLAINTS[:1] * 2, "not in order"),
    ],
)
def test_an_answer_opens_one_kind_of_secret_of_a_member_and_nothing_of_the_accused(
    self_shares, edges, complaints, words
):
    """Self seed and edge seeds of one member together would open its vector; check Q8."""
    with pytest.raises(FormatError, match=words):
        AnsweredGroup(2, self_shares, edges, complaints)
    value = {
        "gid": 2,
        "self": [{"id": one.id, **OPENED} for one in self_shares],
        "edges": [{"id": one.id, "dropped": one.dropped, **OPENED} for one in edges],
        "complaints": [{"id": one.id, "key": one.key.hex()} for one in complaints],
    }
    with pytest.raises(FormatError, match=words):
        UnmaskResponse.parse(canonical_json({"survivors": HEX, "groups": [value]}))


def test_groups_are_apart():
    """In another group the same member may have dropped out."""
    other = AnsweredGroup(3, SELF[1:], (OpenedEdge("north", "east", SHARE, BLIND),), ())
    made = UnmaskResponse(HEX, (RESPONSE.groups[0], other))
    assert UnmaskResponse.parse(made.encode()) == made


def test_nothing_is_half_valid_however_it_is_made():
    for make in (
        lambda: Endorser("server/hub", SIGNATURE),
        lambda: Endorser("member/east", SIGNATURE[1:]),
        lambda: ForwardedDeal("East", b"", SIGNATURE, b""),
        lambda: ForwardedDeal("east", b"", SIGNATURE[1:], b""),
        lambda: RequestedGroup(-1, ()),
        lambda: RequestedGroup(2, REQUEST.groups[0].deals[::-1]),
        lambda: UnmaskRequest("*", (), ()),
        lambda: UnmaskRequest(HEX, REQUEST.endorsements[::-1], ()),
        lambda: UnmaskRequest(HEX, (), REQUEST.groups[::-1]),
        lambda: UnmaskRequest(HEX, (), tuple(RequestedGroup(gid, ()) for gid in range(GROUPS_LIMIT + 1))),
        lambda: OpenedShare("East", SHARE, BLIND),
        lambda: OpenedShare("east", SHARE[1:], BLIND),
        lambda: OpenedShare("east", SHARE, BLIND[1:]),
        lambda: OpenedEdge("East", "west", SHARE, BLIND),
        lambda: OpenedEdge("east", "West", SHARE, BLIND),
        lambda: OpenedEdge("east", "west", SHARE[1:], BLIND),
        lambda: OpenedEdge("east", "west", SHARE, BLIND[1:]),
        lambda: Complaint("East", KEY),
        lambda: Complaint("east", KEY[1:]),
        lambda: AnsweredGroup(10**9, (), (), ()),
        lambda: UnmaskResponse(HEX[2:], ()),
        lambda: UnmaskResponse(HEX, RESPONSE.groups[::-1]),
        lambda: UnmaskResponse(HEX, RESPONSE.groups[:1] * 2),
    ):
        with pytest.raises(FormatError):
            make()


def test_arrays_have_a_limit():
    complaints = tuple(Complaint(f"m{i:05}", b"") for i in range(10_001))
    full = UnmaskResponse(HEX, (AnsweredGroup(2, (), (), complaints[:-1]),))
    assert UnmaskResponse.parse(full.encode()) == full
    with pytest.raises(FormatError, match="too many"):
        AnsweredGroup(2, (), (), complaints)


def test_errors_and_logs_do_not_show_shares_and_keys():
    shown = repr(RESPONSE) + repr(REQUEST)
    for secret in (SHARE, BLIND, KEY):
        assert repr(secret)[2:10] not in shown and secret.hex()[:10] not in shown
    assert "east" in shown and "envelope" not in shown
    hidden = {
        (kind.__name__, one.name)
        for kind in (OpenedShare, OpenedEdge, Complaint)
        for one in dataclasses.fields(kind)
        if not one.repr
    }
    assert hidden == {
        ("OpenedShare", "share"),
        ("OpenedShare", "blind"),
        ("OpenedEdge", "share"),
        ("OpenedEdge", "blind"),
        ("Complaint", "key"),
    }
    for name in ("share", "blind"):
        value = replaced(RESPONDED, "groups", 0, "self", 0, name, by=SHARE.hex()[1:])
        with pytest.raises(FormatError) as refused:
            UnmaskResponse.parse(canonical_json(value))
        assert SHARE.hex()[1:9] not in str(refused.value)


@given(st.sampled_from(sorted(PARSERS)).flatmap(lambda kind: st.tuples(st.just(kind), near(VALUES[kind]))))
def test_any_json_is_a_message_or_refused(pair):
    kind, value = pair
    refuses(PARSERS[kind], canonical_json(value))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data):
    for parse in PARSERS.values():
        with pytest.raises(FormatError):
            parse(data)


@given(st.integers(0, 2**14), st.binary(max_size=40))
def test_any_change_is_refused_or_another_message(position, data):
    for message, parse in ((REQUEST, UnmaskRequest.parse), (RESPONSE, UnmaskResponse.parse)):
        good = message.encode()
        at = position % len(good)
        refuses(parse, good[:at] + data + good[at + len(data) :])
