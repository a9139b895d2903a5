"""A finished simulation as plain data: the JSON of `fedprune simulate`, and what the report is drawn from."""

from collections.abc import Mapping, Sequence
from typing import Any

from fedspallm_secure.app.evaluation import Perplexities
from fedspallm_secure.app.server import LayerFigures
from fedspallm_secure.app.walking.skeleton import Block
from fedspallm_secure.protocol.plan import RoundPlan
from fedspallm_secure.protocol.wire import contribution_bytes
from fedspallm_secure.pruning.aggregation import Strategy
from fedspallm_secure.pruning.patterns import Pattern


def standalone_mean(each: Mapping[str, Perplexities]) -> dict[str, float]:
    """Arithmetic mean over silos of each perplexity, and of their geometric means; with the spread of the latter."""
    parts = [found.to_dict() for found in each.values()]
    mean = {key: sum(part[key] for part in parts) / len(parts) for key in parts[0]}
    means = [part["mean"] for part in parts]
    return {**mean, "least": min(means), "most": max(means)}


def sparsity_figures(target: Pattern, figures: Sequence[LayerFigures]) -> dict[str, Any]:
    """Target, achieved over all matrices, and per matrix by checkpoint name."""
    per_matrix = {
        name: {
            "layer": layer.layer,
            "size": layer.sizes[name],
            "dropped": layer.dropped[name],
            "achieved": layer.dropped[name] / layer.sizes[name],
        }
        for layer in figures
        for name in layer.sizes
    }
    dropped = sum(layer.dropped[name] for layer in figures for name in layer.dropped)
    size = sum(layer.sizes[name] for layer in figures for name in layer.sizes)
    return {
        "target": float(target.sparsity),
        "pattern": str(target),
        "achieved": dropped / size,
        "dropped": dropped,
        "size": size,
        "per_matrix": per_matrix,
    }


def agreement_figures(figures: Sequence[LayerFigures]) -> dict[str, Any]:
    """How far the cohorts agreed: shares of unanimous and of single-member positions, overall and per layer."""
    layers: list[dict[str, Any]] = [
        {
            "layer": layer.layer,
            "members": layer.members,
            "histogram": [sum(counts) for counts in zip(*layer.histograms.values(), strict=True)],
            "restored": layer.restored,
        }
        for layer in figures
    ]
    total = sum(sum(layer["histogram"]) for layer in layers)
    unanimous = sum(layer["histogram"][0] + layer["histogram"][-1] for layer in layers)
    single = sum(layer["histogram"][1] for layer in layers)
    return {
        "unanimous": unanimous / total,
        "single": single / total,
        "restored": sum(layer["restored"] for layer in layers),
        "layers": layers,
    }


def bytes_per_silo(
    plans: Sequence[RoundPlan], blocks: Sequence[Block], strategy: Strategy, sum_bits: int = 32
) -> dict[str, int]:
    """Payload bytes each silo sends over all rounds."""
    sent: dict[str, int] = {member: 0 for plan in plans for member in plan.assignment}
    for plan in plans:
        for layer, cohort in plan.cohorts.items():
            weights = sum(linear.size for linear in blocks[layer].linears)
            for member in cohort:
                sent[member] += contribution_bytes(weights, len(cohort), strategy, sum_bits)
    return sent


def plan_figures(plans: Sequence[RoundPlan]) -> list[dict[str, Any]]:
    """Per round its target and, per layer, its members."""
    return [
        {
            "round": plan.number,
            "target": str(plan.target),
            "layers": {str(layer): members for layer, members in plan.cohorts.items()},
        }
        for plan in plans
    ]
