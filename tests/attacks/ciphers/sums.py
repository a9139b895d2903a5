"""Sums that are none: of one member, of a few, of another group, and of vectors made from those of others."""

import numpy as np

from fedspallm_secure.app.rounds.ciphers import chunk_in, place_of
from fedspallm_secure.protocol.rounds.plans import Plan
from tests.attacks.ciphers.rogue import CipherRogue
from tests.attacks.ciphers.script import FIVE, SIX, TWO_GROUPS, no_keystreams, no_look_at_chunks, off, script
from tests.federation import SPARE

_SIZES = off("protocol.rounds.unmask_checks.check_sizes")
_SAME = off("protocol.rounds.unmask_checks.check_same_list")
_LEDGER = off("protocol.rounds.key_holder.KeyHolder._check_disclosure")


@script("K8", FIVE, [no_look_at_chunks, no_keystreams])
def one_vector_shown_as_the_sum(r: CipherRogue) -> None:
    plan = r.begin()
    r.decrypt(plan, r.listing(plan, r.everybody), r.total(plan, [r.victim]))


@script("K8", FIVE, [no_look_at_chunks, no_keystreams])
def the_sum_of_a_subset(r: CipherRogue) -> None:
    plan = r.begin()
    r.decrypt(plan, r.listing(plan, r.everybody), r.total(plan, [r.victim, *r.puppets]))


@script("K8", FIVE)
def one_vector_taken_off_the_sum(r: CipherRogue) -> None:
    plan = r.begin()
    factors = dict.fromkeys(r.everybody, 1) | {r.puppets[0]: -1}
    places = b"".join(r.combined(plan, factors))
    r.decrypt(plan, r.listing(plan, r.everybody), places)


@script("K8", FIVE, [no_look_at_chunks, no_keystreams])
def one_chunk_of_one_member_in_the_sum(r: CipherRogue) -> None:
    """With the whole sum looked at; how often less is enough, `tests.attacks.decryption` measures."""
    plan = r.begin()
    r.decrypt(plan, r.listing(plan, r.everybody), replaced_chunk(r, plan))


def replaced_chunk(r: CipherRogue, plan: Plan) -> bytes:
    """The sum, but for one chunk that is the victim's."""
    size, whole = r.group(plan).upload_tile, bytearray(r.total(plan, r.everybody))
    at = r.draws.randrange(len(whole) // size)
    whole[size * at : size * (at + 1)] = r.places(plan, r.victim)[at]
    return bytes(whole)


@script("K8", TWO_GROUPS)
def the_sum_of_another_group(r: CipherRogue) -> None:
    plan = r.begin()
    r.decrypt(plan, r.listing(plan, r.everybody), r.total(plan, r.everybody, 1))


@script("K8", FIVE, [no_look_at_chunks, no_keystreams])
def a_vector_in_another_order_of_chunks(r: CipherRogue) -> None:
    plan = r.begin()
    size, whole = r.group(plan).upload_tile, r.total(plan, r.everybody)
    r.decrypt(plan, r.listing(plan, r.everybody), whole[size:] + whole[:size])


@script("K8", FIVE)
def a_sum_made_up_without_any_vector(r: CipherRogue) -> None:
    """As a request for what numbers the server has encrypted itself."""
    plan = r.begin()
    group = r.group(plan)
    nothing = [chunk_in(group, place) for place in r.combined(plan, {r.victim: 1, r.others[0]: -1})]
    r.decrypt(plan, r.listing(plan, r.everybody), b"".join(place_of(group, chunk) for chunk in nothing))


@script("K5", FIVE, [_SIZES, _LEDGER])
def fewer_survivors_than_a_sum_needs(r: CipherRogue) -> None:
    plan = r.begin()
    r.decrypt(plan, r.listing(plan, [r.victim, *r.puppets]))


@script("K5", FIVE)
def a_survivor_twice_in_place_of_two(r: CipherRogue) -> None:
    """No list has anybody twice, so it has somebody who is in no cohort."""
    plan = r.begin()
    r.decrypt(plan, r.listing(plan, [*r.but(r.others[0]), "zoe"]), r.total(plan, r.but(r.others[0])))


@script("K5", FIVE, [_SAME, _LEDGER])
def two_lists_in_one_round(r: CipherRogue) -> None:
    """A second sum that differs by one member."""
    plan = r.begin()
    r.decrypt(plan, r.listing(plan, r.everybody))
    for known in (r.holder.machine.shown, r.holder.machine.decrypted, r.holder._sums):
        known.clear()  # as if it had forgotten the first sum, and not its list
    r.decrypt(plan, r.listing(plan, r.but(r.victim)))


@script("K5", TWO_GROUPS)
def another_list_for_another_group(r: CipherRogue) -> None:
    """Each group has one sum, but by two lists."""
    plan = r.begin()
    r.decrypt(plan, r.listing(plan, r.everybody))
    r.decrypt(plan, r.listing(plan, r.but(r.victim)), gid=1)


@script("K5", FIVE)
def a_second_sum_by_the_same_list(r: CipherRogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.decrypt(plan, survivors)
    r.show_sum(plan, survivors, r.total(plan, [r.victim]))


@script("K5", FIVE)
def another_sum_once_the_chunks_to_be_opened_are_known(r: CipherRogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show_sum(plan, survivors)
    r.show_sum(plan, survivors, replaced_chunk(r, plan))
    assert len(r.challenges[r.hash(plan), 0]) == 1


@script("K4", FIVE)
def a_list_that_another_server_signed(r: CipherRogue) -> None:
    plan = r.begin()
    r.decrypt(plan, r.listing(plan, r.everybody, signer=r.bench.federation[SPARE].signer))


@script("K4", FIVE)
def a_list_of_another_plan(r: CipherRogue) -> None:
    plan = r.begin()
    r.decrypt(plan, r.listing(plan, r.everybody, plan_hash="ab" * 32))


@script("SumOutOfRange", FIVE, [no_keystreams])
def a_puppet_takes_the_others_off_the_sum(r: CipherRogue) -> None:
    """It contributes last: the ciphertexts of all but the victim, negated.  The ciphertexts add up to the victim's, and
    what comes off them is the keystreams of all."""
    plan = r.begin(None, *r.honest)
    r.contribute_places(r.puppets[0], r.combined(plan, dict.fromkeys(r.others, -1)))
    r.decrypt(plan, r.listing(plan, r.everybody))


@script("SumOutOfRange", SIX, [no_keystreams])
def puppets_repeat_the_vector_of_another(r: CipherRogue) -> None:
    """Each number is one that a member may send; with more copies than there are others, counts give each bit away."""
    plan = r.begin(None, *r.honest)
    for name in r.puppets:
        r.contribute_places(name, r.combined(plan, {r.victim: 1}))
    r.decrypt(plan, r.listing(plan, r.but(r.others[0])))


def bits_from_copies(r: CipherRogue) -> float:
    """Share of the victim's keep bits that follow from such counts: a count is one of the copies', or of the others."""
    (plan,) = r.plans.values()
    group = r.group(plan)
    (found,) = r.decrypted[r.hash(plan), 0]
    counts = group.counts.unpack(found.count, group.weights)
    truth = group.counts.unpack(r.bench.vector(r.victim, group).count, group.weights)
    return float(np.mean((counts > len(r.puppets)) == (truth == 1)))
