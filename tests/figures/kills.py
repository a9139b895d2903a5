"""kill -9 of the server and of a member, before, within and after every call of a round that changes a disk.

    python -m tests.figures.kills SEEDS KILLS SEED     prints the figures as JSON

Every seed is a federation of its own with an order of its own.  A call belongs to the named state that its party enters
next.  SEEDS: how many; KILLS: how many points of each are tried, 0 for all: for every named state one of each kind of
call, before, within and after it, commits first; then the others by turns, so that seeds of one kind share them out.
The process that is killed is a real one; the pages that it wrote are still there, as after any kill, and what stood in
its own buffers is lost.  Then every party is opened anew from what is on disk, and the round goes on.
"""

import random
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedspallm_secure.errors import FedSpaError
from tests.faults import Report, When
from tests.figures.played import LEDGER, Before, Point, Recording, Scene, dropped, judge, missing_vectors, record
from tests.figures.spread import show, spread
from tests.figures.stage import tally
from tests.station_faults import HALVES, in_child, killing, tellable, watching
from tests.stationary import HUB, Stations

BAD = ("lost", "double answer", "reused keystream", "differing resend", "receipt without vector", "wrong sum", "error")
MEMBER_STATES = {
    "C1 plan accepted": "plan-accepted",
    "C2 vector frozen": "vector-frozen",
    "C3 prekey reserved": "prekey-held",
    "C4 C5 sealed and exported": "dealt",
    "C6 receipt verified": "taken receipt",
    "C7 survivors accepted": ("endorsed", "list-held"),
    "C8 C9 answered and exported": "answered",
    "C10 C11 result verified, secrets erased": "closed",
    "C12 layers taken": "taken layer",
    "CX aborted": "aborted",
}
SERVER_STATES = {
    "S0 offers": "taken offer",
    "S1 plan made": "opened",
    "S3 contribution stored and receipted": "received",
    "S4 S5 survivors fixed": "list-made",
    "S6 endorsed": "endorsed",
    "S7 requests issued": "requested",
    "S8 answers": "answered",
    "S9 reconstructed": "unmasked",
    "S10 result stored": "finished",
    "S11 layer sent": "fact published",
    "S12 concluded": "fact concluded",
    "SX aborted": "group-ended",
}
AFTER_ALL = "after the last state"


@dataclass(frozen=True)
class Kill:
    """Where a party is killed.  again: a call of the start after it at which it is killed once more, 0 for none.

    state: the named state that is entered by this call or the next one that enters any.
    """

    before: Before
    point: Point
    when: When
    again: int
    state: str

    @property
    def cell(self) -> tuple[str, str, When]:
        """What is tried at least once for every seed."""
        return self.state, self.point.name, self.when

    def __str__(self) -> str:
        action = self.before.action
        where = f"{action.party} {action.kind} {action.what[:8]}, {self.when.value} call {self.point.number}"
        return f"{where} ({self.point.name} {' '.join(self.point.told)}){f', again at {self.again}' * bool(self.again)}"


@dataclass(frozen=True)
class Task:
    """One seed, and how many of its points are tried."""

    seed: int
    kills: int
    turn: int


def entered(party: str, told: Collection[str]) -> str:
    """The named state that a call enters, empty for none.  told: what it commits."""
    for state, words in (SERVER_STATES if party == HUB else MEMBER_STATES).items():
        if not {words, *(words if isinstance(words, tuple) else ())}.isdisjoint(told):
            return state
    return ""


def points(recording: Recording, draw: random.Random) -> Iterator[Kill]:
    """Every place where a party can be killed, the last one first."""
    leads_to: dict[str, str] = {}
    for before in reversed(recording.before):
        party = before.action.party
        for point in reversed(before.points):
            leads_to[party] = entered(party, point.told) or leads_to.get(party, AFTER_ALL)
            for when in When:
                if when is not When.WITHIN or point.name in HALVES:
                    again = draw.randrange(1, 12) if draw.random() < 0.1 else 0
                    yield Kill(before, point, when, again, leads_to[party])


