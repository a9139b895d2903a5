"""Package headers: one accepted spelling, every field bounded, and nothing of it outside the signature."""

import hashlib
import json
from dataclasses import fields, replace

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.crypto.encoding import canonical_json, encode_base64
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.errors import FormatError, PackageFormatError
from fedspallm_secure.protocol.limits import LATEST_TIME
from fedspallm_secure.protocol.package_types import LARGEST_PLAINTEXT, PACKAGE_TYPES, BodyType
from fedspallm_secure.protocol.packages import Context, Head, Header, parse_prefix, tile_count

MIB = 1 << 20
CONTEXT = Context(
    type="file",
    federation="lungs.example",
    roster="ab" * 32,
    round=0,
    plan_hash="*",
    group="*",
    sender=Party.parse("member/north"),
    sender_key="01" * 32,
    recipient=Party.parse("member/south"),
    recipient_key="02" * 32,
    kem=Kem.X25519,
    sequence=1,
    created=1_790_000_000,
    not_after=1_790_003_600,
    body_type=BodyType.BYTES,
)
HEADER = Header(CONTEXT, bytes(range(80)), body_length(5), bytes(range(32)))
GOOD = json.loads(HEADER.encode())


def changed(path: str, value: object) -> bytes:
    """The good header with one member set to `value`, in canonical JSON.  path: NAME or ctx.NAME."""
    header = json.loads(HEADER.encode())
    *outer, name = path.split(".")
    (header[outer[0]] if outer else header)[name] = value
    return rfc8785.dumps(header)


def test_the_good_header_is_good():
    assert Header.parse(HEADER.encode()) == HEADER
    assert rfc8785.dumps(GOOD) == HEADER.encode()


LONG_ID, LONG_NAME = "a" * 63, "a" * 31 + "." + "b" * 31
ACCEPTED = [
    ("ctx.v", 1),
    ("ctx.v", 2),  # known or not is a question of step 5
    ("ctx.v", 2**53 - 1),
    ("ctx.type", "x"),
    ("ctx.type", "unmask-request"),
    ("ctx.type", "a" * 32),
    ("ctx.fed", "x"),
    ("ctx.fed", LONG_NAME),
    ("ctx.round", 2**53 - 1),
    ("ctx.plan_hash", "00" * 32),
    ("ctx.gid", "0"),
    ("ctx.gid", "999999999"),
    ("ctx.sender", f"key-holder/{LONG_ID}"),
    ("ctx.recipient", "auditor/0"),
    ("ctx.seq", 2**53 - 1),
    ("ctx.created", 0),
    ("ctx.created", 1_790_003_599),
    ("ctx.not_after", 1_790_000_001),
    ("ctx.not_after", 253_402_300_799),
    ("ctx.checkpoint", "AA=="),
    ("ctx.checkpoint", encode_base64(bytes(1024))),  # a note or not is no question of the format
    ("ctx.body_type", "json"),
]


@pytest.mark.parametrize(("path", "value"), ACCEPTED)
def test_what_the_table_allows_is_parsed(path, value):
    encoded = changed(path, value)
    assert Header.parse(encoded).encode() == encoded


