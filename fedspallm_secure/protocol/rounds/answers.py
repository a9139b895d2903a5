"""What the server makes of answers: the shares they must hold, who lied, and the seeds they open (SPEC 17, R2-R5)."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from fedspallm_secure.errors import BadShare, CannotDecrypt, FormatError, ResponseRefused
from fedspallm_secure.protocol.rounds.collecting import neighbourhood
from fedspallm_secure.protocol.rounds.deals import Handover
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.records_server import Blamed
from fedspallm_secure.protocol.rounds.unmasking import AnsweredGroup, Complaint
from fedspallm_secure.secagg.commitments import open_share
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.envelopes import open_with_key
from fedspallm_secure.secagg.keystreams import Stream
from fedspallm_secure.secagg.masking import Term, unmask_terms
from fedspallm_secure.secagg.seeds import decode_element, edge_commitment, self_commitment
from fedspallm_secure.secagg.sharing import combine

Secret = tuple[str, str]  # a dealer, and the neighbour at the other end of the edge; empty for the dealer's self seed
Shares = dict[Secret, int]


@dataclass(frozen=True, slots=True)
class Ballot:
    """One group after collecting.

    handovers: survivor -> what it dealt, in cohort order; around: member -> its neighbours, in cohort order; places:
    member -> its x coordinate.
    """

    group: GroupPlan
    context: GroupContext
    handovers: Mapping[str, Handover] = field(repr=False)
    around: Mapping[str, tuple[str, ...]] = field(repr=False)
    places: Mapping[str, int] = field(repr=False)

    @classmethod
    def of(cls, group: GroupPlan, context: GroupContext, handovers: Mapping[str, Handover], seed: str) -> Self:
        """seed: of the plan, hex."""
        places = {member: place for place, member in enumerate(group.cohort, start=1)}
        return cls(group, context, handovers, neighbourhood(group, seed), places)

    @property
    def survivors(self) -> tuple[str, ...]:
        """In cohort order."""
        return tuple(self.handovers)

    def holders(self, dealer: str) -> tuple[str, ...]:
        """Who holds a dealer's shares: its neighbours and itself, in cohort order."""
        return tuple(sorted((*self.around[dealer], dealer)))

    def dealers(self, holder: str) -> tuple[str, ...]:
        """The survivors of whom `holder` holds shares, in cohort order."""
        return tuple(member for member in self.holders(holder) if member in self.handovers)

    def secrets(self, dealer: str) -> list[Secret]:
        """What has to open of a survivor: its self seed, and its edges to neighbours that dropped out."""
        return [(dealer, ""), *((dealer, other) for other in self.around[dealer] if other not in self.handovers)]

    def number(self, secret: Secret) -> int:
        """Of the secret among those of its dealer (SPEC section 13)."""
        dealer, other = secret
        return self.around[dealer].index(other) + 1 if other else 0

    def points(self, secret: Secret, answers: Mapping[str, Shares]) -> dict[int, int]:
        """The shares of a secret that are there: x coordinate of the holder -> share."""
        held = ((holder, answers.get(holder, {}).get(secret)) for holder in self.holders(secret[0]))
        return {self.places[holder]: share for holder, share in held if share is not None}

    def suffices(self, answers: Mapping[str, Shares]) -> bool:
        """Whether `answers`, holder -> shares, are enough to open every secret."""
        every = (secret for dealer in self.survivors for secret in self.secrets(dealer))
        return all(len(self.points(secret, answers)) >= self.group.shares for secret in every)


def shares_of(answer: AnsweredGroup) -> Shares:
    """The shares in a holder's answer for a group.  Raises FormatError for one that is not below p."""
    found = {(share.id, ""): share.share for share in answer.self_shares}
    found |= {(edge.id, edge.dropped): edge.share for edge in answer.edges}
    return {secret: decode_element(share) for secret, share in found.items()}


