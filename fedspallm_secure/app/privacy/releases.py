"""A member's privacy ledger: every release of its records in rounds between institutions.  In the journal of its home.

A release is entered, under the digest of its noised statistic, once that is on disk and before anything is derived from
it.  So a killed member finds its statistic again and draws no second noise, and what was lost is paid for once more.
Each entry has the noise that it was drawn with, so that terms may change between them: they compose.  Free of torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Protocol

from fedspallm_secure.app.privacy.accounting import composed_epsilon, noise_multiplier
from fedspallm_secure.app.privacy.settings import MemberTerms
from fedspallm_secure.errors import PlanRefused, RecordDamaged, UsageError
from fedspallm_secure.pruning.noise import SIGMA, clip_steps

KIND: Final = "privacy"  # of the facts in the journal, one for each release
_SLACK: Final = 1e-9  # of an epsilon: sums of floating point in another order


@dataclass(frozen=True, slots=True)
class Release:
    """One noised statistic.

    round, layers: what it was drawn for; base: digest of what else it depends on (`Drawer`), hex; sha256: of its file,
    hex; steps: the clip in steps of the noise's grid; records, clipped, features: as of `NoisedStatistic`; weight: of
    the records, 0 to 1; epsilon, delta, clip, rounds: the terms; spent: the epsilon of all releases up to this one;
    at: Unix seconds.
    """

    round: int
    layers: tuple[int, ...]
    base: str
    sha256: str
    steps: int
    records: int
    clipped: int
    features: int
    weight: float
    epsilon: float
    delta: float
    clip: float
    rounds: int
    spent: float
    at: int

    @property
    def multiplier(self) -> float:
        """Sigma in units of the clip."""
        return SIGMA / self.steps

    def keeps(self, terms: MemberTerms) -> bool:
        """Whether it was made under these terms, but for the number of records."""
        asked = terms.settings
        mine = (self.epsilon, self.delta, self.clip, self.rounds)
        return mine == (asked.epsilon, asked.delta, asked.clip, terms.rounds)

    def to_dict(self) -> dict[str, Any]:
        """Plain data.  Numbers with a fraction are texts, as canonical JSON has none."""
        plain = {name: repr(one) if isinstance(one, float) else one for name, one in asdict(self).items()}
        return {**plain, "layers": list(self.layers)}

    @classmethod
    def from_dict(cls, found: Any) -> "Release":
        """Read back what `to_dict` gave.  Raises RecordDamaged."""
        try:
            kinds = {field.name: field.type for field in fields(cls)}
            if found.keys() != kinds.keys():
                raise ValueError
            release = cls(**{name: _read(kinds[name], value) for name, value in found.items()})
            if release.steps < 1 or release.to_dict() != found:
                raise ValueError
        except (AttributeError, TypeError, ValueError):
            raise RecordDamaged("an entry of the privacy ledger does not read back as it was written") from None
        return release


def _read(kind: Any, value: Any) -> Any:
    if kind is float:
        return float(value)
    return tuple(value) if isinstance(value, list) else value


class Facts(Protocol):
    """Of a journal (`storage.journal.Journal`)."""

    def remember(self, kind: str, name: str, value: Any) -> None:
        """Keep plain data."""

    def recall_all(self, kind: str) -> dict[str, Any]:
        """Everything of a kind, by name, in order of the names."""

    def transaction(self) -> Any:
        """What is done inside becomes durable together."""


def read_releases(facts: Mapping[str, Any]) -> list[Release]:
    """The releases in these facts of the kind `privacy`, in order.  Raises RecordDamaged."""
    return [Release.from_dict(facts[name]) for name in sorted(facts)]


class MemberLedger:
    """The releases of one member under its present terms.  Raises RecordDamaged."""

    def __init__(self, journal: Facts, terms: MemberTerms) -> None:
        self._journal = journal
        self.terms = terms
        self.releases = read_releases(journal.recall_all(KIND))

    def steps(self) -> int:
        """The clip of the next release in steps of the noise's grid; 0 where nothing is left to pay with.

        Raises MissingExtra; UsageError where no noise that can be had keeps the promise.
        """
        return steps_left(self.terms, self.releases)

    def left(self) -> int:
        """How many more releases the budget pays for.  Raises as `steps`."""
        return self.terms.rounds - len(self.releases) if self.steps() else 0

    def check_room(self) -> None:
        """Raise PlanRefused unless one more release is paid for."""
        if not self.steps():
            done, asked = len(self.releases), self.terms
            raise PlanRefused(
                f"the privacy budget is spent: {done} of {asked.rounds} releases, epsilon {asked.settings.epsilon:g}",
                hint="more rounds tell more about your records: decide whether they are worth a larger epsilon, and "
                "more rounds, under [privacy]",
            )

    def find(self, base: str, layers: Iterable[int]) -> list[Release]:
        """Releases of what a statistic for these layers would be drawn from, the newest first."""
        wanted = tuple(layers)
        return [one for one in reversed(self.releases) if (one.base, one.layers) == (base, wanted)]

    def enter(self, release: Release) -> Release:
        """Enter it, durably, with what all releases cost now.  Raises PlanRefused where that is more than allowed."""
        asked = self.terms.settings
        spent = composed_epsilon([one.multiplier for one in (*self.releases, release)], asked.delta)
        if len(self.releases) >= self.terms.rounds or spent > asked.epsilon * (1 + _SLACK):
            self.check_room()
            raise PlanRefused(
                f"this release would bring the privacy budget to epsilon {spent:.3g}, and {asked.epsilon:g} is allowed"
            )
        found = Release.from_dict({**release.to_dict(), "spent": repr(spent)})
        with self._journal.transaction():
            self._journal.remember(KIND, f"{len(self.releases) + 1:08d}", found.to_dict())
        self.releases.append(found)
        return found


def steps_left(terms: MemberTerms, releases: Sequence[Release]) -> int:
    """As `MemberLedger.steps`."""
    asked, left = terms.settings, terms.rounds - len(releases)
    if left < 1:
        return 0
    if releases and all(one.keeps(terms) for one in releases):
        return releases[-1].steps
    before = [one.multiplier for one in releases]
    if before and composed_epsilon(before, asked.delta) >= asked.epsilon:
        return 0
    try:
        return clip_steps(noise_multiplier(asked.epsilon, asked.delta, left, before))
    except ValueError as error:
        if before:  # so little is left that no noise of ours is enough for it
            return 0
        raise UsageError(
            f"no noise fits [privacy] epsilon = {asked.epsilon:g} and rounds = {terms.rounds}: {error}",
            hint="choose a larger epsilon, or fewer rounds",
        ) from None
