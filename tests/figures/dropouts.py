"""Every pattern of members who fall silent, at every stage, between the real machines.

    python -m tests.figures.dropouts THREE_TRIP_LARGEST TWO_TRIP_LARGEST SEED     prints the figures as JSON

In `two-trip` a member is silent from the beginning, after its contribution, or never: 3^n patterns.  In `three-trip`
also after its endorsement: 4^n patterns.  Cohorts have 3 members and more, with the default colluders.  Where a group
ends before a pattern says who falls silent next, it is played once for all patterns that begin so.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import ceil

from fedspallm_secure.protocol.rounds.survivors import EndCode
from fedspallm_secure.secagg.thresholds import Profile
from tests.figures.spread import show, spread
from tests.figures.stage import Branch, Stage, Streams, new_world, tally

Set = tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """A cohort, and which of the sets of its contributors: every `parts`-th from `part` on."""

    members: int
    profile: Profile
    seed: int
    part: int = 0
    parts: int = 1


@dataclass(frozen=True)
class Ending:
    """How a round ended.  answered is None where nobody was asked; patterns: that many begin as this one does."""

    branch: Branch
    listed: Set
    endorsed: Set | None
    answered: Set | None
    streams: Streams | None
    patterns: int


def subsets(members: Sequence[str]) -> Iterator[Set]:
    """All of them, the empty one first."""
    for size in range(len(members) + 1):
        yield from combinations(members, size)


def expected(members: int, profile: Profile, listed: int, endorsed: int, answered: int) -> EndCode | None:
    """How the group has to end, by SPEC section 14 and with c = (n - 1) / 3, rounded down; None: with its sum."""
    n, c = members, (members - 1) // 3
    shares = max(2 * n // 3 + 1, (n + c) // 2 + 1)
    least = max(shares, c + 3)
    if profile is Profile.TWO_TRIP:
        shares = least = next(m for m in range(least, n + 1) if ceil((n - c) * (1 - Fraction(n - m, m - c))) >= 3)
    if listed < least:
        return EndCode.TOO_FEW_CONTRIBUTIONS
    if profile is Profile.THREE_TRIP and endorsed < shares:
        return EndCode.TOO_FEW_ENDORSEMENTS
    return EndCode.TOO_FEW_RESPONSES if answered < shares else None


def endings(stage: Stage, part: int = 0, parts: int = 1) -> Iterator[Ending]:
    """Play all patterns, or a part of them."""
    two = stage.plan.profile is Profile.TWO_TRIP
    for number, listed in enumerate(subsets(stage.group.cohort)):
        if number % parts != part:
            continue
        branch = Branch.of(stage, listed)
        branch.take(branch.server.close_collecting())
        if branch.code is not None:
            yield Ending(branch, listed, None, None, None, (2 if two else 3) ** len(listed))
        elif two:
            yield from _answers(branch, listed, listed)
        else:
            yield from _endorsements(branch, listed)


def _endorsements(branch: Branch, listed: Set) -> Iterator[Ending]:
    said = {member: branch.endorsement(member) for member in listed}
    for endorsed in subsets(listed):
        other = branch.fork()
        other.take_endorsements({member: said[member] for member in endorsed})
        other.take(other.server.close_endorsing())
        if other.code is not None:
            yield Ending(other, listed, endorsed, None, None, 2 ** len(endorsed))
        else:
            yield from _answers(other, listed, endorsed)


def _answers(branch: Branch, listed: Set, there: Set) -> Iterator[Ending]:
    said = {member: branch.answer(member) for member in there}
    for answered in subsets(there):
        other = branch.fork()
        other.take_answers({member: said[member] for member in answered})
        streams = other.sum_up()
        yield Ending(other, listed, there, answered, streams, 1)


def fault(stage: Stage, ending: Ending) -> str:
    """What is wrong with an ending; nothing if it is as the thresholds say."""
    branch, listed = ending.branch, ending.listed
    sizes = [len(one or ()) for one in (listed, ending.endorsed, ending.answered)]
    right = expected(len(stage.group.cohort), stage.plan.profile, *sizes)
    if branch.code is not right:
        return "other ends than the thresholds say"
    if right is None and ending.streams != stage.plain_sum(listed):
        return "wrong sums"
    kind, other = ("result", "abort") if right is None else ("abort", "result")
    told = {member for type, member in branch.mail if type == kind}
    if not told >= set(stage.group.cohort) or any(type == other for type, _ in branch.mail):
        return "unclean ends"
    there = next(one for one in (ending.answered, ending.endorsed, listed, stage.group.cohort) if one)
    return "" if branch.closes(there[0]) else "unclean ends"


def run(task: Task) -> tuple[dict[str, int], list[str]]:
    """Play, count and judge."""
    stage = Stage(new_world(task.members, task.profile), task.seed)
    counts: dict[str, int] = {"played": 0, "patterns": 0, "wrong sums": 0, "exact sums": 0}
    failures = []
    for ending in endings(stage, task.part, task.parts):
        wrong, code = fault(stage, ending), ending.branch.code
        name = wrong or ("exact sums" if code is None else code.value)
        counts["played"] += 1
        for key in (name, "patterns", f"{task.profile} {task.members}"):
            counts[key] = counts.get(key, 0) + ending.patterns
        if wrong:
            failures.append(f"{wrong}: {task}: {ending.listed} {ending.endorsed} {ending.answered}")
    return counts, failures


def figures(three: int, two: int, seed: int, workers: int | None = None) -> dict[str, object]:
    """All cohorts up to so many members."""
    tasks = []
    for profile, largest in ((Profile.THREE_TRIP, three), (Profile.TWO_TRIP, two)):
        for members in range(largest, 2, -1):  # the longest first
            parts = 8 if members > 6 else 1
            tasks += [Task(members, profile, seed, part, parts) for part in range(parts)]
    found = list(spread(run, tasks, workers))
    return {"counts": tally(counts for counts, _ in found), "failures": [one for _, many in found for one in many]}


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:4])))
