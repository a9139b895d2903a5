"""What a report claims, what it does not claim, and what a reader should be warned about."""

from fedspallm_secure.app.reporting.numbers import count, listed, percent, plural
from fedspallm_secure.app.reporting.text import Result


def claims(result: Result) -> list[str]:
    """What the figures stand for."""
    found = result["sparsity"]
    scored = sum(result["tokens"]["scored"].values())
    return [
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
        (
            "No privacy.",
            "This run used plain aggregation in one process. Every silo's text, keep-masks and weights lay on one "
            "machine, and nothing was hidden from the server. No encryption, no secure aggregation and no differential "
            "privacy was in effect. A pruned model can itself carry traces of the text it was pruned with.",
        ),
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
        (
            "No measured traffic.",
            "The bytes each silo would send are computed from the sizes of the layers. Nothing crossed a network.",
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
