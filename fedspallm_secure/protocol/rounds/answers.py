"""What the server makes of answers: the shares they must hold, who lied, and the seeds they open (SPEC 17, R2-R5)."""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from fedspallm_secure.errors import BadShare, CannotDecrypt, ResponseRefused
from fedspallm_secure.protocol.rounds.deals import Handover
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.unmasking import AnsweredGroup, Complaint
from fedspallm_secure.secagg.commitments import open_share
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.envelopes import open_with_key
from fedspallm_secure.secagg.graphs import Graph
from fedspallm_secure.secagg.keystreams import Stream
from fedspallm_secure.secagg.masking import Term, unmask_terms
from fedspallm_secure.secagg.seeds import edge_commitment, self_commitment
from fedspallm_secure.secagg.sharing import combine

Secret = tuple[str, int]  # dealer, number of the secret: 0 its self seed, m >= 1 its edge to its m-th neighbour


@dataclass(frozen=True, slots=True)
class Ballot:
    """One group after collecting: who survived, and what they dealt.

    survivors: in cohort order; handovers: of the survivors.
    """

    group: GroupPlan
    graph: Graph
    context: GroupContext
    survivors: tuple[str, ...]
    handovers: Mapping[str, Handover] = field(repr=False)

    def neighbours(self, member: str) -> tuple[str, ...]:
        """A member's neighbours, in cohort order."""
        cohort = self.group.cohort
        return tuple(cohort[other] for other in self.graph.neighbours(cohort.index(member)))

    def holders(self, dealer: str) -> tuple[str, ...]:
        """Who holds a dealer's shares: its neighbours and itself, in cohort order."""
        return tuple(sorted((*self.neighbours(dealer), dealer)))

    def dealers(self, holder: str) -> tuple[str, ...]:
        """The survivors of whom `holder` holds shares, in cohort order."""
        known = {holder, *self.neighbours(holder)}
        return tuple(member for member in self.survivors if member in known)

    def secrets(self) -> list[Secret]:
        """Every secret that has to open: each survivor's self seed, and its edges to neighbours that dropped out."""
        alive = set(self.survivors)
        found: list[Secret] = []
        for dealer in self.survivors:
            found.append((dealer, 0))
            numbered = enumerate(self.neighbours(dealer), start=1)
            found += [(dealer, number) for number, other in numbered if other not in alive]
        return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a complaint.  guilty: proved; suspects: one of them lied, and nobody can tell who."""

    guilty: tuple[str, ...] = ()
    suspects: tuple[str, ...] = ()


def read_answer(ballot: Ballot, holder: str, answer: AnsweredGroup) -> dict[Secret, int]:
    """R2 and R3: the shares in one holder's answer for a group.  Raises ResponseRefused, which names the holder."""
    accused = {complaint.id for complaint in answer.complaints}
    dealers = [dealer for dealer in ballot.dealers(holder) if dealer not in accused]
    if not accused <= set(ballot.dealers(holder)) - {holder}:
        raise ResponseRefused(f"{holder} complains about somebody whose shares it does not hold", check="R2")
    if [share.id for share in answer.self_shares] != dealers:
        raise ResponseRefused(f"the answer of {holder} has not the self shares that it holds", check="R2")
    alive = set(ballot.survivors)
    expected = [(dealer, other) for dealer in dealers for other in ballot.neighbours(dealer) if other not in alive]
    if [(share.id, share.dropped) for share in answer.edges] != expected:
        raise ResponseRefused(f"the answer of {holder} has not the edge shares that it holds", check="R2")
    found = {(share.id, 0): (share.share, share.blind) for share in answer.self_shares}
    for edge in answer.edges:
        number = ballot.neighbours(edge.id).index(edge.dropped) + 1
        found[edge.id, number] = (edge.share, edge.blind)
    try:
        return {secret: _open(ballot, holder, secret, *pair) for secret, pair in found.items()}
    except BadShare as error:
        raise ResponseRefused(str(error), check="R3", named=(holder,)) from None


