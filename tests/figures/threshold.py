"""One answer too few: the group ends, and the shares by hand give none of its seeds.

    python -m tests.figures.threshold DEALINGS CASES SEED     prints the figures as JSON

A case is one group in which t - 1 survivors answered, with CASES of them for each dealing, in cohorts of 5 to 12
members.  By hand, t - 1 shares of every secret are combined as if they were enough; and with any one answer more the
same group gives its sum, so that a case in which nothing opens is not one in which nothing could.
"""

import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from fedspallm_secure.protocol.rounds.answers import Ballot, Secret, Shares
from fedspallm_secure.protocol.rounds.survivors import EndCode
from fedspallm_secure.secagg.seeds import edge_commitment, self_commitment
from fedspallm_secure.secagg.sharing import combine
from tests.figures.spread import show, spread
from tests.figures.stage import GID, Branch, Stage, new_world, tally

SMALLEST, SIZES = 5, 8  # members of a cohort, and how many sizes there are


@dataclass(frozen=True)
class Task:
    """One dealing."""

    members: int
    cases: int
    seed: int


def asked(stage: Stage, draw: random.Random) -> Branch:
    """A drawn list that everybody on it endorsed."""
    cohort = stage.group.cohort
    size = draw.randint(stage.group.survivors, len(cohort))
    branch = Branch.of(stage, sorted(draw.sample(cohort, size)))
    branch.take(branch.server.close_collecting())
    listed = branch.server.ballots[GID].survivors
    branch.take_endorsements({member: branch.endorsement(member) for member in listed})
    branch.take(branch.server.close_endorsing())
    return branch


def committed(ballot: Ballot, secret: Secret) -> bytes:
    """What the dealer of a secret committed to."""
    dealer, other = secret
    deal = ballot.handovers[dealer].deal
    return deal.edges[ballot.links.neighbours(dealer).index(other)] if other else deal.self_commitment


def commitment(ballot: Ballot, secret: Secret, seed: int) -> bytes:
    """What it would have committed to, had this been its seed."""
    dealer, other = secret
    if other:
        return edge_commitment(ballot.links.context, min(secret), max(secret), seed)
    return self_commitment(ballot.links.context, dealer, seed)


def by_hand(ballot: Ballot, answers: Mapping[str, Shares], threshold: int) -> dict[str, int]:
    """How many secrets `threshold` shares of each give, and how many there are."""
    found = {"secrets": 0, "seeds": 0}
    for secret, points in ballot.gather(answers):
        seed = combine(points, threshold)
        found["secrets"] += 1
        found["seeds"] += commitment(ballot, secret, seed) == committed(ballot, secret)
    return found


def run(task: Task) -> dict[str, int]:
    """Play the cases of one dealing."""
    stage, draw = Stage(new_world(task.members), task.seed), random.Random(task.seed)
    counts = dict.fromkeys(("cases", "groups opened", "seeds opened", "secrets", "unclean ends"), 0)
    counts |= dict.fromkeys(("with one more: groups opened", "with one more: seeds opened"), 0)
    for number in range(task.cases):
        if number % 5 == 0:
            branch = asked(stage, draw)
            listed = branch.server.ballots[GID].survivors
            said = {member: branch.answer(member) for member in listed}
        chosen = draw.sample(listed, stage.group.shares)
        few, enough = branch.fork(), branch.fork()
        few.take_answers({member: said[member] for member in chosen[:-1]})
        enough.take_answers({member: said[member] for member in chosen})
        hand = by_hand(few.server.ballots[GID], few.server.shares[GID], stage.group.shares - 1)
        right = by_hand(enough.server.ballots[GID], enough.server.shares[GID], stage.group.shares)
        counts["cases"] += 1
        counts["secrets"] += hand["secrets"]
        counts["seeds opened"] += hand["seeds"]
        counts["with one more: seeds opened"] += right["seeds"]
        counts["groups opened"] += few.sum_up() is not None
        counts["unclean ends"] += few.code is not EndCode.TOO_FEW_RESPONSES or not few.closes(listed[0])
        counts["with one more: groups opened"] += enough.sum_up() == stage.plain_sum(listed)
    return counts


def figures(dealings: int, cases: int, seed: int, workers: int | None = None) -> dict[str, object]:
    """So many dealings; the sizes of their cohorts take turns."""
    tasks = [Task(SMALLEST + number % SIZES, cases, seed * 10_000 + number) for number in range(dealings)]
    counts = tally(spread(run, tasks, workers))
    none = ("groups opened", "seeds opened", "unclean ends")
    failures = [f"{name}: {counts[name]}" for name in none if counts[name]]
    if counts["with one more: groups opened"] != counts["cases"]:
        failures.append("a group did not open with enough answers")
    if counts["with one more: seeds opened"] != counts["secrets"]:
        failures.append("a seed did not open with enough shares")
    return {"counts": counts, "failures": failures}


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:4])))
