"""Plans: with rules bent, people chosen, histories hidden, and others for some members than for the rest."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import cycle, islice
from typing import Any
from unittest import mock

from fedspallm_secure.app.rounds.planning import make_group
from fedspallm_secure.crypto.encoding import canonical_json, encode_base64, parse_canonical_json
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.protocol.rounds.groups import MatrixShape
from fedspallm_secure.protocol.rounds.openings import Opening, beacon_seed, beacon_signature
from fedspallm_secure.protocol.rounds.plan_bodies import PastDeal
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.policy import DAY
from fedspallm_secure.secagg.fields import CountField, SumWord
from fedspallm_secure.secagg.thresholds import Profile
from tests.attacks.rounds.lists import for_one_list
from tests.attacks.rounds.rogue import Rogue
from tests.attacks.rounds.script import FIVE, NO_LEDGER, NOTHING, OPEN, SEVEN, TWO, WITNESSED, off, script
from tests.federation import NOW, SPARE, STRANGER, WITNESSES, Setting

TWICE = Setting(rounds=2)
BEACONS = Setting(beacons=1)
NO_RULES = off("plan_checks.check_groups")


def of_group(plan: Plan, **changes: Any) -> Plan:
    """The plan with another group in place of its first."""
    return replace(plan, groups=(replace(plan.groups[0], **changes), *plan.groups[1:]))


def with_cohort(r: Rogue, names: Collection[str], **changes: Any) -> Plan:
    """A plan with one group over `names`, with the thresholds that its terms give them.  changes: to that group."""
    plan = r.bench.plan()
    group = make_group(0, tuple(sorted(names)), r.bench.layers[0], r.bench.terms)
    known = {use.id: use for use in plan.prekeys}
    uses = tuple(known.get(name) or replace(plan.prekeys[0], id=name) for name in sorted(names))
    return replace(plan, groups=(replace(group, **changes),), prekeys=uses)


def press(r: Rogue, plan: Plan, **parts: Any) -> None:
    """Invite to a plan, and go for the sum over the victim and as few others as the plan allows.

    parts: of the body of the plan.
    """
    r.invite(plan, **parts)
    r.contribute()
    group = plan.groups[0]
    few = [name for name in (r.victim, *r.puppets, *r.others) if name in group.cohort]
    r.end(plan, few[: group.survivors])


# Where it is from: P1, P2, P3


@script("P1")
def a_plan_under_the_number_of_another_round(r: Rogue) -> None:
    plan = r.bench.plan()
    r.send_plan(plan, r.victim, r.body(plan, r.victim).encode(), number=2)


@script("P1")
def a_plan_under_the_hash_of_another(r: Rogue) -> None:
    plan = r.bench.plan()
    r.send_plan(plan, r.victim, r.body(plan, r.victim).encode(), plan_hash="ab" * 32)


@script("P1")
def a_member_twice_in_a_cohort(r: Rogue) -> None:
    plan = r.bench.plan()
    cohort = sorted([*plan.groups[0].cohort[:-1], plan.groups[0].cohort[0]])
    _send_raw(r, plan, {**plan.groups[0].to_dict(), "cohort": cohort})


@script("P12")
def counts_that_are_too_narrow(r: Rogue) -> None:
    """Sixteen members in fields of four bits would overflow into each other."""
    plan = r.bench.plan()
    cohort = [f"m-{number:02d}" for number in range(16)]
    _send_raw(r, plan, {**plan.groups[0].to_dict(), "cohort": cohort, "count_bits": 4})


@script("P12")
def counts_that_are_wider_than_needed(r: Rogue) -> None:
    plan = r.bench.plan()
    _send_raw(r, plan, {**plan.groups[0].to_dict(), "count_bits": 8})


@script("P12")
def sums_without_room_for_all(r: Rogue) -> None:
    plan = r.bench.plan()
    word = plan.groups[0].to_dict()["sum"]
    _send_raw(r, plan, {**plan.groups[0].to_dict(), "sum": {**word, "bound": word["bound"] + 1}})


def _send_raw(r: Rogue, plan: Plan, group: dict[str, Any]) -> None:
    """A plan that the server's own program could not make, consistent in all but its group."""
    value = {**plan.to_dict(), "groups": [group]}
    for name in r.honest:
        body = {**parse_canonical_json(r.body(plan, name).encode(), "it"), "plan": value}
        r.send_plan(plan, name, canonical_json(body), plan_hash=digest(Label.DIGEST_PLAN, canonical_json(value)).hex())