ANY_HEX = ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 63 + " ", "٠" * 64, "0x" + "a" * 62]
NO_PARTY = [
    "member",
    "member/",
    "/north",
    "Member/north",
    "member/North",
    "member/-north",
    "member/north-",
    "member/a.b",
    "member/a/b",
    "member/" + "a" * 64,
    "guest/north",
    "member/north ",
    "member/münchen",
]
REFUSED = [
    *[("ctx.fed", value, "cannot name a federation") for value in ("", "Lungs", ".a", "a.", "a..b", "a" * 64, "a/b")],
    *[(f"ctx.{name}", value, name) for name in ("roster", "sender_key", "recipient_key") for value in (*ANY_HEX, "*")],
    *[("ctx.plan_hash", value, "plan_hash") for value in (*ANY_HEX, "**")],
    *[("body_root", value, "body_root") for value in (*ANY_HEX, "*")],
    ("ctx.round", -1, "out of range"),
    *[("ctx.gid", value, "is no group") for value in ("", "00", "01", "-1", "1.0", "1000000000", "**", " 1", "+1")],
    *[(f"ctx.{name}", value, "role|ROLE|name a party") for name in ("sender", "recipient") for value in NO_PARTY],
    *[("ctx.kem", value, "valid Kem") for value in ("", "X25519", "p256", "mlkem768", "x25519 ")],
    *[("ctx.seq", value, "out of range") for value in (0, -1)],
    ("ctx.created", -1, "later than created"),
    *[("ctx.not_after", value, "later than created") for value in (1_790_000_000, 1_789_999_999, 0, -1)],
    *[("ctx.not_after", value, "year 10000") for value in (253_402_300_800, 2**53 - 1)],
    *[("ctx.checkpoint", value, "checkpoint is not base64") for value in ("*", "AA", "AB==", "AA== ", "é" * 4)],
    ("ctx.checkpoint", encode_base64(bytes(1025)), "1025 bytes"),
    *[("ctx.body_type", value, "valid BodyType") for value in ("", "text", "BYTES", "bytes,json")],
    *[("enc", encode_base64(bytes(size)), "enc has") for size in (0, 32, 79, 81, 1168)],
    *[("enc", text, "base64") for text in ("*", "AA", "AB==", encode_base64(bytes(80)) + " ", "é" * 4)],
    *[("body_len", value, "bytes long") for value in (-1, 0, 1, 71, 56 + 16400, 56 + 16400 + 15)],
    *[("tiles", value, "has 1 tiles") for value in (-1, 0, 2, 2**53 - 1)],
    *[
        (f"ctx.{name}", value, "out of range")
        for name in ("v", "round", "seq", "created", "not_after")
        for value in (2**53, -(2**53))
    ],
]


@pytest.mark.parametrize(("path", "value", "reason"), REFUSED)
def test_what_the_table_does_not_allow_is_refused(path, value, reason):
    try:
        encoded = changed(path, value)
    except rfc8785.IntegerDomainError:  # the library will not write it, somebody else might
        encoded = HEADER.encode().replace(changed_member(path), f'"{path[4:]}":{value}'.encode())
    with pytest.raises(PackageFormatError, match=reason):
        Header.parse(encoded)


def changed_member(path: str) -> bytes:
    name = path.removeprefix("ctx.")
    return f'"{name}":{json.dumps(GOOD["ctx"][name])}'.encode()


PATHS = [name for name in GOOD if name != "ctx"] + [f"ctx.{name}" for name in GOOD["ctx"]]


