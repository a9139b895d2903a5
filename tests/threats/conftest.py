"""Where the attacks of the threat model are played: a federation in memory, and one that enrolled on disk."""

import io
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fedprune_cli import homes
from fedprune_cli.main import run

from tests.attacks.stage import Stage
from tests.ceremony import CHEAP, Ceremony, Clock

Fedprune = Callable[..., tuple[int, str]]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Parties with keys, certificates and registers, who seal and open."""
    with Stage(tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("built") / "federation"
    ceremony = Ceremony(path)
    for name in ("member/north", "member/south", "server/hub"):
        ceremony.enrol(name)
    return path


@pytest.fixture
def made(built: Path, tmp_path: Path) -> Ceremony:
    """An authority and three parties that it has enrolled, each in a folder of its own."""
    return Ceremony(Path(shutil.copytree(built, tmp_path / "federation")), new=False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def fedprune(made: Ceremony, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Fedprune:
    """The command line in the folder of `made`: exit code, and everything that was printed."""
    monkeypatch.chdir(made.folder)
    monkeypatch.setenv("FEDPRUNE_PASSWORD", "open sesame")
    monkeypatch.setattr(homes, "KDF", CHEAP)
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    def call(*words: str) -> tuple[int, str]:
        capfd.readouterr()
        code = run(words)
        return code, "".join(capfd.readouterr())

    return call
