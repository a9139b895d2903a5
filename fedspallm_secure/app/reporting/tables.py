"""The tables of a report as rows of text, ready for the template.  Pure; markup only where a row holds a drawing."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from markupsafe import Markup

from fedspallm_secure.app.reporting.layer_charts import Votes, layer_strip
from fedspallm_secure.app.reporting.numbers import change, count, percent, perplexity, plural, runs, size
from fedspallm_secure.app.reporting.secure import sent_by_silo
from fedspallm_secure.app.reporting.text import Result

MOST_TESTS = 6  # columns for single tests in the table of silos

_MODELS = {  # key of the perplexities in the result -> what the column is called
    "dense": "Dense",
    "federated": "Federated",
    "noiseless": "Without noise",
    "standalone_mean": "Standalone, mean",
    "centralised": "Centralised",
    "random": "Random",
}

_SETTINGS = {
    "pruner": "local pruner",
    "strategy": "strategy of the server",
    "group": "compared within",
    "schedule": "sparsity of each pass",
    "privacy": "differential privacy",
    "min_cohort": "silos per layer, at least",
    "spread": "layers spread over rounds",
    "samples": "calibration windows per silo",
    "damping": "SparseGPT damping",
    "test_tokens": "scored tokens per test, at most",
    "fields": "text fields read",
    "compare": "compared with",
    "device": "device asked for",
    "dtype": "number format asked for",
    "blocks": "decoder blocks named",
}
_DROPS = {"contribution": "contributing", "endorsement": "endorsing", "unmask": "unmasking"}
_SHOWN_ELSEWHERE = {"silos", "tests", "budgets", "silo_sparsity", "sparsity", "seqlen", "seed", "secure"}


@dataclass(frozen=True, slots=True)
class Cell:
    """A perplexity, and below it in small print its range or what it differs from."""

    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A named row of cells; `strong` for the line that sums up."""

    name: str
    cells: Sequence[Cell]
    strong: bool = False


def models(result: Result) -> list[tuple[str, str]]:
    """Key and title of each model that was measured, in the order of the columns."""
    return [(key, title) for key, title in _MODELS.items() if key in result]


def spread(result: Result, test: str) -> tuple[float, float] | None:
    """Least and most perplexity of the standalone models on a test, or of their means; None for fewer than two."""
    found = [alone[test] for alone in result.get("standalone", {}).values()]
    return (min(found), max(found)) if len(found) > 1 else None


def perplexity_rows(result: Result) -> list[Row]:
    """One row per test, one for their geometric mean (if there are several), one for the change from dense."""
    tests = list(result["settings"]["tests"])
    keys = [key for key, _ in models(result)]
    rows = [Row(test, [_perplexity_cell(result, key, test) for key in keys]) for test in tests]
    if len(tests) > 1:
        rows.append(Row("Geometric mean", [_perplexity_cell(result, key, "mean") for key in keys], True))
    dense = result["dense"]["mean"]
    changes = [Cell("" if key == "dense" else change(dense, result[key]["mean"])) for key in keys]
    return [*rows, Row("Change from dense", changes)]


def _perplexity_cell(result: Result, key: str, test: str) -> Cell:
    note = ""
    if key == "standalone_mean" and (found := spread(result, test)):
        note = f"{perplexity(found[0])} to {perplexity(found[1])}"
    return Cell(perplexity(result[key][test]), note)


def standalone_rows(result: Result) -> list[Row]:
    """Per silo its own model on each test (for few tests), the mean, and on how many tests federated is better."""
    shared, tests = result["federated"], list(result["settings"]["tests"])
    rows = []
    for silo, found in result.get("standalone", {}).items():
        cells = [Cell(perplexity(found[t]), "own text" if t == silo else "") for t in columns_of_tests(tests)]
        better = sum(shared[test] < found[test] for test in tests)
        rows.append(Row(silo, [*cells, Cell(perplexity(found["mean"])), Cell(f"{better} of {len(tests)}")]))
    return rows


def columns_of_tests(tests: Sequence[str]) -> list[str]:
    """The tests that get a column of their own: all, or none where they would not fit a page."""
    return list(tests) if len(tests) <= MOST_TESTS else []


def matrix_kind(name: str, layer: int) -> str:
    """What matrices of all layers share: "self_attn.q_proj"; numbered parts, such as experts, become one."""
    inside = name.removesuffix(".weight").split(f".{layer}.", 1)[-1]
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", inside)


def sparsity_by_kind(result: Result) -> dict[str, dict[int, tuple[int, int]]]:
    """Kind of matrix -> layer -> (zeros, weights), summed over matrices of one kind."""
    kinds: dict[str, dict[int, tuple[int, int]]] = {}
    for name, matrix in sorted(result["sparsity"]["per_matrix"].items()):
        layers = kinds.setdefault(matrix_kind(name, matrix["layer"]), {})
        zeros, weights = layers.get(matrix["layer"], (0, 0))
        layers[matrix["layer"]] = (zeros + matrix["dropped"], weights + matrix["size"])
    return kinds