@pytest.mark.parametrize("path", [*PATHS, "ctx"])
def test_every_member_is_there_once_and_of_its_type(path):
    *outer, name = path.split(".")
    where = GOOD["ctx"] if outer else GOOD
    kind = type(where[name])
    for value in (None, True, [], {}, "1", 1, [where[name]]):
        if type(value) is not kind:
            with pytest.raises(PackageFormatError, match=r"must be|NoneType"):
                Header.parse(rfc8785.dumps(json.loads(changed(path, value))))
    without = json.loads(HEADER.encode())
    del (without["ctx"] if outer else without)[name]
    with pytest.raises(PackageFormatError, match="lacks"):
        Header.parse(rfc8785.dumps(without))
    with pytest.raises(PackageFormatError, match="unknown field"):
        Header.parse(changed(path + "_", where[name]))
    if name != "ctx":
        member = f'"{name}":{json.dumps(where[name])}'.encode()
        assert HEADER.encode().count(member) == 1
        with pytest.raises(PackageFormatError, match="two members"):
            Header.parse(HEADER.encode().replace(member, member + b"," + member))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not canonical JSON"),
        (b"{}", "lacks"),
        (b"[]", "must be an object"),
        (b'"x"', "must be an object"),
        (b"\xff" + HEADER.encode()[1:], "not UTF-8"),
        (b"\xef\xbb\xbf" + HEADER.encode(), "canonical"),
        (HEADER.encode() + b"\n", "canonical form"),
        (b" " + HEADER.encode(), "canonical form"),
        (HEADER.encode().replace(b'"v":1', b'"v": 1'), "canonical form"),
        (HEADER.encode().replace(b'"v":1', b'"v":1.0'), "float values"),
        (HEADER.encode().replace(b'"v":1', b'"v":1e0'), "float values"),
        (HEADER.encode().replace(b'"file"', b'"\\u0066ile"'), "canonical form"),
        (HEADER.encode().replace(b"x25519", b"x2551\\u0039"), "canonical form"),
        (HEADER.encode().replace(b'"round":0', b'"round":-0'), "canonical form"),
        (HEADER.encode()[:-1], "not canonical JSON"),
        (HEADER.encode() * 2, "not canonical JSON"),
        (json.dumps(GOOD).encode(), "canonical form"),
        (json.dumps(dict(reversed(GOOD.items())), separators=(",", ":")).encode(), "canonical form"),
        (b"[" * 60_000, "canonical JSON|nested"),
    ],
)
def test_there_is_one_spelling(data, reason):
    with pytest.raises(PackageFormatError, match=reason):
        Header.parse(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_header_or_a_format_error(data):
    try:
        header = Header.parse(data)
    except PackageFormatError:
        return
    assert header.encode() == data


hexes = st.binary(min_size=32, max_size=32).map(bytes.hex)
names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
parties = st.builds(lambda role, name: Party(role.value, name), st.sampled_from(Role), names)
counts = st.integers(0, 2**53 - 1)


@st.composite
def headers(draw) -> Header:
    kem = draw(st.sampled_from(Kem))
    created = draw(st.integers(0, LATEST_TIME - 1))
    context = Context(
        type=draw(st.sampled_from(sorted(PACKAGE_TYPES)) | st.from_regex(r"[a-z][a-z-]{0,31}", fullmatch=True)),
        federation=draw(names),
        roster=draw(hexes),
        round=draw(counts),
        plan_hash=draw(hexes | st.just("*")),
        group=draw(st.integers(0, 999_999_999).map(str) | st.just("*")),
        sender=draw(parties),
        sender_key=draw(hexes),
        recipient=draw(parties),
        recipient_key=draw(hexes),
        kem=kem,
        sequence=draw(st.integers(1, 2**53 - 1)),
        created=created,
        not_after=draw(st.integers(created + 1, LATEST_TIME)),
        body_type=draw(st.sampled_from(BodyType)),
        version=draw(st.integers(1, 2**53 - 1)),
        checkpoint=draw(st.binary(max_size=1024)),
    )
    wrapped = draw(st.binary(min_size=kem.wrap_size, max_size=kem.wrap_size))
    length = body_length(draw(st.integers(0, LARGEST_PLAINTEXT)))
    return Header(context, wrapped, length, draw(st.binary(min_size=32, max_size=32)))


@given(headers())
def test_every_header_comes_back(header):
    encoded = header.encode()
    assert Header.parse(encoded) == header
    assert encoded == rfc8785.dumps(json.loads(encoded))
    assert header.tiles == json.loads(encoded)["tiles"] == -(-header.body_length // MIB)


junk = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=8) | hexes


@given(
    st.sampled_from(PATHS) | st.text(max_size=5), junk | st.lists(junk, max_size=2) | st.dictionaries(st.text(), junk)
)
def test_anything_in_the_place_of_a_member_is_a_header_or_a_format_error(path, value):
    try:
        encoded = changed(path, value)
    except (rfc8785.CanonicalizationError, KeyError):
        return
    try:
        header = Header.parse(encoded)
    except PackageFormatError:
        return
    assert header.encode() == encoded


@given(st.integers(0, len(HEADER.encode()) - 1), st.integers(0, 7))
def test_one_bit_is_another_header_or_a_format_error(position, bit):
    data = bytearray(HEADER.encode())
    data[position] ^= 1 << bit
    try:
        header = Header.parse(bytes(data))
    except PackageFormatError:
        return
    assert header != HEADER
    assert header.encode() == data


OTHER: dict[str, object] = {
    "type": "plan",
    "federation": "hearts.example",
    "roster": "ac" * 32,
    "round": 1,
    "plan_hash": "03" * 32,
    "group": "7",
    "sender": Party.parse("member/west"),
    "sender_key": "04" * 32,
    "recipient": Party.parse("member/west"),
    "recipient_key": "05" * 32,
    "kem": Kem.HYBRID,
    "sequence": 2,
    "created": 1_790_000_001,
    "not_after": 1_790_003_601,
    "body_type": BodyType.JSON,
    "version": 2,
    "checkpoint": b"note",
}


@pytest.mark.parametrize("name", [field.name for field in fields(Context)])
def test_each_field_of_the_context_is_bound(name):
    """What stands in the context changes the key of the body, so a body cannot be moved to another context."""
    other = replace(CONTEXT, **{name: OTHER[name]})
    assert other.info != CONTEXT.info
    assert other.to_dict() != CONTEXT.to_dict()
    assert Context.from_dict(json.loads(canonical_json(other.to_dict()))) == other


def pae(*parts: bytes) -> bytes:
    return len(parts).to_bytes(8, "little") + b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def test_info_and_digest_are_those_of_the_specification():
    text = rfc8785.dumps(GOOD["ctx"])
    assert CONTEXT.info == hashlib.sha256(pae(b"fsps/1/kem", text)).digest()
    head = Head(HEADER.encode(), HEADER, bytes(64))
    assert head.digest == hashlib.sha256(pae(b"fsps/1/digest/package", HEADER.encode())).digest()
    assert head.size == 12 + len(HEADER.encode()) + 64 + 32 + body_length(5)


def test_the_largest_header_is_far_below_its_limit():
    """So nothing that can be made is too large to be read."""
    party = Party.parse(f"key-holder/{LONG_ID}")
    big = 2**53 - 1
    context = replace(
        CONTEXT,
        type="a" * 32,
        federation=LONG_NAME,
        round=big,
        plan_hash="a" * 64,
        group="999999999",
        sender=party,
        recipient=party,
        kem=Kem.HYBRID,
        sequence=big,
        created=LATEST_TIME - 1,
        not_after=LATEST_TIME,
        body_type=BodyType.BYTES,
        version=big,
        checkpoint=bytes(1024),
    )
    header = Header(context, bytes(1168), body_length(LARGEST_PLAINTEXT), bytes(32))
    assert len(header.encode()) < 4096
    assert header.plaintext_length == LARGEST_PLAINTEXT


@pytest.mark.parametrize("name", ["federation", "roster", "sender_key", "recipient_key", "plan_hash", "group"])
def test_a_context_cannot_be_made_half_valid(name):
    with pytest.raises(FormatError):
        replace(CONTEXT, **{name: "É"})


@pytest.mark.parametrize(
    ("length", "tiles"), [(72, 1), (MIB - 1, 1), (MIB, 1), (MIB + 1, 2), (2 * MIB, 2), (2 * MIB + 1, 3)]
)
def test_tiles_are_counted(length, tiles):
    assert tile_count(length) == tiles


@pytest.mark.parametrize("length", [1, 2, 255, 65_535, 65_536])
def test_the_length_of_the_header_is_read(length):
    assert parse_prefix(b"FSPKG1\r\n" + length.to_bytes(4, "little")) == length


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "begin like a package"),
        (b"FSPKG1", "begin like a package"),
        (b"FSPKG1\r", "begin like a package"),
        (b"FSPKG1\n\x01\x00\x00\x00\x00", "text-mode"),
        (b"FSPKG1\n", "text-mode"),
        (b"FSPKG2\r\n\x01\x00\x00\x00", "begin like a package"),
        (b"fspkg1\r\n\x01\x00\x00\x00", "begin like a package"),
        (b"PK\x03\x04" + bytes(8), "begin like a package"),
        (b"FSPKG1\r\n", "ends before"),
        (b"FSPKG1\r\n\x01\x00\x00", "ends before"),
        (b"FSPKG1\r\n\x00\x00\x00\x00", "0 bytes is not allowed"),
        (b"FSPKG1\r\n\x01\x00\x01\x00", "65537 bytes is not allowed"),
        (b"FSPKG1\r\n\xff\xff\xff\xff", "4294967295 bytes is not allowed"),
        (b"FSPKG1\r\n\x00\x00\x00\x01", "16777216 bytes is not allowed"),
    ],
)
def test_a_bad_beginning_is_refused(data, reason):
    with pytest.raises(PackageFormatError, match=reason):
        parse_prefix(data)
