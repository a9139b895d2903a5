"""What a member does with a plan: prune the layers assigned to it, on its own data, block by block.

Every finished layer is one file, written durably before the next begins.  A killed run starts again at the first
missing file; hidden states are recomputed through the finished layers, which costs one forward pass and no disk.

Several ranks can share the work and get what one gets, bit for bit (ADR 21): each walks its share of the batches,
computes its share of the statistics and solves its share of a block's inputs; all go on with all results.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.ranks import ALONE, Ranks, divide
from fedspallm_secure.app.states import Revision, as_on_file, layer_file
from fedspallm_secure.app.walking.discovery import Linear
from fedspallm_secure.app.walking.skeleton import Block
from fedspallm_secure.app.walking.walk import Walk
from fedspallm_secure.app.walking.workshop import Workshop
from fedspallm_secure.pruning.pruners import (
    LocalSpec,
    Matrix,
    Pruned,
    Pruner,
    Statistics,
    check_pattern,
    prune_together,
)
from fedspallm_secure.pruning.statistics import Gram, bands
from fedspallm_secure.storage.checkpoints.layers import LayerMatrix, load_layer, save_layer


class LocalPruning:
    """One member's pruning of some layers of one revision, with one set of calibration windows.

    known: layer -> first linear of each input -> its statistics, where they do not come from the windows, for example
    because noise was added to them; then the model is not walked.

    With several `ranks` every one is given the same arguments and sees the same model and revision; `run` is called on
    all of them.  Its files are written, and looked for, on rank 0 alone.
    """

    def __init__(
        self,
        workshop: Workshop,
        revision: Revision,
        windows: Tensor,
        spec: LocalSpec,
        ranks: Ranks = ALONE,
        known: Mapping[int, Mapping[str, Statistics]] | None = None,
    ) -> None:
        self._workshop = workshop
        self._revision = revision
        self._windows = windows
        self._spec = spec
        self._ranks = ranks
        self._known = known

    def run(self, layers: Sequence[int], folder: Path, progress: Progress, task: str) -> dict[int, Path]:
        """Prune `layers`, each into its file in `folder`; returns layer -> file.

        Raises PatternMismatch before any work, CorruptWeights, NumericalFailure, StorageError; RankLost where another
        rank failed.
        """
        skeleton = self._workshop.skeleton
        blocks = [block for block in skeleton.blocks if block.index <= max(layers, default=-1)]
        for block in blocks:
            if block.index in layers:
                for linear in block.linears:
                    check_pattern(self._spec.pattern, linear.shape[1], f"block {block.index}, {linear.module}")
        files = {layer: layer_file(folder, layer) for layer in layers}
        here = [layer for layer, file in files.items() if file.exists()]
        finished = set(self._ranks.share({"finished": here})["finished"])
        if finished >= files.keys():
            progress.update(task, len(layers), len(layers), "layers")
            return files
        needs_data = self._known is None and self._spec.pruner.empty_statistics(1, "cpu") is not None
        walk = self._workshop.walk(self._windows, self._ranks) if needs_data else None
        for block in blocks:
            if block.index in files or walk is not None:
                is_last = block is blocks[-1]
                self._visit(block, files.get(block.index), block.index in finished, walk, is_last)
            done = sum(layer <= block.index for layer in layers)
            progress.update(task, done, len(layers), "layers")
        return files

    def _visit(self, block: Block, file: Path | None, finished: bool, walk: Walk | None, is_last: bool) -> None:
        """Prune the block if it is assigned and not finished, then move the hidden states past it."""
        skeleton = self._workshop.skeleton
        matrices: dict[str, LayerMatrix] = {}
        with skeleton.loaded(block, self._revision.replaced(block)) as module:
            if file is not None and not finished:
                matrices = self._prune(block, module, walk)
                with self._ranks.as_one(f"writing layer {block.index}"):
                    if self._ranks.rank == 0:
                        save_layer(file, matrices, {"layer": str(block.index), "pruner": str(self._spec.pruner)})
            elif file is not None and walk is not None and not is_last:
                matrices = self._reread(block, file)
            if walk is None or is_last:
                return
            if matrices:
                skeleton.place(block, as_on_file(skeleton.checkpoint, block.linears, matrices))
                matrices.clear()  # a GPU needs the room
            walk.advance(block, module)

    def _reread(self, block: Block, file: Path) -> dict[str, LayerMatrix]:
        """What rank 0 saved, bit for bit, so a resumed run sees the same weights."""
        matrices: dict[str, LayerMatrix] = {}
        with self._ranks.as_one(f"reading layer {block.index}"):
            if self._ranks.rank == 0:
                matrices = load_layer(file)[0]
        if self._ranks.size == 1:
            return matrices
        return {linear.name: self._spread(0, linear, matrices.get(linear.name)) for linear in block.linears}

    def _prune(self, block: Block, module: nn.Module, walk: Walk | None) -> dict[str, LayerMatrix]:
        linears = {linear.module: linear for linear in block.linears}
        groups = [
            [linears[name] for name in group] for group in self._workshop.found.shared[block.index]
        ]  # one statistic, one factorisation per shared input
        owners = divide([self._cost(group) for group in groups], self._ranks.size)
        statistics = self._observe(block, module, groups, owners, walk)
        frozen = self._revision.frozen(block)
        solved: dict[str, Pruned] = {}
        with self._ranks.as_one(f"pruning block {block.index}"):
            for group, owner in zip(groups, owners, strict=True):
                statistic = statistics.pop(group[0].module)
                if owner == self._ranks.rank:
                    matrices = [
                        Matrix(
                            f"block {block.index}, {linear.module}",
                            _weight(module, linear),
                            _to(frozen, linear, module),
                        )
                        for linear in group
                    ]
                    pruned = prune_together(matrices, statistic, self._spec)
                    solved.update((linear.name, one) for linear, one in zip(group, pruned, strict=True))
        return {
            linear.name: self._spread(owner, linear, solved.pop(linear.name, None))
            for group, owner in zip(groups, owners, strict=True)
            for linear in group
        }

    def _cost(self, group: Sequence[Linear]) -> int:
        """Roughly how much work it is to prune matrices that share an input."""
        if self._spec.pruner is not Pruner.SPARSEGPT:
            return sum(linear.size for linear in group)
        columns = group[0].shape[1]  # the factorisation, then one sweep over the columns
        return columns**2 * (columns + sum(linear.shape[0] for linear in group))

    def _spread(self, source: int, linear: Linear, own: Pruned | LayerMatrix | None) -> LayerMatrix:
        """The result for one matrix, which rank `source` has, on the device of every rank."""
        device = self._workshop.skeleton.device
        weight, keep = (None, None) if own is None else (own.weight, own.keep)
        if self._ranks.size > 1 and weight is not None and keep is not None:
            weight, keep = weight.to(device, torch.float32), keep.to(device)
        blank = partial(torch.empty, linear.shape, device=device)
        weight = self._ranks.spread(source, weight, partial(blank, dtype=torch.float32))
        keep = self._ranks.spread(source, keep, partial(blank, dtype=torch.bool))
        return LayerMatrix(weight, keep)

    def _observe(
        self, block: Block, module: nn.Module, groups: list[list[Linear]], owners: list[int], walk: Walk | None
    ) -> dict[str, Statistics | None]:
        """What is known of each group's input, complete on the rank that owns the group."""
        empty = self._spec.pruner.empty_statistics
        if self._known is not None:
            return dict(self._known[block.index])
        if walk is None:
            return {group[0].module: None for group in groups}
        device = self._workshop.skeleton.device
        statistics = {group[0].module: empty(group[0].shape[1], device) for group in groups}
        grams = [statistic for statistic in statistics.values() if isinstance(statistic, Gram)]
        if self._ranks.size > 1:
            self._divide_bands(grams)
        walk.observe(block, module, {name: s for name, s in statistics.items() if s is not None})
        for owner, gram in zip(owners, grams, strict=False):  # as many, or none
            self._ranks.gather_bands(owner, gram.matrix)
        return statistics

    def _divide_bands(self, grams: Sequence[Gram]) -> None:
        """Give each rank some bands of rows of every Gram matrix, about as many numbers to each rank."""
        pieces = [(gram, band) for gram in grams for band in bands(len(gram.matrix))]
        owners = divide([(bottom - top) * bottom for _, (top, bottom) in pieces], self._ranks.size)
        for gram in grams:
            gram.bands = [
                band
                for (other, band), owner in zip(pieces, owners, strict=True)
                if other is gram and owner == self._ranks.rank
            ]


def _weight(module: nn.Module, linear: Linear) -> Tensor:
    """The weight as (out, in); a view where the layer stores it transposed."""
    weight = module.get_parameter(f"{linear.module}.weight")
    return weight.T if linear.transposed else weight


def _to(frozen: dict[str, Tensor], linear: Linear, module: nn.Module) -> Tensor | None:
    hole = frozen.get(linear.name)
    return None if hole is None else hole.to(_weight(module, linear).device)
