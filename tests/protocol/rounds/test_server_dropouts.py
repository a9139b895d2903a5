"""Every pattern of members who fall silent: the sum is the plain sum, or the round ends as the thresholds say.

The server is restored from its records after every step.
"""

from collections.abc import Callable, Iterator, Sequence

import pytest

from fedspallm_secure.errors import BadShare
from fedspallm_secure.protocol.rounds.answers import open_seeds, shares_of
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.protocol.rounds.survivors import EndCode
from fedspallm_secure.secagg.thresholds import Profile
from tests.protocol.rounds.dealing import GID, NAMES, WITNESSES, Play, World, plain_sum, world

Act = Callable[[Play, str], None]


def branches(play: Play, members: Sequence[str], act: Act, done: tuple[str, ...] = ()) -> Iterator[tuple[Play, tuple]]:
    """The round as it is when some of `members` did something, for all sets of them; what is shared is done once."""
    if not members:
        yield play, done
        return
    other = play.fork()
    act(other, members[0])
    yield from branches(play, members[1:], act, done)
    yield from branches(other, members[1:], act, (*done, members[0]))


def ended(play: Play, code: EndCode) -> None:
    """The round is over, and everybody was told so, and nothing else."""
    assert play.server.state is State.FINISHED
    assert [(end.gid, end.code, end.named) for end in play.server.ended.values()] == [(GID, code, ())]
    members = [f"member/{id}" for id in play.place.group().cohort]
    assert sorted(play.to("abort")) == sorted(members * 2)  # the group, and with it the round
    assert not play.to("result") and play.server.result is None


def answers_of(play: Play, place: World, survivors: Sequence[str]) -> int:
    """Every set of survivors answers; gives how many sets there were."""
    group, found = place.group(), 0
    asked = {f"member/{id}" for id in survivors}
    assert set(play.to("unmask-request")) == asked
    for last, answered in branches(play, survivors, lambda other, id: other.respond(id)):
        found += 1
        enough = len(answered) >= group.shares
        assert last.server.enough is enough
        assert last.server.ready is (len(answered) == len(survivors))
        sums = last.close_unmasking()
        if not enough:
            assert sums == {}
            ended(last, EndCode.TOO_FEW_RESPONSES)
            continue
        assert sums[GID] == plain_sum(place, [place.contribution(id) for id in survivors])
        assert last.server.state is State.SUMMING
        last.finish(sums)
        assert last.server.state is State.FINISHED and not last.server.ended
        assert last.server.result.answered == answered
    return found


def endorsements_of(play: Play, place: World, survivors: Sequence[str]) -> None:
    """Every set of survivors endorses, and of those that are enough, every set of survivors answers."""
    for next_, endorsers in branches(play, survivors, lambda other, id: other.endorse(id)):
        enough = len(endorsers) >= place.group().shares
        assert next_.server.enough is enough
        next_.close_endorsing()
        if enough:
            assert answers_of(next_, place, survivors) == 2 ** len(survivors)
        else:
            ended(next_, EndCode.TOO_FEW_ENDORSEMENTS)


def lists_of(place: World) -> Iterator[tuple[Play, tuple]]:
    """Every set of members contributes; those rounds that go on, with their survivors."""
    cohort, found = place.group().cohort, 0
    for play, survivors in branches(Play(place), cohort, lambda other, id: other.contribute(id)):
        found += 1
        assert play.server.ready is (survivors == cohort)
        enough = len(survivors) >= place.group().survivors
        assert play.server.enough is enough
        play.close_collecting()
        if enough:
            assert play.survivors.groups[0].ids == survivors
            yield play, survivors
        else:
            assert not play.to("survivors")
            ended(play, EndCode.TOO_FEW_CONTRIBUTIONS)
    assert found == 2 ** len(cohort)


def sizes(*fast: tuple[int, int], slow: Sequence[tuple[int, int]]) -> pytest.MarkDecorator:
    """Members of the cohort, and colluders that the thresholds are made for."""
    cases = [*fast, *(pytest.param(*one, marks=pytest.mark.slow) for one in slow)]
    return pytest.mark.parametrize(("members", "colluders"), cases)


@sizes((3, 0), (4, 0), (5, 0), slow=[(4, 1), (5, 1), (5, 2)])
def test_two_trips(members: int, colluders: int):
    place = world(members, Profile.TWO_TRIP, colluders)
    for play, survivors in lists_of(place):
        answers_of(play, place, survivors)


@sizes((3, 0), slow=[(4, 0), (4, 1), (5, 0), (5, 1), (5, 2)])
def test_three_trips(members: int, colluders: int):
    place = world(members, Profile.THREE_TRIP, colluders)
    for play, survivors in lists_of(place):
        endorsements_of(play, place, survivors)


@sizes((3, 0), slow=[(4, 0)])
def test_two_trips_with_witnesses(members: int, colluders: int):
    place = world(members, Profile.WITNESSED, colluders)
    for play, survivors in lists_of(place):
        parties = [f"witness/{id}" for id in WITNESSES]
        assert play.to("survivors")[-3:] == parties
        for next_, endorsers in branches(play, parties, lambda other, party: other.endorse(party)):
            enough = len(endorsers) >= 3  # ⌊(3 + 1) / 2⌋ + 1, one of three may lie
            assert next_.server.enough is enough
            next_.close_endorsing()
            if enough:
                answers_of(next_, place, survivors)
            else:
                ended(next_, EndCode.TOO_FEW_ENDORSEMENTS)


@pytest.mark.parametrize("sum_bits", [0, 16])
def test_other_widths(sum_bits: int):
    place = world(3, Profile.TWO_TRIP, sum_bits=sum_bits)
    for play, survivors in lists_of(place):
        answers_of(play, place, survivors)


def test_one_share_too_few_opens_nothing():
    """Not one secret of anybody: fewer shares give no value at all, and there is no seed to make keystreams from."""
    place = world(5)
    play = Play(place).until_unmasking(*NAMES[:4])
    ballot, holders = play.server.ballots[GID], NAMES[:4]
    answers = {holder: shares_of(play.response(holder).groups[0]) for holder in holders}
    assert place.group().shares == 4
    assert open_seeds(ballot, answers)
    for missing in holders:
        few = {holder: shares for holder, shares in answers.items() if holder != missing}
        with pytest.raises(BadShare) as caught:
            open_seeds(ballot, few)
        assert caught.value.named == ()
        # The same if one answer lacks one secret only.
        for secret in answers[missing]:
            lacking = {s: share for s, share in answers[missing].items() if s != secret}
            with pytest.raises(BadShare):
                open_seeds(ballot, {**answers, missing: lacking})
