"""What the server does with contributions: add them up, layer by layer, and take the server step on the sums.

Nothing here reads one member's contribution except to add it.  Secure aggregation delivers the same sums without
showing any contribution; then `write_aggregate` is all that is left to do.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedspallm_secure.app.states import Revision, layer_file
from fedspallm_secure.app.walking.skeleton import Block
from fedspallm_secure.errors import RecordDamaged
from fedspallm_secure.pruning.aggregation import Group, MatrixSums, Strategy, SummedTensors
from fedspallm_secure.pruning.expansion import BaseMatrix, Expansion, Keep, SummedMatrix, expand_rows
from fedspallm_secure.pruning.patterns import Pattern
from fedspallm_secure.storage.checkpoints.layers import LayerPart, load_layer, write_layer


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """How a round's contributions become a model."""

    target: Pattern
    strategy: Strategy
    group: Group = Group.MATRIX


def aggregate_layer(
    block: Block, revision: Revision, contributions: Sequence[Path], spec: ServerSpec, folder: Path
) -> Path:
    """Aggregate one layer of a round into its file in `folder`.

    contributions: the layer files of its cohort, in name order; revision: what the round started from.  The file's
    metadata holds, per matrix, how many weights had each keep count.
    """
    file = layer_file(folder, block.index)
    if file.exists():
        return file
    sums = sum_contributions(block, contributions, spec.strategy)
    return write_aggregate(block, revision, as_plain(sums), spec, folder, len(contributions))


# By checkpoint name: what was summed of a matrix, for whoever has the weights that the round started from.
Sums = Mapping[str, Callable[[BaseMatrix], SummedMatrix]]


def write_aggregate(block: Block, revision: Revision, sums: Sums, spec: ServerSpec, folder: Path, members: int) -> Path:
    """Take the server step on the sums of one layer, however they were made, and write its file in `folder`.

    sums: of every matrix of the layer by checkpoint name, for whoever has the public weights.  Beside them memory holds
    a tile.  members: how many were added up.  Raises RecordDamaged unless these are the matrices of the layer.
    """
    if sums.keys() != {linear.name for linear in block.linears}:
        raise RecordDamaged(f"there are no sums of a matrix of layer {block.index}, or of one that it does not have")
    file, parts = layer_file(folder, block.index), []
    metadata = {"layer": str(block.index), "members": str(members)}
    for linear in block.linears:
        found = expand_rows(sums[linear.name](revision.base(block, linear)), spec.target, spec.group)
        metadata[f"histogram {linear.name}"] = ",".join(map(str, found.histogram))
        metadata[f"restored {linear.name}"] = str(found.restored)
        parts.append(LayerPart(linear.name, linear.shape, found.kept, partial(_kept, found)))
    write_layer(file, parts, metadata)
    return file


def as_plain(sums: Mapping[str, MatrixSums]) -> Sums:
    """Sums that are in memory, for `write_aggregate`."""
    return {name: partial(SummedTensors, total) for name, total in sums.items()}


def _kept(expansion: Expansion) -> Iterator[tuple[Keep, NDArray[np.float32]]]:
    for keep, values in expansion.tiles():
        yield keep.reshape(-1), values


def sum_contributions(block: Block, contributions: Sequence[Path], strategy: Strategy) -> dict[str, MatrixSums]:
    """C and S of every matrix of the layer, one contribution in memory at a time."""
    sums = {linear.name: MatrixSums.empty(linear.shape, strategy) for linear in block.linears}
    for path in contributions:
        matrices, _ = load_layer(path)
        for name, total in sums.items():
            matrix = matrices.get(name)
            if matrix is None or matrix.keep.shape != total.count.shape:
                raise RecordDamaged(f"{path} does not hold {name} in the shape of the model")
            total.add(matrix.keep, matrix.weight if strategy is Strategy.FEDSPALLM else None)
    return sums


@dataclass(slots=True)
class LayerFigures:
    """What the keep counts of one aggregated layer show.  histograms: matrix -> weights per keep count."""

    layer: int
    members: int
    histograms: dict[str, list[int]]
    dropped: dict[str, int]
    sizes: dict[str, int]
    restored: int


def layer_figures(file: Path) -> LayerFigures:
    """Read the figures of an aggregated layer back from its file."""
    matrices, metadata = load_layer(file)
    return LayerFigures(
        layer=int(metadata["layer"]),
        members=int(metadata["members"]),
        histograms={name: [int(n) for n in metadata[f"histogram {name}"].split(",")] for name in matrices},
        dropped={name: int((~matrix.keep).sum()) for name, matrix in matrices.items()},
        sizes={name: matrix.keep.numel() for name, matrix in matrices.items()},
        restored=sum(int(metadata[f"restored {name}"]) for name in matrices),
    )
