"""Fingerprints: the numbers of SPEC section 4, and what people type."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.fingerprints import check_fingerprint, fingerprint, parse_fingerprint
from fedspallm_secure.errors import FingerprintMismatch, FormatError


def by_the_specification(data: bytes) -> str:
    """SPEC sections 1, 2 and 4, step by step."""
    parts = [b"fsps/1/digest/fingerprint", data]
    encoded = len(parts).to_bytes(8, "little")
    for part in parts:
        encoded += len(part).to_bytes(8, "little") + part
    value = hashlib.sha256(encoded).digest()
    groups = []
    for i in range(8):
        a, b, c, d = value[4 * i : 4 * i + 4]
        groups.append(str((((a * 256 + b) * 256 + c) * 256 + d) % 100_000).rjust(5, "0"))
    return " ".join(groups)


@given(st.binary(max_size=64))
def test_it_is_what_the_specification_says(data):
    assert fingerprint(data) == by_the_specification(data)


def test_it_stays_the_same():
    assert fingerprint(b"") == "61333 03394 14661 38372 81325 82514 60359 55701"


def test_people_may_type_it_in_their_way():
    typed = fingerprint(b"root").replace(" ", "-\n")
    assert parse_fingerprint(typed) == fingerprint(b"root")
    check_fingerprint(b"root", typed, "the root")


def test_one_wrong_digit_is_a_mismatch():
    right = fingerprint(b"root")
    wrong = right[:-1] + str((int(right[-1]) + 1) % 10)
    with pytest.raises(FingerprintMismatch, match="the root"):
        check_fingerprint(b"root", wrong, "the root")


@pytest.mark.parametrize("typed", ["", "12345", "1" * 41, "1" * 39 + "a", "\u0661" * 40])
def test_less_than_all_of_it_is_refused(typed):
    with pytest.raises(FormatError):
        check_fingerprint(b"root", typed, "the root")
