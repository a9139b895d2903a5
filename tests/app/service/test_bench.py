"""Where a member prunes: what it makes of its layers does not depend on when somebody killed it."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from fedspallm_secure import SOFTWARE
from fedspallm_secure.app.configuration.member import read_member
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.ranks import join_ranks
from fedspallm_secure.app.service import pruning
from fedspallm_secure.app.service.pruning import Bench, RoundOver, limit_gpu
from fedspallm_secure.app.states import Revision, layer_file
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.labels import digest as digest_of
from fedspallm_secure.errors import OutOfMemory
from fedspallm_secure.protocol.rounds.member_own import PrivacyLeft
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.storage.checkpoints.layers import load_layer
from tests.ground import Ground, make_ground


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return make_ground(tmp_path)


def bench_of(ground: Ground, more: str = "") -> Bench:
    path = ground.folder / "offers.toml"
    path.write_text(
        f'[member]\nhome = "home"\ndata = "offers"\n[server]\nid = "hub"\n[model]\npath = "{ground.model}"\n'
        f'[texts]\nfiles = ["{ground.silos[0].path}"]\nsamples = 6\nseqlen = 32\n[compute]\ndevice = "cpu"\n{more}'
    )
    return Bench(read_member(path), "north", join_ranks(), Silent(), lambda: None)


def prune(ground: Ground, data: str, *steps: set[int]) -> dict[int, str]:
    """Digests of the own layers, after one process for each step that is to contribute those groups."""
    path = ground.folder / f"{data}.toml"
    path.write_text(
        f'[member]\nhome = "home"\ndata = "{data}"\n[server]\nid = "hub"\n[model]\npath = "{ground.model}"\n'
        f'[texts]\nfiles = ["{ground.silos[0].path}"]\nsamples = 6\nseqlen = 32\n[compute]\ndevice = "cpu"\n'
    )
    contributed: list[int] = []
    for step in steps:
        groups = [SimpleNamespace(gid=gid) for gid in range(3)]
        plan = SimpleNamespace(round=1, pruner="sparsegpt", target="1/2", groups_of=lambda name, found=groups: found)
        bench = Bench(read_member(path), "north", join_ranks(), Silent(), lambda: None)
        due = [group for group in groups if group.gid in step]
        bench.prune(plan, due, lambda group: contributed.append(group.gid), lambda: None)  # type: ignore[arg-type]
        assert contributed[-len(step) :] == sorted(step)
    folder = ground.folder / data / "round-1/own"
    files = {gid: layer_file(folder, gid) for gid in range(3)}
    return {gid: digest(path) for gid, path in files.items() if path.exists()}


def digest(path: Path) -> str:
    """Of the weights alone: the order of a file's metadata is not fixed."""
    hasher = hashlib.sha256()
    for _, matrix in sorted(load_layer(path)[0].items()):
        hasher.update(matrix.weight.numpy().tobytes() + matrix.keep.numpy().tobytes())
    return hasher.hexdigest()


def test_layers_behind_those_that_were_contributed_before_a_kill_come_out_the_same(ground):
    assert prune(ground, "whole", {0, 1, 2}) == prune(ground, "killed", {0}, {1, 2})


def test_layers_that_are_not_its_own_stay_dense(ground):
    assert set(prune(ground, "some", {0, 2})) == {0, 2}


def test_pruning_stops_when_nobody_wants_it_any_more(ground):
    path = ground.folder / "data.toml"
    path.write_text(
        f'[member]\nhome = "home"\ndata = "data"\n[server]\nid = "hub"\n[model]\npath = "{ground.model}"\n'
        f'[texts]\nfiles = ["{ground.silos[0].path}"]\nsamples = 6\nseqlen = 32\n[compute]\ndevice = "cpu"\n'
    )
    groups = [SimpleNamespace(gid=gid) for gid in range(3)]
    plan = SimpleNamespace(round=1, pruner="sparsegpt", target="1/2", groups_of=lambda name: groups)
    contributed: list[int] = []
    bench = Bench(read_member(path), "north", join_ranks(), Silent(), lambda: None)
    with pytest.raises(RoundOver):
        bench.prune(plan, groups, lambda group: contributed.append(group.gid), lambda: None, lambda: not contributed)  # type: ignore[arg-type]
    assert contributed == [0]
    assert not layer_file(ground.folder / "data/round-1/own", 1).exists()


def test_a_gpu_is_used_up_to_the_budget(monkeypatch):
    """What torch is told; there need not be a GPU."""
    told: list[tuple[float, torch.device]] = []
    gpu = torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=40 << 30))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: told.append(given))
    for device, allowed in ((gpu, 10 << 30), (gpu, 80 << 30), (gpu, None), (torch.device("cpu"), 10 << 30)):
        limit_gpu(device, allowed)
    assert told == [(0.25, gpu), (1.0, gpu)]


def test_a_budget_of_gpu_memory_says_nothing_about_a_cpu(ground):
    path = ground.folder / "north.toml"
    path.write_text(
        f'[member]\nhome = "home"\ndata = "data"\n[server]\nid = "hub"\n[model]\npath = "{ground.model}"\n'
        f'[texts]\nfiles = ["{ground.silos[0].path}"]\nsamples = 6\nseqlen = 32\n[compute]\ndevice = "cpu"\n'
        '[budget]\ngpu_memory = "1 KiB"\n'
    )
    bench = Bench(read_member(path), "north", join_ranks(), Silent(), lambda: None)
    assert bench.layers_offered() == 0
    bench._workshop.skeleton.device = torch.device("cuda")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruning, "measure_rate", lambda device, dtype: 1e9)
        with pytest.raises(OutOfMemory, match="allows 0 MiB"):
            bench.layers_offered()


def test_an_offer_names_the_model_and_the_policy(ground):
    policy = Policy(Party("server", "hub"), 1, horizon=7, pruners=frozenset({"sparsegpt"}))
    bench = bench_of(ground)
    offer = bench.offer("ab" * 32, policy)
    bases = bench.model.revisions.bases(range(3))
    parts = [bytes.fromhex(bases[gid].base) for gid in range(3)]
    assert offer.model == digest_of(Label.DIGEST_MODEL, *parts).hex()
    assert (offer.software, offer.layers, offer.bundle, offer.policy, offer.spent) == (
        SOFTWARE,
        0,
        "ab" * 32,
        policy,
        False,
    )
    bench.model.revisions.revision = Revision(bench.model.revisions.skeleton.checkpoint, {1: ground.model / "gone"})
    assert bench.offer("ab" * 32, policy).model == offer.model, "what rounds make of a model is not asked"
    (shard,) = ground.model.glob("*.safetensors")
    tensors = load_file(shard)
    name = next(name for name in sorted(tensors) if "layers.2" in name and "proj" in name)
    tensors[name][0, 0] += 1
    save_file(tensors, shard, metadata={"format": "pt"})
    assert bench_of(ground).offer("ab" * 32, policy).model != offer.model


@pytest.mark.parametrize(("left", "spent"), [(0, True), (1, False)])
def test_an_offer_with_noise_is_for_wanda_and_says_when_the_budget_is_spent(ground, left, spent):
    bench = bench_of(ground)
    bench.model.privacy = lambda: PrivacyLeft(left)
    offer = bench.offer("ab" * 32, Policy(Party("server", "hub"), 1))
    assert (offer.spent, offer.policy.pruners) == (spent, frozenset({"wanda"}))
