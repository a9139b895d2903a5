"""How often sums decrypt wrongly where the parameters leave hardly any room, against what the noise is said to be.

    python -m tests.figures.he_noise TRIALS SEED     prints the figures as JSON

`he/parameters.py` bounds the chance of a wrong sum from the shape of the noise.  No plan's parameters ever show one, so
here the plain modulus is made so large that only K standard deviations of room are left.  With a ternary secret a
coefficient's noise has variance N n / 18, and of n coefficients none may leave the room.
"""

import math
import sys
from dataclasses import dataclass

import tenseal

from fedspallm_secure.he.parameters import DEGREE
from fedspallm_secure.he.primes import coefficient_primes, plain_prime
from tests.figures.spread import show, spread

BITS = (60, 30)
CASES = [(added, room) for added in (1, 20) for room in (3.5, 4.0, 4.5)]  # ciphertexts added; K


@dataclass(frozen=True)
class Task:
    """One case."""

    added: int
    room: float
    trials: int


def run(task: Task) -> tuple[float, float]:
    """Share of wrong sums: seen, and predicted for normal noise."""
    deviation = math.sqrt(task.added * (DEGREE / 18 + 1 / 6))
    modulus = plain_prime(DEGREE, int(coefficient_primes(DEGREE, BITS)[0] / (2 * task.room * deviation)))
    context = tenseal.context(
        tenseal.SCHEME_TYPE.BFV,
        poly_modulus_degree=DEGREE,
        plain_modulus=modulus,
        coeff_mod_bit_sizes=list(BITS),
        n_threads=1,
    )
    wrong, ones = 0, [1] * DEGREE
    for _ in range(task.trials):
        total = tenseal.bfv_vector(context, ones)
        for _ in range(task.added - 1):
            total += tenseal.bfv_vector(context, ones)
        wrong += total.decrypt() != [task.added] * DEGREE
    one = math.erfc(task.room / math.sqrt(2))
    return wrong / task.trials, 1 - (1 - one) ** DEGREE


def likely(wrong: int, trials: int, said: float) -> bool:
    """Whether so many wrong sums, or more, or fewer, come up more than once in 10^9 times, at 15 % from that."""

    def exactly(number: int, chance: float) -> float:
        return math.comb(trials, number) * chance**number * (1 - chance) ** (trials - number)

    more = sum(exactly(number, min(1.0, 1.15 * said)) for number in range(wrong, trials + 1))
    fewer = sum(exactly(number, 0.85 * said) for number in range(wrong + 1))
    return min(more, fewer) > 1e-9


def figures(trials: int, seed: int, workers: int | None = None) -> dict[str, object]:
    """All cases.  seed: named for the form's sake; the library draws from the system."""
    tasks = [Task(added, room, trials) for added, room in CASES]
    rows, failures = [], []
    for task, (seen, said) in zip(tasks, spread(run, tasks, workers), strict=True):
        rows.append({"added": task.added, "room": task.room, "wrong": round(seen, 4), "predicted": round(said, 4)})
        if not likely(round(seen * trials), trials, said):
            failures.append(f"{task.added} ciphertexts, {task.room} deviations: {seen} wrong, {said:.4f} predicted")
    return {"trials": trials, "cases": rows, "failures": failures, "seed": seed}


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:3])))
