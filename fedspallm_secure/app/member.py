"""What a member does with a plan: prune the layers assigned to it, on its own data, block by block.

Every finished layer is one file, written durably before the next begins.  A killed run starts again at the first
missing file; hidden states are recomputed through the finished layers, which costs one forward pass and no disk.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.states import Revision, as_on_file, layer_file
from fedspallm_secure.app.walking.discovery import Linear
from fedspallm_secure.app.walking.skeleton import Block
from fedspallm_secure.app.walking.walk import Walk
from fedspallm_secure.app.walking.workshop import Workshop
from fedspallm_secure.pruning.pruners import LocalSpec, Matrix, Statistics, check_pattern, prune_together
from fedspallm_secure.storage.checkpoints.layers import LayerMatrix, load_layer, save_layer


class LocalPruning:
    """One member's pruning of some layers of one revision, with one set of calibration windows."""

    def __init__(self, workshop: Workshop, revision: Revision, windows: Tensor, spec: LocalSpec) -> None:
        self._workshop = workshop
        self._revision = revision
        self._windows = windows
        self._spec = spec

    def run(self, layers: Sequence[int], folder: Path, progress: Progress, task: str) -> dict[int, Path]:
        """Prune `layers`, each into its file in `folder`; returns layer -> file.

        Raises PatternMismatch before any work, CorruptWeights, NumericalFailure, StorageError.
        """
        skeleton = self._workshop.skeleton
        blocks = [block for block in skeleton.blocks if block.index <= max(layers, default=-1)]
        for block in blocks:
            if block.index in layers:
                for linear in block.linears:
                    check_pattern(self._spec.pattern, linear.shape[1], f"block {block.index}, {linear.module}")
        files = {layer: layer_file(folder, layer) for layer in layers}
        if all(file.exists() for file in files.values()):
            progress.update(task, len(layers), len(layers), "layers")
            return files
        needs_data = self._spec.pruner.empty_statistics(1, "cpu") is not None
        walk = self._workshop.walk(self._windows) if needs_data else None
        for block in blocks:
            if block.index in files or walk is not None:
                self._visit(block, files, walk, is_last=block is blocks[-1])
            done = sum(layer <= block.index for layer in layers)
            progress.update(task, done, len(layers), "layers")
        return files

    def _visit(self, block: Block, files: dict[int, Path], walk: Walk | None, is_last: bool) -> None:
        """Prune the block if it is assigned and not finished, then move the hidden states past it."""
        file = files.get(block.index)
        skeleton = self._workshop.skeleton
        matrices: dict[str, LayerMatrix] = {}
        with skeleton.loaded(block, self._revision.replaced(block)) as module:
            if file is not None and not file.exists():
                matrices = self._prune(block, module, walk)
                save_layer(file, matrices, {"layer": str(block.index), "pruner": str(self._spec.pruner)})
            elif file is not None and walk is not None and not is_last:
                matrices = load_layer(file)[0]  # bit for bit what was saved, so a resumed run sees the same weights
            if walk is None or is_last:
                return
            if matrices:
                skeleton.place(block, as_on_file(skeleton.checkpoint, block.linears, matrices))
            walk.advance(block, module)

    def _prune(self, block: Block, module: nn.Module, walk: Walk | None) -> dict[str, LayerMatrix]:
        linears = {linear.module: linear for linear in block.linears}
        groups = [
            [linears[name] for name in group] for group in self._workshop.found.shared[block.index]
        ]  # one statistic, one factorisation per shared input
        statistics = self._observe(block, module, groups, walk)
        frozen = self._revision.frozen(block)
        result: dict[str, LayerMatrix] = {}
        for group in groups:
            matrices = [
                Matrix(
                    f"block {block.index}, {linear.module}",
                    _weight(module, linear),
                    _to(frozen, linear, module),
                )
                for linear in group
            ]
            pruned = prune_together(matrices, statistics.pop(group[0].module), self._spec)
            for linear, one in zip(group, pruned, strict=True):
                result[linear.name] = LayerMatrix(one.weight.cpu(), one.keep.cpu())
        return result

    def _observe(
        self, block: Block, module: nn.Module, groups: list[list[Linear]], walk: Walk | None
    ) -> dict[str, Statistics | None]:
        empty = self._spec.pruner.empty_statistics
        if walk is None:
            return {group[0].module: None for group in groups}
        device = self._workshop.skeleton.device
        statistics = {group[0].module: empty(group[0].shape[1], device) for group in groups}
        walk.observe(block, module, {name: s for name, s in statistics.items() if s is not None})
        return statistics


def _weight(module: nn.Module, linear: Linear) -> Tensor:
    """The weight as (out, in); a view where the layer stores it transposed."""
    weight = module.get_parameter(f"{linear.module}.weight")
    return weight.T if linear.transposed else weight


def _to(frozen: dict[str, Tensor], linear: Linear, module: nn.Module) -> Tensor | None:
    hole = frozen.get(linear.name)
    return None if hole is None else hole.to(_weight(module, linear).device)
