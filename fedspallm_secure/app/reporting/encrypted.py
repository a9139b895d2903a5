"""What is said of runs whose vectors were encrypted to a key holder: who learned what, what was promised.  Pure.

SPEC section 24 is what these sentences come from.
"""

from collections.abc import Mapping
from typing import Any

from fedspallm_secure.app.reporting.numbers import percent, plural

Result = Mapping[str, Any]


def is_encrypted(result: Result) -> bool:
    """Whether vectors were encrypted, and not hidden under keystreams."""
    return bool(result["secagg"]) and result["secagg"][0]["profile"] == "one-trip"


def claims(result: Result) -> list[str]:
    """What was promised."""
    groups = [group for found in result["secagg"] for group in found["groups"]]
    needed = min(group["survivors_needed"] for group in groups)
    colluders = result["secagg"][0]["colluders"]
    many = f"at most {plural(colluders, 'silo')} do, it and they learn"
    who = {0: "no silo does, it learns", 1: "at most 1 silo does, both learn"}.get(colluders, many)
    return [
        f"If the key holder does not work with the server, and {who} of the other silos' contributions to a layer "
        "their sum over those in it, and nothing else.",
        f"A sum is decrypted only if at least {plural(needed, 'silo')} are in it, so every honest silo is mixed with "
        f"at least {plural(needed - colluders - 1, 'other honest one')}; of each layer one sum is decrypted, and the "
        "keys are wiped after the round.",
        f"The key holder learns the sums, and could read {_sample(result)} of every contribution: the part that it "
        "adds up again.",
        "This holds if the keys of all parties are authentic, parties' records are not put back to an earlier state, "
        "and the cryptography is sound: HPKE, AES-256 in counter mode and Ed25519. BFV at 128 bits hides contributions "
        "a second time.",
        "Nobody outside the project has reviewed it.",
    ]


def no_claims(result: Result) -> list[tuple[str, str]]:
    """What was not promised, of what only these runs are about."""
    return [
        (
            "That server and key holder together learn nothing.",
            "Together they can read every contribution. They have to be different institutions.",
        ),
        (
            "That a server cannot spoil a sum.",
            f"The key holder adds {_sample(result)} of every sum up again, drawn by itself. A server that changes one "
            "chunk is caught with that probability, and nearly surely with many; by what it changes it learns nothing.",
        ),
    ]


def knowledge(result: Result, sums: str) -> list[list[str]]:
    """Who learned what, and what not.  sums: what there is of each layer."""
    return [
        [
            "Key holder",
            f"Who is in the sums, and the {sums} of each layer. It could read {_sample(result)} of each contribution.",
            "The rest of each contribution, unless the server shows it that.",
        ],
        [
            "Another silo",
            "The plan, who is in the sums, and the pruned model if it is published.",
            "Any other silo's contribution. Here also the counts and sums: server and key holder have them alone.",
        ],
    ]


def _sample(result: Result) -> str:
    return percent(result["secagg"][0]["sample"] / 1000)
