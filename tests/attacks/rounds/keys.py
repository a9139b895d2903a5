"""Prekeys: of the server's own making, of others, used up, copied, weak, or not those that the plan names."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fedspallm_secure.crypto.key_records import PrekeySecret
from fedspallm_secure.protocol.prekeys import Prekey, Prekeys
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.policy import DAY
from tests.attacks.rounds.rogue import Rogue, member
from tests.attacks.rounds.script import FIVE, NOTHING, off, script
from tests.federation import NOW, Setting

TWICE = Setting(rounds=2)
LOW_ORDER = (bytes(32), b"\x01" + bytes(31))


def bundle_of(r: Rogue, name: str, leaves: Sequence[Prekey], signer: Any = None, **changes: Any) -> Prekeys:
    """A bundle of prekeys in the name of a member.  signer: of the server if None."""
    made = {
        "signer": signer or r.signer,
        "federation": r.bench.trust.roster.federation,
        "party": member(name),
        "first": 0,
        "leaves": leaves,
        "not_before": NOW - DAY,
        "not_after": NOW + 30 * DAY,
    }
    found = Prekeys.make(**{**made, **changes})
    r.know(found)
    return found


def made_by_the_server(r: Rogue, name: str, signer: Any = None, **changes: Any) -> Prekeys:
    """A bundle of which the server has the secrets."""
    secret = PrekeySecret.generate(0)
    r.knowledge.exchange[secret.leaf[:32]] = secret.exchange
    r.knowledge.recipients[secret.recipient.recipient_key.public] = secret.recipient
    return bundle_of(r, name, [Prekey.from_bytes(secret.leaf)], signer, **changes)


def naming(plan: Plan, bundles: Mapping[str, Prekeys]) -> Plan:
    """The plan with these bundles in place of the members' own."""
    uses = tuple(
        replace(use, bundle=bundles[use.id].statement.digest.hex(), index=bundles[use.id].first)
        if use.id in bundles
        else use
        for use in plan.prekeys
    )
    return replace(plan, prekeys=uses)


def own_signer(r: Rogue, name: str) -> Any:
    """The signing key of a puppet."""
    assert name in r.puppets
    return r.bench.federation[member(name)].signer


def surround(r: Rogue, bundles: Mapping[str, Prekeys]) -> None:
    """Show the victim a plan with these bundles, and do what a round does with those that accept it."""
    plan = naming(r.bench.plan(), bundles)
    r.invite(plan)
    r.contribute()
    r.end(plan, r.everybody)


@script("P9", FIVE, [off("plan_key_checks.check_bundle")])
def all_neighbours_have_keys_of_the_server(r: Rogue) -> None:
    """It is the other end of every edge of the victim, and the holder of all its shares."""
    surround(r, {name: made_by_the_server(r, name) for name in r.others})


@script("P9", FIVE, [off("plan_key_checks.check_bundle")])
def all_neighbours_have_keys_of_the_server_that_a_puppet_signed(r: Rogue) -> None:
    signer = own_signer(r, r.puppets[0])
    surround(r, {name: made_by_the_server(r, name, signer) for name in r.others})


@script("P9")
def one_neighbour_has_a_key_of_the_server(r: Rogue) -> None:
    surround(r, {r.others[0]: made_by_the_server(r, r.others[0])})


@script("P9")
def the_victims_own_key_is_another(r: Rogue) -> None:
    surround(r, {r.victim: made_by_the_server(r, r.victim)})


@script("P9")
def a_bundle_in_the_name_of_another_party(r: Rogue) -> None:
    """A puppet's good bundle in the place of a neighbour's."""
    plan = r.bench.plan()
    foreign = r.bench.bundles[r.puppets[0]]
    named = naming(plan, {r.others[0]: foreign})
    r.send_plan(named, r.victim, r.body(named, r.victim).encode())


@script("P9")
def a_bundle_that_the_plan_does_not_name(r: Rogue) -> None:
    """A good one of the same neighbour, published at another time."""
    other = r.others[0]
    signer = r.bench.federation[member(other)].signer
    again = bundle_of(r, other, r.bench.bundles[other].leaves, signer)
    plan = r.bench.plan()
    r.invite(plan, r.victim, bundles={other: again})


@script("P9")
def a_bundle_is_missing(r: Rogue) -> None:
    plan = r.bench.plan()
    whole = r.body(plan, r.victim)
    r.send_plan(plan, r.victim, replace(whole, bundles=whole.bundles[1:]).encode())


@script("P9")
def a_bundle_that_has_run_out(r: Rogue) -> None:
    other = r.puppets[0]
    old = bundle_of(r, other, r.bench.bundles[other].leaves, own_signer(r, other), not_after=NOW - 1)
    surround(r, {other: old})


@script("P9")
def a_bundle_of_another_federation(r: Rogue) -> None:
    other = r.puppets[0]
    leaves = r.bench.bundles[other].leaves
    surround(r, {other: bundle_of(r, other, leaves, own_signer(r, other), federation="elsewhere.local")})


