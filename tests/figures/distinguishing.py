"""Can a server tell two worlds apart that have the same sum?  A classifier tries, and twins show that it could.

    python -m tests.figures.distinguishing TRAINING TESTS SEED     prints the figures as JSON

Five members of 64 weights: 0, 1 and 2 are in the sum; 3 uploaded and was called dropped; 4 works with the server.  In
world A member 0 keeps all weights at the largest value, 1 none and 2 some; in world B it is 1 that keeps all, and 0
none.  Member 3 keeps all in A, and none in B.  The server takes off every keystream that it knows: of the self seeds of
0, 1 and 2 and the edge seeds of 3, which were opened for it, and of all edges of 4.  What is left goes into a logistic
regression as some 500 statistics: equal words and circular correlations with both worlds, of every member, difference
and partial sum, and histograms, bits, moments and autocorrelations of every member.

A twin has one thing wrong, and the same classifier, trained on it, has to see it: member 3 left its self keystream out,
or the edge seeds of member 0 were opened as well as its self seed.
Seeds are drawn from SEED, so that figures come again; the arithmetic is the product's.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.fields import CountField, SumWord
from fedspallm_secure.secagg.keystreams import Stream, write_keystream
from fedspallm_secure.secagg.masking import Term, member_terms
from fedspallm_secure.secagg.seeds import PRIME
from tests.figures.spread import show, spread

MEMBERS, WEIGHTS = 5, 64
SUMMED, LATE, COLLUDER = (0, 1, 2), 3, 4
HONEST = (*SUMMED, LATE)
COUNTS, SUMS = CountField.for_cohort(MEMBERS), SumWord.default(32, MEMBERS)
NONE, NO_SELF, BOTH_KINDS = "nothing", "a late upload without its self keystream", "both kinds of a member's seeds open"
BATCH = 250  # runs of one task

Floats = NDArray[np.float64]
Words = NDArray[np.unsignedinteger]


def worlds() -> NDArray[np.bool_]:
    """Which weights members keep, (world, member, weight); a kept one has the largest value."""
    some = np.arange(WEIGHTS) % 2 == 0
    everything, nothing = np.ones(WEIGHTS, bool), np.zeros(WEIGHTS, bool)
    one = (everything, nothing, some, everything, some)
    other = (nothing, everything, some, nothing, some)
    return np.array([one, other])


def plain(keep: NDArray[np.bool_]) -> tuple[bytearray, bytearray]:
    """The streams of a vector."""
    counts = bytearray(COUNTS.size(WEIGHTS))
    COUNTS.pack(keep, counts)
    return counts, bytearray(np.where(keep, SUMS.bound, 0).astype(SUMS.signed).tobytes())


STREAMS = ((Stream.COUNT, COUNTS.word), (Stream.SUM, SUMS.word))
PLAIN = tuple(tuple(plain(keep) for keep in world) for world in worlds())


@dataclass(frozen=True)
class Task:
    """A batch of runs.  wrong: what is wrong in them."""

    wrong: str
    seed: int
    number: int
    runs: int


def is_known(member: int, other: int | None, wrong: str) -> bool:
    """Whether the server knows a seed: of an edge between two, or of a member itself."""
    if other is None:
        return member != LATE
    ends = {member, other}
    return bool(ends & {LATE, COLLUDER}) or (wrong == BOTH_KINDS and 0 in ends)


def with_keystreams(words: Words, terms: Sequence[Term]) -> Words:
    """What `add_keystreams` gives, without threads, which take longer than such short vectors."""
    total, keystream = words.copy(), np.empty_like(words)
    for term in terms:
        write_keystream(term.key, 0, keystream.view(np.uint8))
        (np.subtract if term.negative else np.add)(total, keystream, out=total)
    return total


def view(world: int, wrong: str, draw: np.random.Generator) -> list[tuple[Words, Words]]:
    """What is left of the uploads of 0 to 3 when the server has taken off what it knows: counts and sums."""
    context = GroupContext("lungs.example", 1, draw.bytes(32), 0)
    selves = [int.from_bytes(draw.bytes(32), "big") % PRIME for _ in range(MEMBERS)]
    edges = {pair: int.from_bytes(draw.bytes(32), "big") % PRIME for pair in combinations(range(MEMBERS), 2)}
    left = []
    for member in HONEST:
        others = [other for other in range(MEMBERS) if other != member]
        ends = [(edges[min(member, other), max(member, other)], other < member) for other in others]
        residue = []
        for (stream, word), vector in zip(STREAMS, PLAIN[world][member], strict=True):
            terms = member_terms(context, selves[member], ends, stream)
            added = terms[1:] if wrong == NO_SELF and member == LATE else terms
            known = [
                Term(term.key, not term.negative)
                for term, other in zip(terms, (None, *others), strict=True)
                if is_known(member, other, wrong)
            ]
            residue.append(with_keystreams(np.frombuffer(bytes(vector), word), [*added, *known]))
        left.append((residue[0], residue[1]))
    return left


def statistics(left: list[tuple[Words, Words]]) -> Floats:
    """What the classifier sees of one run."""
    found: list[float] = []
    for stream, (_, word) in enumerate(STREAMS):
        seen = [residue[stream] for residue in left]
        expected = [[np.frombuffer(PLAIN[world][member][stream], word) for member in HONEST] for world in (0, 1)]
        for signs in patterns():
            total = _combined(seen, signs, word)
            for world in (0, 1):
                apart = total - _combined(expected[world], signs, word)
                angles = apart * (2 * np.pi / 256**word.itemsize)
                found += [
                    float(np.count_nonzero(apart == 0)),
                    float(np.cos(angles).mean()),
                    float(np.sin(angles).mean()),
                ]
        for words in seen:
            octets = words.view(np.uint8)
            bits = np.unpackbits(octets.reshape(-1, word.itemsize), axis=1)
            scaled = words / 256.0**word.itemsize - 0.5
            found += list(np.bincount(octets >> 4, minlength=16) / octets.size)
            found += list(bits.mean(axis=0))
            found += [float(scaled.mean()), float(scaled.var()), float((scaled[1:] * scaled[:-1]).mean())]
    return np.array(found)


def patterns() -> Iterator[tuple[int, ...]]:
    """Every member, partial sum and difference: a sign for each of 0 to 3."""
    for size in range(1, len(HONEST) + 1):
        for chosen in combinations(range(len(HONEST)), size):
            yield tuple(int(place in chosen) for place in range(len(HONEST)))
    for plus, minus in combinations(range(len(HONEST)), 2):
        yield tuple((place == plus) - (place == minus) for place in range(len(HONEST)))


def _combined(words: list[Words], signs: tuple[int, ...], word: np.dtype[np.unsignedinteger]) -> Words:
    total = np.zeros(len(words[0]), word)
    for one, sign in zip(words, signs, strict=True):
        if sign:
            total = total + one if sign > 0 else total - one
    return total


def batch(task: Task) -> tuple[Floats, NDArray[np.int64]]:
    """Statistics and worlds of a batch of runs."""
    draw = np.random.default_rng([task.seed, task.number, len(task.wrong)])
    labels = draw.integers(0, 2, task.runs)
    return np.array([statistics(view(int(label), task.wrong, draw)) for label in labels]), labels


def fit(seen: Floats, labels: NDArray[np.int64], steps: int = 8) -> Floats:
    """Weights of a logistic regression with a little ridge, by Newton's method; the last one is the intercept."""
    inputs = np.column_stack([seen, np.ones(len(seen))])
    weights = np.zeros(inputs.shape[1])
    for _ in range(steps):
        chances = _chances(inputs @ weights)
        slope = inputs.T @ (chances - labels) + weights
        curve = (inputs * (chances * (1 - chances))[:, None]).T @ inputs + np.eye(len(weights))
        weights -= np.linalg.solve(curve, slope)
    return weights


