"""Random histories of releases: the ledger against an attacker who tries everything (SPEC section 15).

    python -m tests.secagg.disclosure_oracle COUNT SEED     prints the figures as JSON

The attacker is written from what has to be prevented, not from the rank test: for every set of at most c colluders and
every one or two honest members, is there a combination of the sums in which, besides colluders, just these stand?
Systems of equations are solved with fractions.
"""

import json
import random
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, combinations

from fedspallm_secure.errors import DisclosureRefused
from fedspallm_secure.secagg.disclosure import Ledger, Release

Rows = Sequence[frozenset[str]]
MATRIX = "model.layers.0.mlp.up_proj.weight"
SINGLES, BLOCKS, ROWS = 9, 4, 5  # at most
MANY = 1000  # releases of one matrix, as far as the policy goes


def base(number: int) -> str:
    """Digest of the base weights at a revision."""
    return f"{number:064x}"


def ledger_of(rows: Rows, matrix: str = MATRIX) -> Ledger:
    """One release of `matrix` for each row, each at another base revision."""
    return Ledger(tuple(Release(matrix, base(number), number, row) for number, row in enumerate(rows, start=1)))


def refuses(rows: Rows, colluders: int) -> bool:
    """Whether a member that knows all rows but the last refuses the last."""
    try:
        ledger_of(rows[:-1]).check(MATRIX, base(len(rows)), rows[-1], colluders, epochs=MANY)
    except DisclosureRefused:
        return True
    return False


def exposes(rows: Rows, colluders: int) -> bool:
    """Whether at most `colluders` members, with all the sums, learn a combination of one or two others' vectors."""
    members = sorted(frozenset().union(*rows))
    known: dict[frozenset[str], list[dict[str, Fraction]]] = {}
    for bad in subsets(members, 0, colluders):
        for honest in subsets([member for member in members if member not in bad], 1, 2):
            inside = frozenset(bad + honest)
            if inside not in known:
                known[inside] = combinations_within(rows, inside)
            if any(vector[member] for vector in known[inside] for member in honest):
                return True
    return False


def subsets(members: Sequence[str], least: int, most: int) -> chain[tuple[str, ...]]:
    """All subsets of `least` to `most` members."""
    return chain.from_iterable(combinations(members, size) for size in range(least, most + 1))


def combinations_within(rows: Rows, inside: Collection[str]) -> list[dict[str, Fraction]]:
    """Combinations of the rows, member -> coefficient, with nobody outside in them; they span all of them."""
    members = sorted(frozenset().union(*rows))
    outside = [member for member in members if member not in inside]
    factors = kernel([[Fraction(member in row) for row in rows] for member in outside], len(rows))
    return [
        {member: sum((f for f, row in zip(ys, rows, strict=True) if member in row), Fraction(0)) for member in members}
        for ys in factors
    ]


def kernel(equations: list[list[Fraction]], unknowns: int) -> list[list[Fraction]]:
    """A basis of the solutions of equations whose right side is 0, by Gauss and Jordan."""
    pivots: list[int] = []
    rows = [list(row) for row in equations]
    for column in range(unknowns):
        at = next((number for number in range(len(pivots), len(rows)) if rows[number][column]), None)
        if at is None:
            continue
        top = len(pivots)
        rows[top], rows[at] = rows[at], rows[top]
        rows[top] = [entry / rows[top][column] for entry in rows[top]]
        for number, row in enumerate(rows):
            if number != top and row[column]:
                rows[number] = [entry - row[column] * one for entry, one in zip(row, rows[top], strict=True)]
        pivots.append(column)
    solutions = []
    for free in (column for column in range(unknowns) if column not in pivots):
        solution = [Fraction(column == free) for column in range(unknowns)]
        for row, pivot in zip(rows, pivots, strict=False):
            solution[pivot] = -row[free]
        solutions.append(solution)
    return solutions


@dataclass(slots=True)
class Comparison:
    """What came of many histories.  failures: those on which the ledger and the attacker do not agree."""

    histories: int = 0
    refused: int = 0
    missed: int = 0
    refused_without_need: int = 0
    failures: list[str] = field(default_factory=list)

    def take(self, rows: Rows, colluders: int) -> None:
        """Judge one history."""
        refused, exposed = refuses(rows, colluders), exposes(rows, colluders)
        self.histories += 1
        self.refused += refused
        self.missed += exposed and not refused
        self.refused_without_need += refused and not exposed
        if refused is not exposed:
            self.failures.append(f"{[sorted(row) for row in rows]} with {colluders} colluders")


def compare(histories: int, seed: int) -> tuple[int, int]:
    """Exposures that the ledger missed, and refusals without an exposure, in so many random histories."""
    found = run(histories, seed)
    return found.missed, found.refused_without_need


def run(histories: int, seed: int) -> Comparison:
    """Compare on random histories; half of them move single members, half whole blocks of two or three."""
    draw, found = random.Random(seed), Comparison()
    for number in range(histories):
        sizes = (
            [1] * draw.randint(3, SINGLES)
            if number % 2
            else [draw.randint(2, 3) for _ in range(draw.randint(2, BLOCKS))]
        )
        names = iter(f"m{member}" for member in range(sum(sizes)))
        units = [frozenset(next(names) for _ in range(size)) for size in sizes]
        rows = [_sample(draw, units)]
        for _ in range(draw.randrange(ROWS)):
            rows.append(_next(draw, units, rows))
        found.take(rows, draw.choice((0, 0, 0, 1, 1, 2, 3)))
    return found


def _next(draw: random.Random, units: list[frozenset[str]], rows: Rows) -> frozenset[str]:
    """Half of the time another sample, else something near an earlier row."""
    kind, before = draw.randrange(8), draw.choice(rows)
    inside, rest = [unit for unit in units if unit <= before], [unit for unit in units if not unit & before]
    if kind == 0:
        return before
    if kind == 1:
        return before | draw.choice(rows)
    if kind == 2 and rest:
        return frozenset().union(*rest)
    if kind == 3 and inside and rest:
        return before - draw.choice(inside) | draw.choice(rest)
    return _sample(draw, units)


def _sample(draw: random.Random, units: list[frozenset[str]]) -> frozenset[str]:
    least = 1 if draw.randrange(8) == 0 else (len(units) + 1) // 2
    return frozenset().union(*draw.sample(units, draw.randint(least, len(units))))


if __name__ == "__main__":
    outcome = run(int(sys.argv[1]), int(sys.argv[2]))
    figures = {name: getattr(outcome, name) for name in Comparison.__slots__}
    sys.stdout.write(json.dumps(figures) + "\n")
