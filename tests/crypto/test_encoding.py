"""Encodings: one spelling only, and anything else is a FormatError."""

import base64
import copy
import json
import struct
import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fedspallm_secure.crypto.encoding import (
    ARRAY_LIMIT,
    canonical_json,
    decode_base64,
    decode_hex,
    encode_base64,
    fields,
    pae,
    parse_canonical_json,
)
from fedspallm_secure.errors import FormatError

strings = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Cn")), max_size=12).map(
    lambda text: unicodedata.normalize("NFC", text)
)
scalars = st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | strings
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strings, inner, max_size=4), max_leaves=12
).filter(lambda value: depth(value) <= 8)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 1


def by_hand(value: object) -> str:
    """RFC 8785 for values without fractions, written from its text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ",".join(map(by_hand, value)) + "]"
    assert isinstance(value, dict)
    names = sorted(value, key=lambda name: name.encode("utf-16-be"))
    return "{" + ",".join(f"{by_hand(name)}:{by_hand(value[name])}" for name in names) + "}"


@given(values)
def test_canonical_json_is_rfc_8785_and_parses_to_the_same(value):
    data = canonical_json(value)
    assert data == by_hand(value).encode()
    parsed = parse_canonical_json(data, "text")
    assert canonical_json(parsed) == data
    assert repr(parsed) == repr(json.loads(data))  # repr, since True == 1


@pytest.mark.parametrize("name", ["a", "\u00e9"])
def test_names_are_sorted_as_utf_16_also_beyond_the_basic_plane(name):
    """By code point, U+10000 would come after U+FB00, and in UTF-16 it begins with 0xD800."""
    value = {"\ufb00": 1, "\U00010000": 2, name: {"\ufb00": 3, "\U00010000": 4}}
    text = f'{{"{name}":{{"\U00010000":4,"\ufb00":3}},"\U00010000":2,"\ufb00":1}}'
    assert canonical_json(value) == text.encode()


json_like = st.text('{}[]":,\\ue-+.0123456789tfnarls \n\x00\x7f\u00e9\u0301\uffff', max_size=30).map(str.encode)
mutated = st.tuples(values, st.integers(0, 400), st.binary(max_size=3)).map(
    lambda t: (lambda d: d[: t[1] % (len(d) + 1)] + t[2] + d[t[1] % (len(d) + 1) + len(t[2]) // 2 :])(
        canonical_json(t[0])
    )
)


@given(st.binary(max_size=40) | json_like | mutated)
@example(b"")
@example(b"\xef\xbb\xbf1")
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"1" * 100_000)
@example(b"-0")
@example(b"1.0")
def test_any_bytes_are_canonical_or_a_format_error(data):
    try:
        value = parse_canonical_json(data, "text")
    except FormatError:
        return
    assert canonical_json(value) == data


BAD_JSON = {
    "nothing": "",
    "white space": '{"a": 1}',
    "line feed at the end": "{}\n",
    "byte-order mark": "\ufeff{}",
    "second value": "{}{}",
    "members out of order": '{"b":1,"a":2}',
    "member twice": '{"a":1,"a":1}',
    "member twice, spelled differently": '{"a":1,"\\u0061":1}',
    "escape for nothing": '"\\u0061"',
    "escaped slash": '"\\/"',
    "upper-case escape": '"\\u00E9"',
    "null": "null",
    "null inside": '{"a":null}',
    "fraction": "1.5",
    "whole fraction": "1.0",
    "exponent": "1e2",
    "minus nought": "-0",
    "plus": "+1",
    "leading nought": "01",
    "too large": "9007199254740992",
    "too small": "-9007199254740992",
    "far too large": "1" * 5000,
    "not a number": "NaN",
    "infinity": "-Infinity",
    "control character": '"\\n"',
    "raw control character": '"\n"',
    "delete": '"\x7f"',
    "C1 control character": '"\x85"',
    "control character in a name": '{"\\t":1}',
    "not in form C": '"e\u0301"',
    "name not in form C": '{"e\u0301":1}',
    "half a surrogate pair": '"\\ud800"',
    "name with half a pair": '{"\\udc00":1}',
    "no character": '"\uffff"',
    "no character in another plane": '"\U0010fffe"',
    "no character in the middle": '"\ufdd0"',
    "nine deep": "[" * 9 + "]" * 9,
    "nine objects deep": '{"a":' * 8 + "{}" + "}" * 8,
    "a number nine deep": "[" * 8 + "1" + "]" * 8,
    "comment": "{}//",
    "single quotes": "{'a':1}",
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_what_is_not_canonical_is_refused(name):
    with pytest.raises(FormatError, match=r"^the header"):
        parse_canonical_json(BAD_JSON[name].encode(), "the header")


def test_a_member_given_twice_is_named_as_the_fault():
    with pytest.raises(FormatError, match="an object has two members of the same name"):
        parse_canonical_json(b'{"a":1,"a":1}', "the header")


@pytest.mark.parametrize(
    "data", [b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', '"é"'.encode("latin-1"), b"\xff\xfe1\x00"]
)
def test_what_is_not_utf_8_is_refused(data):
    with pytest.raises(FormatError, match=r"^the header is not UTF-8$"):
        parse_canonical_json(data, "the header")


def test_what_is_just_within_the_limits_is_taken():
    for text in (
        "9007199254740991",
        "-9007199254740991",
        "[" * 8 + "]" * 8,
        "[[[[[[[1]]]]]]]",
        '{"a":' * 7 + "{}" + "}" * 7,
        '"\ufffd"',
        '"\U0001f600"',
    ):
        assert canonical_json(parse_canonical_json(text.encode(), "text")) == text.encode()
    assert len(parse_canonical_json(canonical_json([0] * ARRAY_LIMIT), "text")) == 10_000
    with pytest.raises(FormatError, match="10000 elements"):
        parse_canonical_json(b"[" + b"0," * ARRAY_LIMIT + b"0]", "text")


@pytest.mark.parametrize(
    "value",
    [
        None,
        1.0,
        float("nan"),
        b"x",
        (1,),
        {1: 2},
        {None: 1},
        2**53,
        10**5000,
        "\x00",
        "\ud800",
        [[[[[[[[1]]]]]]]],
        {"a": {1}},
    ],
    ids=lambda value: str(type(value).__name__),
)
def test_values_that_the_form_cannot_hold_are_refused(value):
    with pytest.raises(FormatError):
        canonical_json(value)


@pytest.mark.parametrize("digits", [17, 18, 1000, 5000])
def test_long_numbers_are_out_of_range_and_not_computed(digits):
    """The interpreter's own limit would make its error the message."""
    with pytest.raises(FormatError, match=r"an integer is out of range$"):
        parse_canonical_json(b"9" * digits, "text")


