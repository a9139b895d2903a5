"""Revisions of one model: the dense checkpoint, overlaid by the pruned layers of the latest round.

A revision never copies the model.  Layer files are named by round and layer, so what a killed run finished is found
again by looking whether the file is there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedspallm_secure.app.walking.discovery import Linear
from fedspallm_secure.app.walking.skeleton import Block
from fedspallm_secure.pruning.expansion import BaseMatrix, row_tiles
from fedspallm_secure.storage.checkpoints.layers import LayerMatrix, load_layer, load_matrix
from fedspallm_secure.storage.checkpoints.pieces import DTYPES, StoredTensor
from fedspallm_secure.storage.checkpoints.reader import Checkpoint
from fedspallm_secure.storage.checkpoints.stored_layers import stored_matrix


@dataclass(frozen=True, slots=True)
class Revision:
    """The dense checkpoint with some layers replaced.  layers: layer -> file with its pruned matrices."""

    checkpoint: Checkpoint
    layers: Mapping[int, Path] = field(default_factory=dict)

    def with_layers(self, layers: Mapping[int, Path]) -> "Revision":
        """A later revision in which `layers` stand instead."""
        return Revision(self.checkpoint, {**self.layers, **layers})

    def replaced(self, block: Block) -> dict[str, Tensor]:
        """Tensors of `block` that differ from the checkpoint, by checkpoint name, as they would be written."""
        if block.index not in self.layers:
            return {}
        return as_on_file(self.checkpoint, block.linears, load_layer(self.layers[block.index])[0])

    def matrices(self, block: Block) -> dict[str, LayerMatrix]:
        """The matrices of one layer as (out, in), on the CPU, by checkpoint name; a dense layer keeps everything."""
        if block.index in self.layers:
            return load_layer(self.layers[block.index])[0]
        return {linear.name: self.matrix(block, linear) for linear in block.linears}

    def matrix(self, block: Block, linear: Linear) -> LayerMatrix:
        """One matrix of a layer, as in `matrices`, read alone."""
        if block.index in self.layers:
            return load_matrix(self.layers[block.index], linear.name)
        tensor = self.checkpoint.read(linear.name).float()
        weight = tensor.T.contiguous() if linear.transposed else tensor
        return LayerMatrix(weight, torch.ones(linear.shape, dtype=torch.bool))

    def base(self, block: Block, linear: Linear) -> BaseMatrix:
        """One matrix of a layer, of which nothing is in memory.  Raises RecordDamaged, ForeignFile."""
        if block.index in self.layers:
            return stored_matrix(self.layers[block.index], linear.name)
        tensor = self.checkpoint.stored(linear.name)
        return _Dense(tensor, linear.transposed)

    def pieces(self, block: Block, linear: Linear) -> Iterator[Tensor]:
        """The values of a matrix in the orientation of the checkpoint, some after the other.  Raises as `base`.

        One that is stored transposed and was pruned is in memory as a whole meanwhile.
        """
        if block.index not in self.layers:
            yield from self.checkpoint.stored(linear.name).pieces()
        elif linear.transposed:
            yield self.matrix(block, linear).weight.T.contiguous()
        else:
            base = self.base(block, linear)
            for rows in row_tiles(linear.shape):
                yield torch.from_numpy(base.weights(rows))

    def frozen(self, block: Block) -> dict[str, Tensor]:
        """Weights earlier rounds dropped, by checkpoint name, (out, in) bool; empty for a dense layer."""
        if block.index not in self.layers:
            return {}
        return {name: ~matrix.keep for name, matrix in self.matrices(block).items()}


@dataclass(frozen=True, slots=True)
class _Dense:
    """A matrix of the checkpoint: `BaseMatrix`.  transposed: stored as (in, out)."""

    tensor: StoredTensor
    transposed: bool

    def weights(self, rows: slice) -> NDArray[np.float32]:
        if self.transposed:
            return self.tensor.read_columns(rows.start, rows.stop).float().T.contiguous().numpy()
        columns = self.tensor.shape[1]
        return self.tensor.read(rows.start * columns, rows.stop * columns).float().view(-1, columns).numpy()

    def kept(self, rows: slice) -> None:
        return None


def as_on_file(
    checkpoint: Checkpoint, linears: tuple[Linear, ...], matrices: Mapping[str, LayerMatrix]
) -> dict[str, Tensor]:
    """Matrices in the orientation and dtype of the checkpoint, by name."""
    tensors = {}
    for linear in linears:
        weight = matrices[linear.name].weight
        weight = weight.T if linear.transposed else weight
        tensors[linear.name] = weight.to(DTYPES[checkpoint.tensors[linear.name].dtype]).contiguous()
    return tensors


def layer_file(folder: Path, layer: int) -> Path:
    """Where the result for one layer lies in `folder`."""
    return folder / f"layer-{layer:04d}.safetensors"
