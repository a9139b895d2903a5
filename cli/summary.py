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
    for found in result["secagg"]:
        out.print()
        out.print(_secure(found))
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


def _secure(found: dict[str, Any]) -> Group:
    """One secure round: who was in its sums, how exact they were, what they give away."""
    exact, leak, groups = found["exactness"], found["leakage"], found["groups"]
    survivors = sorted({len(group["survivors"]) for group in groups})
    honest = min(len(group["survivors"]) for group in groups) - found["colluders"]
    sent = sum(one["bytes"] for one in found["wire"]["by_type"].values())
    rows = [
        ["survivors of a layer", f"{_range(survivors)} of {groups[0]['cohort']}"],
        ["silos that may collude", f"{found['colluders']}, so at least {honest} honest ones are mixed in every sum"],
        ["keep counts", f"equal to plain ones on all {exact['weights']:,} weights"],
        ["bits known to the server", f"{leak['unanimous']:.1%} of the weights, where all silos agree"],
        ["weights kept by one silo", f"{leak['single']:.1%}"],
        [
            "guessing a silo's bit",
            f"{leak['count_accuracy']:.1%} right from the count, {leak['guess_accuracy']:.1%} from the public model",
        ],
        ["on the wire", f"{megabytes(sent)} in all"],
    ]
    if groups[0]["sum_bits"]:
        steps = f"mean within {exact['worst_steps']:.3f} quantisation steps; {exact['bf16_differs']:.3%} differ as bf16"
        rows.insert(3, ["kept sums", f"{steps}; {found['clipped']:,} values clipped"])
    return table(f"Secure aggregation, round {found['round']} ({found['profile']})", ["what", "measured"], rows)


def _range(numbers: list[int]) -> str:
    return f"{numbers[0]}" if numbers[0] == numbers[-1] else f"{numbers[0]} to {numbers[-1]}"


def print_round(found: dict[str, Any]) -> None:
    """Print what a secure round without a model cost."""
    rows = [
        ["survivors", f"{found['survivors']:,} of {found['members']:,}, {found['survivors_needed']:,} needed"],
        ["neighbours of each", f"{found['degree']:,}, of whom {found['shares']:,} open a secret"],
        ["sums", "equal to plain ones, bit for bit"],
        ["a contribution", f"{found['contribution_bytes']:,} bytes, {found['vector_bytes']:,} of them the vector"],
        ["time of a member", f"{found['member_seconds']:.3f} s"],
        ["time of the server", f"{found['server_seconds']:.3f} s"],
        ["memory of all in one process", megabytes(found["peak_rss_bytes"])],
    ]
    title = f"Secure round ({found['profile']}): {found['members']:,} members, {found['weights']:,} weights"
    printer().print(table(title, ["what", "measured"], rows))