@script("P9", TWICE)
def the_victims_prekey_of_the_last_round(r: Rogue) -> None:
    first = r.begin()
    r.end(first, r.everybody)
    r.bench.revise()
    plan = r.bench.plan()
    used = {use.id: use for use in first.prekeys}
    r.invite(replace(plan, prekeys=tuple(used[use.id] if use.id == r.victim else use for use in plan.prekeys)))


def with_prekey(r: Rogue, plan: Plan, index: int) -> Plan:
    """The plan with another prekey of the victim's own."""
    return replace(
        plan, prekeys=tuple(replace(use, index=index) if use.id == r.victim else use for use in plan.prekeys)
    )


@script("P9", TWICE)
def a_prekey_of_the_victim_that_was_left_out(r: Rogue) -> None:
    """The first plan takes its second prekey, and the first one is burned with it."""
    first = r.begin(with_prekey(r, r.bench.plan(), 1))
    r.end(first, r.everybody)
    r.bench.revise()
    r.invite(with_prekey(r, r.bench.plan(), 0))


@script("P9")
def an_index_that_the_bundle_does_not_have(r: Rogue) -> None:
    plan = r.bench.plan()
    beyond = tuple(replace(use, index=5) if use.id == r.puppets[0] else use for use in plan.prekeys)
    wrong = replace(plan, prekeys=beyond)
    for name in r.honest:
        r.send_plan(wrong, name, r.body(wrong, name).encode())


@script(NOTHING, TWICE)
def a_used_up_prekey_of_a_neighbour(r: Rogue) -> None:
    """The neighbour refuses; what the victim derives from it is for this plan, and occurs nowhere else."""
    first = r.begin()
    r.end(first, r.everybody)
    r.bench.revise()
    plan, used = r.bench.plan(), {use.id: use for use in first.prekeys}
    others = set(r.others)
    old = replace(plan, prekeys=tuple(used[use.id] if use.id in others else use for use in plan.prekeys))
    r.invite(old, r.victim, *r.puppets)
    r.contribute(r.victim, *r.puppets)
    assert r.vector(old, r.victim)


@script("P9", FIVE)
def the_victims_key_comes_back_as_a_puppets(r: Rogue) -> None:
    other = r.puppets[0]
    echo = [replace(r.bench.bundles[r.victim].leaves[0], recipient=r.bench.bundles[other].leaves[0].recipient)]
    surround(r, {other: bundle_of(r, other, echo, own_signer(r, other))})


@script("P9", Setting(members=7))
def one_key_for_two_puppets(r: Rogue) -> None:
    first, second = r.puppets
    leaf = r.bench.bundles[first].leaves[0]
    surround(r, {second: bundle_of(r, second, [leaf], own_signer(r, second))})


@script("P9")
def the_victims_key_in_another_spelling(r: Rogue) -> None:
    """With the high bit set X25519 takes it for the same key, and it is not the same bytes."""
    other = r.puppets[0]
    spelled = bytearray(r.bench.bundles[r.victim].leaves[0].exchange)
    spelled[31] ^= 0x80
    echo = [replace(r.bench.bundles[other].leaves[0], exchange=bytes(spelled))]
    surround(r, {other: bundle_of(r, other, echo, own_signer(r, other))})


def _weak(r: Rogue, point: bytes) -> None:
    other = r.puppets[0]
    weak = [replace(r.bench.bundles[other].leaves[0], exchange=point)]
    surround(r, {other: bundle_of(r, other, weak, own_signer(r, other))})


@script("P9")
def a_key_that_is_zero(r: Rogue) -> None:
    _weak(r, LOW_ORDER[0])


@script("P9")
def a_key_of_order_one(r: Rogue) -> None:
    _weak(r, LOW_ORDER[1])


@script("P9")
def a_hybrid_key_to_which_nothing_can_be_sealed(r: Rogue) -> None:
    """Its half of X25519 is zero; whoever found out only when sealing a share would have burned its prekey."""
    other = r.puppets[0]
    leaf = r.bench.bundles[other].leaves[0]
    bad = replace(leaf.recipient, public=leaf.recipient.public[:-32] + LOW_ORDER[0])
    surround(r, {other: bundle_of(r, other, [replace(leaf, recipient=bad)], own_signer(r, other))})
    assert r.bench.members[r.victim].prekeys.next_index() == 0


@script("P9")
def keys_of_a_member_that_was_withdrawn(r: Rogue) -> None:
    """The victim has the newer revocation list; the server goes on with the puppet that stands on it."""
    withdrawn = r.bench.federation.withdraw([member(r.puppets[0])], NOW)
    actor = r.bench.members[r.victim]
    actor.own = replace(actor.own, trust=withdrawn.trust)
    r.invite(r.bench.plan(), r.victim)
    assert actor.machine.accepted is None
