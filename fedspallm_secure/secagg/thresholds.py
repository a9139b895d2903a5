"""How many shares open a secret, and how many survivors a sum needs (SPEC section 14).

Every number follows from the size of a cohort and the colluders that a member's own policy assumes, in integers, so
that all parties come to the same ones.  docs/SECURITY_ARGUMENT.md has the proof behind `isolation_bound`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from fedspallm_secure.errors import PlanRefused

MIN_HONEST = 3  # with two honest members in a sum, each would read the other's vector off it


class Profile(StrEnum):
    """How a group makes sure that all its members answer for one survivor list (SPEC section 14)."""

    TWO_TRIP = "two-trip"
    THREE_TRIP = "three-trip"
    WITNESSED = "two-trip-witnessed"
    ONE_TRIP = "one-trip"  # nobody answers: a key holder decrypts the sum (SPEC section 24)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The numbers of one group.

    members: n, size of the cohort; colluders: c, members that may work with the server; shares: t, that open a secret;
    survivors: n_min, the fewest in a sum; holders: of one dealer's shares, None in a complete graph, where all are.
    Raises PlanRefused where the numbers do not protect anybody.
    """

    members: int
    colluders: int
    shares: int
    survivors: int
    holders: int | None = None

    def __post_init__(self) -> None:
        n, c, t, least = self.members, self.colluders, self.shares, self.survivors
        if c < 0:
            raise PlanRefused(f"{c} colluders: the number cannot be negative", hint="state 0 or more colluders")
        if n < least:
            raise PlanRefused(
                f"a cohort of {n} is too small: with {c} colluder{'s' * (c != 1)} a sum needs {least} survivors",
                hint=f"make cohorts of at least {c + MIN_HONEST} members, or assume fewer than {c} colluders",
            )
        if least < c + MIN_HONEST:
            raise PlanRefused(
                f"{least} survivors with {c} colluders among them leave {least - c} honest members, not {MIN_HONEST}",
                hint=f"ask for at least {c + MIN_HONEST} survivors",
            )
        holders = n if self.holders is None else self.holders
        if not 1 <= t <= min(holders, least):
            raise PlanRefused(
                f"{t} shares cannot open a secret of {holders} holders in a sum of {least} survivors",
                hint=f"take from 1 to {min(holders, least)} shares",
            )
        # Among the holders of a sparse graph colluders are a matter of chance, and `graphs` has bounded it.
        twice = n + c if self.holders is None else holders
        if 2 * t <= twice:
            raise PlanRefused(
                f"{t} shares open a secret: half of {twice} or fewer, so both kinds of a member's secrets can open",
                hint=f"take at least {twice // 2 + 1} shares",
            )

    @property
    def dropouts(self) -> int:
        """Members that may fall silent, before or after their upload, without stopping the group."""
        return self.members - max(self.shares, self.survivors)

    @property
    def honest(self) -> int:
        """The fewest honest members in a list that a member answers for: n_min − c.

        Where all answer for one list in a complete graph, no sum of fewer can be opened; else see `isolation_bound`
        and `graphs.sparse_isolation_bound`.
        """
        return self.survivors - self.colluders


def thresholds(members: int, colluders: int, profile: Profile) -> Thresholds:
    """The thresholds of a cohort in which everybody is everybody's neighbour, or nobody is anybody's (SPEC section 14).

    Raises PlanRefused if the cohort is too small for that many colluders.
    """
    if profile is Profile.ONE_TRIP:
        return Thresholds(members, colluders, 1, colluders + MIN_HONEST, holders=1)
    shares = max(2 * members // 3 + 1, quorum(members, colluders))
    one_list = Thresholds(members, colluders, shares, max(shares, colluders + MIN_HONEST))
    if profile is not Profile.TWO_TRIP:
        return one_list
    both = one_list.survivors
    while isolation_bound(members, colluders, both, both) < MIN_HONEST:  # ends at n, where the bound is n − c
        both += 1
    return Thresholds(members, colluders, both, both)


def isolation_bound(members: int, colluders: int, shares: int, survivors: int) -> int:
    """The fewest honest members whose sum a server can open that shows every member another survivor list.

    ⌈h · (1 − (n − n_min) / (t − c))⌉ with h = n − c, and at least 1; proof in docs/SECURITY_ARGUMENT.md.
    Raises ValueError unless 0 ≤ c < n, t and n_min are at most n, and 2t > n + c, which the proof needs.
    """
    n, c, t, least = members, colluders, shares, survivors
    if not (0 <= c < n and t <= n and least <= n and 2 * t > n + c):
        raise ValueError(f"no bound for n = {n}, c = {c}, t = {t}, n_min = {least}")
    honest, needed = n - c, t - c
    return max(1, -(honest * (n - least - needed) // needed))


def default_colluders(members: int) -> int:
    """The colluders that a policy assumes if nobody says otherwise: ⌊(n − 1) / 3⌋."""
    return (members - 1) // 3


def quorum(parties: int, dishonest: int) -> int:
    """⌊(W + f) / 2⌋ + 1: of two sets of that many parties, the common ones are not all dishonest.

    So if an honest party signs one list only, no second list gets as many signatures.
    """
    return (parties + dishonest) // 2 + 1


def witness_quorum(witnesses: int, dishonest: int) -> int:
    """The signatures of witnesses that make a survivor list the only one (SPEC section 14).

    Raises PlanRefused if honest witnesses are none.
    """
    if not 0 <= dishonest < witnesses:
        raise PlanRefused(
            f"{witnesses} witnesses of which {dishonest} may be dishonest are no witnesses",
            hint="name more witnesses than may be dishonest, or use the profile three-trip",
        )
    return quorum(witnesses, dishonest)


def table(sizes: Iterable[int]) -> str:
    """The thresholds of cohorts of these sizes with the default colluders, as a table in Markdown.

    The last column is `isolation_bound` of the profile two-trip.
    """
    head = "| n | c | three-trip: t | n_min | dropouts | honest | two-trip: t = n_min | dropouts | isolated at least |"
    lines = [head, "|---" * 9 + "|"]
    for n in sizes:
        c = default_colluders(n)
        one, split = thresholds(n, c, Profile.THREE_TRIP), thresholds(n, c, Profile.TWO_TRIP)
        bound = isolation_bound(n, c, split.shares, split.survivors)
        cells = (n, c, one.shares, one.survivors, one.dropouts, one.honest, split.shares, split.dropouts, bound)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)
