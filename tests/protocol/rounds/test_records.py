"""Records as plain data: one spelling each, and nothing else is read."""

from dataclasses import dataclass, field, fields
from typing import Any, get_args

import pytest

from fedspallm_secure.crypto.encoding import canonical_json, parse_canonical_json
from fedspallm_secure.errors import FormatError
from fedspallm_secure.protocol.rounds import records_member, records_server
from fedspallm_secure.protocol.rounds.records import Record, read_record
from fedspallm_secure.protocol.rounds.records_server import ServerRecord, read_server_record
from fedspallm_secure.protocol.rounds.survivors import EndCode, Ended
from fedspallm_secure.protocol.rounds.witness import WitnessSigned
from tests.protocol.rounds.altering import faults


@dataclass(frozen=True, slots=True)
class Everything(Record):
    """Every type of field that there is."""

    kind = "everything"
    secret = True
    name: str
    number: int
    flag: bool
    data: bytes = field(repr=False)
    names: tuple[str, ...]
    numbers: tuple[int, ...]
    pieces: tuple[bytes, ...]
    end: Ended
    ends: tuple[Ended, ...]


@dataclass(frozen=True, slots=True)
class Nothing(Record):
    """No fields."""

    kind = "nothing"


END = Ended(3, EndCode.BAD_DEALING, ("ash",))
FULL = Everything("x", 7, True, b"\0\xff", ("a", "b"), (1, 2), (b"", b"z"), END, (END, Ended(4, EndCode.STOPPED)))
PLAIN = {
    "record": "everything",
    "name": "x",
    "number": 7,
    "flag": True,
    "data": "AP8=",
    "names": ["a", "b"],
    "numbers": [1, 2],
    "pieces": ["", "eg=="],
    "end": {"gid": 3, "code": "BAD_DEALING", "named": ["ash"]},
    "ends": [{"gid": 3, "code": "BAD_DEALING", "named": ["ash"]}, {"gid": 4, "code": "STOPPED", "named": []}],
}


def test_a_record_is_plain_data_and_back():
    assert FULL.to_dict() == PLAIN
    assert Nothing().to_dict() == {"record": "nothing"}
    for record in (FULL, Nothing()):
        text = canonical_json(record.to_dict())
        assert read_record(parse_canonical_json(text, "it"), [Nothing, Everything]) == record
        assert type(record).from_dict(record.to_dict()) == record


@pytest.mark.parametrize("bad", [None, 7, [], "nothing", {}, {"record": 7}, {"record": "other"}, {"record": []}])
def test_what_is_no_record(bad: Any):
    with pytest.raises(FormatError):
        read_record(bad, [Nothing, Everything])


def test_a_record_of_another_class():
    with pytest.raises(FormatError):
        read_record(PLAIN, [Nothing])
    with pytest.raises(FormatError):
        Nothing.from_dict({"record": "everything"})
    with pytest.raises(FormatError):
        Everything.from_dict({**PLAIN, "record": "nothing"})


ORDERLESS = (" is turned", " is there twice", "it.name", "it.names[0] has", "it.names[1] has", " is negative")
BROKEN = {what: bad for what, bad in faults(PLAIN) if not any(word in what for word in ORDERLESS) or ".end" in what}
GOOD = ("it.ends is turned", "it.ends[0] is there twice", "it.ends[1] is there twice")


@pytest.mark.parametrize("what", BROKEN)
def test_every_field_has_its_type(what: str):
    if what in GOOD:  # a tuple has no order of its own
        assert read_record(BROKEN[what], [Everything])
        return
    with pytest.raises(FormatError):
        read_record(BROKEN[what], [Everything])


def test_base64_has_one_spelling():
    for text in ("AP8", "AP9=", "AP8= ", "*"):
        with pytest.raises(FormatError):
            read_record({**PLAIN, "data": text}, [Everything])
        with pytest.raises(FormatError):
            read_record({**PLAIN, "pieces": [text]}, [Everything])


# --- the records that there are ---------------------------------------------------------------------------------------

SERVER = get_args(ServerRecord)
MEMBER = get_args(records_member.MemberRecord)
SAMPLES = {str: "x", int: 1, bool: False, bytes: b"x", tuple[str, ...]: ("x",), Ended: END}


def test_kinds_are_unique():
    for family in (SERVER, MEMBER):
        assert len({record.kind for record in family}) == len(family)
        assert all(issubclass(record, Record) for record in family)


@pytest.mark.parametrize("kind", SERVER, ids=[record.kind for record in SERVER])
def test_every_record_of_a_server_is_read_back(kind: type[Record]):
    record = kind(*(SAMPLES[one.type] for one in fields(kind)))
    assert read_server_record(parse_canonical_json(canonical_json(record.to_dict()), "it")) == record


def test_which_records_are_secret():
    assert {record for record in SERVER if record.secret} == {records_server.Answered, records_server.Refused}
    assert not WitnessSigned.secret
    shown = records_server.Answered("ash", b"a share")
    assert "share" not in repr(shown)
