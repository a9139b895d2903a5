"""The server step row by row, from sums and a model on disk, is that of whole matrices."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fedspallm_secure.app.server import ServerSpec, as_plain, write_aggregate
from fedspallm_secure.app.states import Revision
from fedspallm_secure.app.walking.discovery import Linear
from fedspallm_secure.app.walking.skeleton import Block
from fedspallm_secure.errors import ForeignFile, RecordDamaged
from fedspallm_secure.pruning import expansion
from fedspallm_secure.pruning.aggregation import MatrixSums, aggregate
from fedspallm_secure.pruning.patterns import NofM, Unstructured
from fedspallm_secure.pruning.strategies import Group, Strategy
from fedspallm_secure.storage.checkpoints.layers import load_layer, load_matrix
from fedspallm_secure.storage.checkpoints.reader import Checkpoint

LINEARS = (
    Linear("up", "layers.3.up", (6, 8), transposed=False),
    Linear("down", "layers.3.down", (8, 4), transposed=True),
    Linear("out", "layers.3.out", (4, 12), transposed=False),
)
BLOCK = Block(3, "layers.3", nn.Module(), {}, LINEARS)
HALF = Unstructured(Fraction(1, 2))
SPECS = [
    ServerSpec(target, strategy, group)
    for target in (HALF, Unstructured(Fraction(2, 3)), NofM(2, 4))
    for strategy in Strategy
    for group in Group
]


def revision(folder: Path, dtype: torch.dtype = torch.float32) -> Revision:
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "llama"}))
    draws = torch.Generator().manual_seed(1)
    tensors = {}
    for linear in LINEARS:
        weight = torch.randn(linear.shape, generator=draws).to(dtype)
        tensors[linear.name] = weight.T.contiguous() if linear.transposed else weight
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    return Revision(Checkpoint.open(model))


def drawn(base: Revision, strategy: Strategy, members: int = 5) -> dict[str, MatrixSums]:
    """Anything that members can add up to."""
    draws, found = torch.Generator().manual_seed(2), {}
    for linear in LINEARS:
        count = torch.randint(0, members + 1, linear.shape, generator=draws, dtype=torch.int32)
        kept = None
        if strategy is Strategy.FEDSPALLM:
            mean = base.matrix(BLOCK, linear).weight + 0.1 * torch.randn(linear.shape, generator=draws)
            kept = mean.double() * count
        found[linear.name] = MatrixSums(count, kept, members)
    return found


def written(base: Revision, spec: ServerSpec, folder: Path) -> Path:
    """The layer file, equal to what `aggregate` makes of whole matrices."""
    sums = drawn(base, spec.strategy)
    path = write_aggregate(BLOCK, base, as_plain(sums), spec, folder, 5)
    matrices, told = load_layer(path)
    before, frozen = base.matrices(BLOCK), base.frozen(BLOCK)
    for name, total in sums.items():
        whole = aggregate(total, before[name].weight, spec.target, spec.group, frozen.get(name))
        assert torch.equal(matrices[name].keep, whole.keep)
        assert torch.equal(matrices[name].weight.view(torch.int32), whole.weight.view(torch.int32))
        assert told[f"histogram {name}"] == ",".join(map(str, whole.histogram))
        assert told[f"restored {name}"] == str(whole.restored)
    return path


@pytest.mark.parametrize("tile", [1, 1 << 19])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.target} {spec.strategy} {spec.group}")
def test_row_by_row_from_disk_it_is_the_server_step_of_whole_matrices(tmp_path, monkeypatch, spec, tile):
    """On a dense layer, and on one that was pruned before."""
    base = revision(tmp_path)
    monkeypatch.setattr(expansion, "_TILE", tile)
    dense = written(base, spec, tmp_path / "first")
    later = base.with_layers({3: dense})
    again = written(later, spec, tmp_path / "second")
    before, after = load_layer(dense)[0], load_layer(again)[0]
    assert all(not bool((after[name].keep & ~before[name].keep).any()) for name in before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_a_revision_are_those_of_its_matrices(tmp_path, dtype):
    """Also of a matrix that is stored transposed, and of one that was pruned."""
    base = revision(tmp_path, dtype)
    later = base.with_layers({3: written(base, SPECS[0], tmp_path / "first")})
    for one in (base, later):
        matrices = one.matrices(BLOCK)
        for linear in LINEARS:
            matrix, alone, rows = matrices[linear.name], one.matrix(BLOCK, linear), one.base(BLOCK, linear)
            assert alone.weight.shape == alone.keep.shape == linear.shape
            assert torch.equal(alone.weight, matrix.weight) and torch.equal(alone.keep, matrix.keep)
            for span in (slice(0, linear.shape[0]), slice(0, 1), slice(1, 3), slice(2, 4)):
                assert np.array_equal(rows.weights(span), matrix.weight[span].float().numpy())
                kept = rows.kept(span)
                assert (kept is None) == (one is base)
                assert kept is None or np.array_equal(kept, matrix.keep[span].numpy())
    with pytest.raises(RecordDamaged):
        load_matrix(later.layers[3], "layers.3.none")
    with pytest.raises(RecordDamaged):
        later.base(BLOCK, Linear("none", "layers.3.none", (4, 4), transposed=False))


def test_a_model_that_changed_while_it_was_in_use_is_told(tmp_path):
    base = revision(tmp_path)
    save_file({linear.name: torch.zeros(2, 2) for linear in LINEARS}, tmp_path / "model/model.safetensors")
    with pytest.raises(ForeignFile, match="changed while it was in use"):
        base.base(BLOCK, LINEARS[0])


def test_the_matrices_are_those_of_the_layer(tmp_path):
    base = revision(tmp_path)
    given = as_plain(drawn(base, Strategy.VOTES))
    one = given.pop("layers.3.out")
    for sums in (given, {**given, "layers.3.none": one}, {**given, "layers.3.out": one, "layers.3.none": one}):
        with pytest.raises(RecordDamaged, match="no sums of a matrix of layer 3, or of one that it does not have"):
            write_aggregate(BLOCK, base, sums, SPECS[0], tmp_path, 5)
        assert not list(tmp_path.glob("*layer*")), "complete or not at all"
