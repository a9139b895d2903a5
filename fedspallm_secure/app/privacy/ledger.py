"""A member's privacy ledger: what it promised about its records, and each release that spent of it.  One JSON file.

A release is entered, under the digest of its noised statistic, once that is on disk and before anything is derived from
it.  So a killed run finds its statistic again and draws no second noise, and one that was lost cannot be had for free.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedspallm_secure.errors import PlanRefused, RecordDamaged
from fedspallm_secure.storage.files import disk_errors, read_json, write_json

_LIMIT = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Terms:
    """What a member promises about its records, and how many releases that covers.

    epsilon, delta: the privacy budget; clip: of a record; releases: rounds that it is spread over; steps: the clip in
    steps of the noise's grid, which says how much noise there is.
    """

    member: str
    epsilon: float
    delta: float
    clip: float
    releases: int
    steps: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in the file."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Ledger:
    """The releases of one member under its terms.  spent: round -> SHA-256 of the noised statistic, 64 hex digits."""

    path: Path
    terms: Terms
    spent: dict[int, str] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, terms: Terms) -> "Ledger":
        """The ledger in `path`, or an empty one.  Raises RecordDamaged, PlanRefused where it is under other terms."""
        if not path.exists():
            return cls(path, terms)
        known: Any = read_json(path, _LIMIT)
        try:
            told, spent = known["terms"], {int(number): digest for number, digest in known["spent"].items()}
            if not all(isinstance(digest, str) and len(digest) == 64 for digest in spent.values()):
                raise ValueError
        except (KeyError, TypeError, ValueError, AttributeError):
            raise RecordDamaged(f"{path} does not read back as it was written") from None
        if told != terms.to_dict():
            raise PlanRefused(
                f"{path} was begun under another privacy budget",
                hint="a budget is not changed once it was spent from; use another --out",
            )
        return cls(path, terms, spent)

    def check_room(self, number: int) -> None:
        """Raise PlanRefused unless a release in round `number` is still paid for."""
        if number in self.spent:
            raise PlanRefused(
                f"{self.terms.member} has spent for round {number} already, and its noised statistic is gone",
                hint="put the folder `work` back as it was; fresh noise on the same records would have its price",
            )
        if len(self.spent) >= self.terms.releases:
            raise PlanRefused(
                f"{self.terms.member} has spent its privacy budget: "
                f"{len(self.spent)} of {self.terms.releases} releases",
                hint="more rounds need a larger budget, or noise for more releases, from the beginning",
            )

    def enter(self, number: int, digest: str) -> None:
        """Enter the release of round `number`, durably.  Raises PlanRefused, RecordDamaged for another statistic."""
        if number in self.spent:
            if self.spent[number] != digest:
                raise RecordDamaged(f"the noised statistic of round {number} is not the one that {self.path} names")
            return
        self.check_room(number)
        self.spent[number] = digest
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {"terms": self.terms.to_dict(), "spent": self.spent})
