"""Answers to unmask requests: one fault each, everything else valid; and whoever caused it is named."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.errors import ContributionRefused, ResponseRefused
from fedspallm_secure.protocol.rounds.answers import response_limit
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.records_server import Blamed, OutOfRange
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.protocol.rounds.survivors import EndCode
from fedspallm_secure.protocol.rounds.unmasking import (
    AnsweredGroup,
    Complaint,
    OpenedEdge,
    OpenedShare,
    UnmaskResponse,
)
from fedspallm_secure.secagg.commitments import Row, blind
from fedspallm_secure.secagg.envelopes import unwrap_key
from fedspallm_secure.secagg.fields import CountField
from fedspallm_secure.secagg.seeds import PRIME
from fedspallm_secure.secagg.thresholds import Profile
from tests.protocol.rounds.dealing import (
    GID,
    Contribution,
    Play,
    World,
    deal,
    forged,
    make_world,
    plain_sum,
    result,
    vector,
    with_deal,
    world,
)

NOISE = b"\x5a" * 32
ALIVE = ("ash", "birch", "cedar", "elm")  # fir dropped out


@pytest.fixture(scope="module")
def place() -> World:
    return world(5, shares=3, survivors=3)


@pytest.fixture(scope="module")
def asking(place: World) -> Play:
    """Four of five are asked to unmask."""
    return Play(place).until_unmasking(*ALIVE)


@pytest.fixture
def play(asking: Play) -> Play:
    return asking.fork()


Change = Callable[[AnsweredGroup], AnsweredGroup]


def refused(play: Play, incoming, check: str, named: tuple[str, ...]) -> ResponseRefused:
    before = play.restored()
    with pytest.raises(ResponseRefused) as caught:
        play.server.on_response(incoming)
    assert (caught.value.check, caught.value.named) == (check, named)
    assert vars(play.server) == vars(before)
    return caught.value


def altered(play: Play, change: Change, member: str = "birch") -> UnmaskResponse:
    response = play.response(member)
    return replace(response, groups=(change(response.groups[0]),))


# --- R1 ---------------------------------------------------------------------------------------------------------------


def test_r1_who_answers(play: Play):
    body = play.response("birch").encode()
    for sender in ("member/fir", "member/zebra", "witness/w1"):
        refused(play, play.place.incoming(sender, "unmask-response", body), "R1", ())
    play.place.federation.actors["witness/birch"] = play.place.federation.actor("witness/birch")
    refused(play, play.place.incoming("witness/birch", "unmask-response", body), "R1", ())


@pytest.mark.parametrize("changes", [{"plan_hash": "0a" * 32}, {"round": 6}, {"type": "endorsement"}])
def test_r1_for_what(play: Play, changes):
    body = play.response("birch").encode()
    refused(play, play.place.incoming("member/birch", "unmask-response", body, **changes), "R1", ())


def test_r1_another_list(play: Play):
    refused(play, play.responding("birch", replace(play.response("birch"), survivors="0a" * 32)), "R1", ())


# --- R2 ---------------------------------------------------------------------------------------------------------------

SHARES: dict[str, Change] = {
    "no self share of a dealer": lambda group: replace(
        group, self_shares=group.self_shares[1:], edges=tuple(e for e in group.edges if e.id != "ash")
    ),
    "no edge of a dealer": lambda group: replace(group, edges=group.edges[1:]),
    "the self share of somebody who dropped out": lambda group: replace(
        group, self_shares=(*group.self_shares, OpenedShare("fir", NOISE, NOISE)), edges=()
    ),
    "an edge to somebody who is in no cohort": lambda group: replace(
        group, edges=(*group.edges, OpenedEdge("elm", "zebra", NOISE, NOISE))
    ),
    "an edge to the survivor that it keeps silent about": lambda group: replace(
        group,
        self_shares=group.self_shares[1:],
        edges=(OpenedEdge("birch", "ash", NOISE, NOISE), *group.edges[1:]),
    ),
    "shares of a dealer in no cohort": lambda group: replace(
        group, self_shares=(*group.self_shares, OpenedShare("zebra", NOISE, NOISE))
    ),
    "a complaint about somebody who dropped out": lambda group: replace(
        group, edges=(), complaints=(Complaint("fir", b""),)
    ),
    "a complaint about a survivor in place of the shares of another": lambda group: replace(
        group,
        self_shares=group.self_shares[1:],
        edges=group.edges[1:],
        complaints=(Complaint("zebra", b""),),
    ),
    "a complaint about itself": lambda group: replace(
        group,
        self_shares=tuple(share for share in group.self_shares if share.id != "birch"),
        edges=tuple(share for share in group.edges if share.id != "birch"),
        complaints=(Complaint("birch", b""),),
    ),
    "a self share of p": lambda group: replace(
        group, self_shares=(replace(group.self_shares[0], share=PRIME.to_bytes(32, "big")), *group.self_shares[1:])
    ),
    "an edge share above p": lambda group: replace(
        group, edges=(replace(group.edges[0], share=b"\xff" * 32), *group.edges[1:])
    ),
}


@pytest.mark.parametrize("change", SHARES.values(), ids=SHARES)
def test_r2_exactly_the_shares(play: Play, change: Change):
    refused(play, play.responding("birch", altered(play, change)), "R2", ("birch",))


def test_r2_only_what_was_asked_for(play: Play):
    response = play.response("birch")
    another = replace(response.groups[0], gid=4)
    for groups in ((), (another,), (*response.groups, another)):
        refused(play, play.responding("birch", replace(response, groups=groups)), "R2", ("birch",))


def test_r2_a_group_that_ended_or_is_none_of_its_own():
    """Ash is in group 3 only, fir in group 4 only; group 5 ends before anybody is asked to unmask it."""
    place = make_world({3: ALIVE, 4: ("birch", "cedar", "elm", "fir"), 5: ALIVE}, Profile.TWO_TRIP)
    play = Play(place)
    play.contribute(*ALIVE, gid=3)
    play.contribute("birch", "cedar", "elm", "fir", gid=4)
    play.contribute("ash", "birch", gid=5)
    play.close_collecting()
    response = play.response("ash")
    assert [group.gid for group in response.groups] == [3]
    for other in (4, 5):
        moved = replace(response, groups=(replace(response.groups[0], gid=other),))
        refused(play, play.responding("ash", moved), "R2", ("ash",))
    play.respond("ash")


def test_r2_a_group_alone_is_an_answer_too():
    """A member's own ledger may forbid one group and allow the other; each is opened by those who answer for it."""
    place = make_world({3: ALIVE, 4: ALIVE}, Profile.TWO_TRIP)
    play = Play(place)
    play.contribute(*ALIVE, gid=3)
    play.contribute(*ALIVE, gid=4)
    play.close_collecting()
    play.respond("birch", "cedar")
    response = play.response("ash")
    play.take(play.server.on_response(play.responding("ash", replace(response, groups=response.groups[1:]))))
    assert not play.server.enough
    sums = play.close_unmasking()
    assert sums == {4: plain_sum(place, [place.contribution(member, 4) for member in ALIVE], 4)}
    assert play.server.ended[3].code is EndCode.TOO_FEW_RESPONSES


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"groups":[],"survivors":"0a"}'])
def test_r2_a_body_that_is_none(play: Play, body: bytes):
    refused(play, play.place.incoming("member/birch", "unmask-response", body), "R2", ("birch",))