def chosen(recording: Recording, task: Task) -> list[Kill]:
    """The points of a task: one of each cell, then its share of the others."""
    draw = random.Random(task.seed)
    all = list(points(recording, draw))
    if not task.kills:
        return all
    cells: dict[tuple[str, str, When], Kill] = {}
    for kill in draw.sample(all, len(all)):
        cells.setdefault(kill.cell, kill)
    random.Random(0).shuffle(all)  # alike for all seeds of one kind, whose shares then hardly overlap
    step = max(1, len(all) // task.kills)
    rest = [kill for kill in all[task.turn % step :: step] if kill is not cells[kill.cell]]
    first = sorted(cells.values(), key=lambda kill: kill.point.name != "commit")
    return [*first, *rest][: task.kills]


def killed(recording: Recording, kill: Kill, folder: Path) -> tuple[list[str], list[str]]:
    """Kill, open everybody anew, and go on to the end: what is to be counted, and what went wrong."""
    action, party = kill.before.action, kill.before.action.party
    with recording.copy(kill.before, folder) as found:

        def alone(_: Report) -> None:
            found.open(party)
            with watching(killing(kill.point.number, kill.when)):
                found.act(action)

        def start(_: Report) -> None:
            with watching(killing(kill.again, When.AFTER)):
                found.open(party)

        outcome = in_child(alone)
        if not outcome.killed:
            return ["not reached"], [f"error: {outcome.error}"] if outcome.error else []
        told = ["kills", f"kills {'of the server' if party == HUB else 'of a member'}"]
        if kill.again and in_child(start).killed:
            told.append("kills at the start after a kill")
        told.append(f"state {kill.state}")
        found.see(action)
        try:
            return told, goes_on(found, recording.scene, told)
        except (FedSpaError, AssertionError) as error:
            return told, [f"error: {type(error).__name__}: {error}"]


def goes_on(found: Stations, scene: Scene, told: list[str]) -> list[str]:
    """Open everybody anew and play to the end."""
    wrong: list[str] = []
    with found:
        wrong += missing_vectors(found)
        left = {
            place: name for name, station in found.members.items() for place in dropped(station)
        }  # vector frozen, no deal: SPEC section 16.3
        told += ["dropped out of a group by the rule"] * len(left)
        found.wait()
        wrong += judge(found, scene, left)
    return wrong


def run(task: Task) -> tuple[dict[str, int], list[str]]:
    """One seed."""
    counts: Counter[str] = Counter(dict.fromkeys(BAD, 0))
    failures = []
    with tempfile.TemporaryDirectory(dir=fast()) as name, tellable():
        folder = Path(name)
        try:
            recording = record(folder, Scene.of(task.seed), task.seed)
        except AssertionError as error:
            return {"error": 1}, [f"seed {task.seed}, played without a kill: {error}"]
        all = list(points(recording, random.Random(task.seed)))
        tried = chosen(recording, task)
        cells = {"cells": len({kill.cell for kill in all}), "cells tried": len({kill.cell for kill in tried})}
        counts.update({"points": len(all), **cells})
        for kill in tried:
            told, wrong = killed(recording, kill, folder / "copy")
            counts.update(told)
            for one in wrong:
                counts[next(bad for bad in (*BAD, LEDGER) if one.startswith(bad))] += 1
                if one.startswith(LEDGER):
                    continue
                failures.append(f"seed {task.seed}: {kill}: {one}")
    return dict(counts), failures


def fast() -> str | None:
    """A folder in memory, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def figures(seeds: int, kills: int, seed: int, workers: int | None = None) -> dict[str, Any]:
    """So many seeds."""
    tasks = [Task(seed * 10_000 + number, kills, number // 5) for number in range(seeds)]
    found = []
    for number, one in enumerate(spread(run, tasks, workers), 1):
        found.append(one)
        sys.stderr.write(f"{number} of {seeds} seeds, {sum(counts.get('kills', 0) for counts, _ in found)} kills\n")
    counts = tally(counted for counted, _ in found)
    states = {*MEMBER_STATES, *SERVER_STATES}
    reached = {state for state in states if counts.get(f"state {state}")}
    return {
        "seeds": seeds,
        "counts": counts,
        "named": f"{len(reached)} of {len(states)}",
        "not reached": sorted(states - reached),
        "failures": [one for _, many in found for one in many],
    }


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:4])))
