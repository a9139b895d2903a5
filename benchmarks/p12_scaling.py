"""P12: what a secure round costs one member as cohorts grow, measured with `fedprune simulate --members N`.

Up to 200 members everybody is everybody's neighbour; beyond, the graph is sparse and a twentieth of the members may
collude.  Vectors are short, so that what grows is the protocol and not the vector.  Every size runs in a process of
its own, with a time limit.  An exponent is the slope of a line through the logarithms, by least squares: 1 says that
the cost grows as the cohort does, 0 that it does not grow.
"""

import json
import math
import resource
import subprocess
import sys
from collections.abc import Sequence
from statistics import linear_regression
from time import monotonic
from typing import Any

from benchmarks.measure import SEED, Row
from benchmarks.p4_flower import NotRun

WEIGHTS = 10_000
COMPLETE = (5, 10, 20, 50, 100, 200)
SPARSE = (500, 1000)
LIMIT = 20 * 60  # seconds for one size
TARGETS = ("about 1: O(n)", "about 0: O(log n)")
COSTS = {
    "seconds of a member": "member_seconds",
    "bytes of a contribution": "contribution_bytes",
    "bytes that a member sends and is sent": "member_bytes",
}


def measure(complete: Sequence[int] = COMPLETE, sparse: Sequence[int] = SPARSE) -> list[Row]:
    """A row for each cost and range: its fitted exponent, and the costs themselves."""
    found: dict[int, dict[str, Any]] = {}
    rows: list[Row] = []
    for members in (*complete, *sparse):
        try:
            found[members] = play(members)
        except subprocess.TimeoutExpired:
            rows.append(NotRun("P12", f"a round of {members} members did not end within {LIMIT} seconds", "it ends"))
    for planned, target in zip((complete, (complete[-1], *sparse)), TARGETS, strict=True):
        sizes = [members for members in planned if members in found]
        if len(sizes) < 2:
            continue
        for what, key in COSTS.items():
            row = Row("P12", f"exponent of the {what}, {sizes[0]} to {sizes[-1]} members", target)
            costs = [found[members][key] for members in sizes]
            row.ratios = [exponent(sizes, costs)]
            row.figures = {f"n = {members}": f"{cost:,.6g}" for members, cost in zip(sizes, costs, strict=True)}
            row.figures["exponent of the last step"] = f"{exponent(sizes[-2:], costs[-2:]):.2f}"
            rows.append(row)
    rows.append(_sizes(found))
    return rows


def play(members: int) -> dict[str, Any]:
    """One round.  Raises CalledProcessError where it fails, TimeoutExpired where it takes too long."""
    command = [sys.executable, "-m", "fedprune_cli", "simulate", "--members", str(members), "--vector", str(WEIGHTS)]
    command += ["--strategy", "votes", "--profile", "three-trip", "--seed", str(SEED), "--json"]
    if members > COMPLETE[-1]:
        command += ["--collude", str(members // 20)]
    start, before = monotonic(), _cpu_seconds()
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT)
    whole, cpu = monotonic() - start, _cpu_seconds() - before
    found: dict[str, Any] = json.loads(finished.stdout)
    sent = sum(kind["bytes"] for kind in found["wire"]["by_type"].values())
    return {**found, "member_bytes": sent / members, "whole_seconds": whole, "cpu_seconds": cpu}


def _cpu_seconds() -> float:
    """What all processes that this one started and waited for have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def exponent(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """b of the line log cost = a + b log size."""
    return linear_regression([math.log(size) for size in sizes], [math.log(cost) for cost in costs]).slope


def _sizes(found: dict[int, dict[str, Any]]) -> Row:
    """The largest cohort: how long one process took for everybody in it, and what the graph was."""
    largest = max(found)
    whole = found[largest]
    row = Row("P12", f"seconds of one process for a round of {largest} members", f"it ends within {LIMIT}")
    row.ratios = [whole["whole_seconds"]]
    row.figures = {
        "server": f"{whole['server_seconds']:.1f} s",
        "neighbours": whole["degree"],
        "shares": whole["shares"],
        "peak": f"{whole['peak_rss_bytes'] / 2**20:,.0f} MiB",
    }
    for members, one in found.items():
        stages = ", ".join(f"{key} {value:.3g}" for key, value in one["seconds"].items())
        row.figures[f"n = {members}"] = f"{one['whole_seconds']:.0f} s, {one['cpu_seconds']:.0f} s of CPU ({stages})"
    return row
