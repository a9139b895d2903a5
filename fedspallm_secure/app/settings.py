"""What a simulation is asked to do, as one frozen value, and the record by which a killed run knows itself."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from fedspallm_secure.app.calibration import DEFAULT_SAMPLES
from fedspallm_secure.app.evaluation import check_test_names
from fedspallm_secure.app.privacy.settings import PrivacySettings
from fedspallm_secure.app.rounds.settings import SecureSettings
from fedspallm_secure.app.walking.skeleton import choose_device
from fedspallm_secure.app.walking.workshop import ComputeSettings
from fedspallm_secure.errors import UsageError
from fedspallm_secure.protocol.plan import DEFAULT_MIN_COHORT
from fedspallm_secure.pruning.aggregation import Group, Strategy
from fedspallm_secure.pruning.patterns import Pattern, parse_fraction
from fedspallm_secure.pruning.pruners import Pruner
from fedspallm_secure.pruning.sparsegpt import DAMPING
from fedspallm_secure.storage.checkpoints.writer import COMPANIONS
from fedspallm_secure.storage.files import is_file, sha256_file
from fedspallm_secure.storage.texts import TextFile

COMPARISONS = ("standalone", "centralised", "random")
NOISELESS = "noiseless"  # compared with where differential privacy is in effect
DEFAULT_TEST_TOKENS = 16384


@dataclass(frozen=True, slots=True)
class SimulationSettings:
    """A federation on one machine.

    schedule: target of each pass over the model; budgets: layers a silo prunes per round, all if absent;
    silo_patterns: silos that prune to a sparsity of their own; samples, seqlen: calibration windows per silo and
    tokens per window; test_tokens: at most so many tokens of each test text are scored; secure: None for plain sums;
    privacy: None for no noise.
    """

    model: Path
    silos: tuple[TextFile, ...]
    tests: tuple[TextFile, ...]
    schedule: tuple[Pattern, ...]
    out: Path
    pruner: Pruner = Pruner.SPARSEGPT
    strategy: Strategy = Strategy.FEDSPALLM
    group: Group = Group.MATRIX
    budgets: Mapping[str, int] = field(default_factory=dict)
    silo_patterns: Mapping[str, Pattern] = field(default_factory=dict)
    min_cohort: int = DEFAULT_MIN_COHORT
    spread: bool = False
    samples: int = DEFAULT_SAMPLES
    seqlen: int | None = None
    test_tokens: int = DEFAULT_TEST_TOKENS
    seed: int = 0
    damping: Fraction = DAMPING
    compare: tuple[str, ...] = COMPARISONS
    secure: SecureSettings | None = None
    privacy: PrivacySettings | None = None
    compute: ComputeSettings = field(default_factory=ComputeSettings)

    def __post_init__(self) -> None:
        if not self.silos:
            raise UsageError("no silo was given", hint="add --silo NAME=FILE, once per silo")
        if not self.tests:
            raise UsageError("no test text was given", hint="add --test NAME=FILE, once per domain")
        names = {silo.name for silo in self.silos}
        for what, chosen in (("--budget", self.budgets), ("--silo-sparsity", self.silo_patterns)):
            for name in chosen:
                if name not in names:
                    raise UsageError(f"{what} names {name}, which is not a silo; silos: {', '.join(sorted(names))}")
        check_test_names([test.name for test in self.tests])
        if self.secure is not None:
            self.secure.check_names(names)
        for name in self.compare:
            if name not in (*COMPARISONS, NOISELESS):
                raise UsageError(f"cannot compare with {name!r}; choose from {', '.join((*COMPARISONS, NOISELESS))}")
            if name == NOISELESS and (self.privacy is None or self.pruner is Pruner.MAGNITUDE):
                raise UsageError(f"cannot compare with {NOISELESS!r}: no noise is added", hint="add --dp-epsilon")
        if self.samples < 1:
            raise UsageError(f"--samples must be at least 1, got {self.samples}")
        if self.test_tokens < 2:
            raise UsageError(f"--test-tokens must be at least 2, got {self.test_tokens}")
        if self.privacy is not None:
            self.privacy.check_pruner(self.pruner)
            self.privacy.check_records(self.samples)

    @property
    def sum_bits(self) -> int:
        """Bits of a word that carries sums."""
        return 32 if self.secure is None else self.secure.sum_bits

    def to_dict(self) -> dict[str, Any]:
        """Plain data, everything that decides the result; not where it is written or which files it came from."""
        return {
            "schedule": [str(pattern) for pattern in self.schedule],
            "sparsity": [str(pattern.sparsity) for pattern in self.schedule],
            "pruner": str(self.pruner),
            "strategy": str(self.strategy),
            "group": str(self.group),
            "silos": [silo.name for silo in self.silos],
            "tests": [test.name for test in self.tests],
            "fields": sorted({text.field for text in (*self.silos, *self.tests)}),
            "budgets": dict(sorted(self.budgets.items())),
            "silo_sparsity": {name: str(own.sparsity) for name, own in sorted(self.silo_patterns.items())},
            "min_cohort": self.min_cohort,
            "spread": self.spread,
            "samples": self.samples,
            "seqlen": self.seqlen,
            "test_tokens": self.test_tokens,
            "seed": self.seed,
            "damping": str(self.damping),
            "compare": list(self.compare),
            "device": self.compute.device,
            "dtype": self.compute.dtype,
            "secure": {} if self.secure is None else self.secure.to_dict(),
            "privacy": {} if self.privacy is None else self.privacy.to_dict(),
            "blocks": self.compute.blocks,
        }


def input_digests(settings: SimulationSettings, model: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """SHA-256 of every file that goes in.  model: those of configuration and weights; the tokenizer's are added."""
    companions = {name: settings.model / name for name in COMPANIONS if is_file(settings.model / name)}
    return {
        "model": {**{name: sha256_file(path) for name, path in companions.items()}, **model},
        "silos": {silo.name: sha256_file(silo.path) for silo in settings.silos},
        "tests": {test.name: sha256_file(test.path) for test in settings.tests},
    }


def versions(*more: str) -> dict[str, str]:
    """The software that decides the numbers.  more: packages that only some runs use."""
    found = {"python": platform.python_version()}
    for package in ("fedspallm-secure", "torch", "transformers", "tokenizers", "safetensors", "numpy", *more):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def fingerprint(settings: SimulationSettings, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal for a run to continue another: settings, inputs, software, threads."""
    return {
        "settings": settings.to_dict(),
        "inputs": inputs,
        "versions": versions() if settings.privacy is None else versions("dp-accounting"),
        "threads": torch.get_num_threads(),
        "device": str(choose_device(settings.compute.device)),
    }


def parse_damping(text: str) -> Fraction:
    """Read the share of the mean Hessian diagonal that SparseGPT adds, in (0, 1].  Raises UsageError."""
    value = parse_fraction(text)
    if value is None or not 0 < value <= 1:
        raise UsageError(f"--damping must lie above 0 and at most at 1, got {text!r}")
    return value