def test_errors_do_not_repeat_long_numbers():
    limit = sys.get_int_max_str_digits()
    with pytest.raises(FormatError) as raised:
        parse_canonical_json(b"1." + b"5" * 2 * limit, "text")
    assert len(str(raised.value)) < 100


# --- PAE --------------------------------------------------------------------------------------------------------------

lists = st.lists(st.binary(max_size=9), max_size=4)


@given(lists, lists)
def test_pae_tells_lists_apart(first, second):
    assert (pae(*first) == pae(*second)) == (first == second)


@given(lists)
def test_pae_can_be_read_back(parts):
    """Injective, since the encoding determines the list."""
    data, found = pae(*parts), []
    (count,), data = struct.unpack("<Q", data[:8]), data[8:]
    for _ in range(count):
        (size,) = struct.unpack("<Q", data[:8])
        found, data = [*found, data[8 : 8 + size]], data[8 + size :]
    assert (found, data) == (parts, b"")


def test_pae_keeps_the_border_between_parts():
    assert len({pae(b"ab", b"c"), pae(b"a", b"bc"), pae(b"abc"), pae(b"abc", b""), pae(b"", b"abc")}) == 5


# --- hex and base64 ---------------------------------------------------------------------------------------------------


@given(st.binary(max_size=40))
def test_hex_and_base64_give_the_bytes_back(data):
    assert decode_hex(data.hex(), len(data), "id") == data
    assert encode_base64(data).encode() == base64.b64encode(data)
    assert decode_base64(encode_base64(data), "key") == data
    assert decode_base64(encode_base64(data), "key", len(data)) == data


