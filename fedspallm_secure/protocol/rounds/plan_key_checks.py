"""Whether the seed of a plan and the prekeys in it are what they have to be: P8 and P9 of SPEC section 17."""

from fedspallm_secure.crypto.certificates import check_leaf_revoked, check_leaf_time
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.sealing import FILE_KEY_SIZE, wrap, x25519
from fedspallm_secure.errors import PlanDeclined
from fedspallm_secure.protocol.prekeys import Prekey, Prekeys
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.protocol.rounds.member_own import Own, Situation
from fedspallm_secure.protocol.rounds.openings import Opening, PrekeyUse, beacon_seed, check_beacon
from fedspallm_secure.protocol.rounds.plan_bodies import PlanBody
from fedspallm_secure.protocol.rounds.plan_checks import declining
from fedspallm_secure.protocol.rounds.policy_checks import check_beacons

_ANY_SECRET = bytes([1]) * 32  # with a key of small order every secret gives zero, so this one tells
_FIELD = (1 << 255) - 19  # of Curve25519 (RFC 7748 section 4.1)


def check_seed(body: PlanBody, own: Own) -> None:
    """P8, second half: where it matters who drew the seed, the beacons of my policy did."""
    check_beacons(body.plan, own.policy, [witness for witness, _ in body.beacons])
    if not own.policy.beacons:
        return
    if body.opening is None:
        raise PlanDeclined("the seed was not drawn by the beacons of my policy", check="P8")
    with declining("P8"):
        _check_opening(body, body.opening, own)
        for witness, signature in body.beacons:
            check_beacon(own.public(Party(Role.WITNESS.value, witness)), body.opening, signature)
        seed = beacon_seed(body.opening, [signature for _, signature in body.beacons])
    if seed.hex() != body.plan.seed:
        raise PlanDeclined("the seed is not the one that the beacons drew", check="P8")


def _check_opening(body: PlanBody, opening: Opening, own: Own) -> None:
    plan = body.plan
    opening.check(own.server, plan.federation, plan.round, plan.roster)
    if opening.prekeys != plan.prekeys:
        raise PlanDeclined("the round was opened with other prekeys", check="P8")
    if opening.sampling != plan.sampling.hash:
        raise PlanDeclined("the round was opened to draw cohorts in another way", check="P8")


def check_prekeys(body: PlanBody, own: Own, situation: Situation) -> tuple[int, tuple[bytes, ...]]:
    """P9: the prekeys are those of my neighbours and one of mine that is not burned, and no two of us have the same.

    Returns the index of mine, and the leaves of all of them in order of their ids.
    """
    plan, me = body.plan, own.party.id
    uses = {use.id: use for use in plan.prekeys}
    if [bundle.party.id for bundle in body.bundles] != sorted(plan.neighbours_of(me)):
        raise PlanDeclined("the prekey bundles are not those of my neighbours", check="P9")
    if uses[me].index < situation.next_prekey:
        raise PlanDeclined(f"prekey {uses[me].index} is burned; my next one is {situation.next_prekey}", check="P9")
    found = {me: _leaf(situation.bundle, uses[me])}
    with declining("P9"):
        for bundle in body.bundles:
            check_bundle(bundle, bundle.party, own.trust, situation.now)
            found[bundle.party.id] = _leaf(bundle, uses[bundle.party.id])
            check_prekey(found[bundle.party.id])
    holders: dict[int, str] = {}
    for member, prekey in sorted(found.items()):
        other = holders.setdefault(exchange_point(prekey), member)
        if other != member:
            raise PlanDeclined(f"{other} and {member} have the same X25519 key", check="P9")
    return uses[me].index, tuple(found[member].raw for member in sorted(found))


def check_bundle(bundle: Prekeys, party: Party, trust: Trust, now: int) -> None:
    """Raise TrustError unless the bundle is that of `party`, signed by its key in the roster, and all is valid now."""
    leaf = trust.roster.entry(party).leaf
    bundle.check(leaf.public, trust.roster.federation, party)
    bundle.check_time(now)
    check_leaf_time(leaf, now)
    check_leaf_revoked(leaf, trust.crl, now)


def check_prekey(prekey: Prekey) -> None:
    """Raise WeakKey or FormatError for one with which no secret can be agreed on, or to which nothing can be sealed."""
    x25519(_ANY_SECRET, prekey.exchange)
    # Sealing to the other half is tried now: later it would cost everybody the round.
    wrap(bytes(FILE_KEY_SIZE), prekey.recipient, b"")


def _leaf(bundle: Prekeys, use: PrekeyUse) -> Prekey:
    if bundle.statement.digest.hex() != use.bundle:
        raise PlanDeclined(f"the plan names another bundle of {use.id}", check="P9")
    place = use.index - bundle.first
    if not 0 <= place < len(bundle.leaves):
        raise PlanDeclined(f"the bundle of {use.id} has no prekey {use.index}", check="P9")
    return bundle.leaves[place]


def exchange_point(prekey: Prekey) -> int:
    """What an X25519 key stands for: it has more spellings than one (RFC 7748 section 5)."""
    return (int.from_bytes(prekey.exchange, "little") & ((1 << 255) - 1)) % _FIELD
