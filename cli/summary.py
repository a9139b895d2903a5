"""A simulation's result as tables a person can read."""

from textwrap import wrap
from typing import Any

import click
from fedprune_cli.console import megabytes, number, printer, table
from rich.console import Group
from rich.text import Text

from fedspallm_secure.app.reporting.numbers import SPACE, percent
from fedspallm_secure.app.reporting.privacy import cost
from fedspallm_secure.app.reporting.secure import Exact, fewest_honest, sent_by_silo, silent

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
    out.print(
        f"Silos agreed on {agreement['unanimous']:.1%} of the weights; {agreement['single']:.1%} were kept by one silo "
        f"alone.\n{seconds:.0f} s in all ({_phases(result)}), {megabytes(result['peak_rss_bytes'])} of memory at most."
    )
    if result["secagg"]:
        out.print()
        out.print(_secure(result, out.width))
    if result.get("privacy"):
        out.print()
        out.print(_privacy(result["privacy"]))
        for told in cost(result):
            out.print(told.replace("ε", "epsilon").replace("δ", "delta"))
    if result.get("federation"):
        out.print()
        out.print(_federation(result["federation"], out.width))
    click.echo(f"\nModel:  {result['model']}\nReport: {result['report']}")
    out.print(
        "The zeros make a dense engine no faster and need no less memory; fedprune export --format compact saves disk."
    )


def _federation(facts: dict[str, Any], width: int) -> Text:
    """How a round between processes went."""
    moved = sum(one["bytes"] for one in facts["journeys"])
    told = [
        ("killed", f"{facts['silent']}, by SIGKILL, once its contributions had arrived; they are in the sums"),
        (
            "carried by hand",
            f"{facts['carried']}, in {len(facts['journeys'])} journeys with {megabytes(moved)}; others had mutual TLS",
        ),
        (
            "verified",
            f"{', '.join(facts['equal_models'])} checked every layer against the signed result {facts['result'][:16]}, "
            "and have the server's model, bit for bit",
        ),
        (
            "audited",
            f"the {facts['audit']['entries']} entries of the server's signed log pass all steps, with "
            f"{facts['audit']['receipts']} receipts of members; {facts['audit']['page']} says what happened",
        ),
        (
            "the round took",
            f"{facts['seconds']:.0f} s, {facts['cpu_seconds']:.0f} s of them computing, in all processes; the largest "
            f"one used {megabytes(facts['peak_memory'])}",
        ),
        (
            "left to look at",
            f"homes, configuration, work, media and logs in {facts['folder']}; README.txt beside it says what is what",
        ),
    ]
    return _facts("Between processes", told, width)


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
    if "noiseless" in result:
        rows.append(_row("federated, no noise", result["noiseless"], tests))
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
    rounds, packages = result["cohorts"], sent_by_silo(result)
    rows = []
    for silo, payload in result["bytes_per_silo"].items():
        layers = sum(silo in members for plan in rounds for members in plan["layers"].values())
        sent = [megabytes(packages[silo])] if packages else []
        rows.append([silo, f"{layers}", megabytes(payload), *sent, f"{result['tokens']['silos'][silo]:,}"])
    title = f"What each silo {'sent' if packages else 'would send'} ({result['settings']['strategy']})"
    columns = ["silo", "layers", "payload", *(["all packages"] if packages else []), "tokens of text"]
    return table(title, columns, rows)


def _secure(result: dict[str, Any], width: int) -> Text:
    """All secure rounds: who was in the sums, how exact these were, what they give away, what they cost."""
    rounds = result["secagg"]
    exact, leak, first = Exact.of(rounds), rounds[-1]["leakage"], rounds[0]
    groups = [group for found in rounds for group in found["groups"]]
    missing = sorted({group["cohort"] - len(group["survivors"]) for group in groups})
    sent = [one for found in rounds for one in found["wire"]["by_type"].values()]
    protocol = sum(sum(found["seconds"].values()) for found in rounds)
    last = " in the last round" if len(rounds) > 1 else ""
    facts = [
        ("silos in the sums", _all_but(missing)),
        *(("dropouts", told) for told in silent(result)),
        ("colluders assumed", _colluders(result)),
        ("keep counts", f"equal to plain ones on all {exact.weights:,} weights"),
        *([("kept sums", _kept_sums(exact))] if exact.bits else []),
        (
            "what counts tell",
            f"{leak['unanimous']:.1%} of the weights, where all silos agree; {leak['single']:.1%} are kept by one "
            f"alone{last}",
        ),
        (
            "guessing a choice",
            f"{leak['count_accuracy']:.1%} right from the counts, {leak['guess_accuracy']:.1%} from the public "
            f"model{last}",
        ),
        (
            "on the wire",
            f"{megabytes(sum(one['bytes'] for one in sent))} in {sum(one['packages'] for one in sent):,} packages",
        ),
        ("time", f"{protocol:.1f} s, {_of_what(result)}"),
        ("not hidden", "anything from this machine, where all parties lay; see the report for what is claimed"),
    ]
    times = "" if len(rounds) == 1 else f", {len(rounds)} rounds"
    how = "Homomorphic encryption" if first["profile"] == "one-trip" else "Secure aggregation"
    return _facts(f"{how} ({first['profile']}{times})", facts, width)


