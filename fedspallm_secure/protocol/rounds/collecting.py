"""What the server checks while contributions come in, and when the last one has (SPEC section 17, S1 to S8)."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import BadSignature, ContributionRefused, FormatError
from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.protocol.rounds.deals import Deal, Handover, check_deal, handover_size
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.links import Links


def contribution_size(group: GroupPlan) -> int:
    """Bytes of a contribution to this group, exactly: what stands before its streams, and they."""
    return handover_size(*group.deal_form) + group.upload_size


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
        handover = Handover.parse(body, *group.deal_form)
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


def unequal_edges(links: Links, deals: Mapping[str, Deal]) -> set[frozenset[str]]:
    """S8: the edges whose two ends committed to different seeds.  One end of each lied, and it may be either."""
    said = {
        (member, other): edge
        for member, deal in deals.items()
        for other, edge in zip(links.neighbours(member), deal.edges, strict=True)
    }
    return {frozenset(ends) for ends, edge in said.items() if said.get(ends[::-1], edge) != edge}


@dataclass(frozen=True, slots=True)
class Dispute:
    """What follows from unequal edges, S8.

    guilty: who has more of them than there can be liars; suspects: the ends of the others; left_out: whose vectors are
    not added up.  All sorted.
    """

    guilty: tuple[str, ...]
    suspects: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def named(self) -> tuple[str, ...]:
        """Guilty and suspects, sorted."""
        return tuple(sorted({*self.guilty, *self.suspects}))

    @classmethod
    def of(cls, unequal: Collection[frozenset[str]], colluders: int) -> Self:
        """Whom to blame and whom to leave out.

        colluders: c.  An honest member has unequal edges with liars alone, who are at most c, and one if c is 0.

        The guilty are left out first.  Then those with the most unequal edges, of two with equally many both, until
        none is left.  So one liar cannot take several honest members with it; but several liars can agree on an honest
        one, which is why being left out proves nothing.
        """
        guilty = {member for member, count in _counts(unequal).items() if count > max(colluders, 1)}
        open_edges = [ends for ends in unequal if ends.isdisjoint(guilty)]
        suspects, left_out = set().union(*open_edges), set(guilty)
        while open_edges:
            counts = _counts(open_edges)
            left_out.update(member for member, count in counts.items() if count == max(counts.values()))
            open_edges = [ends for ends in open_edges if ends.isdisjoint(left_out)]
        return cls(tuple(sorted(guilty)), tuple(sorted(suspects)), tuple(sorted(left_out)))


def _counts(unequal: Collection[frozenset[str]]) -> Counter[str]:
    return Counter(member for ends in unequal for member in ends)
