"""Every attack on a key holder that is written down, played against real members and a real key holder.

    python -m tests.attacks.decryption [SEED]     prints the figures as JSON

scripts: attacks that were played, with encryption that hides nothing in place of TenSEAL; stopped_at: how many ended at
which check; leaks: those after which something came out that is no sum over enough members; unseen: how many were
played once more against a key holder that looks at no chunks, where keystreams alone are in their way; lifted: how many
succeed once all that is in their way is gone; replaced: for each sample, in thousandths, how often a sum with one
replaced chunk gets past the look at chunks, of how many challenges and of how many chunks; failures: what is not as it
should be.
"""

import json
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Any

from fedspallm_secure.protocol.rounds.decrypting import draw_chunks, sample_size
from tests.attacks.ciphers import openings, plans, sums
from tests.attacks.ciphers.script import SCRIPTS, Run, failure, no_look_at_chunks, run

FAMILIES = (openings, plans, sums)
LIFTED = {name: found for name, found in SCRIPTS.items() if found.lifts}
UNSEEN = {name: found for name, found in LIFTED.items() if no_look_at_chunks in found.lifts}
CHUNKS, CHALLENGES = 400, 4000
SAMPLES = (10, 50, 100, 250, 1000)  # thousandths


@cache
def played(name: str) -> Run:
    """What came of an attack with the seed 0; played once in a process."""
    return run(SCRIPTS[name])


def failure_lifted(found: Run) -> str:
    """What is wrong with an attack whose checks were taken out: it has to succeed."""
    return "" if found.leaks else f"{found.script.name} gets nothing although nothing stops it but {found.stopped}"


def failure_unseen(found: Run) -> str:
    """What is wrong with an attack that the key holder does not look for: nothing may come out all the same."""
    if found.leaks or found.stopped != "SumOutOfRange":
        return f"{found.script.name}, unseen, is stopped at {found.stopped}: {'; '.join(found.leaks)}"
    return ""


def missed(chunks: int, sample: int, challenges: int) -> int:
    """How many challenges do not ask for one chunk that was replaced; which one, the server draws beforehand.

    After just these the sum goes on to be decrypted: an opened chunk that does not add up is always found.
    """
    return sum(number % chunks not in draw_chunks(chunks, sample) for number in range(challenges))


def figures(seed: int) -> dict[str, Any]:
    """Play all of them."""
    runs = [run(script, seed) for script in SCRIPTS.values()]
    without = [run(script, seed, lifted=True) for script in LIFTED.values()]
    unseen = [run(replace(script, lifts=(no_look_at_chunks,)), seed, lifted=True) for script in UNSEEN.values()]
    rates = {
        str(sample): {
            "missed": missed(CHUNKS, sample, CHALLENGES),
            "challenges": CHALLENGES,
            "chunks": CHUNKS,
            "expected": round(CHALLENGES * (1 - sample_size(CHUNKS, sample) / CHUNKS), 1),
        }
        for sample in SAMPLES
    }
    wrong = [*map(failure, runs), *map(failure_lifted, without), *map(failure_unseen, unseen)]
    return {
        "scripts": len(runs),
        "leaks": sum(bool(found.leaks) for found in runs),
        "stopped_at": dict(sorted(Counter(found.stopped for found in runs).items())),
        "unseen": len(unseen),
        "lifted": sum(bool(found.leaks) for found in without),
        "replaced": rates,
        "failures": [text for text in wrong if text],
        "seed": seed,
    }


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    sys.stdout.write(json.dumps(figures(number)) + "\n")
