"""What a report claims, what it does not claim, and what a reader should be warned about."""

from typing import Any

from fedspallm_secure.app.reporting import encrypted, privacy, processes
from fedspallm_secure.app.reporting.numbers import count, listed, percent, plural
from fedspallm_secure.app.reporting.text import Result


def claims(result: Result) -> list[str]:
    """What the figures stand for."""
    found = result["sparsity"]
    scored = sum(result["tokens"]["scored"].values())
    return [
        *processes.same_models(result),
        f"{count(found['dropped'])} of {count(found['size'])} weights ({percent(found['achieved'])}) are dropped by "
        "the final keep-masks.",
        "The perplexity of the federated model was measured on the files as they were written.",
        f"All models were measured by the same code on the same {plural(scored, 'predicted token')} of "
        f"{plural(len(result['settings']['tests']), 'test text')}.",
        "The settings, software versions and digests of the input files at the end say what went in.",
    ]


def no_claims(result: Result) -> list[tuple[str, str]]:
    """What must not be read into the figures: a few words, then the reason."""
    return [
        _secrecy(result),
        (
            "No quality beyond these texts.",
            "Perplexity was measured on the test texts named here and on nothing else. It says nothing about other "
            "tasks, facts, safety or fitness for a purpose.",
        ),
        (
            "No statistics.",
            f"This is one run with one seed ({result['seed']}). Small differences may be chance.",
        ),
        ("No smaller or faster model.", _engine(result)),
        _traffic(result),
    ]


def _secrecy(result: Result) -> tuple[str, str]:
    if result.get("federation"):
        return (
            "No secrecy from whoever ran this.",
            "A server and its silos ran as processes of their own, with real keys and the real protocol: the server "
            "got sums and no single contribution. But all their homes, with the password, lay in one folder. Between "
            "institutions each is on a machine of its own. "
            f"{privacy.noise(result)} A pruned model can itself carry traces of the text it was pruned with.",
        )
    if not result["secagg"]:
        return (
            "No privacy.",
            "This run used plain aggregation in one process. Every silo's text, keep-masks and weights lay on one "
            "machine, and nothing was hidden from the server. No encryption and no secure aggregation was in effect. "
            f"{privacy.noise(result)} A pruned model can itself carry traces of the text it was pruned with.",
        )
    return (
        "No secrecy from whoever ran this.",
        "In this simulation all parties lay on one machine: every silo's text, contributions and keys. The protocol "
        "was the real one, but what it promises holds between institutions with machines of their own. "
        f"{privacy.noise(result)} A pruned model can itself carry traces of the text it was pruned with.",
    )


def _traffic(result: Result) -> tuple[str, str]:
    if result.get("federation"):
        return (
            "No real network.",
            "Packages went over mutual TLS on the loopback interface, or through a folder that stands for a medium: "
            "times hold no distance, and no courier's walk. The bytes are those of the real packages.",
        )
    if not result["secagg"]:
        return (
            "No measured traffic.",
            "The bytes each silo would send are computed from the sizes of the layers. Nothing crossed a network.",
        )
    return (
        "No network.",
        "The bytes of secure aggregation are those of real packages, but these were handed over in memory: the times "
        "hold no transfers, and no courier.",
    )


def secure_claims(result: Result) -> list[str]:
    """What secure aggregation promised in this run (SPEC section 18); nothing after plain aggregation."""
    if not result["secagg"]:
        return []
    if encrypted.is_encrypted(result):
        return encrypted.claims(result)
    groups = [group for found in result["secagg"] for group in found["groups"]]
    colluders = result["secagg"][0]["colluders"]
    who = {0: "If no silo works with the server, it learns", 1: "If at most 1 silo works with the server, both learn"}
    many = f"If at most {plural(colluders, 'silo')} work with the server, it and they learn"
    return [
        f"{who.get(colluders, many)} of the other silos' contributions to a layer their sum over those in it, and "
        "nothing else.",
        _condition(groups, colluders, result["secagg"][0]["profile"] == "two-trip"),
        "This holds if the keys of all parties are authentic, honest silos' records are not put back to an earlier "
        "state, and the cryptography is sound: X25519, HKDF-SHA-256, AES-256 in counter mode, HPKE and Ed25519.",
        "docs/SECURITY_ARGUMENT.md argues it. Nobody outside the project has reviewed it.",
    ]


