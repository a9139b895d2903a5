"""What the server sends to whom, what it says again after a crash, and groups that end while others go on."""

import pytest

from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.errors import OutOfTurn, UsageError
from fedspallm_secure.protocol.rounds.deals import Handover, check_deal, deal_digest
from fedspallm_secure.protocol.rounds.openings import Opening, beacon_signature
from fedspallm_secure.protocol.rounds.outcomes import Abort, Result
from fedspallm_secure.protocol.rounds.plan_bodies import PastDeal, PlanBody
from fedspallm_secure.protocol.rounds.records_server import Finished, ListMade
from fedspallm_secure.protocol.rounds.server import Server
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.protocol.rounds.survivors import EndCode, Ended, check_endorsement
from fedspallm_secure.secagg.thresholds import Profile
from tests.protocol.rounds.dealing import (
    GID,
    NAMES,
    ROUND,
    WITNESSES,
    Play,
    World,
    deal,
    make_world,
    plain_sum,
    result,
    vector,
    world,
)
from tests.protocol.rounds.member_stage import MASKED

FOUR = NAMES[:4]
NOISE = b"\x5a" * 32


def members(*ids: str) -> list[str]:
    return [f"member/{id}" for id in ids]


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_everybody_is_invited_with_what_its_neighbours_published():
    place = make_world({3: FOUR, 4: ("cedar", "elm", "fir")})
    signer = place.federation["server/hub"].signer
    opening = Opening.make(
        signer, place.plan.federation, ROUND, place.plan.roster, place.plan.sampling.hash, place.plan.prekeys
    )
    beacons = {id: beacon_signature(place.federation[f"witness/{id}"].signer, opening) for id in ("w2", "w1")}
    past = PastDeal(2, "0a" * 32, 3, b"deal", bytes(64))
    server, _ = Server.open(place.own, place.plan)
    step = server.invite(place.bundles, opening, beacons, {"elm": [past]})
    assert step.records == ()
    assert [str(message.recipient) for message in step.messages] == members("ash", "birch", "cedar", "elm", "fir")
    near = {
        "ash": ["birch", "cedar", "elm"],
        "birch": ["ash", "cedar", "elm"],
        "cedar": ["ash", "birch", "elm", "fir"],
        "elm": ["ash", "birch", "cedar", "fir"],
        "fir": ["cedar", "elm"],
    }
    for message in step.messages:
        body, me = PlanBody.parse(message.body), message.recipient.id
        assert (message.type, message.group) == ("plan", "*")
        assert (body.plan, body.opening) == (place.plan, opening)
        assert [bundle.party.id for bundle in body.bundles] == near[me]
        assert body.beacons == (("w1", beacons["w1"]), ("w2", beacons["w2"]))
        assert body.history == ((past,) if me == "elm" else ())
    assert server.invite(place.bundles, opening, beacons, {"elm": [past]}) == step  # as often as asked


def test_invitations_need_the_bundles_that_the_plan_names():
    place = world(4)
    server, _ = Server.open(place.own, place.plan)
    assert all(PlanBody.parse(one.body).opening is None for one in server.invite(place.bundles).messages)
    without = {id: bundle for id, bundle in place.bundles.items() if id != "elm"}
    for bundles in (without, {**without, "elm": place.bundles["ash"]}):
        with pytest.raises(UsageError, match="elm"):
            server.invite(bundles)


# --- lists and requests -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", MASKED)
def test_the_list_goes_to_everybody_and_to_witnesses_that_are_asked(profile: Profile):
    place = world(5, profile, shares=3, survivors=3)
    play = Play(place)
    play.contribute(*FOUR)
    step = play.close_collecting()
    asked = [f"witness/{id}" for id in WITNESSES] if profile is Profile.WITNESSED else []
    assert play.to("survivors") == members(*NAMES[:5]) + asked  # also to fir: its ledger has to know of the sum
    key = place.federation["server/hub"].leaf.public
    play.survivors.check(key, place.plan.federation, place.plan.round, place.plan_hash)
    (listed,) = play.survivors.groups
    assert listed.ids == FOUR
    for member, digest in listed.deals.items():
        made = place.contribution(member).handover.deal.encode()
        assert digest == deal_digest(place.context(), member, made)
    assert ("unmask-request" in {message.type for message in step.messages}) is (profile is Profile.TWO_TRIP)


