"""P8: the server's peak memory while it aggregates, in units of one member's upload of one layer.

The vectors of all members lie on disk.  A process of its own adds up one layer after another, takes the keystreams off
and the server step, writes the layer files, reads them back for their digests, and writes what members are sent; the
figure is its peak memory above what it held after its imports.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Row
from benchmarks.p7_aggregation import Ground
from fedspallm_secure.app.rounds.planning import LayerBase, Terms, make_group
from fedspallm_secure.app.walking.skeleton import Block
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.thresholds import Profile

TARGET = "<= 4, flat in members and layers"
CASES = [  # members, layers, strategy, bits of a sum; votes are the smallest uploads, so that what is fixed weighs most
    (4, 1, Strategy.FEDSPALLM, 32),
    (4, 3, Strategy.FEDSPALLM, 32),
    (12, 1, Strategy.FEDSPALLM, 32),
    (24, 1, Strategy.FEDSPALLM, 32),
    (8, 1, Strategy.FEDSPALLM, 16),
    (24, 1, Strategy.FEDSPALLM, 16),
    (8, 1, Strategy.VOTES, 32),
    (24, 1, Strategy.VOTES, 32),
]
CHILD = """
import sys
from pathlib import Path
import torch
from benchmarks.p8_server_memory import GROUNDS, held
from fedspallm_secure.app.stations.layers import digest_of, encode_layer
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.storage.checkpoints.stored_layers import stored_layer

(torch.randn(512, 512) @ torch.randn(512, 512)).sum()
ground = GROUNDS[int(sys.argv[5])].open(Path(sys.argv[1]), int(sys.argv[2]), Strategy(sys.argv[3]), int(sys.argv[4]))
before = held("VmRSS")
for block in ground.blocks:
    released = ground.released(block)
    layer = stored_layer(ground.write(block, released))
    digest_of(released.group, layer)
    with open(sys.argv[1] + "/body", "wb") as file:
        file.writelines(encode_layer(released.group, layer))
    del released
print(held("VmHWM") - before)
"""


class Narrow(Ground):
    """A ground whose sums have words of 16 bits."""

    def group(self, block: Block) -> GroupPlan:
        """The layer in a plan."""
        shapes = tuple(MatrixShape(linear.name, *linear.shape) for linear in block.linears)
        terms = Terms(Profile.THREE_TRIP, 1, self.strategy, "wanda", sum_bits=16)
        return make_group(block.index, self.members, LayerBase("ba" * 32, shapes), terms)


GROUNDS = {32: Ground, 16: Narrow}


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
    """One row for every case."""
    rows = []
    for members, layers, strategy, bits in CASES:
        found = peak_of(members, layers, strategy, bits)
        what = strategy.value if strategy is Strategy.VOTES else f"{strategy.value}, sums of {bits} bits"
        what = f"server peak over one upload, {members} members, layers: {layers} ({what})"
        row = Row("P8", what, TARGET, [found.ratio])
        row.figures = {"peak": f"{found.peak / 2**20:.0f} MiB", "upload": f"{found.upload / 2**20:.0f} MiB"}
        rows.append(row)
    return rows


def peak_of(members: int, layers: int, strategy: Strategy, bits: int = 32) -> Peak:
    """Make the uploads here, and aggregate them there."""
    with TemporaryDirectory() as folder:
        ground = GROUNDS[bits].make(Path(folder), members, strategy, layers)
        group = ground.group(ground.blocks[0])
        command = [sys.executable, "-c", CHILD, folder, str(members), strategy.value, str(layers), str(bits)]
        finished = subprocess.run(command, capture_output=True, text=True, check=True)
    return Peak(int(finished.stdout), group.count_size + group.sum_size)


def held(what: str) -> int:
    """Bytes that this process holds, VmRSS, or held at most, VmHWM."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[what].split()[0]) * 1024
