"""Messages of secure rounds as a table: what each type is, how many there were, how much they came to.  Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from fedspallm_secure.app.reporting.numbers import count, size

_TYPES = {
    "opening": "what the witness signs before a round",
    "beacon": "the witness's signature on it",
    "cipher-key": "the key that vectors are encrypted with",
    "plan": "who takes part in what, with everybody's keys",
    "contribution": "keys, shares and the vector that nobody can read",
    "receipt": "that it arrived",
    "survivors": "who is in the sums",
    "endorsement": "a signature on that list",
    "unmask-request": "which shares are asked for",
    "unmask-response": "the shares",
    "decrypt-request": "an encrypted sum, to be decrypted",
    "decrypt-challenge": "which parts of it the key holder adds up again",
    "decrypt-opening": "these parts of all vectors",
    "decrypt-response": "the sum",
    "offer": "that a silo would take part",
    "prekeys": "keys for the next rounds, signed",
    "decline": "that a silo takes no part, and why",
    "result": "digests of the sums, signed",
    "layer": "a pruned layer, on its way to a silo",
    "abort": "that there is no sum, and why",
}


def message_rows(rounds: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Per type of message: what it is, packages, bytes, size; over all rounds, and their sum."""
    found: dict[str, list[int]] = {}
    for one in rounds:
        for type, sent in one["wire"]["by_type"].items():
            total = found.setdefault(type, [0, 0])
            total[0] += sent["packages"]
            total[1] += sent["bytes"]
    order = [*(type for type in _TYPES if type in found), *(type for type in found if type not in _TYPES)]
    rows = [[type, _TYPES.get(type, ""), *_amounts(*found[type])] for type in order]
    return [*rows, ["all", "", *_amounts(*map(sum, zip(*found.values(), strict=True)))]]


def _amounts(packages: int, octets: int) -> list[str]:
    return [count(packages), count(octets), size(octets)]
