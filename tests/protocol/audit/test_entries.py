"""Entries: the table of SPEC section 22.2, one form for each, and everything else refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.encoding import canonical_json, encode_base64
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.signing import Ed25519Signer, sign
from fedspallm_secure.errors import BadSignature, FormatError, LimitExceeded
from fedspallm_secure.protocol.audit.entries import Entry, EntryType, head_data, read_head
from fedspallm_secure.protocol.audit.entry_data import check_data
from fedspallm_secure.protocol.audit.tiles import ENTRY_LIMIT
from fedspallm_secure.protocol.limits import HEADER_LIMIT, LATEST_TIME
from tests.protocol.audit.logs import FEDERATION, SERVER, SERVER_SIGNER
from tests.protocol.audit.samples import AT, FILE, GOOD, NORTH, OUTSIDE, SIGNATURE, entry, head, header
from tests.protocol.rounds.altering import HEX, OTHER_HEX, faults, near

all_types = pytest.mark.parametrize("type", EntryType)
BY_ANYBODY = {EntryType.CERTIFICATE, EntryType.REFUSAL, EntryType.EQUIVOCATION}
BY_MEMBERS = {EntryType.PREKEYS, EntryType.CONTRIBUTION, EntryType.UNMASK_RESPONSE}
BY_KEY_HOLDERS = {EntryType.DECRYPT_CHALLENGE, EntryType.DECRYPT_RESPONSE}
EITHER = {EntryType.EQUIVOCATION, EntryType.RETENTION}
PARTIES = {role: Party(role.value, "one") for role in Role}


def plain(type: EntryType) -> dict:
    return json.loads(entry(type).encode())


def refused(value: object, *words: str) -> None:
    with pytest.raises(FormatError) as found:
        Entry.parse(canonical_json(value))
    for word in words:
        assert word in str(found.value)


# What is good


def test_there_is_a_sample_of_every_type():
    assert list(GOOD) == list(EntryType)
    assert len(EntryType) == 24


@all_types
def test_a_good_entry_reads_back_byte_for_byte(type):
    made = entry(type, seq=7)
    read = Entry.parse(made.encode())
    assert read == made
    assert read.encode() == made.encode()
    read.check_signature(SERVER_SIGNER.public)


def test_an_entry_says_what_the_specification_lists():
    made = entry(EntryType.ABORT, seq=12, round=3)
    value = {"v": 1, "fed": FEDERATION, "seq": 12, "round": 3, "type": "abort", "actor": "server/hub", "at": AT}
    value["data"] = {"code": "STOPPED"}
    signature = sign(SERVER_SIGNER, Label.SIGN_ENTRY, canonical_json(value))
    assert made.encode() == canonical_json({**value, "signature": encode_base64(signature)})


# What is refused


@all_types
def test_no_member_is_missing_too_many_or_of_another_kind(type):
    value = plain(type)
    value["data"] = {}  # which has cases of its own
    for what, bad in faults(value):
        with pytest.raises(FormatError):
            Entry.parse(canonical_json(bad))
            raise AssertionError(what)


def free_texts(type: EntryType) -> set[str]:
    """Members of the data that are any short text."""
    return {
        EntryType.GENESIS: {"origin"},
        EntryType.SOFTWARE: {"name"},
        EntryType.REFUSAL: {"type", "group", "check"},
        EntryType.COMPLAINT: {"check"},
        EntryType.GROUP_ENDED: {"code"},
        EntryType.ABORT: {"code"},
        EntryType.RETENTION: {"reason"},
    }.get(type, set())


@all_types
def test_no_member_of_the_data_is_missing_too_many_or_of_another_kind(type):
    free = free_texts(type)
    for what, bad in faults(GOOD[type][1]):
        at = what.removeprefix("it.").split(" ")[0]
        if at in free and what.endswith(("has a space", "has an accent", "is '1'")):
            continue
        if what.startswith("it.heads") and " is turned" in what:
            continue  # two heads are in no order
        if what.startswith("it.heads[") and "twice" in what:
            bad = {"heads": bad["heads"] + bad["heads"]}
        value = {**plain(type), "data": bad}
        with pytest.raises(FormatError):
            Entry.parse(canonical_json(value))
            raise AssertionError(what)


@all_types
@pytest.mark.parametrize("role", Role)
def test_each_is_done_by_whom_the_table_names(type, role):
    allowed = {Role.SERVER}
    if type in BY_ANYBODY:
        allowed = set(Role)
    elif type in BY_MEMBERS:
        allowed = {Role.MEMBER}
    elif type in BY_KEY_HOLDERS:
        allowed = {Role.KEY_HOLDER}
    elif type is EntryType.ENDORSEMENT:
        allowed = {Role.MEMBER, Role.WITNESS}
    value = {**plain(type), "actor": str(PARTIES[role])}
    if role in allowed:
        assert Entry.parse(canonical_json(value)).actor == PARTIES[role]
    else:
        refused(value, "is not by a")


@all_types
def test_rounds_are_those_of_the_type(type):
    outside, inside = {**plain(type), "round": 0}, {**plain(type), "round": 5}
    if type in EITHER:
        assert [Entry.parse(canonical_json(value)).round for value in (outside, inside)] == [0, 5]
    elif type in OUTSIDE:
        refused(inside, "is not of round 5")
    else:
        refused(outside, "is not of round 0")


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": True},
        {"fed": "Lungs.example"},
        {"fed": ""},
        {"seq": -1},
        {"seq": True},
        {"round": -1},
        {"at": -1},
        {"at": LATEST_TIME + 1},
        {"type": "Abort"},
        {"type": "x" * 5000},
        {"actor": "server"},
        {"actor": "server/Hub"},
        {"actor": "king/hub"},
        {"signature": ""},
        {"signature": encode_base64(bytes(63))},
        {"signature": SIGNATURE.rstrip("=")},
    ],
)
def test_members_out_of_range(change):
    refused({**plain(EntryType.ABORT), **change})


def test_the_last_moment_and_the_last_numbers_are_in_range():
    value = {**plain(EntryType.ABORT), "seq": 2**53 - 1, "round": 2**53 - 1, "at": LATEST_TIME}
    assert Entry.parse(canonical_json(value)).seq == 2**53 - 1


LONG = "x" * 401
DATA = [
    (EntryType.GENESIS, "root", HEX.upper()),
    (EntryType.GENESIS, "origin", LONG),
    (EntryType.ROSTER, "version", -1),
    (EntryType.CERTIFICATE, "key", HEX[:-2]),
    (EntryType.CERTIFICATE, "not_before", True),
    (EntryType.REVOCATIONS, "number", -1),
    (EntryType.SOFTWARE, "name", LONG),
    (EntryType.WITNESSES, "note_keys", [OTHER_HEX, HEX]),
    (EntryType.WITNESSES, "note_keys", [HEX, HEX]),
    (EntryType.WITNESSES, "note_keys", ["", HEX]),
    (EntryType.ROUND_OPEN, "opening", "*"),
    (EntryType.CONTRIBUTION, "group", -1),
    (EntryType.CONTRIBUTION, "package", ""),
    (EntryType.CONTRIBUTION, "head", {**head(), "header": ""}),
    (EntryType.CONTRIBUTION, "head", {**head(), "header": encode_base64(header() + b" ")}),
    (EntryType.CONTRIBUTION, "head", {**head(), "signature": encode_base64(bytes(65))}),
    (EntryType.CONTRIBUTION, "head", {**head(), "body": ""}),
    (EntryType.REFUSAL, "check", LONG),
    (EntryType.REFUSAL, "group", 0),
    (EntryType.EQUIVOCATION, "heads", []),
    (EntryType.EQUIVOCATION, "heads", [head()]),
    (EntryType.EQUIVOCATION, "heads", [head()] * 3),
    (EntryType.EQUIVOCATION, "heads", [head(), {}]),
    (EntryType.ENDORSEMENT, "signature", encode_base64(bytes(32))),
    (EntryType.UNMASK_REQUEST, "recipients", ["south", "north"]),
    (EntryType.UNMASK_REQUEST, "recipients", ["north", "north"]),
    (EntryType.UNMASK_REQUEST, "recipients", ["North"]),
    (EntryType.UNMASK_REQUEST, "recipients", [[]]),
    (EntryType.COMPLAINT, "suspects", ["member/north"]),
    (EntryType.GROUP_ENDED, "named", [1]),
    (EntryType.MODEL, "files", [FILE, {**FILE, "name": "config.json"}]),
    (EntryType.MODEL, "files", [FILE, FILE]),
    (EntryType.MODEL, "files", [{**FILE, "name": "../model.safetensors"}]),
    (EntryType.MODEL, "files", [{**FILE, "name": "/model.safetensors"}]),
    (EntryType.MODEL, "files", [{**FILE, "name": "a/b/c/d/e/f"}]),
    (EntryType.MODEL, "files", [{**FILE, "name": ""}]),
    (EntryType.MODEL, "files", [{**FILE, "size": -1}]),
    (EntryType.MODEL, "files", [{**FILE, "sha256": ""}]),
    (EntryType.MODEL, "files", {"name": "x"}),
    (EntryType.RETENTION, "removed", "results"),
    (EntryType.RETENTION, "removed", ["answers"]),
]


@pytest.mark.parametrize(
    ("type", "name", "bad"), DATA, ids=[f"{type.value}-{name}-{n}" for n, (type, name, _) in enumerate(DATA)]
)
def test_data_out_of_range(type, name, bad):
    value = plain(type)
    refused({**value, "data": {**value["data"], name: bad}}, f"of type {type.value}: {name}: ")
    with pytest.raises(FormatError):
        entry(type, data={**GOOD[type][1], name: bad})


def test_data_of_another_type_is_refused():
    for _, data in GOOD.values():
        for other in EntryType:
            if set(GOOD[other][1]) != set(data):
                with pytest.raises(FormatError, match="and nothing else"):
                    check_data(other, data)


def test_a_header_is_no_longer_than_headers_are():
    with pytest.raises(FormatError, match="too long"):
        read_head(head_data(bytes(HEADER_LIMIT + 1), bytes(64)))


def test_a_head_reads_back():
    found = read_head(head())
    assert (found.encoded, found.signature) == (header(), bytes(range(64)))
    assert found.context.sender == NORTH


# Size, spelling, signature


def test_an_entry_fits_into_a_bundle():
    """A request to 1,000 members with the longest names does."""
    most = entry(EntryType.UNMASK_REQUEST, data={"recipients": [f"m{number:061}" for number in range(1_000)]})
    assert len(most.encode()) <= ENTRY_LIMIT
    more = [f"m{number:061}" for number in range(1_100)]
    with pytest.raises(LimitExceeded):
        entry(EntryType.UNMASK_REQUEST, data={"recipients": more})
    with pytest.raises(LimitExceeded):
        Entry.parse(bytes(ENTRY_LIMIT + 1))
    value = {**plain(EntryType.UNMASK_REQUEST), "data": {"recipients": more}}
    with pytest.raises(LimitExceeded):
        Entry.parse(canonical_json(value))


@all_types
def test_one_spelling(type):
    good = entry(type).encode()
    as_read = json.loads(good)
    others = [
        good + b"\n",
        b" " + good,
        good.replace(b'":', b'": ', 1),
        json.dumps(as_read, indent=1).encode(),
        json.dumps(dict(reversed(as_read.items())), separators=(",", ":")).encode(),
        good.replace(b'"v":1', b'"v":1,"v":1'),
        good.replace(b'"v":1', b'"v":1.0'),
        good.replace(b'"seq":0', b'"seq":00'),
        good.replace(b'"fed":"l', b'"fed":"\\u006c'),
        b"",
        b"[]",
        b"\xff",
        b"[" * 60_000,
    ]
    for other in others:
        with pytest.raises(FormatError):
            Entry.parse(other)


@all_types
def test_no_bit_of_what_is_signed_can_be_changed(type):
    good = entry(type)
    good.check_signature(SERVER_SIGNER.public)
    with pytest.raises(BadSignature):
        good.check_signature(Ed25519Signer(b"\x41" * 32).public)
    value = plain(type)
    changes = [{"seq": 1}, {"at": AT + 1}, {"fed": "hearts.example"}, {"signature": encode_base64(bytes(64))}]
    changes += [{"round": value["round"] + 1}] if type not in OUTSIDE else []
    for change in changes:
        with pytest.raises(BadSignature):
            Entry.parse(canonical_json({**value, **change})).check_signature(SERVER_SIGNER.public)


def test_a_signature_under_another_label_is_none():
    good = entry(EntryType.ABORT)
    other = sign(SERVER_SIGNER, Label.SIGN_PACKAGE, good.payload)
    value = {**plain(EntryType.ABORT), "signature": encode_base64(other)}
    with pytest.raises(BadSignature):
        Entry.parse(canonical_json(value)).check_signature(SERVER_SIGNER.public)


def test_an_entry_cannot_be_made_half_valid():
    values = {"type": EntryType.ABORT, "federation": FEDERATION, "seq": 0, "round": 1, "actor": SERVER, "at": AT}
    with pytest.raises(FormatError):
        Entry(**values, data={}, signature=bytes(64))
    with pytest.raises(FormatError):
        Entry(**{**values, "actor": NORTH}, data={"code": "STOPPED"}, signature=bytes(64))


# Anything


@given(st.sampled_from(EntryType).flatmap(lambda type: near(json.loads(entry(type).encode()))))
def test_any_json_is_an_entry_or_refused(value):
    data = canonical_json(value)
    try:
        found = Entry.parse(data)
    except FormatError:
        return
    assert found.encode() == data


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data):
    with pytest.raises(FormatError):
        Entry.parse(data)
