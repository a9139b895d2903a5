"""Key statements: recipient keys that a party states under its signing key."""

import pytest

from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.crypto.profiles import DAY
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.errors import BadSignature, CertificateExpired, CertificateRefused, FormatError, LimitExceeded
from fedspallm_secure.protocol.key_statements import KeyStatement
from tests.authority import FEDERATION, HUB, NORTH, NOW, recipient, signer
from tests.protocol.altering import NAMES, TIMES, altered, schema_faults

OWN = signer(str(NORTH))
KEYS = [recipient("north", kem).recipient_key for kem in (Kem.HYBRID, Kem.X25519)]
STATED = [{"kem": key.kem.value, "public": encode_base64(key.public)} for key in KEYS]
GOOD = KeyStatement.make(OWN, FEDERATION, NORTH, KEYS, NOW, NOW + DAY)


@pytest.mark.parametrize("keys", [KEYS, KEYS[::-1], KEYS[:1], KEYS[1:]], ids=["both", "turned", "hybrid", "x25519"])
def test_what_is_stated_reads_back_in_its_order(keys):
    made = KeyStatement.make(OWN, FEDERATION, NORTH, keys, NOW, NOW + DAY)
    found = KeyStatement.parse(made.encode())
    assert found == made
    assert (found.federation, found.party, found.keys) == (FEDERATION, NORTH, tuple(keys))
    found.check(OWN.public, FEDERATION, NORTH)


def test_only_the_party_s_own_key_states_its_keys():
    with pytest.raises(BadSignature):
        GOOD.check(signer("somebody").public, FEDERATION, NORTH)


def test_it_is_about_one_party_alone():
    for federation, party in ((FEDERATION, HUB), ("hearts.example", NORTH)):
        with pytest.raises(CertificateRefused):
            GOOD.check(OWN.public, federation, party)


def test_it_is_valid_from_its_first_to_its_last_second():
    GOOD.check_time(NOW)
    GOOD.check_time(NOW + DAY)
    for at, words in ((NOW - 1, "not valid yet"), (NOW + DAY + 1, "no longer valid")):
        with pytest.raises(CertificateExpired, match=words):
            GOOD.check_time(at)


@pytest.mark.parametrize("change", [*schema_faults(GOOD.statement), *NAMES], ids=str)
def test_the_schema_is_closed(change):
    with pytest.raises(FormatError):
        KeyStatement.parse(altered(GOOD.statement, OWN, **change))


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [STATED[0], STATED[0]],
        [*STATED, STATED[0]],
        ["x25519"],
        [{**STATED[0], "kem": "kyber"}],
        [{**STATED[0], "kem": "x25519"}],
        [{**STATED[0], "public": ""}],
        [{**STATED[0], "public": STATED[0]["public"] + "\u00e9"}],
        [{**STATED[0], "more": ""}],
        [{"kem": "x25519"}],
    ],
)
def test_other_keys_are_refused(keys):
    with pytest.raises(FormatError):
        KeyStatement.parse(altered(GOOD.statement, OWN, keys=keys))


@pytest.mark.parametrize("time", TIMES)
def test_times_can_be_written(time):
    for name in ("not_before", "not_after"):
        with pytest.raises(FormatError):
            KeyStatement.parse(altered(GOOD.statement, OWN, **{name: time}))


def test_it_does_not_end_before_it_begins():
    with pytest.raises(FormatError, match="before it begins"):
        KeyStatement.make(OWN, FEDERATION, NORTH, KEYS, NOW, NOW - 1)


def test_it_has_at_most_16_kib():
    with pytest.raises(LimitExceeded):
        KeyStatement.parse(GOOD.encode() + bytes(16 << 10))
