"""P7: the server's step on one layer, from uploads on disk to the layer file, against reading and adding them alone.

Ours reads the masked vectors, adds them, takes the keystreams of all members off, checks the range of the sums, takes
the server step and writes the layer, durably.  The peer reads the same bytes into one buffer and adds them with numpy.
Nobody drops out; what dropouts cost is more keystream, and that is row P3.  The operating system holds the files in
memory for both.
"""

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.measure import SEED, Row, alternate
from fedspallm_secure.app.rounds.planning import LayerBase, Terms, make_group
from fedspallm_secure.app.rounds.server_party import add_up
from fedspallm_secure.app.rounds.vault import FolderVault, word_sizes
from fedspallm_secure.app.rounds.vectors import Released, Streams
from fedspallm_secure.app.server import ServerSpec, write_aggregate
from fedspallm_secure.app.states import Revision
from fedspallm_secure.app.walking.discovery import Linear
from fedspallm_secure.app.walking.skeleton import Block
from fedspallm_secure.protocol.rounds.answers import Unmasking
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.pruning.patterns import Unstructured
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.masking import Term, add_keystreams
from fedspallm_secure.secagg.thresholds import Profile
from fedspallm_secure.storage.checkpoints.reader import Checkpoint

TARGET = ">= 0.5 of reading and adding"
CASES = [(8, Strategy.FEDSPALLM), (24, Strategy.FEDSPALLM), (24, Strategy.VOTES)]  # members, strategy
WIDTH, INNER = 2048, 5632
_TILE = 1 << 20  # weights that a made-up member draws at once


