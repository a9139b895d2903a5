"""What a server and the members that work with it can compute, from everything that they have seen.

It takes all masked vectors, opens every seed that it can, and then asks by linear algebra which combinations of honest
members' vectors come out: each masked vector is its member's vector and some keystreams, and a keystream whose seed is
not known is an unknown of its own.  So it needs no idea of how an attack works, and finds two vectors under one
keystream, lists that differ, and sums of several rounds alike.  Nothing here knows a threshold.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import lcm

import numpy as np

from fedspallm_secure.app.rounds.vault import word_sizes
from fedspallm_secure.app.rounds.vectors import Streams
from fedspallm_secure.crypto.sealing import RecipientSecret, x25519
from fedspallm_secure.errors import BadShare, CannotDecrypt
from fedspallm_secure.protocol.prekeys import Prekey
from fedspallm_secure.protocol.rounds.deals import Handover, deal_digest
from fedspallm_secure.protocol.rounds.links import Links
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.unmasking import AnsweredGroup
from fedspallm_secure.secagg.commitments import Row, open_share
from fedspallm_secure.secagg.envelopes import open_with_key, unwrap_key
from fedspallm_secure.secagg.keystreams import Kind, Stream, stream_key
from fedspallm_secure.secagg.masking import Term, add_keystreams
from fedspallm_secure.secagg.seeds import End, edge_commitment, edge_seed, self_commitment
from fedspallm_secure.secagg.sharing import combine
from tests.secagg.disclosure_oracle import kernel, subsets

Unknown = tuple[object, ...]  # names a keystream: two with one name are the same bytes
ISOLATED = 2  # honest members in a sum that is an isolation, at most


@dataclass(frozen=True, eq=False)
class Masked:
    """One masked vector with what came with it.  keys: of everybody in the plan that its member accepted."""

    member: str
    plan: Plan
    plan_hash: str
    gid: int
    handover: Handover = field(repr=False)
    streams: Streams = field(repr=False)
    keys: Mapping[str, Prekey] = field(repr=False)

    @cached_property
    def links(self) -> Links:
        group = self.plan.group(self.gid)
        assert group is not None
        return Links.of(self.plan, self.plan_hash, group)

    @cached_property
    def digest(self) -> str:
        """Of its deal."""
        return deal_digest(self.links.context, self.member, self.handover.deal.encode())

    @cached_property
    def unknowns(self) -> dict[str, Unknown]:
        """Neighbour, or empty for the member itself -> the keystream between the two; numbered as secrets are."""
        found: dict[str, Unknown] = {"": ("self", *self.about, self.member, self.handover.deal.self_commitment)}
        for other in self.links.neighbours(self.member):
            first, second = sorted((self.member, other))
            found[other] = ("pair", *self.about, first, second, self.keys[first].exchange, self.keys[second].exchange)
        return found

    @property
    def about(self) -> tuple[str, int, str, int]:
        """What every key of the group is bound to."""
        return self.plan.federation, self.plan.round, self.plan_hash, self.gid

    def adds(self, other: str) -> bool:
        """Whether the member added the keystream, and did not subtract it."""
        return not other or self.member < other

    def index(self, member: str) -> int:
        """Which of its prekeys a member uses."""
        return next(use.index for use in self.plan.prekeys if use.id == member)


@dataclass
class Knowledge:
    """Everything that the server and the colluders have.

    exchange: public X25519 key -> its secret; recipients: public key of a prekey -> its secret, both of colluders and
    of whatever keys the server made; answers: (plan hash, holder, answer for one group); shown: keys of envelopes.
    """

    colluders: frozenset[str]
    exchange: dict[bytes, bytes] = field(default_factory=dict)
    recipients: dict[bytes, RecipientSecret] = field(default_factory=dict)
    vectors: list[Masked] = field(default_factory=list)
    answers: list[tuple[str, str, AnsweredGroup]] = field(default_factory=list)
    shown: list[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class Isolation:
    """A sum over few honest members that can be computed.

    members: whose; factors: how often each masked vector goes in; steady: whether that takes a member's vector to be
    the same in two rounds.
    """

    gid: int
    members: frozenset[str]
    factors: tuple[tuple[Masked, int], ...] = field(repr=False)
    steady: bool


class Solver:
    """What follows from some knowledge.  vectors: those of honest members; seeds: what opened."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        known = {(one.plan_hash, one.gid, one.member, one.digest, one.streams.hash): one for one in knowledge.vectors}
        self.vectors = [one for one in known.values() if one.member not in knowledge.colluders]
        self.seeds: dict[Unknown, int] = {}
        for vector in self.vectors:
            self._open(vector)

    # Seeds

    def _open(self, vector: Masked) -> None:
        """Every seed of a vector that shares give, or that is derived from a secret key that is known."""
        links, shares = vector.links, self._shares(vector)
        for number, (other, unknown) in enumerate(vector.unknowns.items()):
            held, found = shares.get(number, {}), None
            if len(held) >= links.group.shares:
                found = combine(held, links.group.shares)
                found = found if _is_committed(vector, number, other, found) else None
            if found is None and other:
                found = self._derived(vector, other)
            if found is not None:
                self.seeds[unknown] = found

    def _derived(self, vector: Masked, other: str) -> int | None:
        """The seed of an edge, if the secret key of one end is known."""
        ends = [End(member, vector.keys[member].exchange) for member in sorted((vector.member, other))]
        for own, peer in (ends, ends[::-1]):
            secret = self.knowledge.exchange.get(own.public)
            if secret is not None:
                return edge_seed(x25519(secret, peer.public), vector.links.context, ends[0], ends[1])
        return None

    def _shares(self, vector: Masked) -> dict[int, dict[int, int]]:
        """Number of a secret of the vector's member -> x coordinate -> share; only those that it committed to."""
        links, dealer = vector.links, vector.member
        holders, points = links.holders(dealer), links.points(dealer)
        found: dict[int, dict[int, int]] = {}
        for holder, row in self._rows(vector):
            for number, share in enumerate(row.shares):
                found.setdefault(number, {})[points[holder]] = int.from_bytes(share, "big")
        numbers = {other: number for number, other in enumerate(links.neighbours(dealer), start=1)}
        for plan_hash, holder, answer in self.knowledge.answers:
            if (plan_hash, answer.gid) != (vector.plan_hash, vector.gid) or holder not in holders:
                continue
            committed = vector.handover.rows[holders.index(holder)]
            opened = [(0, one.share, one.blind) for one in answer.self_shares if one.id == dealer]
            opened += [(numbers[one.dropped], one.share, one.blind) for one in answer.edges if one.id == dealer]
            for number, share, blind in opened:
                try:
                    value = open_share(links.context, dealer, holder, number, share, blind, committed[number])
                except BadShare:
                    continue
                found.setdefault(number, {})[points[holder]] = value
        return found

    def _rows(self, vector: Masked) -> Iterator[tuple[str, Row]]:
        """The rows in envelopes that can be opened: with a holder's secret, or with a key that somebody showed."""
        links, dealer = vector.links, vector.member
        near = links.neighbours(dealer)
        for holder, envelope in zip(near, vector.handover.envelopes, strict=True):
            about, index = (links.context, dealer, holder, envelope), vector.index(holder)
            secret = self.knowledge.recipients.get(vector.keys[holder].recipient.public)
            try:
                own = [] if secret is None else [unwrap_key(*about, secret, index)]
            except CannotDecrypt:
                own = []
            for key in (*own, *self.knowledge.shown):
                try:
                    row = open_with_key(*about, key, index, len(near) + 1)
                    row.check(links.context, vector.handover.deal.rows[links.holders(dealer).index(holder)])
                except (BadShare, CannotDecrypt):
                    continue
                yield holder, row

    # Combinations

    def _closed(self, vector: Masked) -> dict[Unknown, int]:
        """The keystreams in a masked vector whose seeds are not known, with their signs."""
        return {
            unknown: 1 if vector.adds(other) else -1
            for other, unknown in vector.unknowns.items()
            if unknown not in self.seeds
        }

    def isolations(self, most: int = ISOLATED) -> list[Isolation]:
        """Sums over at most `most` honest members, of each group the smallest first; none holds another one."""
        found: list[Isolation] = []
        for gid in sorted({vector.gid for vector in self.vectors}):
            for steady in (False, True):
                known = [one.members for one in found if one.gid == gid]
                found += [one for one in self._isolated(gid, steady, most) if one.members not in known]
        return found

    def _isolated(self, gid: int, steady: bool, most: int) -> Iterator[Isolation]:
        mine = [vector for vector in self.vectors if vector.gid == gid]
        closed = [self._closed(vector) for vector in mine]
        unknowns = sorted(set().union(*closed), key=repr)
        # The combinations of masked vectors in which no unknown keystream is left.
        basis = kernel([[Fraction(one.get(unknown, 0)) for one in closed] for unknown in unknowns], len(mine))
        parts: dict[tuple[str, int], list[Fraction]] = {}  # a member's vector -> how often it is in each of them
        for place, vector in enumerate(mine):
            before = parts.setdefault((vector.member, 0 if steady else place), [Fraction(0)] * len(basis))
            before[:] = [count + combination[place] for count, combination in zip(before, basis, strict=True)]
        done: list[frozenset[str]] = []
        for chosen in map(frozenset, subsets(sorted({vector.member for vector in mine}), 1, most)):
            outside = [counts for (member, _), counts in parts.items() if member not in chosen]
            mixes = [] if any(one <= chosen for one in done) else kernel(outside, len(basis))
            good = [mix for mix in mixes if any(_dot(mix, counts) for counts in parts.values())]
            if good:
                done.append(chosen)
                row = [_dot(good[0], [combination[place] for combination in basis]) for place in range(len(mine))]
                scale = lcm(*(factor.denominator for factor in row))
                factors = [(vector, int(factor * scale)) for vector, factor in zip(mine, row, strict=True) if factor]
                yield Isolation(gid, chosen, tuple(factors), steady)

    def compute(self, isolation: Isolation) -> list[np.ndarray]:
        """The combination itself, stream by stream, in words that wrap around: proof that it was isolated."""
        return combined([(self._unmasked(vector), factor) for vector, factor in isolation.factors])

    def _unmasked(self, vector: Masked) -> list[np.ndarray]:
        """A masked vector with all that is known taken off, as words."""
        group, parts = vector.links.group, []
        for part, size, stream in zip(vector.streams.parts, word_sizes(group), Stream, strict=False):
            terms = [
                Term(
                    stream_key(self.seeds[unknown], vector.links.context, Kind.PAIR if other else Kind.SELF, stream),
                    negative=vector.adds(other),
                )
                for other, unknown in vector.unknowns.items()
                if unknown in self.seeds
            ]
            copy = part.copy()
            add_keystreams(copy, terms, size)
            parts.append(copy.view(f"<u{size}"))
        return parts


def _is_committed(vector: Masked, number: int, other: str, seed: int) -> bool:
    context, deal = vector.links.context, vector.handover.deal
    if not other:
        return self_commitment(context, vector.member, seed) == deal.self_commitment
    first, second = sorted((vector.member, other))
    return edge_commitment(context, first, second, seed) == deal.edges[number - 1]


def combined(vectors: Sequence[tuple[Sequence[np.ndarray], int]]) -> list[np.ndarray]:
    """The sum of vectors, each of some streams in words, times a factor; in words that wrap around."""
    total = [np.zeros_like(part) for part in vectors[0][0]]
    for parts, factor in vectors:
        for sum_, part in zip(total, parts, strict=True):
            sum_ += part * np.array(factor % (1 << 8 * part.itemsize), part.dtype)
    return total


def _dot(left: Sequence[Fraction], right: Sequence[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(left, right, strict=True)), Fraction(0))
