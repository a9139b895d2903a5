"""`python -m benchmarks [p1] [p2] …`: run rows, print a table, write JSON."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    memory,
    p3_masking,
    p4_flower,
    p5_bytes,
    p7_aggregation,
    p8_server_memory,
    p10_secure_round,
    p11_upload,
    p12_scaling,
    p13_audit,
    p14_he,
    packages,
    pruning,
)
from benchmarks.measure import Row, make_ground, surroundings
from fedspallm_secure.pruning.pruners import Pruner

ROWS = ["p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10", "p11", "p12", "p13", "p14"]
DEMO = Path(__file__).parent.parent / "examples/demo"


def main() -> None:
    """Run the rows that were named, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", choices=ROWS, help="rows to run; all by default")
    parser.add_argument("--model", type=Path, default=DEMO / "model")
    parser.add_argument("--text", type=Path, default=DEMO / "texts/manual.calib.txt", help="to calibrate with")
    parser.add_argument("--test", type=Path, default=DEMO / "texts/manual.test.txt", help="to measure perplexity on")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--seqlen", type=int, default=256)
    parser.add_argument("--times", type=int, default=5, help="measurements of each side")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    chosen = options.rows or ROWS
    where = surroundings(sys.argv[1:])
    print(", ".join(f"{key} {value}" for key, value in where.items()), "\n")
    print("| row | what | median ratio | least to most | target | figures |\n|---|---|---|---|---|---|")
    rows: list[Row] = []
    for name in chosen:
        for row in _run(name, options):
            print(row.markdown(), flush=True)
            rows.append(row)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"where": where, "rows": [row.to_dict() for row in rows]}, indent=2) + "\n")


def _run(name: str, options: argparse.Namespace) -> list[Row]:
    alone: dict[str, Callable[[], list[Row]]] = {
        "p3": lambda: p3_masking.measure(options.times),
        "p4": lambda: p4_flower.measure(options.times),
        "p5": p5_bytes.measure,
        "p6": lambda: packages.measure(options.times),
        "p7": lambda: p7_aggregation.measure(min(options.times, 3)),
        "p8": p8_server_memory.measure,
        "p9": memory.measure,
        "p10": lambda: p10_secure_round.measure(
            options.model, options.text, options.test, options.samples, options.seqlen, min(options.times, 3)
        ),
        "p11": lambda: p11_upload.measure(options.times),
        "p12": p12_scaling.measure,
        "p13": lambda: p13_audit.measure(min(options.times, 3)),
        "p14": lambda: p14_he.measure(options.times),
    }
    if name in alone:
        return alone[name]()
    ground = make_ground(options.model, options.text, options.test, options.samples, options.seqlen)
    return pruning.measure(ground, Pruner.SPARSEGPT if name == "p1" else Pruner.WANDA, options.times)


if __name__ == "__main__":
    main()
