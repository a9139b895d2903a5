"""A full disk, and one that breaks, at every call of a round that changes it: at the server and at a member.

    python -m tests.figures.full_disk SEEDS FAULTS SEED     prints the figures as JSON

As `tests.figures.kills`, but the call fails, with ENOSPC or EIO, for once or from then on.  FAULTS: how many of each
seed are tried, about, 0 for all: every call can fail with either code, and lots decide whether it fails once.  `points`
says how many there are.  Errors have to be ours, and those of a disk; the party is opened anew afterwards, with room on
the disk, and the round goes on.
"""

import errno
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedspallm_secure.errors import FedSpaError, StorageError
from tests.figures.kills import BAD, Task, fast, goes_on
from tests.figures.played import LEDGER, Before, Point, Recording, Scene, record
from tests.figures.spread import show, spread
from tests.figures.stage import tally
from tests.station_faults import failing, tellable, watching

CODES = (errno.ENOSPC, errno.EIO)


@dataclass(frozen=True)
class Fault:
    """A call that fails.  lasting: whether all later ones do, too."""

    before: Before
    point: Point
    code: int
    lasting: bool

    def __str__(self) -> str:
        action = self.before.action
        how = f"{errno.errorcode[self.code]}{' from then on' * self.lasting}"
        return f"{action.party} {action.kind} {action.what[:8]}, {how} at call {self.point.number} ({self.point.name})"


def points(recording: Recording, draw: random.Random) -> list[Fault]:
    """Every call with every code."""
    return [
        Fault(before, point, code, draw.random() < 0.5)
        for before in recording.before
        for point in before.points
        for code in CODES
    ]


def chosen(recording: Recording, task: Task) -> list[Fault]:
    """The faults of a task: its share of all."""
    all = points(recording, random.Random(task.seed))
    random.Random(0).shuffle(all)  # alike for all seeds of one kind, whose shares then hardly overlap
    share = max(1, len(all) // task.kills) if task.kills else 1
    return all[task.turn % share :: share]


def failed(recording: Recording, fault: Fault, folder: Path) -> tuple[list[str], list[str]]:
    """Let the call fail, and go on: what is to be counted, and what went wrong."""
    action, told = fault.before.action, ["faults"]
    with recording.copy(fault.before, folder) as found:
        found.open(action.party)
        try:
            with watching(failing(fault.point.number, fault.code, fault.lasting)):
                found.act(action)
            told.append("not an error: only cleaning up failed")
        except StorageError as error:
            told.append(f"{error.__class__.__name__}")
        except Exception as error:
            return told, [f"error: {type(error).__name__}: {error}"]
        try:
            found.close(action.party)
            found.see(action)
            return told, goes_on(found, recording.scene, told)
        except (FedSpaError, AssertionError) as error:
            return told, [f"error: {type(error).__name__} afterwards: {error}"]


def run(task: Task) -> tuple[dict[str, int], list[str]]:
    """One seed."""
    counts: Counter[str] = Counter(dict.fromkeys(BAD, 0))
    failures = []
    with tempfile.TemporaryDirectory(dir=fast()) as name, tellable():
        folder = Path(name)
        recording = record(folder, Scene.of(task.seed), task.seed)
        counts["points"] = len(points(recording, random.Random(task.seed)))
        for fault in chosen(recording, task):
            told, wrong = failed(recording, fault, folder / "copy")
            counts.update(told)
            for one in wrong:
                counts[next(bad for bad in (*BAD, LEDGER) if one.startswith(bad))] += 1
                if one.startswith(LEDGER):
                    continue
                failures.append(f"seed {task.seed}: {fault}: {one}")
    return dict(counts), failures


def figures(seeds: int, faults: int, seed: int, workers: int | None = None) -> dict[str, Any]:
    """So many seeds, and faults in each; 0 for all."""
    tasks = [Task(seed * 10_000 + number, faults, number // 5) for number in range(seeds)]
    found = list(spread(run, tasks, workers))
    return {
        "seeds": seeds,
        "counts": tally(counts for counts, _ in found),
        "failures": [one for _, many in found for one in many],
    }


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:4])))
