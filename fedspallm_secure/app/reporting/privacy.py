"""The section about differential privacy: what is promised about one record, to whom it holds, and what it is not.

Drawn from `privacy` in the result; there is nothing to draw where no silo added noise.  Pure.
"""

from typing import Any

from fedspallm_secure.app.privacy.standing import claim
from fedspallm_secure.app.reporting.numbers import change, count, percent, perplexity
from fedspallm_secure.app.reporting.text import Result

COLUMNS = ["Silo", "ε spent", "δ", "Windows", "Clip", "Sigma", "Releases", "Features", "Clipped", "Told by text"]


def section(result: Result) -> dict[str, Any]:
    """Everything the template shows; empty without differential privacy."""
    told = result.get("privacy")
    if not told:
        return {}
    return {
        "terms": terms(result),
        "columns": COLUMNS,
        "rows": [_row(member, found) for member, found in told["members"].items()],
        "claims": claims(result),
        "no_claims": no_claims(result),
    }


def terms(result: Result) -> list[str]:
    """What was done, in a few sentences."""
    told = result["privacy"]
    if not told["reads_text"]:
        return [
            "Magnitude pruning reads no text: keep-masks are a function of the public model, and ε is 0 for every silo."
        ]
    return [
        "Before it chose, each silo measured its inputs on the model as the round found it, window by window, cut the "
        f"vector of each window to a length of {told['clip']:g}, added them up, and added Gaussian noise from the "
        "operating system to every feature. "
        f"Its privacy budget for the whole run was ε = {told['epsilon']:g} at "
        f"δ = {told['delta']:g}.",
        "A record is one calibration window. The unit of the clip is what a window of random tokens gives. Noise "
        "comes from no seed: a run with the same settings gives another model. Told by text: how much of the spread "
        "between features is more than noise; the rest of a silo's estimate is a public guess.",
        "The share of clipped windows and the number of tokens are exact figures about the texts, and so are the "
        "perplexities of standalone and centralised models, and of the federated one without noise, which were pruned "
        "without noise. ε does not cover them.",
        *cost(result),
    ]


def cost(result: Result) -> list[str]:
    """What noise cost in perplexity, in one sentence; nothing where no model without noise was measured."""
    if "noiseless" not in result:
        return []
    ours, theirs = result["federated"]["mean"], result["noiseless"]["mean"]
    told = result["privacy"]
    return [
        f"Noise for ε = {told['epsilon']:g} at δ = {told['delta']:g} cost {change(theirs, ours)} of perplexity: "
        f"{perplexity(ours)}, and {perplexity(theirs)} by the same plans and windows without noise. Another run draws "
        "other noise."
    ]


def claims(result: Result) -> list[str]:
    """The promise, worded so that its conditions stand in it."""
    told = result["privacy"]
    if not told["reads_text"]:
        return ["ε = 0: no calibration text decided any keep-mask."]
    return [
        claim(found["epsilon"], found["delta"], found["releases"], f"{member}'s", member) + "."
        for member, found in told["members"].items()
        if found["releases"]
    ] + [
        "What is computed from the keep-masks and the public model alone, counts, sums and the pruned model among it, "
        "inherits this, whoever aggregates.",
        "Neighbouring are two sets of calibration windows of which one has a window that the other counts as nothing. "
        "Accounting: Rényi, by dp-accounting.",
    ]


def no_claims(result: Result) -> list[tuple[str, str]]:
    """What must not be read into the promise."""
    if not result["privacy"]["reads_text"]:
        return []
    return [
        (
            "For a document or a person.",
            "A record is a window. Who is in k windows has k times the ε, and more δ; one document may lie in several.",
        ),
        ("For a silo as a whole.", "Whether an institution took part, and what all its text has in common, may show."),
        ("About the model as it was given.", "What it learnt before pruning it still knows."),
        ("Against a silo that does something else.", "Nobody else sees whether a silo clips and adds noise."),
        _beyond(result),
        (
            "Against who sees a silo's machine.",
            "There are the text and the sums without noise. Times were not equalised.",
        ),
    ]


def _beyond(result: Result) -> tuple[str, str]:
    if result.get("federation"):
        ledger = "Each silo's ledger lies in its home and goes on; a new home knows nothing of it."
        return "Beyond this federation.", f"The same text in another federation spends again. {ledger}"
    ledger = "The ledger lies in the folder of the run and knows of no other."
    return "Beyond this run.", f"Each run with the same text spends again. {ledger}"


def noise(result: Result) -> str:
    """One sentence for the general list of what is not claimed."""
    told = result.get("privacy")
    if not told:
        return "No differential privacy was in effect."
    return "What differential privacy covers is said below, and nothing else is covered."


def _row(member: str, found: dict[str, Any]) -> list[str]:
    return [
        member,
        f"{found['epsilon']:.3g}",
        f"{found['delta']:g}",
        count(found["records"]),
        f"{found['clip']:g}",
        f"{found['sigma']:.3g}",
        count(found["releases"]),
        count(found["features"]),
        percent(found["clipped_share"]),
        percent(found["weight"]),
    ]
