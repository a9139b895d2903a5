"""Survivor lists: different ones for different members, one after the other, of what never was, or of too few."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache

from fedspallm_secure.crypto.encoding import canonical_json, encode_base64
from fedspallm_secure.protocol.rounds.survivors import EndCode, Ended
from fedspallm_secure.protocol.statements import StatementType, make_statement
from fedspallm_secure.secagg.thresholds import thresholds
from tests.attacks.rounds.rogue import Rogue
from tests.attacks.rounds.script import (
    FIVE,
    FIVE_TWO,
    FIVE_WITNESSED,
    NO_LEDGER,
    NOTHING,
    SEVEN,
    SEVEN_TWO,
    SEVEN_WITNESSED,
    THREE,
    TWO,
    WITNESSED,
    classical_thresholds,
    forgetting_answers,
    forgetting_lists,
    forgetting_witnesses,
    off,
    script,
)
from tests.federation import SPARE, STRANGER, Setting
from tests.secagg.split_view import smallest_isolated

ENDORSED = off("unmask_checks.check_endorsed")
ANYTHING_TWICE = (forgetting_lists, forgetting_answers, *NO_LEDGER)


@cache
def _strategy(n: int, c: int, shares: int, survivors: int) -> Sequence[Collection[int] | None]:
    return smallest_isolated(n, c, shares, survivors).views


def strongest(r: Rogue, shares: int, survivors: int) -> Mapping[str, Collection[str]]:
    """What a server shows to each member to isolate as few as it can; the victim is among them."""
    names = [*r.honest, *r.puppets]
    views = _strategy(len(names), len(r.puppets), shares, survivors)
    return {
        name: [names[place] for place in view] for name, view in zip(r.honest, views, strict=False) if view is not None
    }


def for_one_list(r: Rogue) -> Mapping[str, Collection[str]]:
    """The strongest strategy against the thresholds that are for one list."""
    found = thresholds(len(r.everybody), len(r.puppets), THREE)
    return strongest(r, found.shares, found.survivors)


# Different lists


@script("Q2", SEVEN, [ENDORSED])
def every_member_a_list_of_its_own(r: Rogue) -> None:
    r.split(r.begin(), for_one_list(r))


@script("E3", SEVEN_WITNESSED, [forgetting_witnesses])
def every_member_a_list_of_its_own_past_a_witness(r: Rogue) -> None:
    r.split(r.begin(), for_one_list(r))


@script("Q2", Setting(members=7, profile=WITNESSED, witnesses=3, dishonest=1), [ENDORSED])
def every_member_a_list_of_its_own_with_one_witness_of_three_bought(r: Rogue) -> None:
    """It signs everything, and the honest two sign one list."""
    plan, bought = r.begin(), r.bench.witnesses.pop()
    lists = {name: r.listing(plan, ids) for name, ids in for_one_list(r).items()}
    r.show_witnesses(plan, next(iter(lists.values())))
    for name, survivors in lists.items():
        r.sign(survivors, str(bought.party))
        r.show(plan, survivors, name)
    for name, survivors in lists.items():
        r.ask(plan, survivors, name)


@script("E4", SEVEN_TWO, [classical_thresholds])
def every_member_a_list_of_its_own_in_two_trips(r: Rogue) -> None:
    r.split(r.begin(), for_one_list(r))


@script(NOTHING, SEVEN_TWO)
def the_strongest_strategy_in_two_trips(r: Rogue) -> None:
    """Whatever it does, at least three honest members stay together."""
    plan = r.begin()
    group = plan.groups[0]
    r.split(plan, strongest(r, group.shares, group.survivors))


@script("Q2", SEVEN)
def two_halves_with_a_list_each(r: Rogue) -> None:
    """One of them has a quorum with the puppets, so it is a sum over those on it."""
    plan = r.begin()
    *most, last = r.honest
    views = {name: [*most, *r.puppets] for name in most} | {last: [*r.others, *r.puppets]}
    r.split(plan, views)


@script("Q2")
def endorsements_of_one_list_for_another(r: Rogue) -> None:
    """All endorse a list with the victim; then they are asked about one without it, with those endorsements."""
    plan = r.begin()
    whole, other = r.listing(plan, r.everybody), r.listing(plan, r.but(r.victim))
    r.show(plan, whole)
    r.ask(plan, other, *r.others, endorsements=r.endorsements[whole.hash])


# One list after the other


def _in_turn(r: Rogue) -> None:
    """Every list to everybody on it, and then every member is asked for another one."""
    plan, views = r.begin(), for_one_list(r)
    lists = {name: r.listing(plan, ids) for name, ids in views.items()}
    for survivors in {found.hash: found for found in lists.values()}.values():
        r.show_witnesses(plan, survivors)
        r.show(plan, survivors)
    for name, survivors in lists.items():
        r.show(plan, survivors, name)
        r.ask(plan, survivors, name)


@script("E3", SEVEN, [forgetting_lists])
def several_lists_endorsed_in_turn(r: Rogue) -> None:
    _in_turn(r)


@script("E3", SEVEN_WITNESSED, [forgetting_witnesses, forgetting_lists])
def several_lists_endorsed_in_turn_by_a_witness(r: Rogue) -> None:
    _in_turn(r)


@script("E3", SEVEN_TWO, [forgetting_lists, classical_thresholds])
def several_lists_in_turn_in_two_trips(r: Rogue) -> None:
    plan = r.begin()
    r.show(plan, r.listing(plan, r.everybody))
    r.split(plan, for_one_list(r))


@script("E3", FIVE, ANYTHING_TWICE)
def with_the_victim_and_then_without_it(r: Rogue) -> None:
    """What both answers open together is the victim's vector: its self seed, and then its edges."""
    plan = r.begin()
    r.end(plan, r.everybody)
    r.end(plan, r.but(r.victim))