@script("P2")
def a_plan_of_another_server(r: Rogue) -> None:
    plan, spare = r.bench.plan(), r.bench.correspondent(SPARE)
    for name in r.honest:
        r.send_plan(plan, name, r.body(plan, name).encode(), by=spare)


@script("P3")
def a_plan_of_another_federation(r: Rogue) -> None:
    press(r, replace(r.bench.plan(), federation="elsewhere.local"))


@script("P3")
def a_plan_under_an_old_roster(r: Rogue) -> None:
    press(r, replace(r.bench.plan(), roster="ab" * 32))


@script("P3")
def a_plan_under_a_revocation_list_that_nobody_has(r: Rogue) -> None:
    press(r, replace(r.bench.plan(), crl=2))


# When: P4, P5


@script("P4", TWICE)
def a_second_plan_for_the_round(r: Rogue) -> None:
    """The same but for its nonce, after all have contributed to the first."""
    first = r.begin()
    press(r, replace(first, nonce="ab" * 32))


@script("P4", TWICE)
def a_second_plan_before_anybody_contributed(r: Rogue) -> None:
    first = r.bench.plan()
    r.invite(first)
    press(r, replace(first, nonce="ab" * 32))


@script("P4", TWICE)
def the_number_of_an_earlier_round(r: Rogue) -> None:
    plan = r.begin(r.bench.plan(number=7))
    r.end(plan, r.everybody)
    r.bench.revise()
    press(r, r.bench.plan(number=6))


@script("P4", TWICE)
def the_first_plan_once_more_after_the_next_one(r: Rogue) -> None:
    first = r.begin()
    r.bench.revise()
    r.begin()
    press(r, first)


@script("P5", Setting(rounds=3))
def a_member_whose_records_are_an_old_copy(r: Rogue) -> None:
    """The operator of the victim's machine put back a snapshot; the server's records show what it forgot."""
    plan = r.begin()
    r.end(plan, r.everybody)
    sent = r.vector(plan, r.victim)
    history = (_past(plan, sent.handover.deal.encode(), sent.handover.signature),)
    r.bench.members[r.victim].deals.clear()
    r.bench.revise()
    press(r, r.bench.plan(), history=history)


@script(NOTHING, TWICE)
def a_history_that_the_member_did_not_write(r: Rogue) -> None:
    """Deals of others in its name prove nothing, so they cannot keep it from taking part."""
    plan = r.begin()
    r.end(plan, r.everybody)
    history = []
    for name in (r.others[0], r.puppets[0]):
        sent = r.vector(plan, name)
        history.append(_past(plan, sent.handover.deal.encode(), sent.handover.signature))
    r.bench.revise()
    following = r.bench.plan()
    r.invite(following, history=tuple(history))
    r.contribute()
    r.end(following, r.everybody)
    assert r.vector(following, r.victim)


def _past(plan: Plan, deal: bytes, signature: bytes) -> PastDeal:
    return PastDeal(plan.round, plan.hash, plan.groups[0].gid, deal, signature)


# Who, and how many of them: P7, P8


@script("P7", FIVE, [NO_RULES, *NO_LEDGER])
def two_shares_and_two_survivors(r: Rogue) -> None:
    press(r, of_group(r.bench.plan(), shares=2, survivors=2))


@script("P7")
def one_share_fewer(r: Rogue) -> None:
    plan = r.bench.plan()
    press(r, of_group(plan, shares=plan.groups[0].shares - 1))


@script("P7", SEVEN)
def one_survivor_fewer(r: Rogue) -> None:
    plan = r.bench.plan()
    press(r, of_group(plan, shares=4, survivors=plan.groups[0].survivors - 1))


@script("P7")
def more_than_is_asked_for(r: Rogue) -> None:
    """A server that makes a sum depend on every puppet."""
    press(r, of_group(r.bench.plan(), shares=5, survivors=5))


