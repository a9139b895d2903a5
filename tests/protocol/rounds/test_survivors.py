"""Survivor lists: what they say, who signs them, and who endorses them."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.encoding import canonical_json, encode_base64
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.signing import sign, verify_raw
from fedspallm_secure.errors import BadSignature, FedSpaError, FormatError, NotAwaited, WrongFederation
from fedspallm_secure.protocol.rounds.limits import GROUPS_LIMIT
from fedspallm_secure.protocol.rounds.survivors import (
    EndCode,
    Ended,
    Endorsement,
    Listed,
    ListedGroup,
    SurvivorList,
    check_endorsement,
    encode_survivors,
    endorse,
    parse_survivors,
)
from fedspallm_secure.protocol.statements import StatementType, make_statement
from tests.authority import FEDERATION, signer
from tests.protocol.altering import altered
from tests.protocol.rounds.altering import HEX, OTHER_HEX, faults, near, refuses, replaced

SERVER, NORTH, NOTARY = signer("server/hub"), signer("member/north"), signer("witness/notary")
GROUPS = (
    ListedGroup(0, (Listed("east", HEX), Listed("north", OTHER_HEX))),
    ListedGroup(9, (Listed("north", HEX),)),
)
ENDED = (Ended(4, EndCode.BAD_DEALING, ("south", "west")), Ended(10**9 - 1, EndCode.STOPPED))
GOOD = SurvivorList.make(SERVER, FEDERATION, 3, HEX, GROUPS, ENDED)
VALUE = {
    "federation": FEDERATION,
    "round": 3,
    "plan_hash": HEX,
    "groups": [
        {"gid": 0, "members": [{"id": "east", "deal": HEX}, {"id": "north", "deal": OTHER_HEX}]},
        {"gid": 9, "members": [{"id": "north", "deal": HEX}]},
    ],
    "ended": [
        {"gid": 4, "code": "BAD_DEALING", "named": ["south", "west"]},
        {"gid": 999_999_999, "code": "STOPPED", "named": []},
    ],
}


def by_the_specification(*parts: bytes) -> bytes:
    return len(parts).to_bytes(8, "little") + b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def said(value: object) -> bytes:
    """The file of a statement that says `value`, signed by the server."""
    return make_statement(StatementType.SURVIVORS, value, [SERVER]).encode()


def forged(**changes) -> SurvivorList:
    """The good list with something changed in its file, under the signature that it had."""
    return SurvivorList.parse(dataclasses.replace(GOOD.statement, **changes).encode())


def test_what_is_made_says_what_the_specification_lists_and_reads_back():
    assert GOOD.statement.value == VALUE
    assert GOOD.statement.payload == json.dumps(VALUE, sort_keys=True, separators=(",", ":")).encode()
    assert SurvivorList.parse(GOOD.encode()) == GOOD == SurvivorList.parse(said(VALUE))
    assert (GOOD.federation, GOOD.round, GOOD.plan_hash, GOOD.groups, GOOD.ended) == (
        FEDERATION,
        3,
        HEX,
        GROUPS,
        ENDED,
    )
    assert GOOD.hash == GOOD.statement.digest.hex()
    GOOD.check(SERVER.public, FEDERATION, 3, HEX)


def test_its_groups_are_found_by_their_number():
    assert [GOOD.group(gid) for gid in (0, 9)] == list(GROUPS)
    assert [GOOD.group(gid) for gid in (1, 4, 999_999_999)] == [None] * 3
    assert GROUPS[0].ids == ("east", "north")
    assert GROUPS[0].deals == {"east": HEX, "north": OTHER_HEX}


def test_codes_are_those_of_the_specification():
    assert [code.value for code in EndCode] == [
        "TOO_FEW_CONTRIBUTIONS",
        "TOO_FEW_ENDORSEMENTS",
        "TOO_FEW_RESPONSES",
        "BAD_DEALING",
        "SUM_OUT_OF_RANGE",
        "STOPPED",
    ]


def test_it_is_of_one_federation_round_and_plan():
    for expected, error in (
        (("hearts.example", 3, HEX), WrongFederation),
        ((FEDERATION, 2, HEX), NotAwaited),
        ((FEDERATION, 3, OTHER_HEX), NotAwaited),
    ):
        with pytest.raises(error):
            GOOD.check(SERVER.public, *expected)


def test_only_the_server_makes_it():
    with pytest.raises(BadSignature):
        GOOD.check(NORTH.public, FEDERATION, 3, HEX)
    by_north = SurvivorList.make(NORTH, FEDERATION, 3, HEX, GROUPS, ENDED)
    posed = GOOD.statement.signatures[0][0], by_north.statement.signatures[0][1]
    with pytest.raises(BadSignature):
        forged(signatures=(posed,)).check(SERVER.public, FEDERATION, 3, HEX)
    with pytest.raises(FormatError):
        SurvivorList.parse(altered(GOOD.statement))


def test_nobody_can_be_put_on_it_or_taken_off():
    for path, by in (
        (("groups", 0, "members"), VALUE["groups"][0]["members"][:1]),
        (("groups", 0, "members", 0, "deal"), OTHER_HEX),
        (("ended",), []),
    ):
        with pytest.raises(BadSignature):
            forged(payload=canonical_json(replaced(VALUE, *path, by=by))).check(SERVER.public, FEDERATION, 3, HEX)


def test_a_result_cannot_pose_as_one():
    other = make_statement(StatementType.RESULT, VALUE, [SERVER]).encode()
    with pytest.raises(FormatError, match="type result"):
        SurvivorList.parse(other)
    posed = SurvivorList.parse(other.replace(b" result", b" survivors", 1))
    with pytest.raises(BadSignature):
        posed.check(SERVER.public, FEDERATION, 3, HEX)


@pytest.mark.parametrize("fault", faults(VALUE), ids=lambda fault: fault[0])
def test_a_single_fault_is_refused(fault):
    with pytest.raises(FormatError):
        SurvivorList.parse(said(fault[1]))


@pytest.mark.parametrize(
    ("path", "bad"),
    [
        (("federation",), "Lungs.example"),
        (("round",), 0),
        (("plan_hash",), HEX.upper()),
        (("plan_hash",), "*"),
        (("groups", 1, "gid"), 0),
        (("groups", 1, "gid"), 4),
        (("groups", 1, "gid"), 10**9),
        (("groups", 0, "gid"), 10),
        (("groups", 0, "members"), []),
        (("groups", 0, "members", 1, "id"), "east"),
        (("groups", 0, "members", 1, "id"), "a"),
        (("groups", 0, "members", 1, "id"), "north-"),
        (("groups", 0, "members", 1, "id"), "member/north"),
        (("groups", 0, "members", 1, "deal"), HEX[:-2]),
        (("groups", 0, "members", 1, "deal"), HEX.upper()),
        (("groups", 0, "members", 1, "deal"), ""),
        (("ended", 0, "gid"), 9),
        (("ended", 0, "gid"), 999_999_999),
        (("ended", 1, "gid"), 10**9),
        (("ended", 0, "code"), "bad_dealing"),
        (("ended", 0, "code"), ""),
        (("ended", 0, "named"), ["west", "south"]),
        (("ended", 0, "named"), ["west", "west"]),
        (("ended", 0, "named"), ["member/west"]),
        (("ended", 0, "named"), [""]),
    ],
)
def test_other_values_are_refused(path, bad):
    value = replaced(VALUE, *path, by=bad)
    with pytest.raises(FormatError):
        SurvivorList.parse(said(value))


def test_a_list_may_have_no_groups_and_no_ends():
    for groups, ended in ((GROUPS, ()), ((), ENDED), ((), ())):
        made = SurvivorList.make(SERVER, FEDERATION, 3, HEX, groups, ended)
        assert SurvivorList.parse(made.encode()) == made


def test_no_list_says_another_thing_than_its_statement():
    for changes in (
        {"federation": "hearts.example"},
        {"round": 4},
        {"plan_hash": OTHER_HEX},
        {"groups": GROUPS[:1]},
        {"ended": ()},
    ):
        with pytest.raises(FormatError, match="not what its statement says"):
            dataclasses.replace(GOOD, **changes)


def test_nothing_is_half_valid_however_it_is_made():
    for make in (
        lambda: Listed("East", HEX),
        lambda: Listed("east", HEX[2:]),
        lambda: ListedGroup(-1, GROUPS[0].members),
        lambda: ListedGroup(10**9, GROUPS[0].members),
        lambda: ListedGroup(0, ()),
        lambda: ListedGroup(0, GROUPS[0].members[::-1]),
        lambda: ListedGroup(0, GROUPS[0].members[:1] * 2),
        lambda: Ended(10**9, EndCode.STOPPED),
        lambda: Ended(1, EndCode.STOPPED, ("b", "a")),
        lambda: Ended(1, EndCode.STOPPED, ("a", "a")),
        lambda: Ended(1, EndCode.STOPPED, ("A",)),
        lambda: Endorsement(HEX[2:], bytes(64)),
        lambda: Endorsement(HEX, bytes(63)),
        lambda: Endorsement(HEX, b""),
    ):
        with pytest.raises(FormatError):
            make()


def test_groups_and_members_have_a_limit():
    names = tuple(Listed(f"m{i:05}", HEX) for i in range(10_001))
    assert len(ListedGroup(0, names[:-1]).ids) == 10_000
    with pytest.raises(FormatError, match="too many"):
        ListedGroup(0, names)
    ended = [Ended(gid, EndCode.STOPPED) for gid in range(10, 11 + GROUPS_LIMIT)]
    full = SurvivorList.make(SERVER, FEDERATION, 1, HEX, GROUPS, ended[: GROUPS_LIMIT - 2])
    assert len(full.ended) == GROUPS_LIMIT - 2
    with pytest.raises(FormatError, match="too many"):
        SurvivorList.make(SERVER, FEDERATION, 1, HEX, GROUPS, ended[: GROUPS_LIMIT - 1])


def test_an_endorsement_is_a_signature_over_the_list():
    for party in (NORTH, NOTARY):
        signature = endorse(party, GOOD)
        message = by_the_specification(b"fsps/1/sign/endorsement", GOOD.statement.payload)
        assert verify_raw(party.public, message, signature)
        check_endorsement(party.public, GOOD, signature)


def test_nothing_else_is_an_endorsement():
    good, payload = endorse(NORTH, GOOD), GOOD.statement.payload
    for public, survivors, signature in (
        (NOTARY.public, GOOD, good),
        (NORTH.public, SurvivorList.make(SERVER, FEDERATION, 3, HEX, GROUPS, ENDED[:1]), good),
        (NORTH.public, GOOD, good[:-1] + bytes([good[-1] ^ 1])),
        (NORTH.public, GOOD, good[:-1]),
        (NORTH.public, GOOD, b""),
        (NORTH.public, GOOD, sign(NORTH, Label.SIGN_SURVIVORS, payload)),
        (NORTH.public, GOOD, sign(NORTH, Label.SIGN_BEACON, payload)),
    ):
        with pytest.raises(BadSignature):
            check_endorsement(public, survivors, signature)


def test_the_server_s_signature_endorses_nothing_and_an_endorsement_makes_no_list():
    key, signature = GOOD.statement.signatures[0]
    with pytest.raises(BadSignature):
        check_endorsement(SERVER.public, GOOD, signature)
    with pytest.raises(BadSignature):
        forged(signatures=((key, endorse(SERVER, GOOD)),)).check(SERVER.public, FEDERATION, 3, HEX)


ENDORSEMENT = {"survivors": HEX, "signature": encode_base64(bytes(range(64)))}
CARRIED = {"statement": encode_base64(GOOD.encode())}


def test_the_packages_carry_them():
    assert encode_survivors(GOOD) == b'{"statement":"%s"}' % encode_base64(GOOD.encode()).encode()
    assert parse_survivors(encode_survivors(GOOD)) == GOOD
    made = Endorsement(HEX, bytes(range(64)))
    assert made.encode() == canonical_json(ENDORSEMENT)
    assert Endorsement.parse(made.encode()) == made


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        *((parse_survivors, bad) for _, bad in faults(CARRIED)),
        (parse_survivors, {"statement": encode_base64(GOOD.encode() + b"\n")}),
        (parse_survivors, {"statement": encode_base64(make_statement(StatementType.RESULT, VALUE, [SERVER]).encode())}),
        *((Endorsement.parse, bad) for _, bad in faults(ENDORSEMENT)),
        (Endorsement.parse, {**ENDORSEMENT, "signature": encode_base64(bytes(63))}),
        (Endorsement.parse, {**ENDORSEMENT, "signature": ""}),
        (Endorsement.parse, {**ENDORSEMENT, "survivors": HEX.upper()}),
        (Endorsement.parse, {**ENDORSEMENT, "survivors": "*"}),
    ],
)
def test_other_bodies_are_refused(parse, value):
    with pytest.raises(FormatError):
        parse(canonical_json(value))


@given(near(VALUE))
def test_any_json_is_a_list_or_refused(value):
    if type(value) is dict:
        refuses(SurvivorList.parse, said(value))


@given(near(ENDORSEMENT))
def test_any_json_is_an_endorsement_or_refused(value):
    refuses(Endorsement.parse, canonical_json(value))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data):
    for parse in (SurvivorList.parse, parse_survivors, Endorsement.parse):
        with pytest.raises(FormatError):
            parse(data)


@given(st.integers(0, 2**14), st.binary(max_size=40))
def test_any_change_is_one_of_our_errors(position, data):
    good = GOOD.encode()
    changed = good[: position % len(good)] + data + good[position % len(good) + len(data) :]
    try:
        found = SurvivorList.parse(changed)
        found.check(SERVER.public, FEDERATION, 3, HEX)
    except FedSpaError:
        return
    assert found.encode() == changed == good
