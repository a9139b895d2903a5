"""A member's round from plan to result: what comes out in the end, what is made once, and what may happen when."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from fedspallm_secure import errors
from fedspallm_secure.crypto.key_records import PrekeySecret
from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.protocol.rounds import dealing
from fedspallm_secure.protocol.rounds.deals import Handover, check_deal
from fedspallm_secure.protocol.rounds.member import Member
from fedspallm_secure.protocol.rounds.member_own import Own
from fedspallm_secure.protocol.rounds.member_state import THREE_TRIP, TWO_TRIP, Event, State
from fedspallm_secure.protocol.rounds.messages import Incoming
from fedspallm_secure.protocol.rounds.outcomes import Abort, EndCode, GroupResult, Result
from fedspallm_secure.protocol.rounds.receipts import Receipt
from fedspallm_secure.protocol.rounds.records_member import (
    Aborted,
    Closed,
    Dealt,
    PrekeyHeld,
    ReceiptHeld,
    Sealed,
    VectorFrozen,
)
from fedspallm_secure.protocol.rounds.unmasking import UnmaskResponse
from fedspallm_secure.secagg.disclosure import Ledger
from fedspallm_secure.secagg.keystreams import Stream
from fedspallm_secure.secagg.masking import add_into, add_keystreams, unmask_terms
from fedspallm_secure.secagg.seeds import edge_commitment, self_commitment
from fedspallm_secure.secagg.sharing import combine
from fedspallm_secure.secagg.thresholds import Profile
from tests.parties import NOW
from tests.protocol.rounds.member_stage import (
    FIRST,
    LAYERS,
    MASKED,
    ME,
    MEMBERS,
    NEXT,
    SERVER,
    Case,
    Participant,
    Round,
    incoming,
    lungs,
    names_of,
    own,
    own_bundle,
    package_digest,
    plan,
    prekeys,
)

DIGEST = "7d" * 32
FOUR = ("east", ME, "north", "south")
PREKEY = prekeys(ME)[NEXT - FIRST]
THREE, TWO, SEEN = Profile.THREE_TRIP, Profile.TWO_TRIP, Profile.WITNESSED


# From plan to sum


def streams_of(member: str, gid: int, sums: bool) -> list[bytearray]:
    """A vector of 30 weights: 15 bytes of counts of 4 bits, and 120 bytes of sums of 32."""
    seed = np.random.default_rng([MEMBERS.index(member), gid])
    keep = seed.integers(0, 2, 30)
    counts = bytearray((keep[0::2] | keep[1::2] << 4).astype(np.uint8).tobytes())
    values = (keep * seed.integers(-1000, 1000, 30)).astype("<i4")
    return [counts, bytearray(values.tobytes())][: 1 + sums]


def added(streams: list[list[bytearray]]) -> list[bytearray]:
    total = [bytearray(len(part)) for part in streams[0]]
    for parts in streams:
        for sum, part, size in zip(total, parts, (1, 4), strict=False):
            add_into(sum, part, size)
    return total


def contribute(party: Participant, gid: int, sums: bool) -> list[bytearray]:
    """The masked streams, as the application makes them."""
    me = party.machine
    streams = streams_of(me.me, gid, sums)
    party.note(me.freeze(gid, hashlib.sha256(b"".join(streams)).digest()))
    draft = me.prepare(gid, prekeys(me.me)[NEXT - FIRST])
    terms = (draft.count_terms, draft.sum_terms)
    for part, term, size in zip(streams, terms, (1, 4), strict=False):
        add_keystreams(part, term, size)
    assert bool(draft.sum_terms) == sums
    (message,) = party.note(me.hand_over(draft, hashlib.sha256(b"".join(streams)).digest())).messages
    party.sent[gid] = message
    return streams


def opened(round: Round, gid: int, answers: dict[str, Any], survivors: tuple[str, ...]) -> tuple[list, list]:
    """Self seeds and edges, from the shares that the survivors gave and nothing else; each has its commitment."""
    links, found = round.links(gid), round.links(gid).group
    shares: dict[tuple[str, str], dict[int, int]] = {}
    for holder, answer in answers.items():
        point = found.cohort.index(holder) + 1
        for share in answer.self_shares:
            shares.setdefault((share.id, ""), {})[point] = int.from_bytes(share.share, "big")
        for edge in answer.edges:
            shares.setdefault((edge.id, edge.dropped), {})[point] = int.from_bytes(edge.share, "big")
    own_seeds, edges = [], []
    for (dealer, dropped), points in shares.items():
        seed, deal = combine(points, found.shares), round.handover(dealer, gid).deal
        if dropped:
            first, second = sorted((dealer, dropped))
            number = links.neighbours(dealer).index(dropped)
            assert deal.edges[number] == edge_commitment(links.context, first, second, seed)
            edges.append((seed, dropped < dealer))
        else:
            assert deal.self_commitment == self_commitment(links.context, dealer, seed)
            own_seeds.append(seed)
    assert len(own_seeds) == len(survivors)
    return own_seeds, edges


@pytest.mark.parametrize("sums", [True, False])
@pytest.mark.parametrize("silent", [(), ("west",), ("east",)])
@pytest.mark.parametrize("profile", MASKED)
def test_the_answers_open_the_sum_over_the_survivors_and_nothing_else_is_needed(profile, silent, sums):
    round = Round(plan(profile, sums))
    survivors = tuple(one for one in MEMBERS if one not in silent)
    sent = {(one, gid): contribute(round.parties[one], gid, sums) for one in survivors for gid in LAYERS}
    statement = round.list_of(survivors)
    for one in survivors:
        step = round.parties[one].machine.on_survivors(round.survivors(statement, one), Ledger(), NOW)
        assert len(step.messages) == (profile is THREE)
    names = names_of(survivors) if profile is THREE else ["witness/ant", "witness/bee"]
    endorsers = round.endorsers(statement, names)
    answering = survivors[:4]  # of five survivors four are enough
    answers = {}
    for one in answering:
        request = round.request(round.request_for(one, statement, endorsers), one)
        answers[one] = UnmaskResponse.parse(
            round.parties[one].machine.on_unmask_request(request, Ledger(), NOW).messages[0].body
        )
    for place, gid in enumerate(LAYERS):
        own_seeds, edges = opened(round, gid, {one: answer.groups[place] for one, answer in answers.items()}, survivors)
        assert len(edges) == len(survivors) * len(silent)
        total = added([sent[one, gid] for one in survivors])
        for part, stream, size in zip(total, Stream, (1, 4), strict=False):
            add_keystreams(part, unmask_terms(round.links(gid).context, own_seeds, edges, stream), size)
        assert total == added([streams_of(one, gid, sums) for one in survivors])


def test_both_ends_commit_to_the_same_edge():
    round = Round(plan())
    round.everybody_contributes()
    for gid in LAYERS:
        links = round.links(gid)
        for one in MEMBERS:
            for place, other in enumerate(links.neighbours(one)):
                back = links.neighbours(other).index(one)
                mine, theirs = round.handover(one, gid).deal.edges[place], round.handover(other, gid).deal.edges[back]
                assert mine == theirs


def test_what_is_handed_over_is_what_the_server_checks():
    """S2 to S5."""
    round = Round(plan())
    round.everybody_contributes()
    for one in MEMBERS:
        for gid in LAYERS:
            found = round.handover(one, gid)
            context, public = round.links(gid).context, lungs()[f"member/{one}"].signer.public
            check_deal(public, context, one, found.deal.encode(), found.signature)
            assert found.rows_fit() and found.envelopes_fit()
            assert found.deal.vector_root == bytes([gid + 1]) * 32
            message = round.parties[one].sent[gid]
            assert (message.type, message.recipient, message.group) == ("contribution", SERVER, str(gid))


# What is made once


def accepted(profile: Profile = THREE) -> Member:
    return Case(plan(profile)).run()[0]


def test_the_frozen_digest_is_that_of_the_specification():
    me = accepted()
    (record,) = me.freeze(1, bytes(32)).records
    parts = bytes.fromhex(plan().hash), (1).to_bytes(4, "little"), bytes(32)
    assert record == VectorFrozen(1, digest(Label.SECAGG_FROZEN, *parts).hex())


def test_a_vector_is_frozen_once():
    me = accepted()
    me.freeze(0, bytes(32))
    assert me.freeze(0, bytes(32)).records == ()
    with pytest.raises(errors.OutOfTurn, match="another vector was frozen for group 0"):
        me.freeze(0, bytes([1] * 32))
    assert me.freeze(1, bytes([1] * 32)).records
    with pytest.raises(ValueError, match="31"):
        me.freeze(0, bytes(31))


@pytest.mark.parametrize("gid", [2, -1])
def test_nothing_is_made_for_a_group_that_is_not_mine(gid):
    with pytest.raises(errors.OutOfTurn, match="none of mine"):
        accepted().freeze(gid, bytes(32))
    with pytest.raises(errors.OutOfTurn, match="none of mine"):
        accepted().prepare(gid, PREKEY)


def test_seeds_are_drawn_for_a_frozen_vector_alone():
    with pytest.raises(errors.OutOfTurn, match="not frozen"):
        accepted().prepare(0, PREKEY)


def test_seeds_are_drawn_once():
    me = accepted()
    me.freeze(0, bytes(32))
    me.prepare(0, PREKEY)
    with pytest.raises(errors.OutOfTurn, match="drawn before"):
        me.prepare(0, PREKEY)
    me.freeze(0, bytes(32))
    with pytest.raises(errors.OutOfTurn, match="drawn before"):
        me.prepare(0, PREKEY)


def test_seeds_are_drawn_once_even_if_that_fails(monkeypatch):
    me = accepted()
    me.freeze(0, bytes(32))
    monkeypatch.setattr(dealing, "deal_rows", lambda *given: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        me.prepare(0, PREKEY)
    monkeypatch.undo()
    with pytest.raises(errors.OutOfTurn, match="drawn before"):
        me.prepare(0, PREKEY)


@pytest.mark.parametrize(
    "prekey", [prekeys(ME)[NEXT - FIRST + 1], replace(PrekeySecret.generate(NEXT)), replace(PREKEY, index=NEXT + 1)]
)
def test_only_the_prekey_of_the_plan_is_used(prekey):
    me = accepted()
    me.freeze(0, bytes(32))
    with pytest.raises(errors.KeyStoreError, match="not the one that the plan names"):
        me.prepare(0, prekey)
    me.prepare(0, PREKEY)  # it was no attempt


def test_new_seeds_for_every_group_and_every_run():
    drafts = []
    for _ in range(2):
        me = accepted()
        for gid in LAYERS:
            me.freeze(gid, bytes(32))
            drafts.append(me.prepare(gid, PREKEY))
    assert len({draft.self_commitment for draft in drafts}) == 4
    assert len({draft.own_row.blind_seed for draft in drafts}) == 4
    assert len({draft.edges for draft in drafts}) == 2, "edges belong to plan and group"
    keys = [term.key for draft in drafts[:2] for term in (*draft.count_terms, *draft.sum_terms)]
    assert len(set(keys)) == len(keys) == 2 * 2 * 5


def test_a_draft_is_handed_over_once():
    me = accepted()
    me.freeze(0, bytes(32))
    draft = me.prepare(0, PREKEY)
    with pytest.raises(errors.FormatError):
        me.hand_over(draft, bytes(31))
    step = me.hand_over(draft, bytes(32))
    held, dealt = step.records
    assert isinstance(held, PrekeyHeld) and held.prekey == PREKEY
    assert isinstance(dealt, Dealt) and dealt.row(ME) == draft.own_row
    assert Handover.parse(step.messages[0].body, 4, 4).deal.encode() == dealt.deal
    for root in (bytes(32), bytes([1] * 32)):
        with pytest.raises(errors.OutOfTurn, match="was handed over"):
            me.hand_over(draft, root)
    me.freeze(1, bytes(32))
    assert [type(record) for record in me.hand_over(me.prepare(1, PREKEY), bytes(32)).records] == [Dealt]


def test_a_draft_of_another_machine_is_not_handed_over():
    me, other = accepted(), accepted()
    for one in (me, other):
        one.freeze(0, bytes(32))
    mine, theirs = me.prepare(0, PREKEY), other.prepare(0, PREKEY)
    with pytest.raises(errors.OutOfTurn, match="made by another process"):
        me.hand_over(theirs, bytes(32))
    me.hand_over(mine, bytes(32))


def test_a_draft_is_not_handed_over_when_its_time_is_past():
    """Neither after the list was endorsed, nor after the group has ended."""
    round = _played(THREE)
    me = Member.restore(own(), round.parties[ME].records[:4])
    me.freeze(1, bytes(32))
    draft = me.prepare(1, PREKEY)
    me.on_survivors(round.survivors(round.list_of(FOUR, [0])), Ledger(), NOW)
    with pytest.raises(errors.OutOfTurn, match="endorsed"):
        me.hand_over(draft, bytes(32))
    me = accepted()
    me.freeze(0, bytes(32))
    draft = me.prepare(0, PREKEY)
    me.on_abort(told("abort", Abort(0, EndCode.STOPPED).encode()))
    with pytest.raises(errors.OutOfTurn, match="has ended"):
        me.hand_over(draft, bytes(32))
    assert not me.deals


def test_drafts_do_not_show_their_secrets():
    me = accepted()
    me.freeze(0, bytes(32))
    draft = me.prepare(0, PREKEY)
    step = me.hand_over(draft, bytes(32))
    shown = repr(draft) + repr(step.records)
    for secret in (PREKEY.exchange, draft.own_row.blind_seed, draft.own_row.shares[0], draft.count_terms[0].key):
        assert repr(secret)[2:-1] not in shown and secret.hex() not in shown


# Receipts, results, ends


@cache
def _played(profile: Profile) -> Round:
    found = Round(plan(profile))
    found.everybody_contributes()
    return found


def result(of: Round, /, **changes: Any) -> Result:
    groups = tuple(GroupResult(gid, 30, 4, DIGEST, DIGEST, 20, 5) for gid in LAYERS)
    made = {
        "signer": lungs()[changes.pop("by", "server/hub")].signer,
        "federation": of.plan.federation,
        "round": of.plan.round,
        "plan_hash": of.plan.hash,
        "survivors": of.list_of(FOUR).hash,
        "groups": groups,
        "ended": (),
        "answered": FOUR,
    }
    return Result.make(**{**made, **changes})


def restored(profile: Profile, *more: Any) -> Member:
    return Member.restore(own(), [*_played(profile).parties[ME].records, *more])


def told(kind: str, body: bytes, **changes: Any) -> Incoming:
    return incoming(kind, body, _played(THREE).plan, **changes)


def receipt(of: Round, gid: int, /, **changes: Any) -> Receipt:
    made = {
        "signer": lungs()[changes.pop("by", "server/hub")].signer,
        "federation": of.plan.federation,
        "round": of.plan.round,
        "plan_hash": of.plan.hash,
        "group": gid,
        "member": ME,
        "package": package_digest(of.parties[ME].sent[gid]),
        "deal": of.deal(ME, gid),
    }
    return Receipt.make(**{**made, **changes})


def test_a_receipt_is_for_what_i_handed_over_and_is_kept():
    round, me = _played(THREE), restored(THREE)
    for gid in LAYERS:
        made = receipt(round, gid)
        step = me.on_receipt(told("receipt", made.encode(), group=str(gid)))
        assert (step.records, step.messages) == ((ReceiptHeld(gid, made.encode()),), ())
        assert Receipt.parse(me.receipts[gid]) == made
        assert me.on_receipt(told("receipt", made.encode(), group=str(gid))).records == (), "the same again"
    assert set(me.receipts) == set(LAYERS)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"by": "server/spare"}, errors.BadSignature),
        ({"by": f"member/{ME}"}, errors.BadSignature),
        ({"federation": "hearts.example"}, errors.WrongFederation),
        ({"round": 8}, errors.NotAwaited),
        ({"plan_hash": DIGEST}, errors.NotAwaited),
        ({"group": 1}, errors.NotAwaited),
        ({"group": 5}, errors.NotAwaited),
        ({"member": "east"}, errors.NotAwaited),
        ({"package": DIGEST}, errors.NotAwaited),
        ({"deal": DIGEST}, errors.NotAwaited),
    ],
    ids=lambda value: "-".join(f"{name}-{str(one)[:12]}" for name, one in value.items()) if type(value) is dict else "",
)
def test_another_receipt_is_refused_and_not_kept(changes, error):
    round, me = _played(THREE), restored(THREE)
    with pytest.raises(error):
        me.on_receipt(told("receipt", receipt(round, 0, **changes).encode(), group="0"))
    assert me.receipts == {}


def test_a_receipt_is_of_the_group_that_its_header_names():
    round, me = _played(THREE), restored(THREE)
    for group in ("1", "*"):
        with pytest.raises(errors.NotAwaited, match="did not make"):
            me.on_receipt(told("receipt", receipt(round, 0).encode(), group=group))
    with pytest.raises(errors.FormatError):
        me.on_receipt(told("receipt", b"{}", group="0"))


def test_there_is_no_receipt_for_what_was_not_sealed():
    """The package digest is part of what a receipt says, so a member has to know it."""
    round, dealt = _played(THREE), _played(THREE).parties[ME].records[:4]
    me = Member.restore(own(), dealt)
    with pytest.raises(errors.NotAwaited, match="did not make"):
        me.on_receipt(told("receipt", receipt(round, 0).encode(), group="0"))
    with pytest.raises(errors.OutOfTurn, match="group 1"):
        me.note_sealed(1, DIGEST)
    assert me.note_sealed(0, DIGEST).records == (Sealed(0, DIGEST),)
    with pytest.raises(errors.OutOfTurn, match="sealed before"):
        me.note_sealed(0, DIGEST)


def test_a_result_is_verified_and_closes_the_round():
    round, me = _played(THREE), restored(THREE)
    me.on_survivors(round.survivors(round.list_of(FOUR)), Ledger(), NOW)
    made = result(round)
    step = me.on_result(told("result", made.encode()))
    assert step.result == made and step.records == (Closed(made.hash),) and step.messages == ()
    assert me.state is State.CLOSED and me.prekey is None
    again = me.on_result(told("result", made.encode()))
    assert again.records == () and again.result == made
    with pytest.raises(errors.OutOfTurn, match="second result"):
        me.on_result(told("result", result(round, answered=("east",)).encode()))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"by": "server/spare"}, errors.BadSignature),
        ({"federation": "hearts.example"}, errors.WrongFederation),
        ({"round": 6}, errors.NotAwaited),
        ({"plan_hash": DIGEST}, errors.NotAwaited),
        ({"survivors": DIGEST}, errors.NotAwaited),
    ],
    ids=str,
)
def test_another_result_is_refused(changes, error):
    round, me = _played(THREE), restored(THREE)
    me.on_survivors(round.survivors(round.list_of(FOUR)), Ledger(), NOW)
    with pytest.raises(error):
        me.on_result(told("result", result(round, **changes).encode()))
    assert me.state is State.ENDORSED and me.result is None


def test_who_was_shown_no_list_takes_the_result_s():
    me = restored(THREE)
    me.on_result(told("result", result(_played(THREE), survivors=DIGEST).encode()))
    assert me.state is State.CLOSED


def test_an_abort_of_the_round_closes_it_and_forgets():
    me = restored(THREE)
    assert me.prekey is not None
    step = me.on_abort(told("abort", Abort(None, EndCode.STOPPED).encode()))
    assert step.records == (Aborted("*", "STOPPED"),) and me.state is State.CLOSED
    assert me.prekey is None and not me._rows
    assert me.on_abort(told("abort", Abort(None, EndCode.STOPPED).encode())).records == ()
    late = result(_played(THREE))  # others went on, and the next plan starts from what they have
    assert me.on_result(told("result", late.encode())).result == late


def test_an_abort_of_a_group_closes_the_round_when_it_was_the_last():
    me = accepted()
    assert me.on_abort(told("abort", Abort(1, EndCode.BAD_DEALING, ("west",)).encode())).records
    assert me.state is State.PLANNED and me.ended == {"1": "BAD_DEALING"}
    assert me.on_abort(told("abort", Abort(1, EndCode.STOPPED).encode())).records == ()
    with pytest.raises(errors.OutOfTurn, match="has ended"):
        me.freeze(1, bytes(32))
    me.freeze(0, bytes(32))
    with pytest.raises(errors.NotAwaited, match="group 2"):
        me.on_abort(told("abort", Abort(2, EndCode.STOPPED).encode()))
    me.on_abort(told("abort", Abort(0, EndCode.STOPPED).encode()))
    assert me.state is State.CLOSED


@pytest.mark.parametrize("change", [{"sender": "server/spare"}, {"type": "plan"}, {"round": 6}, {"plan_hash": DIGEST}])
@pytest.mark.parametrize("kind", ["receipt", "result", "abort"])
def test_only_the_server_of_my_plan_is_heard(kind, change):
    me = restored(THREE)
    bodies = {
        "receipt": receipt(_played(THREE), 0).encode(),
        "result": result(_played(THREE)).encode(),
        "abort": Abort(None, EndCode.STOPPED).encode(),
    }
    with pytest.raises(errors.NotAwaited, match="for the plan that I accepted"):
        getattr(me, f"on_{kind}")(told(kind, bodies[kind], group="0", **change))


def test_a_member_is_a_member():
    with pytest.raises(errors.UsageError, match="neither a member nor a key holder"):
        Own(SERVER, lungs()["server/hub"].signer, lungs().trust, own().policy)


# What may happen when


def machine_in(state: State, profile: Profile) -> Member:
    round = _played(profile)
    if state is State.IDLE:
        return Member(own())
    me = restored(profile)
    if state is State.PLANNED:
        return me
    statement = round.list_of(FOUR)
    me.on_survivors(round.survivors(statement), Ledger(), NOW)
    if state is State.ENDORSED:
        return me
    names = names_of(FOUR) if profile is THREE else ["witness/ant", "witness/bee"]
    request = round.request_for(ME, statement, round.endorsers(statement, names))
    me.on_unmask_request(round.request(request), Ledger(), NOW)
    if state is State.CLOSED:
        me.on_result(incoming("result", result(round).encode(), round.plan))
    assert me.state is state
    return me


def happening(event: Event, profile: Profile) -> Callable[[Member], Any]:
    """What may happen to a member, all of it as an honest server and this member make it."""
    round = _played(profile)
    statement = round.list_of(FOUR)
    names = names_of(FOUR) if profile is THREE else ["witness/ant", "witness/bee"]
    request = round.request(round.request_for(ME, statement, round.endorsers(statement, names)))

    def package(kind: str, body: bytes, **more: Any) -> Incoming:
        return incoming(kind, body, round.plan, **more)

    return {
        Event.PLAN: lambda me: Case(round.plan).give(me),
        Event.CONTRIBUTION: lambda me: me.freeze(0, (b"stream" * 32)[:32]),
        Event.RECEIPT: lambda me: me.on_receipt(package("receipt", receipt(round, 0).encode(), group="0")),
        Event.SURVIVORS: lambda me: me.on_survivors(round.survivors(statement), Ledger(), NOW),
        Event.UNMASK_REQUEST: lambda me: me.on_unmask_request(request, Ledger(), NOW),
        Event.GROUP_ABORT: lambda me: me.on_abort(package("abort", Abort(0, EndCode.STOPPED).encode())),
        Event.ABORT: lambda me: me.on_abort(package("abort", Abort(None, EndCode.STOPPED).encode())),
        Event.RESULT: lambda me: me.on_result(package("result", result(round).encode())),
    }[event]


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("profile", MASKED)
def test_every_event_in_every_state(profile, state, event):
    if state is State.ENDORSED and profile is not THREE:
        assert state not in TWO_TRIP.values(), "nobody endorses"
        return
    table = THREE_TRIP if profile is THREE else TWO_TRIP
    me = machine_in(state, profile)
    if event is Event.UNMASK_REQUEST and state is State.PLANNED and profile is not THREE:
        happening(Event.SURVIVORS, profile)(me)  # the two travel together
    if (state, event) in table:
        happening(event, profile)(me)
        assert me.state is table[state, event]
    else:
        before = vars(me).copy()
        with pytest.raises(errors.OutOfTurn, match="does not belong to a round that is"):
            happening(event, profile)(me)
        assert vars(me) == before


IN_THE_SPECIFICATION = {  # section 16.5, by hand; what is not there lets in again what was taken in before
    THREE: [
        (State.IDLE, Event.PLAN, State.PLANNED),
        (State.PLANNED, Event.CONTRIBUTION, State.PLANNED),
        (State.PLANNED, Event.SURVIVORS, State.ENDORSED),
        (State.ENDORSED, Event.UNMASK_REQUEST, State.ANSWERED),
        (State.ANSWERED, Event.UNMASK_REQUEST, State.ANSWERED),
    ],
    TWO: [
        (State.IDLE, Event.PLAN, State.PLANNED),
        (State.PLANNED, Event.CONTRIBUTION, State.PLANNED),
        (State.PLANNED, Event.UNMASK_REQUEST, State.ANSWERED),
        (State.ANSWERED, Event.UNMASK_REQUEST, State.ANSWERED),
    ],
}


def test_the_tables_are_those_of_the_specification():
    for profile, table in ((THREE, THREE_TRIP), (TWO, TWO_TRIP)):
        moves = {(state, event, new) for (state, event), new in table.items()}
        never = {State.IDLE} if profile is THREE else {State.IDLE, State.ENDORSED}
        begun = [state for state in State if state not in never]
        stated = {*IN_THE_SPECIFICATION[profile]}
        stated |= {(state, event, State.CLOSED) for state in begun for event in (Event.ABORT, Event.RESULT)}
        assert stated <= moves
        assert all(state is new for state, _, new in moves - stated), "everything else stays where it is"
        for state, event in ((State.CLOSED, Event.UNMASK_REQUEST), (State.ENDORSED, Event.CONTRIBUTION)):
            assert (state, event) not in table


def test_the_round_of_a_member_that_accepted_nothing():
    with pytest.raises(errors.OutOfTurn, match="no plan was accepted"):
        _ = Member(own()).round
    assert Member(own()).releases == ()
    assert own_bundle(ME).first == FIRST
