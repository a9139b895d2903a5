"""Deals and openings that are not those of the survivors, answers to nothing, and requests out of turn."""

from dataclasses import replace
from unittest import mock

from fedspallm_secure.app.rounds.town import KEY_HOLDER
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.protocol.rounds.deals import Deal, deal_digest, sign_deal
from fedspallm_secure.protocol.rounds.decrypting import Challenge, DecryptRequest
from fedspallm_secure.protocol.rounds.sealed_seeds import seal_seed
from tests.attacks.ciphers.rogue import FORM, CipherRogue, Opened
from tests.attacks.ciphers.script import FIVE, NOTHING, TWO_GROUPS, no_keystreams, off, script
from tests.federation import SPARE

_DEALING = "fedspallm_secure.protocol.rounds.dealing"
FOUR_CHUNKS = replace(FIVE, weights=4 * 4096, sample=500)  # so that all paths are equally long


@script("K6")
def deals_that_are_not_listed(r: CipherRogue) -> None:
    """A puppet signs a second deal, for another vector than the listed one."""
    plan = r.begin()
    survivors, (name, *_) = r.listing(plan, r.everybody), r.puppets
    context, signer = plan.context(0, r.hash(plan)), r.bench.members[name].own.signer
    deals = []
    for one in r.deals(plan, r.everybody):
        made = replace(Deal.parse(one.deal, *FORM), vector_root=bytes(32)).encode()
        second = replace(one, deal=made, signature=sign_deal(signer, context, name, made))
        deals.append(second if one.id == name else one)
    r.decrypt(plan, survivors, deals=deals)


@script("K6", FIVE, [off("protocol.rounds.cipher_checks.check_deal"), no_keystreams])
def deals_that_nobody_signed(r: CipherRogue) -> None:
    """The list has the digest of a deal that the server made, with the root of the victim's vector for everybody."""
    plan = r.begin()
    context, root = plan.context(0, r.hash(plan)), r.vector(plan, r.victim).handover.deal.vector_root
    deals, digests = [], {}
    for one in r.deals(plan, r.everybody):
        made = replace(Deal.parse(one.deal, *FORM), vector_root=root).encode()
        deals.append(replace(one, deal=made))
        digests[one.id] = deal_digest(context, one.id, made)
    survivors = r.listing(plan, r.everybody, digests)
    r.show_sum(plan, survivors, b"".join(r.combined(plan, {r.victim: len(r.everybody)})), deals=deals)
    r.open_sum(plan, survivors, change=lambda found: {at: found[at[0], r.victim] for at in found})


@script("K6")
def deals_of_an_earlier_plan(r: CipherRogue) -> None:
    plan = r.begin()
    other = replace(plan, nonce="ee" * 32)
    r.hash(other)
    context, deals, digests = plan.context(0, r.hash(other)), r.deals(plan, r.everybody), {}
    for one in deals:
        digests[one.id] = deal_digest(context, one.id, one.deal)
    r.decrypt(plan, r.listing(plan, r.everybody, digests))


@script("K6")
def fewer_deals_than_survivors(r: CipherRogue) -> None:
    plan = r.begin()
    r.decrypt(plan, r.listing(plan, r.everybody), deals=r.deals(plan, r.everybody)[1:])


@script("K6")
def deals_in_another_order(r: CipherRogue) -> None:
    plan = r.begin()
    r.decrypt(plan, r.listing(plan, r.everybody), deals=r.deals(plan, r.everybody)[::-1])


@script("K6")
def a_survivor_that_sent_nothing(r: CipherRogue) -> None:
    plan = r.begin(None, *r.honest)
    first = r.deals(plan, [r.others[0]])[0]
    deals = [*r.deals(plan, r.honest), *(replace(first, id=name) for name in r.puppets)]
    survivors = r.listing(plan, r.everybody)
    r.show_sum(plan, survivors, r.total(plan, r.honest), deals=sorted(deals, key=lambda one: one.id))


@script("K6")
def a_seed_that_does_not_open(r: CipherRogue) -> None:
    """A puppet seals its seed to another key: its group gives no sum, and it is named."""
    plan = r.begin(None, *r.honest)
    other = replace(r.keys[plan.key_holder.key], recipient=RecipientSecret.generate(Kem.HYBRID).recipient_key)
    with mock.patch(f"{_DEALING}.seal_seed", lambda *given: seal_seed(*given[:3], other)):
        r.contribute(*r.puppets)
    r.decrypt(plan, r.listing(plan, r.everybody))


@script("K6")
def a_seed_that_was_not_committed_to(r: CipherRogue) -> None:
    """The keystream of another seed would be taken off, and the sum would be spoilt by somebody who is not found."""
    plan = r.begin(None, *r.honest)
    with mock.patch(f"{_DEALING}.self_commitment", lambda *_: bytes(32)):
        r.contribute(*r.puppets)
    r.decrypt(plan, r.listing(plan, r.everybody))


