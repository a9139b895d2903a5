"""P10: a round of five silos with secure aggregation against the same round with plain sums, by the program itself.

`fedprune simulate` twice, in processes of its own, everything else equal.  A round is what the silos and the server do
in it (the phases `prune` and `aggregate`): all five silos prune one after another on this machine, and with secure
aggregation make, seal and open every package too.  The simulation also compares every sum with the plain one and
counts what it gives away; a federation does not, so the protocol's own stages are given beside it.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import SEED, Row

SILOS = 5
PRUNERS = ("sparsegpt", "wanda")
TARGET = "<= 1.15 of the time"
ADDED = "what a round costs more"


def measure(model: Path, text: Path, test: Path, samples: int, seqlen: int, times: int) -> list[Row]:
    """Two rows for each pruner.  text: .txt or .jsonl, of which every silo gets four fifths."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = ["--model", str(model), "--test", f"test={test}", "--test-tokens", str(2 * seqlen)]
        for number, part in enumerate(deal(text, folder)):
            options += ["--silo", f"silo-{number}={part}"]
        options += ["--samples", str(samples), "--seqlen", str(seqlen), "--seed", str(SEED)]
        options += ["--sparsity", "0.5", "--strategy", "fedspallm", "--compare", "", "--device", "cpu"]
        rows = []
        for pruner in PRUNERS:
            simulate([*options, "--pruner", pruner, "--aggregation", "plain"], folder)  # fills the caches
            found: dict[str, list[dict[str, Any]]] = {"plain": [], "secagg": []}
            for _ in range(times):
                for aggregation, kept in found.items():
                    kept.append(simulate([*options, "--pruner", pruner, "--aggregation", aggregation], folder))
            rows += compare(f"{SILOS} silos, {pruner}, {samples} x {seqlen} tokens", found["plain"], found["secagg"])
        return rows


def deal(text: Path, folder: Path) -> list[Path]:
    """Five files, each without another fifth of the lines of `text`, so that no two silos see the same."""
    lines = text.read_text(encoding="utf-8").splitlines(keepends=True)
    parts = []
    for number in range(SILOS):
        part = folder / f"silo-{number}{text.suffix}"
        kept = [line for place, line in enumerate(lines) if place % SILOS != number]
        part.write_text("".join(kept), encoding="utf-8")
        parts.append(part)
    return parts


def simulate(options: Sequence[str], folder: Path) -> dict[str, Any]:
    """The result of one run, whose output is thrown away.  Ends the program with the run's own error."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, "-m", "fedprune_cli", "simulate", *options, "--out", f"{out}/out", "--json"]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            raise SystemExit(finished.stderr)
        result: dict[str, Any] = json.loads(finished.stdout)
        return result


def compare(what: str, plain: Sequence[dict[str, Any]], secure: Sequence[dict[str, Any]]) -> list[Row]:
    """Whole rounds, and the phase `aggregate` alone; results of runs in turn, one of each kind after the other.

    On a shared machine pruning, the same work on both sides, drifts by more than what is measured.  The figures beside
    the ratios are therefore of the fastest run of every phase, with one pruning time for both sides.
    """
    pairs = list(zip(plain, secure, strict=True))
    pruning = min(_phase(result, "prune") for result in (*plain, *secure))
    before, after = (min(_phase(result, "aggregate") for result in results) for results in (plain, secure))
    stages = min(sum(sum(one["seconds"].values()) for one in result["secagg"]) for result in secure)
    whole = Row("P10", f"secure round over plain, {what}", TARGET)
    whole.ratios = [_round(two) / _round(one) for one, two in pairs]
    whole.figures = {
        "of the fastest phases": f"{(pruning + after) / (pruning + before):.3f}",
        "protocol alone": f"{stages / (pruning + after):.1%} of the round",
    }
    phase = Row("P10", f"phase aggregate, secure over plain, {what}", ADDED)
    phase.ratios = [_phase(two, "aggregate") / _phase(one, "aggregate") for one, two in pairs]
    phase.figures = {
        "share of a plain round": f"{before / (pruning + before):.1%}",
        "of a secure one": f"{after / (pruning + after):.1%}",
    }
    return [whole, phase]


def _phase(result: dict[str, Any], name: str) -> float:
    return float(result["seconds"][name])


def _round(result: dict[str, Any]) -> float:
    return _phase(result, "prune") + _phase(result, "aggregate")