@script("E3", FIVE_TWO, ANYTHING_TWICE)
def with_the_victim_and_then_without_it_in_two_trips(r: Rogue) -> None:
    plan = r.begin()
    r.end(plan, r.everybody)
    r.end(plan, r.but(r.victim))


@script("E3", FIVE_WITNESSED, [*ANYTHING_TWICE, forgetting_witnesses])
def with_the_victim_and_then_without_it_past_a_witness(r: Rogue) -> None:
    plan = r.begin()
    r.end(plan, r.everybody)
    r.end(plan, r.but(r.victim))


@script("E3", FIVE_TWO, ANYTHING_TWICE)
def without_the_victim_and_then_with_it(r: Rogue) -> None:
    """The other way round: first it is said to have dropped out, and then its masked vector is used after all."""
    plan = r.begin()
    r.end(plan, r.but(r.victim))
    r.end(plan, r.everybody)


# Lists of what is not so


@script("Q4", FIVE_TWO)
def a_member_that_contributed_nothing_is_listed(r: Rogue) -> None:
    plan = r.begin(None, *r.but(r.victim))
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)
    named = r.listing(plan, r.but(r.victim))
    r.ask(plan, named, *r.others, change=lambda request, _: replace(request, survivors=survivors.hash))


@script("E4")
def the_victim_is_listed_without_a_contribution(r: Rogue) -> None:
    plan = r.begin(None, *r.but(r.victim))
    r.show(plan, r.listing(plan, r.everybody), r.victim)


@script("Q3", FIVE_TWO)
def the_victim_is_listed_without_a_contribution_in_two_trips(r: Rogue) -> None:
    plan = r.begin(None, *r.but(r.victim))
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors, r.victim)
    r.ask(plan, survivors, r.victim)


@script("E4")
def another_deal_than_the_members_own(r: Rogue) -> None:
    plan = r.begin()
    r.end(plan, r.everybody, {r.victim: "ab" * 32})


@script("Q3", FIVE_TWO)
def another_deal_than_the_members_own_in_two_trips(r: Rogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody, {r.victim: "ab" * 32})
    r.show(plan, survivors)
    r.ask(plan, survivors, r.victim)


@script("Q4", FIVE_TWO)
def another_deal_of_a_neighbour(r: Rogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody, {r.victim: "ab" * 32})
    r.show(plan, survivors)
    r.ask(plan, survivors, *r.others)


@script("E4")
def a_stranger_on_the_list(r: Rogue) -> None:
    plan = r.begin()
    r.show(plan, r.listing(plan, [*r.everybody, STRANGER.id]), *r.honest)


@script("E4", FIVE_TWO)
def a_stranger_on_the_list_in_two_trips(r: Rogue) -> None:
    plan = r.begin()
    r.show(plan, r.listing(plan, [*r.everybody, STRANGER.id]), *r.honest)


@script("E4")
def a_group_that_the_plan_does_not_have(r: Rogue) -> None:
    plan = r.begin()
    more = {0: r.everybody, 1: r.everybody}
    r.show(plan, r.listing(plan, more), *r.honest)


@script("E4")
def fewer_than_the_plan_asks_for(r: Rogue) -> None:
    plan = r.begin()
    r.end(plan, [r.victim, r.others[0], *r.puppets])


@script("E4", FIVE_TWO, [off("unmask_checks.check_sizes"), *NO_LEDGER])
def fewer_than_the_plan_asks_for_in_two_trips(r: Rogue) -> None:
    """The victim with the puppet and one more, who is another one for everybody."""
    plan = r.begin()
    views = {name: {r.victim, name, *r.puppets} for name in r.honest}
    r.split(plan, views)


