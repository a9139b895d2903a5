"""Statements: their lines, their digest, and who signed them."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.encoding import INTEGER_BOUND
from fedspallm_secure.crypto.signing import SIGNATURE_SIZE, key_id, verify_raw
from fedspallm_secure.errors import (
    BadSignature,
    FedSpaError,
    FormatError,
    LimitExceeded,
    NotAwaited,
    WrongFederation,
)
from fedspallm_secure.protocol import limits
from fedspallm_secure.protocol.statements import (
    Statement,
    StatementType,
    check_round,
    check_same_round,
    make_statement,
    read_statement_body,
    statement_body,
)
from tests.authority import signer

ONE, TWO = signer("one"), signer("two")
GOOD = make_statement(StatementType.ROSTER, {"a": "b"}, [ONE])
FILE = GOOD.encode()


def by_the_specification(*parts: bytes) -> bytes:
    return len(parts).to_bytes(8, "little") + b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def test_the_lines_are_those_of_the_specification():
    head, payload, signature, rest = FILE.split(b"\n")
    assert (head, payload, rest) == (b"fedspallm-secure/1 roster", b'{"a":"b"}', b"")
    name, encoded = signature.split(b" ")
    assert name.decode() == key_id(ONE.public)
    message = by_the_specification(b"fsps/1/sign/roster", payload)
    assert verify_raw(ONE.public, message, base64.b64decode(encoded))
    assert GOOD.digest == hashlib.sha256(by_the_specification(b"fsps/1/digest/roster", payload)).digest()


@pytest.mark.parametrize("kind", StatementType, ids=lambda kind: kind.value)
@pytest.mark.parametrize("signers", [[ONE], [ONE, TWO], [TWO, ONE]], ids=["one", "two", "turned"])
def test_what_is_made_reads_back(kind, signers):
    made = make_statement(kind, {"a": 1}, signers)
    found = Statement.parse(made.encode(), kind)
    assert found == made == Statement.parse(made.encode(), None)
    assert (found.value, found.encode()) == ({"a": 1}, made.encode())
    found.verify_by(*(one.public for one in signers))


def test_limits_are_those_of_the_specification():
    assert {kind.value: kind.size_limit for kind in StatementType} == {
        "request": 1 << 20,
        "enrolment": 1 << 20,
        "key-statement": 16 << 10,
        "prekeys": 1 << 20,
        "roster": 5 << 20,
        "opening": 1 << 20,
        "survivors": 1 << 26,
        "result": 1 << 26,
        "bundle": 4 << 20,
        "receipt": 4 << 10,
        "note-key": 4 << 10,
        "cipher-key": 4 << 10,
    }


def test_a_statement_of_another_type_is_refused():
    with pytest.raises(FormatError, match="type roster, not prekeys"):
        Statement.parse(FILE, StatementType.PREKEYS)


def test_a_signature_under_another_type_is_refused():
    """The label is under the signature: a key statement cannot be passed off as a roster."""
    other = make_statement(StatementType.KEY_STATEMENT, GOOD.value, [ONE])
    posed = Statement.parse(other.encode().replace(b"key-statement", b"roster", 1), StatementType.ROSTER)
    with pytest.raises(BadSignature):
        posed.verify_by(ONE.public)


def test_exactly_the_expected_keys_must_have_signed():
    both = make_statement(StatementType.REQUEST, {}, [ONE, TWO])
    both.verify_by(ONE.public, TWO.public)
    both.verify_by(TWO.public, ONE.public)
    for statement, keys in (
        (both, [ONE]),
        (both, [TWO]),
        (both, [ONE, TWO, signer("three")]),
        (both, [ONE, signer("three")]),
        (GOOD, [TWO]),
        (GOOD, [ONE, TWO]),
        (GOOD, []),
    ):
        with pytest.raises(BadSignature):
            statement.verify_by(*(key.public for key in keys))


def test_both_signatures_are_verified():
    head, payload, first, second, _ = make_statement(StatementType.REQUEST, {}, [ONE, TWO]).encode().split(b"\n")
    for lines in ([first, second[:65] + first[65:]], [first[:65] + second[65:], second]):
        forged = Statement.parse(b"\n".join([head, payload, *lines, b""]), None)
        with pytest.raises(BadSignature):
            forged.verify_by(ONE.public, TWO.public)


def test_rounds_count_from_1():
    for number in (1, INTEGER_BOUND - 1):
        check_round("lungs.example", number, "it")
    for federation, number in (("lungs.example", 0), ("lungs.example", INTEGER_BOUND), ("Lungs", 1), ("", 1)):
        with pytest.raises(FormatError):
            check_round(federation, number, "it")


def test_a_statement_is_about_one_round_of_one_federation():
    check_same_round(("lungs.example", 3), ("lungs.example", 3), "it")
    with pytest.raises(WrongFederation):
        check_same_round(("hearts.example", 3), ("lungs.example", 3), "it")
    with pytest.raises(NotAwaited):
        check_same_round(("lungs.example", 4), ("lungs.example", 3), "it")


def test_a_body_carries_a_statement_and_nothing_else():
    body = b'{"statement":"%s"}' % base64.b64encode(FILE)
    assert statement_body(GOOD) == body
    assert read_statement_body(body, "it") == FILE
    for bad in (b"", b"{}", b'{"statement":1}', body[:-1] + b',"z":1}', b" " + body, body.replace(b"=", b"")):
        with pytest.raises(FormatError):
            read_statement_body(bad, "it")


FAULTS = {
    "nothing": b"",
    "no magic": FILE.replace(b"fedspallm-secure/1 ", b"", 1),
    "another version": FILE.replace(b"/1 ", b"/2 ", 1),
    "an unknown type": FILE.replace(b"roster", b"rooster", 1),
    "no type": FILE.replace(b"roster", b"", 1),
    "a type in capitals": FILE.replace(b"roster", b"Roster", 1),
    "a space after the type": FILE.replace(b"roster", b"roster ", 1),
    "the magic twice": FILE.replace(b"roster", b"fedspallm-secure/1 roster", 1),
    "two blanks": FILE.replace(b"/1 ", b"/1  ", 1),
    "carriage returns": FILE.replace(b"\n", b"\r\n"),
    "a byte-order mark": b"\xef\xbb\xbf" + FILE,
    "no last line feed": FILE[:-1],
    "something after it": FILE + b"x",
    "an empty line after it": FILE + b"\n",
    "an empty line before it": b"\n" + FILE,
    "an empty line inside": FILE.replace(b"\n", b"\n\n", 1),
    "no signature": FILE[: FILE.index(b"}") + 2],
    "an empty signature": FILE[: FILE.index(b"}") + 2] + b"\n",
    "the same signature twice": FILE + FILE.split(b"\n")[2] + b"\n",
    "three signatures": make_statement(StatementType.ROSTER, {}, [ONE, TWO]).encode()
    + b"0" * 64
    + b" "
    + b"A" * 86
    + b"==\n",
    "not canonical": FILE.replace(b'{"a"', b'{ "a"'),
    "not JSON": FILE.replace(b'{"a"', b'{"a'),
    "an array": FILE.replace(b'{"a":"b"}', b'["a","b"]'),
    "a string": FILE.replace(b'{"a":"b"}', b'"a"'),
    "the key in capitals": FILE.replace(key_id(ONE.public).encode(), key_id(ONE.public).upper().encode()),
    "a key too short": FILE.replace(key_id(ONE.public).encode(), key_id(ONE.public).encode()[:-1]),
    "a signature too short": FILE[:-4] + b"\n",
    "a signature of another length": FILE[:-3] + b"A=\n",
    "bits to spare": FILE[:-4] + bytes([FILE[-4] + 1]) + FILE[-3:],
    "another alphabet": FILE.replace(FILE[-10:-8], b"-_"),
    "a tab for the blank": FILE.replace(key_id(ONE.public).encode() + b" ", key_id(ONE.public).encode() + b"\t"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_any_other_form_is_refused(fault):
    assert FAULTS[fault] != FILE
    for expected in (StatementType.ROSTER, None):
        with pytest.raises(FormatError):
            Statement.parse(FAULTS[fault], expected)


def test_larger_than_its_limit_is_refused_unread():
    with pytest.raises(LimitExceeded, match="at most 16384"):
        Statement.parse(b"fedspallm-secure/1 key-statement\n" + bytes(limits.KEY_STATEMENT_LIMIT), None)


def test_what_nobody_could_read_is_not_made():
    with pytest.raises(LimitExceeded):
        make_statement(StatementType.KEY_STATEMENT, {"a": limits.KEY_STATEMENT_LIMIT * "x"}, [ONE])
    for value, signers in (({"a": None}, [ONE]), ({"a": 1.5}, [ONE]), ({}, []), ({}, [ONE, ONE])):
        with pytest.raises(FormatError):
            make_statement(StatementType.ROSTER, value, signers)


def test_no_bit_of_a_statement_can_be_changed():
    for position in range(len(FILE)):
        for bit in range(8):
            changed = bytearray(FILE)
            changed[position] ^= 1 << bit
            with pytest.raises((FormatError, BadSignature)):
                Statement.parse(bytes(changed), StatementType.ROSTER).verify_by(ONE.public)


@given(
    st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda kind, payload, lines: b"\n".join(
                [b"fedspallm-secure/1 " + kind.value.encode(), payload, *lines, b""]
            ),
            st.sampled_from(StatementType),
            st.sampled_from([b"{}", b'{"a":1}', b'{"a": 1}', b"[]", b"1"]) | st.binary(max_size=20),
            st.lists(
                st.builds(
                    lambda name, signature: name.hex().encode() + b" " + base64.b64encode(signature),
                    st.binary(min_size=32, max_size=32),
                    st.binary(min_size=63, max_size=SIGNATURE_SIZE),
                )
                | st.binary(max_size=20),
                max_size=3,
            ),
        ),
    )
)
def test_any_bytes_are_a_statement_or_one_of_our_errors(data):
    try:
        found = Statement.parse(data, None)
    except FedSpaError:
        return
    assert found.encode() == data
