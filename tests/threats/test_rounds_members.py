"""THREAT_MODEL section 3, "Rounds: members, crashes and the wire": who spoils a sum, and whether it shows."""

import pytest

from fedspallm_secure.app.rounds.playing import Stage
from fedspallm_secure.errors import (
    CertificateRevoked,
    ContributionRefused,
    KeyStoreError,
    NotAwaited,
    OutOfTurn,
    ResponseRefused,
    RoundAborted,
)
from fedspallm_secure.protocol.rounds.member import Member
from fedspallm_secure.protocol.rounds.member_state import State
from fedspallm_secure.protocol.rounds.records_member import Dealt
from fedspallm_secure.secagg.thresholds import Profile
from tests.attacks.rounds import wires
from tests.attacks.rounds.members import VILLAIN, played
from tests.federation import Bench, Setting, play


def gets(name: str, error: type[Exception] | None = None) -> None:
    """Assert that the server refuses what this member sends with this error, and that all else is as it should be."""
    found = played(name)
    assert found.failures == []
    refused = found.outcome.refusals.get("server/server", [])
    assert [one.error for one in refused[:1]] == ([] if error is None else [error.__name__])


def test_a_contribution_is_whole_and_as_it_was_signed():
    """THREAT_MODEL T140: wrong group, length, signature, commitments, envelopes, vector: it counts as not sent."""
    gets("OneByteShort", NotAwaited)
    for name in (
        "ForAGroupThatThereIsNot",
        "SignedByNobody",
        "ShareCommitmentsOfOthers",
        "EnvelopesExchanged",
        "VectorChangedAfterSigning",
    ):
        gets(name, ContributionRefused)


def test_who_deals_twice_is_proved_to():
    """THREAT_MODEL T141: the first deal counts, both are kept."""
    gets("DealsTwice", ContributionRefused)
    assert (VILLAIN, "S7") in played("DealsTwice").guilty


def test_who_lies_about_edges_is_left_out_before_the_list_is_made():
    """THREAT_MODEL T142: about all of them, it is guilty; about one of them, it or the neighbour."""
    gets("LiesAboutAllEdges")
    assert played("LiesAboutAllEdges").guilty == {(VILLAIN, "S8")}
    gets("LiesAboutOneEdge")
    assert len(played("LiesAboutOneEdge").suspects) == 2


def test_a_bad_envelope_convicts_its_dealer():
    """THREAT_MODEL T143: garbage, another row, no element of the field; without a key that fits, one of the two."""
    for name in ("SealsGarbage", "SealsAnotherRow", "SealsAShareThatIsNoElement", "WrapsAnotherKeyThanItCommitsTo"):
        gets(name)
    assert len(played("WrapsAnotherKeyThanItCommitsTo").suspects) == 2


def test_shares_of_another_secret_end_the_group_and_name_the_dealer():
    """THREAT_MODEL T144: of its self seed, of an edge that has to open, of one that has not."""
    for name in ("SharesAnotherSelfSeed", "SharesAnotherEdgeSeed"):
        gets(name)
        assert played(name).guilty == {(VILLAIN, "R5")}
    gets("SharesAnotherEdgeSeedThatNobodyNeeds")


def test_a_bad_answer_names_its_holder_and_is_not_needed():
    """THREAT_MODEL T145: other shares, fewer, more, of another list or group, in two ways, or none."""
    names = (
        "AnotherShare",
        "AnotherBlind",
        "SharesOfTwoDealersExchanged",
        "AShareThatIsNoElement",
        "AShareLess",
        "TheEdgeOfTwoSurvivors",
        "AGroupThatItIsNotIn",
        "NoGroup",
        "AnswersForAnotherList",
        "ComplainsAboutItself",
        "ComplainsAboutOneWhoDroppedOut",
    )
    for name in names:
        gets(name, ResponseRefused)
    gets("AnswersTwice", OutOfTurn)
    gets("SaysNothing")


def test_a_false_complaint_convicts_nobody_who_is_innocent():
    """THREAT_MODEL T146: with the right key its maker, with a wrong one or none one of the two."""
    for name in ("ComplainsAboutAGoodEnvelope", "ComplainsWithAMadeUpKey", "ComplainsWithoutAKey"):
        gets(name)
        assert not played(name).honest_convicted
    assert (VILLAIN, "R4") in played("ComplainsAboutAGoodEnvelope").guilty


