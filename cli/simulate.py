"""`fedprune simulate`: the main job, all parties on one machine."""

from pathlib import Path
from typing import Any

import click
from fedprune_cli import console
from fedprune_cli.grouped import grouped
from fedprune_cli.parameters import (
    compute_options,
    field_option,
    json_option,
    named,
    own_sparsities,
    schedule,
    size,
    texts,
    whole,
)
from fedprune_cli.summary import print_result, print_round

from fedspallm_secure.errors import UsageError

_GROUPS = {
    "Model and texts": ("model", "silos", "tests", "field", "out"),
    "Pruning": ("sparsity", "pattern", "rounds", "steps", "pruner", "damping", "samples", "seqlen"),
    "Silos and server": ("budgets", "spread", "min_cohort", "own", "strategy", "group", "seed"),
    "Differential privacy": ("dp_epsilon", "dp_delta", "dp_clip"),
    "Secure aggregation": ("aggregation", "profile", "collude", "drops", "sum_bits"),
    "Measuring": ("compare", "test_tokens"),
    "This machine": ("device", "dtype", "activation_budget", "blocks"),
    "Instead, the protocol alone": ("members", "vector"),
}
_SECURE_ONLY = {"profile": "profile", "drop": "drops", "collude": "collude", "sum-bits": "sum_bits"}


@click.command(
    cls=grouped(_GROUPS),
    epilog="""\b
Example, three silos and 50 %:
  fedprune simulate --model models/llama \\
      --silo north=north.jsonl --silo south=south.jsonl --silo west=west.txt \\
      --test north=north-held-out.jsonl --test south=south-held-out.jsonl \\
      --sparsity 0.5 --pruner sparsegpt --out pruned
\b
The same with secure aggregation: add
      --aggregation secagg
\b
Or with homomorphic encryption and a key holder:
      --aggregation he
\b
With record-level differential privacy of every silo's choices, under every aggregation: add
      --pruner wanda --dp-epsilon 8
\b
What the protocol costs a hundred members, without any model:
  fedprune simulate --members 100 --vector 10000 --strategy votes
""",
)
@click.option("--model", type=click.Path(path_type=Path), help="Folder with config.json and *.safetensors.")
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
    help="What to measure beside the dense and the federated model; '' for nothing.  With --dp-epsilon also noiseless.",
)
@click.option(
    "--aggregation",
    type=click.Choice(["plain", "secagg", "he"]),
    default="plain",
    show_default=True,
    help="How the server comes by the sums: from open contributions, or by the real protocol from masked vectors "
    "(secagg) or encrypted ones (he).",
)
@click.option(
    "--profile",
    type=click.Choice(["three-trip", "two-trip", "two-trip-witnessed"]),
    help="How silos make sure that all answer for one list of survivors.  [default: three-trip]",
)
@click.option(
    "--drop",
    "drops",
    multiple=True,
    metavar="STAGE:NAME",
    help="A silo that falls silent in every round from STAGE on: contribution, endorsement or unmask; once per silo.",
)
@click.option(
    "--collude",
    type=int,
    metavar="K",
    help="How many silos may work with the server.  [default: (n - 1) / 3 for the smallest cohort n, rounded down]",
)
@click.option("--sum-bits", type=click.Choice(["32", "16"]), help="Bits of a kept sum.  [default: 32]")
@click.option(
    "--dp-epsilon",
    type=float,
    metavar="E",
    help="Add noise to what each silo learns from its text; E is its privacy budget for the whole run.  Needs wanda.",
)
@click.option("--dp-delta", type=float, metavar="D", help="The delta of this budget.  [default: 1e-6]")
@click.option(
    "--dp-clip",
    type=float,
    metavar="C",
    help="The most that one calibration window may count, in units of one of random tokens.  [default: 1]",
)
@click.option("--members", type=int, metavar="N", help="No model: one secure round of N members with made-up vectors.")
@click.option("--vector", type=int, metavar="N", help="Weights of each of these vectors.")
@field_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder for model, result and report.")
@compute_options
@json_option
def simulate(as_json: bool, **options: Any) -> None:
    """Prune a model with several silos on this machine and measure the result.

    Each silo prunes the layers assigned to it with its own text; the server averages what was kept, expands the
    keep-masks to the exact target sparsity, and writes a pruned model.  Perplexity is measured on every --test text, by
    the same code, for the dense, standalone, centralised, random and federated model.

    With --aggregation secagg the server gets the sums from the real protocol, with real keys and packages, and the
    result says how exact they were and what they give away.

    With --dp-epsilon each silo clips the influence of every calibration window and adds noise before it chooses.  Noise
    comes from no seed, so two such runs differ.  It is for Wanda; what is promised stands in the report.

    A run that was interrupted continues when the same command is given again.
    """
    if options["members"] is not None or options["vector"] is not None:
        _measure(options, as_json)
        return
    settings = _settings(options)
    from fedspallm_secure.app.runner import simulate as run

    with console.progress() as progress:
        result = run(settings, progress)
    if as_json:
        console.print_json(result)
    else:
        print_result(result)


