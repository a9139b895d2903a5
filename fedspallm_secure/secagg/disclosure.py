"""What was released, and whether one more sum would give members' vectors away by subtraction (SPEC section 15).

A member's vector for a matrix changes little from one base revision to the next.  So sums over different members are
taken here as sums of the same vectors: whoever holds them can form every rational combination, and learns most from
the one with the fewest members in it.  All arithmetic is in whole numbers, hence exact.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import gcd
from typing import Any, Final

from fedspallm_secure.crypto.encoding import INTEGER_BOUND, decode_hex, fields
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.errors import DisclosureRefused, FormatError

HONEST: Final = 3  # honest members that are mixed in everything the server can compute, at least
WORK_LIMIT: Final = 10_000_000  # numbers computed until a history counts as undecided, and is refused
FORMAT: Final = "fedspallm-secure/1 ledger"
_SCHEMA: dict[str, type] = {"format": str, "releases": list}
_RELEASE_SCHEMA: dict[str, type] = {"round": int, "base": str, "survivors": list, "split": bool, "matrices": list}

Vector = list[int]


@dataclass(frozen=True, slots=True)
class Release:
    """One matrix whose sum came out, or may have: it counts from the moment at which a member decides to answer.

    matrix: name in the checkpoint; base: digest of the base weights of its group, 64 hex digits; round: from 1;
    survivors: ids of the members in the sum; split: whether others may have been shown another list, as in the profile
    `two-trip`.  Raises FormatError.
    """

    matrix: str
    base: str
    round: int
    survivors: frozenset[str]
    split: bool = False

    def __post_init__(self) -> None:
        decode_hex(self.base, HASH_SIZE, "the base of a release")
        if not 1 <= self.round < INTEGER_BOUND:
            raise FormatError(f"a release belongs to a round, counted from 1, not to {self.round}")
        if not self.matrix or not self.survivors:
            raise FormatError("a release is of a matrix and over somebody")
        for member in self.survivors:
            Party(Role.MEMBER.value, member)  # refuses what cannot be an id


@dataclass(frozen=True, slots=True)
class Ledger:
    """All releases that a member knows of, also those it had no part in; in one order, none twice."""

    releases: tuple[Release, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "releases", tuple(sorted(set(self.releases), key=_order)))

    def with_release(self, *releases: Release) -> "Ledger":
        """The ledger with more releases.  It records facts and refuses none; what it has already changes nothing."""
        return Ledger(self.releases + releases)

    def check(
        self,
        matrices: str | Collection[str],
        base: str,
        members: Collection[str],
        colluders: int,
        *,
        epochs: int,
        split: bool = False,
        step: str = "",
    ) -> None:
        """Raise DisclosureRefused unless a sum over `members` may be released for each of `matrices` at `base`.

        A member asks twice: with the whole cohort when a plan arrives, and with the survivors before it agrees to them.
        colluders: how many members may work with the server, over the whole federation; epochs: E_max, releases of one
        matrix that this member's policy allows; split: as in `Release`, of this sum; step: number of the check for the
        message (SPEC section 17).
        Raises ValueError for no matrices and for fewer colluders than none.
        """
        histories = self._histories(matrices)
        if not histories or colluders < 0:
            raise ValueError(f"nothing to check: {len(histories)} matrices, {colluders} colluders")
        try:
            for matrix, history in histories.items():
                _check_once(matrix, history, base, epochs)
                _check_unsplit(matrix, history, split)
            _check_mixed(histories, frozenset(members), colluders)
        except DisclosureRefused as error:
            raise DisclosureRefused(str(error), check=step) from None

    def _histories(self, matrices: str | Collection[str]) -> dict[str, list[Release]]:
        wanted = [matrices] if isinstance(matrices, str) else matrices
        histories: dict[str, list[Release]] = {matrix: [] for matrix in wanted}
        for release in self.releases:
            if release.matrix in histories:
                histories[release.matrix].append(release)
        return histories

    def to_dict(self) -> dict[str, Any]:
        """Plain data for canonical JSON: one entry for all matrices that share the rest."""
        entries: dict[tuple[int, str, frozenset[str], bool], list[str]] = {}
        for release in self.releases:
            shared = release.round, release.base, release.survivors, release.split
            entries.setdefault(shared, []).append(release.matrix)
        releases = [
            {"round": number, "base": base, "survivors": sorted(survivors), "split": split, "matrices": matrices}
            for (number, base, survivors, split), matrices in entries.items()
        ]
        return {"format": FORMAT, "releases": releases}

    @classmethod
    def from_dict(cls, value: Any) -> "Ledger":
        """Read plain data in the one form that `to_dict` gives.  Raises FormatError for anything else."""
        found = fields(value, _SCHEMA, "the ledger")
        entries = [fields(entry, _RELEASE_SCHEMA, "a release") for entry in found["releases"]]
        if any(type(name) is not str for entry in entries for name in entry["survivors"] + entry["matrices"]):
            raise FormatError("the ledger: matrices and survivors are strings")
        ledger = cls(
            tuple(
                Release(matrix, entry["base"], entry["round"], frozenset(entry["survivors"]), entry["split"])
                for entry in entries
                for matrix in entry["matrices"]
            )
        )
        if ledger.to_dict() != value:
            raise FormatError("the ledger is of another format, out of order, or names something twice")
        return ledger


def _order(release: Release) -> tuple[int, str, list[str], bool, str]:
    return release.round, release.base, sorted(release.survivors), release.split, release.matrix


def _check_once(matrix: str, history: list[Release], base: str, epochs: int) -> None:
    """Rules 1 and 2: one release for each base revision, and no more than `epochs` of them."""
    for release in history:
        if release.base == base:
            before = f"in round {release.round}, whatever became of it"
            raise DisclosureRefused(f"{matrix} was given into a sum from these weights before, {before}")
    if len(history) >= epochs:
        raise DisclosureRefused(f"{matrix} was released {len(history)} times, and the policy allows {epochs}")


def _check_unsplit(matrix: str, history: list[Release], split: bool) -> None:
    """Rule 3: where lists may differ, what was released is not known, and no second sum can be held against it."""
    if history and (split or any(release.split for release in history)):
        before = f"{matrix} was released in round {history[-1].round}"
        raise DisclosureRefused(f"{before}, and in the profile two-trip a matrix is released once and never again")


def _check_mixed(histories: dict[str, list[Release]], candidate: frozenset[str], colluders: int) -> None:
    """Rules 4 and 5: enough members in the sum, and in whatever it and the earlier ones can be combined to."""
    if len(candidate) < colluders + HONEST:
        sum_over = f"a sum over {len(candidate)} members, of whom {colluders} may collude,"
        raise DisclosureRefused(f"{sum_over} mixes fewer than {HONEST} honest ones")
    tested: set[frozenset[frozenset[str]]] = set()
    for matrix, history in histories.items():
        rows = frozenset(release.survivors for release in history) | {candidate}
        if rows in tested:  # the matrices of a group share their history
            continue
        tested.add(rows)
        few = narrow_combination(rows, colluders + HONEST - 1)
        if few is not None:
            names = ", ".join(sorted(few))
            raise DisclosureRefused(f"{matrix}: this sum and the earlier ones can be combined to one over {names} only")


def narrow_combination(rows: Iterable[Collection[str]], most: int, work: int = WORK_LIMIT) -> frozenset[str] | None:
    """Members of a rational combination of the sums over `rows` that has 1 to `most` members in it; None if none has.

    A combination has a member in it if that member's coefficient is not 0.  Exact.  Members who are in the same rows
    always have the same coefficient, so they count as one column with their number as its weight.
    Raises DisclosureRefused if it would take more than `work` numbers computed; rows without common members take none.
    """
    distinct = sorted({frozenset(row) for row in rows}, key=sorted)
    alike: dict[tuple[bool, ...], list[str]] = {}
    for member in sorted(frozenset[str]().union(*distinct)):
        alike.setdefault(tuple(member in row for row in distinct), []).append(member)
    columns = sorted(alike.items(), key=lambda column: -len(column[1]))  # heavy ones first: they leave no choice
    span = [[int(column[number]) for column, _ in columns] for number in range(len(distinct))]
    search = _Search([len(names) for _, names in columns], work)
    found = search.narrow(search.independent(span), 0, most)
    if found is None:
        return None
    names = (names for coefficient, (_, names) in zip(found, columns, strict=True) if coefficient)
    return frozenset[str]().union(*names)


@dataclass(slots=True)
class _Search:
    """Branch at each column: either every vector is 0 there, or the column is paid for by its weight."""

    weights: list[int]
    work: int

    def narrow(self, basis: list[Vector], column: int, most: int) -> Vector | None:
        """A vector in the span of `basis` whose columns from `column` on weigh at most `most`; None if there is none.

        At most `most` levels deep.  basis: linearly independent.
        """
        for at in range(column, len(self.weights)):
            if not basis:
                return None
            if not any(vector[at] for vector in basis):
                continue
            if self.weights[at] <= most:
                found = self.narrow(basis, at + 1, most - self.weights[at])
                if found is not None:
                    return found
            basis = self.without(basis, at)
        return basis[0] if basis else None

    def without(self, basis: list[Vector], column: int) -> list[Vector]:
        """A basis of the vectors in the span of `basis` that are 0 in `column`: one vector fewer.  Not all may be."""
        pivot, *changed = (vector for vector in basis if vector[column])
        self.work -= len(changed) * len(self.weights)
        if self.work < 0:
            raise DisclosureRefused("what these sums disclose together takes too long to decide")
        return [_combine(vector, pivot, column) for vector in basis if vector is not pivot]

    def independent(self, span: list[Vector]) -> list[Vector]:
        """A basis of the space that `span` spans."""
        basis: list[Vector] = []
        for at in range(len(self.weights)):
            pivot = next((vector for vector in span if vector[at]), None)
            if pivot is not None:
                basis.append(pivot)
                span = self.without(span, at)
        return basis


def _combine(vector: Vector, pivot: Vector, column: int) -> Vector:
    """The combination of both that is 0 in `column`, in lowest terms."""
    ours, theirs = pivot[column], vector[column]
    if not theirs:
        return vector
    combined = [ours * left - theirs * right for left, right in zip(vector, pivot, strict=True)]
    scale = gcd(*combined)
    return [entry // scale for entry in combined] if scale > 1 else combined