def test_a_false_endorsement_is_not_counted():
    """THREAT_MODEL T147: of another list, unsigned, in two ways."""
    for name in ("EndorsesAnotherList", "EndorsesWithoutSigning"):
        gets(name, ResponseRefused)
    gets("EndorsesTwice", OutOfTurn)


def test_a_vector_out_of_range_gives_no_sum():
    """THREAT_MODEL T148: too many votes, sums of nothing, beyond the bound, and keystreams that nobody committed to."""
    for name in (
        "CountsTooMuch",
        "KeepsWhatItDropped",
        "OneStepBeyondTheBound",
        "TheSmallestNumberThereIs",
        "UsesTheSpareHalfByte",
        "HidesUnderAnotherEdge",
    ):
        gets(name)
        found = played(name)
        assert not found.outcome.released and not found.guilty


def test_a_round_with_too_many_silent_members_gives_no_sum():
    """THREAT_MODEL T151: one dropout is borne at every stage, and two of five are not."""
    for stage in Stage:
        assert play(Bench(), {stage: ["ann"]}).exact
        found = play(Bench(), {stage: ["ann", "ben"]})
        assert not found.released
        with pytest.raises(RoundAborted):
            found.round.check_complete()


def test_a_crash_makes_nobody_deal_twice():
    """THREAT_MODEL T154: after a crash nothing is made again for a group; what was noted is sent as it was."""
    bench = Bench()
    round = bench.open()
    member = bench.members["ann"]
    member.collect()
    secret = member.prekeys.burn(0)
    records = list(member.records)
    records += member.machine.freeze(0, bytes(32)).records
    draft = member.machine.prepare(0, secret)
    restored = Member.restore(member.own, records)
    for again in (restored.prepare, member.machine.prepare):
        with pytest.raises(OutOfTurn):
            again(0, secret)
    with pytest.raises(OutOfTurn):
        restored.freeze(0, bytes([1]) * 32)
    with pytest.raises(OutOfTurn):
        restored.hand_over(draft, bytes(32))
    with pytest.raises(KeyStoreError):
        member.prekeys.burn(0)
    assert not any(isinstance(record, Dealt) for record in records)
    assert round.server.machine.received == {}


def test_whatever_the_wire_does_a_sum_is_right_or_there_is_none():
    """THREAT_MODEL T156: lost, doubled, mixed up, held back, changed, cut, spliced, shown again and misdelivered."""
    found = wires.run("does_anything", 0)
    assert found.failures == [] and found.meddled


def test_members_that_agree_against_one_stay_among_the_suspects():
    """THREAT_MODEL T160: the third one is left out, the sum over the others is right, and nobody is convicted."""
    gets("AgreesWithAnotherOnSeedsAgainstOne")
    found = played("AgreesWithAnotherOnSeedsAgainstOne")
    assert found.suspects == {("ann", "S8"), ("cat", "S8"), ("eve", "S8")} and not found.guilty
    assert found.outcome.released and "eve" not in found.outcome.survivors[0]


@pytest.mark.parametrize("profile", [Profile.TWO_TRIP, Profile.WITNESSED])
def test_a_request_may_come_before_its_list(profile):
    """THREAT_MODEL T161: every member gets its list last, in two rounds."""
    found = wires.run("lets_requests_overtake", 0, profile)
    assert found.failures == [] and found.meddled
    assert all(outcome.released and outcome.refusals == {} for outcome in found.outcomes)


def test_a_member_that_was_withdrawn_keeps_nothing_from_the_others():
    """THREAT_MODEL T162: the server learns of it when all have contributed."""
    bench = Bench(Setting(members=7))
    newer = bench.federation.withdraw([bench.members["ann"].party], bench.now)
    round = bench.open()
    server = round.server

    def imported(contributed):
        if contributed == len(bench.names):
            server.postbox.trust = newer.trust

    round.play({}, imported)
    (released,) = server.released.values()
    assert released.streams.tile_hashes == bench.sum_over(released.group, bench.names).tile_hashes
    assert {(party.id, error.__class__) for party, error in server.unsent} == {("ann", CertificateRevoked)}
    states = {name: member.machine.state for name, member in bench.members.items()}
    assert {name for name, state in states.items() if state is not State.CLOSED} == {"ann"}