@pytest.mark.parametrize("profile", MASKED)
def test_a_request_has_what_its_recipient_needs(profile: Profile):
    place = world(6, profile, shares=3, survivors=3)
    play = Play(place).until_unmasking(*NAMES[:5])
    assert play.to("unmask-request") == members(*NAMES[:5])
    for me in NAMES[:5]:
        request = play.request(me)
        assert request.survivors == play.survivors.hash
        signers = [f"witness/{id}" for id in WITNESSES] if profile is Profile.WITNESSED else members(*NAMES[:5])
        assert [one.id for one in request.endorsements] == ([] if profile is Profile.TWO_TRIP else signers)
        for one in request.endorsements:
            check_endorsement(place.federation[one.id].leaf.public, play.survivors, one.signature)
        (group,) = request.groups
        assert [sent.id for sent in group.deals] == [id for id in NAMES[:5] if id != me]
        for sent in group.deals:
            public = place.federation[f"member/{sent.id}"].leaf.public
            check_deal(public, place.context(), sent.id, sent.deal, sent.signature)
            handover: Handover = place.contribution(sent.id).handover
            assert sent.deal == handover.deal.encode()
            assert sent.envelope == handover.envelopes[place.neighbours(sent.id).index(me)]


def test_in_a_sparse_graph_only_neighbours_are_sent():
    place = world(6, Profile.THREE_TRIP, degree=2, shares=2, survivors=4)
    play = Play(place)
    alive = NAMES[1:]
    play.until_unmasking(*alive)
    for me in alive:
        near = [id for id in place.neighbours(me) if id != "ash"]
        assert [sent.id for sent in play.request(me).groups[0].deals] == near
    assert sorted(len(play.request(me).groups[0].deals) for me in alive) == [1, 1, 2, 2, 2]
    play.respond(*alive)
    assert play.close_unmasking()[GID] == plain_sum(place, map(place.contribution, alive))


def test_in_a_sparse_graph_enough_is_asked_of_every_dealer():
    """t shares of each secret: the answers of members who are nobody's neighbours do not help."""
    place = world(6, Profile.THREE_TRIP, degree=2, shares=3, survivors=3)
    play = Play(place).until_unmasking(*NAMES)
    for silent in NAMES:
        other = play.fork()
        other.respond(*(id for id in NAMES if id != silent))
        assert not other.server.enough  # all three holders of silent's secrets, and of its neighbours', have to answer
        assert other.close_unmasking() == {}
        assert other.server.ended[GID].code is EndCode.TOO_FEW_RESPONSES


# --- the end ----------------------------------------------------------------------------------------------------------


def finished(place: World) -> Play:
    play = Play(place).until_unmasking(*FOUR)
    play.respond(*FOUR[:3])
    play.finish(play.close_unmasking())
    return play


def test_the_result_is_signed_and_told_to_members_and_auditors():
    place = world(5, shares=3, survivors=3)
    play = finished(place)
    assert play.to("result") == [*members(*NAMES[:5]), "auditor/watch"]
    assert not play.to("abort")
    (body,) = {message.body for message in play.sent if message.type == "result"}
    found = Result.parse(body)
    key = place.federation["server/hub"].leaf.public
    found.check(key, place.plan.federation, ROUND, place.plan_hash)
    assert found.survivors == play.survivors.hash
    assert (found.groups, found.ended, found.answered) == ((result(GID, 4),), (), FOUR[:3])
    assert play.server.result == found


