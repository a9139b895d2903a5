"""A GPU computes what the CPU computes, up to rounding, and always the same.  Skipped where there is no CUDA."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from fedspallm_secure.app.evaluation import perplexities
from fedspallm_secure.app.inspection import estimate_cost
from fedspallm_secure.app.member import LocalPruning
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.rank_group import Together
from fedspallm_secure.app.ranks import ALONE, Ranks
from fedspallm_secure.app.service.pruning import limit_gpu
from fedspallm_secure.app.states import Revision
from fedspallm_secure.app.walking.activations import Activations
from fedspallm_secure.app.walking.workshop import ComputeSettings, Workshop, open_workshop
from fedspallm_secure.pruning.keepmasks import drop_lowest, is_n_of_m, keep_n_of_m, keep_per_matrix
from fedspallm_secure.pruning.patterns import NofM, Pattern, Unstructured
from fedspallm_secure.pruning.pruners import LocalSpec, Matrix, Pruned, Pruner, prune_together
from fedspallm_secure.pruning.statistics import Gram, InputNorms
from fedspallm_secure.storage.checkpoints.layers import LayerMatrix, load_layer, save_layer
from tests.app.test_ranks import CASES, WIDE, compare, end, meeting, prepare
from tests.app.walking.test_footprint import LARGE
from tests.models import ARCHITECTURES, VOCABULARY, make_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")
HALF = Unstructured(Fraction(1, 2))
PATTERNS: list[Pattern] = [HALF, NofM(2, 4)]
pruners = pytest.mark.parametrize("pruner", list(Pruner))


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def observe(pruner: Pruner, x: torch.Tensor, device: str) -> Gram | InputNorms | None:
    found = pruner.empty_statistics(x.shape[1], device)
    if found is not None:
        for part in x.split(256):
            found.update(part.to(device))
    return found


@pytest.mark.parametrize("span", [2, 1000])
def test_keep_masks_from_the_same_scores_are_the_same(span):
    """With many ties, and few; with frozen weights; in the number types that are used."""
    scores = torch.randint(0, span, (64, 200), generator=torch.Generator().manual_seed(0))
    frozen = draw(64, 200) > 1
    for values in (scores, scores.float()):
        on_gpu = values.cuda()
        for drop in (0, 1, 99, 199, 200):
            assert torch.equal(drop_lowest(values, drop), drop_lowest(on_gpu, drop).cpu())
        assert torch.equal(keep_n_of_m(values, 2, 4), keep_n_of_m(on_gpu, 2, 4).cpu())
    ours = keep_per_matrix(scores.float().cuda(), 5000, frozen.cuda())
    assert torch.equal(keep_per_matrix(scores.float(), 5000, frozen), ours.cpu())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_statistics_are_in_full_float32(dtype):
    """Not in tf32, which would show at 1e-3."""
    x = draw(1000, 300).to(dtype)
    exact = x.double()
    gram, norms = (observe(pruner, x, "cuda") for pruner in (Pruner.SPARSEGPT, Pruner.WANDA))
    assert torch.allclose(gram.matrix.cpu().double().tril(), (exact.T @ exact).tril(), rtol=1e-5, atol=1e-3)
    assert torch.allclose(norms.sum_squares.cpu().double(), exact.square().sum(0), rtol=1e-5)


@pruners
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("with_frozen", [False, True])
def test_one_input_is_pruned_as_on_the_cpu(pruner, pattern, with_frozen):
    x = draw(2000, 512, seed=1) * torch.linspace(0.1, 2, 512)
    x[:, 7] = 0.0  # a dead input
    weights = [draw(256, 512, seed=2), draw(128, 512, seed=3)]
    holes = [weight > 1.5 for weight in weights] if with_frozen else [None, None]
    results: list[list[Pruned]] = []
    for device in ("cpu", "cuda"):
        matrices = [
            Matrix("a", weight.to(device), None if hole is None else hole.to(device))
            for weight, hole in zip(weights, holes, strict=True)
        ]
        results.append(prune_together(matrices, observe(pruner, x, device), LocalSpec(pruner, pattern)))
    for weight, hole, one, other in zip(weights, holes, *results, strict=True):
        keep, new = other.keep.cpu(), other.weight.cpu()
        assert (keep == one.keep).float().mean() > 0.998  # near-ties may fall differently
        assert not new[~keep].any()
        assert new.isfinite().all()
        if isinstance(pattern, NofM):
            assert is_n_of_m(keep, 2, 4)
        else:
            assert (~keep).sum() == (~one.keep).sum()
        if hole is not None:
            assert not (keep & hole).any()
        loss, expected = (((weight - result) @ x.T).norm() for result in (new, one.weight))
        assert loss == pytest.approx(float(expected), rel=2e-3)
        if pruner is not Pruner.SPARSEGPT:
            assert torch.equal(new[keep], weight[keep])


def run(
    shop: Workshop, pruner: Pruner, folder: Path, ranks: Ranks = ALONE, layers: Sequence[int] = (0, 1, 2)
) -> tuple[Revision, dict[int, dict[str, LayerMatrix]]]:
    ids = torch.randint(2, VOCABULARY, (9, 32), generator=torch.Generator().manual_seed(1))
    revision = Revision(shop.skeleton.checkpoint)
    pruning = LocalPruning(shop, revision, ids, LocalSpec(pruner, HALF), ranks)
    revision = revision.with_layers(pruning.run(layers, folder, Silent(), "prune"))
    return revision, {layer: load_layer(file)[0] for layer, file in revision.layers.items()}


def perplexity(shop: Workshop, revision: Revision) -> float:
    ids = torch.randint(2, VOCABULARY, (8, 32), generator=torch.Generator().manual_seed(2))
    return perplexities(shop, revision, {"a": ids}, Silent(), "measure").mean


def agreement(one: dict[int, dict[str, LayerMatrix]], other: dict[int, dict[str, LayerMatrix]]) -> float:
    pairs = [(one[layer][name].keep, other[layer][name].keep) for layer in one for name in one[layer]]
    return sum(int((a == b).sum()) for a, b in pairs) / sum(a.numel() for a, _ in pairs)


@pruners
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "falcon"])
def test_a_model_is_pruned_as_on_the_cpu(kind, pruner, tmp_path):
    make_model(tmp_path / "model", kind)
    cpu, gpu = (open_workshop(tmp_path / "model", ComputeSettings(device, "float32")) for device in ("cpu", "cuda"))
    one, layers = run(cpu, pruner, tmp_path / "cpu")
    other, on_gpu = run(gpu, pruner, tmp_path / "gpu")
    assert agreement(layers, on_gpu) > 0.995
    assert perplexity(gpu, other) == pytest.approx(perplexity(cpu, one), rel=0.02)
    assert perplexity(gpu, one) == pytest.approx(perplexity(cpu, one), rel=1e-3)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_architecture_runs_in_bfloat16(kind, tmp_path):
    make_model(tmp_path / "model", kind, dtype=torch.bfloat16)
    shop = open_workshop(tmp_path / "model", ComputeSettings(device="cuda"))
    assert shop.skeleton.dtype == torch.bfloat16  # that of the checkpoint, when nothing else was asked for
    revision, layers = run(shop, Pruner.SPARSEGPT, tmp_path / "out")
    for matrices in layers.values():
        for name, matrix in matrices.items():
            assert (~matrix.keep).sum() == -(-matrix.keep.numel() // 2), name
            assert matrix.weight.isfinite().all()
    assert torch.tensor(perplexity(shop, revision)).isfinite()


def same(one: dict[int, dict[str, LayerMatrix]], other: dict[int, dict[str, LayerMatrix]]) -> bool:
    return all(
        torch.equal(one[layer][name].keep, other[layer][name].keep)
        and torch.equal(one[layer][name].weight, other[layer][name].weight)
        for layer in one
        for name in one[layer]
    )


@pruners
def test_every_run_gives_the_same_bits_wherever_hidden_states_lie(pruner, tmp_path, monkeypatch):
    make_model(tmp_path / "model", **WIDE)
    settings = ComputeSettings(device="cuda", dtype="float32")
    shop = open_workshop(tmp_path / "model", settings)
    _, first = run(shop, pruner, tmp_path / "1")
    _, second = run(shop, pruner, tmp_path / "2")
    spilling = Workshop(shop.skeleton, shop.found, activation_budget=0, spill=tmp_path)
    _, third = run(spilling, pruner, tmp_path / "3")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 1 << 36))
    _, in_main_memory = run(shop, pruner, tmp_path / "4")
    assert same(first, second)
    assert same(first, third)
    assert same(first, in_main_memory)


def test_hidden_states_stay_on_a_gpu_with_room(monkeypatch):
    device = torch.device("cuda", 0)
    values = draw(3, 4, 8)
    for free, place in ((1 << 30, "cuda"), (4 * values.nbytes, "cuda"), (4 * values.nbytes - 1, "cpu")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 1 << 36))
        states = Activations((3, 4, 8), torch.float32, device=device)
        assert states._memory.device.type == place
        states.write(0, 3, values.cuda())
        assert torch.equal(states.read(1, 3, device).cpu(), values[1:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_file_has_the_same_bytes_from_wherever_its_matrices_lie(dtype, tmp_path):
    matrices = {f"m{rows}": LayerMatrix(draw(rows, 96).to(dtype), draw(rows, 96) > 0) for rows in (64, 100)}
    on_gpu = {name: LayerMatrix(matrix.weight.cuda(), matrix.keep.cuda()) for name, matrix in matrices.items()}
    for place, found in (("cpu", matrices), ("gpu", on_gpu)):
        save_layer(tmp_path / place, found, {"layer": "0"})
    assert (tmp_path / "cpu").read_bytes() == (tmp_path / "gpu").read_bytes()


def test_no_more_gpu_memory_is_taken_than_the_budget_allows():
    device = torch.device("cuda", 0)
    torch.cuda.empty_cache()
    limit_gpu(device, torch.cuda.memory_reserved(device) + (64 << 20))
    try:
        room = torch.empty(32 << 20, dtype=torch.uint8, device=device)
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(96 << 20, dtype=torch.uint8, device=device)
        assert room.nbytes == 32 << 20
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


@pruners
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pruning_fits_into_what_was_foretold_and_not_into_half_of_it(pruner, dtype, tmp_path):
    make_model(tmp_path / "model", dtype=dtype, **LARGE)
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved()  # by earlier tests
    shop = open_workshop(tmp_path / "model", ComputeSettings(device="cuda"))
    need = estimate_cost(shop, pruner, 9, 32, 1e12).memory
    try:
        limit_gpu(shop.skeleton.device, held + need)
        run(shop, pruner, tmp_path / "enough", layers=[0, 1])
        torch.cuda.empty_cache()
        limit_gpu(shop.skeleton.device, held + need // 2)
        with pytest.raises(torch.OutOfMemoryError):
            run(shop, pruner, tmp_path / "half", layers=[0, 1])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, shop.skeleton.device)


@pytest.mark.parametrize("backend", [None, "gloo"])
def test_one_rank_of_a_group_is_one_process(backend, tmp_path, monkeypatch):
    """NCCL on the GPU; with one rank all its exchanges are run all the same."""
    make_model(tmp_path / "model", **WIDE)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "0")
    ranks = Together(0, 1, 0, backend=backend)
    try:
        shop = open_workshop(tmp_path / "model", ComputeSettings(device=ranks.device("auto"), dtype="float32"))
        assert str(shop.skeleton.device) == "cuda:0"
        for pruner in Pruner:
            _, alone = run(shop, pruner, tmp_path / f"alone-{pruner}")
            _, grouped = run(shop, pruner, tmp_path / f"grouped-{pruner}", ranks)
            assert same(alone, grouped)
    finally:
        ranks.close()


def test_two_ranks_on_one_gpu_write_what_one_writes(tmp_path):
    prepare(tmp_path, "cuda")
    with meeting(tmp_path, CASES, RANK_DEVICE="cuda") as running:
        assert [end(process) for process in running] == [(0, "")] * 2
    compare(tmp_path)
