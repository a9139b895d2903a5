"""What the command line settles before torch, and with it OpenMP, is loaded, and before a service is at work."""

import os
import signal
import subprocess
import sys

import fedprune_cli.main as program
import pytest

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.fixture(autouse=True)
def _signals():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({"GOMP_SPINCOUNT": "100"}, {"GOMP_SPINCOUNT": "100"}),
    ],
)
def test_waiting_threads_sleep_unless_the_user_says_otherwise(monkeypatch, given, expected):
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is taken back afterwards
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(program, "run", lambda arguments: 0)
    with pytest.raises(SystemExit):
        program.main([])
    assert {name: os.environ[name] for name in NAMES if name in os.environ} == expected


def test_sigterm_is_heard_before_a_service_is_at_work():
    """By a handler: without one the first process of a container would not be told."""
    code = "import os, signal, fedprune_cli.main as m; m.run = lambda _: os.kill(os.getpid(), signal.SIGTERM); m.main()"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 143


def test_torch_is_not_loaded_by_then():
    code = "import sys, fedprune_cli.main; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