# --- R3 ---------------------------------------------------------------------------------------------------------------

LIES: dict[str, Change] = {
    "another share": lambda group: replace(
        group, self_shares=(replace(group.self_shares[0], share=NOISE), *group.self_shares[1:])
    ),
    "another blind": lambda group: replace(
        group, self_shares=(*group.self_shares[:-1], replace(group.self_shares[-1], blind=NOISE))
    ),
    "another edge share": lambda group: replace(group, edges=(replace(group.edges[0], share=NOISE), *group.edges[1:])),
    "another edge blind": lambda group: replace(
        group, edges=(*group.edges[:-1], replace(group.edges[-1], blind=NOISE))
    ),
    "shares of two dealers in each other's place": lambda group: replace(
        group,
        self_shares=(
            replace(group.self_shares[1], id="ash"),
            replace(group.self_shares[0], id="birch"),
            *group.self_shares[2:],
        ),
    ),
}


@pytest.mark.parametrize("change", LIES.values(), ids=LIES)
def test_r3_a_share_that_was_not_dealt(play: Play, change: Change):
    error = refused(play, play.responding("birch", altered(play, change)), "R3", ("birch",))
    play.take(play.server.refuse(play.responding("birch", altered(play, change)), error))
    assert play.server.blamed == {("birch", "R3", "*")}
    # Its answer is not used; those of the others are enough.
    play.respond("ash", "cedar", "elm")
    assert play.close_unmasking()[GID] == plain_sum(play.place, map(play.place.contribution, ALIVE))
    assert play.finish({GID: plain_sum(play.place, map(play.place.contribution, ALIVE))})
    assert play.server.result.answered == ("ash", "cedar", "elm")


