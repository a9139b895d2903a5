"""A simulation's result as tables a person can read."""

from typing import Any

import click
from fedprune_cli.console import megabytes, number, printer, table
from rich.console import Group

_MOST_SILOS = 8  # rows for single silos before only their mean is shown
_MOST_LAYERS = 8  # columns for single layers before only their range is shown


def print_result(result: dict[str, Any]) -> None:
    """Print perplexities, sparsity, agreement, bytes, time, and where the files are."""
    out = printer()
    out.print()
    out.print(_perplexities(result))
    out.print()
    out.print(_sparsity(result["sparsity"]))
    out.print()
    out.print(_bytes(result))
    agreement = result["agreement"]
    seconds = sum(result["seconds"].values())
    out.print()
    click.echo(
        f"Silos agreed on {agreement['unanimous']:.1%} of the weights; {agreement['single']:.1%} were kept by one silo "
        f"alone.\n{seconds:.0f} s in all ({_phases(result)}), {megabytes(result['peak_rss_bytes'])} of memory at most."
    )
    click.echo(f"\nModel:  {result['model']}\nReport: {result['report']}")
    click.echo(
        "The zeros make a dense engine no faster and need no less memory; fedprune export --format compact saves disk."
    )


def _phases(result: dict[str, Any]) -> str:
    return ", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in result["seconds"].items() if seconds >= 0.5)


def _perplexities(result: dict[str, Any]) -> Group:
    tests = [name for name in result["dense"] if name != "mean"]
    rows = [_row("dense", result["dense"], tests)]
    alone = result.get("standalone", {})
    if len(alone) <= _MOST_SILOS:
        rows += [_row(f"{name} alone", found, tests) for name, found in alone.items()]
    if alone:
        rows.append(_row("standalone, mean", result["standalone_mean"], tests))
    rows += [_row(name, result[name], tests) for name in ("centralised", "random") if name in result]
    rows.append(_row("federated", result["federated"], tests))
    return table("Perplexity (lower is better)", ["model", *tests, "mean"], rows, strong={len(rows) - 1})


def _row(name: str, found: dict[str, float], tests: list[str]) -> list[str]:
    return [name, *(number(found[test]) for test in tests), number(found["mean"])]


def _sparsity(sparsity: dict[str, Any]) -> Group:
    """Kinds of matrices down, layers across; a range where there are many layers."""
    kinds: dict[str, dict[int, float]] = {}
    for name, matrix in sparsity["per_matrix"].items():
        kind = name.removesuffix(".weight").split(f".{matrix['layer']}.", 1)[-1]
        kinds.setdefault(kind, {})[matrix["layer"]] = matrix["achieved"]
    title = (
        f"Sparsity: {sparsity['achieved']:.4%} achieved for a target of {sparsity['pattern']}, "
        f"{sparsity['dropped']:,} of {sparsity['size']:,} weights"
    )
    layers = sorted({layer for shares in kinds.values() for layer in shares})
    if len(layers) > _MOST_LAYERS:
        rows = [[kind, f"{min(s.values()):.2%}", f"{max(s.values()):.2%}"] for kind, s in kinds.items()]
        return table(title, ["matrix", "least", "most"], rows)
    rows = [[kind, *(_share(shares.get(layer)) for layer in layers)] for kind, shares in kinds.items()]
    return table(title, ["matrix", *(f"layer {layer}" for layer in layers)], rows)


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"


def _bytes(result: dict[str, Any]) -> Group:
    rounds = result["cohorts"]
    rows = []
    for silo, sent in result["bytes_per_silo"].items():
        layers = sum(silo in members for plan in rounds for members in plan["layers"].values())
        rows.append([silo, f"{layers}", megabytes(sent), f"{result['tokens']['silos'][silo]:,}"])
    strategy = result["settings"]["strategy"]
    return table(f"What each silo would send ({strategy})", ["silo", "layers", "payload", "tokens of text"], rows)
