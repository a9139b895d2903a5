"""What the server makes of answers: the shares they must hold, who lied, and the seeds they open (SPEC 17, R2-R5)."""

import hmac
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.errors import BadShare, CannotDecrypt, FormatError, ResponseRefused
from fedspallm_secure.protocol.rounds.deals import Handover
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.links import Links
from fedspallm_secure.protocol.rounds.records_server import Blamed
from fedspallm_secure.protocol.rounds.unmasking import AnsweredGroup, Complaint
from fedspallm_secure.secagg.commitments import open_share
from fedspallm_secure.secagg.envelopes import open_with_key
from fedspallm_secure.secagg.keystreams import Stream
from fedspallm_secure.secagg.masking import Term, unmask_terms
from fedspallm_secure.secagg.seeds import decode_element, edge_commitment, self_commitment
from fedspallm_secure.secagg.sharing import combine

Secret = tuple[str, str]  # a dealer, and the neighbour at the other end of the edge; empty for the dealer's self seed
Shares = dict[Secret, int]
_FRAME: Final = 64  # bytes of names and signs around what a share, or an answer for a group, holds


@dataclass(frozen=True, slots=True)
class Ballot:
    """One group after collecting.  handovers: survivor -> what it dealt, in cohort order."""

    links: Links
    handovers: Mapping[str, Handover] = field(repr=False)

    @property
    def survivors(self) -> tuple[str, ...]:
        """In cohort order."""
        return tuple(self.handovers)

    def dealers(self, holder: str) -> list[str]:
        """The survivors of whom `holder` holds shares, in cohort order."""
        return [member for member in self.links.holders(holder) if member in self.handovers]

    def secrets(self, dealer: str) -> dict[Secret, int]:
        """What has to open of a survivor, and its number: the self seed, and edges to neighbours that dropped out."""
        edges = enumerate(self.links.neighbours(dealer), start=1)
        return {(dealer, ""): 0} | {(dealer, other): n for n, other in edges if other not in self.handovers}

    def row(self, dealer: str, holder: str) -> tuple[bytes, ...]:
        """Commitments to the shares that `dealer` dealt to `holder`."""
        return self.handovers[dealer].rows[self.links.holders(dealer).index(holder)]

    def gather(self, answers: Mapping[str, Shares]) -> Iterator[tuple[Secret, dict[int, int]]]:
        """Every secret that has to open, with the shares in `answers`, holder -> shares, by their x coordinates."""
        for dealer in self.survivors:
            places = [(place, answers.get(holder, {})) for holder, place in self.links.points(dealer).items()]
            for secret in self.secrets(dealer):
                yield secret, {place: held[secret] for place, held in places if secret in held}

    def suffices(self, answers: Mapping[str, Shares]) -> bool:
        """Whether `answers`, holder -> shares, are enough to open every secret."""
        return all(len(points) >= self.links.group.shares for _, points in self.gather(answers))


def response_limit(groups: Iterable[GroupPlan]) -> int:
    """Bytes that no unmask response about some of these groups has: twice what the largest one takes as JSON."""
    total = 2 * _FRAME
    for group in groups:
        dealers, lost = group.neighbours + 1, min(group.neighbours, len(group.cohort) - group.survivors)
        leaf = _FRAME + 2 * (2 * HASH_SIZE) + 2 * max(map(len, group.cohort))  # share and blinding in hex, two ids
        total += _FRAME + dealers * (1 + lost) * leaf
    return 2 * total


def shares_of(answer: AnsweredGroup) -> Shares:
    """The shares in a holder's answer for a group.  Raises FormatError for one that is not below p."""
    return {secret: decode_element(share) for secret, (share, _) in _opened(answer).items()}


def _opened(answer: AnsweredGroup) -> dict[Secret, tuple[bytes, bytes]]:
    own = {(share.id, ""): (share.share, share.blind) for share in answer.self_shares}
    return own | {(edge.id, edge.dropped): (edge.share, edge.blind) for edge in answer.edges}


