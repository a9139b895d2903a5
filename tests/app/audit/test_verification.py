"""The log of a real federation passes its audit, and no forgery of it does: each fails the step that is for it."""

from dataclasses import replace

import pytest

from fedspallm_secure.crypto.encoding import canonical_json, encode_base64, parse_canonical_json
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.notes import (
    Checkpoint,
    Note,
    NoteKey,
    NoteKind,
    cosign,
    sign_checkpoint,
)
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.protocol.audit.entries import EntryType, read_head
from fedspallm_secure.protocol.audit.policies import make_policy
from fedspallm_secure.protocol.audit.verification import Given, verify_log
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.receipts import Receipt
from fedspallm_secure.protocol.rounds.survivors import Listed, ListedGroup, SurvivorList
from tests.app.audit.real_log import DROPPED, MemoryLog, played, read
from tests.authority import Authority

TYPES = EntryType
WITNESS = Ed25519Signer(b"\x31" * 32)


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    with played(tmp_path_factory.mktemp("log")) as found:
        return read(found)


@pytest.fixture
def log(honest):
    return honest.copy()


def audit(log: MemoryLog, policy=None, root=None, **given):
    return verify_log(log, log.root if root is None else root, policy, Given(**given))


def failed(report) -> list[str]:
    return [step.name for step in report.steps if step.passed is False]


def findings(report, name):
    return next(step.findings for step in report.steps if step.name == name)


def test_a_real_log_passes_with_all_that_members_hold(log):
    report = audit(log, receipts=tuple(log.receipts), checkpoints=tuple(log.shown))
    assert [(step.name, step.passed) for step in report.steps] == [(f"V{number}", True) for number in range(1, 9)]
    assert (report.size, report.root, report.rounds) == (len(log.bodies), log.tree.root(), 2)
    assert log.shown and len(log.receipts) == 20


def test_what_was_not_given_is_not_said_to_have_passed(log):
    report = audit(log)
    assert {step.name for step in report.steps if step.passed is None} == {"V7"}


def test_a_copy_without_documents(log):
    log.documents.clear()
    policy = make_policy(log.key, [], 0)
    assert failed(audit(log, policy))[0] == "V1"
    report = audit(log, policy, documents=False)
    assert report.passed
    assert {step.name for step in report.steps if step.passed is None} == {"V4", "V6", "V7", "V8"}


# V1


def another_root(log):
    return {"root": Authority().root.der}


def another_key_in_the_policy(log):
    key = NoteKey(log.key.name, NoteKind.LOG, Ed25519Signer(b"\x41" * 32).public)
    return {"policy": make_policy(key, [], 0)}


def another_log_in_the_policy(log):
    return {"policy": make_policy(NoteKey("lungs.example/log/other", NoteKind.LOG, log.key.public), [], 0)}


def another_origin(log):
    log.put(0, {"origin": "lungs.example/log/other"})


def a_roster_again(log):
    place = log.find(TYPES.ROSTER)
    log.twice(place, place + 1)


def an_older_list_later(log):
    place = log.find(TYPES.REVOCATIONS)
    log.twice(place, log.find(TYPES.PREKEYS))


def a_roster_of_nobody(log):
    place = log.find(TYPES.ROSTER)
    document = log.documents[log.entry(place).data["document"]]
    log.put(place, {"document": log.keep(document.replace(b"north", b"forth"))})


def no_genesis(log):
    log.without(0)


# V2


def another_signer(log):
    checkpoint = Checkpoint(log.key.name, len(log.bodies), log.tree.root())
    key = NoteKey(log.key.name, NoteKind.LOG, Ed25519Signer(b"\x41" * 32).public)
    log.signed = sign_checkpoint(Ed25519Signer(b"\x41" * 32), key, checkpoint).encode()


def shown_another_history(log):
    other = log.copy()
    other.without(len(log.bodies) - 1)
    other.put(20, at=other.entry(20).at)
    other.put(len(other.bodies) - 1, {"reason": "another"})
    return {"checkpoints": (other.note(),)}


def shown_more(log):
    note = log.note()
    log.bodies.pop()
    return {"checkpoints": (note,)}


def too_few_witnesses(log):
    key = NoteKey("lungs.example/witness/w", NoteKind.COSIGNER, WITNESS.public)
    return {"policy": make_policy(log.key, [key], 1)}


