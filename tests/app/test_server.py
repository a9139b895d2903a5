"""The server step matrix by matrix: the same file from sums and from means, and one matrix in memory at a time."""

import json
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fedspallm_secure.app.rounds.vectors import MatrixMeans
from fedspallm_secure.app.server import ServerSpec, emptied, write_aggregate
from fedspallm_secure.app.states import Revision
from fedspallm_secure.app.walking.discovery import Linear
from fedspallm_secure.app.walking.skeleton import Block
from fedspallm_secure.errors import RecordDamaged
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


def revision(folder: Path) -> Revision:
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "llama"}))
    draws = torch.Generator().manual_seed(1)
    tensors = {}
    for linear in LINEARS:
        weight = torch.randn(linear.shape, generator=draws)
        tensors[linear.name] = weight.T.contiguous() if linear.transposed else weight
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    return Revision(Checkpoint.open(model))


def means(base: Revision, strategy: Strategy, members: int = 5) -> dict[str, MatrixMeans]:
    """Anything that sums can come to."""
    draws, found = torch.Generator().manual_seed(2), {}
    for linear in LINEARS:
        count = torch.randint(0, members + 1, linear.shape, generator=draws, dtype=torch.int32)
        mean = base.matrix(BLOCK, linear).weight.clone()
        if strategy is Strategy.FEDSPALLM:
            mean = torch.where(count > 0, mean + 0.1 * torch.randn(linear.shape, generator=draws), mean)
        found[linear.name] = MatrixMeans(count, mean, members)
    return found


def both(base: Revision, spec: ServerSpec, folder: Path) -> Path:
    """The layer file, written from sums and from means."""
    written = []
    for name in ("sums", "means"):
        given = means(base, spec.strategy)
        (folder / name).mkdir(parents=True)
        if name == "sums":
            sums = {key: found.sums(spec.strategy is Strategy.FEDSPALLM) for key, found in given.items()}
            written.append(write_aggregate(BLOCK, base, emptied(sums), spec, folder / name, 5))
            assert sums == {}
        else:
            written.append(write_aggregate(BLOCK, base, given.items(), spec, folder / name, 5))
    (one, told), (other, told_too) = map(load_layer, written)
    assert told == told_too and one.keys() == other.keys()
    for name, matrix in one.items():
        assert torch.equal(matrix.keep, other[name].keep)
        assert torch.equal(matrix.weight.view(torch.int32), other[name].weight.view(torch.int32))
    return written[0]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.target} {spec.strategy} {spec.group}")
def test_means_give_the_file_that_sums_give(tmp_path, spec):
    """On a dense layer, and on one that was pruned before."""
    base = revision(tmp_path)
    dense = both(base, spec, tmp_path / "first")
    later = base.with_layers({3: dense})
    again = both(later, ServerSpec(spec.target, spec.strategy, spec.group), tmp_path / "second")
    before, after = load_layer(dense)[0], load_layer(again)[0]
    assert all(not bool((after[name].keep & ~before[name].keep).any()) for name in before)


def test_one_matrix_of_a_revision_is_that_of_all(tmp_path):
    base = revision(tmp_path)
    later = base.with_layers({3: both(base, SPECS[0], tmp_path / "first")})
    for one in (base, later):
        matrices = one.matrices(BLOCK)
        for linear in LINEARS:
            alone = one.matrix(BLOCK, linear)
            assert alone.weight.shape == alone.keep.shape == linear.shape
            assert torch.equal(alone.weight, matrices[linear.name].weight)
            assert torch.equal(alone.keep, matrices[linear.name].keep)
    with pytest.raises(RecordDamaged):
        load_matrix(later.layers[3], "layers.3.none")


def test_what_was_taken_is_let_go_before_the_next_is_made(tmp_path):
    base, alive, most = revision(tmp_path), [], []

    def coming() -> Iterator[tuple[str, MatrixMeans]]:
        for name in list(given := means(base, Strategy.FEDSPALLM)):
            most.append(sum(one() is not None for one in alive))
            found = given.pop(name)
            alive.append(weakref.ref(found.mean))
            yield name, found
            del found

    write_aggregate(BLOCK, base, coming(), SPECS[0], tmp_path, 5)
    assert most == [0, 0, 0]


def test_every_matrix_comes_once(tmp_path):
    base = revision(tmp_path)
    given = list(means(base, Strategy.VOTES).items())
    for sums, message in (
        (given[:2], r"no sums of layers\.3\.out"),
        ([*given, given[0]], r"layers\.3\.up twice"),
        ([*given[:2], ("layers.3.none", given[2][1])], r"layers\.3\.none twice, or layer 3 has no such matrix"),
    ):
        with pytest.raises(RecordDamaged, match=message):
            write_aggregate(BLOCK, base, sums, SPECS[0], tmp_path, 5)
        assert not list(tmp_path.glob("*layer*")), "complete or not at all"