@script("P7", SEVEN)
def fewer_colluders_with_the_thresholds_for_them(r: Rogue) -> None:
    r.bench.terms = replace(r.bench.terms, colluders=1)
    press(r, r.bench.plan())


@script("P7")
def a_profile_that_no_policy_allows(r: Rogue) -> None:
    r.bench.terms = replace(r.bench.terms, profile=TWO)
    press(r, r.bench.plan())


@script("P7", Setting(members=7, policy={"profiles": frozenset(Profile)}), [NO_RULES])
def two_trips_with_the_thresholds_of_three(r: Rogue) -> None:
    """Then nobody compares lists, and every member is shown one of its own."""
    plan = r.begin(replace(r.bench.plan(), profile=TWO))
    r.split(plan, for_one_list(r))


@script("P7", Setting(policy={"profiles": frozenset(Profile)}))
def witnesses_where_the_policy_names_none(r: Rogue) -> None:
    press(r, replace(r.bench.plan(), profile=Profile.WITNESSED))


@script("P7", FIVE, [NO_RULES, *NO_LEDGER])
def a_cohort_of_the_victim_and_puppets(r: Rogue) -> None:
    _small(r, [r.victim, *r.puppets])


@script("P7")
def a_cohort_of_two_honest_members(r: Rogue) -> None:
    _small(r, [r.victim, r.others[0]])


@script("P7", SEVEN, [NO_RULES, *NO_LEDGER])
def a_cohort_with_as_many_puppets_as_honest(r: Rogue) -> None:
    _small(r, [r.victim, r.others[0], *r.puppets])


def _small(r: Rogue, names: Collection[str]) -> None:
    """A cohort with a drawing that gives it, and thresholds as if nobody colluded."""
    size = len(names)
    plan, sampling = r.bench.plan(), replace(r.bench.sampling(names), min_cohort=1)
    form = {"counts": CountField.for_cohort(size), "sums": SumWord.default(32, size)}
    group = replace(plan.groups[0], cohort=tuple(sorted(names)), shares=2, survivors=2, **form)
    uses = tuple(use for use in plan.prekeys if use.id in names)
    press(r, replace(plan, sampling=sampling, groups=(group,), prekeys=uses))


@script("P7")
def somebody_who_is_not_in_the_roster(r: Rogue) -> None:
    press(r, with_cohort(r, [*r.everybody, "zzz"]))


@script("P7")
def a_member_that_is_in_no_cohort(r: Rogue) -> None:
    plan = with_cohort(r, r.but(r.victim))
    r.invite(plan, r.victim)


@script("P7", SEVEN)
def a_graph_in_which_the_victim_has_two_neighbours(r: Rogue) -> None:
    press(r, of_group(r.bench.plan(), degree=2, shares=2))


@script("P8")
def somebody_who_was_not_drawn(r: Rogue) -> None:
    press(r, with_cohort(r, [*r.everybody, STRANGER.id]))


@script("P8")
def somebody_left_out_who_was_drawn(r: Rogue) -> None:
    press(r, with_cohort(r, r.but(r.others[0])))


@script("P8", Setting(members=7, layers=2, colluders=0))
def two_members_exchanged_between_cohorts(r: Rogue) -> None:
    """Everybody was drawn for one of two layers, and two of them are put into the other's place."""
    sampling = replace(r.bench.sampling(), budgets=tuple((name, 1) for name in r.everybody))
    plan = r.bench.plan(sampling)
    first, second = (set(group.cohort) for group in plan.groups)
    swapped = {min(first), min(second)}
    cohorts = (first ^ swapped, second ^ swapped)
    groups = (replace(group, cohort=tuple(sorted(ids))) for group, ids in zip(plan.groups, cohorts, strict=True))
    press(r, replace(plan, groups=tuple(groups)))


@script("P8")
def a_drawing_that_nobody_can_repeat(r: Rogue) -> None:
    plan = r.bench.plan()
    press(r, replace(plan, sampling=replace(plan.sampling, number=2)))


# The seed: P8


