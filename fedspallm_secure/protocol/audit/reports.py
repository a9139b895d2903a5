"""What an audit is given and what it says: the steps V1 to V8 of SPEC section 23, each with what it found."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

TITLES: Final = {
    "V1": "root, policy, rosters and the log's key belong together",
    "V2": "checkpoints are signed, cosigned as the policy asks, if there is one, and of one history",
    "V3": "all entries are there",
    "V4": "every entry is signed by who acted",
    "V5": "rounds follow the rules of order",
    "V6": "plans, contributions and survivor lists follow the rules they were made under",
    "V7": "receipts and contributions correspond",
    "V8": "results follow from lists, endorsements and answers",
}
FINDINGS_LIMIT: Final = 1_000  # of one step


class LogSource(Protocol):
    """A log as it was published.  Nothing that it gives is believed before it was checked."""

    def note(self) -> bytes:
        """The newest checkpoint.  Raises MissingInput, LimitExceeded."""

    def cosigned(self) -> bytes | None:
        """The newest checkpoint with cosignatures, None if there is none."""

    def entries(self, size: int) -> Iterator[bytes]:
        """The first `size` entries.  Raises MissingInput, FormatError where they are not whole."""

    def leaves(self, size: int) -> Iterator[bytes]:
        """Their hashes, as the tiles have them.  Raises likewise."""

    def document(self, sha256: str, limit: int) -> bytes:
        """A document by its SHA-256 in hex.  Raises MissingInput, LimitExceeded; FormatError if it is another."""


@dataclass(frozen=True, slots=True)
class Given:
    """What else the auditor has.

    checkpoints: notes that somebody was shown; receipts: statements that members handed in, None for none; documents:
    whether documents have to be there: a member's own copy has none.
    """

    checkpoints: tuple[bytes, ...] = ()
    receipts: tuple[bytes, ...] | None = None
    documents: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.  indices: of the entries concerned, from 0."""

    text: str
    indices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One step.  passed: None if it was not run, for which the first of `findings` gives the reason."""

    name: str
    title: str
    passed: bool | None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome.  size, root: of the checkpoint; witnessed: entries that a quorum has cosigned; rounds: how many."""

    steps: tuple[Step, ...]
    size: int
    root: bytes
    witnessed: int = 0
    rounds: int = 0

    @property
    def passed(self) -> bool:
        """Whether no step failed."""
        return all(step.passed is not False for step in self.steps)


@dataclass(slots=True)
class Findings:
    """What was found so far, step by step; notes: what is to be known and is no fault; skipped: steps that are not run.

    Of each step the first `FINDINGS_LIMIT` are kept: a log can be wrong in every entry.
    """

    found: dict[str, list[Finding]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[Finding]] = field(default_factory=dict)

    def note(self, step: str, text: str, *indices: int) -> None:
        """Something that people should know, and that makes no step fail."""
        noted = self.notes.setdefault(step, [])
        if len(noted) < FINDINGS_LIMIT:
            noted.append(Finding(text, indices))

    def add(self, step: str, text: str, *indices: int) -> None:
        """Something is wrong."""
        found = self.found.setdefault(step, [])
        if len(found) < FINDINGS_LIMIT:
            found.append(Finding(text, indices))
        elif len(found) == FINDINGS_LIMIT:
            found.append(Finding("there is more of this, which is not listed"))

    def skip(self, reason: str, *steps: str) -> None:
        """These are not run."""
        for step in steps:
            self.skipped.setdefault(step, reason)

    def rest(self, reason: str, step: str, *grounds: str) -> None:
        """`step` counts for nothing where one of `grounds` failed."""
        if any(ground in self.found for ground in grounds):
            self.found.pop(step, None)
            self.skip(reason, step)

    def steps(self) -> tuple[Step, ...]:
        """All of them, in order."""
        steps = []
        for name, title in TITLES.items():
            found = tuple(self.found.get(name, ()))
            if name in self.skipped and not found:
                steps.append(Step(name, title, None, (Finding(self.skipped[name]),)))
            else:
                steps.append(Step(name, title, not found, (*found, *self.notes.get(name, ()))))
        return tuple(steps)
