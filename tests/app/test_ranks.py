"""Two processes that prune together write the files that one writes, and neither waits forever for the other."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import TCPStore

from fedspallm_secure.app.ranks import ALONE, divide, follow, join_ranks
from fedspallm_secure.errors import FormatError, RankLost, UsageError
from fedspallm_secure.pruning.pruners import Pruner
from fedspallm_secure.pruning.statistics import Gram, bands
from tests.models import make_model
from tests.rank import open_model, prune

ROOT = Path(__file__).parents[2]
# Wide enough that a Gram matrix has several bands of rows, the last one shorter.
WIDE = {"hidden_size": 160, "intermediate_size": 288}
CASES = [
    {"name": f"{pruner}-{windows}", "pruner": str(pruner), "sparsity": "0.5", "windows": windows, "layers": layers}
    # Batches of two windows: 7 are four batches, the last one short; 5 are three, so a rank sits one out; 1 is one.
    for pruner in Pruner
    for windows, layers in ((7, [0, 1, 2]), (5, [0, 2]), (1, [1]))
]
CASES += [
    {"name": "n-of-m", "pruner": "sparsegpt", "sparsity": "2:4", "windows": 4, "layers": [0, 1, 2]},
    {"name": "later", "pruner": "sparsegpt", "sparsity": "0.7", "windows": 4, "layers": [2], "after": "sparsegpt-7"},
    {"name": "later-wanda", "pruner": "wanda", "sparsity": "0.7", "windows": 3, "layers": [0, 1], "after": "wanda-7"},
    {"name": "noised", "pruner": "wanda", "sparsity": "0.5", "windows": 3, "layers": [0, 2], "noised": True},
    {"name": "resumed", "pruner": "sparsegpt", "sparsity": "0.5", "windows": 7, "layers": [0, 1, 2]},
]


@contextmanager
def started(folder: Path, cases: list[dict], port: int, size: int = 2, **more: str) -> Iterator[list[subprocess.Popen]]:
    """One process for each rank; none is left behind."""
    file = folder / "cases.json"
    file.write_text(json.dumps(cases))
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size), **more}
    command = [sys.executable, "-m", "tests.rank", str(folder / "model"), str(file), str(folder / "together")]
    with ExitStack() as stack:
        running = []
        for rank in range(size):
            environ = {**os.environ, **address, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            process = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            running.append(process)
        yield running


@contextmanager
def meeting(folder: Path, cases: list[dict], size: int = 2, **more: str) -> Iterator[list[subprocess.Popen]]:
    """As torchrun does: the ranks meet at a store that is not theirs."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))
    with started(folder, cases, store.port, size, TORCHELASTIC_USE_AGENT_STORE="True", **more) as running:
        yield running


def end(process: subprocess.Popen, seconds: float = 90) -> tuple[int, str]:
    _, error = process.communicate(timeout=seconds)
    return process.returncode, error


def layers(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """File -> its tensors.  Not its bytes: safetensors writes metadata in any order."""
    return {str(file.relative_to(folder)): load_file(file) for file in sorted(folder.rglob("*.safetensors"))}


def prepare(folder: Path, device: str = "cpu") -> Path:
    """The model, what one process makes of all cases, and two of three layers of the last for the ranks to find."""
    make_model(folder / "model", **WIDE)
    shop = open_model(folder / "model", device)
    for case in CASES:
        prune(shop, case, folder / "alone")
    found = folder / "together/resumed"
    found.mkdir(parents=True)
    for layer in (0, 2):  # 1 must be computed behind the finished 0
        shutil.copy(folder / f"alone/resumed/layer-000{layer}.safetensors", found)
    return found


def compare(folder: Path) -> None:
    one, many = layers(folder / "alone"), layers(folder / "together")
    assert one.keys() == many.keys()
    for name, tensors in one.items():
        assert tensors.keys() == many[name].keys()
        assert [key for key in tensors if not torch.equal(tensors[key], many[name][key])] == [], name


def stamps(folder: Path) -> list[int]:
    return [(folder / f"layer-000{layer}.safetensors").stat().st_mtime_ns for layer in (0, 2)]


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)])
def test_several_ranks_write_what_one_writes(tmp_path, size):
    found = prepare(tmp_path)
    before = stamps(found)
    with meeting(tmp_path, CASES, size) as running:
        assert [end(process) for process in running] == [(0, "")] * size
    compare(tmp_path)
    assert stamps(found) == before  # what was finished was not made again


