"""Aborts, and the result of a round."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.encoding import canonical_json
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.signing import sign
from fedspallm_secure.errors import BadSignature, FedSpaError, FormatError, NotAwaited, WrongFederation
from fedspallm_secure.protocol.rounds.outcomes import Abort, EndCode, Ended, GroupResult, Result
from fedspallm_secure.protocol.statements import StatementType, make_statement
from tests.authority import FEDERATION, signer
from tests.protocol.altering import altered
from tests.protocol.rounds.altering import HEX, OTHER_HEX, faults, near, refuses, replaced

SERVER, NORTH = signer("server/hub"), signer("member/north")
GROUPS = (GroupResult(2, 100, 5, HEX, OTHER_HEX, 60, 40, HEX), GroupResult(7, 1, 3, HEX, "*", 0, 0))
ENDED = (Ended(4, EndCode.TOO_FEW_RESPONSES),)
ANSWERED = ("east", "north", "south")
GOOD = Result.make(SERVER, FEDERATION, 3, HEX, OTHER_HEX, GROUPS, ENDED, ANSWERED)
VALUE = {
    "federation": FEDERATION,
    "round": 3,
    "plan_hash": HEX,
    "survivors": OTHER_HEX,
    "groups": [
        {
            "gid": 2,
            "weights": 100,
            "survivors": 5,
            "counts": HEX,
            "sums": OTHER_HEX,
            "unanimous": 60,
            "single": 40,
            "layer": HEX,
        },
        {"gid": 7, "weights": 1, "survivors": 3, "counts": HEX, "sums": "*", "unanimous": 0, "single": 0, "layer": "*"},
    ],
    "ended": [{"gid": 4, "code": "TOO_FEW_RESPONSES", "named": []}],
    "answered": ["east", "north", "south"],
}


def said(value: object) -> bytes:
    """The file of a statement that says `value`, signed by the server."""
    return make_statement(StatementType.RESULT, value, [SERVER]).encode()


def forged(**changes) -> Result:
    """The good result with something changed in its file, under the signature that it had."""
    return Result.parse(dataclasses.replace(GOOD.statement, **changes).encode())


def test_what_is_made_says_what_the_specification_lists_and_reads_back():
    assert GOOD.statement.value == VALUE
    assert GOOD.statement.payload == json.dumps(VALUE, sort_keys=True, separators=(",", ":")).encode()
    assert Result.parse(GOOD.encode()) == GOOD == Result.parse(said(VALUE))
    assert (GOOD.federation, GOOD.round, GOOD.plan_hash, GOOD.survivors) == (FEDERATION, 3, HEX, OTHER_HEX)
    assert (GOOD.groups, GOOD.ended, GOOD.answered) == (GROUPS, ENDED, ANSWERED)
    assert (GOOD.group(7), GOOD.group(4)) == (GROUPS[1], None)
    assert GOOD.hash == GOOD.statement.digest.hex()
    GOOD.check(SERVER.public, FEDERATION, 3, HEX)


def test_it_is_of_one_federation_round_and_plan():
    for expected, error in (
        (("hearts.example", 3, HEX), WrongFederation),
        ((FEDERATION, 4, HEX), NotAwaited),
        ((FEDERATION, 3, OTHER_HEX), NotAwaited),
    ):
        with pytest.raises(error):
            GOOD.check(SERVER.public, *expected)


def test_only_the_server_states_it():
    with pytest.raises(BadSignature):
        GOOD.check(NORTH.public, FEDERATION, 3, HEX)
    with pytest.raises(FormatError):
        Result.parse(altered(GOOD.statement))
    key = GOOD.statement.signatures[0][0]
    for who, label in ((NORTH, Label.SIGN_RESULT), (SERVER, Label.SIGN_SURVIVORS), (SERVER, Label.SIGN_ENDORSEMENT)):
        posed = key, sign(who, label, GOOD.statement.payload)
        with pytest.raises(BadSignature):
            forged(signatures=(posed,)).check(SERVER.public, FEDERATION, 3, HEX)


def test_no_number_of_it_can_be_changed():
    for path, by in ((("groups", 0, "unanimous"), 59), (("groups", 0, "layer"), OTHER_HEX), (("answered",), [])):
        with pytest.raises(BadSignature):
            forged(payload=canonical_json(replaced(VALUE, *path, by=by))).check(SERVER.public, FEDERATION, 3, HEX)


@pytest.mark.parametrize("fault", faults(VALUE), ids=lambda fault: fault[0])
def test_a_single_fault_is_refused(fault):
    with pytest.raises(FormatError):
        Result.parse(said(fault[1]))


@pytest.mark.parametrize(
    ("path", "bad"),
    [
        (("federation",), "Lungs.example"),
        (("round",), 0),
        (("plan_hash",), "*"),
        (("survivors",), "*"),
        (("groups", 0, "layer"), ""),
        (("groups", 0, "layer"), HEX.upper()),
        (("survivors",), HEX.upper()),
        (("groups", 0, "gid"), 4),
        (("groups", 0, "gid"), 7),
        (("groups", 0, "gid"), 8),
        (("groups", 1, "gid"), 10**9),
        (("groups", 0, "weights"), 0),
        (("groups", 0, "weights"), 99),
        (("groups", 0, "survivors"), 0),
        (("groups", 0, "survivors"), 10_001),
        (("groups", 0, "counts"), "*"),
        (("groups", 0, "counts"), HEX[2:]),
        (("groups", 0, "sums"), ""),
        (("groups", 0, "sums"), HEX.upper()),
        (("groups", 0, "unanimous"), 61),
        (("groups", 0, "unanimous"), 101),
        (("groups", 0, "single"), 41),
        (("groups", 0, "single"), 101),
        (("ended", 0, "gid"), 2),
        (("ended", 0, "code"), "BORED"),
        (("answered",), ["north", "east"]),
        (("answered",), ["east", "east"]),
        (("answered",), ["member/east"]),
        (("answered",), ["East"]),
    ],
)
def test_other_values_are_refused(path, bad):
    with pytest.raises(FormatError):
        Result.parse(said(replaced(VALUE, *path, by=bad)))


def test_no_result_says_another_thing_than_its_statement():
    for changes in (
        {"federation": "hearts.example"},
        {"round": 4},
        {"plan_hash": OTHER_HEX},
        {"survivors": HEX},
        {"groups": GROUPS[:1]},
        {"ended": ()},
        {"answered": ANSWERED[:1]},
    ):
        with pytest.raises(FormatError, match="not what its statement says"):
            dataclasses.replace(GOOD, **changes)


def test_a_weight_is_kept_by_one_and_by_all_only_where_one_is_all():
    assert GroupResult(0, 10, 1, HEX, HEX, 10, 10).single == 10
    for survivors, unanimous, single in ((2, 10, 1), (1, 11, 0), (1, 10, 11), (3, 6, 5), (3, -1, 5), (3, 5, -1)):
        with pytest.raises(FormatError):
            GroupResult(0, 10, survivors, HEX, HEX, unanimous, single)


ABORT = {"gid": "7", "code": "STOPPED", "named": ["east", "north"]}


@pytest.mark.parametrize(
    ("message", "body"),
    [
        (Abort(None, EndCode.STOPPED), b'{"code":"STOPPED","gid":"*","named":[]}'),
        (Abort(0, EndCode.BAD_DEALING, ("a", "b")), b'{"code":"BAD_DEALING","gid":"0","named":["a","b"]}'),
        (Abort(10**9 - 1, EndCode.SUM_OUT_OF_RANGE), b'{"code":"SUM_OUT_OF_RANGE","gid":"999999999","named":[]}'),
    ],
    ids=["round", "first group", "last group"],
)
def test_bodies_are_those_of_the_specification_and_read_back(message, body):
    assert message.encode() == body
    assert type(message).parse(body) == message


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        *((Abort.parse, bad) for _, bad in faults(ABORT)),
        *(
            (Abort.parse, {**ABORT, "gid": gid})
            for gid in ("", "07", "-1", "+7", "1000000000", "7.0", "1_0", "0x7", "**", "\u0667", "\u00b2", "7" * 5000)
        ),
        (Abort.parse, {**ABORT, "code": "stopped"}),
        (Abort.parse, {**ABORT, "named": ["north", "east"]}),
        (Abort.parse, {**ABORT, "named": ["witness/north"]}),
        (Abort.parse, {**ABORT, "named": [7]}),
    ],
)
def test_other_bodies_are_refused(parse, value):
    with pytest.raises(FormatError):
        parse(canonical_json(value))


def test_nothing_is_half_valid_however_it_is_made():
    for make in (
        lambda: Abort(-1, EndCode.STOPPED),
        lambda: Abort(10**9, EndCode.STOPPED),
        lambda: Abort(None, EndCode.STOPPED, ("b", "a")),
        lambda: Abort(1, EndCode.STOPPED, ("",)),
        lambda: GroupResult(-1, 1, 1, HEX, HEX, 0, 0),
        lambda: GroupResult(0, 1, 1, HEX, HEX, 0, 0, ""),
        lambda: GroupResult(0, 0, 1, HEX, HEX, 0, 0),
        lambda: GroupResult(0, 2**53, 1, HEX, HEX, 0, 0),
    ):
        with pytest.raises(FormatError):
            make()


@given(near(VALUE))
def test_any_json_is_a_result_or_refused(value):
    if type(value) is dict:
        refuses(Result.parse, said(value))


@given(near(ABORT))
def test_any_json_is_an_abort_or_refused(value):
    refuses(Abort.parse, canonical_json(value))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data):
    for parse in (Result.parse, Abort.parse):
        with pytest.raises(FormatError):
            parse(data)


@given(st.integers(0, 2**14), st.binary(max_size=40))
def test_any_change_is_one_of_our_errors(position, data):
    good = GOOD.encode()
    changed = good[: position % len(good)] + data + good[position % len(good) + len(data) :]
    try:
        found = Result.parse(changed)
        found.check(SERVER.public, FEDERATION, 3, HEX)
    except FedSpaError:
        return
    assert found.encode() == changed == good
