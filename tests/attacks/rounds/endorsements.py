"""Endorsements: none, too few, made up, of something else, or by those whose word does not count.

In half of the attacks every member is shown and asked for a list of its own, as a split view has it; in the others the
list is good, and only what is said to endorse it is not.
"""

from collections.abc import Callable, Mapping

from fedspallm_secure.crypto.encoding import canonical_json, encode_base64, parse_canonical_json
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.signing import sign
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.survivors import SurvivorList, endorse
from fedspallm_secure.protocol.rounds.unmasking import UnmaskRequest
from tests.attacks.rounds.lists import ENDORSED, for_one_list
from tests.attacks.rounds.rogue import Rogue, member
from tests.attacks.rounds.script import FIVE_WITNESSED, SEVEN, SEVEN_WITNESSED, WITNESSED, script
from tests.federation import SPARE, STRANGER, WITNESSES, Setting

Forge = Callable[[SurvivorList], Mapping[str, bytes]]


def _split(r: Rogue, forge: Forge) -> None:
    """Every member a list of its own, with endorsements that were made up for it."""
    plan = r.begin()
    lists = {name: r.listing(plan, ids) for name, ids in for_one_list(r).items()}
    for name, survivors in lists.items():
        r.show(plan, survivors, name)
    for name, survivors in lists.items():
        r.ask(plan, survivors, name, endorsements=forge(survivors))


def _one_list(r: Rogue, forge: Callable[[Plan, SurvivorList], Mapping[str, bytes]]) -> None:
    """One list of all, shown to all, with endorsements that are not theirs."""
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)
    r.ask(plan, survivors, endorsements=forge(plan, survivors))


@script("Q2", SEVEN, [ENDORSED])
def no_endorsements(r: Rogue) -> None:
    _split(r, lambda _: {})


@script("Q2", SEVEN_WITNESSED, [ENDORSED])
def no_endorsement_by_the_witness(r: Rogue) -> None:
    _split(r, lambda _: {})


@script("Q2", SEVEN, [ENDORSED])
def random_bytes_for_endorsements(r: Rogue) -> None:
    _split(r, lambda survivors: {f"member/{id}": r.draws.randbytes(64) for id in survivors.groups[0].ids})


@script("Q2", SEVEN, [ENDORSED])
def all_endorsements_by_the_server_in_other_names(r: Rogue) -> None:
    _split(r, lambda survivors: dict.fromkeys(_names(survivors), endorse(r.signer, survivors)))


@script("Q2", SEVEN, [ENDORSED])
def all_endorsements_by_one_puppet_in_other_names(r: Rogue) -> None:
    signer = r.bench.federation[member(r.puppets[0])].signer
    _split(r, lambda survivors: dict.fromkeys(_names(survivors), endorse(signer, survivors)))


@script("Q2", SEVEN, [ENDORSED])
def the_own_endorsement_and_those_of_puppets(r: Rogue) -> None:
    _split(r, lambda survivors: r.endorsements[survivors.hash])


def _names(survivors: SurvivorList) -> list[str]:
    return [f"member/{id}" for id in survivors.groups[0].ids]


@script("Q2")
def one_too_few(r: Rogue) -> None:
    def forge(plan: Plan, survivors: SurvivorList) -> Mapping[str, bytes]:
        found = sorted(r.endorsements[survivors.hash].items())
        return dict(found[: plan.groups[0].shares - 1])

    _one_list(r, forge)


@script("Q2")
def one_too_few_and_a_stranger(r: Rogue) -> None:
    """Somebody else of the roster signs in place of the one that is missing."""

    def forge(plan: Plan, survivors: SurvivorList) -> Mapping[str, bytes]:
        r.sign(survivors, STRANGER.id)
        found = r.endorsements[survivors.hash]
        own = [(id, signature) for id, signature in sorted(found.items()) if id != str(STRANGER)]
        return dict(own[: plan.groups[0].shares - 1]) | {str(STRANGER): found[str(STRANGER)]}

    _one_list(r, forge)


@script("Q2")
def one_too_few_and_a_witness(r: Rogue) -> None:
    """Three trips need members; a witness that nobody named is none."""

    def forge(plan: Plan, survivors: SurvivorList) -> Mapping[str, bytes]:
        witness = f"witness/{WITNESSES[0]}"
        found = dict(sorted(r.endorsements[survivors.hash].items())[: plan.groups[0].shares - 1])
        r.sign(survivors, witness)
        return found | {witness: r.endorsements[survivors.hash][witness]}

    _one_list(r, forge)


