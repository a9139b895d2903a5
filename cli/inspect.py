"""`fedprune inspect` and `fedprune evaluate`: look at a model, measure a model."""

from pathlib import Path
from typing import Any

import click
from fedprune_cli import console
from fedprune_cli.parameters import compute_options, field_option, json_option, model_option, size, texts

from fedspallm_secure.errors import UsageError


def _compute(options: dict[str, Any]) -> Any:
    budget = size(options["activation_budget"])
    from fedspallm_secure.app.walking.workshop import ComputeSettings

    return ComputeSettings(options["device"], options["dtype"], budget, options["blocks"])


@click.command(epilog="Example: fedprune inspect --model models/llama --pruner sparsegpt --samples 128")
@model_option
@click.option(
    "--pruner", type=click.Choice(["sparsegpt", "wanda", "magnitude"]), default="sparsegpt", show_default=True
)
@click.option("--samples", type=click.IntRange(1), default=32, show_default=True, help="Calibration windows.")
@click.option("--seqlen", type=int, help="Tokens per window.  [default: min(2048, the model's limit)]")
@compute_options
@json_option
def inspect(model: Path, pruner: str, samples: int, seqlen: int | None, as_json: bool, **options: Any) -> None:
    """Show blocks, matrices and coverage of a model, and estimate memory and time, before anything runs.

    A model that would not be pruned completely is refused here, with the names of what stands in the way.
    """
    compute = _compute(options)
    from fedspallm_secure.app.calibration import check_seqlen
    from fedspallm_secure.app.inspection import inspect_model
    from fedspallm_secure.app.walking.workshop import open_workshop
    from fedspallm_secure.pruning.pruners import Pruner

    workshop = open_workshop(model, compute)
    length = check_seqlen(seqlen, workshop.skeleton.max_length)
    found = inspect_model(workshop, Pruner(pruner), samples, length)
    if as_json:
        console.print_json(found)
    else:
        _print_inspection(found)


def _print_inspection(found: dict[str, Any]) -> None:
    out = console.printer()
    coverage, estimate = found["coverage"], found["estimate"]
    click.echo(f"{found['architecture']}: {found['blocks']} blocks at {found['block_path']}")
    click.echo(
        f"{found['prunable']:,} of {found['parameters']:,} parameters would be pruned: "
        f"{coverage['of_all']:.1%} of all, {coverage['of_blocks']:.1%} of what is in the blocks"
    )
    click.echo(
        f"left alone: {found['left_alone']['in_blocks']:,} in the blocks (norms, biases), "
        f"{found['left_alone']['outside']:,} outside (embeddings, norms, head)\n"
    )
    kinds: dict[tuple[Any, ...], list[int]] = {}
    for layer in found["layers"]:
        shape = tuple(
            (m["name"].split(f".{layer['layer']}.", 1)[-1], *m["shape"], m["shares_input_with"])
            for m in layer["matrices"]
        )
        kinds.setdefault(shape, []).append(layer["layer"])
    for shape, layers in kinds.items():
        rows = [[name, f"{rows:,}", f"{columns:,}", leader] for name, rows, columns, leader in shape]
        title = f"Layers {_ranges(layers)}"
        out.print(console.table(title, ["matrix", "outputs", "inputs", "shares its input with"], rows))
        out.print()
    click.echo(f"Digest: {found['digest']}")
    click.echo(
        f"Estimate for {estimate['pruner']}, {estimate['samples']} windows of {estimate['seqlen']} tokens on "
        f"{found['device']} in {found['dtype']}: about {estimate['seconds']:.0f} s and "
        f"{console.megabytes(estimate['memory_bytes'])} above the interpreter\n"
        f"  resident {console.megabytes(estimate['resident_bytes'])}, one block "
        f"{console.megabytes(estimate['block_bytes'])}, statistics {console.megabytes(estimate['statistics_bytes'])}, "
        f"work in hand {console.megabytes(estimate['working_bytes'])}, hidden states "
        f"{console.megabytes(estimate['activation_bytes'])}, spilled to disk "
        f"{console.megabytes(estimate['spilled_bytes'])}"
    )


def _ranges(numbers: list[int]) -> str:
    """0, 1, 2, 5 as "0-2, 5"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


@click.command(epilog="Example: fedprune evaluate --model pruned/model --data north=north-held-out.jsonl")
@model_option
@click.option("--data", "data", multiple=True, metavar="NAME=FILE", help="A text to score; once per domain.")
@click.option("--seqlen", type=int, help="Tokens per window.  [default: min(2048, the model's limit)]")
@click.option("--test-tokens", type=click.IntRange(2), help="At most so many tokens of each text.  [default: all]")
@field_option
@compute_options
@json_option
def evaluate(
    model: Path,
    data: tuple[str, ...],
    seqlen: int | None,
    test_tokens: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure perplexity on texts, and the sparsity of what is on disk."""
    files = texts(data, "--data", options.pop("field"))
    if not files:
        raise UsageError("no text was given", hint="add --data NAME=FILE, once per domain")
    compute = _compute(options)
    from fedspallm_secure.app.evaluation import evaluate_model
    from fedspallm_secure.app.walking.workshop import open_workshop

    with console.progress() as progress:
        found = evaluate_model(open_workshop(model, compute), files, seqlen, test_tokens, progress)
    if as_json:
        console.print_json(found)
        return
    out = console.printer()
    rows = [
        [name, console.number(ppl), f"{found['tokens'].get(name, 0):,}" if name != "mean" else ""]
        for name, ppl in found["perplexity"].items()
    ]
    out.print(console.table(f"Perplexity of {model}", ["text", "perplexity", "tokens scored"], rows))
    sparsity = found["sparsity"]
    click.echo(
        f"\nSparsity of the prunable matrices: {sparsity['achieved']:.4%} "
        f"({sparsity['least']:.2%} to {sparsity['most']:.2%} per matrix)"
    )
