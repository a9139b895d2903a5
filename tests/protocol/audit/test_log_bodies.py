"""The body of a package `log`: one spelling, a closed schema, and everything in it read strictly."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.encoding import canonical_json, encode_base64
from fedspallm_secure.crypto.notes import cosign
from fedspallm_secure.errors import FormatError, LimitExceeded
from fedspallm_secure.protocol.audit.log_bodies import ENTRIES_AT_ONCE, LogBody
from tests.protocol.audit.logs import STATEMENT, WITNESS_SIGNERS, WITNESSES, checkpoint, entries
from tests.protocol.rounds.altering import faults, near, refuses

COSIGNED = cosign(WITNESS_SIGNERS[0], WITNESSES[0], checkpoint(5), 1_800_000_000)
BODY = LogBody(STATEMENT, (b"one", b"two"), 3, tuple(entries(7)[3:]), checkpoint(7), COSIGNED)
VALUE = json.loads(BODY.encode())
WRONG = [case for case in faults(VALUE) if "is there twice" not in case[0] and "is turned" not in case[0]]


def test_a_body_says_what_the_specification_lists_and_reads_back():
    assert {
        "v": 1,
        "note_key": encode_base64(STATEMENT.encode()),
        "note_keys": [encode_base64(b"one"), encode_base64(b"two")],
        "start": 3,
        "entries": [encode_base64(one) for one in entries(7)[3:]],
        "checkpoint": encode_base64(checkpoint(7).encode()),
        "cosigned": encode_base64(COSIGNED.encode()),
    } == VALUE
    assert BODY.encode() == canonical_json(VALUE)
    assert LogBody.parse(BODY.encode()) == BODY


@pytest.mark.parametrize(
    "changes",
    [{"cosigned": None}, {"entries": ()}, {"note_keys": ()}, {"start": 0}, {"start": 2**53 - 1}, {"entries": (b"",)}],
)
def test_what_may_be_missing(changes):
    body = replace(BODY, **changes)
    assert LogBody.parse(body.encode()) == body
    if "cosigned" in changes:
        assert json.loads(body.encode())["cosigned"] == ""


@pytest.mark.parametrize(("what", "bad"), WRONG, ids=[what for what, _ in WRONG])
def test_no_member_is_missing_too_many_or_of_another_kind(what, bad):
    """Entries and statements are in the order in which they come; whether it is theirs, others see."""
    with pytest.raises(FormatError):
        LogBody.parse(canonical_json(bad))


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"start": -1},
        {"note_key": ""},
        {"note_key": encode_base64(b"no statement")},
        {"checkpoint": ""},
        {"checkpoint": encode_base64(b"lungs.example/log/hub\n7\n")},
        {"cosigned": encode_base64(b"no note")},
        {"entries": [VALUE["entries"][0].rstrip("=") + "==="]},
        {"entries": [7]},
        {"note_keys": [[]]},
    ],
)
def test_members_out_of_range(change):
    with pytest.raises(FormatError):
        LogBody.parse(canonical_json({**VALUE, **change}))


def test_a_package_holds_so_many_entries_and_statements():
    most = replace(BODY, entries=(b"x",) * ENTRIES_AT_ONCE, note_keys=(b"x",) * 100)
    assert LogBody.parse(most.encode()) == most
    for more in ({"entries": (b"x",) * (ENTRIES_AT_ONCE + 1)}, {"note_keys": (b"x",) * 101}):
        with pytest.raises(FormatError, match="too much"):
            replace(BODY, **more)
        name, values = next(iter(more.items()))
        with pytest.raises(FormatError):
            LogBody.parse(canonical_json({**VALUE, name: [encode_base64(one) for one in values]}))


def test_notes_are_bounded():
    with pytest.raises((FormatError, LimitExceeded)):
        LogBody.parse(canonical_json({**VALUE, "checkpoint": encode_base64(bytes(70_000))}))


def test_one_spelling():
    body = BODY.encode()
    for other in (
        body + b"\n",
        body.replace(b":", b": ", 1),
        body.replace(b'"v":1', b'"v":1,"v":1'),
        b"",
        b"[]",
        b"\xff",
    ):
        with pytest.raises(FormatError):
            LogBody.parse(other)


@given(near(VALUE))
def test_any_json_is_a_body_or_refused(value):
    refuses(LogBody.parse, canonical_json(value))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data):
    with pytest.raises(FormatError):
        LogBody.parse(data)
