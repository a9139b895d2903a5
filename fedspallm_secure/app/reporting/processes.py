"""What a report says about a round between processes: how packages travelled, and who has the same model.

Drawn from `federation` in the result, which a simulation leaves empty, and from `secagg`.  Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fedspallm_secure.app.reporting.numbers import count, listed, plural, size
from fedspallm_secure.app.reporting.text import Result


def same_models(result: Result) -> list[str]:
    """That members have the model of the server; nothing of a simulation."""
    facts = result.get("federation")
    if not facts:
        return []
    return [
        f"The models that {listed(facts['equal_models'])} took home are the server's, bit for bit: each checked the "
        f"layers against the signed result {facts['result'][:16]}."
    ]


def place(result: Result) -> str:
    """Where the parties were."""
    where = "this demonstration" if result.get("federation") else "this simulation"
    return f"What these parties would have learned with machines of their own. In {where} all of them lay on one."


def stages_note(result: Result) -> str:
    """What the seconds of the stages are."""
    if result.get("federation"):
        return "Seconds by stage as they passed, waiting and carrying included"
    return "Seconds by stage of the protocol over all rounds, of all silos together, one after the other"


def way_rows(result: Result) -> list[list[str]]:
    """Party, how its packages travelled, what it sent and received; nothing where they did not travel."""
    facts, rows = result.get("federation") or {}, []
    for found in result["secagg"] if facts else ():
        for name, moved in found["wire"]["by_party"].items():
            way = "listens" if name not in result["settings"]["silos"] else "mutual TLS"
            way = "carried by hand" if name == facts["carried"] else way
            way += ", then killed" if name == facts["silent"] else ""
            amounts = [part for side in ("sent", "received") for part in _moved(moved[side])]
            rows.append([name, way, *amounts])
    return rows


def _moved(side: Mapping[str, int]) -> list[str]:
    return [count(side["packages"]), size(side["bytes"])]


def recomputed(rounds: Sequence[Mapping[str, Any]]) -> list[str]:
    """Whether adding up in the open gives the layers of the signed result."""
    each = [found["recomputed"] for found in rounds if "recomputed" in found]
    if not each:
        return []
    layers, equal = sum(found["layers"] for found in each), sum(found["equal"] for found in each)
    return [
        "The plain sums are from pruning once more, with all texts in one process. Adding up those vectors gives "
        f"{count(equal)} of {plural(layers, 'layer')} that the signed result names, bit for bit."
    ]