def _chances(values: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(values, -30, 30)))


def accuracy(wrong: str, training: int, tests: int, seed: int, workers: int | None = None) -> float:
    """How often the classifier is right on runs that it has not seen."""
    starts = range(0, training + tests, BATCH)
    tasks = [Task(wrong, seed, start, min(BATCH, training + tests - start)) for start in starts]
    parts = list(spread(batch, tasks, workers))
    seen, labels = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    spread_out = seen[:training].std(axis=0)
    scaled = (seen - seen[:training].mean(axis=0)) / np.where(spread_out > 0, spread_out, 1)
    weights = fit(scaled[:training], labels[:training])
    inside = scaled[training : training + tests] @ weights[:-1] + weights[-1] > 0
    return float(np.mean(inside == labels[training : training + tests]))


def figures(training: int, tests: int, seed: int, workers: int | None = None) -> dict[str, object]:
    """The real thing, and twins with a tenth of the runs."""
    found = {NONE: accuracy(NONE, training, tests, seed, workers)}
    for twin in (NO_SELF, BOTH_KINDS):
        found[twin] = accuracy(twin, training // 10, tests // 10, seed, workers)
    failures = [f"{twin}: only {found[twin]:.4f}" for twin in (NO_SELF, BOTH_KINDS) if found[twin] <= 0.9]
    error = 0.5 / tests**0.5
    if abs(found[NONE] - 0.5) > max(0.01, 2.5 * error):
        failures.append(f"told apart with {found[NONE]:.4f}")
    return {
        "training": training,
        "tests": tests,
        "statistics": len(statistics(view(0, NONE, np.random.default_rng(seed)))),
        "accuracy": found[NONE],
        "standard_error": error,
        "twins": {twin: found[twin] for twin in (NO_SELF, BOTH_KINDS)},
        "failures": failures,
    }


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:4])))
