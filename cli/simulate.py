"""`fedprune simulate`: the main job, all parties on one machine."""

from pathlib import Path
from typing import Any

import click
from fedprune_cli import console
from fedprune_cli.parameters import (
    compute_options,
    field_option,
    json_option,
    model_option,
    named,
    own_sparsities,
    schedule,
    size,
    texts,
    whole,
)
from fedprune_cli.summary import print_result


@click.command(
    epilog="""\b
Example, three silos and 50 %:
  fedprune simulate --model models/llama \\
      --silo north=north.jsonl --silo south=south.jsonl --silo west=west.txt \\
      --test north=north-held-out.jsonl --test south=south-held-out.jsonl \\
      --sparsity 0.5 --pruner sparsegpt --out pruned
"""
)
@model_option
@click.option("--silo", "silos", multiple=True, metavar="NAME=FILE", help="A silo and its private text; once per silo.")
@click.option("--test", "tests", multiple=True, metavar="NAME=FILE", help="A held-out text; once per domain.")
@click.option("--sparsity", metavar="S", help="Share of weights to drop, 0 <= S < 1, read exactly.")
@click.option("--pattern", metavar="N:M", help="Instead: keep N of every M weights, for example 2:4.")
@click.option(
    "--pruner", type=click.Choice(["sparsegpt", "wanda", "magnitude"]), default="sparsegpt", show_default=True
)
@click.option(
    "--strategy",
    type=click.Choice(["fedspallm", "votes"]),
    default="fedspallm",
    show_default=True,
    help="What silos send: keep counts and kept sums, or keep counts alone.",
)
@click.option(
    "--group",
    type=click.Choice(["matrix", "row"]),
    default="matrix",
    show_default=True,
    help="Within what the server compares weights when it expands the keep-mask.",
)
@click.option(
    "--budget",
    "budgets",
    multiple=True,
    metavar="NAME=K",
    help="Layers a silo prunes per round; default all.",
)
@click.option("--silo-sparsity", "own", multiple=True, metavar="NAME=S", help="A silo that prunes to its own sparsity.")
@click.option("--min-cohort", default=3, show_default=True, help="Fewest silos per layer.")
@click.option("--spread", is_flag=True, help="Take as many rounds as the budgets need to cover all layers.")
@click.option("--rounds", type=int, metavar="T", help="Prune in T passes with growing sparsity.")
@click.option("--schedule", "steps", metavar="S1,S2,...", help="The sparsity after each pass.")
@click.option("--samples", default=32, show_default=True, help="Calibration windows per silo.")
@click.option("--seqlen", type=int, help="Tokens per window.  [default: min(2048, the model's limit)]")
@click.option("--test-tokens", default=16384, show_default=True, help="At most so many tokens of each test are scored.")
@click.option("--damping", default="0.01", show_default=True, help="SparseGPT: share of the mean Hessian diagonal.")
@click.option("--seed", default=0, show_default=True, help="Decides windows and assignment.")
@click.option(
    "--compare",
    default="standalone,centralised,random",
    show_default=True,
    help="What to measure beside the dense and the federated model; '' for nothing.",
)
@field_option
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for model, result and report.")
@compute_options
@json_option
def simulate(as_json: bool, **options: Any) -> None:
    """Prune a model with several silos on this machine and measure the result.

    Each silo prunes the layers assigned to it with its own text; the server averages what was kept, expands the
    keep-masks to the exact target sparsity, and writes a pruned model.  Perplexity is measured on every --test text, by
    the same code, for the dense, standalone, centralised, random and federated model.

    A run that was interrupted continues when the same command is given again.
    """
    settings = _settings(options)
    from fedspallm_secure.app.runner import simulate as run

    with console.progress() as progress:
        result = run(settings, progress)
    if as_json:
        console.print_json(result)
    else:
        print_result(result)


def _settings(options: dict[str, Any]) -> Any:
    """Turn options into settings; every mistake in them ends here, before torch is loaded."""
    target = schedule(options["sparsity"], options["pattern"], options["rounds"], options["steps"])
    silos = texts(options["silos"], "--silo", options["field"])
    tests = texts(options["tests"], "--test", options["field"])
    budgets = {name: whole(text, "--budget") for name, text in named(options["budgets"], "--budget").items()}
    own = own_sparsities(options["own"], target[-1])
    budget = size(options["activation_budget"])
    from fedspallm_secure.app.settings import SimulationSettings, parse_damping
    from fedspallm_secure.app.walking.workshop import ComputeSettings
    from fedspallm_secure.pruning.aggregation import Group, Strategy
    from fedspallm_secure.pruning.pruners import Pruner

    return SimulationSettings(
        model=options["model"],
        silos=silos,
        tests=tests,
        schedule=target,
        out=options["out"],
        pruner=Pruner(options["pruner"]),
        strategy=Strategy(options["strategy"]),
        group=Group(options["group"]),
        budgets=budgets,
        silo_patterns=own,
        min_cohort=options["min_cohort"],
        spread=options["spread"],
        samples=options["samples"],
        seqlen=options["seqlen"],
        test_tokens=options["test_tokens"],
        seed=options["seed"],
        damping=parse_damping(options["damping"]),
        compare=tuple(part for part in options["compare"].split(",") if part),
        compute=ComputeSettings(options["device"], options["dtype"], budget, options["blocks"]),
    )
