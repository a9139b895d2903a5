"""After a crash at any moment nobody deals, endorses or answers twice, and what was said is said again as it was."""

import json
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspallm_secure.crypto.encoding import canonical_json
from fedspallm_secure.errors import FormatError, OutOfTurn, RoundError, UnmaskingDeclined
from fedspallm_secure.protocol.rounds.member import Member
from fedspallm_secure.protocol.rounds.member_state import State
from fedspallm_secure.protocol.rounds.records_member import (
    Aborted,
    Answered,
    Closed,
    Dealt,
    Endorsed,
    ListHeld,
    PlanAccepted,
    PrekeyHeld,
    ReceiptHeld,
    Sealed,
    VectorFrozen,
    read_member_record,
)
from fedspallm_secure.protocol.rounds.survivors import SurvivorList
from fedspallm_secure.secagg.disclosure import Ledger
from fedspallm_secure.secagg.thresholds import Profile
from tests.parties import NOW
from tests.protocol.rounds.member_stage import (
    FIRST,
    LAYERS,
    MASKED,
    ME,
    MEMBERS,
    NEXT,
    Case,
    Round,
    names_of,
    own,
    plan,
    prekeys,
)

FOUR = ("east", ME, "north", "south")
PREKEY = prekeys(ME)[NEXT - FIRST]


@dataclass
class Story:
    """A round of mine from plan to answer, and the two lists that a server could show me."""

    round: Round
    records: list[Any]
    endorsement: tuple[Any, ...]
    answer: tuple[Any, ...]
    first: SurvivorList
    second: SurvivorList

    def survivors(self, me: Member, statement: SurvivorList) -> Any:
        return me.on_survivors(self.round.survivors(statement), Ledger(), NOW)

    def request(self, me: Member, statement: SurvivorList) -> Any:
        witnessed = self.round.plan.profile is Profile.WITNESSED
        names = ["witness/ant", "witness/bee"] if witnessed else names_of(MEMBERS)
        found = self.round.request_for(ME, statement, self.round.endorsers(statement, names))
        return me.on_unmask_request(self.round.request(found), Ledger(), NOW)


def story(profile: Profile) -> Story:
    return _story(profile)


@cache
def _story(profile: Profile) -> Story:
    round = Round(plan(profile))
    round.everybody_contributes()
    me = round.parties[ME]
    found = Story(round, me.records, (), (), round.list_of(FOUR), round.list_of(MEMBERS))
    found.endorsement = me.note(found.survivors(me.machine, found.first)).messages
    found.answer = me.note(found.request(me.machine, found.first)).messages
    return found


def reread(records: list[Any]) -> list[Any]:
    """As a store gives them back."""
    return [read_member_record(json.loads(canonical_json(record.to_dict()))) for record in records]


def states(records: list[Any]) -> State:
    kinds = {type(record) for record in records}
    for kind, state in ((Answered, State.ANSWERED), (Endorsed, State.ENDORSED), (PlanAccepted, State.PLANNED)):
        if kind in kinds:
            return state
    return State.IDLE


def test_the_records_of_a_round_in_their_order():
    kinds = [type(record) for record in story(Profile.THREE_TRIP).records]
    contributed = [VectorFrozen, PrekeyHeld, Dealt, Sealed, VectorFrozen, Dealt, Sealed]
    assert kinds == [PlanAccepted, *contributed, Endorsed, Answered]
    assert [type(record) for record in story(Profile.TWO_TRIP).records][-2:] == [ListHeld, Answered]


@pytest.mark.parametrize("profile", MASKED)
@pytest.mark.parametrize("count", range(11))
def test_from_every_prefix_of_the_records(profile, count):
    told = story(profile)
    records = reread(told.records[:count])
    assert records == told.records[:count]
    me = Member.restore(own(), records)
    assert me.state is states(records)
    dealt = {record.gid: record for record in records if isinstance(record, Dealt)}
    frozen = {record.gid for record in records if isinstance(record, VectorFrozen)}
    assert set(me.deals) == set(dealt) and set(me.frozen) == frozen
    assert me.packages == {record.gid: record.package for record in records if isinstance(record, Sealed)}
    for gid in LAYERS:
        if gid in frozen or me.state is not State.PLANNED:
            with pytest.raises(OutOfTurn):
                me.prepare(gid, PREKEY)
        if gid in frozen and me.state is State.PLANNED:
            me.freeze(gid, (b"stream" * 32)[:32])
            with pytest.raises(OutOfTurn):
                me.prepare(gid, PREKEY)
            with pytest.raises(OutOfTurn):
                me.freeze(gid, bytes(32))
    listed = any(isinstance(record, Endorsed | ListHeld) for record in records)
    if listed:
        assert told.survivors(me, told.first).messages == told.endorsement
        with pytest.raises(UnmaskingDeclined, match="E3"):
            told.survivors(me, told.second)
        before = me.answer
        with pytest.raises(UnmaskingDeclined, match="Q1" if before else "Q2"):
            told.request(me, told.second)
        step = told.request(me, told.first)
        assert step.messages == told.answer, "shares are fixed when they are dealt"
        assert bool(step.records) == (before is None)
        assert step.releases == me.releases != ()


def test_who_crashed_before_freezing_goes_on():
    records = story(Profile.THREE_TRIP).records[:4]
    me = Member.restore(own(), records)
    assert me.prekey == PREKEY, "it is in no key file any more, and the second group needs it"
    me.freeze(1, bytes(32))
    step = me.hand_over(me.prepare(1, me.prekey), bytes(32))
    assert [type(record) for record in step.records] == [Dealt]


