"""Unmask requests: for what was not agreed, with other envelopes and deals, too early, too late and more than once."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fedspallm_secure.crypto.encoding import canonical_json, parse_canonical_json
from fedspallm_secure.protocol.rounds.deals import Handover, deal_digest, sign_deal
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.unmasking import UnmaskRequest
from fedspallm_secure.secagg.envelopes import envelope_hash
from tests.attacks.rounds.rogue import Rogue, member
from tests.attacks.rounds.script import (
    FIVE,
    FIVE_TWO,
    NO_LEDGER,
    NOTHING,
    any_envelope,
    forgetting_answers,
    forgetting_lists,
    off,
    script,
)
from tests.federation import SPARE, Setting

TWICE = Setting(rounds=2)


# Twice


@script("Q1", FIVE, [forgetting_lists, forgetting_answers, *NO_LEDGER])
def a_second_answer_for_another_list(r: Rogue) -> None:
    """Asked for at once, and once more after it was shown."""
    plan = r.begin()
    r.end(plan, r.everybody)
    second = r.listing(plan, r.but(r.victim))
    r.ask(plan, second, *r.others)
    r.show(plan, second)
    r.ask(plan, second, *r.others)


@script(NOTHING)
def the_same_request_many_times(r: Rogue) -> None:
    """It is answered by the same bytes, so nothing new is learned."""
    plan = r.begin()
    survivors = r.end(plan, r.everybody)
    before = len(r.knowledge.answers)
    for _ in range(3):
        r.show(plan, survivors)
        r.ask(plan, survivors)
    answers = {(holder, answer) for _, holder, answer in r.knowledge.answers}
    assert len(r.knowledge.answers) > before and len(answers) == len(r.everybody)


@script("ReplayedPackage")
def the_same_package_twice(r: Rogue) -> None:
    plan = r.begin()
    r.end(plan, r.everybody)
    for parcel in [one for one in r.bench.wire.log if one.type == "unmask-request"]:
        r.bench.wire.send(parcel)
    r.deliver()


@script("WrongRecipient")
def a_request_for_somebody_else(r: Rogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)
    request = r.request(plan, survivors, r.others[0])
    parcel = r.send("unmask-request", member(r.others[0]), [request.encode()], plan.round, plan.hash)
    r.bench.wire.send(replace(parcel, recipient=member(r.victim)))
    r.deliver(r.victim)


# Both kinds of secrets


@script(NOTHING)
def a_late_contribution_is_used(r: Rogue) -> None:
    """The victim was said to have dropped out, its edges opened, and then its masked vector comes."""
    plan = r.begin(None, *r.but(r.victim))
    r.end(plan, r.but(r.victim))
    r.contribute(r.victim)
    assert r.vector(plan, r.victim)


@script(NOTHING)
def a_member_is_said_to_have_dropped_out_although_it_has_not(r: Rogue) -> None:
    """The server has its masked vector, and opens its edges."""
    plan = r.begin()
    r.end(plan, r.but(r.victim))


@script(NOTHING, FIVE_TWO)
def a_member_is_said_to_have_dropped_out_in_two_trips(r: Rogue) -> None:
    plan = r.begin()
    r.end(plan, r.but(r.victim))


@script("Q3")
def the_one_that_was_left_out_is_asked_all_the_same(r: Rogue) -> None:
    plan = r.begin()
    survivors = r.end(plan, r.but(r.victim))
    r.show(plan, survivors, r.victim)
    r.ask(plan, survivors, r.victim, gids=[0])


@script("Q1", FIVE_TWO)
def a_request_that_also_asks_for_edges(r: Rogue) -> None:
    """There is no such field; what is answered follows from the list alone."""
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)
    r.ask(plan, survivors, change=lambda request, _: _with_group(request, edges=[r.victim]))


@script("Q1", FIVE_TWO)
def a_group_twice_in_a_request(r: Rogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)

    def twice(request: UnmaskRequest, _: str) -> bytes:
        value = parse_canonical_json(request.encode(), "it")
        return canonical_json({**value, "groups": value["groups"] * 2})

    r.ask(plan, survivors, change=twice)


@script("Q3", FIVE_TWO)
def a_request_about_no_group(r: Rogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)
    r.ask(plan, survivors, gids=[])


def _with_group(request: UnmaskRequest, **more: Any) -> bytes:
    value = parse_canonical_json(request.encode(), "it")
    return canonical_json({**value, "groups": [{**group, **more} for group in value["groups"]]})


# Envelopes


def _spoiled(r: Rogue, plan: Plan, holder: str) -> bytes:
    """The victim's envelope for a holder: its key still unwraps, and what is in it does not open."""
    good = bytearray(r.envelope(r.vector(plan, r.victim), holder))
    good[-1] ^= 1
    return bytes(good)