def test_r3_the_shares_of_another_holder(play: Play):
    others = replace(play.response("cedar"))
    refused(play, play.responding("birch", others), "R3", ("birch",))


def test_r3_whoever_lied_is_named_when_its_share_is_missed(play: Play):
    bad = play.responding("birch", altered(play, LIES["another share"]))
    play.take(play.server.refuse(bad, refused(play, bad, "R3", ("birch",))))
    play.respond("ash", "cedar")
    assert play.close_unmasking() == {}
    (end,) = play.server.ended.values()
    assert (end.code, end.named) == (EndCode.TOO_FEW_RESPONSES, ("birch",))


def test_r3_only_what_has_to_do_with_answers_counts_there(place: World):
    """Birch's first contribution was bad, cedar lied about an edge, and elm says nothing: nobody did that."""
    play, made = Play(place), place.contribution("birch")
    for root in (NOISE, made.root):
        try:
            play.take(play.server.on_contribution(play.incoming(made), root))
        except ContributionRefused as error:
            play.take(play.server.refuse(play.incoming(made), error))
    play.made["birch", GID] = made
    play.until_unmasking("ash", "elm", deal(place, "cedar", edges=dict.fromkeys(("ash", "birch", "elm"), NOISE)))
    disputed = {(member, "S8", str(GID)) for member in ("ash", "birch", "cedar", "elm")}
    assert play.server.blamed - disputed == {("birch", "S6", str(GID))} and ("cedar", "S8", str(GID)) in disputed
    play.respond("ash", "birch")
    assert play.close_unmasking() == {}
    (end,) = play.server.ended.values()
    assert (end.code, end.named) == (EndCode.TOO_FEW_RESPONSES, ())


# --- R4 ---------------------------------------------------------------------------------------------------------------


def row_bytes(row: Row) -> bytes:
    return row.blind_seed + b"".join(row.shares)


def spoiled(place: World, holder: str, kind: str) -> Callable[[Row, bytes], bytes]:
    """Makes the envelope for one holder a bad one."""

    def envelope(row: Row, honest: bytes) -> bytes:
        if row.holder != holder:
            return honest
        match kind:
            case "garbage":  # the right key, and what it should open does not open
                return flipped(forged(place, row, row_bytes(row)))
            case "another row":
                return forged(place, row, row_bytes(replace(row, blind_seed=NOISE)))
            case "no row":
                return forged(place, row, b"\xff" * len(row_bytes(row)))
            case "no wrap":
                return bytes(1168) + honest[1168:]
            case "another wrapped key":
                return forged(place, row, row_bytes(row), wrapped=NOISE)
            case "an empty key":
                return forged_with_empty_key(place, row)
        raise ValueError(kind)

    return envelope


def forged_with_empty_key(place: World, row: Row) -> bytes:
    honest = forged(place, row, row_bytes(row))
    return bytes(1168) + digest(Label.SECAGG_ENVELOPE_KEY, b"") + honest[1200:]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def play_with(made: Contribution, place: World) -> Play:
    return Play(place).until_unmasking(made, *(member for member in ALIVE if member != made.member))


@pytest.mark.parametrize("kind", ["garbage", "another row", "no row"])
def test_r4_a_key_that_fits_convicts_the_dealer(place: World, kind: str):
    play = play_with(deal(place, "ash", envelope=spoiled(place, "cedar", kind)), place)
    (complaint,) = play.response("cedar").groups[0].complaints
    assert complaint.id == "ash" and len(complaint.key) == 32
    play.respond(*ALIVE)
    assert [record for record in play.records if isinstance(record, Blamed)] == [Blamed(GID, "R4", ("ash",), ())]
    assert play.server.blamed == {("ash", "R4", str(GID))}
    # The other three have good shares of it.
    honest = [play.made[member, GID] for member in ALIVE]
    assert play.close_unmasking()[GID] == plain_sum(place, honest)


@pytest.mark.parametrize("kind", ["no wrap", "another wrapped key", "an empty key"])
def test_r4_without_a_key_nobody_can_tell(place: World, kind: str):
    play = play_with(deal(place, "ash", envelope=spoiled(place, "cedar", kind)), place)
    assert play.response("cedar").groups[0].complaints == (Complaint("ash", b""),)
    play.respond("cedar")
    assert Blamed(GID, "R4", (), ("ash", "cedar")) in play.records
    assert play.server.blamed == {("ash", "R4", str(GID)), ("cedar", "R4", str(GID))}


