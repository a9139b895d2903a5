"""What can be wrong with a log: one forgery for each check of V1 to V6 and V8, by whoever has all the keys it takes.

Each changes a valid log and returns the indices that the audit has to name.  Whoever forges signs everything anew, so
that one thing is wrong and nothing else.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fedspallm_secure.crypto.encoding import canonical_json, encode_base64, parse_canonical_json
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.notes import Checkpoint, sign_checkpoint
from fedspallm_secure.protocol.audit.entries import EntryType as Types
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement
from fedspallm_secure.protocol.audit.policies import make_policy
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.survivors import EndCode, Ended, Listed, ListedGroup, SurvivorList
from tests.parties import DAY, NOW, Federation
from tests.protocol.audit.kit import LOG_SIGNER, Kit, Profile, digest

Forgery = Callable[[Kit], set[int]]
OTHER = "ab" * 32


# V1


def genesis_of_another_log(kit):
    return {kit.log.put(0, {"origin": "lungs.example/log/other"})}


def genesis_of_another_root(kit):
    return {kit.log.put(0, {"root": kit.log.keep(Federation().root.der)})}


def no_statement_of_the_key(kit):
    del kit.log.documents[kit.log.entry(0).data["note_key"]]
    return {0}


def key_stated_by_somebody_else(kit):
    member, hub = kit.federation["member/north"], kit.federation["server/hub"]
    stated = NoteKeyStatement.make(member.signer, kit.federation.name, hub.party, kit.log.key, NOW)
    return {kit.log.put(0, {"note_key": kit.log.keep(stated.encode())})}


def roster_of_another_root(kit):
    index, other = kit.log.find(Types.ROSTER), Federation()
    data = {"hash": other.roster.hash, "document": kit.log.keep(other.roster.encode())}
    return {kit.log.put(index, data)}


def roster_that_is_not_there(kit):
    index = kit.log.find(Types.ROSTER)
    del kit.log.documents[kit.log.entry(index).data["document"]]
    return {index}


def roster_of_another_version(kit):
    return {kit.log.put(kit.log.find(Types.ROSTER), {"version": 2})}


def roster_twice(kit):
    index = kit.log.find(Types.ROSTER)
    kit.log.twice(index, index + 1)
    return {index + 1}


def older_roster(kit):
    kit.renew("member/north")
    second = kit.log.find(Types.ROSTER, 0, 1)
    old = Roster.make(kit.federation.root_signer, kit.federation.root, 1, NOW, 1, kit.federation.roster.entries)
    return {kit.log.put(second, {"version": 1, "hash": old.hash, "document": kit.log.keep(old.encode())})}


def roster_that_asks_for_a_newer_list(kit):
    index, root = kit.log.find(Types.ROSTER), kit.federation.root
    made = Roster.make(kit.federation.root_signer, root, 1, NOW, 7, kit.federation.roster.entries)
    return {kit.log.put(index, {"hash": made.hash, "document": kit.log.keep(made.encode())})}


def list_of_another_root(kit):
    kit.federation.crl = Federation().crl
    return {kit.take_list()}


def list_twice(kit):
    index = kit.log.find(Types.REVOCATIONS)
    kit.log.twice(index, kit.log.find(Types.PREKEYS))
    return {kit.log.find(Types.REVOCATIONS, 0, 1)}


def no_roster_at_all(kit):
    kit.log.order(0, kit.log.find(Types.REVOCATIONS))
    return set()


# V2


def fork(kit, size: int, root: bytes = bytes(32)) -> bytes:
    return sign_checkpoint(LOG_SIGNER, kit.log.key, Checkpoint(kit.log.key.name, size, root)).encode()


def _seen(kit, note: bytes, kind: Types = Types.CONTRIBUTION) -> set[int]:
    index = kit.log.find(kind, 2)
    return {kit.log.head(index, lambda context: replace(context, checkpoint=note))}


def contribution_shows_another_history(kit):
    return _seen(kit, fork(kit, 20))


def endorsement_shows_another_history(kit):
    return _seen(kit, fork(kit, 20), Types.ENDORSEMENT)


def answer_shows_another_history(kit):
    return _seen(kit, fork(kit, 20), Types.UNMASK_RESPONSE)


def shows_what_was_not_yet_written(kit):
    size = kit.log.find(Types.CONTRIBUTION, 2) + 1
    return _seen(kit, fork(kit, size, kit.log.tree.root(size)))


def shows_more_than_there_is(kit):
    return _seen(kit, fork(kit, 10_000))


def shows_a_note_of_somebody_else(kit):
    return _seen(kit, fork(kit, 20).replace(b"/log/hub", b"/log/pub"))


def shows_no_note(kit):
    return _seen(kit, b"nothing")


# V4


def no_entry(kit):
    index = kit.log.find(Types.CONTRIBUTION, 2)
    kit.log.bodies[index] = b"{}"
    return {index}


def signature_of_nobody(kit, index: int | None = None):
    index = kit.log.find(Types.CONTRIBUTION, 2) if index is None else index
    value = parse_canonical_json(kit.log.bodies[index], "an entry")
    kit.log.bodies[index] = canonical_json({**value, "signature": encode_base64(bytes(64))})
    return {index}


def genesis_signed_by_nobody(kit):
    return signature_of_nobody(kit, 0)


def list_signed_by_nobody(kit):
    return signature_of_nobody(kit, kit.log.find(Types.REVOCATIONS))


def another_number(kit):
    return {kit.log.put(kit.log.find(Types.SOFTWARE), seq=99)}


def another_federation(kit):
    return {kit.log.put(kit.log.find(Types.SOFTWARE), federation="hearts.example")}


def earlier_than_before(kit):
    index = kit.log.find(Types.CONTRIBUTION, 2)
    return {kit.log.put(index, at=kit.log.entry(index - 1).at - 1)}


def by_another_server(kit):
    return {kit.log.put(kit.log.find(Types.SURVIVORS, 1), actor=Party.parse("server/other"))}


def before_any_roster(kit):
    index = kit.log.find(Types.SOFTWARE)
    kit.log.order(0, index, *(one for one in range(1, len(kit.log.bodies)) if one != index))
    return {1}


def by_another_member(kit):
    index = kit.log.find(Types.UNMASK_RESPONSE, 2)
    kit.log.without(kit.log.find(Types.UNMASK_RESPONSE, 2, 1))
    return {kit.log.put(index, actor=Party.parse("member/mid"))}


def package_of_nobody(kit):
    index = kit.log.find(Types.CONTRIBUTION, 2)
    head = kit.log.entry(index).data["head"]
    return {kit.log.put(index, {"head": {**head, "signature": encode_base64(bytes(64))}})}


def package_by_a_key_that_is_unknown(kit):
    return _changed(kit, Types.CONTRIBUTION, sender_key=OTHER)


def package_by_a_key_that_was_withdrawn(kit):
    old = kit.federation["member/north"]
    kit.renew("member/north", revoke=True)
    kit.open()
    kit.federation.actors["member/north"] = old
    return {kit.contribute("north", 0)}


def package_after_the_certificate(kit):
    kit.now = kit.federation["member/north"].leaf.not_after
    kit.renew("server/hub", *(f"member/{name}" for name in kit.members if name != "north"))
    for name in kit.members:
        if name != "north":
            kit.offer_prekeys(name)
    kit.open()
    return {kit.contribute("north", 0)}


def package_under_a_list_that_is_too_old(kit):
    kit.open()
    kit.now = NOW + 50 * DAY
    return {kit.contribute("north", 0)}


def _changed(kit, kind: Types, **changes: Any) -> set[int]:
    return {kit.log.head(kit.log.find(kind, 2), lambda context: replace(context, **changes))}


def contribution_of_another_round(kit):
    return _changed(kit, Types.CONTRIBUTION, round=1)


def contribution_to_another_plan(kit):
    return _changed(kit, Types.CONTRIBUTION, plan_hash=OTHER)


def contribution_to_another_group(kit):
    return _changed(kit, Types.CONTRIBUTION, group="1")


def contribution_to_somebody_else(kit):
    return _changed(kit, Types.CONTRIBUTION, recipient=Party.parse("server/other"))


def contribution_in_another_federation(kit):
    return _changed(kit, Types.CONTRIBUTION, federation="hearts.example")


def endorsement_of_another_round(kit):
    return _changed(kit, Types.ENDORSEMENT, round=1)


def answer_of_another_type(kit):
    return _changed(kit, Types.UNMASK_RESPONSE, type="endorsement")


def another_package_digest(kit):
    return {kit.log.put(kit.log.find(Types.CONTRIBUTION, 2), {"package": OTHER})}


def document_gone(kit, kind: Types = Types.RESULT):
    index = kit.log.find(kind, 2)
    del kit.log.documents[kit.log.entry(index).data["document"]]
    return {index}


def plan_gone(kit):
    index = kit.log.find(Types.PLAN, 2)
    plan = Plan.from_dict(parse_canonical_json(kit.log.documents[kit.log.entry(index).data["document"]], "a plan"))
    changed = replace(plan, nonce=OTHER).encode()
    return {kit.log.put(index, {"document": kit.log.keep(changed)})}


def list_of_somebody_else(kit):
    return _list(kit, lambda old: {}, signer=kit.federation["member/north"].signer)


def list_of_another_plan(kit):
    return _list(kit, lambda old: {"plan_hash": OTHER})


def result_of_somebody_else(kit):
    return _result(kit, lambda old: {}, signer=kit.federation["member/north"].signer)


def prekeys_of_somebody_else(kit):
    index = kit.log.find(Types.PREKEYS)
    document = kit.log.documents[kit.log.entry(index).data["document"]]
    value = Prekeys.parse(document)
    made = Prekeys.make(
        kit.federation["member/mid"].signer, value.federation, value.party, 0, value.leaves, NOW, NOW + DAY
    )
    data = {"hash": made.statement.digest.hex(), "document": kit.log.keep(made.encode())}
    return {kit.log.put(index, data)}


def certificate_without_an_entry(kit):
    kit.log.without(kit.log.find(Types.CERTIFICATE))
    return {kit.log.find(Types.ROSTER)}


def certificate_with_other_dates(kit):
    return {kit.log.put(kit.log.find(Types.CERTIFICATE), {"not_after": NOW})}


def certificate_twice(kit):
    index = kit.log.find(Types.CERTIFICATE)
    kit.log.twice(index, index + 1)
    return {index + 1}


def certificate_of_nobody(kit):
    index = kit.log.find(Types.CERTIFICATE)
    kit.log.twice(index, index)
    return {kit.log.put(index, {"key": OTHER})}


def witnesses_of_another_policy(kit):
    key = kit.log.key
    return {kit.add(Types.WITNESSES, policy=kit.log.keep(make_policy(key, [], 0).encode()), note_keys=[digest("w")])}


def refusal_of_another_package(kit):
    _, shown = kit.head("member/north", "contribution", "0")
    refusal = {"type": "contribution", "group": "0", "check": "S4", "head": shown}
    return {kit.add(Types.REFUSAL, "member/north", package=OTHER, **refusal)}


def refusal_of_another_type(kit):
    package, shown = kit.head("member/north", "contribution", "0")
    refusal = {"type": "endorsement", "group": "0", "check": "S4", "head": shown}
    return {kit.add(Types.REFUSAL, "member/north", package=package, **refusal)}


def two_packages_under_two_numbers(kit):
    heads = [kit.head("member/north", "contribution", "0")[1] for _ in range(2)]
    return {kit.add(Types.EQUIVOCATION, "member/north", heads=heads)}


def one_package_twice(kit):
    _, head = kit.head("member/north", "contribution", "0")
    return {kit.add(Types.EQUIVOCATION, "member/north", heads=[head, head])}


def server_with_a_withdrawn_key(kit):
    old = kit.federation["server/hub"]
    kit.renew("server/hub", revoke=True)
    kit.federation.actors["server/hub"] = old
    return {kit.add(Types.SOFTWARE, name="fedspallm-secure/0.1.1")}


def list_by_a_server_key_that_never_comes(kit):
    new = kit.federation.actor("server/hub")
    kit.federation.crl = kit.federation.revoke([], number=2)
    kit.federation.actors["server/hub"], old = new, kit.federation["server/hub"]
    index = kit.take_list()
    kit.federation.actors["server/hub"] = old
    kit.add(Types.SOFTWARE, name="fedspallm-secure/0.1.1")
    return {index}


def list_by_nobody_in_the_end(kit):
    kit.federation.actors["server/hub"] = kit.federation.actor("server/hub")
    kit.federation.crl = kit.federation.revoke([], number=2)
    return {kit.take_list()}


# V5


def two_plans(kit):
    index = kit.log.find(Types.PLAN, 2)
    kit.log.twice(index, index + 1)
    return {index + 1}


def two_contributions_of_one(kit):
    index = kit.log.find(Types.CONTRIBUTION, 2)
    kit.log.twice(index, index + 1)
    return {index + 1}


def round_left_out(kit):
    kit.log.order(*(entry.seq for entry in kit.log.all() if entry.round != 1))
    return {kit.log.find(Types.ROUND_OPEN, 2)}


def endorsement_before_the_list(kit):
    index, place = kit.log.find(Types.ENDORSEMENT, 2), kit.log.find(Types.SURVIVORS, 2)
    kit.log.order(*range(place), index, *(one for one in range(place, len(kit.log.bodies)) if one != index))
    return {place}


# V6


def _plan(kit, change: Callable[[Plan], Plan]) -> set[int]:
    made = kit.make_plan
    kit.make_plan = lambda: change(made())
    try:
        kit.play()
    finally:
        kit.make_plan = made
    return {kit.log.find(Types.PLAN, 3)}


def _groups(**changes: Any) -> Callable[[Plan], Plan]:
    return lambda plan: replace(plan, groups=tuple(replace(group, **changes) for group in plan.groups))


def fewer_shares_than_the_rules_say(kit):
    return _plan(kit, _groups(shares=3))


def fewer_survivors_than_the_rules_say(kit):
    return _plan(kit, _groups(shares=3, survivors=3))


def fewer_layers_than_drawn(kit):
    return _plan(kit, lambda plan: replace(plan, groups=plan.groups[:1]))


def another_target(kit):
    return _plan(kit, lambda plan: replace(plan, target="1/3"))


def another_roster(kit):
    return _plan(kit, lambda plan: replace(plan, roster=OTHER))


def prekeys_that_are_not_there(kit):
    first = lambda plan: replace(plan.prekeys[0], bundle=OTHER)  # noqa: E731
    return _plan(kit, lambda plan: replace(plan, prekeys=(first(plan), *plan.prekeys[1:])))


def prekeys_of_another_member(kit):
    first = lambda plan: replace(plan.prekeys[0], bundle=plan.prekeys[1].bundle)  # noqa: E731
    return _plan(kit, lambda plan: replace(plan, prekeys=(first(plan), *plan.prekeys[1:])))


def prekey_that_was_used(kit):
    return _plan(kit, lambda plan: replace(plan, prekeys=tuple(replace(use, index=0) for use in plan.prekeys)))


def prekey_outside_of_its_bundle(kit):
    return _plan(kit, lambda plan: replace(plan, prekeys=tuple(replace(use, index=99) for use in plan.prekeys)))


def contribution_of_a_stranger(kit):
    """Somebody who is in no cohort of this round."""
    kit.open()
    package, shown = kit.head("member/north", "contribution", "5")
    return {kit.add(Types.CONTRIBUTION, "member/north", group=5, package=package, deal=OTHER, head=shown)}


def _list(kit, change: Callable[[SurvivorList], dict[str, Any]], signer=None) -> set[int]:
    index = kit.log.find(Types.SURVIVORS, 1)
    old = SurvivorList.parse(kit.log.documents[kit.log.entry(index).data["document"]])
    names = ("federation", "round", "plan_hash", "groups", "ended")
    values = {**{name: getattr(old, name) for name in names}, **change(old)}
    made = SurvivorList.make(signer or kit.log.server, **values)
    return {kit.log.put(index, {"hash": made.hash, "document": kit.log.keep(made.encode())})}


def list_without_a_group(kit):
    return _list(kit, lambda old: {"groups": old.groups[:1]})


def survivor_who_sent_nothing(kit):
    def change(old):
        first = old.groups[0]
        return {"groups": [ListedGroup(first.gid, (*first.members, Listed("west", OTHER))), *old.groups[1:]]}

    return _list(kit, change)


def survivor_with_another_deal(kit):
    def change(old):
        first = old.groups[0]
        forged = Listed(first.members[0].id, OTHER)
        return {"groups": [ListedGroup(first.gid, (forged, *first.members[1:])), *old.groups[1:]]}

    return _list(kit, change)


def too_few_survivors(kit):
    kit.open()
    for member in kit.members[:3]:
        for group in kit.plan.groups:
            kit.contribute(member, group.gid)
    return {kit.list_survivors()}


def left_out_for_nothing(kit):
    _contributed(kit)
    return {kit.list_survivors(left_out=[(0, "north")])}


def left_out_of_another_group(kit):
    """A complaint about one group is none about another."""
    _contributed(kit)
    kit.add(Types.COMPLAINT, group=1, check="S8", guilty=["north"], suspects=[])
    return {kit.list_survivors(left_out=[(0, "north"), (1, "north")])}


def group_ended_for_nothing(kit):
    _contributed(kit)
    return {kit.list_survivors(ended=[Ended(0, EndCode.TOO_FEW_CONTRIBUTIONS)])}


def _contributed(kit) -> None:
    for group in kit.open().groups:
        for member in group.cohort:
            kit.contribute(member, group.gid)


# V8


def _result(kit, change: Callable[[Result], dict[str, Any]], signer=None) -> set[int]:
    index = kit.log.find(Types.RESULT, 1)
    old = Result.parse(kit.log.documents[kit.log.entry(index).data["document"]])
    names = ("federation", "round", "plan_hash", "survivors", "groups", "ended", "answered")
    values = {**{name: getattr(old, name) for name in names}, **change(old)}
    made = Result.make(signer or kit.log.server, **values)
    kit.log.put(kit.log.find(Types.MODEL, 1), {"result": made.hash})
    return {kit.log.put(index, {"hash": made.hash, "document": kit.log.keep(made.encode())})}


def result_of_another_list(kit):
    return _result(kit, lambda old: {"survivors": OTHER})


def answer_that_is_not_there(kit):
    return _result(kit, lambda old: {"answered": sorted([*old.answered, "west"])})


def fewer_answers_than_needed(kit):
    return _result(kit, lambda old: {"answered": old.answered[:2]})


def result_without_a_group(kit):
    return _result(kit, lambda old: {"groups": old.groups[:1]})


def result_over_more_survivors(kit):
    return _result(kit, lambda old: {"groups": [replace(old.groups[0], survivors=5), *old.groups[1:]]})


def result_over_other_weights(kit):
    return _result(kit, lambda old: {"groups": [replace(old.groups[0], weights=8), *old.groups[1:]]})


def group_that_ended_in_the_result_alone(kit):
    def change(old: Result) -> dict[str, Any]:
        return {"groups": old.groups[:1], "ended": [Ended(old.groups[1].gid, EndCode.SUM_OUT_OF_RANGE)]}

    return _result(kit, change)


def group_that_ended_in_the_log_alone(kit):
    _asked(kit)
    kit.add(Types.GROUP_ENDED, group=1, code="TOO_FEW_RESPONSES", named=[])
    return {kit.conclude(kit.members)}


def group_that_ended_for_another_reason(kit):
    _asked(kit)
    kit.add(Types.GROUP_ENDED, group=1, code="TOO_FEW_RESPONSES", named=[])
    return {kit.conclude(kit.members, ended=[Ended(1, EndCode.SUM_OUT_OF_RANGE)])}


def _asked(kit) -> None:
    _contributed(kit)
    kit.list_survivors()
    for member in kit.members:
        kit.endorse(f"member/{member}")
    kit.add(Types.UNMASK_REQUEST, recipients=sorted(kit.members))
    for member in kit.members:
        kit.answer(member)


def model_of_another_result(kit):
    return {kit.log.put(kit.log.find(Types.MODEL, 1), {"result": OTHER})}


def endorsement_of_another_list(kit):
    return {kit.log.put(kit.log.find(Types.ENDORSEMENT, 2), {"survivors": OTHER})}


def endorsement_signed_by_nobody(kit):
    return {kit.log.put(kit.log.find(Types.ENDORSEMENT, 2), {"signature": encode_base64(bytes(64))})}


def too_few_endorsements(kit):
    gone = {kit.log.find(Types.ENDORSEMENT, 2, number) for number in range(2)}
    kit.log.order(*(index for index in range(len(kit.log.bodies)) if index not in gone))
    return {kit.log.find(Types.UNMASK_REQUEST, 2)}


def somebody_asked_who_did_not_survive(kit):
    index = kit.log.find(Types.UNMASK_REQUEST, 1)
    return {kit.log.put(index, {"recipients": ["east", "mid", "north", "south", "west"]})}


def answer_of_somebody_who_was_not_asked(kit):
    index = kit.log.find(Types.UNMASK_REQUEST, 2)
    kit.log.put(index, {"recipients": ["east", "mid", "north", "south"]})
    return {kit.log.find(Types.UNMASK_RESPONSE, 2, 4)}


def witnesses_short_of_their_quorum(kit):
    """Three of three have to sign where one of them may be dishonest."""
    made = Kit(profile=Profile.WITNESSED, witnesses=("ada", "bo", "wyn"), dishonest=1, shows=False)
    made.play()
    made.log.without(made.log.find(Types.ENDORSEMENT, 1))
    kit.__dict__.update(made.__dict__)
    return {kit.log.find(Types.UNMASK_REQUEST, 1)}


FORGERIES: dict[str, tuple[Forgery, ...]] = {
    "V1": (
        genesis_of_another_log,
        genesis_of_another_root,
        no_statement_of_the_key,
        key_stated_by_somebody_else,
        roster_of_another_root,
        roster_that_is_not_there,
        roster_of_another_version,
        roster_twice,
        older_roster,
        roster_that_asks_for_a_newer_list,
        list_of_another_root,
        list_twice,
        no_roster_at_all,
    ),
    "V2": (
        contribution_shows_another_history,
        endorsement_shows_another_history,
        answer_shows_another_history,
        shows_what_was_not_yet_written,
        shows_more_than_there_is,
        shows_a_note_of_somebody_else,
        shows_no_note,
    ),
    "V4": (
        no_entry,
        signature_of_nobody,
        genesis_signed_by_nobody,
        list_signed_by_nobody,
        another_number,
        another_federation,
        earlier_than_before,
        by_another_server,
        before_any_roster,
        by_another_member,
        package_of_nobody,
        package_by_a_key_that_is_unknown,
        package_by_a_key_that_was_withdrawn,
        package_after_the_certificate,
        package_under_a_list_that_is_too_old,
        contribution_of_another_round,
        contribution_to_another_plan,
        contribution_to_another_group,
        contribution_to_somebody_else,
        contribution_in_another_federation,
        endorsement_of_another_round,
        answer_of_another_type,
        another_package_digest,
        document_gone,
        plan_gone,
        list_of_somebody_else,
        list_of_another_plan,
        result_of_somebody_else,
        prekeys_of_somebody_else,
        certificate_without_an_entry,
        certificate_with_other_dates,
        certificate_twice,
        certificate_of_nobody,
        witnesses_of_another_policy,
        refusal_of_another_package,
        refusal_of_another_type,
        two_packages_under_two_numbers,
        one_package_twice,
        server_with_a_withdrawn_key,
        list_by_a_server_key_that_never_comes,
        list_by_nobody_in_the_end,
    ),
    "V5": (
        two_plans,
        two_contributions_of_one,
        round_left_out,
        endorsement_before_the_list,
    ),
    "V6": (
        fewer_shares_than_the_rules_say,
        fewer_survivors_than_the_rules_say,
        fewer_layers_than_drawn,
        another_target,
        another_roster,
        prekeys_that_are_not_there,
        prekeys_of_another_member,
        prekey_that_was_used,
        prekey_outside_of_its_bundle,
        contribution_of_a_stranger,
        list_without_a_group,
        survivor_who_sent_nothing,
        survivor_with_another_deal,
        too_few_survivors,
        left_out_for_nothing,
        left_out_of_another_group,
        group_ended_for_nothing,
    ),
    "V8": (
        result_of_another_list,
        answer_that_is_not_there,
        fewer_answers_than_needed,
        result_without_a_group,
        result_over_more_survivors,
        result_over_other_weights,
        group_that_ended_in_the_result_alone,
        group_that_ended_in_the_log_alone,
        group_that_ended_for_another_reason,
        model_of_another_result,
        endorsement_of_another_list,
        endorsement_signed_by_nobody,
        too_few_endorsements,
        somebody_asked_who_did_not_survive,
        answer_of_somebody_who_was_not_asked,
        witnesses_short_of_their_quorum,
    ),
}