def witnesses_of_another_history(log):
    key = NoteKey("lungs.example/witness/w", NoteKind.COSIGNER, WITNESS.public)
    note = sign_checkpoint(log.log_signer, log.key, Checkpoint(log.key.name, 30, bytes(32)))
    log.cosigned_note = cosign(WITNESS, key, note, 1_800_000_000).encode()
    return {"policy": make_policy(log.key, [key], 1)}


def seen_another_history(log):
    index = log.find(TYPES.CONTRIBUTION, 2)
    fork = sign_checkpoint(log.log_signer, log.key, Checkpoint(log.key.name, 30, bytes(32))).encode()
    log.head(index, lambda context: replace(context, checkpoint=fork))


def seen_the_future(log):
    index = log.find(TYPES.CONTRIBUTION, 1)
    size = index + 5
    later = sign_checkpoint(log.log_signer, log.key, Checkpoint(log.key.name, size, log.tree.root(size))).encode()
    log.head(index, lambda context: replace(context, checkpoint=later))


# V3


def an_entry_changed(log):
    log.hashes = [*log.leaves(len(log.bodies))]
    log.signed = log.note()
    log.bodies[25] = log.bodies[25].replace(b'"at":1', b'"at":2', 1)


def an_entry_gone(log):
    log.signed = log.note()
    del log.bodies[25]


def a_hash_changed(log):
    log.hashes = [*log.leaves(len(log.bodies))]
    log.hashes[25] = bytes(32)


def two_entries_exchanged(log):
    log.signed = log.note()
    log.bodies[20], log.bodies[21] = log.bodies[21], log.bodies[20]


def another_root_of_the_tree(log):
    log.signed = sign_checkpoint(log.log_signer, log.key, Checkpoint(log.key.name, len(log.bodies), bytes(32))).encode()


# V4


def not_json(log):
    log.bodies[25] = b"{}"


def signed_by_nobody(log):
    value = parse_canonical_json(log.bodies[25], "an entry")
    log.bodies[25] = canonical_json({**value, "signature": encode_base64(bytes(64))})


def time_goes_back(log):
    log.put(25, at=log.entry(0).at - 1)


def by_another_member(log):
    log.put(log.find(TYPES.CONTRIBUTION, 1), actor=Party.parse("member/south"))


def a_package_of_nobody(log):
    index = log.find(TYPES.UNMASK_RESPONSE, 1)
    head = dict(log.entry(index).data["head"])
    log.put(index, {"head": {**head, "signature": encode_base64(bytes(64))}})


def of_another_round(log):
    log.head(log.find(TYPES.CONTRIBUTION, 2), lambda context: replace(context, round=1))


def of_another_plan(log):
    log.head(log.find(TYPES.ENDORSEMENT, 1), lambda context: replace(context, plan_hash="ab" * 32))


def of_another_group(log):
    log.head(log.find(TYPES.CONTRIBUTION, 1), lambda context: replace(context, group="1"))


def another_plan_document(log):
    index = log.find(TYPES.PLAN, 1)
    plan = Plan.from_dict(parse_canonical_json(log.documents[log.entry(index).data["document"]], "a plan"))
    log.put(index, {"document": log.keep(canonical_json(replace(plan, nonce="cd" * 32).to_dict()))})


def a_document_gone(log):
    del log.documents[log.entry(log.find(TYPES.RESULT, 1)).data["document"]]


def a_certificate_without_an_entry(log):
    log.without(log.find(TYPES.CERTIFICATE))


def a_certificate_with_other_dates(log):
    log.put(log.find(TYPES.CERTIFICATE), {"not_after": 1_999_999_999})


def not_twice_under_one_number(log):
    heads = [log.entry(log.find(TYPES.CONTRIBUTION, 1, number)).data["head"] for number in (0, 1)]
    place = log.find(TYPES.RESULT, 1)
    log.twice(place, place)
    log.put(place, type=TYPES.EQUIVOCATION, actor=log.entry(log.find(TYPES.CONTRIBUTION, 1)).actor, data={})
    return heads


# V5


def two_lists(log):
    place = log.find(TYPES.SURVIVORS, 1)
    log.twice(place, place + 1)


def a_contribution_after_the_list(log):
    log.order(*_moved(log, log.find(TYPES.CONTRIBUTION, 1), log.find(TYPES.SURVIVORS, 1)))


