"""Calling the program as its user does."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fedprune_cli.main import run


@pytest.fixture
def fedprune(place: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The exit code of a command in `place`, a fixture of each module, and what it wrote to stdout and stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run(words)
        out, err = capfd.readouterr()
        return code, out, err

    return call