def kind_rows(result: Result) -> list[list[str]]:
    """Per kind: matrices, weights, zeros, and the least and the most sparse of its matrices."""
    shares: dict[str, list[float]] = {}
    for name, matrix in result["sparsity"]["per_matrix"].items():
        shares.setdefault(matrix_kind(name, matrix["layer"]), []).append(matrix["achieved"])
    rows = []
    for kind, layers in sparsity_by_kind(result).items():
        zeros, weights = (sum(pair[place] for pair in layers.values()) for place in (0, 1))
        found = shares[kind]
        least, most = percent(min(found), 4), percent(max(found), 4)
        rows.append([kind, count(len(found)), count(weights), count(zeros), least, most])
    return rows


def layer_rows(result: Result, votes: Sequence[Votes]) -> list[list[str]]:
    """Per layer: silos, weights, zeros, sparsity, and the shares kept by none, one, some and all."""
    zeros: dict[int, int] = {}
    for matrix in result["sparsity"]["per_matrix"].values():
        zeros[matrix["layer"]] = zeros.get(matrix["layer"], 0) + matrix["dropped"]
    return [
        [
            str(vote.layer),
            str(len(vote.histogram) - 1),
            count(vote.total),
            count(zeros.get(vote.layer, 0)),
            percent(zeros.get(vote.layer, 0) / max(1, vote.total), 2),
            *(percent(weights / max(1, vote.total)) for weights in vote.classes),
        ]
        for vote in votes
    ]


@dataclass(frozen=True, slots=True)
class Round:
    """One round.  rows: silo, number of layers, drawing, runs of layers."""

    number: int
    target: str
    summary: str
    rows: Sequence[tuple[str, str, Markup, str]]


def rounds(result: Result) -> list[Round]:
    """Who pruned which layers, round by round."""
    total = max(layer["layer"] for layer in result["agreement"]["layers"]) + 1
    return [_round(plan, result["settings"]["silos"], total) for plan in result["cohorts"]]


def _round(plan: Mapping[str, Any], silos: Sequence[str], total: int) -> Round:
    cohorts = {int(layer): set(members) for layer, members in plan["layers"].items()}
    rows = []
    for silo in silos:
        mine = [layer for layer, members in cohorts.items() if silo in members]
        rows.append((silo, str(len(mine)), layer_strip(total, cohorts, mine), runs(mine)))
    sizes = [len(members) for members in cohorts.values()]
    least, most = min(sizes), max(sizes)
    by = plural(least, "silo") if least == most else f"{least} to {most} silos"
    return Round(plan["round"], plan["target"], f"{plural(len(cohorts), 'layer')}, each pruned by {by}", rows)


def silo_rows(result: Result) -> list[list[str]]:
    """Per silo: tokens of its text, layers pruned over all rounds, its own sparsity if it chose one, bytes, size.

    After secure aggregation also the bytes of all packages that it sent.
    """
    settings, packages = result["settings"], sent_by_silo(result)
    rows = []
    for silo in settings["silos"]:
        layers = sum(silo in members for plan in result["cohorts"] for members in plan["layers"].values())
        own = settings["silo_sparsity"].get(silo)
        target = percent(float(Fraction(own))) if own else "as the plan"
        sent = result["bytes_per_silo"].get(silo, 0)
        tokens = result["tokens"]["silos"][silo]
        row = [silo, count(tokens), count(layers), target, count(sent), size(sent)]
        rows.append([*row, count(packages[silo])] if packages else row)
    return rows


def test_rows(result: Result) -> list[list[str]]:
    """Per test text: its tokens, and how many of them were predicted and scored."""
    tokens = result["tokens"]
    return [[test, count(tokens["tests"][test]), count(tokens["scored"][test])] for test in result["settings"]["tests"]]


def setting_rows(result: Result) -> list[tuple[str, str]]:
    """Every setting that decides the result, then what the run found; settings this page does not know come last."""
    settings = result["settings"]
    known = [(title, _plain(settings[key])) for key, title in _SETTINGS.items() if key in settings]
    others = [(k, _plain(v)) for k, v in settings.items() if k not in _SETTINGS and k not in _SHOWN_ELSEWHERE]
    found = [
        ("tokens per window", count(result["tokens"]["seqlen"])),
        ("seed", str(result["seed"])),
        ("device used", result["device"]),
        ("number format used", result["dtype"]),
        ("CPU threads", str(result["threads"])),
        ("finished (UTC)", str(result.get("finished", "unknown"))),
    ]
    return known + _aggregation(settings.get("secure", {})) + found + others


def _aggregation(secure: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How the server came by the sums."""
    if not secure:
        return [("aggregation", "plain")]
    colluders = secure["colluders"]
    drops = [f"{', '.join(names)}, from {_DROPS.get(stage, stage)} on" for stage, names in secure["drops"].items()]
    return [
        ("aggregation", f"secure, {secure['profile']}"),
        ("silos that may work with the server", "(n - 1) / 3 of n" if colluders is None else count(colluders)),
        ("bits of a kept sum", count(secure["sum_bits"])),
        ("silos made to fall silent", "; ".join(drops) or "none"),
    ]


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nothing"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {part}" for key, part in value.items()) or "nothing"
    return count(value) if isinstance(value, int) else str(value)


def digest_rows(result: Result) -> list[tuple[str, str, str]]:
    """What, name and SHA-256 of every file that went in."""
    titles = {"model": "model file", "silos": "silo text", "tests": "test text"}
    return [
        (titles.get(group, group), name, digest)
        for group, files in result["inputs"].items()
        for name, digest in files.items()
    ]
