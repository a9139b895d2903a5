"""Whether a member endorses a survivor list and answers for it: E1 to E5 and Q1 to Q8 of SPEC section 17.

Functions of verified state, shared by both occasions: where the same rule has two numbers, the caller says which.
Each raises UnmaskingDeclined with its number, E5 and Q6 DisclosureRefused.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import FedSpaError, UnmaskingDeclined
from fedspallm_secure.protocol.rounds.deals import Deal, check_deal, deal_digest
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.links import Links
from fedspallm_secure.protocol.rounds.member_own import Own
from fedspallm_secure.protocol.rounds.messages import Incoming
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.rounds.survivors import ListedGroup, SurvivorList, check_endorsement, parse_survivors
from fedspallm_secure.protocol.rounds.unmasking import AnsweredGroup, Endorser, RequestedGroup, UnmaskRequest
from fedspallm_secure.secagg.disclosure import Ledger
from fedspallm_secure.secagg.thresholds import Profile, quorum, witness_quorum


@contextmanager
def declining(check: str) -> Iterator[None]:
    """Turn any error of this toolkit into UnmaskingDeclined with the number of the check in which it came up."""
    try:
        yield
    except UnmaskingDeclined:
        raise
    except FedSpaError as error:
        raise UnmaskingDeclined(str(error), check=check) from None


def check_origin(incoming: Incoming, type: str, plan: Plan, plan_hash: str, policy: Policy, check: str) -> None:
    """E1, Q1: the package is what it is taken for, from the server of my policy, for the plan that I accepted."""
    context = incoming.head.context
    if context.sender != policy.server:
        raise UnmaskingDeclined(f"{context.sender} sent it, and I obey {policy.server} alone", check=check)
    if (context.type, context.round, context.plan_hash) != (type, plan.round, plan_hash):
        raise UnmaskingDeclined(f"this is no {type} for the plan that I accepted", check=check)


def read_list(incoming: Incoming, plan: Plan, plan_hash: str, own: Own) -> SurvivorList:
    """E2: the list in the package, signed by the server, of this federation, round and plan."""
    with declining("E2"):
        survivors = parse_survivors(incoming.body)
        survivors.check(own.server, plan.federation, plan.round, plan_hash)
    return survivors


def check_same_list(survivors: SurvivorList, before: SurvivorList | None, check: str = "E3") -> None:
    """E3, K5: I have endorsed no other list for this round; nor taken one in, where nobody endorses."""
    if before is not None and before.hash != survivors.hash:
        raise UnmaskingDeclined("this is the second survivor list of the round; the first one counts", check=check)


def read_request(incoming: Incoming) -> UnmaskRequest:
    """Q1, as far as the form goes: what the server asks for."""
    with declining("Q1"):
        return UnmaskRequest.parse(incoming.body)


def check_same_answer(request: UnmaskRequest, answered: str) -> None:
    """Q1: I have answered no other list in this round.  answered: digest of the list that I answered for, hex."""
    if request.survivors != answered:
        raise UnmaskingDeclined("I answered for another survivor list; I answer once in a round", check="Q1")


def check_held_list(request: UnmaskRequest, survivors: SurvivorList | None) -> SurvivorList:
    """Q2, first half: I hold the list that the request names."""
    if survivors is None or request.survivors != survivors.hash:
        raise UnmaskingDeclined("the request names a survivor list that I do not hold", check="Q2")
    return survivors


def check_endorsed(plan: Plan, survivors: SurvivorList, request: UnmaskRequest, own: Own) -> None:
    """Q2, second half: so many endorsed exactly this list that no other one can have as many."""
    if plan.profile is Profile.TWO_TRIP:
        return
    with declining("Q2"):
        endorsed = {_checked(endorser, survivors, own) for endorser in request.endorsements}
        if plan.profile is Profile.WITNESSED:
            witnesses = {Party(Role.WITNESS.value, witness) for witness in own.policy.witnesses}
            needed = witness_quorum(len(witnesses), own.policy.dishonest)
            if len(endorsed & witnesses) < needed:
                raise UnmaskingDeclined(f"fewer than {needed} witnesses endorsed the list", check="Q2")
            return
    for asked in request.groups:
        group, listed = find_group(plan, asked.gid, "Q2"), survivors.group(asked.gid)
        members = {Party(Role.MEMBER.value, member) for member in (listed.ids if listed else ())}
        needed = endorsements_needed(group, plan.colluders)
        if len(endorsed & members) < needed:
            few = f"fewer than {needed} survivors of group {group.gid} endorsed the list"
            raise UnmaskingDeclined(few, check="Q2")


def endorsements_needed(group: GroupPlan, colluders: int) -> int:
    """How many survivors of a group must have endorsed one list: so many that no second list can have as many."""
    return quorum(len(group.cohort), colluders) if group.degree else group.shares


def _checked(endorser: Endorser, survivors: SurvivorList, own: Own) -> Party:
    party = Party.parse(endorser.id)
    check_endorsement(own.public(party), survivors, endorser.signature)
    return party


def check_own_deals(survivors: SurvivorList, me: str, deals: Mapping[int, str], check: str = "Q3") -> None:
    """Q3: wherever I am listed, it is with the deal that I made.  deals: gid -> digest of my deal, hex."""
    for listed in survivors.groups:
        mine = listed.deals.get(me)
        if mine is not None and mine != deals.get(listed.gid):
            raise UnmaskingDeclined(f"I am listed in group {listed.gid} with a deal that I did not make", check=check)


def asked_groups(
    request: UnmaskRequest, survivors: SurvivorList, me: str
) -> tuple[tuple[RequestedGroup, ListedGroup], ...]:
    """Q3: the groups that I am asked about, at least one, each with its survivors, and I am one of them."""
    found = []
    for asked in request.groups:
        listed = survivors.group(asked.gid)
        if listed is None or me not in listed.deals:
            raise UnmaskingDeclined(f"I am asked about group {asked.gid}, in which I did not survive", check="Q3")
        found.append((asked, listed))
    if not found:
        raise UnmaskingDeclined("I am asked about no group", check="Q3")
    return tuple(found)


def check_cohorts(plan: Plan, survivors: SurvivorList, check: str = "Q4") -> None:
    """Q4, first half: every survivor is in the cohort.  That each is there once and in order, every list assures."""
    for listed in survivors.groups:
        group = find_group(plan, listed.gid, check)
        if not set(listed.ids) <= set(group.cohort):
            raise UnmaskingDeclined(f"group {listed.gid} lists somebody who is not in its cohort", check=check)


def read_deals(links: Links, me: str, asked: RequestedGroup, listed: ListedGroup, own: Own) -> dict[str, Deal]:
    """Q4, second half: neighbour -> its deal, for each of my neighbours that survived; listed, and signed by it."""
    digests = listed.deals
    expected = [member for member in links.neighbours(me) if member in digests]
    if [deal.id for deal in asked.deals] != expected:
        what = f"the deals of group {listed.gid} are not those of my neighbours that survived"
        raise UnmaskingDeclined(what, check="Q4")
    found = {}
    with declining("Q4"):
        for forwarded in asked.deals:
            dealer, deal = forwarded.id, forwarded.deal
            if deal_digest(links.context, dealer, deal) != digests[dealer]:
                raise UnmaskingDeclined(f"the deal of {dealer} is not the one that is listed", check="Q4")
            public = own.public(Party(Role.MEMBER.value, dealer))
            check_deal(public, links.context, dealer, deal, forwarded.signature)
            found[dealer] = Deal.parse(deal, *links.group.deal_form)
    return found


def check_sizes(plan: Plan, survivors: SurvivorList, check: str = "Q5") -> None:
    """Q5: each list has at least n_min members."""
    for listed in survivors.groups:
        group = find_group(plan, listed.gid, check)
        if len(listed.members) < group.survivors:
            few = f"group {listed.gid} has {len(listed.members)} survivors and needs {group.survivors}"
            raise UnmaskingDeclined(few, check=check)


def check_disclosure(
    plan: Plan, lists: Sequence[ListedGroup], ledger: Ledger, policy: Policy, check: str = "Q6"
) -> None:
    """E5, Q6: with all that was released before, sums over these lists give nobody away.  Raises DisclosureRefused."""
    for listed in lists:
        group = find_group(plan, listed.gid, check)
        names = [matrix.name for matrix in group.matrices]
        epochs, split = policy.epochs, plan.split
        ledger.check(names, group.base, listed.ids, plan.colluders, epochs=epochs, split=split, step=check)


def check_kinds(answer: AnsweredGroup, survivors: Collection[str]) -> None:
    """Q8: what leaves opens the self seeds of survivors, and edges to nobody but those who did not survive."""
    if not {share.id for share in answer.self_shares} <= set(survivors):
        raise UnmaskingDeclined("the answer would open the self seed of somebody who did not survive", check="Q8")
    if not {edge.dropped for edge in answer.edges}.isdisjoint(survivors):
        raise UnmaskingDeclined("the answer would open an edge between two survivors", check="Q8")


def find_group(plan: Plan, gid: int, check: str) -> GroupPlan:
    """The group of the plan with this number; there is none that the plan does not know."""
    group = plan.group(gid)
    if group is None:
        raise UnmaskingDeclined(f"the plan has no group {gid}", check=check)
    return group
