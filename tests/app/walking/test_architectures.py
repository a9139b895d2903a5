"""Every architecture, from files to files: walked block by block it computes what transformers computes."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from fedspallm_secure.app.member import LocalPruning
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.runner import write_revision
from fedspallm_secure.app.states import Revision
from fedspallm_secure.app.walking.discovery import find_blocks
from fedspallm_secure.app.walking.workshop import ComputeSettings, Workshop, open_workshop
from fedspallm_secure.errors import AmbiguousBlocks, UnsupportedModel
from fedspallm_secure.pruning.keepmasks import is_n_of_m
from fedspallm_secure.pruning.patterns import NofM, Unstructured
from fedspallm_secure.pruning.pruners import LocalSpec, Pruner
from fedspallm_secure.storage.checkpoints.layers import load_layer
from tests.models import ARCHITECTURES, EXPERTS, VOCABULARY, make_model

LENGTH = 24  # longer than the sliding windows of 8


def windows(count: int = 5) -> torch.Tensor:
    return torch.randint(2, VOCABULARY, (count, LENGTH), generator=torch.Generator().manual_seed(1))


def workshop(folder: Path, **changes: object) -> Workshop:
    return open_workshop(folder, ComputeSettings(device="cpu", **changes))  # type: ignore[arg-type]


def walk_logits(shop: Workshop, revision: Revision, ids: torch.Tensor) -> torch.Tensor:
    walk = Workshop(shop.skeleton, shop.found, tokens_per_batch=2 * LENGTH).walk(ids)
    for block in shop.skeleton.blocks:
        with shop.skeleton.loaded(block, revision.replaced(block)) as module:
            walk.advance(block, module)
    return torch.cat([logits for _, logits in walk.logits(2 * LENGTH)])


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_walking_equals_the_whole_forward_pass(kind, tmp_path):
    model = make_model(tmp_path, kind)
    ids = windows()
    shop = workshop(tmp_path)
    assert len(shop.skeleton.blocks) == model.config.num_hidden_layers
    with torch.no_grad():
        expected = torch.cat([model(input_ids=part).logits for part in ids.split(2)])
    assert torch.equal(walk_logits(shop, Revision(shop.skeleton.checkpoint), ids), expected)


@pytest.mark.parametrize("pruner", [Pruner.WANDA, Pruner.SPARSEGPT])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_pruned_files_load_with_from_pretrained(kind, pruner, tmp_path):
    """What is written is what was computed: right names, right orientation, exact sparsity, everything else dense."""
    before = make_model(tmp_path / "dense", kind).state_dict()
    shop = workshop(tmp_path / "dense")
    skeleton = shop.skeleton
    spec = LocalSpec(pruner, Unstructured(Fraction(1, 2)))
    pruning = LocalPruning(shop, Revision(skeleton.checkpoint), windows(), spec)
    revision = Revision(skeleton.checkpoint, pruning.run([0, 2], tmp_path / "layers", Silent(), "prune"))
    write_revision(skeleton, revision, tmp_path / "pruned")

    after = AutoModelForCausalLM.from_pretrained(tmp_path / "pruned").eval()
    modules = {linear.module for linear in skeleton.blocks[0].linears}
    pruned = {f"{skeleton.block_path}.{layer}.{module}.weight" for layer in (0, 2) for module in modules}
    for name, value in after.state_dict().items():
        if name in pruned:
            assert (value == 0).sum() == -(-value.numel() // 2), name
        else:
            assert torch.equal(value, before[name]), name
    ids = windows(2)
    with torch.no_grad():
        assert torch.equal(walk_logits(shop, revision, ids), after(input_ids=ids).logits)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "falcon"])
def test_each_method_reads_the_inputs_it_should(kind, tmp_path):
    """Against a plain transformers forward pass with one hook and one statistic per linear."""
    model = make_model(tmp_path, kind)
    shop = workshop(tmp_path)
    ids = windows()
    inputs: dict[str, list[torch.Tensor]] = {}
    block = shop.skeleton.blocks[0]
    for linear in block.linears:
        module = model.get_submodule(f"{block.path}.{linear.module}")
        module.register_forward_pre_hook(lambda _, args, n=linear.name: inputs.setdefault(n, []).append(args[0]))
    with torch.no_grad():
        model(input_ids=ids)
    spec = LocalSpec(Pruner.WANDA, Unstructured(Fraction(1, 2)))
    pruning = LocalPruning(shop, Revision(shop.skeleton.checkpoint), ids, spec)
    layer, _ = load_layer(pruning.run([0], tmp_path / "layers", Silent(), "prune")[0])
    for linear in block.linears:
        weight = model.get_submodule(f"{block.path}.{linear.module}").weight.detach()
        weight = weight.T if linear.transposed else weight
        x = torch.cat(inputs[linear.name]).reshape(-1, linear.shape[1])
        scores = weight.abs() * x.norm(dim=0)
        lowest = scores.argsort(dim=1, stable=True)[:, : linear.shape[1] // 2]
        expected = torch.ones_like(scores, dtype=torch.bool).scatter_(1, lowest, False)
        assert (layer[linear.name].keep == expected).float().mean() > 0.998  # rounding may swap near-ties


@pytest.mark.parametrize("kind", EXPERTS)
def test_fused_experts_are_refused_by_name(kind, tmp_path):
    make_model(tmp_path, kind)
    with pytest.raises(UnsupportedModel, match=r"mlp\.experts\.gate_up_proj") as caught:
        workshop(tmp_path)
    assert "refused rather than left dense" in caught.value.hint


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_dtypes_on_file_are_kept(dtype, compute, tmp_path):
    make_model(tmp_path / "dense", dtype=dtype)
    shop = workshop(tmp_path / "dense", dtype=compute)
    spec = LocalSpec(Pruner.SPARSEGPT, Unstructured(Fraction(1, 2)))
    pruning = LocalPruning(shop, Revision(shop.skeleton.checkpoint), windows(), spec)
    revision = Revision(shop.skeleton.checkpoint, pruning.run([0, 1, 2], tmp_path / "layers", Silent(), "prune"))
    write_revision(shop.skeleton, revision, tmp_path / "pruned")
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "pruned", dtype="auto")
    weight = after.model.layers[1].mlp.down_proj.weight
    assert weight.dtype == dtype
    assert (weight == 0).sum() == weight.numel() // 2


@pytest.mark.parametrize("kind", ["llama", "gpt2", "phi3"])
@pytest.mark.parametrize("pruner", list(Pruner))
def test_n_of_m_holds_along_the_inputs(kind, pruner, tmp_path):
    make_model(tmp_path, kind)
    shop = workshop(tmp_path)
    spec = LocalSpec(pruner, NofM(2, 4))
    pruning = LocalPruning(shop, Revision(shop.skeleton.checkpoint), windows(), spec)
    layer, _ = load_layer(pruning.run([1], tmp_path / "layers", Silent(), "prune")[1])
    for linear in shop.skeleton.blocks[1].linears:
        assert layer[linear.name].keep.shape == linear.shape
        assert is_n_of_m(layer[linear.name].keep, 2, 4)


def test_ambiguous_stacks_are_refused_and_can_be_named(tmp_path):
    class TwoStacks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
            self.right = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
            self.config = make_model(tmp_path).config

    with pytest.raises(AmbiguousBlocks, match=r"left .* right"):
        find_blocks(TwoStacks())
    path, blocks = find_blocks(TwoStacks(), "right")
    assert path == "right"
    assert len(blocks) == 3
    with pytest.raises(AmbiguousBlocks, match="no list of blocks at 'up'"):
        find_blocks(TwoStacks(), "up")


def test_blocks_that_pass_state_around_are_refused(tmp_path, monkeypatch):
    """A model whose loop changes hidden states between blocks would be computed wrongly block by block."""
    model = make_model(tmp_path)
    outer = type(model.model).forward

    def between(self, *args, **kwargs):
        for layer in self.layers:
            layer.register_forward_hook(lambda module, inputs, output: output * 2)
        return outer(self, *args, **kwargs)

    monkeypatch.setattr(type(model.model), "forward", between)
    with pytest.raises(UnsupportedModel, match="is not the input of block"):
        workshop(tmp_path)
