"""The report of a run: one HTML file that stands alone, for a compliance officer as well as for an engineer.

No script, no font, no picture from elsewhere; the page's own content security policy forbids them, and allows its one
style sheet by digest.  Paths of this machine do not appear.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fedspallm_secure.app.reporting import claims, privacy, secure, tables, text
from fedspallm_secure.app.reporting.charts import Bar, duration_panel, perplexity_panel, swatch
from fedspallm_secure.app.reporting.layer_charts import Votes, agreement_chart, heat_map, keep_count_chart
from fedspallm_secure.app.reporting.numbers import change, duration, plural, size
from fedspallm_secure.app.reporting.text import Result
from fedspallm_secure.storage.files import atomic_write

_LONG = 12  # rows from which a table starts folded
_BARS = {  # key of the perplexities in the result -> label and colour
    "dense": ("Dense", "dense"),
    "federated": ("Federated", "federated"),
    "noiseless": ("Without noise", "other"),
    "standalone_mean": ("Standalone", "other"),
    "centralised": ("Centralised", "other"),
    "random": ("Random", "other"),
}
_PHASES = {
    "prune": "silos prune",
    "enrol": "silos enrol",
    "aggregate": "server aggregates",
    "round": "parties run the round",
    "check": "sums are checked",
    "write": "model is written",
    "compare": "alternatives are pruned",
    "evaluate": "perplexity is measured",
}


def write_report(path: Path, result: dict[str, Any]) -> None:
    """Write the report of `result` to `path`, complete or not at all.  Raises StorageError."""
    page = render_report(result).encode()  # first, so that a failure here touches no file
    with atomic_write(path) as file:
        file.write(page)


def render_report(result: Result) -> str:
    """The report as one HTML page, from what `fedprune simulate` returns or its result.json read back."""
    environment = _environment()
    style = environment.get_template("report.css.j2").render()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    # The style sheet is a file of this package without a single placeholder, hence Markup.
    return environment.get_template("report.html.j2").render(
        policy=policy,
        style=Markup(style),  # noqa: S704
        long=_LONG,
        swatch=swatch,
        **_outcome(result),
        **_sparsity(result),
        **_agreement(result),
        **_particulars(result),
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("fedspallm_secure.app.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _outcome(result: Result) -> dict[str, Any]:
    tests = list(result["settings"]["tests"])
    several = len(tests) > 1
    panels = [(test, perplexity_panel(f"on {test}", _bars(result, test))) for test in tests]
    if several:
        panels.insert(0, ("Geometric mean of all tests", perplexity_panel("on average", _bars(result, "mean"))))
    return {
        "outcome": text.outcome(result),
        "notice": text.notice(result),
        "verdict": text.verdict(result),
        "pairs": text.pairs(result),
        "warnings": claims.warnings(result),
        "definitions": text.definitions(result),
        "models": [title for _, title in tables.models(result)],
        "perplexities": tables.perplexity_rows(result),
        "ranged": tables.spread(result, "mean") is not None,
        "panels": panels,
        "most_panels": 6,
        "standalone": tables.standalone_rows(result),
        "standalone_tests": tables.columns_of_tests(tests),
        "cut": any('class="gap"' in panel for _, panel in panels),
    }


def _bars(result: Result, test: str) -> list[Bar]:
    bars = []
    for key, (label, kind) in _BARS.items():
        if key in result:
            spread = tables.spread(result, test) if key == "standalone_mean" else None
            note = "" if key == "dense" else change(result["dense"][test], result[key][test])
            bars.append(Bar(label, result[key][test], kind, note, *(spread or (None, None))))
    return bars


def _sparsity(result: Result) -> dict[str, Any]:
    kinds = tables.sparsity_by_kind(result)
    shares = {kind: {n: zeros / weights for n, (zeros, weights) in row.items()} for kind, row in kinds.items()}
    return {
        "sparsity": text.sparsity(result),
        "heat_map": heat_map(shares),
        "cells": text.cells([share for row in shares.values() for share in row.values()]),
        "kinds": tables.kind_rows(result),
    }


def _agreement(result: Result) -> dict[str, Any]:
    votes = [Votes(layer["layer"], layer["histogram"]) for layer in result["agreement"]["layers"]]
    by_cohort: dict[int, list[Votes]] = {}
    for vote in votes:
        by_cohort.setdefault(len(vote.histogram) - 1, []).append(vote)
    histograms = []
    for cohort, same in sorted(by_cohort.items()):
        counts = [sum(column) for column in zip(*(vote.histogram for vote in same), strict=True)]
        summed = "with contributions of" if result["secagg"] else "pruned by"
        title = f"{plural(len(same), 'layer')} {summed} {plural(cohort, 'silo')}"
        histograms.append((title, keep_count_chart(counts)))
    return {
        "histograms": histograms,
        "agreement": text.agreement(result),
        "agreement_chart": agreement_chart(votes),
        "exposure": text.exposure(result),
        "layers": tables.layer_rows(result, votes),
        "claims": claims.claims(result),
        "no_claims": claims.no_claims(result),
        "secure": secure.section(result),
        "privacy": privacy.section(result),
        "secure_claims": claims.secure_claims(result),
        "secure_no_claims": claims.secure_no_claims(result),
    }


def _particulars(result: Result) -> dict[str, Any]:
    seconds = result["seconds"]
    phases = [Bar(_PHASES.get(phase, phase), seconds[phase]) for phase in sorted(seconds, key=_phase_order)]
    return {
        "rounds": tables.rounds(result),
        "silos": tables.silo_rows(result),
        "tests": tables.test_rows(result),
        "sent": _sent(result),
        "duration_panel": duration_panel(phases),
        "total_time": duration(sum(seconds.values())),
        "memory": size(result["peak_rss_bytes"]),
        "settings": tables.setting_rows(result),
        "versions": result["versions"],
        "digests": tables.digest_rows(result),
    }


def _sent(result: Result) -> dict[str, Any]:
    """What the figures about bytes are."""
    votes, sum_bits = (
        result["settings"]["strategy"] == "votes",
        result["settings"].get("secure", {}).get("sum_bits", 32),
    )
    payload = "a small count per weight" if votes else f"a small count and a {sum_bits}-bit sum per weight"
    columns = ["Silo", "Tokens of text", "Layers pruned", "Own sparsity", "Payload, bytes", "That is"]
    if not result["secagg"]:
        return {
            "title": "What each silo would send",
            "meaning": f"Payload over all rounds, with the field widths that secure aggregation needs: {payload} of "
            "its layers. Texts are not sent.",
            "columns": columns,
        }
    return {
        "title": "What each silo sent",
        "meaning": f"Payload over all rounds: {payload} of its layers. All packages: what the silo really sent, with "
        "keys, shares and signatures. Texts are not sent.",
        "columns": [*columns, "All packages, bytes"],
    }


def _phase_order(phase: str) -> tuple[int, str]:
    known = list(_PHASES)
    return (known.index(phase) if phase in known else len(known), phase)
