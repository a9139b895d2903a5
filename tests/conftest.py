"""Shared settings and fixtures."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.flushing import flushing, stop_flushing

if TYPE_CHECKING:
    from tests.ground import Ground

# Set before torch is imported anywhere: with pytest-xdist every worker would otherwise start a thread per core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

hypothesis.settings.register_profile("fast", max_examples=40, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=1000, deadline=None)
hypothesis.settings.load_profile("fast")

__all__ = ["flushing"]  # a fixture


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--flush", action="store_true", help="flush to the disk, which takes longer (tests/flushing.py)")


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--flush"):
        stop_flushing()


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where anchors of homes lie, in place of the folder of whoever runs the tests."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


@pytest.fixture
def ground(tmp_path: Path) -> "Ground":
    """A small federation on disk."""
    from tests.ground import make_ground  # imports torch, which must come after the environment is set

    return make_ground(tmp_path)