def block_of(layer: int) -> Block:
    """A decoder layer of the shapes of TinyLlama's."""
    shapes = {f"self_attn.{name}_proj": (WIDTH, WIDTH) for name in "qkvo"}
    shapes |= {"mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH), "mlp.down_proj": (WIDTH, INNER)}
    path = f"model.layers.{layer}"
    linears = (Linear(name, f"{path}.{name}.weight", shape, transposed=False) for name, shape in shapes.items())
    return Block(layer, path, nn.Module(), {}, tuple(linears))


@dataclass(frozen=True)
class Ground:
    """A model, its layers, and where the masked vectors of one of them lie."""

    revision: Revision
    blocks: list[Block]
    vault: FolderVault
    folder: Path
    strategy: Strategy
    members: tuple[str, ...]

    @classmethod
    def make(cls, folder: Path, members: int, strategy: Strategy, layers: int = 1) -> "Ground":
        """Make a model of `layers` layers, and for each of them the vectors of `members` members."""
        (folder / "model").mkdir()
        (folder / "model/config.json").write_text(json.dumps({"model_type": "llama"}))
        draws = torch.Generator().manual_seed(SEED)
        linears = [linear for layer in range(layers) for linear in block_of(layer).linears]
        tensors = {linear.name: 0.02 * torch.randn(linear.shape, generator=draws) for linear in linears}
        save_file(tensors, folder / "model/model.safetensors", {"format": "pt"})
        made = cls.open(folder, members, strategy, layers)
        for block in made.blocks:
            for number, member in enumerate(made.members):
                made.vault.keep(block.index, member, made.masked(block, number))
        return made

    @classmethod
    def open(cls, folder: Path, members: int, strategy: Strategy, layers: int) -> "Ground":
        """What `make` made there."""
        names = tuple(f"m-{number:04d}" for number in range(members))
        revision = Revision(Checkpoint.open(folder / "model"))
        blocks = [block_of(layer) for layer in range(layers)]
        return cls(revision, blocks, FolderVault(folder / "vault"), folder, strategy, names)

    def group(self, block: Block) -> GroupPlan:
        """The layer in a plan."""
        shapes = tuple(MatrixShape(linear.name, *linear.shape) for linear in block.linears)
        terms = Terms(Profile.THREE_TRIP, 1, self.strategy, "wanda")
        return make_group(block.index, self.members, LayerBase("ba" * 32, shapes), terms)

    def masked(self, block: Block, number: int) -> Streams:
        """A member's vector: half of the weights kept, small differences, and its own keystream."""
        draws, group = np.random.default_rng([block.index, number]), self.group(block)
        streams = Streams.empty(group)
        for start in range(0, group.weights, _TILE):
            length = min(_TILE, group.weights - start)
            keep = draws.integers(0, 2, length, np.uint8).astype(bool)
            group.counts.pack(keep, streams.count[group.counts.piece(start, length)], start)
            if group.sums is not None and streams.total is not None:
                words = streams.total.view(group.sums.signed)[start : start + length]
                np.multiply(draws.integers(-1_000, 1_000, length, np.int32), keep, out=words, casting="unsafe")
        for part, size, key in zip(streams.parts, word_sizes(group), _keys(number), strict=False):
            add_keystreams(part, [Term(key, negative=False)], size)
        return streams

    def unmasking(self, block: Block) -> Unmasking:
        """What is left to do when all members have answered."""
        keys = [_keys(number) for number in range(len(self.members))]
        counts, sums = (tuple(Term(key, negative=True) for key in these) for these in zip(*keys, strict=True))
        group = self.group(block)
        return Unmasking(group, self.members, counts, () if group.sums is None else sums)

    def released(self, block: Block) -> Released:
        """The sums of a layer, from its files."""
        return add_up(self.unmasking(block), self.vault)

    def write(self, block: Block, released: Released) -> Path:
        """The server step on the sums, into a layer file of a folder of its own: as in a round, none is replaced."""
        spec, folder = ServerSpec(Unstructured(Fraction(1, 2)), self.strategy), Path(mkdtemp(dir=self.folder))
        return write_aggregate(block, self.revision, released.matrices(), spec, folder, released.survivors)

    def peer(self, block: Block) -> Streams:
        """The masked sum, by numpy alone."""
        group, files = self.group(block), sorted((self.folder / "vault").iterdir())
        total = Streams.empty(group)
        buffer = Streams.empty(group)
        for path in files:
            with path.open("rb", buffering=0) as file:
                for part in buffer.parts:
                    assert file.readinto(part.data) == len(part)
            for whole, part, size in zip(total.parts, buffer.parts, word_sizes(group), strict=True):
                words = whole.view(f"<u{size}")
                np.add(words, part.view(f"<u{size}"), out=words)
        return total


def _keys(number: int) -> tuple[bytes, bytes]:
    """Of a member's count and sum stream."""
    return number.to_bytes(32, "big"), number.to_bytes(32, "little")


def measure(times: int) -> list[Row]:
    """For several numbers of members: the sums alone, and the whole step."""
    return [row for members, strategy in CASES for row in rows_of(times, members, strategy)]


def rows_of(times: int, members: int, strategy: Strategy) -> list[Row]:
    """Up to sums that are unmasked and in range, and up to the layer file."""
    with TemporaryDirectory() as folder:
        ground = Ground.make(Path(folder), members, strategy)
        block = ground.blocks[0]
        group = ground.group(block)
        size = members * (group.count_size + group.sum_size)
        rows = []
        for end, work in (
            ("the sums, unmasked and in range", lambda: ground.released(block)),
            ("the layer file", lambda: ground.write(block, ground.released(block))),
        ):
            theirs, mine = alternate(lambda: ground.peer(block), work, times)
            what = f"{members} uploads of {group.weights / 1e6:.0f} million weights on disk ({strategy.value}) to {end}"
            row = Row("P7", what, TARGET, [one / other for one, other in zip(theirs, mine, strict=True)])
            row.figures = {
                "read": f"{size / 2**20:.0f} MiB",
                "peer": f"{min(theirs):.2f} s",
                "ours": f"{min(mine):.2f} s",
            }
            rows.append(row)
        return rows
