"""Every attack of a malicious server that is written down, played against real members.

    python -m tests.attacks.rounds.servers [SEED]     prints the figures as JSON

scripts: attacks that were played; isolations: those after which the server and its puppets could compute the vector of
one honest member, or a sum over two; stopped_at: how many ended at which check; open: those that the threat model
leaves open, which are in none of the other figures; lifted: of the attacks that need only a check or two gone, how many
succeed without them, and all of them have to; failures: everything that is not as it should be.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.attacks.rounds import endorsements, keys, lists, plans, requests
from tests.attacks.rounds.script import NOTHING, OPEN, SCRIPTS, Run, Script, run, run_lifted

FAMILIES = {module.__name__.rpartition(".")[2]: module for module in (lists, endorsements, plans, keys, requests)}
STOPPED = [found for found in SCRIPTS.values() if found.stop != OPEN]
LEFT_OPEN = [found for found in SCRIPTS.values() if found.stop == OPEN]
LIFTED = [found for found in STOPPED if found.lifts]


def failure(found: Run) -> str:
    """What is wrong with how an attack ended; empty if nothing is."""
    script, isolated = found.script, [sorted(isolation.members) for isolation in found.isolations]
    if isolated:
        return f"{script.name} isolates {isolated}"
    if found.stopped != script.stop:
        return f"{script.name} is stopped at {found.stopped}, not at {script.stop}"
    return ""


def failure_lifted(found: Run) -> str:
    """The same for an attack whose checks were taken out: it has to succeed, and what it isolates has to be true."""
    if not found.isolations:
        return f"{found.script.name} isolates nobody although nothing stops it but {found.stopped}"
    return "" if found.proved else f"{found.script.name} computes something that nobody contributed"


def figures(scripts: Iterable[Script], seed: int) -> dict[str, Any]:
    """Play all of them."""
    stopped: Counter[str] = Counter()
    count, isolations, lifted, failures = 0, 0, 0, []
    for script in scripts:
        if script.stop == OPEN:
            continue
        found = run(script, seed)
        count += 1
        isolations += bool(found.isolations)
        stopped[found.stopped] += 1
        failures.append(failure(found))
        if script.lifts:
            without = run_lifted(script, seed)
            lifted += bool(without.isolations)
            failures.append(failure_lifted(without))
    return {
        "scripts": count,
        "isolations": isolations,
        "stopped_at": dict(sorted(stopped.items(), key=_order)),
        "open": len(LEFT_OPEN),
        "lifted": lifted,
        "failures": [text for text in failures if text],
        "seed": seed,
    }


def _order(item: tuple[str, int]) -> tuple[bool, str, int]:
    """Checks in their order, then classes of errors."""
    place = item[0]
    number = place[1:]
    return not number.isdigit(), place[0] if number.isdigit() else place, int(number) if number.isdigit() else 0


if __name__ == "__main__":
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    sys.stdout.write(json.dumps(figures(SCRIPTS.values(), seed)) + "\n")

__all__ = ["FAMILIES", "LEFT_OPEN", "LIFTED", "NOTHING", "STOPPED", "failure", "failure_lifted", "figures"]