def judge(ballot: Ballot, holder: str, complaint: Complaint, prekey_index: int) -> Verdict:
    """R4: who is to blame for a complaint.  prekey_index: of the holder's prekey in this round."""
    dealer, handover = complaint.id, ballot.handovers[complaint.id]
    both = Verdict(suspects=tuple(sorted((dealer, holder))))
    envelope = handover.envelopes[ballot.neighbours(dealer).index(holder)]
    if not complaint.key:
        return both
    secrets = ballot.group.neighbours + 1
    try:
        row = open_with_key(ballot.context, dealer, holder, envelope, complaint.key, prekey_index, secrets)
    except BadShare:
        return both
    except CannotDecrypt:
        return Verdict(guilty=(dealer,))
    committed = handover.deal.rows[ballot.holders(dealer).index(holder)]
    if hmac.compare_digest(row.commitment(ballot.context), committed):
        return Verdict(guilty=(holder,))  # the envelope holds what was committed to: there was nothing to complain of
    return Verdict(guilty=(dealer,))


def open_seeds(ballot: Ballot, answers: Mapping[str, Mapping[Secret, int]]) -> dict[Secret, int]:
    """R5: every secret of the group, from the answers of its holders.

    answers: holder -> secret -> share, all of which passed R3.  Raises BadShare; it names the dealer if shares do
    not give what it committed to, and nobody if there are too few.
    """
    seeds = {}
    for secret in ballot.secrets():
        dealer, number = secret
        points = {
            ballot.group.cohort.index(holder) + 1: answers[holder][secret]
            for holder in ballot.holders(dealer)
            if holder in answers and secret in answers[holder]
        }
        if len(points) < ballot.group.shares:
            what = f"group {ballot.group.gid}: {len(points)} shares of secret {number} of {dealer}"
            raise BadShare(f"{what}, and it takes {ballot.group.shares}", check="R5")
        seed = combine(points, ballot.group.shares)
        if not hmac.compare_digest(_commitment(ballot, secret, seed), _committed(ballot, secret)):
            message = f"the shares that {dealer} dealt of secret {number} do not open it"
            raise BadShare(message, check="R5", named=(dealer,))
        seeds[secret] = seed
    return seeds


@dataclass(frozen=True, slots=True)
class Unmasking:
    """What is left to do for one group: add up the vectors of the survivors, and then these keystreams."""

    group: GroupPlan
    survivors: tuple[str, ...]
    count_terms: tuple[Term, ...] = field(repr=False)
    sum_terms: tuple[Term, ...] = field(repr=False)

    @classmethod
    def of(cls, ballot: Ballot, seeds: Mapping[Secret, int]) -> Self:
        """From the seeds that `open_seeds` gave."""
        own = [seed for (_, number), seed in seeds.items() if number == 0]
        # A dealer subtracted the keystream of an edge to a neighbour that stands before it in the cohort.
        edges = [
            (seed, ballot.neighbours(dealer)[number - 1] < dealer) for (dealer, number), seed in seeds.items() if number
        ]
        counts = tuple(unmask_terms(ballot.context, own, edges, Stream.COUNT))
        sums = () if ballot.group.sums is None else tuple(unmask_terms(ballot.context, own, edges, Stream.SUM))
        return cls(ballot.group, ballot.survivors, counts, sums)


def suffices(ballot: Ballot, answered: Iterable[str]) -> bool:
    """Whether the holders among `answered` are enough for every secret of the group."""
    there = set(answered)
    return all(len(there.intersection(ballot.holders(dealer))) >= ballot.group.shares for dealer in ballot.survivors)


def _open(ballot: Ballot, holder: str, secret: Secret, share: bytes, blinding: bytes) -> int:
    dealer, number = secret
    committed = ballot.handovers[dealer].rows[ballot.holders(dealer).index(holder)][number]
    return open_share(ballot.context, dealer, holder, number, share, blinding, committed)


def _commitment(ballot: Ballot, secret: Secret, seed: int) -> bytes:
    dealer, number = secret
    if number == 0:
        return self_commitment(ballot.context, dealer, seed)
    first, second = sorted((dealer, ballot.neighbours(dealer)[number - 1]))
    return edge_commitment(ballot.context, first, second, seed)


def _committed(ballot: Ballot, secret: Secret) -> bytes:
    dealer, number = secret
    deal = ballot.handovers[dealer].deal
    return deal.self_commitment if number == 0 else deal.edges[number - 1]
