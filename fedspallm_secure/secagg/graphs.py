"""Who shares a pairwise mask with whom: everybody with everybody, or in large cohorts a sparse graph (SPEC section 14).

The neighbours of a member are also those who hold shares of its secrets.  Members are known by their number in the
cohort.  A sparse graph and its thresholds are recomputed by every member; nothing of it is taken from the plan.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, comb

from fedspallm_secure.crypto.draws import PublicDraws
from fedspallm_secure.errors import PlanRefused
from fedspallm_secure.secagg.thresholds import MIN_HONEST, Profile, Thresholds, thresholds

COMPLETE_LIMIT = 200  # up to here everybody is everybody's neighbour
DROPOUTS = Fraction(1, 10)  # share of a cohort that may fall silent

_PRIVACY = 1 << 40  # odds against a draw of the graph that protects less than it should
_AVAILABILITY = 1 << 30  # odds against a draw in which some secret does not open


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph in which every member has the same number of neighbours, and is a neighbour of its neighbours.

    circle: the members in their order around the circle; places: member -> its place there; degree: k.
    """

    circle: tuple[int, ...]
    places: tuple[int, ...]
    degree: int

    def neighbours(self, member: int) -> tuple[int, ...]:
        """The neighbours of a member, ascending.  Raises ValueError if there is no such member."""
        return tuple(holder for holder in self.holders(member) if holder != member)

    def holders(self, member: int) -> tuple[int, ...]:
        """The holders of the member's shares, ascending: its neighbours and itself (SPEC section 13)."""
        size = len(self.circle)
        if not 0 <= member < size:
            raise ValueError(f"no member {member} in a cohort of {size}")
        if self.degree == size - 1:
            return tuple(range(size))
        first = self.places[member] - self.degree // 2
        return tuple(sorted(self.circle[place % size] for place in range(first, first + self.degree + 1)))


def complete(members: int) -> Graph:
    """Everybody is everybody's neighbour."""
    order = tuple(range(members))
    return Graph(order, order, members - 1)


def isolated(members: int) -> Graph:
    """Nobody is anybody's neighbour: nothing is shared, since no keystream is added."""
    order = tuple(range(members))
    return Graph(order, order, 0)


def circulant(members: int, degree: int, seed: bytes, group: int) -> Graph:
    """Every member is the neighbour of the k/2 before it and the k/2 after it in a drawn circle (SPEC section 14).

    seed: public, and not of the server's choosing; group: number of the decoder layer.  Raises PlanRefused unless k is
    even and 2 ≤ k < n.
    """
    if degree % 2 or not 2 <= degree < members:
        raise PlanRefused(
            f"{members} members in a circle cannot have {degree} neighbours each",
            hint=f"take an even number from 2 to {members - 1}",
        )
    circle = PublicDraws(seed, f"graph of group {group}").permutation(range(members))
    places = [0] * members
    for place, member in enumerate(circle):
        places[member] = place
    return Graph(tuple(circle), tuple(places), degree)


def group_thresholds(members: int, colluders: int, profile: Profile) -> Thresholds:
    """The thresholds of a group, in the graph that its size asks for (SPEC section 14).

    Raises PlanRefused if the cohort is too small for that many colluders, or too large for the profile.
    """
    if members <= COMPLETE_LIMIT or profile is Profile.ONE_TRIP:
        return thresholds(members, colluders, profile)
    if profile is Profile.TWO_TRIP:
        raise PlanRefused(
            f"a cohort of {members} is too large for the profile {profile}: it ends at {COMPLETE_LIMIT} members",
            hint="use smaller cohorts, witnesses, or the profile three-trip",
        )
    return sparse_thresholds(members, colluders)


def group_graph(group_thresholds: Thresholds, seed: bytes, group: int) -> Graph:
    """The graph that belongs to the thresholds of a group.  seed, group: as in `circulant`."""
    if group_thresholds.holders is None:
        return complete(group_thresholds.members)
    return circulant(group_thresholds.members, group_thresholds.holders - 1, seed, group)


def sparse_thresholds(members: int, colluders: int) -> Thresholds:
    """The thresholds of a cohort in a sparse graph; its degree is `holders` − 1.  Raises PlanRefused."""
    degree, shares = degree_and_threshold(members, colluders)
    survivors = max(ceil((1 - DROPOUTS) * members), colluders + MIN_HONEST)
    return Thresholds(members, colluders, shares, survivors, holders=degree + 1)


def sparse_isolation_bound(degree: int, shares: int) -> int:
    """The fewest honest members whose sum opens for one survivor list in a sparse graph: k + 2 − t.

    Whomever the server leaves off the list; proof in docs/SECURITY_ARGUMENT.md.
    """
    return degree + 2 - shares


def degree_and_threshold(members: int, colluders: int, dropouts: Fraction = DROPOUTS) -> tuple[int, int]:
    """(k, t): the smallest even degree that fulfils the three conditions of SPEC section 14, and its smallest t.

    colluders: c, a number; dropouts: δ, a share.  All is exact: tails of hypergeometric distributions, in integers.
    Raises PlanRefused if no degree fulfils them, or c is not from 0 to n − 1.
    """
    if not 0 <= colluders < members:
        raise PlanRefused(
            f"{colluders} of {members} members cannot be colluders",
            hint=f"state a number of colluders from 0 to {members - 1}",
        )
    answering = ceil((1 - dropouts) * (members - 1))
    lost = Fraction(colluders, members) + dropouts
    for degree in range(2, members, 2):
        if members * _PRIVACY * lost ** (degree // 2) > 1:
            continue
        corrupted = rare_count(members - 1, colluders, degree, members * _PRIVACY)
        shares = (degree + 1 + corrupted + 1) // 2
        silent = rare_count(members - 1, members - 1 - answering, degree, members * _AVAILABILITY)
        if shares <= degree + 2 - silent:
            return degree, shares
    raise PlanRefused(
        f"no sparse graph of {members} members protects them from {colluders} colluders and bears {dropouts} dropouts",
        hint="assume fewer colluders, or use smaller cohorts",
    )


def rare_count(population: int, marked: int, draws: int, odds: int) -> int:
    """The smallest x with P[Hyp(population, marked, draws) ≥ x] ≤ 1 / odds.

    Hyp: how many of the marked ones are among those drawn without replacement.  odds: above 1.
    """
    total = comb(population, draws)
    count = min(marked, draws)
    term, tail = comb(marked, count) * comb(population - marked, draws - count), 0
    while (tail + term) * odds <= total:
        tail += term
        term = term * count * (population - marked - draws + count) // ((marked - count + 1) * (draws - count + 1))
        count -= 1
    return count + 1
