"""What the server checks while contributions come in, and when the last one has (SPEC section 17, S1 to S8)."""

from collections import Counter
from collections.abc import Mapping

from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import BadSignature, ContributionRefused, FormatError
from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.protocol.rounds.deals import Deal, Handover, check_deal, handover_size
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.links import Links


def contribution_size(group: GroupPlan) -> int:
    """Bytes of a contribution to this group, exactly: what stands before its streams, and they."""
    return handover_size(group.neighbours) + group.count_size + group.sum_size


def check_sender(head: Head, round: int, plan_hash: str, groups: Mapping[int, GroupPlan]) -> GroupPlan:
    """S1: the group that a contribution is for; its sender is in the cohort.  Raises ContributionRefused."""
    context = head.context
    group = groups.get(int(context.group)) if context.group.isdigit() else None
    about = (context.type, context.round, context.plan_hash)
    if group is None or about != ("contribution", round, plan_hash):
        raise ContributionRefused("this is no contribution to a group of this plan", check="S1")
    if context.sender.role is not Role.MEMBER or context.sender.id not in group.cohort:
        raise ContributionRefused(f"{context.sender} is not in the cohort of group {group.gid}", check="S1")
    return group


def check_handover(head: Head, links: Links, body: bytes, root: bytes, roster: Roster) -> Handover:
    """S2 to S6.  body: the contribution before its streams; root: what the streams hash to, 32 bytes.

    Raises ContributionRefused, which names the sender.
    """
    group, member = links.group, head.context.sender.id

    def refused(message: str, check: str) -> ContributionRefused:
        return ContributionRefused(f"group {group.gid}: {message}", check=check, named=(member,))

    if head.header.plaintext_length != contribution_size(group):
        raise refused(f"{member} sent {head.header.plaintext_length} bytes, not {contribution_size(group)}", "S2")
    try:
        handover = Handover.parse(body, group.neighbours)
    except FormatError as error:
        raise refused(str(error), "S2") from None
    try:
        public = roster.entry(Party(Role.MEMBER.value, member)).leaf.public
        check_deal(public, links.context, member, handover.deal.encode(), handover.signature)
    except BadSignature as error:
        raise refused(str(error), "S3") from None
    if not handover.rows_fit():
        raise refused(f"the share commitments of {member} are not those of its deal", "S4")
    if not handover.envelopes_fit():
        raise refused(f"the envelopes of {member} are not those of its deal", "S5")
    if handover.deal.vector_root != root:
        raise refused(f"the masked vector of {member} is not the one that it signed", "S6")
    return handover


def disputed(links: Links, deals: Mapping[str, Deal]) -> tuple[str, ...]:
    """S8: who is left out because the two ends of an edge committed to different seeds; sorted.

    Those with the most unequal edges go first, of two with equally many both, until no inequality is left.  So one
    liar cannot take several honest members with it, and of a single pair nobody can tell who lied.
    """
    said = {
        (member, other): edge
        for member, deal in deals.items()
        for other, edge in zip(links.neighbours(member), deal.edges, strict=True)
    }
    unequal = {frozenset(ends) for ends, edge in said.items() if said.get(ends[::-1], edge) != edge}
    left_out: set[str] = set()
    while unequal:
        counts = Counter(member for ends in unequal for member in ends)
        most = max(counts.values())
        left_out.update(member for member, count in counts.items() if count == most)
        unequal = {ends for ends in unequal if ends.isdisjoint(left_out)}
    return tuple(sorted(left_out))
