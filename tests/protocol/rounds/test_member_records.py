"""A member's records: which of them are secret, and that they read back as they were and in no other form."""

import json
from typing import get_args

import pytest
from hypothesis import given

from fedspallm_secure.crypto.encoding import canonical_json
from fedspallm_secure.crypto.key_records import PrekeySecret
from fedspallm_secure.errors import FormatError
from fedspallm_secure.protocol.rounds.records_member import (
    Aborted,
    Answered,
    Closed,
    Dealt,
    Endorsed,
    ListHeld,
    MemberRecord,
    PlanAccepted,
    PrekeyHeld,
    ReceiptHeld,
    Sealed,
    VectorFrozen,
    read_member_record,
)
from fedspallm_secure.secagg.commitments import Row
from tests.protocol.rounds.altering import HEX, faults, near

PREKEY = PrekeySecret.generate(7)
RECORDS = [
    PlanAccepted(b"{}", HEX, 3, (b"leaf", b"other")),
    VectorFrozen(1, HEX),
    PrekeyHeld.of(PREKEY),
    Dealt(1, b"deal", b"signature", bytes(32), (bytes(32), bytes([1] * 32))),
    Sealed(1, HEX),
    ReceiptHeld(1, b"statement"),
    ListHeld(b"statement"),
    Endorsed(b"statement", b"signature"),
    Answered(HEX, (1, 2), b"body"),
    Aborted("*", "STOPPED"),
    Closed(HEX),
]
KINDS = [
    "plan-accepted",
    "vector-frozen",
    "prekey-held",
    "dealt",
    "sealed",
    "receipt-held",
    "list-held",
    "endorsed",
    "answered",
    "aborted",
    "closed",
]


def test_there_is_one_of_every_kind():
    assert [type(record) for record in RECORDS] == list(get_args(MemberRecord))
    assert [record.kind for record in RECORDS] == KINDS


def test_what_holds_secrets_says_so_and_does_not_show_them():
    secret = {type(record) for record in RECORDS if record.secret}
    assert secret == {PrekeyHeld, Dealt, Answered}
    for record, hidden in (
        (RECORDS[2], "raw"),
        (RECORDS[3], "blind_seed"),
        (RECORDS[3], "shares"),
        (RECORDS[8], "body"),
    ):
        assert hidden not in repr(record) and repr(getattr(record, hidden)) not in repr(record)


@pytest.mark.parametrize("record", RECORDS, ids=KINDS)
def test_every_record_reads_back(record):
    data = canonical_json(record.to_dict())
    assert read_member_record(json.loads(data)) == record
    assert record.to_dict()["record"] == record.kind


@pytest.mark.parametrize("record", RECORDS, ids=KINDS)
def test_records_with_one_fault(record):
    for what, value in faults(record.to_dict()):
        try:
            found = read_member_record(value)
        except FormatError:
            continue
        assert found.to_dict() == value != record.to_dict(), what


@pytest.mark.parametrize("value", [None, [], {}, {"record": 1}, {"record": "opened"}, {"record": ["dealt"]}, "dealt"])
def test_what_is_no_record(value):
    with pytest.raises(FormatError, match="no record"):
        read_member_record(value)


@given(near(RECORDS[3].to_dict()))
def test_whatever_is_read_is_written_as_it_was(value):
    try:
        found = read_member_record(value)
    except FormatError:
        return
    assert found.to_dict() == value


def test_the_prekey_in_a_record_is_the_one_that_was_burned():
    held = PrekeyHeld.of(PREKEY)
    assert held.prekey == PREKEY and held.prekey.leaf == PREKEY.leaf
    with pytest.raises(FormatError):
        _ = PrekeyHeld(7, held.raw[:-1]).prekey
    with pytest.raises(FormatError):
        _ = PrekeyHeld(-1, held.raw).prekey


def test_the_own_row_is_dealt_to_oneself():
    assert RECORDS[3].row("mid") == Row("mid", "mid", bytes(32), (bytes(32), bytes([1] * 32)))