def _asked_with(r: Rogue, plan: Plan, envelopes: Mapping[str, bytes]) -> None:
    """All but the victim are asked, with these envelopes of the victim in place of its own."""
    survivors = r.listing(plan, r.everybody)
    r.show_witnesses(plan, survivors)
    r.show(plan, survivors)
    for holder in r.others:
        r.ask(plan, survivors, holder, envelopes={r.victim: envelopes[holder]})


@script("Q7", FIVE, [any_envelope])
def spoiled_envelopes_to_be_shown_their_keys(r: Rogue) -> None:
    """With the key from a complaint the server would open the good envelope, and have all shares in it."""
    plan = r.begin()
    _asked_with(r, plan, {holder: _spoiled(r, plan, holder) for holder in r.others})


@script("Q7", FIVE_TWO, [any_envelope])
def spoiled_envelopes_in_two_trips(r: Rogue) -> None:
    plan = r.begin()
    _asked_with(r, plan, {holder: _spoiled(r, plan, holder) for holder in r.others})


@script("Q7")
def envelopes_without_the_last_byte(r: Rogue) -> None:
    plan = r.begin()
    _asked_with(r, plan, {holder: r.envelope(r.vector(plan, r.victim), holder)[:-1] for holder in r.others})


@script("Q7")
def no_envelopes(r: Rogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)

    def without(request: UnmaskRequest, _: str) -> UnmaskRequest:
        groups = [replace(one, deals=tuple(replace(d, envelope=b"") for d in one.deals)) for one in request.groups]
        return replace(request, groups=tuple(groups))

    r.ask(plan, survivors, *r.honest, change=without)


@script("Q7")
def the_victims_envelopes_for_somebody_else(r: Rogue) -> None:
    plan = r.begin()
    turned = dict(zip(r.others, r.others[1:] + r.others[:1], strict=True))
    sent = r.vector(plan, r.victim)
    _asked_with(r, plan, {holder: r.envelope(sent, other) for holder, other in turned.items()})


@script("Q7")
def envelopes_of_another_dealer(r: Rogue) -> None:
    plan = r.begin()
    puppet = r.vector(plan, r.puppets[0])
    _asked_with(r, plan, {holder: r.envelope(puppet, holder) for holder in r.others})


@script("Q7", TWICE)
def envelopes_of_the_last_round(r: Rogue) -> None:
    first = r.begin()
    r.end(first, r.everybody)
    r.bench.revise()
    plan, old = r.begin(), r.vector(first, r.victim)
    _asked_with(r, plan, {holder: r.envelope(old, holder) for holder in r.others})


