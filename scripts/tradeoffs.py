"""What each way to aggregate costs, on the demo's model and texts, one after the other in one run: a table in Markdown.

    python scripts/tradeoffs.py [--only TEXT]     prints the table of the README

Every row is `fedprune simulate` with the demo's settings: five silos, 50 %, seed 0.  Bytes are those of real packages,
computed for plain sums; times are of this machine, with one thread, of all silos one after the other.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ROOT / "examples/demo/texts"
NAMES = ("code", "dictionary", "manual", "novel", "speeches")
SPARSEGPT = ("--seqlen", "256")
WANDA = ("--pruner", "wanda", "--samples", "256", "--seqlen", "128")
_AT_SERVER = ("intake", "survivors", "request", "open", "sum")
_AT_HOLDER = ("challenge", "decrypt")


@dataclass(frozen=True)
class Variant:
    """A row.  trips: of a member to the server with something; against: whose cooperation breaks it."""

    name: str
    words: tuple[str, ...]
    trips: str
    against: str


VARIANTS = (
    Variant("plain", SPARSEGPT, "1", "the server alone reads everything"),
    Variant(
        "secagg, three-trip",
        (*SPARSEGPT, "--aggregation", "secagg"),
        "3",
        "the server with more than c members",
    ),
    Variant(
        "secagg, two-trip",
        (*SPARSEGPT, "--aggregation", "secagg", "--profile", "two-trip"),
        "2",
        "the server with more than c members",
    ),
    Variant(
        "secagg, two-trip-witnessed",
        (*SPARSEGPT, "--aggregation", "secagg", "--profile", "two-trip-witnessed"),
        "2",
        "the server with more than c members, or with too many witnesses",
    ),
    Variant(
        "he, one-trip",
        (*SPARSEGPT, "--aggregation", "he"),
        "1",
        "the server with the key holder",
    ),
    Variant("wanda, secagg", (*WANDA, "--aggregation", "secagg"), "3", "the server with more than c members"),
    Variant(
        "wanda, secagg, epsilon 8",
        (*WANDA, "--aggregation", "secagg", "--dp-epsilon", "8"),
        "3",
        "nobody, for single records: epsilon 8, delta 1e-6",
    ),
)


def measure(variant: Variant) -> dict[str, Any]:
    """The result of one simulation."""
    with tempfile.TemporaryDirectory(prefix="fedprune-") as folder:
        words = [sys.executable, "-m", "fedprune_cli", "simulate", "--model", str(ROOT / "examples/demo/model")]
        for name in NAMES:
            words += ["--silo", f"{name}={TEXTS / name}.calib.txt", "--test", f"{name}={TEXTS / name}.test.txt"]
        words += ["--sparsity", "0.5", "--test-tokens", "8192", "--compare", "", "--out", f"{folder}/out", "--json"]
        done = subprocess.run([*words, *variant.words], check=True, capture_output=True, text=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def row(variant: Variant, found: dict[str, Any]) -> str:
    """Its line of the table."""
    mean = found["federated"]["mean"]
    rounds = found["secagg"]
    if not rounds:
        return _line(variant, f"{max(found['bytes_per_silo'].values()) / (1 << 20):.1f} MiB", "none", mean)
    wire, seconds = rounds[0]["wire"], rounds[0]["seconds"]
    each = max(wire["sent_by_silo"].values()) / (1 << 20)
    server = sum(seconds.get(stage, 0.0) for stage in _AT_SERVER)
    holder = sum(seconds.get(stage, 0.0) for stage in _AT_HOLDER)
    member = (sum(seconds.values()) - server - holder) / len(NAMES)
    times = f"{member:.2f} s, {server:.2f} s" + (f", {holder:.2f} s" if holder else "")
    return _line(variant, f"{each:.1f} MiB", times, mean)


def _line(variant: Variant, sent: str, times: str, mean: float) -> str:
    return f"| {variant.name} | {variant.trips} | {variant.against} | {sent} | {times} | {mean:.2f} |"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="variants whose name holds this text")
    only = parser.parse_args().only
    print("| aggregation | trips of a member | broken by | a member sends | member, server, key holder | perplexity |")
    print("|---|---|---|---|---|---|")
    for variant in VARIANTS:
        if only in variant.name:
            print(row(variant, measure(variant)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
