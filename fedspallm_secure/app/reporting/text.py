"""The sentences of a report, computed from the result so that they stay true whatever came out.

Every figure in them is formatted by `numbers`, as in the tables, so that a reader finds it again there.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from fedspallm_secure.app.reporting.numbers import change, count, listed, percent, perplexity, plural

Result = Mapping[str, Any]

# Local pruners that leave the weights they keep untouched.  Of any other, the report says that kept sums reveal more.
UNCHANGING_PRUNERS = frozenset({"magnitude", "wanda"})

# What is compared with the federated model: key in the result, what doing it is called, and what it would be.
_ALTERNATIVES = {
    "standalone_mean": "pruning alone",
    "centralised": "pooling the data",
    "random": "choosing weights at random",
    "noiseless": "leaving the noise out",
}


def outcome(result: Result) -> str:
    """The whole run in one sentence."""
    silos, rounds = len(result["settings"]["silos"]), len(result["cohorts"])
    who = "1 silo" if silos == 1 else f"{silos} silos together"
    times = f", in {rounds} rounds" if rounds > 1 else ""
    zeros = percent(result["sparsity"]["achieved"])
    told = f"{who} set {zeros} of the weights in a model's layers to zero{_pattern(result)}{times}; {_moved(result)}"
    others = _others(result)
    return f"{told}; {others}." if others else f"{told}."


def _pattern(result: Result) -> str:
    n, colon, m = result["sparsity"]["pattern"].partition(":")
    return f" in the {n}:{m} pattern ({n} of every {m} neighbours stay)" if colon else ""


def _moved(result: Result) -> str:
    before, after = result["dense"]["mean"], result["federated"]["mean"]
    tests = result["settings"]["tests"]
    where = f"on the test text {tests[0]}" if len(tests) == 1 else f"on average over {len(tests)} test texts"
    first, last = perplexity(before), perplexity(after)
    if first == last:
        return f"perplexity stayed at {last} {where}"
    return f"perplexity {'rose' if after > before else 'fell'} from {first} to {last} {where}"


def _others(result: Result) -> str:
    mean = len(result["settings"]["silos"]) > 1
    parts: list[str] = []
    for key, doing in _ALTERNATIVES.items():
        if key in result:
            would = " would have given" if not parts else ""
            average = " on average" if key == "standalone_mean" and mean else ""
            parts.append(f"{doing}{would} {perplexity(result[key]['mean'])}{average}")
    return listed(parts) if parts else ""


def verdict(result: Result) -> str:
    """Whether the federated model did better or worse than each alternative, and by how much."""
    groups: dict[str, list[str]] = {"better than": [], "worse than": [], "as well as": []}
    ours = result["federated"]["mean"]
    for key, doing in _ALTERNATIVES.items():
        if key not in result:
            continue
        theirs = result[key]["mean"]
        if perplexity(ours) == perplexity(theirs):
            groups["as well as"].append(doing)
        else:
            side = "better than" if ours < theirs else "worse than"
            groups[side].append(f"{doing} ({change(theirs, ours)})")
    told = [f"{side} {listed(parts)}" for side, parts in groups.items() if parts]
    if not told:
        return "No other way of pruning was measured in this run, so it cannot say whether another does better."
    by = "By the mean perplexity" if len(result["settings"]["tests"]) > 1 else "By perplexity"
    return f"{by}, the federated model did {'; '.join(told)}."


def pairs(result: Result) -> str:
    """On how many silo and test pairs the shared model beats the silo's own; empty below two pairs."""
    alone, shared, tests = result.get("standalone", {}), result["federated"], result["settings"]["tests"]
    if len(alone) * len(tests) < 2:
        return ""
    better = sum(shared[test] < found[test] for found in alone.values() for test in tests)
    told = (
        f"Counted one by one, the federated model is better than a silo's own model in {count(better)} of "
        f"{plural(len(alone) * len(tests), 'pair')} of silo and test text."
    )
    own = [found[silo] < shared[silo] for silo, found in alone.items() if silo in tests]
    if own:
        told += (
            f" On the test text that carries the silo's own name, pruning alone is better for {sum(own)} of "
            f"{plural(len(own), 'silo')}."
        )
    return told


def notice(result: Result) -> str:
    """What the reader has to know before anything else."""
    if result.get("federation"):
        return (
            "This was a demonstration: a server and its silos were processes of one machine. The server's process got "
            "sums and no single contribution, but whoever ran it held everybody's text and keys."
        )
    if result["secagg"]:
        return (
            "This was a simulation on one machine. The server's part got the sums from real secure aggregation, but "
            "whoever ran it held everybody's text and keys."
        )
    return "This was a simulation in one process. Nothing was hidden from the server."


