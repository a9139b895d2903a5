"""Changes of a published log, one at a time: what an audit says of each.

    python -m tests.figures.tampering ENTRIES POSITIONS SEED     prints the figures as JSON

Every few hundred positions have a log of their own, of ENTRIES entries, with other keys.  Each change is made in the
files themselves, and the folder is audited as `fedprune audit verify` audits it.  Three kinds of changes:

- a byte of a file is another one;
- somebody without keys drops, exchanges or repeats entries, and makes the hashes fit;
- the operator, who has the keys of server and log, replaces, drops, exchanges or adds an entry, or cuts off the end,
  and signs all that follows, and a checkpoint for it.  What contradicts that is one of three things: the cosignatures
  of a policy, a checkpoint that a member shows, or the checkpoints that members have signed in entries further on.
"""

import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from fedspallm_secure.app.audit.opening import open_log_at
from fedspallm_secure.app.audit.verifying import Basis, failure, trusted_root, verify
from fedspallm_secure.crypto.notes import Note
from fedspallm_secure.errors import AuditFailed, FedSpaError
from fedspallm_secure.protocol.audit.reports import Report
from fedspallm_secure.storage.log_folder import FolderLog
from fedspallm_secure.storage.log_reader import CHECKPOINT, COSIGNED, DOCUMENTS
from tests.figures.kills import fast
from tests.figures.laid_log import LAG, Parties, another, give, laid, last_shown, numbered, play, published
from tests.figures.spread import show, spread
from tests.figures.stage import tally

AT_ONCE = 500  # positions of one log
BYTES = ("entries", "hashes", "checkpoint", "cosigned checkpoint", "documents")
LEFT = {
    "witnesses": ("the cosigned checkpoint", "witnesses cosigned"),
    "a member's checkpoint": ("a checkpoint that was given",),
    "checkpoints in entries": ("what the sender of entry",),
}
NOT_READ = "not read"


@dataclass(frozen=True)
class Task:
    """One log.  entries: how many; positions: how many changes; first: number of the first one among all."""

    entries: int
    positions: int
    first: int
    seed: int


@dataclass
class Change:
    """One change.  files: all files of the log, but documents; basis: what the auditor has; left: what contradicts."""

    kind: str
    where: str
    files: Mapping[str, bytes]
    basis: tuple[str, ...] = ("policy",)
    left: str = ""


@dataclass
class Laid:
    """A log in a folder, as it was published, and how to change it.  right: its files; read: those an audit reads."""

    parties: Parties
    folder: Path
    draw: random.Random
    right: dict[str, bytes] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    shown: int = 0

    def __post_init__(self) -> None:
        give(self.parties, self.folder)
        self.right = published(self.parties, self.folder)
        self.shown = last_shown(self.parties)
        self._there = dict(self.right)
        seen, real = self.read, FolderLog.read

        def read(source: FolderLog, name: str, limit: int) -> bytes:
            seen.add(name)
            return real(source, name, limit)

        FolderLog.read = read  # type: ignore[method-assign]
        try:
            error, _ = self.audit(("policy", "checkpoint"))
        finally:
            FolderLog.read = real  # type: ignore[method-assign]
        if error is not None:
            raise AssertionError(f"the log as it was published: {error}")

    @property
    def bodies(self) -> list[bytes]:
        """All entries."""
        return self.parties.log.bodies

    @property
    def _documents(self) -> dict[str, bytes]:
        return {name: data for name, data in self.right.items() if _sort(name) == "documents"}

    def lay(self, files: Mapping[str, bytes]) -> None:
        """Have the folder hold these files, and no others."""
        log = self.folder / "log"
        for name in self._there.keys() - files.keys():
            (log / name).unlink()
        for name, data in files.items():
            if self._there.get(name) != data:
                (log / name).parent.mkdir(parents=True, exist_ok=True)
                (log / name).write_bytes(data)
        self._there = dict(files)

    def audit(self, basis: Sequence[str]) -> tuple[FedSpaError | None, Report | None]:
        """What `fedprune audit verify` ends with.  basis: of `policy` and `checkpoint`, what is given to it."""
        given = Basis(
            root=self.folder / "root.pem",
            policy=self.folder / "policy" if "policy" in basis else None,
            checkpoints=(self.folder / "shown",) if "checkpoint" in basis else (),
        )
        try:
            with open_log_at(self.folder / "log") as log:
                report = verify(log, trusted_root(log, given, lambda _: None), given, lambda *_: None)
        except FedSpaError as error:
            return error, None
        return failure(report), report

    # Changes

    def byte(self, what: str) -> Change:
        """Another byte somewhere in a file of this sort."""
        names = sorted(name for name in self.right if _sort(name) == what)
        name = self.draw.choices(names, [len(self.right[one]) for one in names])[0]
        data = bytearray(self.right[name])
        place = self.draw.randrange(len(data))
        data[place] ^= self.draw.randrange(1, 256)
        kind = NOT_READ if name not in self.read else f"a byte of {what}"
        return Change(kind, f"{name}, byte {place}: {data[place]}", {**self.right, name: bytes(data)})

    def copied(self, way: str) -> Change:
        """Entries moved about by somebody without keys, with hashes that fit them."""
        index = self.draw.randrange(1, len(self.bodies))
        bodies, _ = self._moved(way, index, self.draw.choice(self.bodies))
        signed = {name: self.right[name] for name in (CHECKPOINT, COSIGNED)}
        files = {**laid(self.parties, bodies, None), **self._documents, **signed}
        return Change(f"{way} without keys", f"entry {index}", files)

    def cosignature(self) -> Change:
        """One witness less."""
        note = Note.parse(self.right[COSIGNED])
        gone = self.draw.choice([key for _, key in self.parties.cosigners])
        rest = tuple(line for line in note.signatures if line.name != gone.name)
        files = {**self.right, COSIGNED: replace(note, signatures=rest).encode()}
        return Change("a cosignature left out", gone.name, files)

    def forked(self, way: str, left: str) -> Change:
        """Another history from some place on, in the hand of the log's operator."""
        size = len(self.bodies)
        end = {"witnesses": size - LAG, "a member's checkpoint": size, "checkpoints in entries": self.shown}[left]
        index = self.draw.randrange(1, end)
        fresh = another(self.parties, index, self.parties.log.entry(index - 1).at)
        bodies, first = self._moved(way, index, fresh)
        bodies = numbered(self.parties.log.server, bodies, first)
        files = laid(self.parties, bodies, self.right[COSIGNED] if left == "witnesses" else None)
        basis = {"witnesses": ("policy",), "a member's checkpoint": ("checkpoint",)}.get(left, ())
        return Change(
            f"{way} by the operator, against {left}", f"entry {index}", {**files, **self._documents}, basis, left
        )

    def _moved(self, way: str, index: int, fresh: bytes) -> tuple[list[bytes], int]:
        """The entries after a change of number `index`, and the first one that is another.  fresh: to be added."""
        bodies, first = list(self.bodies), index
        match way:
            case "replaced":
                bodies[index] = fresh
            case "cut off":
                del bodies[index:]
            case "dropped":
                del bodies[index]
            case "added":
                bodies.insert(index, fresh)
            case "exchanged":
                other = self.draw.randrange(1, index) if index > 1 else 2
                bodies[index], bodies[other], first = bodies[other], bodies[index], min(index, other)
        return bodies, first


