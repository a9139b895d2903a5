"""Whether a member encrypts to a key holder, and whether that one decrypts: P15 and K1 to K8 of SPEC section 24.

Functions of verified state.  P15 raises PlanDeclined, the others UnmaskingDeclined, each with its number.
"""

from collections.abc import Collection, Mapping

from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.sealing import RecipientSecret
from fedspallm_secure.errors import FormatError, PlanDeclined, ResponseRefused, UnmaskingDeclined
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.deals import Deal, check_deal, deal_digest
from fedspallm_secure.protocol.rounds.decrypting import Challenge, DecryptRequest, sample_size
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.member_own import Own
from fedspallm_secure.protocol.rounds.plan_bodies import PlanBody
from fedspallm_secure.protocol.rounds.plan_checks import declining as declining_plan
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.policy_checks import check_key_holder, check_sample
from fedspallm_secure.protocol.rounds.sealed_seeds import check_seed
from fedspallm_secure.protocol.rounds.survivors import ListedGroup, SurvivorList
from fedspallm_secure.protocol.rounds.unmask_checks import declining
from fedspallm_secure.secagg.context import GroupContext


def check_cipher_key(body: PlanBody, own: Own, now: int) -> None:
    """P15: vectors are encrypted to a key holder of my policy, with its own key, whose sums cannot overflow."""
    plan, key = body.plan, body.cipher_key
    use = plan.key_holder
    if use is None:
        if key is not None:
            raise PlanDeclined("nothing is encrypted in this round, and here is a key for it", check="P15")
        return
    check_key_holder(use, own.policy)
    if key is None or key.hash != use.key:
        raise PlanDeclined("the key that vectors are to be encrypted with is not there", check="P15")
    with declining_plan("P15"):
        key.check(own.public(use.party), plan.federation, use.party, now)
    check_capacity(plan, key)


def check_capacity(plan: Plan, key: CipherKey) -> None:
    """P15, last part: every group uses the key's parameters, and they hold the sum of its whole cohort."""
    for group in plan.groups:
        if group.cipher != key.parameters:
            raise PlanDeclined(
                f"group {group.gid} is encrypted with other parameters than those of the key", check="P15"
            )
        bound = 0 if group.sums is None else group.sums.bound
        if len(group.cohort) > key.parameters.members or bound != key.parameters.bound:
            raise PlanDeclined(f"a sum of group {group.gid} does not fit into what is encrypted", check="P15")


def check_key_use(plan: Plan, key: CipherKey, own: Own, used: Collection[str] = ()) -> None:
    """K2: the plan names me and this key of mine, which no other round has, and its groups fit it."""
    use = plan.key_holder
    if use is None or use.party != own.party or use.key != key.hash:
        raise PlanDeclined("the plan does not ask me to decrypt with this key", check="K2")
    if key.hash in used:
        raise PlanDeclined("another round has this key, and each has its own", check="K2")
    check_sample(use, own.policy, "K2")
    check_capacity(plan, key)


def check_challenge(plan: Plan, group: GroupPlan, body: bytes, root: str) -> Challenge:
    """D2: the challenge is about the sum that I showed, and asks for as many chunks as the plan says.

    root: of that sum, hex.  Raises ResponseRefused.
    """
    try:
        found = Challenge.parse(body)
    except FormatError as error:
        raise ResponseRefused(str(error), check="D2") from None
    chunks, sample = group.upload_size // group.upload_tile, 0 if plan.key_holder is None else plan.key_holder.sample
    if found.root != root or len(found.chunks) != sample_size(chunks, sample) or found.chunks[-1] >= chunks:
        raise ResponseRefused(f"the key holder asks about another sum of group {group.gid}, or for more", check="D2")
    return found


def listed_group(survivors: SurvivorList, gid: int) -> ListedGroup:
    """K5: the group of the request goes on."""
    listed = survivors.group(gid)
    if listed is None:
        raise UnmaskingDeclined(f"the survivor list has no group {gid}", check="K5")
    return listed


def check_deals(
    request: DecryptRequest,
    context: GroupContext,
    group: GroupPlan,
    listed: ListedGroup,
    own: Own,
    secret: RecipientSecret,
) -> Mapping[str, bytes]:
    """K6: survivor -> vector root, 32 bytes; every deal is the listed one, signed by its member, and its seed is here.

    secret: what seeds are sealed to.
    """
    if tuple(one.id for one in request.deals) != listed.ids:
        raise UnmaskingDeclined(f"the deals of group {group.gid} are not those of its survivors", check="K6")
    roots = {}
    with declining("K6"):
        for one in request.deals:
            if deal_digest(context, one.id, one.deal) != listed.deals[one.id]:
                raise UnmaskingDeclined(f"the deal of {one.id} is not the one that is listed", check="K6")
            check_deal(own.public(Party(Role.MEMBER.value, one.id)), context, one.id, one.deal, one.signature)
            deal = Deal.parse(one.deal, *group.deal_form)
            check_seed(context, one.id, deal, one.envelope, own.party, secret)
            roots[one.id] = deal.vector_root
    return roots