def definitions(result: Result) -> list[tuple[str, str]]:
    """What each model in the comparison is, in one sentence; only those that were measured."""
    votes = result["settings"]["strategy"] == "votes"
    several = len(result["settings"]["silos"]) > 1
    shown = "; shown are the arithmetic mean over the silos, and the least and the most" if several else ""
    merged = "adds up how many silos keep each weight" if votes else "averages the weights that silos keep"
    told = {
        "dense": ("Dense", "The model as it was given, with nothing removed."),
        "federated": (
            "Federated",
            f"Each silo chooses weights to remove with its own text, the server {merged} and removes those that most "
            "silos removed: the model this run wrote.",
        ),
        "noiseless": (
            "Without noise",
            "The same silos, plans and calibration windows with plain sums, and no noise: what differential privacy "
            "cost.",
        ),
        "standalone": (
            "Standalone",
            f"Each silo prunes all layers to the same target alone, with nothing but its own text{shown}.",
        ),
        "centralised": (
            "Centralised",
            "One party prunes with the calibration text of all silos in one place: a yardstick, since a federation "
            "exists to avoid just that.",
        ),
        "random": (
            "Random",
            "Silos choose the weights to remove at random and the server does the same as before: what chance alone "
            "would give.",
        ),
    }
    return [entry for key, entry in told.items() if key in result]


def sparsity(result: Result) -> list[str]:
    """Target and achieved sparsity, exactly."""
    found, pattern = result["sparsity"], result["settings"]["schedule"][-1]
    target = Fraction(result["settings"]["sparsity"][-1])
    share = Fraction(found["dropped"], found["size"])
    named = f"the {pattern} pattern" if ":" in pattern else pattern
    told = (
        f"The target was {named}. Achieved: {count(found['dropped'])} of {count(found['size'])} weights are zero, "
        f"{percent(found['achieved'], 4)}"
    )
    extra = found["dropped"] - math.ceil(target * found["size"])
    if share == target:
        told += ", which is the target exactly."
    elif extra == 0:
        told += ", which is the target rounded up to a whole weight."
    elif extra > 0:
        told += (
            f". That is {plural(extra, 'weight')} more than the target: every matrix rounds up to whole weights, and "
            "weights dropped in an earlier round stay dropped."
        )
    else:
        told += f". That is {plural(-extra, 'weight')} less than the target."
    scope = "Counted are the weight matrices of the decoder layers. All else, such as embeddings, is as it was."
    return [told, scope]


def cells(shares: list[float]) -> str:
    """How to read the shades of the heat map, whose cells are `shares` in [0, 1]."""
    least, most = min(shares), max(shares)
    if least == most:
        return f"Every cell is {percent(least, 4)}."
    return f"The darker, the more zeros: from {percent(least, 4)} to {percent(most, 4)}."


def agreement(result: Result) -> list[str]:
    """How far the silos agreed."""
    found, silos = result["agreement"], len(result["settings"]["silos"])
    if silos == 1:
        return ["With one silo there is nothing to agree on: every weight was kept by one silo or by none."]
    told = [
        f"At {percent(found['unanimous'])} of the positions the silos were unanimous: all kept the weight or all "
        f"dropped it.{_by_chance(result)} At {percent(found['single'])} exactly one silo kept it."
    ]
    if found["restored"]:
        told.append(
            f"{plural(found['restored'], 'weight')} that no silo kept "
            f"{'stays' if found['restored'] == 1 else 'stay'} with the value from before, because otherwise more than "
            "the target would go."
        )
    if len(result["cohorts"]) > 1:
        told.append(
            "With several rounds, the figures of a layer are those of the last round that pruned it. Weights dropped "
            "in an earlier round count as dropped by all."
        )
    return told


def _by_chance(result: Result) -> str:
    """The unanimous share if silos chose independently; empty where local targets differ or rounds build on others."""
    settings = result["settings"]
    if len(settings["schedule"]) > 1 or settings["silo_sparsity"]:
        return ""
    drop = result["sparsity"]["target"]
    weights = [(len(layer["histogram"]) - 1, sum(layer["histogram"])) for layer in result["agreement"]["layers"]]
    expected = sum(size * (drop**n + (1 - drop) ** n) for n, size in weights) / sum(size for _, size in weights)
    return f" If they chose independently at random, {percent(expected)} would be."


def exposure(result: Result) -> list[str]:
    """What the counts and sums say about single silos to whoever sees them, secure aggregation or not."""
    settings, cohorts = result["settings"], [layer["members"] for layer in result["agreement"]["layers"]]
    if max(cohorts) == 1:
        return [
            "Every layer was pruned by a single silo, so every count and every sum is that silo's own contribution."
        ]
    single = percent(result["agreement"]["single"])
    told = ["Where the silos were unanimous, the keep count tells what each single silo chose."]
    if settings["strategy"] == "votes":
        told.append(f"Where exactly one silo kept a weight ({single}), the count says so. No sums of weights are sent.")
    elif settings["pruner"] in UNCHANGING_PRUNERS:
        told.append(
            f"Where exactly one silo kept a weight ({single}), the kept sum equals that silo's weight. With "
            f"{settings['pruner']} this is the value everybody had before, so it says only that one silo kept it."
        )
    else:
        told.append(
            f"Where exactly one silo kept a weight ({single}), the kept sum equals that silo's own weight, which its "
            "own text has shaped. The sum by itself does not say which silo it was."
        )
    hides = "does" if result["secagg"] else "would"
    told.append(f"Secure aggregation {hides} not change this: it hides who sent what, not the sums themselves.")
    if min(cohorts) == 1:
        told.append("In a layer pruned by a single silo, every count and every sum is that silo's own contribution.")
    elif min(cohorts) == 2:
        told.append("In a layer pruned by two silos, each can subtract its own part and learns that of the other.")
    return told
