"""The opening of a round, what beacon witnesses sign, and the seed that comes of it."""

import dataclasses
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.encoding import INTEGER_BOUND, canonical_json, encode_base64
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.signing import sign, verify_raw
from fedspallm_secure.errors import (
    BadSignature,
    FedSpaError,
    FormatError,
    LimitExceeded,
    NotAwaited,
    WrongFederation,
    WrongRoster,
)
from fedspallm_secure.protocol.limits import OPENING_LIMIT, PARTIES_LIMIT
from fedspallm_secure.protocol.rounds.openings import (
    Opening,
    PrekeyUse,
    beacon_seed,
    beacon_signature,
    check_beacon,
    encode_beacon,
    encode_opening,
    parse_beacon,
    parse_opening,
)
from fedspallm_secure.protocol.statements import StatementType, make_statement
from tests.authority import FEDERATION, signer
from tests.protocol.altering import altered
from tests.protocol.rounds.altering import HEX, OTHER_HEX, faults, near, refuses, replaced

SERVER, WITNESS, OTHER = signer("server/hub"), signer("witness/notary"), signer("witness/other")
USES = (PrekeyUse("east", HEX, 0), PrekeyUse("north", OTHER_HEX, 7))
GOOD = Opening.make(SERVER, FEDERATION, 3, HEX, OTHER_HEX, USES)
VALUE = {
    "federation": FEDERATION,
    "round": 3,
    "roster": HEX,
    "sampling": OTHER_HEX,
    "prekeys": [{"id": "east", "bundle": HEX, "index": 0}, {"id": "north", "bundle": OTHER_HEX, "index": 7}],
}


def by_the_specification(*parts: bytes) -> bytes:
    return len(parts).to_bytes(8, "little") + b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def said(value: object) -> bytes:
    """The file of a statement that says `value`, signed by the server."""
    return make_statement(StatementType.OPENING, value, [SERVER]).encode()


def test_what_is_made_says_what_the_specification_lists_and_reads_back():
    assert GOOD.statement.value == VALUE
    assert GOOD.statement.payload == json.dumps(VALUE, sort_keys=True, separators=(",", ":")).encode()
    assert Opening.parse(GOOD.encode()) == GOOD == Opening.parse(said(VALUE))
    assert (GOOD.federation, GOOD.round, GOOD.roster, GOOD.prekeys) == (FEDERATION, 3, HEX, USES)
    assert GOOD.hash == GOOD.statement.digest.hex()
    GOOD.check(SERVER.public, FEDERATION, 3, HEX)


def test_it_is_of_one_federation_round_and_roster():
    for expected, error in (
        (("hearts.example", 3, HEX), WrongFederation),
        ((FEDERATION, 4, HEX), NotAwaited),
        ((FEDERATION, 3, OTHER_HEX), WrongRoster),
    ):
        with pytest.raises(error):
            GOOD.check(SERVER.public, *expected)


def test_only_the_server_opens_a_round():
    with pytest.raises(BadSignature):
        GOOD.check(WITNESS.public, FEDERATION, 3, HEX)
    posed = GOOD.statement.signatures[0][0], beacon_signature(SERVER, GOOD)
    with pytest.raises(BadSignature):
        forged(GOOD, signatures=(posed,)).check(SERVER.public, FEDERATION, 3, HEX)
    changed = canonical_json({**VALUE, "round": 4})
    with pytest.raises(BadSignature):
        forged(GOOD, payload=changed).check(SERVER.public, FEDERATION, 4, HEX)


def forged(opening: Opening, **changes) -> Opening:
    """An opening whose file was changed, under the signature that it had."""
    return Opening.parse(dataclasses.replace(opening.statement, **changes).encode())


@pytest.mark.parametrize("fault", faults(VALUE), ids=lambda fault: fault[0])
def test_a_single_fault_is_refused(fault):
    with pytest.raises(FormatError):
        Opening.parse(said(fault[1]))


@pytest.mark.parametrize(
    ("path", "bad"),
    [
        (("federation",), "Lungs.example"),
        (("round",), 0),
        (("roster",), HEX.upper()),
        (("roster",), HEX[2:]),
        (("roster",), "*"),
        (("prekeys",), []),
        (("prekeys", 0, "id"), "East"),
        (("prekeys", 0, "id"), "member/east"),
        (("prekeys", 0, "id"), 64 * "e"),
        (("prekeys", 0, "id"), "north"),
        (("prekeys", 0, "id"), "west"),
        (("prekeys", 0, "bundle"), HEX.upper()),
        (("prekeys", 0, "bundle"), HEX[:32]),
    ],
)
def test_other_values_are_refused(path, bad):
    with pytest.raises(FormatError):
        Opening.parse(said(replaced(VALUE, *path, by=bad)))


def test_no_opening_says_another_thing_than_its_statement():
    for changes in (
        {"round": 4},
        {"prekeys": USES[:1]},
        {"roster": OTHER_HEX},
        {"sampling": HEX},
        {"federation": "hearts.example"},
    ):
        with pytest.raises(FormatError, match="not what its statement says"):
            dataclasses.replace(GOOD, **changes)