def an_answer_before_the_request(log):
    log.order(*_moved(log, log.find(TYPES.UNMASK_REQUEST, 1), log.find(TYPES.UNMASK_RESPONSE, 1)))


def no_plan(log):
    log.without(log.find(TYPES.PLAN, 1))


def two_contributions_of_one(log):
    place = log.find(TYPES.CONTRIBUTION, 1)
    log.twice(place, place + 1)


def a_round_within_a_round(log):
    log.order(*_moved(log, log.find(TYPES.RESULT, 1), log.find(TYPES.PLAN, 2)))


def no_round_is_left_out(log):
    log.order(*(entry.seq for entry in log.all() if entry.round != 1))


def _moved(log, index, after):
    """Everything in order, but `index` right after `after`."""
    rest = [one for one in range(len(log.bodies)) if one != index]
    place = rest.index(after) + 1
    return [*rest[:place], index, *rest[place:]]


# V6


def _lists(log, change):
    index = log.find(TYPES.SURVIVORS, 1)
    old = SurvivorList.parse(log.documents[log.entry(index).data["document"]])
    groups = change(old.groups)
    made = SurvivorList.make(log.server, old.federation, old.round, old.plan_hash, groups, old.ended)
    log.put(index, {"hash": made.hash, "document": log.keep(made.encode())})


def too_few_survivors(log):
    _lists(log, lambda groups: [ListedGroup(group.gid, group.members[:2]) for group in groups])


def a_survivor_with_another_deal(log):
    def change(groups):
        first = groups[0]
        forged = Listed(first.members[0].id, "ab" * 32)
        return [ListedGroup(first.gid, (forged, *first.members[1:])), *groups[1:]]

    _lists(log, change)


def a_survivor_who_sent_nothing(log):
    log.without(log.find(TYPES.CONTRIBUTION, 1))


def a_group_is_missing_in_the_list(log):
    _lists(log, lambda groups: groups[:1])


def prekeys_that_the_log_does_not_have(log):
    log.without(log.find(TYPES.PREKEYS))


# V7


def a_receipt_for_what_is_not_there(log):
    return {"receipts": (_receipt(log, package="ab" * 32),)}


def a_receipt_of_nobody(log):
    return {"receipts": (_receipt(log, signer=Ed25519Signer(b"\x41" * 32)),)}


def a_receipt_of_one_left_out(log):
    return {"receipts": (*log.receipts, _receipt(log, group=77))}


def _receipt(log, signer=None, **changes):
    old = Receipt.parse(log.receipts[0])
    names = ("federation", "round", "plan_hash", "group", "member", "package", "deal")
    values = {**{name: getattr(old, name) for name in names}, **changes}
    return Receipt.make(signer or log.server, **values).encode()


# V8


def _results(log, change):
    index = log.find(TYPES.RESULT, 1)
    old = Result.parse(log.documents[log.entry(index).data["document"]])
    names = ("federation", "round", "plan_hash", "survivors", "groups", "ended", "answered")
    values = {**{name: getattr(old, name) for name in names}, **change(old)}
    made = Result.make(log.server, **values)
    log.put(index, {"hash": made.hash, "document": log.keep(made.encode())})


def a_result_of_another_list(log):
    _results(log, lambda old: {"survivors": "ab" * 32})


def an_answer_of_one_who_was_silent(log):
    _results(log, lambda old: {"answered": tuple(sorted({*old.answered, DROPPED}))})


def a_group_is_missing_in_the_result(log):
    _results(log, lambda old: {"groups": old.groups[:1]})


def more_survivors_than_listed(log):
    _results(log, lambda old: {"groups": [replace(old.groups[0], survivors=77), *old.groups[1:]]})


def too_few_answers(log):
    gone = {log.find(TYPES.UNMASK_RESPONSE, 1, number) for number in range(2)}
    log.order(*(index for index in range(len(log.bodies)) if index not in gone))
    _results(log, lambda old: {"answered": old.answered[2:]})


def too_few_endorsements(log):
    gone = {log.find(TYPES.ENDORSEMENT, 1, number) for number in range(2)}
    log.order(*(index for index in range(len(log.bodies)) if index not in gone))


