"""Every attack of a malicious server that is written down, played against real members.

    python -m tests.attacks.rounds.servers [SEED]     prints the figures as JSON

scripts: attacks that were played; isolations: those after which the server and its puppets could compute the vector of
one honest member, or a sum over two; stopped_at: how many ended at which check; open: those that the threat model
leaves open, which are in none of the other figures; lifted: how many attacks succeed once the checks in their way are
gone; failures: everything that is not as it should be.
"""

import json
import sys
from collections import Counter
from functools import cache
from typing import Any

from fedspallm_secure.errors import FedSpaError
from tests.attacks.rounds import endorsements, keys, lists, plans, requests
from tests.attacks.rounds.script import OPEN, SCRIPTS, Run, run, run_lifted

FAMILIES = {module.__name__.rpartition(".")[2]: module for module in (lists, endorsements, plans, keys, requests)}
STOPPED = {name: found for name, found in SCRIPTS.items() if found.stop != OPEN}
LEFT_OPEN = {name: found for name, found in SCRIPTS.items() if found.stop == OPEN}
LIFTED = {name: found for name, found in STOPPED.items() if found.lifts}


@cache
def played(name: str) -> Run:
    """What came of an attack with the seed 0; played once in a process."""
    return run(SCRIPTS[name])


def failure(found: Run) -> str:
    """What is wrong with how an attack ended; empty if nothing is."""
    script, isolated = found.script, [sorted(isolation.members) for isolation in found.isolations]
    if isolated:
        return f"{script.name} isolates {isolated}"
    if found.stopped != script.stop:
        return f"{script.name} is stopped at {found.stopped}, not at {script.stop}"
    return ""


def ends_at(check: str, error: type[FedSpaError], *names: str) -> None:
    """Assert that each of these attacks ends with this error at this check, and that nobody is isolated."""
    for name in names:
        found = played(name)
        assert failure(found) == ""
        assert (found.stopped, found.refusals[0].error) == (check or error.__name__, error.__name__), name


def opens_nothing(*names: str) -> None:
    """Assert that nobody refuses anything in these attacks, and that nobody is isolated."""
    for name in names:
        found = played(name)
        assert failure(found) == ""
        assert found.refusals == [], name


def failure_lifted(found: Run) -> str:
    """The same for an attack whose checks were taken out: it has to succeed, and what it isolates has to be true."""
    if not found.isolations:
        return f"{found.script.name} isolates nobody although nothing stops it but {found.stopped}"
    return "" if found.proved else f"{found.script.name} computes something that nobody contributed"


def figures(seed: int) -> dict[str, Any]:
    """Play all of them."""
    runs = [run(script, seed) for script in STOPPED.values()]
    without = [run_lifted(script, seed) for script in LIFTED.values()]
    places = Counter(found.stopped for found in runs)
    return {
        "scripts": len(runs),
        "isolations": sum(bool(found.isolations) for found in runs),
        "stopped_at": dict(sorted(places.items(), key=_order)),
        "open": len(LEFT_OPEN),
        "lifted": sum(bool(found.isolations) for found in without),
        "failures": [text for text in (*map(failure, runs), *map(failure_lifted, without)) if text],
        "seed": seed,
    }


def _order(item: tuple[str, int]) -> tuple[bool, str, int]:
    """Checks in their order, then classes of errors."""
    place = item[0]
    number = place[1:]
    return not number.isdigit(), place[0] if number.isdigit() else place, int(number) if number.isdigit() else 0


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    sys.stdout.write(json.dumps(figures(number)) + "\n")