def test_a_round_without_a_result_ends_for_everybody():
    place = make_world({3: FOUR, 4: ("cedar", "elm", "fir")})
    play = Play(place)
    play.contribute("ash", gid=3)
    play.close_collecting()
    aborts = [Abort.parse(message.body) for message in play.sent if message.type == "abort"]
    code = EndCode.TOO_FEW_CONTRIBUTIONS
    assert [(abort.gid, abort.code) for abort in aborts] == [(3, code)] * 4 + [(4, code)] * 3 + [(None, code)] * 5
    assert play.to("abort")[-5:] == members(*NAMES[:5])
    assert not any(isinstance(record, Finished) for record in play.records)


GROUPS = {3: FOUR, 4: FOUR, 5: ("birch", "cedar", "elm", "fir")}
ALONE = {
    EndCode.TOO_FEW_CONTRIBUTIONS: State.COLLECTING,
    EndCode.TOO_FEW_ENDORSEMENTS: State.ENDORSING,
    EndCode.TOO_FEW_RESPONSES: State.UNMASKING,
    EndCode.BAD_DEALING: State.UNMASKING,
    EndCode.SUM_OUT_OF_RANGE: State.SUMMING,
}


@pytest.mark.parametrize("code", ALONE)
def test_a_group_ends_and_the_others_go_on(code: EndCode):
    """Group 5 ends for this reason, in this state; of 3 and 4 everybody has the plain sums."""
    place = make_world(GROUPS)
    play, ended_in, sums = Play(place), {}, {}
    keep, deltas = vector(place, "fir", 5)
    bad = {
        EndCode.BAD_DEALING: lambda: deal(place, "fir", 5, shared={0: 7}),
        EndCode.SUM_OUT_OF_RANGE: lambda: deal(place, "fir", 5, values=(keep, deltas * 0 + 2**31 - 1)),
    }
    for gid in (3, 4):
        play.contribute(*FOUR, gid=gid)
    play.contribute("birch", bad.get(code, lambda: "fir")(), gid=5)
    if code is not EndCode.TOO_FEW_CONTRIBUTIONS:
        play.contribute("cedar", "elm", gid=5)
    while play.server.state is not State.FINISHED:
        state = play.server.state
        match state:
            case State.COLLECTING:
                play.close_collecting()
            case State.ENDORSING:  # with ash there are three in groups 3 and 4, and two in group 5
                play.endorse(*(FOUR[:3] if code is EndCode.TOO_FEW_ENDORSEMENTS else FOUR))
                play.close_endorsing()
            case State.UNMASKING:
                play.respond(*(FOUR[:3] if code is EndCode.TOO_FEW_RESPONSES else FOUR))
                sums = play.close_unmasking()
            case State.SUMMING:
                play.finish(sums)
        for gid in play.server.ended:
            ended_in.setdefault(gid, state)
    for gid in (3, 4):
        assert sums[gid] == plain_sum(place, [place.contribution(member, gid) for member in FOUR], gid)
    assert ended_in == {5: ALONE[code]}
    end = Ended(5, code, ("fir",) if code is EndCode.BAD_DEALING else ())
    assert play.server.ended == {5: end}
    assert play.to("abort") == members(*GROUPS[5])
    assert {Abort.parse(m.body) for m in play.sent if m.type == "abort"} == {Abort(5, code, end.named)}
    assert [group.gid for group in play.server.result.groups] == [3, 4]
    assert play.server.result.ended == (end,)
    asked = {group.gid for id in FOUR for group in play.request(id).groups}
    assert asked == ({3, 4} if ALONE[code] in (State.COLLECTING, State.ENDORSING) else {3, 4, 5})
    assert ("member/fir" in play.to("unmask-request")) is (5 in asked)


