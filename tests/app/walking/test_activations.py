"""Hidden states in memory and on disk are the same, and a full disk is told as such."""

import errno
import os

import pytest
import torch

from fedspallm_secure.app.walking import activations
from fedspallm_secure.app.walking.activations import Activations, _has_room
from fedspallm_secure.errors import DiskFull, StorageError


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_spilled_equals_memory(dtype, tmp_path):
    values = torch.randn(7, 3, 5).to(dtype)
    memory = Activations((7, 3, 5), dtype)
    spilled = Activations((7, 3, 5), dtype, budget=0, spill=tmp_path)
    assert spilled.spilled
    assert not memory.spilled
    for store in (memory, spilled):
        store.write(0, 4, values[:4])
        store.write(4, 7, values[4:])
        store.write(2, 3, values[6:7])
    expected = values.clone()
    expected[2] = values[6]
    for start, stop in ((0, 7), (1, 4), (6, 7)):
        for store in (memory, spilled):
            assert torch.equal(store.read(start, stop, torch.device("cpu")), expected[start:stop])


def test_the_budget_is_the_boundary(tmp_path):
    size = 7 * 3 * 5 * 4
    assert not Activations((7, 3, 5), torch.float32, budget=size, spill=tmp_path).spilled
    assert Activations((7, 3, 5), torch.float32, budget=size - 1, spill=tmp_path).spilled


def test_nothing_stays_on_disk(tmp_path):
    store = Activations((2, 2, 2), torch.float32, budget=0, spill=tmp_path)
    store.write(0, 2, torch.zeros(2, 2, 2))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_and_a_lost_file_are_told(tmp_path, monkeypatch):
    store = Activations((2, 2, 2), torch.float32, budget=0, spill=tmp_path)
    with pytest.raises(StorageError, match="ended early"):
        store.read(0, 2, torch.device("cpu"))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DiskFull):
        store.write(0, 2, torch.zeros(2, 2, 2))


def test_a_gpu_has_room_for_a_part_of_what_this_process_may_take(monkeypatch):
    """What torch says of a GPU is made up; there need not be one."""
    gpu, share = torch.device("cuda", 0), activations._GPU_SHARE
    said = {"free": 30 << 30, "fraction": 0.5, "reserved": 8 << 30}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (said["free"], 40 << 30))
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda _: said["fraction"])
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: said["reserved"])
    for changed, most in (({}, 12 << 30), ({"free": 4 << 30}, 4 << 30), ({"fraction": 1.0}, 30 << 30)):
        said.update({"free": 30 << 30, "fraction": 0.5} | changed)
        assert _has_room(gpu, most // share, 0) and not _has_room(gpu, most // share + 1, 0)
        left = most - most // share
        assert _has_room(gpu, most // share, left) and not _has_room(gpu, most // share, left + 1)
    assert not _has_room(torch.device("cpu"), 1, 0)