@script("P8", BEACONS)
def a_seed_of_the_servers_choice(r: Rogue) -> None:
    press(r, r.bench.plan())


@script("P8", BEACONS)
def a_seed_that_does_not_follow_from_the_beacon(r: Rogue) -> None:
    _drawn(r, seed="ab" * 32)


@script("P8", BEACONS)
def an_opening_of_another_round(r: Rogue) -> None:
    _drawn(r, opening={"round": 2})


@script("P8", BEACONS)
def an_opening_under_another_roster(r: Rogue) -> None:
    _drawn(r, opening={"roster": "ab" * 32})


@script("P8", BEACONS)
def an_opening_with_other_prekeys(r: Rogue) -> None:
    """The seed was known before it was said who takes part."""
    plan = r.bench.plan()
    _drawn(r, opening={"prekeys": plan.prekeys[:-1]})


@script("P8", BEACONS)
def an_opening_with_another_way_to_draw_cohorts(r: Rogue) -> None:
    """The seed was known before it was said who can be drawn."""
    _drawn(r, opening={"sampling": replace(r.bench.sampling(), min_cohort=4).hash})


@script("P8", BEACONS)
def an_opening_that_the_server_did_not_sign(r: Rogue) -> None:
    _drawn(r, opening={"signer": r.bench.federation[SPARE].signer})


@script("P8", BEACONS)
def a_beacon_by_the_server_itself(r: Rogue) -> None:
    _drawn(r, signers={WITNESSES[0]: r.signer})


@script("P8", BEACONS)
def a_beacon_by_another_witness(r: Rogue) -> None:
    _drawn(r, signers={WITNESSES[1]: _witness(r, 1)})


@script("P8", BEACONS)
def a_second_witness_who_tries_until_the_seed_is_right(r: Rogue) -> None:
    _drawn(r, signers={WITNESSES[0]: _witness(r, 0), WITNESSES[1]: _witness(r, 1)})


@script("OutOfTurn", BEACONS)
def two_openings_of_one_round(r: Rogue) -> None:
    """The witness is asked for a second seed, with other prekeys."""
    plan = r.bench.plan()
    for uses in (plan.prekeys, plan.prekeys[:-1]):
        opening = Opening.make(r.signer, plan.federation, plan.round, plan.roster, plan.sampling.hash, uses)
        statement = canonical_json({"statement": encode_base64(opening.encode())})
        r.send("opening", r.bench.witnesses[0].party, [statement], plan.round, opening.hash)
        r.deliver()


def _witness(r: Rogue, number: int) -> Any:
    party = next(p for p in r.bench.federation.participants if p.id == WITNESSES[number])
    return r.bench.federation[party].signer


def _drawn(
    r: Rogue, opening: dict[str, Any] | None = None, signers: dict[str, Any] | None = None, seed: str = ""
) -> None:
    """A plan with a drawn seed, in which something is wrong."""
    plan = r.bench.plan()
    made = {"federation": plan.federation, "round": plan.round, "roster": plan.roster, "prekeys": plan.prekeys}
    made["sampling"] = plan.sampling.hash
    found = Opening.make(**{"signer": r.signer, **made, **(opening or {})})
    signing = signers or {WITNESSES[0]: _witness(r, 0)}
    beacons = tuple((name, beacon_signature(signer, found)) for name, signer in sorted(signing.items()))
    drawn = beacon_seed(found, [signature for _, signature in beacons]).hex()
    press(r, replace(plan, seed=seed or drawn), opening=found, beacons=beacons)


# The model: P10, P11


@script("P10")
def another_base_than_the_members_own(r: Rogue) -> None:
    """One base in the plan; the victim has other weights."""
    plan = r.bench.plan()
    r.bench.works[r.victim].layers = {0: replace(r.bench.layers[0], base="ab" * 32)}
    press(r, plan)


@script(NOTHING)
def a_base_of_its_own_for_the_victim(r: Rogue) -> None:
    """It was given another model, and a plan to go with it: its keystreams meet no others."""
    plan = r.bench.plan()
    own = of_group(plan, base="ab" * 32)
    r.bench.works[r.victim].layers = {0: replace(r.bench.layers[0], base="ab" * 32)}
    _two_plans(r, plan, own)