@script("K6")
def an_envelope_passed_on_changed(r: CipherRogue) -> None:
    """By the server, with the victim's in the place of a puppet's."""
    plan = r.begin()
    theirs = r.deals(plan, [r.victim])[0].envelope
    deals = [replace(one, envelope=theirs) if one.id in r.puppets else one for one in r.deals(plan, r.everybody)]
    r.decrypt(plan, r.listing(plan, r.everybody), deals=deals)


# Openings


def shown_instead(change: int, r: CipherRogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show_sum(plan, survivors)

    def turned(found: Opened) -> Opened:
        keys = list(found)
        return {key: found[keys[(number + change) % len(keys)]] for number, key in enumerate(keys)}

    r.open_sum(plan, survivors, change=turned)


@script("K8")
def chunks_of_other_members(r: CipherRogue) -> None:
    shown_instead(1, r)


@script("K8")
def chunks_of_the_same_member_at_another_place(r: CipherRogue) -> None:
    shown_instead(len(r.everybody), r)


@script("K8")
def paths_with_another_hash(r: CipherRogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show_sum(plan, survivors)
    r.open_sum(
        plan,
        survivors,
        change=lambda found: {
            at: replace(one, path=(bytes(32), *one.path[1:])) if at[1] == r.victim else one for at, one in found.items()
        },
    )


@script("K8", FOUR_CHUNKS)
def chunks_that_were_not_asked_for(r: CipherRogue) -> None:
    """A challenge that the server chose itself, which leaves out the chunk that it replaced."""
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show_sum(plan, survivors)
    (asked,) = r.challenges[r.hash(plan), 0]
    chunks = tuple((chunk + 1) % 4 for chunk in asked.chunks)
    r.challenges[r.hash(plan), 0].append(Challenge(asked.root, tuple(sorted(chunks))))
    r.open_sum(plan, survivors)


@script("FormatError")
def an_opening_that_is_too_long(r: CipherRogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show_sum(plan, survivors)
    r.open_sum(plan, survivors, size=1)


@script("FormatError")
def an_opening_that_is_too_short(r: CipherRogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show_sum(plan, survivors)
    r.open_sum(plan, survivors, size=-1)


@script("FormatError")
def a_sum_with_a_chunk_more(r: CipherRogue) -> None:
    plan = r.begin()
    whole = r.total(plan, r.everybody)
    r.show_sum(plan, r.listing(plan, r.everybody), whole + whole[: r.group(plan).upload_tile])


@script("FormatError")
def a_sum_with_a_chunk_less(r: CipherRogue) -> None:
    plan = r.begin()
    r.show_sum(plan, r.listing(plan, r.everybody), r.total(plan, r.everybody)[: -r.group(plan).upload_tile])


@script("K8")
def an_opening_before_any_sum_was_shown(r: CipherRogue) -> None:
    plan = r.begin()
    r.open_sum(plan, r.listing(plan, r.everybody))


@script("K8", TWO_GROUPS)
def an_opening_of_another_group(r: CipherRogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show_sum(plan, survivors)
    r.open_sum(plan, survivors, gid=1)


@script(NOTHING)
def the_same_request_and_opening_many_times(r: CipherRogue) -> None:
    """Answered by the same challenge and the same sum."""
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    for _ in range(3):
        r.decrypt(plan, survivors)
    assert len(set(r.challenges[r.hash(plan), 0])) == 1 and len(r.decrypted[r.hash(plan), 0]) == 3


# Out of turn


@script("OutOfTurn")
def a_request_before_the_plan(r: CipherRogue) -> None:
    plan = r.plan()
    r.invite(plan)
    r.contribute()
    r.decrypt(plan, r.listing(plan, r.everybody))


@script("K4")
def a_request_after_the_round_is_over(r: CipherRogue) -> None:
    """Its key is gone, too."""
    plan = r.begin()
    r.finish(plan)
    assert not r.holder.keys
    r.decrypt(plan, r.listing(plan, r.everybody))


@script("K4")
def a_request_after_the_deadline(r: CipherRogue) -> None:
    plan = r.begin()
    r.bench.now = plan.deadlines.abort + 1
    r.decrypt(plan, r.listing(plan, r.everybody))


@script("K4")
def a_request_by_another_server(r: CipherRogue) -> None:
    plan = r.begin()
    r.show_sum(plan, r.listing(plan, r.everybody), by=r.bench.correspondent(SPARE))


@script("K4")
def a_request_about_no_group_of_the_plan(r: CipherRogue) -> None:
    plan = r.begin()
    body = DecryptRequest(r.listing(plan, r.everybody), ()).encode()
    r.send("decrypt-request", KEY_HOLDER, [body], plan.round, r.hash(plan), "7")
    r.deliver_holder()