def _sort(name: str) -> str:
    if name in (CHECKPOINT, COSIGNED):
        return "checkpoint" if name == CHECKPOINT else "cosigned checkpoint"
    if name.startswith(f"{DOCUMENTS}/"):
        return "documents"
    return "entries" if name.startswith("tile/entries/") else "hashes"


def changes(found: Laid) -> list[Callable[[], Change]]:
    """One of each kind; of bytes, three."""
    made: list[Callable[[], Change]] = []
    for what in BYTES:
        made += [partial(found.byte, what)] * 3
    made += [partial(found.copied, way) for way in ("dropped", "exchanged", "added")]
    made += [partial(found.forked, way, left) for left in LEFT for way in ("replaced", "dropped", "exchanged", "added")]
    made += [partial(found.forked, "cut off", left) for left in LEFT if left != "checkpoints in entries"]
    return [*made, found.cosignature]


def judge(change: Change, error: FedSpaError | None, report: Report | None) -> tuple[str, str]:
    """How it was found, and what is wrong about that; empty where nothing is."""
    if change.kind == NOT_READ:
        return "not read by an audit", f"an audit that does not read it says {error}" if error else ""
    if error is None:
        return "not found", "not found"
    step = error.step if isinstance(error, AuditFailed) else type(error).__name__
    how = f"{step}, exit code {error.exit_code}"
    if change.left:
        steps = () if report is None else report.steps
        said = [finding.text for one in steps if one.name == "V2" for finding in one.findings]
        if not any(text.startswith(LEFT[change.left]) for text in said):
            return f"{how}, by another contradiction", ""
    return how, ""


def run(task: Task) -> tuple[dict[str, int], list[str]]:
    """The changes of one log."""
    counts: Counter[str] = Counter()
    failures = []
    with tempfile.TemporaryDirectory(dir=fast()) as name:
        seed = task.seed * 1_000_000 + task.first
        found = Laid(play(task.entries, seed), Path(name), random.Random(seed))
        kinds = changes(found)
        for number in range(task.first, task.first + task.positions):
            change = kinds[number % len(kinds)]()
            found.lay(change.files)
            how, wrong = judge(change, *found.audit(change.basis))
            counts.update(["changes", f"{change.kind}: {how}"])
            if change.kind != NOT_READ:
                counts.update(["read", *(["found"] if not wrong else [])])
            if wrong:
                failures.append(f"log {seed}: {change.kind}, {change.where}: {wrong}")
    return dict(counts), failures


def figures(entries: int, positions: int, seed: int, workers: int | None = None) -> dict[str, Any]:
    """So many changes of logs with so many entries."""
    tasks = [Task(entries, min(AT_ONCE, positions - first), first, seed) for first in range(0, positions, AT_ONCE)]
    found = list(spread(run, tasks, workers))
    return {
        "entries": entries,
        "logs": len(tasks),
        "counts": tally(counts for counts, _ in found),
        "failures": [one for _, many in found for one in many],
    }


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:4])))
