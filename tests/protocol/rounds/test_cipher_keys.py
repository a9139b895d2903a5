"""Cipher keys: what a statement says, what reads back, and every form and signature that is refused."""

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.encoding import canonical_json, encode_base64
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import (
    BadSignature,
    CapacityExceeded,
    CertificateExpired,
    CertificateRefused,
    FedSpaError,
    FormatError,
    LimitExceeded,
)
from fedspallm_secure.he.parameters import choose
from fedspallm_secure.protocol.limits import CIPHER_KEY_LIMIT
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.statements import StatementType, make_statement
from tests.parties import DAY, NOW
from tests.protocol.rounds.altering import faults
from tests.protocol.rounds.member_stage import HOLDER, KEY_SECRET, cipher_key, lungs

KEY = cipher_key()
BODY = KEY.encode()
VALUE = {  # by hand, from SPEC section 24.2
    "federation": lungs().name,
    "role": "key-holder",
    "id": "vault",
    "index": 3,
    "parameters": choose(5, 429496729).to_dict(),
    "public": hashlib.sha256(b"a public key").hexdigest(),
    "recipient": encode_base64(KEY_SECRET.recipient_key.public),
    "not_before": NOW - DAY,
    "not_after": NOW + 60 * DAY,
}


def body(value: object, public: bytes = b"a public key") -> bytes:
    statement = make_statement(StatementType.CIPHER_KEY, value, [lungs()[str(HOLDER)].signer]).encode()
    return len(statement).to_bytes(4, "little") + statement + public


def test_a_key_says_what_the_specification_lists_and_reads_back():
    lines = KEY.statement.encode().splitlines()
    assert lines[0] == b"fedspallm-secure/1 cipher-key" and json.loads(lines[1]) == VALUE
    assert lines[1] == canonical_json(VALUE)
    length = int.from_bytes(BODY[:4], "little")
    assert BODY[4 : 4 + length] == KEY.statement.encode() and BODY[4 + length :] == b"a public key"
    assert CipherKey.parse(BODY) == KEY and CipherKey.parse(BODY).encode() == BODY
    assert KEY.hash == KEY.statement.digest.hex()


def test_it_never_shows_the_key_itself():
    assert "a public key" not in repr(KEY)


def test_statements_with_one_fault():
    """Only another time, index or name is a key of its own."""
    accepted = set()
    for what, value in faults(VALUE):
        try:
            found = CipherKey.parse(body(value))
        except (FormatError, CapacityExceeded):
            continue
        assert json.loads(found.statement.encode().splitlines()[1]) == value
        accepted.add(what)
    assert accepted == set()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"role": "member"}, FormatError),
        ({"role": "server"}, FormatError),
        ({"index": 0}, FormatError),
        ({"index": 2**53}, FormatError),
        ({"public": "00" * 32}, FormatError),
        ({"recipient": encode_base64(KEY_SECRET.recipient_key.public[:-1])}, FormatError),
        ({"recipient": "?"}, FormatError),
        ({"not_before": NOW + 90 * DAY}, FormatError),
        ({"parameters": {**VALUE["parameters"], "members": 4}}, FormatError),
        ({"parameters": {**VALUE["parameters"], "plain_modulus": 12289}}, FormatError),
        ({"parameters": {**VALUE["parameters"], "scheme": "ckks"}}, FormatError),
        ({"parameters": {**VALUE["parameters"], "members": 1}}, CapacityExceeded),
    ],
    ids=str,
)
def test_statements_that_no_key_holder_makes(change, error):
    with pytest.raises((error,)):
        CipherKey.parse(body({**VALUE, **change}))


@pytest.mark.parametrize(
    "data",
    [b"", BODY[:4], bytes(4) + BODY[4:], BODY[: 4 + int.from_bytes(BODY[:4], "little")], BODY + b"x", BODY[:-1]],
    ids=range(6),
)
def test_bodies_that_are_cut_or_longer(data):
    with pytest.raises(FormatError):
        CipherKey.parse(data)


def test_a_length_beyond_the_limit_is_not_believed():
    with pytest.raises((FormatError, LimitExceeded)):
        CipherKey.parse((CIPHER_KEY_LIMIT + 1).to_bytes(4, "little") + bytes(CIPHER_KEY_LIMIT + 9))


@given(st.binary(max_size=80), st.integers(0, len(BODY)), st.integers(0, 8))
def test_whatever_comes_is_a_key_that_is_written_the_same_or_refused(junk, at, cut):
    data = BODY[:at] + junk + BODY[at + cut :]
    try:
        found = CipherKey.parse(data)
    except FedSpaError:
        return
    assert found.encode() == data


# Whose it is


def test_a_good_one_passes_and_its_twins_do_not():
    public, federation = lungs()[str(HOLDER)].leaf.public, lungs().name
    KEY.check(public, federation, HOLDER, NOW)
    for error, arguments in (
        (BadSignature, (lungs()["server/hub"].leaf.public, federation, HOLDER, NOW)),
        (CertificateRefused, (public, "hearts.example", HOLDER, NOW)),
        (CertificateRefused, (public, federation, Party.parse("key-holder/other"), NOW)),
        (CertificateExpired, (public, federation, HOLDER, NOW + 63 * DAY)),
    ):
        with pytest.raises(error):
            KEY.check(*arguments)


def test_it_is_not_valid_before_its_time():
    later = cipher_key(not_before=NOW + 9 * DAY)
    with pytest.raises(FedSpaError):
        later.check(lungs()[str(HOLDER)].leaf.public, lungs().name, HOLDER, NOW)


def test_no_bit_of_the_signature_can_be_changed():
    public = lungs()[str(HOLDER)].leaf.public
    signature = KEY.statement.signatures[0]
    changed = replace(KEY.statement, signatures=((signature[0], bytes([signature[1][0] ^ 1]) + signature[1][1:]),))
    with pytest.raises(BadSignature):
        replace(KEY, statement=changed).check(public, lungs().name, HOLDER, NOW)
