"""Whole rounds on media, with one fault on one journey: lost, spoilt, carried twice, late, or to the wrong party.

    python -m tests.figures.couriers SEEDS SEED [STEP]     prints the figures as JSON

Five members and a server with real homes; every package goes by the export and the import of bundles.  A round is
played once without a fault, and everything is copied before each of its journeys; from every copy it goes on once with
each fault, in three trips and in two, and the courier goes round until nothing is left to do.  In every second case the
clock passes the end of the stage as soon as the others are in, so that the server goes on without whoever is missing.
Seeds draw keys, whose bundle is spoilt, and where.  STEP: only every so many cases.
"""

import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from fedspallm_secure.protocol.bundles import PART_SIZE
from fedspallm_secure.secagg.thresholds import Profile
from tests.figures.carried import (
    COMPLETED,
    ENDED,
    NOT_OVER,
    SMALLER,
    TRIPS,
    UNEXPECTED,
    WRONG,
    Recording,
    Round,
    record,
)
from tests.figures.kills import fast
from tests.figures.media_faults import FAULTS, Fault, Trip
from tests.figures.spread import show, spread
from tests.figures.stage import tally
from tests.stationary import Stations

OTHER = "hearts.example"
PART = 700  # bytes of a part, for faults of parts: every package has several
_COUNTED = ("cases", COMPLETED, SMALLER, ENDED, NOT_OVER, "nothing to spoil", WRONG, UNEXPECTED)


@dataclass(frozen=True)
class Task:
    """One seed and one profile.

    step: only every so many cases; only, journeys: names of faults and numbers of journeys, none for all.
    """

    seed: int
    profile: Profile
    step: int = 1
    only: tuple[str, ...] = ()
    journeys: tuple[int, ...] = ()


def cases(task: Task, journeys: int) -> list[tuple[Fault, int, bool]]:
    """Every fault on every journey, and whether the clock goes on afterwards."""
    found = [
        (fault, journey, bool((place + journey + task.seed) % 2))
        for place, fault in enumerate(FAULTS)
        for journey in task.journeys or range(1, journeys + 1)
        if not task.only or fault.name in task.only
    ]
    return found[:: task.step]


def run(task: Task) -> tuple[dict[str, int], list[str]]:
    """One seed and one profile."""
    counts: Counter[str] = Counter(dict.fromkeys(_COUNTED, 0))
    failures: list[str] = []
    with tempfile.TemporaryDirectory(dir=fast()) as name, mock.patch.object(os, "fsync", lambda descriptor: None):
        folder = Path(name)
        recording = record(folder / "own", task.profile)
        chosen = cases(task, len(recording.before))
        strangers: list[Recording] = []
        if any("federation" in fault.name for fault, _, _ in chosen):
            strangers += [record(folder / "same", task.profile), record(folder / "other", task.profile, OTHER)]
        for number, (fault, journey, late) in enumerate(chosen):
            shutil.copytree(recording.before[journey - 1], folder / "case")
            with Stations(folder / "case", new=False, setting=recording.setting) as found:
                found.now = recording.now
                round = Round(found, folder / "media", journey - 1)
                case = Trip(
                    round,
                    f"member/{random.Random(f'{task.seed} {number} victim').choice(found.names)}",
                    random.Random(f"{task.seed} {number}"),
                    recording.media[max(0, journey - 3) : max(0, journey - 2)],
                    [one.media[journey - 1] for one in strangers],
                )
                ended = play(case, fault, late, recording)
            counts.update({"cases": 1, ended: 1, "imports": round.imports})
            counts.update({"the clock went on": int(late), "nothing to spoil": int(case.idle)})
            counts.update(one.partition(":")[0] for one in round.wrong)
            where = f"seed {task.seed}, {task.profile.value}, {fault.name} on journey {journey}{', late' * late}"
            failures += [f"{where}: {one}" for one in round.wrong]
            for made in ("case", "media"):
                shutil.rmtree(folder / made)
    return dict(counts), failures


def play(trip: Trip, fault: Fault, late: bool, recording: Recording) -> str:
    """The journey with the fault, and all after it; how the round came out."""
    round = trip.round
    round.journeys += 1
    try:
        with mock.patch("fedspallm_secure.protocol.bundles.PART_SIZE", PART if fault.parts else PART_SIZE):
            fault.play(trip)
        round.work()
        if late and round.journeys % 2 == 0 and not round.over:  # what the others answer comes first
            round.journey()
            round.work()
        if late:
            round.pass_time()
            round.work()
        round.finish()
        return round.judge(recording.sums, late)
    except Exception as error:
        round.wrong.append(f"{UNEXPECTED}: {type(error).__name__}: {error}")
        return NOT_OVER


def figures(seeds: int, seed: int, step: int = 1, workers: int | None = None) -> dict[str, Any]:
    """So many seeds."""
    tasks = [Task(seed * 10_000 + number, profile, step) for number in range(seeds) for profile in TRIPS]
    found = list(spread(run, tasks, workers))
    return {
        "seeds": seeds,
        "faults": len(FAULTS),
        "counts": tally(counts for counts, _ in found),
        "failures": [one for _, many in found for one in many],
    }


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:4])))
