"""What every row shares: alternating timings, the ground they run on, and the record of where and when."""

import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from fedspallm_secure.app.calibration import Tokenizer, calibration_windows, test_windows
from fedspallm_secure.app.walking.workshop import ComputeSettings, Workshop, open_workshop
from fedspallm_secure.crypto.draws import seed_bytes
from fedspallm_secure.storage.texts import TextFile

SEED = 0


@dataclass(slots=True)
class Row:
    """One measured line.  ratio: peer over ours, so that more is better, unless `what` says otherwise."""

    name: str
    what: str
    target: str
    ratios: list[float] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.ratios)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "what": self.what,
            "target": self.target,
            "median": self.median,
            "ratios": self.ratios,
            "figures": self.figures,
        }

    def markdown(self) -> str:
        """A line of the table in docs/BENCHMARKS.md."""
        spread = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"
        figures = "; ".join(f"{key} {value}" for key, value in self.figures.items())
        return f"| {self.name} | {self.what} | **{self.median:.2f}** | {spread} | {self.target} | {figures} |"


def alternate(peer: Callable[[], Any], ours: Callable[[], Any], times: int) -> tuple[list[float], list[float]]:
    """Seconds of `peer` and of `ours`, in turn, `times` times after one warm-up of each."""
    peer()
    ours()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(times):
        for run, kept in zip((peer, ours), seconds, strict=True):
            start = perf_counter()
            run()
            kept.append(perf_counter() - start)
    return seconds


@dataclass(frozen=True, slots=True)
class Ground:
    """A model and text to measure on: workshop, calibration windows and test windows, (windows, tokens) ids."""

    model: Path
    workshop: Workshop
    calibration: Tensor
    tests: Tensor


def make_ground(model: Path, calibration: Path, test: Path, samples: int, seqlen: int) -> Ground:
    """Open the model on the CPU in float32 and cut windows."""
    workshop = open_workshop(model, ComputeSettings(device="cpu", dtype="float32"))
    tokenizer = Tokenizer(model, workshop.skeleton.vocabulary)
    ids = tokenizer.encode(TextFile("calibration", calibration))
    held_out = tokenizer.encode(TextFile("test", test))
    windows = calibration_windows(ids, samples, seqlen, seed_bytes(SEED))
    return Ground(model, workshop, windows, test_windows(held_out, seqlen, 32))


def surroundings(arguments: Sequence[str]) -> dict[str, Any]:
    """Commit, machine, versions and command of this run."""
    return {
        "commit": _git("rev-parse", "--short", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
        "command": " ".join(["python", "-m", "benchmarks", *arguments]),
        "seed": SEED,
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _git(*words: str) -> str:
    finished = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    return finished.stdout.strip()


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or sys.platform
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