@pytest.mark.slow
def test_torchrun_starts_them(tmp_path):
    prepare(tmp_path)
    (tmp_path / "cases.json").write_text(json.dumps(CASES))
    words = [str(tmp_path / name) for name in ("model", "cases.json", "together")]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*torchrun, "-m", "tests.rank", *words], cwd=ROOT, check=True, capture_output=True, timeout=180)
    compare(tmp_path)


LONG = [{"name": "long", "pruner": "sparsegpt", "sparsity": "0.5", "windows": 4, "layers": [0, 1, 2]}]


LOST = r"RankLost: (a tensor|a statistic|the others) .*did not get"  # whichever exchange notices


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [("die", LOST), ("hang", LOST), ("refuse", "RankLost: rank 1 failed: pruning block 0")],
    ids=["die", "hang", "refuse"],
)
def test_a_rank_that_fails_ends_the_others_in_time(tmp_path, fault, said):
    """The limit, here 20 s, also holds for meeting, so it must outlast the imports on a busy machine."""
    make_model(tmp_path / "model", **WIDE)
    begun = time.monotonic()
    with meeting(tmp_path, LONG, RANK_FAULT=fault, RANK_LIMIT="20") as (first, second):
        code, error = end(first, 100)
        assert time.monotonic() - begun < 90
        assert re.search(said, error), error
        assert code == RankLost.exit_code
        if fault == "refuse":
            assert end(second) == (1, "FedSpaError: a matrix was refused\n")
    assert not (tmp_path / "together/long/layer-0001.safetensors").exists()


@pytest.mark.slow
def test_listeners_do_not_outlive_rank_0(tmp_path):
    make_model(tmp_path / "model", **WIDE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with started(tmp_path, LONG, port, RANK_FAULT="leave") as (first, second):  # rank 0 holds the store
        end(first)
        code, error = end(second, 60)
    assert code == RankLost.exit_code
    assert "RankLost: rank 0 told nothing" in error


def test_without_torchrun_there_is_one():
    assert join_ranks({}) is ALONE
    assert join_ranks({"WORLD_SIZE": "1", "RANK": "0"}) is ALONE
    assert (ALONE.rank, ALONE.size, ALONE.device("cpu")) == (0, 1, "cpu")
    with pytest.raises(UsageError):
        ALONE.listen()


@pytest.mark.parametrize("rank", [None, "", "-1", "2", "first", "9999999", "²"])
def test_half_an_environment_is_refused(rank):
    given = {"WORLD_SIZE": "2", "LOCAL_RANK": "0"} | ({} if rank is None else {"RANK": rank})
    with pytest.raises(UsageError, match="RANK"):
        join_ranks(given)


class Scripted:
    """Rank 1, which hears what it is given."""

    def __init__(self, *commands: dict) -> None:
        self.commands = list(commands)

    def listen(self) -> dict:
        return self.commands.pop(0)


def test_following_ends_when_told():
    done: list[dict] = []
    follow(Scripted({"prune": {"round": 1}}, {"prune": {"round": 2}}, {"stop": True}, {"prune": {}}), done.append)
    assert done == [{"round": 1}, {"round": 2}]


@pytest.mark.parametrize("command", [{}, {"erase": {}}, {"prune": 1}, {"prune": {}, "more": 1}, {"stop": {}}])
def test_other_commands_are_refused(command):
    with pytest.raises(FormatError):
        follow(Scripted(command), lambda case: None)


def test_work_is_divided_evenly_and_always_alike():
    assert divide([1, 9, 5, 5], 2) == [0, 0, 1, 1]
    assert divide([4, 4, 4], 2) == [0, 1, 0]
    assert divide([], 3) == []
    assert divide([7], 3) == [0]
    costs = [(bottom - top) * bottom for top, bottom in bands(4096)]
    for parts in (2, 4):
        loads = [sum(c for c, o in zip(costs, divide(costs, parts), strict=True) if o == part) for part in range(parts)]
        assert len(set(loads)) == 1


def test_bands_of_a_gram_matrix_add_up_to_all_of_it():
    x = torch.randn(50, 300, generator=torch.Generator().manual_seed(0))
    whole = Gram.empty(300)
    parts = [Gram.empty(300), Gram.empty(300)]
    parts[0].bands, parts[1].bands = bands(300)[::2], bands(300)[1::2]
    for gram in (whole, *parts):
        gram.update(x[:20])
        gram.update(x[20:])
    assert torch.equal(parts[0].matrix + parts[1].matrix, whole.matrix)
    assert parts[0].matrix.any()
    assert parts[1].matrix.any()
