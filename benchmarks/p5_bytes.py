"""P5: bytes of a member's contribution, as packages of a real round have them.

Five members, every strategy and width; vectors of 1 and 8 million weights.  A package is the vector, the deal with its
shares and envelopes, the header and the seal of every tile.  `formula` is what SPEC sections 8 and 16.3 add up to
without the header; `payload` the bare count fields and sums.  Ratios are bytes on the wire over these: less is better.
"""

from fractions import Fraction

from benchmarks.measure import SEED, Row
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.rounds.scale import ScaleSettings, measure_round
from fedspallm_secure.app.rounds.settings import SecureSettings
from fedspallm_secure.pruning.strategies import Strategy

MEMBERS = 5
WEIGHTS = (1_000_000, 8_000_000)
TARGET = "<= 1.01"
# strategy, bits of a sum, bytes of a weight
CASES = [
    (Strategy.VOTES, 32, Fraction(1, 2)),
    (Strategy.FEDSPALLM, 32, Fraction(9, 2)),
    (Strategy.FEDSPALLM, 16, Fraction(5, 2)),
]


def measure() -> list[Row]:
    """A row against the formula and one against the payload, for each case."""
    return [row for weights in WEIGHTS for case in CASES for row in _rows(weights, *case)]


def _rows(weights: int, strategy: Strategy, bits: int, each: Fraction) -> list[Row]:
    found = measure_round(ScaleSettings(MEMBERS, weights, strategy, SecureSettings(sum_bits=bits), SEED), Silent())
    what = "votes" if strategy is Strategy.VOTES else f"counts and {bits}-bit sums"
    named = f"contribution of {weights:,} weights, {MEMBERS} members, {what}"
    sent = found["contribution_bytes"]
    against = {"formula": found["contribution_bytes_by_formula"], f"{float(each)} B per weight": float(weights * each)}
    rows = []
    for name, size in against.items():
        row = Row("P5", f"{named}, over {name}", TARGET, [sent / size])
        row.figures = {"above": f"{sent / size - 1:+.2%}", "sent": f"{sent:,} B"}
        rows.append(row)
    return rows