@script("Q1")
def one_endorsement_many_times(r: Rogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)

    def repeat(request: UnmaskRequest, _: str) -> bytes:
        first = r.puppets[0]
        value = {"id": f"member/{first}", "signature": encode_base64(r.endorsements[survivors.hash][f"member/{first}"])}
        return _with(request, endorsements=[value] * len(r.everybody))

    r.ask(plan, survivors, *r.honest, change=repeat)


@script("Q2")
def endorsements_by_those_who_are_not_on_the_list(r: Rogue) -> None:
    """A puppet that is off the list signs it, and counts for nothing."""
    plan = r.begin()
    survivors = r.listing(plan, r.honest)
    r.show(plan, survivors)
    all_but_one = r.endorsements[survivors.hash]
    del all_but_one[f"member/{r.others[0]}"]
    r.ask(plan, survivors, *r.honest)


@script("Q2")
def signatures_of_deals_for_endorsements(r: Rogue) -> None:
    """Members signed something; it was not this."""

    def forge(plan: Plan, survivors: SurvivorList) -> Mapping[str, bytes]:
        return {f"member/{id}": r.vector(plan, id).handover.signature for id in r.everybody}

    _one_list(r, forge)


@script("Q2")
def signatures_under_another_label(r: Rogue) -> None:
    def forge(plan: Plan, survivors: SurvivorList) -> Mapping[str, bytes]:
        found = dict(r.endorsements[survivors.hash])
        for name in r.puppets:
            signer = r.bench.federation[member(name)].signer
            found[f"member/{name}"] = sign(signer, Label.SIGN_BEACON, survivors.statement.payload)
        return found

    _one_list(r, forge)


@script("Q2", Setting(rounds=2))
def endorsements_of_the_last_round(r: Rogue) -> None:
    first = r.begin()
    before = r.end(first, r.everybody)
    r.bench.revise()
    _one_list(r, lambda plan, survivors: r.endorsements[before.hash])


@script("Q2", FIVE_WITNESSED)
def members_endorse_in_place_of_the_witness(r: Rogue) -> None:
    def forge(plan: Plan, survivors: SurvivorList) -> Mapping[str, bytes]:
        r.sign(survivors, *r.puppets, STRANGER.id)
        return r.endorsements[survivors.hash]

    _one_list(r, forge)


@script("Q2", FIVE_WITNESSED)
def the_server_signs_in_the_name_of_the_witness(r: Rogue) -> None:
    _one_list(r, lambda plan, survivors: {f"witness/{WITNESSES[0]}": endorse(r.signer, survivors)})


@script("Q2", FIVE_WITNESSED)
def a_witness_that_no_policy_names(r: Rogue) -> None:
    def forge(plan: Plan, survivors: SurvivorList) -> Mapping[str, bytes]:
        r.sign(survivors, f"witness/{WITNESSES[1]}")
        return r.endorsements[survivors.hash]

    _one_list(r, forge)


@script("Q2", Setting(profile=WITNESSED, witnesses=3, dishonest=1))
def fewer_witnesses_than_a_quorum(r: Rogue) -> None:
    """Two of three, of whom one may be dishonest."""

    def forge(plan: Plan, survivors: SurvivorList) -> Mapping[str, bytes]:
        r.sign(survivors, *(f"witness/{one}" for one in WITNESSES[:2]))
        return r.endorsements[survivors.hash]

    _one_list(r, forge)


@script("Q2")
def somebody_who_is_not_in_the_roster(r: Rogue) -> None:
    def forge(plan: Plan, survivors: SurvivorList) -> Mapping[str, bytes]:
        return {**r.endorsements[survivors.hash], "member/nobody": bytes(64)}

    _one_list(r, forge)


@script("Q1")
def a_server_endorses(r: Rogue) -> None:
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)
    value = {"id": str(SPARE), "signature": encode_base64(endorse(r.bench.federation[SPARE].signer, survivors))}
    r.ask(plan, survivors, change=lambda request, _: _with(request, endorsements=[value]))


def _with(request: UnmaskRequest, **parts: object) -> bytes:
    """The body of a request with parts that no request can have."""
    return canonical_json({**parse_canonical_json(request.encode(), "it"), **parts})
