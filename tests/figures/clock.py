"""Clocks that are wrong: ten years ahead or behind, or put back by an hour, at the server or at a member.

    python -m tests.figures.clock SEEDS SHIFTS SEED     prints the figures as JSON

The clock of one party is wrong for one action of a round, or from it on until nothing moves any more; then it is put
right, and the round goes on as far as it can.  Nothing may be accepted because of it: whatever is refused is refused
for being out of date, and everything that has to hold in any other round holds.
"""

import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from fedspallm_secure.errors import (
    CertificateExpired,
    DisclosureRefused,
    FedSpaError,
    OutOfTurn,
    PackageExpired,
    PlanDeclined,
    RevocationListStale,
)
from fedspallm_secure.storage import spool
from tests.figures.kills import fast
from tests.figures.played import Before, Recording, Scene, judge, record
from tests.figures.spread import show, spread
from tests.figures.stage import tally
from tests.stationary import HUB, Stations

YEARS = 10 * 365 * 86_400  # seconds
SHIFTS = {"ten years ahead": YEARS, "ten years behind": -YEARS, "put back by an hour": -3600}
EXPIRY = (CertificateExpired, PackageExpired, RevocationListStale)
NEVER = ("double answer", "reused keystream", "differing resend", "wrong sum")


@dataclass(frozen=True)
class Task:
    """One seed, and how many wrong clocks are tried."""

    seed: int
    shifts: int


@dataclass(frozen=True)
class Wrong:
    """A wrong clock.  stays: whether it stays wrong until nothing moves any more."""

    before: Before
    name: str
    stays: bool

    def __str__(self) -> str:
        action = self.before.action
        return f"{action.party} {self.name}{' from' if self.stays else ' at'} {action.kind}"


def is_expiry(error: FedSpaError) -> bool:
    """Whether it is a rule about time that reacts."""
    if isinstance(error, PlanDeclined):
        return error.check in {"P9", "P14"}
    return isinstance(error, EXPIRY) or (isinstance(error, OutOfTurn) and "time" in str(error))


def tried(recording: Recording, wrong: Wrong, folder: Path) -> tuple[list[str], list[str]]:
    """Play on with the wrong clock, and then with the right one."""
    party, told = wrong.before.action.party, [f"clocks {wrong.name}"]
    who = "server" if party == HUB else "member"
    with recording.copy(wrong.before, folder) as found, found:
        refused: list[FedSpaError] = []
        found.clocks[party] = SHIFTS[wrong.name]
        with mock.patch.object(spool, "time", SimpleNamespace(time=lambda: found.now + found.clocks.get(party, 0))):
            _act(found, wrong, refused)
        found.clocks.clear()
        refused += [error for _, error in found.server.told]
        refused += [error for one in found.members.values() for _, error in one.told]
        try:
            found.wait()
        except AssertionError:
            told.append("the round does not end by itself")
        bad = [one for one in judge(found, recording.scene, {}) if one.startswith(NEVER)]
        told += [f"refused: {type(error).__name__}" for error in refused]
        done = found.model.done
        told.append(f"{who} {wrong.name}: {'the round had its result' if done else 'no result'}")
        other = [error for error in refused if not is_expiry(error) and not _of_the_operator(recording, error)]
        bad += [f"refused for another reason: {type(error).__name__}: {error}" for error in other]
        return told, bad


def _of_the_operator(recording: Recording, error: FedSpaError) -> bool:
    """What the operator ended takes nothing in any more, is tried again, and declined, whatever the clocks show."""
    late = isinstance(error, OutOfTurn) and error.check == "S7"
    return recording.scene.abort and (late or isinstance(error, DisclosureRefused))


def _act(found: Stations, wrong: Wrong, refused: list[FedSpaError]) -> None:
    try:
        found.see(wrong.before.action)
        found.act(wrong.before.action)
    except FedSpaError as error:
        refused.append(error)
    for _ in range(30 if wrong.stays else 0):
        done = 0
        for action in found.due():
            try:
                found.see(action)
                done += found.act(action)
            except FedSpaError as error:
                refused.append(error)
        if not done:
            return


def run(task: Task) -> tuple[dict[str, int], list[str]]:
    """One seed."""
    counts: Counter[str] = Counter()
    failures = []
    with tempfile.TemporaryDirectory(dir=fast()) as name:
        folder = Path(name)
        recording = record(folder, Scene.of(task.seed), task.seed)
        draw = random.Random(task.seed)
        for number in range(task.shifts):
            shift = list(SHIFTS)[number % len(SHIFTS)]
            told, wrong = tried(
                recording, Wrong(draw.choice(recording.before), shift, draw.random() < 0.5), folder / "c"
            )
            counts["all"] += 1
            counts.update(told)
            failures += [f"seed {task.seed}: {one}" for one in wrong]
    return dict(counts), failures


def figures(seeds: int, shifts: int, seed: int, workers: int | None = None) -> dict[str, Any]:
    """So many seeds, and wrong clocks in each."""
    tasks = [Task(seed * 10_000 + number, shifts) for number in range(seeds)]
    found = list(spread(run, tasks, workers))
    return {
        "seeds": seeds,
        "counts": tally(counts for counts, _ in found),
        "failures": [one for _, many in found for one in many],
    }


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:4])))
