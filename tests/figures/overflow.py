"""The widest sums that there can be, and errors that leave the range.

    python -m tests.figures.overflow INJECTIONS SEED     prints the figures as JSON

For every width of counts and sums, the largest cohort that it takes: all members keep all weights, at plus or minus the
bound, masked with a self keystream and those of a ring, added up and unmasked.  Then INJECTIONS errors for each width,
added to one word of an honest sum by somebody who did not follow the protocol.  A twin in whole numbers says which of
them leave the range; those must be noticed, and the others cannot be.
"""

import random
import sys
from collections import Counter
from dataclasses import dataclass

import numpy as np

from fedspallm_secure.app.rounds.vectors import Released, Streams
from fedspallm_secure.errors import CapacityExceeded
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.limits import COHORT_LIMIT
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.fields import CountField, SumWord, check_range
from fedspallm_secure.secagg.keystreams import Kind, Stream, stream_key
from fedspallm_secure.secagg.masking import Term, add_into, add_keystreams
from fedspallm_secure.secagg.seeds import draw_element
from tests.figures.spread import show, spread
from tests.figures.stage import packed, tally

WEIGHTS = 13  # odd: with 4 bits there is half a byte that nobody counts in
CONTEXT = GroupContext("lungs.example", 1, bytes(32), 0)
WIDTHS = ((4, 16, 15), (4, 32, 15), (8, 16, 255), (8, 32, 255), (16, 16, 16_383), (16, 32, 65_535))


@dataclass(frozen=True)
class Width:
    """Bits of a count and of a sum, and the largest cohort that both take with the default bound."""

    count_bits: int
    sum_bits: int
    members: int

    @property
    def counts(self) -> CountField:
        return CountField(self.count_bits, self.members)

    @property
    def sums(self) -> SumWord:
        return SumWord.default(self.sum_bits, self.members)


@dataclass(frozen=True)
class Task:
    """One width."""

    width: Width
    injections: int
    seed: int


# --- the widest sums --------------------------------------------------------------------------------------------------


def value(member: int, weight: int, bound: int, draw: random.Random) -> int:
    """Plus or minus the bound: always one of them, in turns, or drawn."""
    signs = (1, -1, 1 - 2 * (member % 2), draw.choice((-1, 1)))
    return signs[weight % len(signs)] * bound


def widest(width: Width, seed: int) -> dict[str, int]:
    """Add up everybody at the bound, and count the weights whose count or sum is not what whole numbers give."""
    draw, n, field, word = random.Random(seed), width.members, width.counts, width.sums
    sizes = {Stream.COUNT: field.word.itemsize, Stream.SUM: word.word.itemsize}
    totals = {Stream.COUNT: bytearray(field.size(WEIGHTS)), Stream.SUM: bytearray(word.size(WEIGHTS))}
    selves: dict[Stream, list[Term]] = {stream: [] for stream in sizes}
    first = before = _pair()
    expected = [0] * WEIGHTS
    for member in range(n):
        after = first if member == n - 1 else _pair()
        values = [value(member, weight, word.bound, draw) for weight in range(WEIGHTS)]
        expected = [total + one for total, one in zip(expected, values, strict=True)]
        counts = bytearray(field.size(WEIGHTS))
        field.pack(np.ones(WEIGHTS, bool), counts)
        own = draw_element()
        for stream, vector in (
            (Stream.COUNT, counts),
            (Stream.SUM, bytearray(np.array(values, word.signed).tobytes())),
        ):
            key = stream_key(own, CONTEXT, Kind.SELF, stream)
            terms = [Term(key, False), Term(before[stream], True), Term(after[stream], False)]
            add_keystreams(vector, terms, sizes[stream])
            add_into(totals[stream], vector, sizes[stream])
            selves[stream].append(Term(key, True))
        before = after
    for stream, terms in selves.items():
        add_keystreams(totals[stream], terms, sizes[stream])
    found = np.frombuffer(totals[Stream.SUM], word.signed)
    counted = field.unpack(totals[Stream.COUNT], WEIGHTS)
    wrong = sum(int(a) != b for a, b in zip(found, expected, strict=True)) + int(np.count_nonzero(counted != n))
    wrong += totals[Stream.COUNT] != packed([n] * WEIGHTS, width.count_bits)
    return {"widths": 1, "wrong widest sums": wrong, "widest sums refused": check_range(counted, found, n, word)}


def _pair() -> dict[Stream, bytes]:
    seed = draw_element()
    return {stream: stream_key(seed, CONTEXT, Kind.PAIR, stream) for stream in Stream}


