"""What a server opens by showing members different survivor lists: every strategy is tried (SPEC section 14).

n members, the first h = n − c honest, the others colluders.  An honest member is shown a list of survivors, with
itself and at least n_min members in it, or none.  It answers with its share of the self seed of everybody on the list,
and of the edge seed between everybody on it and everybody off it, as dealt by the one on it.  A secret opens with t
shares; colluders give theirs of everything, and know the seeds of their own edges.

`opened` says literally what a strategy opens.  The searches know nothing of the bound in `thresholds`; `agreement`
compares them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

from fedspallm_secure.secagg.thresholds import isolation_bound

Views = tuple[frozenset[int] | None, ...]  # of each honest member: the list it answers for


def opened(n: int, c: int, t: int, views: Views) -> list[frozenset[int]]:
    """The sets of honest members whose sums are open: components along closed edges that have all self seeds open."""
    honest = range(n - c)
    lists = [view for view in views if view is not None]

    def opens(on: int, off: int | None) -> bool:
        return sum(on in view and off not in view for view in lists) + c >= t

    left, found = set(honest), []
    while left:
        component, border = set(), {min(left)}
        while border:
            component |= border
            border = {
                k for k in honest if k not in component and any(not opens(i, k) and not opens(k, i) for i in border)
            }
        left -= component
        if all(opens(i, None) for i in component):
            found.append(frozenset(component))
    return found


def answerable(n: int, c: int, n_min: int, member: int, with_colluders: bool = False) -> Iterator[frozenset[int]]:
    """The lists that an honest member answers for, the longest last.

    All colluders are on them unless `with_colluders` asks for those too in which some are missing: a colluder on the
    list helps to reach n_min, and opens or closes nothing.
    """
    honest, colluders = range(n - c), range(n - c, n)
    for size in range(n - c + 1):
        for chosen in combinations(honest, size):
            if member in chosen:
                for some in range(c + 1) if with_colluders else [c]:
                    if size + some >= n_min:
                        yield from (frozenset(chosen + more) for more in combinations(colluders, some))


def smallest_by_trying_all(n: int, c: int, t: int, n_min: int) -> int:
    """The smallest set that any strategy isolates, by going through all strategies one by one."""
    choices = [[None, *answerable(n, c, n_min, member, with_colluders=True)] for member in range(n - c)]
    return min(len(found) for views in product(*choices) for found in opened(n, c, t, views))


def smallest_for_one_list(n: int, c: int, t: int, n_min: int) -> int:
    """The same where all who answer have the same list: over every list, and every choice of who answers."""
    sizes = []
    for survivors in answerable(n, c, n_min, 0):  # members are interchangeable: one of them is on the list
        for silent in product([False, True], repeat=n - c):
            views = tuple(survivors if k in survivors and not is_silent else None for k, is_silent in enumerate(silent))
            sizes += map(len, opened(n, c, t, views))
    return min(sizes)


@dataclass(frozen=True, slots=True)
class Isolation:
    """A strategy of the server and the smallest set that any isolates: the honest members below `size`."""

    size: int
    views: Views


def smallest_isolated(n: int, c: int, t: int, n_min: int) -> Isolation:
    """Search all strategies.  Members are interchangeable, so only the sets {0, …, a − 1} have to be tried."""
    for size in range(1, n - c + 1):
        views = _Search(n, c, t, n_min, size).run()
        if views is not None:
            return Isolation(size, views)
    raise ValueError(f"nothing opens with n = {n}, c = {c}, t = {t}, n_min = {n_min}")


class _Search:
    """Depth first through the lists of member 0, 1, …, for one set A = {0, …, size − 1} to isolate.

    Per outsider k it counts for every i in A the answers with i on and k off the list, and those with k on and i off;
    per i those with i on it.  A branch ends where the members to come are too few for what still has to open.  Two
    branches are the same if they differ in the names of outsiders: those with a list already, and those without.
    """

    def __init__(self, n: int, c: int, t: int, n_min: int, size: int) -> None:
        self.honest, self.size, self.needed = n - c, size, t - c
        self.dead: set[tuple[object, ...]] = set()
        self.choices = [[None, *answerable(n, c, n_min, member)] for member in range(n - c)]

    def run(self) -> Views | None:
        outsiders = self.honest - self.size
        return self._extend((), (0,) * self.size, (((0,) * self.size, (0,) * self.size),) * outsiders)

    def _extend(
        self, views: Views, selves: tuple[int, ...], pairs: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    ) -> Views | None:
        enough = self.needed - (self.honest - len(views))
        if any(count < enough for count in selves):
            return None
        if any(a < enough and b < enough for forth, back in pairs for a, b in zip(forth, back, strict=True)):
            return None
        if len(views) == self.honest:
            return views
        had = max(0, len(views) - self.size)
        state = (len(views), selves, tuple(sorted(pairs[:had])), tuple(sorted(pairs[had:])))
        if state in self.dead:
            return None
        for view in self.choices[len(views)]:
            found = self._extend((*views, view), *self._count(view, selves, pairs))
            if found is not None:
                return found
        self.dead.add(state)
        return None

    def _count(self, view, selves, pairs):
        if view is None:
            return selves, pairs
        on = [i in view for i in range(self.size)]
        top = self.needed
        selves = tuple(min(top, count + is_on) for count, is_on in zip(selves, on, strict=True))
        counted = []
        for k, (forth, back) in enumerate(pairs, start=self.size):
            if k in view:
                back = tuple(min(top, count + (not is_on)) for count, is_on in zip(back, on, strict=True))
            else:
                forth = tuple(min(top, count + is_on) for count, is_on in zip(forth, on, strict=True))
            counted.append((forth, back))
        return selves, tuple(counted)


def agreement(n: int) -> str:
    """Compare the search with the bound for every c < n, t > (n + c) / 2 and n_min ≥ t; one line for people."""
    cases = [(n, c, t, n_min) for c in range(n) for t in range((n + c) // 2 + 1, n + 1) for n_min in range(t, n + 1)]
    found = [(smallest_isolated(*case).size, isolation_bound(*case)) for case in cases]
    below, equal = sum(size < bound for size, bound in found), sum(size == bound for size, bound in found)
    return f"n = {n}: {len(cases)} cases, {equal} equal to the bound, {below} below it"
