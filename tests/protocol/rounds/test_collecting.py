"""While contributions come in: one fault each, everything else valid, and the number of the check that finds it."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import ContributionRefused, OutOfTurn
from fedspallm_secure.protocol.rounds.collecting import Dispute, contribution_size, unequal_edges
from fedspallm_secure.protocol.rounds.deals import Deal, sign_deal
from fedspallm_secure.protocol.rounds.links import Links
from fedspallm_secure.protocol.rounds.receipts import Receipt
from fedspallm_secure.protocol.rounds.records_server import Blamed, Refused
from fedspallm_secure.protocol.rounds.survivors import EndCode
from tests.protocol.rounds.dealing import GID, NAMES, SEED, Contribution, Play, World, deal, plain_sum, with_deal, world

NOISE = b"\x5a" * 32


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


@pytest.fixture
def place() -> World:
    return world(4)


@pytest.fixture
def play(place: World) -> Play:
    return Play(place)


def refused(play: Play, made: Contribution, check: str, root: bytes | None = None, **changes) -> ContributionRefused:
    """Hand it in, and have it refused by this check; nothing is changed by that."""
    before = play.restored()
    with pytest.raises(ContributionRefused) as caught:
        play.server.on_contribution(play.incoming(made, **changes), made.root if root is None else root)
    assert caught.value.check == check
    assert str(caught.value).startswith(f"{check}: ")
    assert vars(play.server) == vars(before)
    return caught.value


def test_a_contribution_is_taken_in_and_receipted(place: World, play: Play):
    made = place.contribution("ash")
    incoming = play.incoming(made)
    step = play.take(play.server.on_contribution(incoming, made.root))
    (record,), (message,) = step.records, step.messages
    assert (record.gid, record.member, record.handover) == (GID, "ash", made.handover.encode())
    assert (message.type, str(message.recipient), message.group) == ("receipt", "member/ash", str(GID))
    plan, digest = play.server.plan, incoming.head.digest.hex()
    mine = (plan.federation, plan.round, plan.hash, GID, "ash", digest, record.deal)
    Receipt.parse(message.body).check(play.server.own.signer.public, *mine)


@pytest.mark.parametrize("sum_bits", [0, 16, 32])
def test_its_length_follows_from_the_plan(sum_bits: int):
    place = world(4, sum_bits=sum_bits)
    made = place.contribution("ash")
    size = 32 * (2 + 3 + 4 + 3) + 64 + 32 * 16 + 3 * (1168 + 32 + 32 + 32 * 4 + 16) + 4 + 7 * sum_bits // 8
    assert contribution_size(place.group()) == size == len(made.handover.encode()) + sum(map(len, made.streams))


# --- S1 to S6 ---------------------------------------------------------------------------------------------------------

ELSEWHERE = {
    "for another plan": {"plan_hash": "0a" * 32},
    "for another round": {"round": 6},
    "for a group that the plan has not": {"group": "4"},
    "for no single group": {"group": "*"},
    "of another type": {"type": "unmask-response"},
    "from a member of no cohort": {"sender": Party.parse("member/zebra")},
    "from another role": {"sender": Party.parse("witness/ash")},
}


@pytest.mark.parametrize("changes", ELSEWHERE.values(), ids=ELSEWHERE)
def test_s1_who_contributes_and_to_what(place: World, play: Play, changes):
    assert refused(play, place.contribution("ash"), "S1", **changes).named == ()


@pytest.mark.parametrize("more", [-1, 1])
def test_s2_the_length_in_the_header(place: World, play: Play, more: int):
    made = place.contribution("ash")
    assert refused(play, made, "S2", size=contribution_size(place.group()) + more).named == ("ash",)


def test_s2_the_length_before_the_streams(place: World, play: Play):
    made = place.contribution("ash")
    incoming = play.incoming(made)
    for body in (incoming.body[:-1], incoming.body + b"\0"):
        with pytest.raises(ContributionRefused) as caught:
            play.server.on_contribution(replace(incoming, body=body), made.root)
        assert (caught.value.check, caught.value.named) == ("S2", ("ash",))


def test_s3_the_signature(place: World, play: Play):
    made = place.contribution("ash")
    dealt, context = made.handover.deal.encode(), place.context()
    ash, birch = (place.federation[f"member/{id}"].signer for id in ("ash", "birch"))
    for signature in (
        flipped(made.handover.signature),
        sign_deal(birch, context, "ash", dealt),
        sign_deal(ash, context, "birch", dealt),
        sign_deal(ash, replace(context, group=4), "ash", dealt),
        sign_deal(ash, replace(context, plan_hash=NOISE), "ash", dealt),
    ):
        bad = replace(made, handover=replace(made.handover, signature=signature))
        assert refused(play, bad, "S3").named == ("ash",)


@pytest.mark.parametrize("holder", range(4))
def test_s4_the_rows(place: World, play: Play, holder: int):
    made = place.contribution("ash")
    rows = list(made.handover.rows)
    rows[holder] = (rows[holder][0], NOISE, *rows[holder][2:])
    assert refused(play, replace(made, handover=replace(made.handover, rows=tuple(rows))), "S4").named == ("ash",)


@pytest.mark.parametrize("number", range(3))
def test_s5_the_envelopes(place: World, play: Play, number: int):
    made = place.contribution("ash")
    envelopes = list(made.handover.envelopes)
    envelopes[number] = flipped(envelopes[number])
    bad = replace(made, handover=replace(made.handover, envelopes=tuple(envelopes)))
    assert refused(play, bad, "S5").named == ("ash",)


def test_s6_the_streams(place: World, play: Play):
    assert refused(play, place.contribution("ash"), "S6", root=NOISE).named == ("ash",)


def test_after_a_refusal_a_good_contribution_is_taken_in(place: World, play: Play):
    refused(play, place.contribution("ash"), "S6", root=NOISE)
    play.contribute("ash")
    assert (GID, "ash") in play.server.received


# --- S7 ---------------------------------------------------------------------------------------------------------------


def test_s7_a_late_contribution(place: World, play: Play):
    play.contribute(*NAMES[:3])
    play.close_collecting()
    made = place.contribution("elm")
    with pytest.raises(OutOfTurn) as caught:
        play.server.on_contribution(play.incoming(made), made.root)
    assert caught.value.check == "S7"
    assert (GID, "elm") not in play.server.received


def test_s7_the_same_contribution_again_has_the_same_receipt(place: World, play: Play):
    made = place.contribution("ash")
    incoming = play.incoming(made)
    first = play.take(play.server.on_contribution(incoming, made.root))
    for _ in range(2):
        again = play.server.on_contribution(incoming, made.root)
        in_another_package = play.server.on_contribution(play.incoming(made), made.root)
        assert again.messages == in_another_package.messages == first.messages
        assert again.records == in_another_package.records == ()
        play.contribute("birch", "cedar") if (GID, "birch") not in play.server.received else play.close_collecting()


def test_s7_a_second_deal_does_not_count_and_is_kept(place: World, play: Play):
    play.contribute("ash")
    second = deal(place, "ash")
    error = refused(play, second, "S7")
    assert error.named == ("ash",)
    incoming = play.incoming(second)
    step = play.take(play.server.refuse(incoming, error))
    (record,) = step.records
    assert isinstance(record, Refused)
    assert (record.sender, record.type, record.group) == ("member/ash", "contribution", str(GID))
    assert (record.check, record.named, record.package) == ("S7", ("ash",), incoming.head.digest.hex())
    assert record.body == second.handover.encode()  # with its signature: both deals are proof
    assert play.server.received[GID, "ash"].handover == place.contribution("ash").handover.encode()
    assert ("ash", "S7", str(GID)) in play.server.blamed
    assert play.server.refuse(play.incoming(deal(place, "ash")), error).records == ()  # one is proof enough


def test_refusals_of_groups_that_are_not_there_do_not_pile_up(place: World, play: Play):
    made = place.contribution("ash")
    for group in ("4", "5", "6"):
        error = refused(play, made, "S1", group=group)
        play.take(play.server.refuse(play.incoming(made, group=group), error))
    assert [record.group for record in play.records if isinstance(record, Refused)] == ["*"]


# --- S8 ---------------------------------------------------------------------------------------------------------------

Lies = set[tuple[str, str]]  # who committed to a wrong seed of the edge to whom


def deals(links: Links, lies: Lies) -> dict[str, Deal]:
    """What everybody dealt; only the commitments to edges mean anything."""

    def said(member: str, other: str) -> bytes:
        ends = [member, "liar"] if (member, other) in lies else sorted((member, other))
        return " ".join(ends).encode().ljust(32)

    made = {}
    for member in links.group.cohort:
        near = links.neighbours(member)
        edges = tuple(said(member, other) for other in near)
        made[member] = Deal(NOISE, NOISE, edges, (NOISE,) * (len(near) + 1), (NOISE,) * len(near))
    return made


def left_out(members: set[str], pairs: set[frozenset[str]]) -> Iterator[str]:
    """S8 as the SPEC says it, one step after the other, with nothing remembered between two of them."""
    while pairs:
        count = {member: sum(member in pair for pair in pairs) for member in members}
        worst = {member for member in members if count[member] == max(count.values())}
        yield from worst
        members, pairs = members - worst, {pair for pair in pairs if not pair & worst}


def links_of(members: int, degree: int = 0) -> Links:
    group = world(members, shares=3, survivors=3, degree=degree).group()
    return Links(
        group, world(members, shares=3, survivors=3, degree=degree).context(), group.graph(bytes.fromhex(SEED))
    )


@given(st.sampled_from([(4, 0), (6, 0), (6, 2), (6, 4)]), st.data())
def test_s8_is_what_the_spec_says(size: tuple[int, int], data: st.DataObject):
    links = links_of(*size)
    ends = [(one, other) for one in links.group.cohort for other in links.neighbours(one)]
    lies = set(data.draw(st.lists(st.sampled_from(ends), unique=True)))
    silent = data.draw(st.sets(st.sampled_from(links.group.cohort), max_size=2))
    there = {member: dealt for member, dealt in deals(links, lies).items() if member not in silent}
    pairs = {frozenset(ends) for ends in lies if silent.isdisjoint(ends)}
    found = Dispute.of(unequal_edges(links, there), len(links.group.cohort))
    assert found.left_out == tuple(sorted(left_out(set(there), pairs)))
    assert (found.guilty, found.suspects) == ((), tuple(sorted(set().union(*pairs))))


def dispute(links: Links, dealt: dict[str, Deal], colluders: int = 1) -> Dispute:
    return Dispute.of(unequal_edges(links, dealt), colluders)


def test_s8_one_liar_is_left_out_alone_whoever_it_lies_to():
    links = links_of(6)
    for liar in links.group.cohort:
        others = [member for member in links.group.cohort if member != liar]
        for many in range(2, 6):
            for told in combinations(others, many):
                lies = deals(links, {(liar, other) for other in told})
                assert dispute(links, lies) == Dispute((liar,), (), (liar,))
        for other in others:  # of a pair nobody can tell
            pair = tuple(sorted((liar, other)))
            assert dispute(links, deals(links, {(liar, other)})) == Dispute((), pair, pair)


def test_s8_those_left_out_take_no_part_in_later_counts():
    links = links_of(6)
    lies = {("ash", other) for other in ("birch", "cedar", "elm")} | {("birch", "cedar"), ("fir", "oak")}
    # ash has 3, birch and cedar 2: once ash is out they have 1 each, as fir and oak have.
    found = dispute(links, deals(links, lies), 3)
    assert found.left_out == ("ash", "birch", "cedar", "fir", "oak") and found.guilty == ()
    assert dispute(links, deals(links, lies - {("fir", "oak"), ("birch", "cedar")}), 3).left_out == ("ash",)


def test_s8_who_disputes_more_edges_than_there_can_be_liars_is_guilty_and_goes_first():
    links = links_of(6)
    lies = {("ash", other) for other in ("birch", "cedar", "elm")} | {("birch", "cedar"), ("fir", "oak")}
    assert dispute(links, deals(links, lies), 2) == Dispute(
        ("ash",), ("birch", "cedar", "fir", "oak"), ("ash", "birch", "cedar", "fir", "oak")
    )


def test_s8_liars_who_agree_on_an_honest_member_stand_among_the_suspects():
    links = links_of(6)
    found = dispute(links, deals(links, {("ash", "birch"), ("cedar", "birch")}), 2)
    assert found == Dispute((), ("ash", "birch", "cedar"), ("birch",))
    assert found.named == ("ash", "birch", "cedar")


def lying(place: World, liar: str, *told: str) -> Contribution:
    return deal(place, liar, edges=dict.fromkeys(told, NOISE))


def test_s8_a_liar_against_many_takes_nobody_with_it():
    place = world(5, shares=3, survivors=3)
    play = Play(place)
    play.until_unmasking(lying(place, "birch", "ash", "cedar", "elm"), "ash", "cedar", "elm", "fir")
    assert play.survivors.groups[0].ids == ("ash", "cedar", "elm", "fir")
    assert Blamed(GID, "S8", ("birch",), ()) in play.records
    assert play.server.blamed == {("birch", "S8", str(GID))}
    play.respond("ash", "cedar", "elm", "fir")
    honest = [place.contribution(member) for member in ("ash", "cedar", "elm", "fir")]
    assert play.close_unmasking()[GID] == plain_sum(place, honest)


def test_s8_a_pair_goes_together():
    place = world(5, shares=3, survivors=3)
    play = Play(place)
    play.until_unmasking(lying(place, "birch", "ash"), "ash", "cedar", "elm", "fir")
    assert play.survivors.groups[0].ids == ("cedar", "elm", "fir")
    play.respond("cedar", "elm", "fir")
    honest = [place.contribution(member) for member in ("cedar", "elm", "fir")]
    assert play.close_unmasking()[GID] == plain_sum(place, honest)


def test_s8_an_edge_to_somebody_silent_is_no_dispute():
    place = world(4)
    play = Play(place)
    play.contribute(lying(place, "ash", "elm"), "birch", "cedar")
    play.close_collecting()
    assert play.survivors.groups[0].ids == ("ash", "birch", "cedar")
    assert not play.server.blamed


def test_s8_ends_a_group_and_names_those_to_blame():
    place = world(4)
    play = Play(place)
    play.contribute(lying(place, "ash", "elm"), "birch", "cedar", "elm")
    play.close_collecting()
    (end,) = play.server.ended.values()
    assert (end.gid, end.code, end.named) == (GID, EndCode.TOO_FEW_CONTRIBUTIONS, ("ash", "elm"))


def test_helper_with_deal_signs_what_it_changes(place: World, play: Play):
    """The good twin of everything above: a deal that is changed and signed again passes S3 and fails elsewhere."""
    made = place.contribution("ash")
    assert refused(play, with_deal(place, made, vector_root=NOISE), "S6").named == ("ash",)