def test_indices_lie_below_the_bound_of_integers():
    assert PrekeyUse("east", HEX, INTEGER_BOUND - 1).index == INTEGER_BOUND - 1
    for index in (-1, INTEGER_BOUND):
        with pytest.raises(FormatError):
            PrekeyUse("east", HEX, index)


def test_a_federation_of_members_fits_and_twelve_thousand_do_not():
    names = [f"m{i:062}" for i in range(12_000)]
    full = Opening.make(
        SERVER, FEDERATION, 1, HEX, HEX, [PrekeyUse(name, HEX, INTEGER_BOUND - 1) for name in names[:PARTIES_LIMIT]]
    )
    assert len(full.encode()) < OPENING_LIMIT
    uses = tuple(PrekeyUse(name, HEX, 0) for name in names)
    with pytest.raises(FormatError, match="too many"):
        dataclasses.replace(full, prekeys=uses)
    with pytest.raises(FormatError):
        Opening.make(SERVER, FEDERATION, 1, HEX, HEX, uses)
    with pytest.raises(LimitExceeded):
        Opening.make(SERVER, FEDERATION, 1, HEX, HEX, uses[:9_000])


def test_a_beacon_is_a_signature_over_the_opening():
    signature = beacon_signature(WITNESS, GOOD)
    message = by_the_specification(b"fsps/1/sign/beacon", GOOD.statement.payload)
    assert verify_raw(WITNESS.public, message, signature)
    check_beacon(WITNESS.public, GOOD, signature)


def test_nothing_else_is_a_beacon():
    good = beacon_signature(WITNESS, GOOD)
    another = Opening.make(SERVER, FEDERATION, 4, HEX, HEX, USES)
    for public, opening, signature in (
        (OTHER.public, GOOD, good),
        (WITNESS.public, another, good),
        (WITNESS.public, GOOD, good[:-1] + bytes([good[-1] ^ 1])),
        (WITNESS.public, GOOD, good[:-1]),
        (WITNESS.public, GOOD, sign(WITNESS, Label.SIGN_OPENING, GOOD.statement.payload)),
        (WITNESS.public, GOOD, sign(WITNESS, Label.SIGN_ENDORSEMENT, GOOD.statement.payload)),
        (SERVER.public, GOOD, GOOD.statement.signatures[0][1]),
    ):
        with pytest.raises(BadSignature):
            check_beacon(public, opening, signature)


def test_the_seed_is_that_of_the_specification():
    signatures = [beacon_signature(one, GOOD) for one in (WITNESS, OTHER)]
    expected = by_the_specification(b"fsps/1/secagg/beacon", GOOD.statement.payload, *signatures)
    assert beacon_seed(GOOD, signatures) == hashlib.sha256(expected).digest()
    seeds = {
        beacon_seed(GOOD, signatures),
        beacon_seed(GOOD, signatures[::-1]),
        beacon_seed(GOOD, signatures[:1]),
        beacon_seed(Opening.make(SERVER, FEDERATION, 4, HEX, HEX, USES), signatures),
    }
    assert len(seeds) == 4


def test_no_seed_comes_of_no_signature():
    for signatures in ([], [b""], [bytes(63)], [bytes(64), bytes(65)]):
        with pytest.raises(FormatError):
            beacon_seed(GOOD, signatures)


def test_the_packages_carry_them():
    assert encode_opening(GOOD) == b'{"statement":"%s"}' % encode_base64(GOOD.encode()).encode()
    assert parse_opening(encode_opening(GOOD)) == GOOD
    assert encode_beacon(bytes(64)) == b'{"signature":"%s=="}' % (86 * b"A")
    assert parse_beacon(encode_beacon(bytes(range(64)))) == bytes(range(64))
    for size in (0, 63, 65):
        with pytest.raises(FormatError):
            encode_beacon(bytes(size))


OPENED = {"statement": encode_base64(GOOD.encode())}
BEACON = {"signature": encode_base64(bytes(64))}


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        *((parse_opening, bad) for _, bad in faults(OPENED)),
        (parse_opening, {"statement": encode_base64(GOOD.encode() + b"\n")}),
        (parse_opening, {"statement": encode_base64(make_statement(StatementType.RESULT, VALUE, [SERVER]).encode())}),
        *((parse_beacon, bad) for _, bad in faults(BEACON)),
        (parse_beacon, {"signature": encode_base64(bytes(63))}),
        (parse_beacon, {"signature": bytes(64).hex()}),
    ],
)
def test_other_bodies_are_refused(parse, value):
    with pytest.raises(FormatError):
        parse(canonical_json(value))


@given(near(VALUE))
def test_any_json_is_an_opening_or_refused(value):
    if type(value) is dict:
        refuses(Opening.parse, said(value))


@given(st.integers(0, 2**14), st.binary(max_size=40))
def test_any_change_is_one_of_our_errors(position, data):
    good = GOOD.encode()
    changed = good[: position % len(good)] + data + good[position % len(good) + len(data) :]
    try:
        found = Opening.parse(changed)
        found.check(SERVER.public, FEDERATION, 3, HEX)
    except FedSpaError:
        return
    assert found.encode() == changed == good


def test_the_server_cannot_leave_out_who_signs():
    with pytest.raises(FormatError):
        Opening.parse(altered(GOOD.statement))
