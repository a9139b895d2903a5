"""Plans that would have members encrypt to somebody else, or a key holder decrypt what it should not."""

from collections.abc import Callable
from dataclasses import replace

from fedspallm_secure.app.rounds.ciphers import parameters_of
from fedspallm_secure.app.rounds.planning import cipher_for
from fedspallm_secure.app.rounds.town import KEY_HOLDER
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.plans import KeyUse, Plan
from fedspallm_secure.pruning.strategies import Strategy
from tests.attacks.ciphers.rogue import CipherRogue
from tests.attacks.ciphers.script import FIVE, TWICE, off, script
from tests.federation import NOW, OTHER_HOLDER

_DAY = 86_400
_LEDGER = off("protocol.rounds.key_holder.KeyHolder._check_disclosure")
AGAIN = replace(TWICE, policy={"epochs": 2})


def named(r: CipherRogue, key: CipherKey, change: Callable[[KeyUse], KeyUse] = lambda use: use) -> Plan:
    """A plan with this key, and what else is changed of its use."""
    r.keys[key.hash] = key
    plan = r.bench.plan(key=key)
    assert plan.key_holder is not None
    return replace(plan, key_holder=change(plan.key_holder))


def forged(r: CipherRogue, party: Party, signed_by: Party, until: int = NOW + _DAY) -> CipherKey:
    """A key that somebody states; nobody gets as far as to encrypt with it."""
    parameters, federation = r.bench.terms.cipher, r.bench.trust.roster.federation
    assert parameters is not None
    signer = r.bench.federation[signed_by].signer
    recipient = RecipientSecret.generate(Kem.HYBRID).recipient_key
    return CipherKey.make(signer, federation, party, 1, parameters, b"no key", recipient, NOW - 9 * _DAY, until)


@script("P15")
def a_key_that_the_server_made(r: CipherRogue) -> None:
    """In the name of the key holder, by the server's signature: it would read every vector."""
    r.invite(named(r, forged(r, KEY_HOLDER, r.party)))


@script("P15")
def another_key_holder(r: CipherRogue) -> None:
    """One that is in the roster, and in nobody's policy."""
    r.invite(named(r, forged(r, OTHER_HOLDER, OTHER_HOLDER)))


@script("P15")
def a_plan_that_comes_with_another_key(r: CipherRogue) -> None:
    """The plan names the key holder's; the server's travels with it."""
    plan = r.plan()
    r.invite(plan, cipher_key=forged(r, KEY_HOLDER, r.party))


@script("P15")
def a_plan_without_its_key(r: CipherRogue) -> None:
    r.invite(r.plan(), cipher_key=None)


@script("P15")
def too_little_is_sampled(r: CipherRogue) -> None:
    r.invite(named(r, r.key(), lambda use: replace(use, sample=1)))


@script("K2", replace(FIVE, sample=500))
def more_is_sampled_than_is_allowed(r: CipherRogue) -> None:
    """So that the key holder, if it works with the server, could read more of each vector."""
    r.invite_holder(named(r, r.key(), lambda use: replace(use, sample=1000)))


@script("P15")
def a_key_that_has_expired(r: CipherRogue) -> None:
    r.invite(named(r, forged(r, KEY_HOLDER, KEY_HOLDER, until=NOW - _DAY)))


@script("P15")
def groups_with_other_parameters_than_the_key(r: CipherRogue) -> None:
    """Larger ones, by which sums of the same vectors have no room."""
    key, other = r.key(), cipher_for(9, Strategy.FEDSPALLM, 32)
    plan = named(r, key)
    assert other != parameters_of(plan.groups[0])
    r.invite(replace(plan, groups=tuple(replace(group, cipher=other) for group in plan.groups)))


@script("K2")
def a_plan_with_another_key_holder_for_this_one(r: CipherRogue) -> None:
    plan = r.plan()
    assert plan.key_holder is not None
    r.invite_holder(replace(plan, key_holder=replace(plan.key_holder, id=OTHER_HOLDER.id)))


@script("NotAwaited")
def a_key_that_the_key_holder_never_made(r: CipherRogue) -> None:
    r.invite_holder(named(r, forged(r, Party(Role.KEY_HOLDER.value, KEY_HOLDER.id), r.party)))


@script("P7")
def a_plan_for_two_survivors(r: CipherRogue) -> None:
    """K2 asks for the same thresholds as members do."""
    plan = r.plan()
    r.invite_holder(replace(plan, groups=tuple(replace(group, survivors=2) for group in plan.groups)))


@script("P7")
def a_plan_against_fewer_colluders(r: CipherRogue) -> None:
    plan = r.plan()
    groups = tuple(replace(group, survivors=3) for group in plan.groups)
    r.invite_holder(replace(plan, colluders=0, groups=groups))


@script("P4")
def a_second_plan_in_one_round(r: CipherRogue) -> None:
    """With the same key, and a list of its own."""
    plan = r.begin()
    r.invite_holder(replace(plan, nonce="cd" * 32))


@script("P4", TWICE)
def a_past_plan_once_more(r: CipherRogue) -> None:
    first = r.begin()
    r.decrypt(first, r.listing(first, r.everybody))
    r.finish(first)
    r.bench.exchange()
    r.begin(r.plan())
    r.invite_holder(replace(first, key_holder=r.bench.plan(key=r.key()).key_holder))


@script("K4", TWICE)
def a_request_of_a_past_round(r: CipherRogue) -> None:
    """While the next round goes on, with the key of that."""
    first = r.begin()
    r.finish(first)
    r.bench.exchange()
    r.begin(r.plan())
    r.decrypt(first, r.listing(first, r.everybody))


@script("K2", TWICE)
def one_key_for_two_rounds(r: CipherRogue) -> None:
    """The first round is never ended, so its key is still there."""
    key = r.key()
    first = r.begin(r.plan(key))
    r.decrypt(first, r.listing(first, r.everybody))
    r.bench.exchange()
    second = r.begin(r.plan(key))
    r.decrypt(second, r.listing(second, r.everybody))


def two_rounds(r: CipherRogue, first_list: list[str], second_list: list[str], revised: bool = False) -> None:
    """Over the same vectors.  Members who do not look take part in both; the key holder has a ledger of its own."""
    first = r.begin()
    r.decrypt(first, r.listing(first, first_list))
    r.finish(first)
    if revised:
        r.bench.revise()
    with off("protocol.rounds.plan_checks.check_disclosure")():
        second = r.begin(r.plan())
    r.decrypt(second, r.listing(second, second_list))


@script("K3", TWICE, [_LEDGER])
def a_member_comes_back_over_the_same_base(r: CipherRogue) -> None:
    two_rounds(r, r.but(r.victim), r.everybody)


@script("K7", AGAIN, [_LEDGER])
def a_difference_over_two_rounds(r: CipherRogue) -> None:
    two_rounds(r, r.everybody, r.but(r.victim), revised=True)
