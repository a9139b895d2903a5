"""Random dropouts at every stage of larger rounds: every sum bit for bit, every other end as the thresholds say.

    python -m tests.figures.random_dropouts MEMBERS DEALINGS LISTS ANSWERS SEED     prints the figures as JSON

One dealing, with all its seeds, shares and envelopes, serves LISTS draws of who contributes and who endorses, and each
of these that comes so far ANSWERS draws of who answers.  Every draw is a run.  It may silence more members than the
thresholds bear.
"""

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from fedspallm_secure.secagg.thresholds import Profile
from tests.figures.dropouts import Ending, Set, fault
from tests.figures.spread import show, spread
from tests.figures.stage import Branch, Stage, new_world, tally


@dataclass(frozen=True)
class Task:
    """One dealing."""

    members: int
    lists: int
    answers: int
    seed: int
    profile: Profile = Profile.THREE_TRIP


def silent(draw: random.Random, members: Set, most: int) -> Set:
    """Those who still speak after up to `most` of them fell silent, in order."""
    gone = set(draw.sample(members, draw.randint(0, min(most, len(members)))))
    return tuple(member for member in members if member not in gone)


def endings(stage: Stage, task: Task) -> Iterator[Ending]:
    """Play the runs of one dealing."""
    draw = random.Random(f"{task.seed} {task.members}")
    group = stage.group
    bears = len(group.cohort) - group.survivors
    for _ in range(task.lists):
        listed = silent(draw, group.cohort, bears + (draw.random() < 0.1) * 2)
        branch = Branch.of(stage, listed)
        branch.take(branch.server.close_collecting())
        if branch.code is not None:
            yield Ending(branch, listed, None, None, None, 1)
            continue
        endorsed = listed
        if task.profile is Profile.THREE_TRIP:
            endorsed = silent(draw, listed, len(listed) - group.shares + (draw.random() < 0.1) * 2)
            branch.take_endorsements({member: branch.endorsement(member) for member in endorsed})
            branch.take(branch.server.close_endorsing())
        if branch.code is not None:
            yield Ending(branch, listed, endorsed, None, None, 1)
            continue
        said = {member: branch.answer(member) for member in endorsed}
        for _ in range(task.answers):
            answered = silent(draw, endorsed, len(endorsed) - group.shares + 1)
            other = branch.fork()
            other.take_answers({member: said[member] for member in answered})
            streams = other.sum_up()
            yield Ending(other, listed, endorsed, answered, streams, 1)


def run(task: Task) -> tuple[dict[str, int], list[str]]:
    """Play, count and judge one dealing."""
    stage = Stage(new_world(task.members, task.profile), task.seed)
    counts: dict[str, int] = {"wrong sums": 0}
    failures = []
    for ending in endings(stage, task):
        wrong, code = fault(stage, ending), ending.branch.code
        name = wrong or ("exact sums" if code is None else code.value)
        for key in (name, "runs"):
            counts[key] = counts.get(key, 0) + 1
        if wrong:
            failures.append(f"{wrong}: {task}: {ending.listed} {ending.endorsed} {ending.answered}")
    return counts, failures


def figures(
    members: int, dealings: int, lists: int, answers: int, seed: int, workers: int | None = None
) -> dict[str, object]:
    """So many dealings, each of its own."""
    tasks = [Task(members, lists, answers, seed * 10_000 + number) for number in range(dealings)]
    found = list(spread(run, tasks, workers))
    return {
        "dealings": dealings,
        "counts": tally(counts for counts, _ in found),
        "failures": [one for _, many in found for one in many],
    }


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:6])))