@script("E4", FIVE_WITNESSED)
def fewer_than_the_plan_asks_for_past_a_witness(r: Rogue) -> None:
    plan = r.begin()
    r.end(plan, [r.victim, r.others[0], *r.puppets])


@script("E4")
def nobody_but_the_victim(r: Rogue) -> None:
    plan = r.begin()
    r.end(plan, [r.victim])


# Lists of something else


def _foreign(r: Rogue, **changes: object) -> None:
    """A list that is of something else in one thing, with everybody on it."""
    plan = r.begin()
    survivors = r.listing(plan, r.everybody, **changes)
    r.show_witnesses(plan, survivors)
    r.show(plan, survivors)
    r.ask(plan, survivors)


@script("E2")
def a_list_of_another_round(r: Rogue) -> None:
    _foreign(r, round=2)


@script("E2", FIVE_TWO)
def a_list_of_another_round_in_two_trips(r: Rogue) -> None:
    _foreign(r, round=2)


@script("E2")
def a_list_of_another_plan(r: Rogue) -> None:
    _foreign(r, plan_hash="ab" * 32)


@script("E2")
def a_list_of_another_federation(r: Rogue) -> None:
    _foreign(r, federation="elsewhere.local")


@script("E2")
def a_list_that_a_puppet_signed(r: Rogue) -> None:
    _foreign(r, signer=r.bench.federation[r.bench.members[r.puppets[0]].party].signer)


@script("E2")
def a_list_that_another_server_signed(r: Rogue) -> None:
    _foreign(r, signer=r.bench.federation[SPARE].signer)


@script("E2", FIVE_TWO)
def a_list_that_nobody_signed(r: Rogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    lines = survivors.encode().split(b"\n")
    bare = b"\n".join([*lines[:2], b""])
    r.show(plan, survivors, *r.honest, body=canonical_json({"statement": encode_base64(bare)}))


@script("E2")
def a_list_with_a_member_twice(r: Rogue) -> None:
    plan = r.begin()
    _show_raw(r, plan, [r.victim, r.victim, *sorted(r.puppets)])


@script("E2")
def a_list_out_of_order(r: Rogue) -> None:
    plan = r.begin()
    _show_raw(r, plan, sorted(r.everybody, reverse=True))


def _show_raw(r: Rogue, plan: object, ids: Sequence[str]) -> None:
    """A list that the server's own program could not make."""
    good = r.listing(plan, r.everybody)
    members = [{"id": name, "deal": r.deal(plan, name)} for name in ids]
    value = {**good.statement.value, "groups": [{"gid": 0, "members": members}]}
    raw = make_statement(StatementType.SURVIVORS, value, [r.signer])
    r.show(plan, good, *r.honest, body=canonical_json({"statement": encode_base64(raw.encode())}))


@script("E1")
def a_list_from_another_server(r: Rogue) -> None:
    plan = r.begin()
    r.show(plan, r.listing(plan, r.everybody), *r.honest, by=r.bench.correspondent(SPARE))


@script("OutOfTurn")
def a_list_before_any_plan(r: Rogue) -> None:
    plan = r.bench.plan()
    r.show(plan, r.listing(plan, r.everybody), *r.honest)


@script("E3", FIVE_WITNESSED)
def a_witness_is_shown_a_second_list_as_one_of_another_plan(r: Rogue) -> None:
    """It knows no plans, so it goes by the number of the round."""
    first = r.begin()
    r.end(first, r.everybody)
    second = replace(first, nonce="ab" * 32)
    r.show_witnesses(second, r.listing(second, r.but(r.victim)))


@script("E2", FIVE_WITNESSED)
def a_witness_is_shown_a_second_list_as_one_of_the_next_round(r: Rogue) -> None:
    """It signs that, and then no member takes it for one of this round."""
    plan = r.begin()
    r.show_witnesses(plan, r.listing(plan, r.everybody))
    second = r.listing(plan, r.but(r.victim), round=plan.round + 1)
    r.show_witnesses(plan, second, plan.round + 1)
    assert r.endorsements[second.hash]
    r.show(plan, second)
    r.ask(plan, second)


# The end of a group


@script("Q3", Setting(layers=2, profile=TWO))
def a_group_that_has_ended_by_the_list(r: Rogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, {0: r.everybody}, ended=[Ended(1, EndCode.STOPPED)])
    r.show(plan, survivors)
    both = r.listing(plan, r.everybody)
    r.ask(plan, both, change=lambda request, _: replace(request, survivors=survivors.hash))


@script("Q3", Setting(layers=2))
def the_victim_is_left_off_one_group_and_asked_about_it(r: Rogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, {0: r.everybody, 1: r.but(r.victim)})
    r.show(plan, survivors)
    r.ask(plan, survivors, r.victim, gids=[0, 1])
