"""P8: the server's peak memory while it aggregates, in units of one member's upload of one layer.

The vectors of all members lie on disk.  A process of its own adds up one layer after another, takes the keystreams off
and the server step, and writes the layer files; the figure is its peak memory above what it held after its imports.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Row
from benchmarks.p7_aggregation import Ground
from fedspallm_secure.pruning.strategies import Strategy

TARGET = "<= 4, flat in members and layers"
CASES = [(4, 1), (4, 3), (12, 1), (24, 1)]  # members, layers
CHILD = """
import sys
from pathlib import Path
import torch
from benchmarks.p7_aggregation import Ground
from benchmarks.p8_server_memory import held
from fedspallm_secure.pruning.strategies import Strategy

(torch.randn(512, 512) @ torch.randn(512, 512)).sum()
ground = Ground.open(Path(sys.argv[1]), int(sys.argv[2]), Strategy(sys.argv[3]), int(sys.argv[4]))
before = held("VmRSS")
for block in ground.blocks:
    ground.write(block, ground.released(block))
print(held("VmHWM") - before)
"""


@dataclass(frozen=True)
class Peak:
    """peak: bytes above imports; upload: bytes of one member's streams of one layer."""

    peak: int
    upload: int

    @property
    def ratio(self) -> float:
        """Uploads that fit in it."""
        return self.peak / self.upload


def measure() -> list[Row]:
    """One row for every number of members and layers."""
    rows = []
    for members, layers in CASES:
        found = peak_of(members, layers, Strategy.FEDSPALLM)
        row = Row("P8", f"server peak over one upload, {members} members, layers: {layers}", TARGET, [found.ratio])
        row.figures = {"peak": f"{found.peak / 2**20:.0f} MiB", "upload": f"{found.upload / 2**20:.0f} MiB"}
        rows.append(row)
    return rows


def peak_of(members: int, layers: int, strategy: Strategy) -> Peak:
    """Make the uploads here, and aggregate them there."""
    with TemporaryDirectory() as folder:
        ground = Ground.make(Path(folder), members, strategy, layers)
        group = ground.group(ground.blocks[0])
        command = [sys.executable, "-c", CHILD, folder, str(members), strategy.value, str(layers)]
        finished = subprocess.run(command, capture_output=True, text=True, check=True)
    return Peak(int(finished.stdout), group.count_size + group.sum_size)


def held(what: str) -> int:
    """Bytes that this process holds, VmRSS, or held at most, VmHWM."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[what].split()[0]) * 1024