def _measure(options: dict[str, Any], as_json: bool) -> None:
    """One secure round without a model."""
    if options["members"] is None or options["vector"] is None:
        raise UsageError("--members and --vector go together")
    if _privacy(options) is not None:
        raise UsageError("--members makes its own vectors, which nobody's text is in: leave --dp-epsilon away")
    if options["model"] is not None or options["silos"] or options["out"] is not None:
        raise UsageError("--members makes its own vectors: leave --model, --silo and --out away")
    from fedspallm_secure.app.rounds.scale import ScaleSettings, measure_round
    from fedspallm_secure.pruning.strategies import Strategy

    strategy, secure = Strategy(options["strategy"]), _secure(options)
    settings = ScaleSettings(options["members"], options["vector"], strategy, secure, options["seed"])
    with console.progress() as progress:
        result = measure_round(settings, progress)
    if as_json:
        console.print_json(result)
    else:
        print_round(result)


def _secure(options: dict[str, Any]) -> Any:
    from fedspallm_secure.app.rounds.settings import SecureSettings, parse_drops
    from fedspallm_secure.secagg.thresholds import Profile

    drops = parse_drops(options["drops"])
    encrypts = options["aggregation"] == "he"
    if encrypts and options["profile"]:
        raise UsageError("--profile goes with --aggregation secagg", hint="with he there is one trip, and no choice")
    profile = Profile.ONE_TRIP if encrypts else Profile(options["profile"] or Profile.THREE_TRIP)
    return SecureSettings(profile, options["collude"], int(options["sum_bits"] or 32), drops)


def _privacy(options: dict[str, Any]) -> Any:
    from fedspallm_secure.app.privacy.settings import PrivacySettings

    terms = {name: options[f"dp_{name}"] for name in ("epsilon", "delta", "clip") if options[f"dp_{name}"] is not None}
    if terms and "epsilon" not in terms:
        raise UsageError("--dp-delta and --dp-clip without --dp-epsilon", hint="add --dp-epsilon, for example 8")
    return PrivacySettings(**terms) if terms else None


def _settings(options: dict[str, Any]) -> Any:
    """Turn options into settings; every mistake in them ends here, before torch is loaded."""
    if options["model"] is None or options["out"] is None:
        raise UsageError("--model and --out are needed", hint="or --members and --vector for a round without a model")
    given = [f"--{name}" for name, key in _SECURE_ONLY.items() if options[key] not in (None, ())]
    if options["aggregation"] == "plain" and given:
        raise UsageError(f"{' and '.join(given)} without --aggregation secagg", hint="add --aggregation secagg")
    target = schedule(options["sparsity"], options["pattern"], options["rounds"], options["steps"])
    silos = texts(options["silos"], "--silo", options["field"])
    tests = texts(options["tests"], "--test", options["field"])
    budgets = {name: whole(text, "--budget") for name, text in named(options["budgets"], "--budget").items()}
    own = own_sparsities(options["own"], target[-1])
    budget = size(options["activation_budget"])
    secure = None if options["aggregation"] == "plain" else _secure(options)
    from fedspallm_secure.app.settings import SimulationSettings, parse_damping
    from fedspallm_secure.app.walking.workshop import ComputeSettings
    from fedspallm_secure.pruning.pruners import Pruner
    from fedspallm_secure.pruning.strategies import Group, Strategy

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
        secure=secure,
        privacy=_privacy(options),
        compute=ComputeSettings(options["device"], options["dtype"], budget, options["blocks"]),
    )