@script(NOTHING)
def a_puppet_deals_copies_of_the_victims_envelopes(r: Rogue) -> None:
    """Its own deal names them, so they are what it signed; they open in nobody else's name, and no key is shown."""
    plan = r.bench.plan()
    r.invite(plan)
    r.contribute(*r.honest)
    r.contribute(*r.puppets)
    puppet, victim = r.vector(plan, r.puppets[0]), r.vector(plan, r.victim)
    envelopes = []
    for holder, own in zip(puppet.links.neighbours(puppet.member), puppet.handover.envelopes, strict=True):
        envelopes.append(own if holder == r.victim else r.envelope(victim, holder))
    deal = replace(puppet.handover.deal, envelopes=tuple(map(envelope_hash, envelopes)))
    forged = _signed(r, puppet.links.context, puppet.member, replace(puppet.handover, deal=deal))
    copied = replace(forged, envelopes=tuple(envelopes))
    deals = {puppet.member: deal_digest(puppet.links.context, puppet.member, deal.encode())}
    survivors = r.listing(plan, r.everybody, deals)
    r.show(plan, survivors, *r.honest)
    for holder in r.honest:
        near = puppet.links.neighbours(puppet.member)
        mine = {puppet.member: envelopes[near.index(holder)]}
        r.ask(plan, survivors, holder, handovers={puppet.member: copied}, envelopes=mine)
    assert not r.knowledge.shown


def _signed(r: Rogue, context: Any, name: str, handover: Handover) -> Handover:
    signature = sign_deal(r.bench.federation[member(name)].signer, context, name, handover.deal.encode())
    return replace(handover, signature=signature)


# Deals


def _forged(r: Rogue, plan: Plan, signer: Any) -> dict[str, Handover]:
    """For every other holder a deal in the victim's name, with the hash of a spoiled envelope in it."""
    sent, found = r.vector(plan, r.victim), {}
    near = sent.links.neighbours(r.victim)
    for holder in r.others:
        hashes = list(sent.handover.deal.envelopes)
        hashes[near.index(holder)] = envelope_hash(_spoiled(r, plan, holder))
        deal = replace(sent.handover.deal, envelopes=tuple(hashes))
        signature = sign_deal(signer, sent.links.context, r.victim, deal.encode())
        found[holder] = replace(sent.handover, deal=deal, signature=signature)
    return found


@script("Q4")
def forged_deals_under_the_listed_digest(r: Rogue) -> None:
    plan = r.begin()
    forged = _forged(r, plan, r.signer)
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)
    for holder in r.others:
        spoiled = {r.victim: _spoiled(r, plan, holder)}
        r.ask(plan, survivors, holder, handovers={r.victim: forged[holder]}, envelopes=spoiled)


@script("Q4", FIVE_TWO, [off("unmask_checks.check_deal")])
def forged_deals_that_are_listed(r: Rogue) -> None:
    """The list names the forgery, so only the signature tells; a list for every holder, since each deal is another."""
    plan = r.begin()
    for holder, forged in _forged(r, plan, r.signer).items():
        sent = r.vector(plan, r.victim)
        deals = {r.victim: deal_digest(sent.links.context, r.victim, forged.deal.encode())}
        survivors = r.listing(plan, r.everybody, deals)
        r.show(plan, survivors, holder)
        spoiled = {r.victim: _spoiled(r, plan, holder)}
        r.ask(plan, survivors, holder, handovers={r.victim: forged}, envelopes=spoiled)


@script("Q4")
def a_deal_with_one_byte_changed(r: Rogue) -> None:
    plan = r.begin()
    sent = r.vector(plan, r.victim).handover
    changed = replace(sent, deal=replace(sent.deal, self_commitment=bytes(32)))
    _with_handover(r, plan, changed)


@script("Q4")
def a_deal_with_another_signature(r: Rogue) -> None:
    plan = r.begin()
    _with_handover(r, plan, replace(r.vector(plan, r.victim).handover, signature=bytes(64)))


@script("Q4")
def the_deal_of_another_member(r: Rogue) -> None:
    plan = r.begin()
    _with_handover(r, plan, r.vector(plan, r.puppets[0]).handover)


@script("Q4", TWICE)
def the_deal_of_the_last_round(r: Rogue) -> None:
    first = r.begin()
    r.end(first, r.everybody)
    r.bench.revise()
    plan = r.begin()
    _with_handover(r, plan, r.vector(first, r.victim).handover)


