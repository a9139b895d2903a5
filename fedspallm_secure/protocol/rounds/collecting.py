"""What the server checks while contributions come in, and when the last one has (SPEC section 17, S1 to S8)."""

from collections import Counter
from collections.abc import Mapping

from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import BadSignature, ContributionRefused, FormatError
from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.protocol.rounds.deals import Handover, check_deal
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.graphs import Graph


def check_sender(head: Head, plan_hash: str, groups: Mapping[int, GroupPlan]) -> GroupPlan:
    """S1: the group that a contribution is for; its sender is in the cohort.  Raises ContributionRefused."""
    context = head.context
    group = groups.get(int(context.group)) if context.group.isdigit() else None
    if context.type != "contribution" or context.plan_hash != plan_hash or group is None:
        raise ContributionRefused("this is no contribution to a group of this plan", check="S1")
    if context.sender.role is not Role.MEMBER or context.sender.id not in group.cohort:
        raise ContributionRefused(f"{context.sender} is not in the cohort of group {group.gid}", check="S1")
    return group


def check_handover(
    member: str, group: GroupPlan, context: GroupContext, body: bytes, root: bytes, roster: Roster
) -> Handover:
    """S2 to S6.  body: the contribution before its streams; root: what the streams hash to, 32 bytes.

    Raises ContributionRefused.
    """
    try:
        handover = Handover.parse(body, group.neighbours)
    except FormatError as error:
        raise ContributionRefused(str(error), check="S2") from None
    public = roster.entry(Party(Role.MEMBER.value, member)).leaf.public
    try:
        check_deal(public, context, member, handover.deal.encode(), handover.signature)
    except BadSignature as error:
        raise ContributionRefused(str(error), check="S3") from None
    if not handover.rows_fit():
        raise ContributionRefused(f"the share commitments of {member} are not those of its deal", check="S4")
    if not handover.envelopes_fit():
        raise ContributionRefused(f"the envelopes of {member} are not those of its deal", check="S5")
    if handover.deal.vector_root != root:
        raise ContributionRefused(f"the masked vector of {member} is not the one it signed", check="S6")
    return handover


def disputed(group: GroupPlan, graph: Graph, handovers: Mapping[str, Handover]) -> tuple[str, ...]:
    """S8: who is left out because the two ends of an edge committed to different seeds; sorted.

    Those with the most unequal edges go first, of two with equally many both, until no inequality is left.  So one
    liar cannot take several honest members with it, and of a single pair nobody can tell who lied.
    """
    present = {member: group.cohort.index(member) for member in handovers}
    unequal: set[frozenset[str]] = set()
    for member, index in present.items():
        for number, other in enumerate(graph.neighbours(index)):
            peer = group.cohort[other]
            if other > index and peer in present:
                back = graph.neighbours(other).index(index)
                if handovers[member].deal.edges[number] != handovers[peer].deal.edges[back]:
                    unequal.add(frozenset((member, peer)))
    left_out: set[str] = set()
    while unequal:
        counts = Counter(member for pair in unequal for member in pair)
        most = max(counts.values())
        worst = {member for member, count in counts.items() if count == most}
        left_out |= worst
        unequal = {pair for pair in unequal if not pair & worst}
    return tuple(sorted(left_out))
