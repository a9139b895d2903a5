"""The section about secure aggregation: who was in the sums, what they told whom, how exact they were, what they cost.

Drawn from `secagg` in the result, one entry for each round.  Pure; there is nothing to draw after plain aggregation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from markupsafe import Markup

from fedspallm_secure.app.reporting import encrypted, messages, processes
from fedspallm_secure.app.reporting.charts import Bar, duration_panel, share_panel
from fedspallm_secure.app.reporting.numbers import SPACE, count, duration, listed, percent, plural, runs
from fedspallm_secure.app.reporting.text import Result

PROFILES = {
    "three-trip": "silos signed the list of those in the sum, and answered only for a list that enough had signed",
    "two-trip": "nobody compared the lists of those in the sum, so the thresholds are higher instead",
    "two-trip-witnessed": "a witness signed the list of those in the sum, and silos answered for no other",
    "one-trip": "silos encrypted what they sent, and a key holder decrypted the sums, and nothing else",
}
STAGES = {
    "plan": "plans are checked",
    "contribution": "silos seal",
    "intake": "server takes in",
    "survivors": "list is made",
    "endorsement": "silos check the list",
    "witness": "witness signs",
    "request": "silos are asked",
    "unmask": "silos answer",
    "sum": "server adds up",
    "result": "result goes out",
    "collecting": "silos prune and send",
    "endorsing": "silos sign the list",
    "unmasking": "the sums are opened",
}


def section(result: Result) -> dict[str, Any]:
    """Everything the template shows; empty after plain aggregation."""
    rounds = result["secagg"]
    if not rounds:
        return {}
    return {
        "terms": terms(result),
        "groups": [row for number in range(len(rounds)) for row in _group_rows(result, number)],
        "silent": silent(result),
        "knowledge": knowledge(result),
        "exactness": exactness(rounds),
        "leakage": leakage(rounds),
        "leakage_rows": [_leakage_row(found) for found in rounds],
        "leakage_panels": [(f"Round {found['round']}", _leakage_panel(found["leakage"])) for found in rounds],
        "messages": messages.message_rows(rounds),
        "place": processes.place(result),
        "ways": processes.way_rows(result),
        "stages_note": processes.stages_note(result),
        "stages": duration_panel([Bar(STAGES.get(k, k), v) for k, v in seconds(rounds).items()], "Seconds by stage"),
        "stages_total": duration(sum(seconds(rounds).values())),
    }


def terms(result: Result) -> list[str]:
    """What was agreed on, and what it is good for."""
    first = result["secagg"][0]
    groups = [group for found in result["secagg"] for group in found["groups"]]
    told = [
        "The server got the sums of this run from the real protocol, with real keys, signatures and sealed packages. "
        f"Profile {first['profile']}: {PROFILES[first['profile']]}."
    ]
    colluders = plural(first["colluders"], "silo") if first["colluders"] else "no silo"
    upto = "up to " if first["colluders"] else ""
    told.append(f"The thresholds assume that {upto}{colluders} may work with the server. {_mixed(result)}")
    if encrypted.is_encrypted(result):
        told.append("All of it rests on the key holder not working with the server.")
    if not encrypted.is_encrypted(result) and any(group["degree"] < group["cohort"] - 1 for group in groups):
        told.append("Cohorts are large, so each silo shares keys with some others only, drawn by a witness.")
    return told


def fewest_honest(result: Result) -> int:
    """The fewest honest silos that are mixed in a sum, if as many others as assumed work with the server."""
    colluders = result["secagg"][0]["colluders"]
    groups = [group for found in result["secagg"] for group in found["groups"]]
    connected: list[int] = []
    if not encrypted.is_encrypted(result):
        connected = [g["degree"] + 2 - g["shares"] for g in groups if g["degree"] < g["cohort"] - 1]
    mixed: list[int] = [len(group["survivors"]) - colluders for group in groups]
    return min(mixed + connected)


def _mixed(result: Result) -> str:
    first, least = result["secagg"][0], fewest_honest(result)
    without = "With its part taken out, every" if first["colluders"] == 1 else "With their parts taken out, every"
    told = f"{without if first['colluders'] else 'Every'} sum mixes at least {least} honest silos."
    if first["profile"] == "two-trip" and least > 3:
        told += " A server that shows silos different lists could open sums over fewer, but over no fewer than 3."
    return told


def _group_rows(result: Result, number: int) -> list[list[str]]:
    """Round, layers, silos in the sum, needed, shares that open a secret, who is missing; equal layers in one row."""
    found = result["secagg"][number]
    cohorts = {plan["round"]: plan["layers"] for plan in result["cohorts"]}[found["round"]]
    alike: dict[tuple[str, ...], list[int]] = {}
    for group in found["groups"]:
        missing = [silo for silo in cohorts[str(group["layer"])] if silo not in group["survivors"]]
        row = (
            f"{len(group['survivors'])} of {group['cohort']}",
            str(group["survivors_needed"]),
            str(group["shares"]),
            ", ".join(missing) or "nobody",
        )
        alike.setdefault(row, []).append(group["layer"])
    return [[str(found["round"]), runs(layers), *row] for row, layers in alike.items()]


def silent(result: Result) -> list[str]:
    """Who fell silent after contributing, and who was put to blame."""
    quiet: dict[tuple[str, ...], list[int]] = {}
    told = []
    for found in result["secagg"]:
        there = {silo for group in found["groups"] for silo in group["survivors"]}
        silos = () if encrypted.is_encrypted(result) else tuple(sorted(there.difference(found["answered"])))
        if silos:
            quiet.setdefault(silos, []).append(found["round"])
        for one in found["blamed"]:
            where = "" if one["layer"] == "*" else f", layer {one['layer']}"
            told.append(
                f"{one['silo']} sent what did not pass check {one['check']} in {_in_rounds([found['round']])}{where}."
            )
    return [
        f"{listed(list(silos))} fell silent after contributing in {_in_rounds(rounds)}; the sums hold what "
        f"{'it' if len(silos) == 1 else 'they'} sent, since enough others answered."
        for silos, rounds in quiet.items()
    ] + told


def _in_rounds(rounds: list[int]) -> str:
    return f"round {rounds[0]}" if len(rounds) == 1 else f"rounds {runs(rounds)}"


def _another_silo() -> list[str]:
    return [
        "Another silo",
        "The plan, who is in the sums, the pruned model if it is published, and shares of others' secrets, which "
        "open nothing while fewer than the threshold come together.",
        "Any other silo's contribution. In this run also the counts and sums: only the server was told.",
    ]


def knowledge(result: Result) -> list[list[str]]:
    """Who learned what in this run, and what not.  Party, learned, did not learn."""
    votes = result["settings"]["strategy"] == "votes"
    sums = "keep counts" if votes else "keep counts and the kept sums"
    witnessed = any(one in found["wire"]["by_type"] for found in result["secagg"] for one in ("beacon", "endorsement"))
    witness = witnessed and any("witness" in found["seconds"] for found in result["secagg"])
    absent = "" if witness else " None took part in this run."
    return [
        [
            "Server",
            f"Who took part, when, and how much each sent. For each layer the {sums} over all silos in the sum.",
            "What any one silo kept or changed, but for what the counts themselves tell (below).",
        ],
        *(encrypted.knowledge(result, sums) if encrypted.is_encrypted(result) else [_another_silo()]),
        [
            "Witness",
            f"Who is in the sums, when, and digests of what was sent.{absent}",
            "Contributions, counts and sums.",
        ],
        [
            "Auditor with the server's files",
            "The same as the server. None took part in this run.",
            "The same as the server.",
        ],
        [
            "Courier or network",
            "From whom to whom, when, and how much.",
            "What is in the packages.",
        ],
    ]


@dataclass(frozen=True, slots=True)
class Exact:
    """Exactness over all rounds.  bits: of a kept sum, 0 under `votes`; differ: share of the means, as bf16."""

    weights: int
    bits: int
    worst: float
    differ: float
    clipped: int

    @classmethod
    def of(cls, rounds: Sequence[Mapping[str, Any]]) -> Self:
        """Over these rounds."""
        each = [found["exactness"] for found in rounds]
        kept = sum(found["kept"] for found in each)
        return cls(
            weights=sum(found["weights"] for found in each),
            bits=max(group["sum_bits"] for found in rounds for group in found["groups"]),
            worst=max(found["worst_steps"] for found in each),
            differ=sum(found["bf16_differs"] * found["kept"] for found in each) / max(kept, 1),
            clipped=sum(found["clipped"] for found in rounds),
        )


def exactness(rounds: Sequence[Mapping[str, Any]]) -> list[str]:
    """How the sums compare with adding the same contributions in the open."""
    found = Exact.of(rounds)
    where = " of all rounds" if len(rounds) > 1 else ""
    told = [f"Every keep count is the plain one, on all {count(found.weights)} weights{where}."]
    if not found.bits:
        return [*told, "No sums of weights were sent."]
    by = "to nearest" if found.bits == 32 else "up or down by chance"
    differ = percent(found.differ, 2) + " of the means" if found.differ else "No mean"
    return [
        *told,
        f"Kept sums travel in fixed point, in words of {found.bits} bits, rounded {by}. Every mean lies within "
        f"{found.worst:.3f} quantisation steps of the plain mean.",
        f"{differ} would be another number in a bf16 checkpoint.",
        f"{count(found.clipped) if found.clipped else 'No'} values were too large for their words and were clipped.",
        *processes.recomputed(rounds),
    ]


def leakage(rounds: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the counts themselves tell, in words."""
    last = rounds[-1]["leakage"]
    counts, model = percent(last["count_accuracy"]), percent(last["guess_accuracy"])
    return [
        "Whoever sees the counts knows every silo's choice where all agree, and can guess the rest by majority. Most "
        "of that anybody can guess from the public model, whose largest weights tend to stay. The difference is what "
        "the counts tell beyond it.",
        f"On average over silos and weights, {counts} of the choices are guessed right from the counts and {model} "
        f"from the public model: {_points(last)} percentage points more"
        + (", in the last round." if len(rounds) > 1 else "."),
    ]


