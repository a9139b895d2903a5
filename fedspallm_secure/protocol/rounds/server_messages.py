"""What the server of a round sends out, message by message (SPEC sections 16.2 and 16.4)."""

from collections.abc import Iterable, Mapping, Sequence

from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.protocol.rounds.answers import Ballot
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.messages import Outgoing
from fedspallm_secure.protocol.rounds.outcomes import Abort, Receipt
from fedspallm_secure.protocol.rounds.records_server import Received
from fedspallm_secure.protocol.rounds.survivors import Ended, SurvivorList
from fedspallm_secure.protocol.rounds.unmasking import Endorser, ForwardedDeal, RequestedGroup, UnmaskRequest


def receipt(record: Received) -> Outgoing:
    """The server's word that it has a contribution."""
    body = Receipt(record.package, record.deal).encode()
    return Outgoing("receipt", Party(Role.MEMBER.value, record.member), body, str(record.gid))


def aborts(ended: Iterable[Ended], groups: Mapping[int, GroupPlan]) -> list[Outgoing]:
    """The end of groups, to everybody in their cohorts."""
    return [
        Outgoing("abort", Party(Role.MEMBER.value, member), Abort(end.gid, end.code, end.named).encode())
        for end in ended
        for member in groups[end.gid].cohort
    ]


def unmask_requests(
    statement: SurvivorList, endorsements: Mapping[str, bytes], ballots: Sequence[Ballot]
) -> list[Outgoing]:
    """One request for every survivor of any of `ballots`, which stand in the order of their groups.

    endorsements: ROLE/ID -> signature over the list.
    """
    endorsers = tuple(Endorser(party, signature) for party, signature in sorted(endorsements.items()))
    asked = sorted({member for ballot in ballots for member in ballot.survivors})
    messages = []
    for member in asked:
        groups = tuple(_group(ballot, member) for ballot in ballots if member in ballot.survivors)
        request = UnmaskRequest(statement.hash, endorsers, groups)
        messages.append(Outgoing("unmask-request", Party(Role.MEMBER.value, member), request.encode()))
    return messages


def _group(ballot: Ballot, holder: str) -> RequestedGroup:
    deals = []
    for dealer in ballot.dealers(holder):
        if dealer == holder:
            continue
        handover = ballot.handovers[dealer]
        envelope = handover.envelopes[ballot.neighbours(dealer).index(holder)]
        deals.append(ForwardedDeal(dealer, handover.deal.encode(), handover.signature, envelope))
    return RequestedGroup(ballot.group.gid, tuple(deals))