def complaining(play: Play, holder: str, dealer: str, key: bytes) -> UnmaskResponse:
    def complain(group: AnsweredGroup) -> AnsweredGroup:
        return replace(
            group,
            self_shares=tuple(share for share in group.self_shares if share.id != dealer),
            edges=tuple(share for share in group.edges if share.id != dealer),
            complaints=(Complaint(dealer, key),),
        )

    return altered(play, complain, holder)


def key_of(play: Play, dealer: str, holder: str) -> bytes:
    """The key of a good envelope, which its holder knows."""
    (sent,) = [sent for sent in play.request(holder).groups[0].deals if sent.id == dealer]
    keys = play.place.prekeys[holder]
    return unwrap_key(play.place.context(), dealer, holder, sent.envelope, keys.recipient, keys.index)


def test_r4_a_complaint_about_a_good_envelope_convicts_the_holder(play: Play):
    response = complaining(play, "birch", "ash", key_of(play, "ash", "birch"))
    play.take(play.server.on_response(play.responding("birch", response)))
    assert play.server.blamed == {("birch", "R4", str(GID))}
    assert Blamed(GID, "R4", ("birch",), ()) in play.records


@pytest.mark.parametrize("key", [NOISE, b""])
def test_r4_a_key_that_does_not_fit_names_both(play: Play, key: bytes):
    play.take(play.server.on_response(play.responding("birch", complaining(play, "birch", "ash", key))))
    assert Blamed(GID, "R4", (), ("ash", "birch")) in play.records


def test_r4_complaints_do_not_keep_the_other_shares_from_being_used(play: Play):
    response = complaining(play, "birch", "ash", b"")
    play.take(play.server.on_response(play.responding("birch", response)))
    play.respond("cedar", "elm")
    assert not play.server.enough  # of ash's secrets there are two shares
    play.respond("ash")
    assert play.close_unmasking()[GID] == plain_sum(play.place, map(play.place.contribution, ALIVE))


def test_r4_a_dealer_whose_shares_are_missed_is_named(place: World):
    def envelope(row: Row, honest: bytes) -> bytes:
        return honest if row.holder == "birch" else spoiled(place, row.holder, "garbage")(row, honest)

    play = play_with(deal(place, "ash", envelope=envelope), place)
    play.respond(*ALIVE)
    assert play.close_unmasking() == {}
    (end,) = play.server.ended.values()
    assert (end.code, end.named) == (EndCode.TOO_FEW_RESPONSES, ("ash",))


# --- R5 ---------------------------------------------------------------------------------------------------------------


def shares_something_else(place: World, member: str, number: int) -> Contribution:
    return deal(place, member, shared={number: 12345})


def test_r5_a_self_seed_that_was_not_shared(place: World):
    play = play_with(shares_something_else(place, "cedar", 0), place)
    play.respond(*ALIVE)
    assert play.server.enough
    assert play.close_unmasking() == {}
    (end,) = play.server.ended.values()
    assert (end.code, end.named) == (EndCode.BAD_DEALING, ("cedar",))
    assert play.server.state is State.FINISHED


def test_r5_the_seed_of_an_edge_that_was_not_shared(place: World):
    to_fir = place.neighbours("cedar").index("fir") + 1
    play = play_with(shares_something_else(place, "cedar", to_fir), place)
    play.respond(*ALIVE)
    assert play.close_unmasking() == {}
    assert play.server.ended[GID].named == ("cedar",)


def test_r5_edges_to_survivors_are_not_opened_and_need_not_open(place: World):
    to_ash = place.neighbours("cedar").index("ash") + 1
    made = shares_something_else(place, "cedar", to_ash)
    play = play_with(made, place)
    play.respond(*ALIVE)
    honest = [made, *(place.contribution(member) for member in ALIVE if member != "cedar")]
    assert play.close_unmasking()[GID] == plain_sum(place, honest)


def test_r5_everybody_who_dealt_badly_is_named(place: World):
    play = Play(place)
    play.until_unmasking(
        shares_something_else(place, "elm", 0), shares_something_else(place, "ash", 0), "birch", "cedar"
    )
    play.respond(*ALIVE)
    play.close_unmasking()
    assert play.server.ended[GID].named == ("ash", "elm")