@script("Q4", Setting(layers=2))
def the_deal_of_another_group(r: Rogue) -> None:
    plan = r.begin()
    _with_handover(r, plan, r.vector(plan, r.victim, 1).handover)


def _with_handover(r: Rogue, plan: Plan, handover: Handover) -> None:
    """All others are asked with another deal of the victim."""
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)
    r.ask(plan, survivors, *r.others, handovers={r.victim: handover})


@script("Q4")
def the_deal_of_a_neighbour_is_left_out(r: Rogue) -> None:
    """As if it had not survived."""
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)

    def without(request: UnmaskRequest, _: str) -> UnmaskRequest:
        (group,) = request.groups
        return replace(request, groups=(replace(group, deals=group.deals[1:]),))

    r.ask(plan, survivors, *r.honest, change=without)


# When, and by whom


@script("Q2")
def before_the_list(r: Rogue) -> None:
    """It is held until the list is there, and then nobody has endorsed that."""
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.ask(plan, survivors)
    r.show(plan, survivors)


@script("Q2", FIVE_TWO)
def before_another_list_in_two_trips(r: Rogue) -> None:
    """It is held until a list is there, and that is not the one that it names."""
    plan = r.begin()
    r.ask(plan, r.listing(plan, r.but(r.victim)), *r.others)
    r.show(plan, r.listing(plan, r.everybody))


@script("OutOfTurn")
def two_requests_before_the_list(r: Rogue) -> None:
    """One is held, and no more."""
    plan = r.begin()
    r.ask(plan, r.listing(plan, r.everybody))
    r.ask(plan, r.listing(plan, r.but(r.victim)))


@script("Q1", TWICE)
def before_the_list_of_another_round(r: Rogue) -> None:
    """What one round held is not there in the next one."""
    first = r.begin()
    r.ask(first, r.listing(first, r.everybody))
    r.bench.revise()
    plan = r.begin()
    assert all(not r.bench.members[name]._early for name in r.honest)
    r.ask(first, r.listing(first, r.everybody))
    r.show(plan, r.listing(plan, r.everybody))


@script("Q2")
def for_a_list_that_was_never_shown(r: Rogue) -> None:
    plan = r.begin()
    r.show(plan, r.listing(plan, r.everybody))
    other = r.listing(plan, r.but(r.others[0]))
    r.sign(other, *r.puppets)
    r.ask(plan, other, r.victim)


@script("OutOfTurn")
def before_any_plan(r: Rogue) -> None:
    plan = r.bench.plan()
    r.ask(plan, r.listing(plan, r.everybody))


@script("OutOfTurn")
def after_the_round_was_aborted(r: Rogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)
    r.abort(plan)
    r.ask(plan, survivors)


@script("OutOfTurn")
def after_the_result(r: Rogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)
    result = Result.make(r.signer, plan.federation, plan.round, plan.hash, survivors.hash, [], [], [])
    for name in r.honest:
        r.send("result", member(name), [result.encode()], plan.round, plan.hash)
        r.deliver(name)
    r.ask(plan, survivors)


@script("OutOfTurn")
def after_the_last_deadline(r: Rogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)
    r.bench.now = plan.deadlines.abort + 1
    r.ask(plan, survivors)


@script("Q1", TWICE)
def for_the_last_round(r: Rogue) -> None:
    """The members that did not answer then are asked once the next round has begun."""
    first = r.begin()
    survivors = r.listing(first, r.everybody)
    r.show(first, survivors)
    r.bench.revise()
    plan = r.begin()
    r.show(plan, r.listing(plan, r.everybody))
    r.ask(first, survivors)


@script("Q1")
def by_another_server(r: Rogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)
    r.ask(plan, survivors, by=r.bench.correspondent(SPARE))


@script("Q1")
def under_the_hash_of_another_plan(r: Rogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)
    request = r.request(plan, survivors, r.victim).encode()
    r.send("unmask-request", member(r.victim), [request], plan.round, "ab" * 32)
    r.deliver(r.victim)
