"""P15 and D2, and what of K2 is shared: one fault each; the others are in the tests of the key holder."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fedspallm_secure.crypto.sealing import Kem, RecipientKey
from fedspallm_secure.errors import OutOfTurn, PlanDeclined, ResponseRefused
from fedspallm_secure.protocol.rounds.cipher_checks import check_capacity, check_challenge
from fedspallm_secure.protocol.rounds.deals import Handover
from fedspallm_secure.protocol.rounds.decrypting import Challenge
from fedspallm_secure.protocol.rounds.member import Member
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.records_member import Dealt
from fedspallm_secure.protocol.rounds.sealed_seeds import check_seed, opened_key
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.disclosure import Ledger
from fedspallm_secure.secagg.envelopes import open_row
from fedspallm_secure.secagg.fields import SumWord
from fedspallm_secure.secagg.thresholds import Profile
from tests.parties import DAY, NOW
from tests.protocol.rounds.holder_stage import CHUNKS, OTHER_ROOT, ROOT, group_of, one_trip
from tests.protocol.rounds.member_stage import (
    FIRST,
    HOLDER,
    KEY_SECRET,
    ME,
    NEXT,
    Case,
    cipher_key,
    encryption,
    incoming,
    plan,
    plan_key,
    prekeys,
)

PREKEY = prekeys(ME)[NEXT - FIRST]
USELESS = RecipientKey(Kem.HYBRID, KEY_SECRET.recipient_key.public[:-32] + bytes(32))  # everybody knows its secret


def of_one_trip(key: Any = None, **use: Any) -> Case:
    """A plan on its way to a member.  use: changes to what the plan says of the key holder."""
    key = key or plan_key()
    made = plan(Profile.ONE_TRIP)
    assert made.key_holder is not None
    return Case(replace(made, key_holder=replace(made.key_holder, **{"key": key.hash, **use})), cipher_key=key)


def without_key() -> Case:
    case = of_one_trip()
    case.cipher_key = None
    return case


def with_another_key() -> Case:
    case = of_one_trip()
    case.cipher_key = cipher_key(index=9)
    return case


def with_a_key_for_nothing() -> Case:
    return Case(plan(), cipher_key=plan_key())


FAULTS: list[tuple[str, Callable[[], Case], str]] = [
    ("a key holder of nobody's policy", lambda: of_one_trip(cipher_key(by="key-holder/other"), id="other"), "trust"),
    ("too small a sample", lambda: of_one_trip(sample=499), "thousandths"),
    ("too large a sample", lambda: of_one_trip(sample=501), "thousandths"),
    ("no key", without_key, "is not there"),
    ("another key", with_another_key, "is not there"),
    ("a key where nothing is encrypted", with_a_key_for_nothing, "nothing is encrypted"),
    ("signed by the server", lambda: of_one_trip(cipher_key(signed_by="server/hub")), "not signed"),
    ("of another federation", lambda: of_one_trip(cipher_key(federation="hearts.example")), "hearts"),
    ("in another's name", lambda: of_one_trip(cipher_key(by="key-holder/other", signed_by=str(HOLDER))), "vault"),
    ("expired", lambda: of_one_trip(cipher_key(not_after=NOW - 2 * DAY, not_before=NOW - 9 * DAY)), "ended|valid"),
    ("a key that nothing can be sealed to", lambda: of_one_trip(cipher_key(recipient=USELESS)), "cannot be sealed to"),
    ("other parameters", lambda: of_one_trip(cipher_key(encryption(4))), "other parameters"),
]


@pytest.mark.parametrize(("what", "given", "said"), FAULTS, ids=[what for what, _, _ in FAULTS])
def test_p15_with_one_fault(what, given, said):
    with pytest.raises(PlanDeclined, match=said) as found:
        given().run()
    assert found.value.check == "P15"


def test_p15_passes_and_the_key_is_kept():
    machine, (record,) = of_one_trip().run()
    assert machine.round.cipher_key == plan_key() and record.cipher_key == plan_key().encode()
    bare, (record,) = Case(plan()).run()
    assert bare.round.cipher_key is None and record.cipher_key == b""


@pytest.mark.parametrize("least", [1, 500])
def test_a_policy_may_allow_more_than_one_sample(least):
    case = of_one_trip(sample=750)
    case.policy = {"sample": (least, 1000)}
    case.run()
    case.policy = {"sample": (800, 1000)}
    with pytest.raises(PlanDeclined, match="I allow 800 to 1000"):
        case.run()


def test_a_sum_has_to_fit():
    """Another bound or fewer members than the cohort has: by whoever makes a plan, not by a reader of one."""
    made: Plan = plan(Profile.ONE_TRIP)
    check_capacity(made, plan_key())
    word = SumWord.default(16, 5)
    other = replace(made, groups=tuple(replace(group, sums=word) for group in made.groups))
    with pytest.raises(PlanDeclined, match="does not fit"):
        check_capacity(other, plan_key())
    small = cipher_key(encryption(4))
    with pytest.raises(PlanDeclined, match="does not fit"):
        check_capacity(
            replace(made, groups=tuple(replace(group, cipher=small.parameters) for group in made.groups)), small
        )


# D2


def test_d2_takes_the_challenge_that_the_plan_allows():
    for chunks in ((0, 1), (1, 3), (2, 3)):
        assert check_challenge(one_trip(), group_of(), Challenge(ROOT, chunks).encode(), ROOT).chunks == chunks


@pytest.mark.parametrize(
    "body",
    [
        Challenge(OTHER_ROOT, (0, 1)).encode(),
        Challenge(ROOT, (0,)).encode(),
        Challenge(ROOT, (0, 1, 2)).encode(),
        Challenge(ROOT, (0, CHUNKS)).encode(),
        b"",
        b"{}",
        Challenge(ROOT, (0, 1)).encode() + b"\n",
    ],
    ids=["another root", "too few", "too many", "no such chunk", "nothing", "no fields", "one byte more"],
)
def test_d2_with_one_fault(body):
    with pytest.raises(ResponseRefused) as found:
        check_challenge(one_trip(), group_of(), body, ROOT)
    assert found.value.check == "D2"


# What a member makes of it


def dealt(gid: int) -> tuple[Member, Dealt, Handover, GroupContext]:
    """A member that has contributed to a group."""
    machine, _ = of_one_trip().run()
    machine.freeze(gid, bytes(32))
    step = machine.hand_over(machine.prepare(gid, PREKEY), bytes(32))
    context, form = machine.round.links[gid].context, machine.round.plan.groups[gid].deal_form
    (record,) = (one for one in step.records if isinstance(one, Dealt))
    return machine, record, Handover.parse(step.messages[0].body, *form), context


def test_its_seed_goes_to_the_key_holder_and_stays_nowhere():
    keys = set()
    for gid in (0, 1, 0):
        _, record, handover, context = dealt(gid)
        (envelope,) = handover.envelopes
        check_seed(context, "mid", handover.deal, envelope, HOLDER, KEY_SECRET)
        row = open_row(context, "mid", str(HOLDER), envelope, KEY_SECRET, 0, 1)
        assert row.shares != record.shares and row.blind_seed != record.blind_seed, "what it keeps is not its seed"
        keys.add(opened_key(context, "mid", envelope, HOLDER, KEY_SECRET))
    assert len(keys) == 3, "each contribution has a seed of its own"


def test_the_draft_has_the_key_of_that_seed():
    machine, _ = of_one_trip().run()
    machine.freeze(0, bytes(32))
    draft = machine.prepare(0, PREKEY)
    context = machine.round.links[0].context
    assert draft.slot_key == opened_key(context, "mid", draft.envelopes[0], HOLDER, KEY_SECRET)
    assert (draft.count_terms, draft.sum_terms, draft.edges) == ((), (), ())


def test_nothing_is_asked_of_members():
    machine, _, _, _ = dealt(0)
    with pytest.raises(OutOfTurn, match="nothing is asked of members"):
        machine.on_unmask_request(incoming("unmask-request", b"{}", machine.round.plan), Ledger(), NOW)
    assert machine.answer is None