def an_endorsement_of_nothing(log):
    log.put(log.find(TYPES.ENDORSEMENT, 1), {"signature": encode_base64(bytes(64))})


def an_answer_of_one_who_was_not_asked(log):
    index = log.find(TYPES.UNMASK_REQUEST, 1)
    log.put(index, {"recipients": log.entry(index).data["recipients"][1:]})


FORGERIES = {
    "V1": [
        another_root,
        another_key_in_the_policy,
        another_log_in_the_policy,
        another_origin,
        a_roster_again,
        an_older_list_later,
        a_roster_of_nobody,
        no_genesis,
    ],
    "V2": [
        another_signer,
        shown_another_history,
        shown_more,
        too_few_witnesses,
        witnesses_of_another_history,
        seen_another_history,
        seen_the_future,
    ],
    "V3": [an_entry_changed, an_entry_gone, a_hash_changed, two_entries_exchanged, another_root_of_the_tree],
    "V4": [
        not_json,
        signed_by_nobody,
        time_goes_back,
        by_another_member,
        a_package_of_nobody,
        of_another_round,
        of_another_plan,
        of_another_group,
        another_plan_document,
        a_document_gone,
        a_certificate_without_an_entry,
        a_certificate_with_other_dates,
    ],
    "V5": [
        two_lists,
        a_contribution_after_the_list,
        an_answer_before_the_request,
        no_plan,
        two_contributions_of_one,
        a_round_within_a_round,
        no_round_is_left_out,
    ],
    "V6": [
        too_few_survivors,
        a_survivor_with_another_deal,
        a_survivor_who_sent_nothing,
        a_group_is_missing_in_the_list,
        prekeys_that_the_log_does_not_have,
    ],
    "V7": [
        a_receipt_for_what_is_not_there,
        a_receipt_of_nobody,
        a_receipt_of_one_left_out,
    ],
    "V8": [
        a_result_of_another_list,
        an_answer_of_one_who_was_silent,
        a_group_is_missing_in_the_result,
        more_survivors_than_listed,
        too_few_answers,
        too_few_endorsements,
        an_endorsement_of_nothing,
        an_answer_of_one_who_was_not_asked,
    ],
}
CASES = [(step, forge) for step, forgeries in FORGERIES.items() for forge in forgeries]


@pytest.mark.parametrize(("step", "forge"), CASES, ids=[forge.__name__ for _, forge in CASES])
def test_a_forgery_fails_the_step_that_is_for_it(log, step, forge):
    given = forge(log)
    report = audit(log, **(given if isinstance(given, dict) else {}))
    assert step in failed(report), [(one.name, one.passed, one.findings[:2]) for one in report.steps]
    assert not report.passed


def test_findings_name_the_entries(log):
    index = log.find(TYPES.CONTRIBUTION, 2)
    log.head(index, lambda context: replace(context, round=1))
    (found,) = findings(audit(log), "V4")
    assert found.indices == (index,)
    assert f"entry {index}, contribution" in found.text


def test_what_rests_on_a_failed_step_is_not_run(log):
    an_entry_gone(log)
    report = audit(log)
    assert [step.passed for step in report.steps] == [True, True, False, None, None, None, None, None]


def test_an_entry_that_was_damaged_puts_nobody_to_blame(log):
    """What members have seen is held against a whole log alone."""
    an_entry_changed(log)
    assert failed(audit(log)) == ["V3"]


@pytest.mark.parametrize("note", [b"", b"nothing\n\n", b"\xff"])
def test_a_checkpoint_that_cannot_be_read(log, note):
    log.signed = note
    report = audit(log)
    assert failed(report) == ["V2"]
    assert [step.passed for step in report.steps] == [None, False, *[None] * 6]


def test_a_receipt_that_is_not_handed_in_is_told(log):
    mine = [data for data in log.receipts if Receipt.parse(data).member == "north" and Receipt.parse(data).round == 1]
    report = audit(log, receipts=tuple(mine[1:]))
    assert report.passed
    (found,) = findings(report, "V7")
    assert "north handed in no receipt" in found.text and found.indices


def test_heads_carry_what_their_senders_saw(log):
    heads = [read_head(entry.data["head"]) for entry in log.all() if "head" in entry.data]
    sizes = [Checkpoint.parse(Note.parse(head.context.checkpoint).text).size for head in heads]
    assert len(sizes) > 30 and all(sizes)