def _leakage_row(found: Mapping[str, Any]) -> list[str]:
    leak = found["leakage"]
    shares = ("unanimous", "single", "guess_accuracy", "count_accuracy")
    return [str(found["round"]), *(percent(leak[key]) for key in shares), f"{_points(leak)}{SPACE}points"]


def _points(leak: Mapping[str, float]) -> str:
    """The excess in percentage points: the difference of the accuracies as shown, so that a reader finds it."""
    return f"{round(100 * leak['count_accuracy'], 1) - round(100 * leak['guess_accuracy'], 1):.1f}"


def _leakage_panel(leak: Mapping[str, float]) -> Markup:
    return share_panel(
        [
            Bar("all silos agree", leak["unanimous"]),
            Bar("one silo kept it", leak["single"]),
            Bar("guessed: model", leak["guess_accuracy"], "dense"),
            Bar("guessed: counts", leak["count_accuracy"], "federated", f"+{_points(leak)}"),
        ],
        "What the counts tell",
    )


def seconds(rounds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Stage -> seconds over all rounds, in the order of a round."""
    total: dict[str, float] = {}
    for found in rounds:
        for stage, taken in found["seconds"].items():
            total[stage] = total.get(stage, 0.0) + taken
    known = [stage for stage in STAGES if stage in total]
    return {stage: total[stage] for stage in [*known, *(stage for stage in total if stage not in STAGES)]}


def sent_by_silo(result: Result) -> dict[str, int]:
    """Silo -> bytes of all packages that it sent; empty after plain aggregation."""
    sent: dict[str, int] = {}
    for found in result["secagg"]:
        for silo, octets in found["wire"]["sent_by_silo"].items():
            sent[silo] = sent.get(silo, 0) + octets
    return sent
