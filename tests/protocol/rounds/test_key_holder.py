"""The key holder's machine: K1 to K9 with one fault each, one list and one sum, and restarts at every point."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fedspallm_secure.crypto.encoding import canonical_json, parse_canonical_json
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.errors import (
    CannotDecrypt,
    DisclosureRefused,
    FedSpaError,
    FormatError,
    OutOfTurn,
    PlanDeclined,
    UnmaskingDeclined,
    UsageError,
)
from fedspallm_secure.protocol.rounds.deals import sign_deal
from fedspallm_secure.protocol.rounds.decrypting import Challenge, OpenedChunk
from fedspallm_secure.protocol.rounds.key_holder import (
    KeyErased,
    KeyHolder,
    PlanTaken,
    SumDecrypted,
    SumShown,
    read_key_holder_record,
)
from fedspallm_secure.protocol.rounds.outcomes import GroupResult, Result
from fedspallm_secure.protocol.rounds.sealed_seeds import slot_key
from fedspallm_secure.protocol.rounds.survivors import EndCode
from fedspallm_secure.secagg.disclosure import Ledger, Release
from tests.parties import DAY, NOW
from tests.protocol.rounds.altering import faults
from tests.protocol.rounds.holder_stage import (
    CHUNKS,
    OTHER_ROOT,
    ROOT,
    Case,
    asked,
    deal,
    list_of,
    one_trip,
    opened,
    over,
    own,
    planned,
    seed_of,
    taken,
    to_holder,
)
from tests.protocol.rounds.member_stage import KEY_SECRET, MEMBERS, cipher_key, lungs, plan_key

DIGEST = "7d" * 32
FOUR = MEMBERS[:4]


def plan_given(
    made: Any = None, key: Any = None, last: int = 6, now: int = NOW, used: tuple[str, ...] = (), **own_: Any
):
    machine = KeyHolder(own(**own_))
    machine.on_plan(planned(made), key or plan_key(), Ledger(), now, last, used)
    return machine


def test_only_a_key_holder_is_one():
    member = lungs()["member/mid"]
    with pytest.raises(UsageError, match="no key holder"):
        KeyHolder(type(own())(member.party, member.signer, lungs().trust, own().policy))


# Plans


def use(**changes: Any) -> Any:
    holder = one_trip().key_holder
    assert holder is not None
    return replace(one_trip(), key_holder=replace(holder, **changes))


def groups(**changes: Any) -> Any:
    return replace(one_trip(), groups=tuple(replace(group, **changes) for group in one_trip().groups))


PLANS: list[tuple[str, str, Callable[[], Any]]] = [
    (
        "another server",
        "P2",
        lambda: KeyHolder(own()).on_plan(planned(sender="server/spare"), plan_key(), Ledger(), NOW),
    ),
    ("another federation", "P3", lambda: plan_given(replace(one_trip(), roster="ab" * 32))),
    ("an old round", "P4", lambda: plan_given(last=7)),
    ("another key holder", "K2", lambda: plan_given(use(id="other"))),
    ("another key", "K2", lambda: plan_given(use(key="ab" * 32))),
    ("a key of other parameters", "K2", lambda: plan_given(key=cipher_key(index=4))),
    ("a key of an open round", "K2", lambda: plan_given(used=(plan_key().hash,))),
    ("a smaller sample", "K2", lambda: plan_given(use(sample=499))),
    ("a larger sample", "K2", lambda: plan_given(use(sample=501))),
    ("fewer survivors", "P7", lambda: plan_given(groups(survivors=3))),
    ("fewer colluders", "P7", lambda: plan_given(replace(groups(survivors=3), colluders=0))),
    ("another profile", "P7", lambda: plan_given(profiles=frozenset())),
    ("a small cohort", "K3", lambda: plan_given(least_cohort=6)),
    ("past deadlines", "P14", lambda: plan_given(now=NOW + 2 * DAY)),
    ("other software", "P14", lambda: plan_given(software=frozenset({"other/1"}))),
]


@pytest.mark.parametrize(("what", "check", "give"), PLANS, ids=[what for what, _, _ in PLANS])
def test_a_plan_with_one_fault_is_declined(what, check, give):
    with pytest.raises(PlanDeclined) as found:
        give()
    assert found.value.check == check


def test_a_plan_over_what_was_released_is_refused():
    ledger = Ledger().with_release(Release("up", one_trip().groups[0].base, 3, frozenset(MEMBERS), False))
    with pytest.raises(DisclosureRefused, match="K3"):
        KeyHolder(own()).on_plan(planned(), plan_key(), ledger, NOW, 6)


def test_the_same_plan_again_changes_nothing_and_another_is_declined():
    machine = taken()
    before = vars(machine).copy()
    assert machine.on_plan(planned(), plan_key(), Ledger(), NOW, 6).records == ()
    with pytest.raises(PlanDeclined, match="P4"):
        machine.on_plan(planned(replace(one_trip(), nonce="cd" * 32)), plan_key(), Ledger(), NOW, 6)
    assert vars(machine) == before and machine.key_hash == plan_key().hash


# Requests


def test_a_request_gets_a_challenge_and_the_same_gets_the_same():
    machine = taken()
    step = Case().give(machine)
    (record,), (message,) = step.records, step.messages
    challenge = Challenge.parse(message.body)
    assert isinstance(record, SumShown) and record.chunks == challenge.chunks and challenge.root == ROOT
    assert (message.type, message.group, message.recipient) == ("decrypt-challenge", "0", own().policy.server)
    assert len(challenge.chunks) == CHUNKS // 2
    again = Case().give(machine)
    assert again.records == () and again.messages == step.messages
    assert [release.survivors for release in machine.releases] == [frozenset(MEMBERS)]


def resigned(member: str, by: str) -> Any:
    made, found = one_trip(), deal(0, member)
    signature = sign_deal(lungs()[f"member/{by}"].signer, made.context(0, made.hash), member, found.deal)
    return replace(found, signature=signature)


DEALS = tuple(deal(0, one) for one in MEMBERS)
REQUESTS: list[tuple[str, str, Case]] = [
    ("another type", "K4", Case(context={"type": "decrypt-opening"})),
    ("another server", "K4", Case(context={"sender": "server/spare"})),
    ("another round", "K4", Case(context={"round": 8})),
    ("another plan", "K4", Case(context={"plan_hash": "ab" * 32})),
    ("no group of the plan", "K4", Case(gid=5)),
    ("no group at all", "K4", Case(context={"group": "*"})),
    ("no header", "K4", Case(header=b"{}")),
    ("a list by another server", "K4", Case(survivors=list_of(by="server/spare"))),
    ("a list of another plan", "K4", Case(survivors=list_of(plan_hash="ab" * 32))),
    ("a list of another round", "K4", Case(survivors=list_of(round=8))),
    ("a list with too few", "K5", Case(survivors=list_of(FOUR[:3]), deals=DEALS[:3])),
    ("a list without the group", "K5", Case(survivors=list_of(gids=(1,)))),
    ("one deal less", "K6", Case(deals=DEALS[1:])),
    ("one deal twice", "K6", Case(deals=(*DEALS[:4], DEALS[3]))),
    ("deals in another order", "K6", Case(deals=DEALS[::-1])),
    ("a deal signed by another", "K6", Case(deals=(*DEALS[:4], resigned("west", "mid")))),
    ("deals of another group", "K6", Case(deals=tuple(deal(1, one) for one in MEMBERS))),
    ("the envelope of another", "K6", Case(deals=(*DEALS[:4], replace(DEALS[4], envelope=DEALS[3].envelope)))),
    ("no envelope", "K6", Case(deals=(*DEALS[:4], replace(DEALS[4], envelope=b"")))),
    ("a deal of another", "K6", Case(deals=(*DEALS[:4], replace(DEALS[3], id="west")))),
]


@pytest.mark.parametrize(("what", "check", "case"), REQUESTS, ids=[what for what, _, _ in REQUESTS])
def test_a_request_with_one_fault_is_declined(what, check, case):
    machine = taken()
    before = vars(machine).copy()
    with pytest.raises(UnmaskingDeclined) as found:
        case.give(machine)
    assert found.value.check == check and vars(machine) == before
    assert Case().give(machine).messages, "and a good one is answered after it"


def test_the_first_list_and_the_first_sum_count():
    machine = taken()
    Case().give(machine)
    for case in (Case(root=OTHER_ROOT), Case(survivors=list_of(FOUR), deals=DEALS[:4])):
        with pytest.raises(UnmaskingDeclined, match="second") as found:
            case.give(machine)
        assert found.value.check == "K5"
    four = Case(gid=1, survivors=list_of(FOUR), deals=tuple(deal(1, one) for one in FOUR))
    with pytest.raises(UnmaskingDeclined, match="second survivor list"):
        four.give(machine)


def test_a_list_that_tells_too_much_is_refused():
    ledger = Ledger()
    for number in (3, 4):
        ledger = ledger.with_release(Release("up", f"{number:064x}", number, frozenset(MEMBERS), False))
    machine = taken(epochs=3)
    with pytest.raises(DisclosureRefused, match="K7"):
        Case(survivors=list_of(FOUR), deals=DEALS[:4], ledger=ledger).give(machine)
    assert machine.shown == {}


def test_nothing_is_decrypted_before_a_plan_after_the_end_or_late():
    for machine, now in ((KeyHolder(own()), NOW), (taken(), one_trip().deadlines.abort + 1)):
        with pytest.raises(OutOfTurn):
            Case(now=now).give(machine)
    machine = taken()
    machine.on_end(over())
    with pytest.raises(OutOfTurn):
        Case().give(machine)


def test_the_keys_of_all_survivors_come_out_of_what_was_shown():
    machine = taken()
    Case(survivors=list_of(FOUR), deals=DEALS[:4]).give(machine)
    context = one_trip().context(0, one_trip().hash)
    expected = tuple(slot_key(context, seed_of(0, member)) for member in FOUR)
    assert machine.slot_keys(0, KEY_SECRET) == expected
    records = [PlanTaken(one_trip().encode(), one_trip().hash), machine.shown[0]]
    assert KeyHolder.restore(own(), records).slot_keys(0, KEY_SECRET) == expected
    with pytest.raises(CannotDecrypt):
        machine.slot_keys(0, RecipientSecret.generate(Kem.HYBRID))


# Openings


def opening(gid: int = 0) -> Any:
    return to_holder("decrypt-opening", b"", gid)


def test_chunks_are_looked_at_under_the_roots_of_the_deals():
    machine = taken()
    challenge = asked(machine)
    assert machine.awaits_opening(opening(), NOW).gid == 0
    for chunk in challenge.chunks:
        for member in MEMBERS:
            machine.check_opened(0, member, chunk, opened(0, member, chunk))
    chunk = challenge.chunks[0]
    good, other = opened(0, "mid", chunk), opened(0, "mid", (chunk + 1) % CHUNKS)
    for bad in (
        opened(0, "east", chunk),
        opened(1, "mid", chunk),
        other,
        OpenedChunk(good.slot, other.path),
        OpenedChunk(good.slot, good.path[::-1]),
        OpenedChunk(good.slot, good.path[1:]),
        OpenedChunk(good.slot, (*good.path, bytes(32))),
        OpenedChunk(good.slot[:-1] + bytes([good.slot[-1] ^ 1]), good.path),
    ):
        with pytest.raises(UnmaskingDeclined) as found:
            machine.check_opened(0, "mid", chunk, bad)
        assert found.value.check == "K8"


def test_an_opening_that_nobody_asked_for_is_out_of_turn():
    machine = taken()
    with pytest.raises(OutOfTurn, match="K8"):
        machine.awaits_opening(opening(), NOW)
    asked(machine)
    with pytest.raises(OutOfTurn):
        machine.awaits_opening(opening(1), NOW)
    with pytest.raises(OutOfTurn):
        machine.awaits_opening(opening(), one_trip().deadlines.abort + 1)


def test_what_was_decrypted_once_is_never_decrypted_to_something_else():
    machine = taken()
    with pytest.raises(OutOfTurn):
        machine.note_decrypted(0, DIGEST)
    asked(machine)
    assert machine.note_decrypted(0, DIGEST).records == (SumDecrypted(0, DIGEST),)
    assert machine.note_decrypted(0, DIGEST).records == ()
    with pytest.raises(OutOfTurn):
        machine.note_decrypted(0, "7e" * 32)
    machine.on_end(over())
    with pytest.raises(OutOfTurn):
        machine.note_decrypted(0, DIGEST)


# The end


def result(by: str = "server/hub", over: Any = None) -> bytes:
    made = one_trip()
    groups = [GroupResult(0, made.groups[0].weights, 5, "0a" * 32, "0b" * 32, 1, 1)]
    given = made.federation, made.round, made.hash, (over or list_of()).hash, groups, [], []
    return Result.make(lungs()[by].signer, *given).encode()


def test_the_end_erases_the_key_once():
    for end in (over(), to_holder("result", result())):
        machine = taken()
        assert machine.on_end(end).records == (KeyErased(),) and machine.over
        assert machine.on_end(end).records == ()


def test_a_round_that_nobody_ends_is_over_after_its_last_deadline():
    assert KeyHolder(own()).expire(NOW + 9 * DAY).records == (), "there is none"
    machine = taken()
    assert machine.expire(one_trip().deadlines.abort).records == () and not machine.over
    assert machine.expire(one_trip().deadlines.abort + 1).records == (KeyErased(),) and machine.over
    assert machine.expire(one_trip().deadlines.abort + 1).records == ()


def test_a_result_over_another_list_than_it_was_shown_is_told():
    machine = taken()
    Case().give(machine)
    with pytest.raises(UnmaskingDeclined, match="another list") as found:
        machine.on_end(to_holder("result", result(over=list_of(FOUR))))
    assert found.value.check == "K9" and not machine.over
    assert machine.on_end(to_holder("result", result())).records == (KeyErased(),)


def test_what_is_no_end_erases_nothing():
    machine = taken()
    assert machine.on_end(over(EndCode.TOO_FEW_RESPONSES, 0)).records == (), "of one group"
    for bad, error in (
        (to_holder("result", result(by="server/spare")), FedSpaError),
        (to_holder("result", result(), plan_hash="ab" * 32), UnmaskingDeclined),
        (to_holder("result", result(), sender="server/spare"), UnmaskingDeclined),
        (to_holder("abort", b"{}"), FormatError),
    ):
        with pytest.raises(error):
            machine.on_end(bad)
    assert not machine.over
    with pytest.raises(OutOfTurn):
        KeyHolder(own()).on_end(over())


# Records


def whole() -> tuple[list[Any], KeyHolder]:
    """Everything that a whole round writes down."""
    machine = KeyHolder(own())
    records = list(machine.on_plan(planned(), plan_key(), Ledger(), NOW, 6).records)
    for gid in (0, 1):
        records += Case(gid=gid, deals=tuple(deal(gid, one) for one in MEMBERS)).give(machine).records
    records += [*machine.note_decrypted(1, DIGEST).records, *machine.note_decrypted(0, DIGEST).records]
    records += machine.on_end(over()).records
    return records, machine


def test_from_every_prefix_of_its_records_it_goes_on_as_it_would_have():
    records, machine = whole()
    kinds = [PlanTaken, SumShown, SumShown, SumDecrypted, SumDecrypted, KeyErased]
    assert [type(record) for record in records] == kinds
    for length in range(len(records) + 1):
        kept = [read_key_holder_record(record.to_dict()) for record in records[:length]]
        assert kept == records[:length]
        again = KeyHolder.restore(own(), kept)
        if length == 0:
            again.on_plan(planned(), plan_key(), Ledger(), NOW, 6)
        for gid in (0, 1):
            case = Case(gid=gid, deals=tuple(deal(gid, one) for one in MEMBERS))
            if again.over:
                with pytest.raises(OutOfTurn):
                    case.give(again)
                continue
            known = gid in again.shown
            step = case.give(again)
            assert step.records == () if known else len(step.records) == 1
            if known:
                assert Challenge.parse(step.messages[0].body).chunks == machine.shown[gid].chunks
            case.root = OTHER_ROOT
            with pytest.raises(UnmaskingDeclined):
                case.give(again)
            assert again.note_decrypted(gid, DIGEST).records == (
                () if SumDecrypted(gid, DIGEST) in records[:length] else (SumDecrypted(gid, DIGEST),)
            )
        again.on_end(over())
        assert again.over and again.shown.keys() == machine.shown.keys() and again.decrypted == machine.decrypted


def test_records_begin_with_a_plan_and_are_read_strictly():
    records, _ = whole()
    for record in records[1:]:
        with pytest.raises(FormatError, match="begin with its plan"):
            KeyHolder.restore(own(), [record])
    for record in records:
        for what, value in faults(parse_canonical_json(canonical_json(record.to_dict()), "it")):
            try:
                found = read_key_holder_record(value)
            except FormatError:
                continue
            assert found.to_dict() == value, what
