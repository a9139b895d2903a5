"""The memory this process held, and giving back what it no longer needs."""

import subprocess
import sys

from fedspallm_secure.app import memory
from fedspallm_secure.app.walking import skeleton
from fedspallm_secure.app.walking.workshop import ComputeSettings, open_workshop
from tests.models import make_model


def test_the_peak_grows_with_what_was_held_and_stays():
    before = memory.peak_bytes()
    held = bytearray(b"x" * (before + (64 << 20)))
    during = memory.peak_bytes()
    assert during >= len(held)
    del held
    assert memory.peak_bytes() >= during


def test_a_child_does_not_inherit_its_parents_peak():
    held = bytearray(b"x" * (400 << 20))
    code = "from fedspallm_secure.app.memory import peak_bytes; print(peak_bytes())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(child.stdout) < len(held) // 2


def test_memory_is_given_back_after_every_block(tmp_path, monkeypatch):
    make_model(tmp_path)
    shop = open_workshop(tmp_path, ComputeSettings(device="cpu"))
    calls: list[None] = []
    monkeypatch.setattr(skeleton, "give_back", lambda: calls.append(None))
    for block in shop.skeleton.blocks:
        with shop.skeleton.loaded(block):
            pass
    assert len(calls) == len(shop.skeleton.blocks)
    memory.give_back()
