"""Receipts: the server's signed word that it has a contribution."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.signing import sign
from fedspallm_secure.errors import (
    BadSignature,
    FedSpaError,
    FormatError,
    LimitExceeded,
    NotAwaited,
    WrongFederation,
)
from fedspallm_secure.protocol.rounds.receipts import Receipt
from fedspallm_secure.protocol.statements import StatementType, make_statement
from tests.authority import FEDERATION, signer
from tests.protocol.altering import altered, schema_faults
from tests.protocol.rounds.altering import HEX, OTHER_HEX, near, refuses

SERVER, NORTH = signer("server/hub"), signer("member/north")
PLAN = "0c" * 32
MINE = (FEDERATION, 3, PLAN, 7, "north", HEX, OTHER_HEX)
GOOD = Receipt.make(SERVER, *MINE)
VALUE = {
    "federation": FEDERATION,
    "round": 3,
    "plan_hash": PLAN,
    "group": 7,
    "member": "north",
    "package": HEX,
    "deal": OTHER_HEX,
}


def said(value: object) -> bytes:
    return make_statement(StatementType.RECEIPT, value, [SERVER]).encode()


def test_what_is_made_says_what_the_specification_lists_and_reads_back():
    assert GOOD.statement.value == VALUE
    assert GOOD.statement.payload == json.dumps(VALUE, sort_keys=True, separators=(",", ":")).encode()
    assert Receipt.parse(GOOD.encode()) == GOOD == Receipt.parse(said(VALUE))
    assert [getattr(GOOD, name) for name in VALUE] == list(VALUE.values())
    assert Receipt.make(SERVER, *MINE).encode() == GOOD.encode(), "the same bytes, as often as it is asked for"
    GOOD.check(SERVER.public, *MINE)


@pytest.mark.parametrize("place", range(len(MINE)), ids=VALUE)
def test_it_is_for_one_contribution(place):
    others = ("hearts.example", 4, HEX, 8, "south", PLAN, PLAN)
    error = WrongFederation if place == 0 else NotAwaited
    with pytest.raises(error):
        GOOD.check(SERVER.public, *MINE[:place], others[place], *MINE[place + 1 :])
    with pytest.raises(error):
        Receipt.make(SERVER, *MINE[:place], others[place], *MINE[place + 1 :]).check(SERVER.public, *MINE)


def test_only_the_server_states_it():
    with pytest.raises(BadSignature):
        GOOD.check(NORTH.public, *MINE)
    with pytest.raises(BadSignature):
        Receipt.parse(altered(GOOD.statement, SERVER, NORTH)).check(SERVER.public, *MINE)
    with pytest.raises(FormatError):
        Receipt.parse(altered(GOOD.statement))
    key = GOOD.statement.signatures[0][0]
    for who, label in ((NORTH, Label.SIGN_RECEIPT), (SERVER, Label.SIGN_RESULT), (SERVER, Label.SIGN_ENTRY)):
        posed = dataclasses.replace(GOOD.statement, signatures=((key, sign(who, label, GOOD.statement.payload)),))
        with pytest.raises(BadSignature):
            Receipt.parse(posed.encode()).check(SERVER.public, *MINE)


def test_a_result_is_no_receipt():
    with pytest.raises(FormatError, match="type result, not receipt"):
        Receipt.parse(make_statement(StatementType.RESULT, VALUE, [SERVER]).encode())


def test_nothing_of_it_can_be_changed_under_its_signature():
    for name, other in zip(VALUE, ("hearts.example", 4, HEX, 8, "south", PLAN, PLAN), strict=True):
        payload = json.dumps({**VALUE, name: other}, sort_keys=True, separators=(",", ":")).encode()
        forged = Receipt.parse(dataclasses.replace(GOOD.statement, payload=payload).encode())
        with pytest.raises(BadSignature):
            forged.check(SERVER.public, *(getattr(forged, name) for name in VALUE))


@pytest.mark.parametrize(
    "changes",
    [
        *schema_faults(GOOD.statement),
        {"federation": "Lungs.example"},
        {"round": 0},
        {"round": -1},
        {"group": -1},
        {"group": 10**9},
        {"member": "member/north"},
        {"member": "North"},
        {"member": ""},
        *(
            {name: bad}
            for name in ("plan_hash", "package", "deal")
            for bad in ("", "*", HEX.upper()[:-1] + "A", HEX[2:])
        ),
    ],
    ids=str,
)
def test_other_values_are_refused(changes):
    with pytest.raises(FormatError):
        Receipt.parse(altered(GOOD.statement, SERVER, **changes))


def test_no_receipt_says_another_thing_than_its_statement():
    for name, other in zip(VALUE, ("hearts.example", 4, HEX, 8, "south", PLAN, PLAN), strict=True):
        with pytest.raises(FormatError, match="not what its statement says"):
            dataclasses.replace(GOOD, **{name: other})


def test_a_larger_file_is_not_read():
    with pytest.raises(LimitExceeded):
        Receipt.parse(GOOD.encode() + bytes(4 << 10))


@given(near(VALUE))
def test_any_json_is_a_receipt_or_refused(value):
    if type(value) is dict:
        refuses(Receipt.parse, said(value))


@given(st.integers(0, 2**12), st.binary(max_size=40))
def test_any_change_is_one_of_our_errors(position, data):
    good = GOOD.encode()
    changed = good[: position % len(good)] + data + good[position % len(good) + len(data) :]
    try:
        found = Receipt.parse(changed)
        found.check(SERVER.public, *MINE)
    except FedSpaError:
        return
    assert found.encode() == changed == good
