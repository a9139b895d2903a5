"""Pruned layers as they travel: the body of a package `layer`, and what a member checks in it (SPEC sections 16.4, 17).

Matrices are written and hashed in pieces, so one that is on disk stays there.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedspallm_secure.errors import LayerRefused
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape, layer_digest
from fedspallm_secure.protocol.rounds.layers import expected_digest
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.pruning.keepmasks import unpack_bits
from fedspallm_secure.pruning.patterns import NofM, Pattern, parse_target
from fedspallm_secure.pruning.strategies import Group
from fedspallm_secure.storage.checkpoints.layers import LayerMatrix, PackedMatrix
from fedspallm_secure.storage.files import disk_errors

_TILE = 1 << 18  # weights that are read at once
_WORD = np.dtype("<f4")


def encode_layer(group: GroupPlan, matrices: Mapping[str, PackedMatrix]) -> Iterator[memoryview]:
    """The body of a package `layer`, in parts that are used up before the next one is made.

    matrices: by checkpoint name, each asked for once, of the shapes of the group; what stands where a weight is dropped
    is not read.  Raises ValueError for other shapes.
    """
    for shape in group.matrices:
        matrix = _of_shape(matrices[shape.name], shape)
        yield matrix.bits().data.cast("B")
        for _, kept in matrix.tiles():
            if kept.size:
                yield kept.astype(_WORD, copy=False).data.cast("B")


def keep_size(shape: MatrixShape) -> int:
    """Bytes of a packed keep-mask."""
    return -(-shape.weights // 8)


def decode_layer(group: GroupPlan, source: Path | BinaryIO) -> dict[str, LayerMatrix]:
    """Read the body of a package `layer`, L3 and L5: matrices by checkpoint name, zero where dropped.

    source: a file, or its path; it is read in order, and never more than the group can have.
    Raises LayerRefused; for a path also MissingInput or StorageError.
    """
    with ExitStack() as stack:
        if isinstance(source, Path):
            stack.enter_context(disk_errors(source))
            source = stack.enter_context(source.open("rb"))
        found = {shape.name: _read_matrix(source, shape) for shape in group.matrices}
        if source.read(1):
            raise LayerRefused(f"the layer of group {group.gid} goes on after its last value", check="L3")
    return found


def _read_matrix(source: BinaryIO, shape: MatrixShape) -> LayerMatrix:
    packed = torch.empty(keep_size(shape), dtype=torch.uint8)
    _fill(source, packed.numpy(), shape)
    try:
        keep = unpack_bits(packed, (shape.rows, shape.columns))
    except ValueError as error:
        raise LayerRefused(f"{shape.name}: {error}", check="L3") from None
    weight = torch.zeros(shape.rows, shape.columns, dtype=torch.float32)
    bits, flat = keep.numpy().reshape(-1), weight.numpy().reshape(-1)
    for tile in _tiles(shape.weights):
        kept = np.flatnonzero(bits[tile])
        values = np.empty(kept.size, _WORD)
        _fill(source, values, shape)
        if not np.isfinite(values).all():
            raise LayerRefused(f"{shape.name} holds NaN or infinite values", check="L5")
        flat[tile][kept] = values
    return LayerMatrix(weight, keep)


def _fill(source: BinaryIO, array: NDArray[Any], shape: MatrixShape) -> None:
    rest = array.view(np.uint8).data
    while rest:
        part = source.read(len(rest))
        if not part:
            raise LayerRefused(f"the layer ends within {shape.name}", check="L3")
        rest[: len(part)] = part
        rest = rest[len(part) :]


def digest_of(group: GroupPlan, matrices: Mapping[str, PackedMatrix]) -> str:
    """The layer digest, hex (SPEC section 16.4).  matrices: as for `encode_layer`."""
    return digest_in_shape(group.matrices, matrices)


def digest_in_shape(shapes: Iterable[MatrixShape], matrices: Mapping[str, PackedMatrix]) -> str:
    """As `digest_of`, where no plan is at hand.  Raises KeyError or ValueError for other matrices."""
    return layer_digest((shape, *_hashes(_of_shape(matrices[shape.name], shape))) for shape in shapes)


def _hashes(matrix: PackedMatrix) -> tuple[bytes, bytes]:
    hasher = hashlib.sha256()
    for keep, kept in matrix.tiles():
        values = np.zeros(keep.size, _WORD)
        values[np.flatnonzero(keep)] = kept
        hasher.update(values.data)
    return hashlib.sha256(matrix.bits().data).digest(), hasher.digest()


def check_layer(
    plan: Plan,
    group: GroupPlan,
    result: Result,
    matrices: Mapping[str, LayerMatrix],
    frozen: Mapping[str, Tensor],
) -> None:
    """L2 to L6: these are the weights that the result names, and they are pruned as the plan says.

    group: of the plan; result: verified, of the round; frozen: weights that are dropped in the base, by checkpoint
    name, bool of (rows, columns), or nothing for a dense layer.  Raises LayerRefused.
    """
    expected = expected_digest(plan, group, result)  # L2
    if digest_of(group, matrices) != expected:
        raise LayerRefused(f"the layer of group {group.gid} is not the one that the result names", check="L3")
    pattern = parse_target(plan.target)
    for shape in group.matrices:
        matrix, before = matrices[shape.name], frozen.get(shape.name)
        if not _is_pruned(matrix.keep, pattern, plan.compare, before):
            text = f"{shape.name} does not have exactly the sparsity {plan.target} within each {plan.compare.value}"
            raise LayerRefused(text, check="L4")
        if not bool(torch.isfinite(matrix.weight).all()):
            raise LayerRefused(f"{shape.name} holds NaN or infinite values", check="L5")
        if before is not None and bool((matrix.keep & before).any()):
            raise LayerRefused(f"{shape.name} has weights again that were dropped before", check="L6")


def _is_pruned(keep: Tensor, pattern: Pattern, compare: Group, frozen: Tensor | None) -> bool:
    """L4: as many weights are kept as `pruning.aggregation.expand` keeps, whatever the sums are."""
    rows, columns = keep.shape
    if isinstance(pattern, NofM):
        if columns % pattern.m:
            return False
        size, most = pattern.m, pattern.n
    else:
        size = columns if compare is Group.ROW else rows * columns
        most = size - pattern.drop_count(size)
    kept = keep.view(-1, size).sum(dim=1)
    if frozen is None:
        return bool((kept == most).all())
    return bool((kept == (size - frozen.reshape(-1, size).sum(dim=1)).clamp(max=most)).all())


def _of_shape(matrix: PackedMatrix, shape: MatrixShape) -> PackedMatrix:
    """The matrix.  Raises ValueError for one of another shape."""
    if matrix.shape != (shape.rows, shape.columns):
        raise ValueError(f"{shape.name} is {shape.rows} x {shape.columns}, and not {matrix.shape}")
    return matrix


def _tiles(length: int) -> Iterator[slice]:
    for start in range(0, length, _TILE):
        yield slice(start, min(start + _TILE, length))
