"""Which device tensors are computed on.  What torch says of this machine's is made up."""

import pytest
import torch

from fedspallm_secure.app.walking.skeleton import choose_device
from fedspallm_secure.errors import UsageError


@pytest.fixture
def machine(monkeypatch):
    """A machine without a GPU until it is told of one; the second of its GPUs is the one in use."""
    there = {"cuda": False, "mps": False}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there["cuda"])
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there["mps"])
    return there


def test_a_gpu_goes_before_the_cpu_and_has_a_number(machine):
    assert choose_device() == torch.device("cpu")
    machine["mps"] = True
    assert choose_device() == torch.device("mps")
    machine["cuda"] = True
    assert choose_device() == choose_device("cuda") == torch.device("cuda", 1)
    assert choose_device("cuda:0") == torch.device("cuda", 0)
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_a_device_that_is_not_there_is_refused(machine, name):
    with pytest.raises(UsageError, match=f"finds no {name[:4].rstrip(':')} device"):
        choose_device(name)