def refused(width: Width) -> int:
    """Formats for more than these members, or with a bound that is one too large, which could be made all the same."""
    largest = (1 << width.sum_bits - 1) - 1
    made = 0
    for make in (
        lambda: CountField(width.count_bits, 1 << width.count_bits),
        lambda: SumWord(width.sum_bits, 0, largest // width.members + 1, width.members),
        lambda: SumWord(width.sum_bits, 0, 1, largest + 1),
    ):
        try:
            make()
        except CapacityExceeded:
            continue
        made += 1
    return made


# --- errors -----------------------------------------------------------------------------------------------------------


def honest(width: Width, survivors: int, draw: random.Random) -> tuple[list[int], list[int]]:
    """Counts and sums as they can come out, the extremes among them."""
    counts = [draw.choice((0, survivors, draw.randint(0, survivors))) for _ in range(WEIGHTS)]
    limits = [count * width.sums.bound for count in counts]
    return counts, [draw.choice((limit, -limit, draw.randint(-limit, limit))) for limit in limits]


def injected(width: Width, stream: bytearray, size: int, draw: random.Random) -> None:
    """Add an error to one word: any, or a small one."""
    place = draw.randrange(len(stream) // size) * size
    error = draw.choice((draw.randrange(1, 256**size), 1, 256**size - 1, 16, width.sums.bound % 256**size or 1))
    word = (int.from_bytes(stream[place : place + size], "little") + error) % 256**size
    stream[place : place + size] = word.to_bytes(size, "little")


def outside(width: Width, streams: tuple[bytearray, bytearray], survivors: int) -> int:
    """How many weights are out of range, in whole numbers; half a byte that nobody counts in is one more."""
    whole, size = int.from_bytes(streams[0], "little"), width.sum_bits // 8
    counts = [whole >> width.count_bits * weight & (1 << width.count_bits) - 1 for weight in range(WEIGHTS)]
    sums = [int.from_bytes(streams[1][size * w : size * (w + 1)], "little", signed=True) for w in range(WEIGHTS)]
    bad = [c > survivors or abs(s) > c * width.sums.bound for c, s in zip(counts, sums, strict=True)]
    return sum(bad) + (whole >> width.count_bits * WEIGHTS > 0)


def noticed(width: Width, streams: tuple[bytearray, bytearray], survivors: int) -> int:
    """How many violations the server counts; above the largest cohort of a plan, its arithmetic alone."""
    field, word, n = width.counts, width.sums, width.members
    if n > COHORT_LIMIT:
        counts, sums = field.unpack(streams[0], WEIGHTS), np.frombuffer(streams[1], word.signed)
        return check_range(counts, sums, survivors, word)
    cohort = tuple(f"m{number:05d}" for number in range(n))
    group = GroupPlan(0, "ba" * 32, (MatrixShape("vector", 1, WEIGHTS),), cohort, n, n, 0, field, word)
    return Released.of(
        group, Streams(*(np.frombuffer(stream, np.uint8) for stream in streams)), survivors
    ).figures.violations


def errors(width: Width, injections: int, seed: int) -> dict[str, int]:
    """Inject errors and see which are noticed."""
    draw, found = random.Random(seed), Counter[str]()
    for number in range(injections):
        survivors = draw.choice((width.members, draw.randint(1, width.members)))
        counts, sums = honest(width, survivors, draw)
        size = width.sum_bits // 8
        totals = bytearray(b"".join(total.to_bytes(size, "little", signed=True) for total in sums))
        streams = packed(counts, width.count_bits), totals
        found["honest sums refused"] += noticed(width, streams, survivors)
        word = width.counts.word.itemsize if number % 2 else size
        injected(width, streams[0] if number % 2 else streams[1], word, draw)
        expected, seen = outside(width, streams, survivors), noticed(width, streams, survivors)
        found["injections"] += 1
        found["left the range"] += expected > 0
        found["noticed"] += expected > 0 and seen > 0
        found["counted otherwise"] += expected != seen
    return dict(found)


def run(task: Task) -> dict[str, int]:
    """Everything about one width."""
    made = {"formats without capacity that could be made": refused(task.width)}
    return {**widest(task.width, task.seed), **made, **errors(task.width, task.injections, task.seed)}


def figures(
    injections: int, seed: int, workers: int | None = None, widths: tuple[tuple[int, int, int], ...] = WIDTHS
) -> dict[str, object]:
    """All widths, the longest first."""
    tasks = [Task(Width(*width), injections, seed) for width in reversed(widths)]
    counts = tally(spread(run, tasks, workers))
    none = (
        "wrong widest sums",
        "widest sums refused",
        "formats without capacity that could be made",
        "honest sums refused",
        "counted otherwise",
    )
    failures = [f"{name}: {counts[name]}" for name in none if counts[name]]
    if counts["noticed"] != counts["left the range"]:
        failures.append("an error that left the range was not noticed")
    return {"counts": counts, "failures": failures}


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:3])))
