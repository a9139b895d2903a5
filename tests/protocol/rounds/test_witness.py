"""A witness signs one opening and one survivor list of a round, and nothing else."""

from dataclasses import replace

import pytest

from fedspallm_secure.crypto.encoding import canonical_json, parse_canonical_json
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.signing import verify
from fedspallm_secure.errors import BadSignature, FormatError, OutOfTurn, PlanDeclined, UnmaskingDeclined
from fedspallm_secure.protocol.rounds.messages import Incoming, Step
from fedspallm_secure.protocol.rounds.openings import Opening, check_beacon, encode_opening, parse_beacon
from fedspallm_secure.protocol.rounds.records import read_record
from fedspallm_secure.protocol.rounds.survivors import (
    Endorsement,
    Listed,
    ListedGroup,
    SurvivorList,
    check_endorsement,
    encode_survivors,
)
from fedspallm_secure.protocol.rounds.witness import Witness, WitnessSigned
from fedspallm_secure.protocol.statements import statement_body
from tests.protocol.rounds.dealing import ROUND, World, world

PLAN_HASH = "0a" * 32


@pytest.fixture(scope="module")
def place() -> World:
    return world(4)


@pytest.fixture
def witness(place: World) -> Witness:
    return restored(place, ())


def restored(place: World, records) -> Witness:
    """From what it wrote down, as text."""
    me, hub = place.federation["witness/w1"], place.federation["server/hub"]
    kept = [parse_canonical_json(canonical_json(record.to_dict()), "a record") for record in records]
    read = [read_record(record, [WitnessSigned]) for record in kept]
    return Witness.restore(me.party, me.signer, place.federation.trust, hub.party, read)


def opening(place: World, index: int = 1, by: str = "server/hub", **changes) -> Opening:
    values = {
        "federation": place.plan.federation,
        "round": ROUND,
        "roster": place.federation.roster.hash,
        "sampling": "5a" * 32,
    }
    values |= changes
    uses = [replace(use, index=index) for use in place.plan.prekeys]
    return Opening.make(place.federation[by].signer, prekeys=uses, **values)


def survivors(place: World, *ids: str, by: str = "server/hub", **changes) -> SurvivorList:
    values = {"federation": place.plan.federation, "round": ROUND, "plan_hash": PLAN_HASH, **changes}
    listed = [ListedGroup(3, tuple(Listed(id, "dd" * 32) for id in ids or ("ash", "birch")))]
    return SurvivorList.make(place.federation[by].signer, groups=listed, ended=[], **values)


def sent(place: World, made: Opening | SurvivorList, **changes) -> Incoming:
    """The package with an opening or a list, to the witness."""
    if isinstance(made, Opening):
        values, body = {"type": "opening", "plan_hash": made.hash}, encode_opening(made)
    else:
        values, body = {"type": "survivors", "plan_hash": made.plan_hash}, encode_survivors(made)
    body = changes.pop("body", body)
    return place.incoming("server/hub", values["type"], body, **{**values, "round": made.round, **changes})


def body_of(step: Step) -> bytes:
    (message,) = step.messages
    assert (str(message.recipient), message.group) == ("server/hub", "*")
    return message.body


# --- openings ---------------------------------------------------------------------------------------------------------


def test_the_first_opening_is_signed(place: World, witness: Witness):
    made = opening(place)
    step = witness.on_opening(sent(place, made))
    signature = parse_beacon(body_of(step))
    check_beacon(place.federation["witness/w1"].leaf.public, made, signature)
    verify(place.federation["witness/w1"].leaf.public, Label.SIGN_BEACON, made.statement.payload, signature, "it")
    assert step.messages[0].type == "beacon"
    assert step.records == (WitnessSigned("beacon", ROUND, made.hash, step.messages[0].body),)


def test_the_same_opening_again_has_the_same_answer_and_no_other_has_one(place: World, witness: Witness):
    made = opening(place)
    step = witness.on_opening(sent(place, made))
    for _ in range(2):
        again = witness.on_opening(sent(place, made))
        assert (again.records, again.messages) == ((), step.messages)
        for other in (opening(place, index=2), opening(place, index=3)):
            with pytest.raises(OutOfTurn):
                witness.on_opening(sent(place, other))
        witness = restored(place, step.records)  # and this survives a crash


def test_every_round_has_an_opening(place: World, witness: Witness):
    steps = [witness.on_opening(sent(place, opening(place, round=number))) for number in (5, 6, 3)]
    assert len({body_of(step) for step in steps}) == 3
    back = restored(place, [record for step in steps for record in step.records])
    assert back.on_opening(sent(place, opening(place, round=6))).messages == steps[1].messages