def _privacy(told: dict[str, Any]) -> Group:
    """What each silo spent of its privacy budget, and what its records came to."""
    if not told["reads_text"]:
        return Group(Text("Differential privacy: epsilon 0, because magnitude pruning reads no text"))
    title = (
        f"Differential privacy of single calibration windows in the keep-masks: at most epsilon {told['epsilon']:g}, "
        f"delta {told['delta']:g} for each silo that clips and adds noise as published"
    )
    rows = [
        [
            silo,
            f"{found['epsilon']:.3g}",
            f"{found['records']:,}",
            f"{found['sigma']:.3g}",
            f"{found['releases']}",
            f"{found['clipped_share']:.1%}",
            f"{found['weight']:.1%}",
        ]
        for silo, found in told["members"].items()
    ]
    return table(title, ["silo", "epsilon", "windows", "sigma", "releases", "clipped", "told by text"], rows)


def _colluders(result: dict[str, Any]) -> str:
    first = result["secagg"][0]
    told = f"{first['colluders']}; every sum mixes at least {fewest_honest(result)} honest silos"
    return f"{told}; not the key holder" if first["profile"] == "one-trip" else told


def _of_what(result: dict[str, Any]) -> str:
    if result.get("federation"):
        return "as it passed: with pruning, waiting and couriers"
    return "of all silos one after the other and the server"


def _kept_sums(exact: Exact) -> str:
    differ = f"{percent(exact.differ, 2).replace(SPACE, '')} differ" if exact.differ else "none differs"
    clipped = f"{exact.clipped:,} values were" if exact.clipped else "no value was"
    return f"means within {exact.worst:.3f} quantisation steps of plain ones; {differ} as bf16; {clipped} clipped"


def _all_but(missing: list[int]) -> str:
    """missing: how many silos of a cohort are in no sum, for each layer, sorted."""
    if not missing[-1]:
        return "all of every cohort"
    return f"all but {missing[-1]} of every cohort" if missing[0] else f"all but {missing[-1]} at most of a cohort"


def _facts(title: str, facts: list[tuple[str, str]], width: int) -> Text:
    """What and how much, as two columns of text; what does not fit `width` goes on in its column."""
    left = max(len(what) for what, _ in facts) + 2
    lines = []
    for what, value in facts:
        first, *more = wrap(value, max(width - left, 20), break_on_hyphens=False)
        lines += [f"{what:{left}}{first}", *(" " * left + line for line in more)]
    return Text.assemble((title, "bold"), "\n", "\n".join(lines))


def _neighbours(found: dict[str, Any]) -> str:
    return f"{found['degree']:,} of each; {found['shares']:,} shares open a secret"


def print_round(found: dict[str, Any]) -> None:
    """Print what a secure round without a model cost."""
    encrypted = found["profile"] == "one-trip"
    facts = [
        ("in the sum", f"{found['survivors']:,} of {found['members']:,} members, {found['survivors_needed']:,} needed"),
        ("colluders assumed", f"{found['colluders']:,}"),
        *([] if encrypted else [("neighbours", _neighbours(found))]),
        ("sums", "equal to plain ones, bit for bit"),
        (
            "a contribution",
            f"{found['contribution_bytes']:,} bytes, {found['vector_bytes']:,} of them the vector",
        ),
        ("time of a member", f"{found['member_seconds']:.3f} s"),
        ("time of the server", f"{found['server_seconds']:.3f} s"),
        ("memory", f"{megabytes(found['peak_rss_bytes'])}, of all parties in one process"),
    ]
    how = "Encrypted round" if encrypted else "Secure round"
    title = f"{how} ({found['profile']}): {found['members']:,} members, {found['weights']:,} weights"
    out = printer()
    out.print(_facts(title, facts, out.width))