@script(NOTHING)
def two_plans_that_differ_in_their_nonce(r: Rogue) -> None:
    plan = r.bench.plan()
    _two_plans(r, plan, replace(plan, nonce="ab" * 32))


def _two_plans(r: Rogue, plan: Plan, own: Plan) -> None:
    """One plan for the victim, the other for the rest; then lists of everybody for each."""
    r.invite(own, r.victim)
    r.invite(plan, *r.but(r.victim))
    r.contribute()
    for one in (plan, own):
        survivors = r.listing(one, r.everybody)
        for name in r.honest:
            r.show(one, survivors, name)
    accepted = r.listing(plan, r.but(r.victim))
    r.show(plan, accepted)
    r.ask(plan, accepted)
    r.bench.members[r.victim].refused.clear()
    for name in r.others:
        r.bench.members[name].refused.clear()


@script("P10", Setting(policy={"pinned_base": False}))
def a_beginning_where_the_policy_wants_a_result(r: Rogue) -> None:
    press(r, r.bench.plan())


@script("P10")
def a_result_that_the_member_did_not_verify(r: Rogue) -> None:
    press(r, replace(r.bench.plan(), previous="ab" * 32))


@script("P11")
def other_matrices_than_those_of_the_model(r: Rogue) -> None:
    """One weight less, so that the others end up elsewhere."""
    shapes = (MatrixShape("layers.0.up", 1, 3), MatrixShape("layers.0.down", 1, 3))
    press(r, of_group(r.bench.plan(), matrices=shapes))


@script("P11", Setting(layers=2))
def the_same_matrices_in_two_groups(r: Rogue) -> None:
    """A sum over the same weights twice in one round."""
    plan = r.bench.plan()
    first, second = plan.groups
    press(r, replace(plan, groups=(first, replace(second, matrices=first.matrices))))


@script("P11", Setting(policy={"upload_limit": 4_000}))
def more_to_send_than_the_policy_allows(r: Rogue) -> None:
    press(r, r.bench.plan())


# Earlier rounds: P13, E5, Q6


@script("P13", TWICE, NO_LEDGER)
def a_base_that_was_released_before(r: Rogue) -> None:
    """The same sum without the victim."""
    plan = r.begin()
    r.end(plan, r.everybody)
    following = r.begin()
    r.end(following, r.but(r.victim))


@script("P13", TWICE, NO_LEDGER)
def a_cohort_without_the_victim(r: Rogue) -> None:
    """Of a new base, so that the difference is the victim's vector and what changed meanwhile."""
    plan = r.begin()
    r.end(plan, r.everybody)
    r.bench.revise()
    names = r.but(r.victim)
    following = r.begin(r.bench.plan(r.bench.sampling(names)))
    r.end(following, names)


@script("E5", Setting(members=7, rounds=2), NO_LEDGER)
def a_list_without_the_victim_in_the_next_round(r: Rogue) -> None:
    plan = r.begin()
    r.end(plan, r.everybody)
    r.bench.revise()
    following = r.begin()
    r.end(following, r.but(r.victim))


@script("Q6", Setting(members=8, rounds=2, profile=WITNESSED, witnesses=1), NO_LEDGER)
def a_list_without_the_victim_in_the_next_round_past_a_witness(r: Rogue) -> None:
    plan = r.begin()
    r.end(plan, r.everybody)
    r.bench.revise()
    following = r.begin()
    r.end(following, r.but(r.victim))


@script("P13", Setting(members=8, rounds=2, profile=TWO), NO_LEDGER)
def a_list_without_the_victim_in_the_next_round_in_two_trips(r: Rogue) -> None:
    plan = r.begin()
    r.end(plan, r.everybody)
    r.bench.revise()
    following = r.begin()
    r.end(following, r.but(r.victim))


def _unsplit() -> AbstractContextManager[Any]:
    """Members who take lists in two trips for what everybody was shown (SPEC section 15, rule 3)."""
    return mock.patch("fedspallm_secure.secagg.disclosure._check_unsplit", lambda *_: None)


