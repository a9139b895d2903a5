"""What a replay found: steps, how long each took, and where something differs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from fedspallm_secure.errors import FedSpaError, RecordDamaged, ReplayFailed, StorageError

LOG, CONTRIBUTIONS, ANSWERS, SUMS = "log", "contributions", "answers", "sums"
LAYERS, FILES, MODEL = "layers", "layer files", "model"
TITLES: Final = {
    LOG: "the log, as fedprune audit verify checks it",
    CONTRIBUTIONS: "archived contributions are those of the log, signed and dealt as listed",
    ANSWERS: "archived answers open what the contributions committed to",
    SUMS: "counts and sums, unmasked again",
    LAYERS: "the server step on them gives the layers of the result",
    FILES: "layers on disk are those of the result",
    MODEL: "files of the model are those of the log",
}
SHOWN: Final = 100  # findings of a step that are kept


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that differs.  member, group: whom and what it is about, empty and None where that is everybody."""

    text: str
    member: str = ""
    group: int | None = None


@dataclass(slots=True)
class Step:
    """One step.  passed: None where it was not run, and `why` says why not; done: what was compared, in words."""

    name: str
    passed: bool | None = None
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    why: str = ""
    done: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        shown = [{"text": one.text, "member": one.member, "group": one.group} for one in self.findings]
        return {
            "step": self.name,
            "title": TITLES[self.name],
            "passed": self.passed,
            "seconds": round(self.seconds, 3),
            "done": self.done,
            "why": self.why,
            "findings": shown,
        }


class Book:
    """The steps of a replay, while it runs."""

    def __init__(self) -> None:
        self.steps = {name: Step(name) for name in TITLES}
        self._began = self._since = time.monotonic()
        self._at: list[str] = []  # steps that are being worked on, one inside of the other

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Work on a step; its time is counted, and it has passed unless something is said about it."""
        self._count()
        self._at.append(name)
        try:
            yield
            if self.steps[name].passed is None:
                self.steps[name].passed = True
        finally:
            self._count()
            self._at.pop()

    def _count(self) -> None:
        """What passed since the last change belongs to the innermost step."""
        now = time.monotonic()
        if self._at:
            self.steps[self._at[-1]].seconds += now - self._since
        self._since = now

    @contextmanager
    def trying(self, name: str, what: str, member: str = "", group: int | None = None) -> Iterator[None]:
        """As `on`; what is refused is noted as a difference and goes no further.  Raises StorageError."""
        with self.on(name):
            try:
                yield
            except FedSpaError as error:
                if isinstance(error, StorageError) and not isinstance(error, RecordDamaged):
                    raise  # the disk here, and not what is on it
                self.differs(name, f"{what}: {error}", member, group)

    def differs(self, name: str, text: str, member: str = "", group: int | None = None) -> None:
        """Note that something is not as it has to be."""
        step = self.steps[name]
        step.passed = False
        if len(step.findings) < SHOWN:
            step.findings.append(Finding(text, member, group))

    def skip(self, name: str, why: str) -> None:
        """This step is not run, or no further."""
        if self.steps[name].passed is not False:
            self.steps[name].passed, self.steps[name].why = None, why

    def failed(self, *names: str) -> bool:
        """Whether something differs in one of these steps; in any if none is named."""
        return any(self.steps[name].passed is False for name in names or TITLES)

    @property
    def seconds(self) -> float:
        """Since the replay began."""
        return time.monotonic() - self._began


@dataclass(frozen=True, slots=True)
class Report:
    """What a replay came to.  share, seed: of tiles that were drawn, and what they were drawn from; None for all."""

    round: int
    steps: tuple[Step, ...]
    seconds: float
    share: str | None = None
    seed: str | None = None

    @property
    def failure(self) -> ReplayFailed | None:
        """The first thing that differs."""
        found = [(step, finding) for step in self.steps for finding in step.findings]
        if not found:
            return None
        step, first = found[0]
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        return ReplayFailed(f"round {self.round}, {step.name}: {first.text}{more}")

    def step(self, name: str) -> Step:
        """One of the steps."""
        return next(step for step in self.steps if step.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "round": self.round,
            "passed": self.failure is None,
            "sample": self.share,
            "seed": self.seed,
            "seconds": round(self.seconds, 3),
            "steps": [step.to_dict() for step in self.steps],
        }