def test_r5_another_commitment_to_the_self_seed(place: World):
    play = play_with(with_deal(place, place.contribution("ash"), self_commitment=NOISE), place)
    play.respond(*ALIVE)
    play.close_unmasking()
    assert play.server.ended[GID].named == ("ash",)


# --- R6 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["count", "sum", "seed"])
def test_r6_numbers_that_nobody_may_send(place: World, kind: str):
    keep, deltas = vector(place, "ash")
    made = place.contribution("ash")
    if kind == "count":  # not kept, and a number all the same, by everybody
        keep, deltas = np.zeros_like(keep), np.full_like(deltas, 1)
        liars = [deal(place, member, values=(keep, deltas)) for member in ALIVE]
    elif kind == "sum":
        liars = [deal(place, "ash", values=(keep, np.full_like(deltas, 2**31 - 1)))]
    else:  # masked with another self seed than the one that it dealt
        other = deal(place, "ash")
        liars = [with_deal(place, replace(made, streams=other.streams), vector_root=other.root)]
    play = Play(place).until_unmasking(*liars, *ALIVE[len(liars) :])
    play.respond(*ALIVE)
    sums = play.close_unmasking()
    step = play.finish(sums)
    (record,) = step.records
    assert isinstance(record, OutOfRange) and record.violations > 0
    assert play.server.state is State.FINISHED and play.server.result is None
    assert (play.server.ended[GID].code, play.server.ended[GID].named) == (EndCode.SUM_OUT_OF_RANGE, ())


def test_r6_every_group_has_one_end(play: Play):
    """What was opened has a result or is out of range, and nothing else has."""
    play.respond(*ALIVE)
    play.close_unmasking()
    good = result(GID, 4)
    for results, out_of_range in (([], {}), ([good], {GID: 1}), ([good, good], {}), ([replace(good, gid=4)], {})):
        with pytest.raises(ValueError, match="every group"):
            play.server.finish(results, out_of_range)
    assert play.server.state is State.SUMMING
    play.take(play.server.finish([good]))


# --- the good twin ----------------------------------------------------------------------------------------------------


def test_an_answer_is_taken_in(play: Play):
    incoming = play.responding("birch")
    step = play.take(play.server.on_response(incoming))
    assert [record.body for record in step.records] == [incoming.body]
    assert step.messages == ()
    assert play.server.shares[GID]["birch"][("ash", "")] == int.from_bytes(
        play.response("birch").groups[0].self_shares[0].share, "big"
    )


def test_shares_come_with_the_blinding_of_their_number(play: Play):
    """The helper of these tests is checked too: the blind of secret m is that of m, not of 0."""
    made, edge = play.made["birch", GID], play.response("birch").groups[0].edges[1]
    number = play.place.neighbours("birch").index("fir") + 1
    assert edge.id == "birch" and edge.blind == blind(made.own_row.blind_seed, number)


@pytest.mark.parametrize("name", [1, 60], ids=["short names", "long names"])
@pytest.mark.parametrize(("size", "survivors", "degree"), [(4, 4, 0), (9, 5, 0), (30, 20, 0), (40, 27, 12)])
def test_the_largest_answer_is_within_the_limit_of_the_plan(size, survivors, degree, name):
    """Of those who are left each is answered for, with its edges to as many neighbours as may drop out."""
    cohort = tuple(f"{number:02d}{'x' * name}" for number in range(size))
    shape = (MatrixShape("w", 2, 4),)
    groups = [
        GroupPlan(gid, "ba" * 32, shape, cohort, 2, survivors, degree, CountField.for_cohort(size), None)
        for gid in (7, 4000)
    ]
    lost = min(size - survivors, degree) if degree else size - survivors
    dealers, dropped = cohort[: degree + 1 if degree else survivors], cohort[size - lost :]
    dealers = tuple(dealer for dealer in dealers if dealer not in dropped)
    own = tuple(OpenedShare(dealer, NOISE, NOISE) for dealer in dealers)
    edges = tuple(OpenedEdge(dealer, other, NOISE, NOISE) for dealer in dealers for other in dropped)
    largest = len(UnmaskResponse("ab" * 32, tuple(AnsweredGroup(one.gid, own, edges, ()) for one in groups)).encode())
    assert largest <= response_limit(groups) / 2
    assert response_limit(groups) <= 6 * largest
    assert largest > response_limit([replace(group, survivors=size) for group in groups]) / 2 or lost == 0