@given(st.text("0123456789abcdefABCDEF xX_\n", max_size=10), st.integers(0, 5))
def test_hex_has_one_spelling(text, size):
    try:
        data = decode_hex(text, size, "id")
    except FormatError:
        return
    assert data.hex() == text and len(data) == size


@given(st.text("AQgwZz/+=-_ \n\u00e9", max_size=12))
def test_base64_has_one_spelling(text):
    try:
        data = decode_base64(text, "key")
    except FormatError:
        return
    assert base64.b64encode(data).decode() == text


@pytest.mark.parametrize("text", ["", "0", "000", "0G", "AB", "aB", " ab", "ab ", "ab\n", "0x", "\uff10\uff10", "a b"])
def test_bad_hex(text):
    with pytest.raises(FormatError, match="id must be 2 lower-case hex digits"):
        decode_hex(text, 1, "id")


@pytest.mark.parametrize(
    "text",
    [
        "Zg",
        "Zg=",
        "Zh==",
        "Zg===",
        "Zg==\n",
        " Zg==",
        "Zg==Zg==",
        "Zm9=",
        "Z",
        "_-==",
        "Zm9v\u00e9",
        "=",
        "Z=g=",
        "Zg=\u00a0",
    ],
)
def test_bad_base64(text):
    with pytest.raises(FormatError, match="key is not base64"):
        decode_base64(text, "key")


def test_base64_of_another_size():
    with pytest.raises(FormatError, match="key must be 2 bytes, got 1"):
        decode_base64("Zg==", "key", 2)


# --- closed schemas ---------------------------------------------------------------------------------------------------

SCHEMA = {"name": str, "count": int, "items": list, "inner": dict, "flag": bool}
GOOD = {"name": "x", "count": 1, "items": [], "inner": {}, "flag": True}


def test_an_object_with_exactly_its_members():
    assert fields(copy.deepcopy(GOOD), SCHEMA, "plan") == GOOD


@pytest.mark.parametrize("name", SCHEMA)
@pytest.mark.parametrize("value", ["x", 1, [], {}, True, None, 1.0], ids=lambda value: type(value).__name__)
def test_a_member_of_another_type_is_refused(name, value):
    """True is not taken for 1, nor 1 for True."""
    if type(value) is SCHEMA[name]:
        assert fields({**GOOD, name: value}, SCHEMA, "plan")[name] == value
        return
    with pytest.raises(FormatError, match=f"^plan: {name} must be "):
        fields({**GOOD, name: value}, SCHEMA, "plan")


@pytest.mark.parametrize("name", SCHEMA)
def test_a_missing_member_is_refused(name):
    with pytest.raises(FormatError, match=f"^plan lacks '{name}'$"):
        fields({key: value for key, value in GOOD.items() if key != name}, SCHEMA, "plan")


def test_an_unknown_member_is_refused():
    with pytest.raises(FormatError, match=r"^plan has an unknown field 'extra'$"):
        fields({**GOOD, "extra": 1}, SCHEMA, "plan")


@pytest.mark.parametrize("value", [None, [], "x", 1, True])
def test_what_is_no_object_is_refused(value):
    with pytest.raises(FormatError, match=r"^plan must be an object$"):
        fields(value, SCHEMA, "plan")
