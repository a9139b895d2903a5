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
            "secagg": [],
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
                "secure": {},
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


def secure_round(result: dict[str, Any], number: int = 1, missing: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a secure round of `result` would have said.  missing: silos in no sum."""
    silos, votes = result["settings"]["silos"], result["settings"]["strategy"] == "votes"
    left = [silo for silo in silos if silo not in missing]
    size = result["sparsity"]["size"]
    return {
        "round": number,
        "plan_hash": "cd" * 32,
        "result": "ef" * 32,
        "profile": "three-trip",
        "colluders": 0,
        "groups": [
            {
                "layer": layer,
                "base": "ab" * 32,
                "cohort": len(silos),
                "shares": 3,
                "survivors_needed": 3,
                "survivors": list(left),
                "degree": len(silos) - 1,
                "count_bits": 4,
                "sum_bits": 0 if votes else 32,
                "fraction": 0 if votes else 26,
                "bound": 0 if votes else 715827882,
            }
            for layer in sorted({matrix["layer"] for matrix in result["sparsity"]["per_matrix"].values()})
        ],
        "answered": list(left),
        "clipped": 0,
        "exactness": {
            "weights": size,
            "kept": size // 2,
            "bf16_differs": 0.0 if votes else 0.00125,
            "worst_steps": 0.0 if votes else 0.4996,
        },
        "leakage": {
            "positions": size,
            "unanimous": 0.9375,
            "single": 0.0625,
            "count_accuracy": 0.9566,
            "guess_accuracy": 0.9024,
            "excess": 0.0542,
        },
        "wire": {
            "by_type": {
                "contribution": {"packages": 12, "bytes": 120_000},
                "plan": {"packages": 3, "bytes": 6_000},
                "unmask-response": {"packages": 3, "bytes": 3_000},
            },
            "sent_by_silo": {silo: 41_000 + place for place, silo in enumerate(silos)},
            "contributions_by_formula": 100_000,
        },
        "seconds": {"contribution": 1.5, "plan": 0.25, "sum": 0.5},
        "blamed": [],
    }


def make_secure_result(rounds: int = 1, **settings: Any) -> dict[str, Any]:
    """The same run with secure aggregation, in one round or several of the same layers."""
    result = make_result()
    result["settings"] |= settings
    result["settings"]["secure"] = {"profile": "three-trip", "colluders": None, "sum_bits": 32, "drops": {}}
    result["cohorts"] = [{**result["cohorts"][0], "round": number} for number in range(1, rounds + 1)]
    result["secagg"] = [secure_round(result, number) for number in range(1, rounds + 1)]
    result["seconds"] |= {"enrol": 0.1, "check": 0.2}
    return result
