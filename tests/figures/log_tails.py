"""kill -9 of whoever writes or publishes a log, before, within and after every call that changes a disk.

    python -m tests.figures.log_tails SEEDS SEED     prints the figures as JSON

What is killed is a real process.  A service takes steps: each adds entries, a document and a checkpoint in one
transaction with a fact of its journal, acknowledges them, and publishes the log.  Afterwards everything that was
acknowledged is there, whole steps are, the folder holds a log that its checkpoint stands for, and the next start
completes it.  Beside that, publishing alone is killed in logs that grow from nothing and across a full tile.  SEEDS:
how often all of this is done once more, with one or two further kills of whoever starts again.
"""

import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fedspallm_secure.errors import FedSpaError
from tests import station_faults
from tests.faults import Report, When, count_points, run_and_kill
from tests.figures.kills import fast
from tests.figures.spread import show, spread
from tests.figures.stage import tally
from tests.storage.test_log_crashes import SIZES, Scene, Service

SHARES = 8  # processes that share the points of one kind
SERVICE = "a service"
KINDS = (SERVICE, *(f"publishing, {name}" for name in SIZES))


@dataclass(frozen=True)
class Task:
    """Every so many points of one kind, from number `share` on; again: a call of the next start to be killed at too."""

    kind: str
    share: int
    shares: int
    again: Sequence[int] = ()


class Writing(Service):
    """More steps than the tests take."""

    STEPS = 5


def service(task: Task, folder: Path) -> tuple[Counter[str], list[str]]:
    """Kills of a service."""
    counts, failures = Counter[str](), list[str]()
    calls = _calls_of_service(folder / "counted")
    for point, call in list(enumerate(calls, 1))[task.share :: task.shares]:
        for when in _moments(call):
            made = Writing(folder / "service")
            outcome = station_faults.in_child(partial(_killed, made, point, when))
            acknowledged = [int(size) for size in outcome.reported]
            for again in task.again:
                more = station_faults.in_child(partial(_killed, made, again, When.AFTER))
                acknowledged += [int(size) for size in more.reported]
                counts.update(["killed once more"] * more.killed)
            wrong = "" if outcome.killed else f"not killed: {outcome.error}"
            wrong = wrong or _wrong(partial(made.check, max(acknowledged, default=0)))
            counts.update(["kills", f"kills of {task.kind}", f"acknowledged before {len(acknowledged)} times"])
            if wrong:
                failures.append(f"{task.kind}, {when.value} call {point} ({call}): {wrong}")
            shutil.rmtree(made.folder)
    return counts, failures


def _calls_of_service(folder: Path) -> list[str]:
    made = Writing(folder)

    def counted(report: Report) -> None:
        calls: list[str] = []

        def step(number: int, name: str, call: Callable[[], object]) -> object:
            calls.append(name)
            return call()

        with station_faults.watching(step):
            made.run(lambda _: None)
        report(" ".join(calls).encode())

    return station_faults.in_child(counted).reported[0].decode().split()


def _killed(made: Service, point: int, when: When, report: Report) -> None:
    with station_faults.watching(station_faults.killing(point, when)):
        made.run(report)


def publishing(task: Task, folder: Path) -> tuple[Counter[str], list[str]]:
    """Kills of somebody who publishes a log."""
    counts, failures = Counter[str](), list[str]()
    scene = Scene(folder / "scene", task.kind.partition(", ")[2])
    calls = count_points(scene.publishing())
    for point, call in list(enumerate(calls, 1))[task.share :: task.shares]:
        for when in _moments(call):
            copy = scene.copy()
            outcome = run_and_kill(lambda _, copy=copy: scene.publish(copy), point, when)
            for again in task.again:
                more = run_and_kill(lambda _, copy=copy: scene.publish(copy), again, When.AFTER)
                counts.update(["killed once more"] * more.killed)
            wrong = "" if outcome.killed else f"not killed: {outcome.error}"
            wrong = wrong or _wrong(partial(scene.check, copy))
            counts.update(["kills", f"kills of {task.kind}"])
            if wrong:
                failures.append(f"{task.kind}, {when.value} call {point} ({call}): {wrong}")
    return counts, failures


def _moments(call: str) -> list[When]:
    return [when for when in When if when is not When.WITHIN or call in station_faults.HALVES]


def _wrong(check: Callable[[], object]) -> str:
    """What a check says, empty where it holds."""
    try:
        check()
    except (AssertionError, FedSpaError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def run(task: Task) -> tuple[dict[str, int], list[str]]:
    """The points of one task."""
    with tempfile.TemporaryDirectory(dir=fast()) as name, station_faults.tellable():
        counts, failures = (service if task.kind == SERVICE else publishing)(task, Path(name))
    return dict(counts), failures


def figures(seeds: int, seed: int, workers: int | None = None) -> dict[str, Any]:
    """Every point of every kind; and so many times with further kills, drawn from the seed."""
    draw = random.Random(seed)
    tasks = []
    for turn in range(seeds + 1):
        for kind in KINDS:
            again = [draw.randrange(1, 12) for _ in range(turn and 1 + turn % 2)]
            tasks += [Task(kind, share, SHARES, again) for share in range(SHARES)]
    found = list(spread(run, tasks, workers))
    return {
        "seeds": seeds,
        "counts": tally(counts for counts, _ in found),
        "failures": [one for _, many in found for one in many],
    }


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:3])))
