"""Every figure is one line of JSON from one command."""

import json
import subprocess
import sys

import pytest

from tests.figures.spread import spread

SMALL = {
    "dropouts": ("3", "3", "1"),
    "random_dropouts": ("5", "1", "1", "2", "1"),
    "threshold": ("1", "2", "1"),
    "attribution": ("5", "0", "1", "1"),
    "distinguishing": ("250", "250", "1"),
    "reuse": ("10", "1"),
    "overflow": ("2", "1"),
    "kills": ("1", "1", "1"),
    "full_disk": ("1", "5", "1"),
    "rollback": ("1", "1", "1"),
    "clock": ("1", "3", "1"),
    "couriers": ("1", "1", "60"),
    "tampering": ("120", "3", "1"),
    "planted": (),
    "split_views": ("1", "1"),
    "log_tails": ("0", "1"),
    "he_exact": ("1", "1"),
    "he_noise": ("10", "1"),
    "attacks.ciphertexts": ("1", "1"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_figure_is_one_line(name: str):
    command = [sys.executable, "-m", f"tests.{name}" if "." in name else f"tests.figures.{name}", *SMALL[name]]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    assert finished.stdout.count("\n") == 1
    assert isinstance(json.loads(finished.stdout)["failures"], list)


def test_tasks_are_done_in_their_order():
    assert list(spread(abs, [3, -1, -2], workers=1)) == [3, 1, 2]
    assert list(spread(abs, [3, -1, -2], workers=2)) == [3, 1, 2]