def test_a_restored_machine_does_not_know_the_drafts_of_the_one_before():
    me = Case().run()[0]
    frozen = me.freeze(0, bytes(32)).records
    draft = me.prepare(0, PREKEY)
    again = Member.restore(own(), [*story(Profile.THREE_TRIP).records[:1], *frozen])
    with pytest.raises(OutOfTurn):
        again.hand_over(draft, bytes(32))


@dataclass
class Process:
    """A member that crashes now and then.  durable: what its disk holds; out: what anybody has seen of it."""

    told: Story
    durable: list[Any] = field(default_factory=list)
    out: dict[str, set[bytes]] = field(default_factory=dict)
    me: Member | None = None

    def run(self, action: Any, crash: int | None) -> None:
        """Do something; crash: how many records the disk has when the process dies (-1: all, and nothing is sent)."""
        me = self.me = self.me or Member.restore(own(), reread(self.durable))
        try:
            step = action(self.told, me)
        except RoundError:
            return
        kept = len(step.records) if crash in (None, -1) else min(crash, len(step.records))
        self.durable += step.records[:kept]
        if kept == len(step.records) and crash != -1:
            for message in step.messages:
                self.out.setdefault(f"{message.type} {message.group}", set()).add(message.body)
        if crash is not None:
            self.me = None


def plan_again(told: Story, me: Member) -> Any:
    return Case(told.round.plan).give(me)


def freeze(told: Story, me: Member, gid: int) -> Any:
    return me.freeze(gid, (b"stream" * 32)[:32])


def contribute(told: Story, me: Member, gid: int) -> Any:
    return me.hand_over(me.prepare(gid, PREKEY), bytes(32))


def show(told: Story, me: Member, ids: tuple[str, ...]) -> Any:
    return told.survivors(me, listed(told, me, ids))


def ask(told: Story, me: Member, ids: tuple[str, ...]) -> Any:
    return told.request(me, listed(told, me, ids))


ACTIONS = {
    "plan": plan_again,
    **{f"freeze {gid}": partial(freeze, gid=gid) for gid in LAYERS},
    **{f"deal {gid}": partial(contribute, gid=gid) for gid in LAYERS},
    "first list": partial(show, ids=FOUR),
    "second list": partial(show, ids=MEMBERS),
    "ask first": partial(ask, ids=FOUR),
    "ask second": partial(ask, ids=MEMBERS),
}


def listed(told: Story, me: Member, ids: tuple[str, ...]) -> SurvivorList:
    """A list with the deals that I made in this run, which are not those of the story."""
    statement = told.round.list_of(ids)
    groups = [
        type(group)(
            group.gid,
            tuple(
                type(one)(one.id, me.deals.get(group.gid, one.deal)) if one.id == ME else one for one in group.members
            ),
        )
        for group in statement.groups
    ]
    return told.round.list_of((), (), groups=groups)


steps = st.lists(
    st.tuples(st.sampled_from(sorted(ACTIONS)), st.sampled_from([None, None, None, -1, 0, 1])), max_size=14
)
IN_ORDER = ["plan", "freeze 0", "deal 0", "freeze 1", "deal 1"]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(MASKED), st.lists(st.sampled_from([None, None, None, 0, 1]), min_size=5, max_size=5), steps)
def test_whatever_crashes_when_everything_is_said_once(profile, crashes, more):
    process = Process(story(profile))
    for name, crash in [*zip(IN_ORDER, crashes, strict=True), *more]:
        process.run(ACTIONS[name], crash)
    for said, bodies in process.out.items():
        assert len(bodies) == 1, said
    deals = [record.gid for record in process.durable if isinstance(record, Dealt)]
    assert len(set(deals)) == len(deals)
    held = [record for record in process.durable if isinstance(record, Answered | Endorsed | ListHeld)]
    assert len(held) <= 2


@pytest.mark.parametrize("place", range(10))
def test_records_out_of_order_are_of_no_round(place):
    records = story(Profile.THREE_TRIP).records
    if place:
        with pytest.raises(FormatError, match="cannot follow in state IDLE"):
            Member.restore(own(), records[place:])
    else:
        for more in (records[8], VectorFrozen(0, "00" * 32), PrekeyHeld.of(PREKEY), ListHeld(records[8].statement)):
            with pytest.raises(FormatError, match="cannot follow in state CLOSED"):
                Member.restore(own(), [*records, Closed("00" * 32), more])


def test_a_plan_without_the_prekeys_it_needs_is_of_no_round():
    record = story(Profile.THREE_TRIP).records[0]
    short = PlanAccepted(record.plan, record.plan_hash, record.index, record.prekeys[1:])
    with pytest.raises(FormatError, match="one prekey for everybody"):
        Member.restore(own(), [short])


def test_ends_are_remembered():
    records = story(Profile.THREE_TRIP).records
    assert Member.restore(own(), [*records, Closed("00" * 32)]).result == "00" * 32
    kept = Member.restore(own(), [*records, Closed("00" * 32), ReceiptHeld(0, b"receipt")])
    assert (kept.state, kept.receipts) == (State.CLOSED, {0: b"receipt"}), "a receipt may come last"
    one = Member.restore(own(), [*records[:1], Aborted("0", "STOPPED")])
    assert one.state is State.PLANNED and one.ended == {"0": "STOPPED"}
    assert Member.restore(own(), [*records[:1], Aborted("0", "STOPPED"), Aborted("1", "STOPPED")]).state is State.CLOSED
    assert Member.restore(own(), [*records, Aborted("*", "STOPPED")]).state is State.CLOSED
