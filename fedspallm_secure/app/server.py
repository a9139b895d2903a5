"""What the server does with contributions: add them up, layer by layer, and take the server step on the sums.

Nothing here reads one member's contribution except to add it.  Secure aggregation delivers the same sums without
showing any contribution; then `write_aggregate` is all that is left to do.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedspallm_secure.app.memory import give_back
from fedspallm_secure.app.rounds.vectors import MatrixMeans
from fedspallm_secure.app.states import Revision, layer_file
from fedspallm_secure.app.walking.discovery import Linear
from fedspallm_secure.app.walking.skeleton import Block
from fedspallm_secure.errors import RecordDamaged
from fedspallm_secure.pruning.aggregation import Aggregate, Group, MatrixSums, Strategy, aggregate
from fedspallm_secure.pruning.patterns import Pattern
from fedspallm_secure.storage.checkpoints.layers import LayerMatrix, load_layer, save_layer


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
    return write_aggregate(block, revision, emptied(sums), spec, folder, len(contributions))


Sums = Iterable[tuple[str, MatrixSums | MatrixMeans]]


def write_aggregate(block: Block, revision: Revision, sums: Sums, spec: ServerSpec, folder: Path, members: int) -> Path:
    """Take the server step on the sums of one layer, however they were made, and write its file in `folder`.

    sums: of every matrix of the layer by checkpoint name, in any order.  One is taken, pruned and packed before the
    next, so memory holds what is kept of the layer and one matrix.  members: how many were added up.
    Raises RecordDamaged unless every matrix of the layer comes once.
    """
    file = layer_file(folder, block.index)
    metadata = {"layer": str(block.index), "members": str(members)}
    save_layer(file, _pruned(block, revision, sums, spec, metadata), metadata)
    return file


def _pruned(
    block: Block, revision: Revision, sums: Sums, spec: ServerSpec, metadata: dict[str, str]
) -> Iterator[tuple[str, LayerMatrix]]:
    """The server step, matrix by matrix; what is to be said about each goes into `metadata`."""
    left = {linear.name: linear for linear in block.linears}
    for name, total in sums:
        linear = left.pop(name, None)
        if linear is None:
            raise RecordDamaged(f"there are sums of {name} twice, or layer {block.index} has no such matrix")
        result = _server_step(block, linear, revision, total, spec)
        metadata[f"histogram {name}"] = ",".join(map(str, result.histogram))
        metadata[f"restored {name}"] = str(result.restored)
        matrix = LayerMatrix(result.average, result.keep)  # only what is kept is written
        del total, result  # not held while the matrix is packed and the next one is made
        yield name, matrix
        del matrix
        give_back()
    if left:
        raise RecordDamaged(f"there are no sums of {', '.join(left)}")


def _server_step(
    block: Block, linear: Linear, revision: Revision, total: MatrixSums | MatrixMeans, spec: ServerSpec
) -> Aggregate:
    pruned = block.index in revision.layers
    if isinstance(total, MatrixSums):
        before = revision.matrix(block, linear)
        frozen = ~before.keep if pruned else None
        return aggregate(total, before.weight.float(), spec.target, spec.group, frozen)
    frozen = ~revision.matrix(block, linear).keep if pruned else None
    # Without kept sums `aggregate` takes the dense weight for the average, and a mean is the average already.
    return aggregate(MatrixSums(total.count, None, total.members), total.mean, spec.target, spec.group, frozen)


def emptied(sums: dict[str, MatrixSums]) -> Iterator[tuple[str, MatrixSums]]:
    """The sums one by one; none is held here once it was handed out."""
    for name in list(sums):
        yield name, sums.pop(name)


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