def test_steps_of_several_records_may_break_anywhere():
    """A server that was killed between two records of a step does the step again, and ends where it would have."""
    place = make_world(GROUPS)
    play = Play(place)
    for gid in (3, 4):
        play.contribute(*FOUR, gid=gid)
    play.contribute(deal(place, "birch", 5, edges={"fir": NOISE}), "cedar", "elm", "fir", gid=5)
    closed = _redone(play, lambda other: other.close_collecting(), 2)
    closed.endorse(*FOUR)
    asked = _redone(closed, lambda other: other.close_endorsing(), 1)
    asked.respond("ash", "birch", "cedar")
    unmasked = _redone(asked, lambda other: other.close_unmasking(), 1)
    _redone(unmasked, lambda other: other.take(other.server.finish([result(3, 4)], {4: 9})), 2)


def _redone(play: Play, act, records: int) -> Play:
    whole = play.fork()
    act(whole)
    assert len(whole.records) == len(play.records) + records
    for kept in range(1, records):
        torn = play.fork()
        torn.records += whole.records[len(play.records) :][:kept]
        torn.server = torn.restored()
        if torn.server.state is State.SUMMING:
            torn.take(torn.server.finish([result(3, 4)]))  # 4 is known to be out of range
        else:
            act(torn)
        assert torn.server.state is whole.server.state
        assert torn.server.ended == whole.server.ended
        assert torn.server.result == whole.server.result
    return whole


# --- after a crash ----------------------------------------------------------------------------------------------------


def test_everything_that_was_sent_can_be_sent_again():
    """Whatever a step sends, the restored server can say once more, byte for byte; and nothing it never said."""
    place = make_world(GROUPS)
    play = Play(place)

    def check(*types: str) -> None:
        again = play.restored().repeat()
        assert {message.type for message in again} == set(types)
        assert set(map(_plain, again)) <= set(map(_plain, play.sent))

    assert play.server.repeat() == ()
    play.contribute(*FOUR, gid=3)
    play.contribute(*FOUR, gid=4)
    check("receipt")
    play.contribute("birch", gid=5)
    play.close_collecting()
    check("abort", "survivors")
    play.endorse(*FOUR)
    play.close_endorsing()
    check("abort", "survivors", "unmask-request")
    late = [str(m.recipient) for m in play.server.repeat() if m.type == "survivors"]
    assert late and not {*late}.intersection(members(*FOUR))
    play.respond("ash", "birch", "cedar")
    check("abort", "survivors", "unmask-request")
    assert [str(m.recipient) for m in play.server.repeat() if m.type == "unmask-request"] == members("elm")
    sums = play.close_unmasking()
    check("abort")
    play.finish(sums)
    check("abort", "result")


def test_a_round_that_ended_without_a_result_says_so_again():
    play = Play(world(4))
    play.take(play.server.stop())
    assert sorted(map(_plain, play.restored().repeat())) == sorted(map(_plain, play.sent))


def _plain(message) -> tuple[str, str, str, bytes]:
    return message.type, str(message.recipient), message.group, message.body


def test_two_trips_send_list_and_request_together_and_again():
    play = Play(world(4, Profile.TWO_TRIP))
    play.contribute(*FOUR)
    step = play.close_collecting()
    assert [message.type for message in step.messages] == ["survivors"] * 4 + ["unmask-request"] * 4
    assert play.restored().repeat() == step.messages


def test_messages_are_for_known_roles():
    """Every recipient is somebody that the table of SPEC section 8 allows."""
    play = finished(world(5, Profile.WITNESSED, shares=3, survivors=3))
    roles = {message.type: {message.recipient.role} for message in play.sent}
    for message in play.sent:
        roles[message.type].add(message.recipient.role)
    assert roles == {
        "receipt": {Role.MEMBER},
        "survivors": {Role.MEMBER, Role.WITNESS},
        "unmask-request": {Role.MEMBER},
        "result": {Role.MEMBER, Role.AUDITOR},
    }


def test_the_list_is_made_once():
    play = Play(world(4))
    play.contribute(*FOUR)
    play.close_collecting()
    with pytest.raises(OutOfTurn):
        play.server.close_collecting()
    assert sum(isinstance(record, ListMade) for record in play.records) == 1
    assert play.survivors == play.server.survivors
