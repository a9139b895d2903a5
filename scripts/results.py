"""Measure federated pruning against its alternatives and print the table of docs/RESULTS.md.

    python scripts/results.py --model DIR --texts DIR [--pruners sparsegpt,wanda] [--targets 0.5,0.6,0.7,2:4]

The texts folder holds NAME.calib.* and NAME.test.* per domain; each domain becomes one silo and one test.  With --iid
the calibration texts are dealt out evenly instead, so that every silo holds some of every domain.  Each row is one
`fedprune simulate`, run as a process of its own; the table names commit, versions and seed.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SUFFIXES = (".txt", ".jsonl")


def domains(folder: Path) -> dict[str, tuple[Path, Path]]:
    """name -> (calibration file, test file)."""
    found = {}
    for suffix in SUFFIXES:
        for calibration in sorted(folder.glob(f"*.calib{suffix}")):
            name = calibration.name.removesuffix(f".calib{suffix}")
            found[name] = (calibration, folder / f"{name}.test{suffix}")
    return found


def documents(file: Path) -> list[str]:
    """Paragraph-sized documents of a .txt or .jsonl file."""
    if file.suffix == ".jsonl":
        return [json.loads(line)["text"] for line in file.read_text().splitlines() if line.strip()]
    return [part for part in file.read_text().split("\n\n") if part.strip()]


def shuffle_evenly(found: dict[str, tuple[Path, Path]], folder: Path) -> dict[str, tuple[Path, Path]]:
    """Deal every domain's documents out to all silos in turn (IID); tests stay as they are."""
    names = list(found)
    parts: dict[str, list[str]] = {name: [] for name in names}
    for calibration, _ in found.values():
        for number, text in enumerate(documents(calibration)):
            parts[names[number % len(names)]].append(text)
    mixed = {}
    for number, name in enumerate(names):
        file = folder / f"mixed-{number}.calib.jsonl"
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in parts[name]))
        mixed[name] = (file, found[name][1])
    return mixed


def simulate(model: Path, found: dict[str, tuple[Path, Path]], out: Path, *words: str) -> dict[str, Any]:
    """Run `fedprune simulate --json`."""
    command = [sys.executable, "-m", "fedprune_cli", "simulate", "--model", str(model), "--out", str(out), "--json"]
    for name, (calibration, test) in found.items():
        command += ["--silo", f"{name}={calibration}", "--test", f"{name}={test}"]
    finished = subprocess.run([*command, *words], stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(finished.stdout)
    return result


def row(pruner: str, target: str, result: dict[str, Any]) -> str:
    """One line of the table: geometric mean perplexities, and what the federation gained over standing alone."""
    alone, federated = result["standalone_mean"], result["federated"]["mean"]
    gap = alone["mean"] - result["centralised"]["mean"]
    closed = f"{(alone['mean'] - federated) / gap:.0%}" if gap > 0 else "n/a"
    cells = [
        pruner,
        target,
        f"{result['dense']['mean']:.2f}",
        f"{alone['mean']:.2f} ({alone['least']:.2f} to {alone['most']:.2f})",
        f"{result['random']['mean']:.1f}",
        f"**{federated:.2f}**",
        f"{result['centralised']['mean']:.2f}",
        closed,
        f"{result['agreement']['unanimous']:.1%}",
        f"{result['sparsity']['dropped']:,} / {result['sparsity']['size']:,}",
        f"{sum(result['seconds'].values()):.0f} s",
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| pruner | target | dense | standalone, mean (least to most) | random | federated | centralised | gap closed "
    "| unanimous | dropped | time |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Run every combination and print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--pruners", default="sparsegpt,wanda")
    parser.add_argument("--targets", default="0.5,0.6,0.7,2:4")
    parser.add_argument("--iid", action="store_true")
    parser.add_argument("words", nargs="*", help="passed on to fedprune simulate, after --")
    options = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    print(
        f"commit {commit.strip()}, {platform.machine()}, {os.cpu_count()} cores, simulate {' '.join(options.words)}\n"
    )
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found = domains(options.texts)
        if options.iid:
            found = shuffle_evenly(found, Path(folder))
        for pruner in options.pruners.split(","):
            for target in options.targets.split(","):
                words = ["--pattern" if ":" in target else "--sparsity", target, "--pruner", pruner, *options.words]
                out = Path(folder) / f"{pruner}-{target.replace(':', 'of')}"
                print(row(pruner, target, simulate(options.model, found, out, *words)), flush=True)


if __name__ == "__main__":
    main()