OPENINGS = {
    "of another type": ({}, {"type": "survivors"}),
    "from another server": ({}, {"sender": Party.parse("server/other")}),
    "signed by somebody else": ({"by": "member/ash"}, {}),
    "of another federation": ({"federation": "hearts.example"}, {}),
    "of another round than its package": ({}, {"round": ROUND + 1}),
    "under another roster": ({"roster": "0b" * 32}, {}),
    "in a package that names another": ({}, {"plan_hash": "0b" * 32}),
    "that is none": ({}, {"body": b"{}"}),
    "that is no statement": ({}, {"body": canonical_json({"statement": "AAAA"})}),
}


@pytest.mark.parametrize(("made", "package"), OPENINGS.values(), ids=OPENINGS)
def test_an_opening_that_is_not_signed(place: World, witness: Witness, made, package):
    with pytest.raises(PlanDeclined):
        witness.on_opening(sent(place, opening(place, **made), **package))
    good = witness.on_opening(sent(place, opening(place)))  # nothing was changed by it
    assert len(good.records) == 1


# --- survivor lists: E1 to E3 -----------------------------------------------------------------------------------------


def test_the_first_list_is_endorsed(place: World, witness: Witness):
    made = survivors(place)
    step = witness.on_survivors(sent(place, made))
    found = Endorsement.parse(body_of(step))
    assert found.survivors == made.hash
    key = place.federation["witness/w1"].leaf.public
    check_endorsement(key, made, found.signature)
    with pytest.raises(BadSignature):
        check_endorsement(key, survivors(place, "ash"), found.signature)
    assert step.messages[0].type == "endorsement"
    assert step.records == (WitnessSigned("endorsement", ROUND, made.hash, step.messages[0].body),)


def declined(place: World, witness: Witness, incoming: Incoming, check: str) -> None:
    with pytest.raises(UnmaskingDeclined) as caught:
        witness.on_survivors(incoming)
    assert caught.value.check == check


FOREIGN = {
    "of another type": {"type": "opening"},
    "from another server": {"sender": Party.parse("server/other")},
}


@pytest.mark.parametrize("package", FOREIGN.values(), ids=FOREIGN)
def test_e1_a_package_of_the_server(place: World, witness: Witness, package):
    declined(place, witness, sent(place, survivors(place), **package), "E1")


LISTS = {
    "signed by somebody else": ({"by": "member/ash"}, {}),
    "of another federation": ({"federation": "hearts.example"}, {}),
    "of another round than its package": ({}, {"round": ROUND + 1}),
    "of another plan than its package": ({}, {"plan_hash": "0b" * 32}),
    "that is none": ({}, {"body": b"{}"}),
    "that is no statement": ({}, {"body": canonical_json({"statement": "AAAA"})}),
}


@pytest.mark.parametrize(("made", "package"), LISTS.values(), ids=LISTS)
def test_e2_a_list_of_this_round_signed_by_the_server(place: World, witness: Witness, made, package):
    declined(place, witness, sent(place, survivors(place, **made), **package), "E2")
    assert len(witness.on_survivors(sent(place, survivors(place))).records) == 1


def test_e2_an_opening_is_no_list(place: World, witness: Witness):
    body = statement_body(opening(place).statement)
    declined(place, witness, sent(place, survivors(place), body=body), "E2")


def test_e3_one_list_of_a_round_whatever_its_plan(place: World, witness: Witness):
    made = survivors(place)
    step = witness.on_survivors(sent(place, made))
    for _ in range(2):
        again = witness.on_survivors(sent(place, made))
        assert (again.records, again.messages) == ((), step.messages)
        declined(place, witness, sent(place, survivors(place, "ash")), "E3")
        declined(place, witness, sent(place, survivors(place, plan_hash="0b" * 32)), "E3")
        witness = restored(place, step.records)
    assert witness.on_survivors(sent(place, survivors(place, "ash", round=ROUND + 1))).records


def test_an_opening_and_a_list_of_one_round_do_not_get_in_each_others_way(place: World, witness: Witness):
    first = witness.on_opening(sent(place, opening(place)))
    second = witness.on_survivors(sent(place, survivors(place)))
    back = restored(place, [*first.records, *second.records])
    assert back.on_opening(sent(place, opening(place))).messages == first.messages
    assert back.on_survivors(sent(place, survivors(place))).messages == second.messages


def test_its_records_are_read_strictly(place: World, witness: Witness):
    (record,) = witness.on_survivors(sent(place, survivors(place))).records
    assert not record.secret
    with pytest.raises(FormatError):
        read_record({**record.to_dict(), "more": 1}, [WitnessSigned])