def _condition(groups: list[dict[str, Any]], colluders: int, split: bool) -> str:
    needed, shares = min(g["survivors_needed"] for g in groups), min(g["shares"] for g in groups)
    others = min(
        g["survivors_needed"] - colluders - 1
        if g["degree"] == g["cohort"] - 1
        else min(g["survivors_needed"] - colluders - 1, g["degree"] + 1 - g["shares"])
        for g in groups
    )
    told = f"A sum opens only if at least {plural(needed, 'silo')} are in it and {count(shares)} of its cohort answer"
    if split:
        return f"{told}. A server that shows silos different lists learns sums over at least 3 honest silos."
    return f"{told}; so every honest silo is mixed with at least {plural(others, 'other honest one')}."


def secure_no_claims(result: Result) -> list[tuple[str, str]]:
    """What secure aggregation did not promise, in the order of SPEC section 18; nothing after plain aggregation."""
    if not result["secagg"]:
        return []
    return [
        *(encrypted.no_claims(result) if encrypted.is_encrypted(result) else ()),
        (
            "That the server learns nothing about a silo.",
            "It learns counts. Where no silo kept a weight, or all did, every silo's choice is known, and that is most "
            "weights. What the counts tell beyond the public model is measured above.",
        ),
        (
            "That nothing can be inferred from sums or model.",
            "Whether a text was used can be inferred from sums in some cases, and from published models.",
        ),
        ("That the sums are right.", "A silo can send any vector. Only what leaves the range is noticed."),
        (
            "That a round ends.",
            "A few silent silos stop a layer, and so does one that hides its vector wrongly, without being named. The "
            "server can stop everything, and where there is a key holder it can, too.",
        ),
        *(
            ()
            if encrypted.is_encrypted(result)
            else [
                (
                    "Secrecy from a quantum computer of the future.",
                    "Seeds that two silos share come from X25519 alone. Packages and envelopes are hybrid.",
                )
            ]
        ),
        (
            "That a silo that is told the counts learns no more than the server.",
            "It can take its own vector off. Silos were not told the counts here.",
        ),
        ("Anything about who took part, when, and with how much.", "That is in clear."),
        ("That keys are erased.", "Python cannot promise it. Secrets are dropped as soon as they are not needed."),
        (
            "That sums of different rounds cannot be combined.",
            "Where no honest silo was in all of them, none sees by itself that together they give one away. The log of "
            "a real server shows all.",
        ),
        (
            "That a seed is drawn once.",
            "A server can open one round after another until it likes the seed. Silos see the numbers it skipped.",
        ),
        (
            "Protection from a server that shows each silo another log, where nobody compares them.",
            "Two histories leave a proof as soon as one party sees checkpoints of both; witnesses see to that. There "
            "is no log where all parties lie in one process.",
        ),
        (
            "That a log tells what was not written down, or that sums are those of the vectors.",
            "A log has digests. Recomputing a round from the server's archive shows the latter.",
        ),
    ]


def _engine(result: Result) -> str:
    pattern = result["sparsity"]["pattern"]
    if ":" in pattern:
        return (
            f"The zeros of the {pattern} pattern help only an engine that supports it. The files hold all weights, and "
            "a dense engine needs as much memory and time as before."
        )
    return "Unstructured zeros are stored like any number. A dense engine needs as much memory and time as before."


def warnings(result: Result) -> list[str]:
    """What a reader should know before believing the figures; usually nothing."""
    silos, tests = result["inputs"]["silos"], result["inputs"]["tests"]
    shared = [
        f"test text {test} is the same file as the text of silo {silo}"
        for test, digest in tests.items()
        for silo, other in silos.items()
        if digest == other
    ]
    told = []
    if shared:
        told.append(f"Not held out: {listed(shared)}. Its perplexity is flattering.")
    twins = [
        f"{first} and {second}"
        for place, first in enumerate(silos)
        for second in list(silos)[place + 1 :]
        if silos[first] == silos[second]
    ]
    if twins:
        told.append(f"The same text was given to more than one silo: {listed(twins)}.")
    return told
