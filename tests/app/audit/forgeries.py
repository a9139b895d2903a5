"""Forgeries of a real log, one at a time, with the step of the audit that is for each.

Each changes a `MemoryLog`, or gives what somebody holds against it: arguments of an audit.
"""

from dataclasses import replace

from fedspallm_secure.crypto.encoding import canonical_json, encode_base64, parse_canonical_json
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.notes import (
    Checkpoint,
    NoteKey,
    NoteKind,
    cosign,
    sign_checkpoint,
)
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.protocol.audit.entries import EntryType
from fedspallm_secure.protocol.audit.policies import make_policy
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.receipts import Receipt
from fedspallm_secure.protocol.rounds.survivors import Listed, ListedGroup, SurvivorList
from tests.app.audit.real_log import DROPPED
from tests.authority import Authority

TYPES = EntryType
WITNESS = Ed25519Signer(b"\x31" * 32)


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