def check_answer(ballot: Ballot, holder: str, answer: AnsweredGroup) -> None:
    """R2 and R3 for one group.  Raises ResponseRefused, which names the holder."""
    accused = {complaint.id for complaint in answer.complaints}
    dealers = ballot.dealers(holder)
    try:
        expected = [ballot.secrets(dealer) for dealer in dealers if dealer not in accused]
        if shares_of(answer).keys() != set().union(*expected) or not accused <= {*dealers} - {holder}:
            raise FormatError(f"{holder} answers with other shares of group {answer.gid} than those it has to")
    except FormatError as error:
        raise ResponseRefused(str(error), check="R2", named=(holder,)) from None
    try:
        opened, context = _opened(answer), ballot.links.context
        for secrets in expected:
            for secret, number in secrets.items():
                committed = ballot.row(secret[0], holder)[number]
                open_share(context, secret[0], holder, number, *opened[secret], committed)
    except BadShare as error:
        raise ResponseRefused(str(error), check="R3", named=(holder,)) from None


def judge(ballot: Ballot, holder: str, complaint: Complaint, prekey_index: int) -> Blamed:
    """R4: who is to blame for a complaint.  prekey_index: of the holder's prekey in this round."""
    dealer, group, context = complaint.id, ballot.links.group, ballot.links.context
    handover = ballot.handovers[dealer]
    envelope = handover.envelopes[ballot.links.neighbours(dealer).index(holder)]
    committed = handover.deal.rows[ballot.links.holders(dealer).index(holder)]
    try:
        if not complaint.key:
            raise BadShare(f"{holder} has no key of the envelope from {dealer}")
        row = open_with_key(context, dealer, holder, envelope, complaint.key, prekey_index, group.neighbours + 1)
    except BadShare:
        return Blamed(group.gid, "R4", (), tuple(sorted((dealer, holder))))
    except CannotDecrypt:
        return Blamed(group.gid, "R4", (dealer,), ())
    unfounded = hmac.compare_digest(row.commitment(context), committed)
    return Blamed(group.gid, "R4", (holder if unfounded else dealer,), ())


def open_seeds(ballot: Ballot, answers: Mapping[str, Shares]) -> Shares:
    """R5: every secret of the group, from answers, holder -> shares, that passed R3.

    Raises BadShare; it names the dealers whose shares do not give what they committed to, and nobody where shares are
    too few.
    """
    group = ballot.links.group
    seeds = {secret: combine(points, group.shares) for secret, points in ballot.gather(answers)}
    bad = sorted({secret[0] for secret, seed in seeds.items() if not _is_committed(ballot, secret, seed)})
    if bad:
        message = f"group {group.gid}: the shares that {', '.join(bad)} dealt do not give what they committed to"
        raise BadShare(message, check="R5", named=tuple(bad))
    return seeds


def _is_committed(ballot: Ballot, secret: Secret, seed: int) -> bool:
    (dealer, other), context = secret, ballot.links.context
    deal = ballot.handovers[dealer].deal
    if not other:
        return hmac.compare_digest(self_commitment(context, dealer, seed), deal.self_commitment)
    found = edge_commitment(context, min(secret), max(secret), seed)
    return hmac.compare_digest(found, deal.edges[ballot.secrets(dealer)[secret] - 1])


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
        group, context = ballot.links.group, ballot.links.context
        own = [seed for (_, other), seed in seeds.items() if not other]
        # A dealer subtracted the keystream of an edge to a neighbour that stands before it in the cohort.
        edges = [(seed, other < dealer) for (dealer, other), seed in seeds.items() if other]
        counts = tuple(unmask_terms(context, own, edges, Stream.COUNT))
        sums = () if group.sums is None else tuple(unmask_terms(context, own, edges, Stream.SUM))
        return cls(group, ballot.survivors, counts, sums)