def check_answer(ballot: Ballot, holder: str, answer: AnsweredGroup) -> None:
    """R2 and R3 for one group.  Raises ResponseRefused, which names the holder."""
    accused = {complaint.id for complaint in answer.complaints}
    dealers = ballot.dealers(holder)
    expected = {secret for dealer in dealers if dealer not in accused for secret in ballot.secrets(dealer)}
    try:
        if shares_of(answer).keys() != expected or not accused <= {*dealers} - {holder}:
            raise FormatError(f"{holder} answers with other shares of group {answer.gid} than those it has to")
    except FormatError as error:
        raise ResponseRefused(str(error), check="R2", named=(holder,)) from None
    opened = [((share.id, ""), share.share, share.blind) for share in answer.self_shares]
    opened += [((edge.id, edge.dropped), edge.share, edge.blind) for edge in answer.edges]
    try:
        for secret, share, blinding in opened:
            dealer, number = secret[0], ballot.number(secret)
            committed = ballot.handovers[dealer].rows[ballot.holders(dealer).index(holder)][number]
            open_share(ballot.context, dealer, holder, number, share, blinding, committed)
    except BadShare as error:
        raise ResponseRefused(str(error), check="R3", named=(holder,)) from None


def judge(ballot: Ballot, holder: str, complaint: Complaint, prekey_index: int) -> Blamed:
    """R4: who is to blame for a complaint.  prekey_index: of the holder's prekey in this round."""
    dealer, handover, secrets = complaint.id, ballot.handovers[complaint.id], ballot.group.neighbours + 1
    envelope = handover.envelopes[ballot.around[dealer].index(holder)]
    committed = handover.deal.rows[ballot.holders(dealer).index(holder)]
    try:
        if not complaint.key:
            raise BadShare(f"{holder} has no key of the envelope from {dealer}")
        row = open_with_key(ballot.context, dealer, holder, envelope, complaint.key, prekey_index, secrets)
    except BadShare:
        return Blamed(ballot.group.gid, "R4", (), tuple(sorted((dealer, holder))))
    except CannotDecrypt:
        return Blamed(ballot.group.gid, "R4", (dealer,), ())
    unfounded = hmac.compare_digest(row.commitment(ballot.context), committed)
    return Blamed(ballot.group.gid, "R4", (holder if unfounded else dealer,), ())


def open_seeds(ballot: Ballot, answers: Mapping[str, Shares]) -> Shares:
    """R5: every secret of the group, from answers, holder -> shares, that passed R3.

    Raises BadShare; it names the dealers whose shares do not give what they committed to, and nobody if there are too
    few.
    """
    group, seeds = ballot.group, Shares()
    for secret in (secret for dealer in ballot.survivors for secret in ballot.secrets(dealer)):
        points = ballot.points(secret, answers)
        if len(points) < group.shares:
            raise BadShare(f"group {group.gid}: {len(points)} shares of a secret of {secret[0]}", check="R5")
        seeds[secret] = combine(points, group.shares)
    bad = sorted({secret[0] for secret, seed in seeds.items() if not _is_committed(ballot, secret, seed)})
    if bad:
        message = f"group {group.gid}: the shares that {', '.join(bad)} dealt do not give what they committed to"
        raise BadShare(message, check="R5", named=tuple(bad))
    return seeds


def _is_committed(ballot: Ballot, secret: Secret, seed: int) -> bool:
    dealer, other = secret
    deal = ballot.handovers[dealer].deal
    if not other:
        return hmac.compare_digest(self_commitment(ballot.context, dealer, seed), deal.self_commitment)
    found = edge_commitment(ballot.context, *sorted(secret), seed)
    return hmac.compare_digest(found, deal.edges[ballot.number(secret) - 1])


@dataclass(frozen=True, slots=True)
class Unmasking:
    """What is left to do for one group: add up the vectors of the survivors, and then these keystreams."""

    group: GroupPlan
    survivors: tuple[str, ...]
    count_terms: tuple[Term, ...] = field(repr=False)
    sum_terms: tuple[Term, ...] = field(repr=False)

    @classmethod
    def of(cls, ballot: Ballot, seeds: Shares) -> Self:
        """From the seeds that `open_seeds` gave."""
        own = [seed for (_, other), seed in seeds.items() if not other]
        # A dealer subtracted the keystream of an edge to a neighbour that stands before it in the cohort.
        edges = [(seed, other < dealer) for (dealer, other), seed in seeds.items() if other]
        counts = tuple(unmask_terms(ballot.context, own, edges, Stream.COUNT))
        sums = () if ballot.group.sums is None else tuple(unmask_terms(ballot.context, own, edges, Stream.SUM))
        return cls(ballot.group, ballot.survivors, counts, sums)