@script("P13", Setting(members=31, rounds=2, colluders=6, profile=TWO), [_unsplit])
def lists_that_differ_in_two_rounds_of_two_trips(r: Rogue) -> None:
    """No two lists give anybody away.  What opens does: a sum over four honest members, then over these and the victim.

    In each round some have no one on their lists whom the others do not have too, so that sums over few come apart.
    """
    four, first, second = r.others[:4], r.others[4:14], r.others[14:23]
    for near, far in ((four, first), ([*four, r.victim], second)):
        cohort = sorted({*near, *far, *r.puppets})
        plan = r.begin(r.bench.plan(r.bench.sampling(cohort)))
        r.split(plan, _apart(r, near, far))
        r.bench.revise()


def _apart(r: Rogue, near: Sequence[str], far: Sequence[str]) -> Mapping[str, Collection[str]]:
    """Lists of 14 each.  Those far leave six of their own off; those near, six of the far ones, of each one another."""
    turns, ends, views = cycle(far), [*far, *far], {}
    for name in near:
        puppets = r.puppets[:3] if r.victim in near and name != r.victim else []
        views[name] = {*islice(turns, 6 - len(puppets)), *puppets}
    for place, name in enumerate(far):
        views[name] = set(ends[place + 1 : place + 7])
    return {name: {*near, *far, *r.puppets} - off for name, off in views.items()}


@script(OPEN, Setting(members=7, rounds=3, colluders=0))
def three_cohorts_that_give_the_victim_away(r: Rogue) -> None:
    """The sums over A and the victim, over B, and over A and B; A and B have nobody in common.

    SPEC section 15 says that the ledger does not stop this: nobody is in more than two of these sums.
    """
    ours, theirs = r.others[:3], r.others[3:]
    for cohort in ([r.victim, *ours], theirs, [*ours, *theirs]):
        plan = r.begin(r.bench.plan(r.bench.sampling(cohort)))
        r.end(plan, cohort)
        r.bench.revise()


@script("P13", Setting(rounds=2, policy={"epochs": 1}))
def more_releases_than_the_policy_allows(r: Rogue) -> None:
    plan = r.begin()
    r.end(plan, r.everybody)
    r.bench.revise()
    press(r, r.bench.plan())


@script("P13", TWICE, NO_LEDGER)
def an_aborted_round_and_the_same_base_again(r: Rogue) -> None:
    """All have answered; the server says that nothing came of it, and asks for the sum without the victim."""
    plan = r.begin()
    r.end(plan, r.everybody)
    r.abort(plan)
    following = r.begin()
    r.end(following, r.but(r.victim))


@script("P13", TWICE)
def a_round_that_was_aborted_before_the_victim_answered(r: Rogue) -> None:
    """The others may have answered without it, so what it contributed counts."""
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)
    r.ask(plan, survivors, *r.others[:-1])
    r.abort(plan)
    r.invite(r.bench.plan(), r.victim)


@script("P13", Setting(layers=2, rounds=2))
def a_round_in_which_the_victim_answered_for_one_group(r: Rogue) -> None:
    """The others answered for both, so what it contributed to the other one counts."""
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)
    r.ask(plan, survivors, *r.others)
    r.ask(plan, survivors, r.victim, gids=[0])
    bases = dict(r.bench.works[r.victim].layers)
    r.bench.revise()
    r.bench.works[r.victim].layers = {0: r.bench.layers[0], 1: bases[1]}
    following = r.bench.plan()
    second = replace(following.groups[1], base=bases[1].base)
    r.invite(replace(following, groups=(following.groups[0], second)), r.victim)


# Times, and who is told: P14


@script("P14")
def a_deadline_that_is_past(r: Rogue) -> None:
    plan = r.bench.plan()
    r.bench.now = plan.deadlines.contribution + 1
    press(r, plan)


@script("P14")
def a_round_without_an_end(r: Rogue) -> None:
    plan = r.bench.plan()
    press(r, replace(plan, deadlines=replace(plan.deadlines, abort=NOW + 91 * DAY)))


@script("P14")
def counts_told_to_members(r: Rogue) -> None:
    press(r, replace(r.bench.plan(), counts_to=(Role.MEMBER, Role.SERVER)))
