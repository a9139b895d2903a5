"""A small, consistent result as `fedprune simulate` would return it, for the tests of the report."""

import copy
import math
from typing import Any

SILOS = ["alpha", "beta", "gamma"]
TESTS = ["news", "alpha"]
KINDS = {"self_attn.q_proj": 64, "mlp.up_proj": 128}
LAYERS = 4


def perplexities(tests: list[str], *values: float) -> dict[str, float]:
    """test -> perplexity, plus their geometric mean."""
    found = dict(zip(tests, values, strict=True))
    return {**found, "mean": math.exp(sum(map(math.log, values)) / len(values))}


def _standalone(silos: list[str], tests: list[str]) -> dict[str, dict[str, float]]:
    return {
        silo: perplexities(tests, *(20.0 * (place + 1) + number for place in range(len(tests))))
        for number, silo in enumerate(silos, start=3)
    }


def _mean(each: dict[str, dict[str, float]]) -> dict[str, float]:
    parts = list(each.values())
    means = [part["mean"] for part in parts]
    return {k: sum(p[k] for p in parts) / len(parts) for k in parts[0]} | {"least": min(means), "most": max(means)}


def _matrices(layers: int) -> dict[str, dict[str, Any]]:
    return {
        f"model.layers.{layer}.{kind}.weight": {"layer": layer, "size": n, "dropped": n // 2, "achieved": 0.5}
        for layer in range(layers)
        for kind, n in KINDS.items()
    }


def _agreement(silos: int, layers: int) -> dict[str, Any]:
    weights = sum(KINDS.values())
    ends = [80, 12, *([0] * (silos - 2)), weights - 92] if silos > 1 else [96, 96]
    return {
        "layers": [{"layer": n, "members": silos, "histogram": ends, "restored": 0} for n in range(layers)],
        "unanimous": (ends[0] + ends[-1]) / weights,
        "single": ends[1] / weights,
        "restored": 0,
    }


def make_result(silos: list[str] = SILOS, tests: list[str] = TESTS, layers: int = LAYERS) -> dict[str, Any]:
    """A run of one round in which all silos pruned all layers to 50 %."""
    alone = _standalone(silos, tests)
    scale = [20.0 * (place + 1) for place in range(len(tests))]
    size = layers * sum(KINDS.values())
    members = {str(layer): list(silos) for layer in range(layers)}
    return copy.deepcopy(
        {
            "dense": perplexities(tests, *scale),
            "federated": perplexities(tests, *(value + 2.5 for value in scale)),
            "standalone": alone,
            "standalone_mean": _mean(alone),
            "centralised": perplexities(tests, *(value + 1.5 for value in scale)),
            "random": perplexities(tests, *(value * 9 for value in scale)),
            "sparsity": {
                "target": 0.5,
                "pattern": "50 %",
                "achieved": 0.5,
                "dropped": size // 2,
                "size": size,
                "per_matrix": _matrices(layers),
            },
            "agreement": _agreement(len(silos), layers),
            "cohorts": [{"round": 1, "target": "50 %", "layers": members}],
            "bytes_per_silo": {silo: 3456 + number for number, silo in enumerate(silos)},
            "tokens": {
                "silos": dict.fromkeys(silos, 5000),
                "tests": dict.fromkeys(tests, 4000),
                "scored": dict.fromkeys(tests, 310),
                "seqlen": 32,
            },
            "seconds": {"prune": 1.25, "evaluate": 61.0, "aggregate": 0.04},
            "peak_rss_bytes": 300 << 20,
            "seed": 7,
            "settings": {
                "schedule": ["50 %"],
                "sparsity": ["1/2"],
                "pruner": "sparsegpt",
                "strategy": "fedspallm",
                "group": "matrix",
                "silos": silos,
                "tests": tests,
                "fields": ["text"],
                "budgets": {},
                "silo_sparsity": {},
                "min_cohort": 3,
                "spread": False,
                "samples": 6,
                "seqlen": None,
                "test_tokens": 256,
                "seed": 7,
                "damping": "1/100",
                "compare": ["standalone", "centralised", "random"],
                "device": "auto",
                "dtype": "auto",
                "blocks": None,
            },
            "inputs": {
                "model": {"model.safetensors": "ab" * 32},
                "silos": {silo: f"{number:064x}" for number, silo in enumerate(silos)},
                "tests": {test: f"{number:064x}" for number, test in enumerate(tests, start=1000)},
            },
            "versions": {"python": "3.11.7", "torch": "2.13.0"},
            "threads": 2,
            "device": "cpu",
            "dtype": "float32",
            "model": "/somewhere/private/model",
            "report": "/somewhere/private/report.html",
        }
    )
