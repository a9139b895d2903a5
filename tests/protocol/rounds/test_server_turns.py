"""What may happen when: all pairs of states and events, and messages that come again, late, or in two ways."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from fedspallm_secure.errors import FormatError, OutOfTurn, PlanRefused, ResponseRefused, RoundError, UsageError
from fedspallm_secure.protocol.rounds.records_server import Opened, Refused, Requested
from fedspallm_secure.protocol.rounds.server import Server
from fedspallm_secure.protocol.rounds.server_state import Event, ServerOwn, State
from fedspallm_secure.protocol.rounds.survivors import EndCode, Endorsement
from fedspallm_secure.secagg.thresholds import Profile
from tests.protocol.rounds.dealing import GID, NAMES, Play, World, deal, result, world

THERE = NAMES[:5]  # oak dropped out, and fir says nothing after its contribution


def place_of(profile: Profile = Profile.THREE_TRIP) -> World:
    return world(6, profile, shares=3, survivors=3)


def until(state: State, profile: Profile = Profile.THREE_TRIP) -> Play:
    """A round that is in this state, in which everybody but fir and oak has said everything."""
    play = Play(place_of(profile))
    play.contribute(*THERE)
    steps: Mapping[State, Callable[[], object]] = {
        State.COLLECTING: lambda: None,
        State.ENDORSING: lambda: (play.close_collecting(), play.endorse(*THERE[:4])),
        State.UNMASKING: lambda: (play.close_endorsing(), play.respond(*THERE[:4])),
        State.SUMMING: play.close_unmasking,
        State.FINISHED: lambda: play.take(play.server.finish([result(GID, 5)])),
    }
    for reached, step in steps.items():
        step()
        if reached is state:
            assert play.server.state is state
            return play
    raise AssertionError(state)


COMPLETE = until(State.FINISHED)  # every message of such a round, to be sent in other states


def late_contribution(play: Play):
    made = play.place.contribution("oak")
    return play.server.on_contribution(play.incoming(made), made.root)


ACTIONS: Mapping[Event, Callable[[Play], object]] = {
    Event.INVITE: lambda play: play.server.invite(play.place.bundles),
    Event.CONTRIBUTION: late_contribution,
    Event.CLOSE_COLLECTING: lambda play: play.server.close_collecting(),
    Event.ENDORSEMENT: lambda play: play.server.on_endorsement(COMPLETE.endorsement("member/fir")),
    Event.CLOSE_ENDORSING: lambda play: play.server.close_endorsing(),
    Event.ANSWER: lambda play: play.server.on_response(COMPLETE.responding("fir")),
    Event.DECRYPTION: lambda play: play.server.check(Event.DECRYPTION),  # where vectors are masked nobody can send one
    Event.CLOSE_UNMASKING: lambda play: play.server.close_unmasking(),
    Event.FINISH: lambda play: play.server.finish([result(GID, 5)]),
    Event.STOP: lambda play: play.server.stop(),
}
BECOMES = {  # SPEC section 16.5; every other pair is refused
    (State.COLLECTING, Event.INVITE): State.COLLECTING,
    (State.COLLECTING, Event.CONTRIBUTION): State.COLLECTING,
    (State.COLLECTING, Event.CLOSE_COLLECTING): State.ENDORSING,
    (State.COLLECTING, Event.STOP): State.FINISHED,
    (State.ENDORSING, Event.ENDORSEMENT): State.ENDORSING,
    (State.ENDORSING, Event.CLOSE_ENDORSING): State.UNMASKING,
    (State.ENDORSING, Event.STOP): State.FINISHED,
    (State.UNMASKING, Event.ANSWER): State.UNMASKING,
    (State.UNMASKING, Event.DECRYPTION): State.UNMASKING,
    (State.UNMASKING, Event.CLOSE_UNMASKING): State.SUMMING,
    (State.UNMASKING, Event.STOP): State.FINISHED,
    (State.SUMMING, Event.FINISH): State.FINISHED,
    (State.SUMMING, Event.STOP): State.FINISHED,
}


@pytest.fixture(scope="module")
def plays() -> dict[State, Play]:
    return {state: until(state) for state in State}


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_every_pair_of_state_and_event(plays: dict[State, Play], state: State, event: Event):
    play = plays[state].fork()
    if (state, event) in BECOMES:
        ACTIONS[event](play)
        assert play.server.state is BECOMES[state, event]
        return
    with pytest.raises(OutOfTurn) as caught:
        ACTIONS[event](play)
    assert caught.value.check == ("S7" if event is Event.CONTRIBUTION else "")
    assert vars(play.server) == vars(plays[state].server)
    if event is not Event.CONTRIBUTION:
        assert state.name.lower() in str(caught.value) and event.name.lower() in str(caught.value)


def test_what_to_add_up_is_known_while_it_is_added_up(plays: dict[State, Play]):
    assert set(plays[State.SUMMING].server.unmaskings()) == {GID}
    for state in set(State) - {State.SUMMING}:
        with pytest.raises(OutOfTurn):
            plays[state].server.unmaskings()


def test_without_a_third_trip_nobody_is_asked_to_endorse():
    play = Play(place_of(Profile.TWO_TRIP))
    play.contribute(*THERE)
    play.close_collecting()
    assert play.server.state is State.UNMASKING
    with pytest.raises(OutOfTurn):
        play.server.on_endorsement(play.endorsement("member/ash"))


@pytest.mark.parametrize("state", [State.COLLECTING, State.ENDORSING, State.UNMASKING])
def test_ready_and_enough(state: State):
    play = Play(place_of())
    act: Callable[..., None] = play.contribute
    members = list(NAMES)
    if state is not State.COLLECTING:
        play.contribute(*NAMES[:4])
        play.close_collecting()
        act, members = play.endorse, list(NAMES[:4])
    if state is State.UNMASKING:
        play.endorse(*NAMES[:4])
        play.close_endorsing()
        act = play.respond
    for number, member in enumerate(members, start=1):
        assert not play.server.ready
        assert play.server.enough is (number > 3)  # shares and survivors are 3
        act(member)
    assert play.server.ready and play.server.enough


def test_a_round_that_is_over_waits_for_nothing(plays: dict[State, Play]):
    for state in (State.SUMMING, State.FINISHED):
        assert not plays[state].server.ready and not plays[state].server.enough


# --- again, late, and in two ways -------------------------------------------------------------------------------------

STATES_AFTER = {
    "contribution": [State.COLLECTING, State.ENDORSING, State.UNMASKING, State.SUMMING, State.FINISHED],
    "endorsement": [State.ENDORSING, State.UNMASKING, State.SUMMING, State.FINISHED],
    "unmask-response": [State.UNMASKING, State.SUMMING, State.FINISHED],
}
AGAIN = [(type, state) for type, states in STATES_AFTER.items() for state in states]


def message(play: Play, type: str) -> Callable[[], object]:
    """Ash says once more what it has said before, in another package."""
    if type == "contribution":
        made = play.place.contribution("ash")
        return lambda: play.server.on_contribution(play.incoming(made), made.root)
    if type == "endorsement":
        return lambda: play.server.on_endorsement(COMPLETE.endorsement("member/ash"))
    return lambda: play.server.on_response(COMPLETE.responding("ash"))


@pytest.mark.parametrize(("type", "state"), AGAIN)
def test_the_same_again_is_answered_as_before(plays: dict[State, Play], type: str, state: State):
    play = plays[state].fork()
    for _ in range(2):
        step = message(play, type)()
        assert step.records == ()
        assert [one.type for one in step.messages] == (["receipt"] if type == "contribution" else [])
    assert vars(play.server) == vars(plays[state].server)


def in_another_way(play: Play, type: str) -> Callable[[], object]:
    """Ash says something else than before."""
    if type == "contribution":
        made = deal(play.place, "ash")
        return play.incoming(made), lambda incoming: play.server.on_contribution(incoming, made.root)
    if type == "endorsement":
        survivors = COMPLETE.survivors.hash
        other = Endorsement(survivors, bytes(64)).encode()
        return play.place.incoming("member/ash", type, other), play.server.on_endorsement
    response = COMPLETE.response("ash")
    share = replace(response.groups[0].self_shares[0], blind=bytes(32))
    group = replace(response.groups[0], self_shares=(share, *response.groups[0].self_shares[1:]))
    return play.responding("ash", replace(response, groups=(group,))), play.server.on_response


@pytest.mark.parametrize(("type", "state"), AGAIN)
def test_something_else_is_refused_and_the_first_one_counts(plays: dict[State, Play], type: str, state: State):
    play = plays[state].fork()
    incoming, act = in_another_way(play, type)
    with pytest.raises(RoundError) as caught:
        act(incoming)
    check, named = {"contribution": ("S7", ("ash",)), "endorsement": ("N1", ()), "unmask-response": ("R1", ("ash",))}[
        type
    ]
    assert (caught.value.check, caught.value.named) == (check, named)
    if type != "contribution":
        assert isinstance(caught.value, OutOfTurn)
    assert vars(play.server) == vars(plays[state].server)
    (record,) = play.take(play.server.refuse(incoming, caught.value)).records
    assert isinstance(record, Refused)
    assert (record.sender, record.type, record.check, record.body) == ("member/ash", type, check, incoming.body)
    assert play.server.received == plays[state].server.received
    assert play.server.endorsements == plays[state].server.endorsements
    assert play.server.answers == plays[state].server.answers
    assert play.server.state is state
    assert play.server.refuse(incoming, caught.value).records == ()


@pytest.mark.parametrize("changes", [{"plan_hash": "0a" * 32}, {"round": 6}])
def test_nobody_is_blamed_for_what_it_says_in_another_round(plays: dict[State, Play], changes):
    """Ash has endorsed and answered; what it says about another plan is no second word on this one."""
    play = plays[State.FINISHED]
    for type, check, act in (
        ("endorsement", "N1", play.server.on_endorsement),
        ("unmask-response", "R1", play.server.on_response),
    ):
        incoming, _ = in_another_way(play, type)
        elsewhere = play.place.incoming("member/ash", type, incoming.body, **changes)
        with pytest.raises(ResponseRefused) as caught:
            act(elsewhere)
        assert (caught.value.check, caught.value.named) == (check, ())


def test_refusals_of_different_kinds_are_all_kept(plays: dict[State, Play]):
    play = plays[State.UNMASKING].fork()
    response = COMPLETE.response("fir")
    for changed in (replace(response, survivors="0a" * 32), replace(response, groups=())):
        incoming = play.responding("fir", changed)
        with pytest.raises(ResponseRefused) as caught:
            play.server.on_response(incoming)
        play.take(play.server.refuse(incoming, caught.value))
    kept = [record for record in play.records if isinstance(record, Refused)]
    assert [(record.check, record.named) for record in kept] == [("R1", ()), ("R2", ("fir",))]
    assert all(record.secret for record in kept)  # there may be shares in them


# --- endorsements: N1 and N2 ------------------------------------------------------------------------------------------


def endorsement_refused(play: Play, incoming, check: str) -> None:
    before = play.restored()
    with pytest.raises(ResponseRefused) as caught:
        play.server.on_endorsement(incoming)
    assert caught.value.check == check
    assert vars(play.server) == vars(before)


@pytest.fixture
def endorsing() -> Play:
    return until(State.ENDORSING)


def test_n1_who_endorses(endorsing: Play):
    for party in ("member/oak", "member/zebra", "witness/w1"):  # not listed, in no cohort, not of this profile
        endorsement_refused(endorsing, endorsing.endorsement(party), "N1")


@pytest.mark.parametrize("changes", [{"plan_hash": "0a" * 32}, {"round": 6}, {"type": "unmask-response"}])
def test_n1_of_what(endorsing: Play, changes):
    body = endorsing.endorsement("member/fir").body
    endorsement_refused(endorsing, endorsing.place.incoming("member/fir", "endorsement", body, **changes), "N1")


def test_n1_another_list(endorsing: Play):
    found = Endorsement.parse(endorsing.endorsement("member/fir").body)
    for body in (Endorsement("0a" * 32, found.signature).encode(), b"{}", found.encode() + b" "):
        endorsement_refused(endorsing, endorsing.place.incoming("member/fir", "endorsement", body), "N1")


def test_n2_the_signature(endorsing: Play):
    own, other = (Endorsement.parse(endorsing.endorsement(f"member/{id}").body) for id in ("fir", "ash"))
    for signature in (other.signature, bytes(64), bytes([own.signature[0] ^ 1]) + own.signature[1:]):
        body = Endorsement(own.survivors, signature).encode()
        endorsement_refused(endorsing, endorsing.place.incoming("member/fir", "endorsement", body), "N2")


def test_an_endorsement_is_taken_in(endorsing: Play):
    incoming = endorsing.endorsement("member/fir")
    (record,) = endorsing.take(endorsing.server.on_endorsement(incoming)).records
    assert (record.sender, record.signature) == ("member/fir", Endorsement.parse(incoming.body).signature)


def test_in_the_witnessed_profile_witnesses_endorse_and_nobody_else():
    play = Play(place_of(Profile.WITNESSED))
    play.contribute(*THERE)
    play.close_collecting()
    endorsement_refused(play, play.endorsement("member/ash"), "N1")
    play.place.federation.actors["witness/w9"] = play.place.federation.actor("witness/w9")
    endorsement_refused(play, play.endorsement("witness/w9"), "N1")  # not one of those that the server asks
    play.endorse("witness/w1", "witness/w2", "witness/w3")
    assert play.server.ready


def test_in_a_sparse_graph_more_than_half_endorse():
    """t is about neighbours there; that there is one list takes ⌊(n + c) / 2⌋ + 1 of all."""
    place = world(6, degree=4, shares=3, survivors=3)
    for endorsing in (3, 4):
        play = Play(place)
        play.contribute(*NAMES)
        play.close_collecting()
        play.endorse(*NAMES[:endorsing])
        assert play.server.enough is (endorsing == 4)
        step = play.close_endorsing()
        assert (Requested() in step.records) is (endorsing == 4)


def test_witnesses_that_are_too_few_are_noticed_when_the_round_begins():
    place = place_of(Profile.WITNESSED)
    with pytest.raises(PlanRefused):
        Server.open(replace(place.own, witnesses=()), place.plan)
    with pytest.raises(PlanRefused):
        Server.open(replace(place.own, dishonest=3), place.plan)
    Server.open(replace(place.own, dishonest=2), place.plan)
    Server.open(replace(place_of().own, witnesses=()), place_of().plan)  # nobody asks for any


# --- stopping ---------------------------------------------------------------------------------------------------------


def test_stopping_ends_every_group_that_runs(plays: dict[State, Play]):
    for state in (State.COLLECTING, State.ENDORSING, State.UNMASKING, State.SUMMING):
        play = plays[state].fork()
        before = len(play.sent)
        play.take(play.server.stop(named=("ash", "birch")))
        (end,) = play.server.ended.values()
        assert (end.code, end.named) == (EndCode.STOPPED, ("ash", "birch"))
        assert {one.type for one in play.sent[before:]} == {"abort"}


# --- records ----------------------------------------------------------------------------------------------------------


def test_records_begin_with_a_plan_and_have_one(plays: dict[State, Play]):
    place, records = plays[State.COLLECTING].place, plays[State.COLLECTING].records
    assert isinstance(records[0], Opened)
    for wrong in ([], records[1:], [*records, records[0]]):
        with pytest.raises(FormatError):
            Server.restore(place.own, wrong)


def test_every_first_part_of_the_records_is_a_state_that_the_round_went_through():
    play = until(State.FINISHED)
    states = []
    for end in range(1, len(play.records) + 1):
        server = Server.restore(play.place.own, play.records[:end])
        if server.state not in states:
            states.append(server.state)
        server.repeat()
    assert states == list(State)


def test_a_server_is_what_the_roster_says(plays: dict[State, Play]):
    place = place_of()
    hub, ash = place.federation["server/hub"], place.federation["member/ash"]
    for party, signer in ((hub.party, ash.signer), (ash.party, ash.signer)):
        with pytest.raises(UsageError):
            ServerOwn(party, signer, place.federation.trust)
