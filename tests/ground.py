"""A small federation on disk: a random Llama, three silos with different text, two tests."""

from dataclasses import dataclass
from pathlib import Path

from fedspallm_secure.app.settings import SimulationSettings
from fedspallm_secure.app.walking.workshop import ComputeSettings
from fedspallm_secure.pruning.patterns import Unstructured, parse_sparsity
from fedspallm_secure.storage.texts import TextFile
from tests.models import make_model, make_text


@dataclass
class Ground:
    """Files to simulate with, and a way to settings from them."""

    folder: Path
    model: Path
    silos: tuple[TextFile, ...]
    tests: tuple[TextFile, ...]

    def settings(self, out: str = "out", **changes: object) -> SimulationSettings:
        values = {
            "model": self.model,
            "silos": self.silos,
            "tests": self.tests,
            "schedule": (Unstructured(parse_sparsity("0.5")),),
            "out": self.folder / out,
            "samples": 6,
            "seqlen": 32,
            "test_tokens": 256,
            "compare": (),
            "compute": ComputeSettings(device="cpu"),
        }
        return SimulationSettings(**(values | changes))  # type: ignore[arg-type]

    def arguments(self, *more: str, out: str = "out") -> list[str]:
        words = ["simulate", "--model", str(self.model), "--out", str(self.folder / out), "--device", "cpu"]
        for silo in self.silos:
            words += ["--silo", f"{silo.name}={silo.path}"]
        for test in self.tests:
            words += ["--test", f"{test.name}={test.path}"]
        return [*words, "--samples", "6", "--seqlen", "32", "--test-tokens", "256", *more]


def make_ground(tmp_path: Path, names: tuple[str, ...] = ("north", "south", "west")) -> Ground:
    """Write model and texts below `tmp_path`.  names: of the silos."""
    make_model(tmp_path / "model", "llama")
    silos = tuple(TextFile(name, make_text(tmp_path / f"{name}.txt", seed)) for seed, name in enumerate(names, 1))
    tests = tuple(
        TextFile(name, make_text(tmp_path / f"{name}-test.txt", seed + 10, 600))
        for seed, name in enumerate(names[:2], 1)
    )
    return Ground(tmp_path, tmp_path / "model", silos, tests)
