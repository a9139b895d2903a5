"""Sums under encryption against plain ones.

    python -m tests.figures.he_exact RUNS SEED     prints the figures as JSON

In each run parameters, a number of members and a vector are drawn, every member encrypts, the server adds, the key
holder decrypts; counts and sums are compared weight by weight with those that were added in the open.  The twin of each
run opens the sum as one of fewer members than the largest count, which must be refused.
"""

import sys
from collections import Counter
from dataclasses import dataclass

import numpy as np

from fedspallm_secure.errors import SumOutOfRange
from fedspallm_secure.he import bfv
from fedspallm_secure.he.parameters import choose
from fedspallm_secure.secagg.fields import SumWord
from tests.figures.spread import show, spread
from tests.he.vectors import draw_vector, encrypted, opened, plain

COHORTS = (2, 3, 5, 9, 15, 16, 31, 100, 255, 1000)


@dataclass(frozen=True)
class Task:
    """One run."""

    seed: int
    number: int


def run(task: Task) -> Counter[str]:
    """The whole way once, and its twin."""
    draws = np.random.default_rng([task.seed, task.number])
    n_max, bits = int(draws.choice(COHORTS)), int(draws.choice((0, 16, 32)))
    parameters = choose(n_max, SumWord.default(bits, n_max).bound if bits else 0)
    members = int(draws.integers(1, min(n_max, 4), endpoint=True))
    # Up to two chunks, the last one rarely full.
    weights = int(draws.integers(1, 2 * parameters.weights_per_chunk, endpoint=True))
    vectors = [draw_vector(parameters, weights, draws) for _ in range(members)]
    found = Counter({"runs": 1, f"of {bits} bits": 1, "weights": weights, "additions": members - 1})
    pair = bfv.generate(parameters)
    with pair.secret as secret:
        sent = [encrypted(parameters, pair.public, vector) for vector in vectors]
        total = list(bfv.add(parameters, pair.public, sent, weights))
        counts, sums = opened(parameters, secret, total, weights, members)
        expected = plain(vectors)
        found["wrong counts"] += int(np.count_nonzero(counts != expected[0]))
        if sums is not None:
            found["wrong sums"] += int(np.count_nonzero(sums != expected[1]))
        if counts.max() > 1:
            found["twins"] += 1
            try:
                opened(parameters, secret, total, weights, int(counts.max()) - 1)
            except SumOutOfRange:
                found["twins refused"] += 1
    return found


def figures(runs: int, seed: int, workers: int | None = None) -> dict[str, object]:
    """All runs."""
    found: Counter[str] = Counter({"wrong counts": 0, "wrong sums": 0})
    for counts in spread(run, [Task(seed, number) for number in range(runs)], workers):
        found.update(counts)
    failures = [f"{name}: {found[name]}" for name in ("wrong counts", "wrong sums") if found[name]]
    if found["twins"] != found["twins refused"]:
        failures.append("a sum was opened as one of fewer members than it is of")
    return {"counts": dict(found), "failures": failures}


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:3])))
