"""Shamir's secret sharing over the integers modulo p = 2^256 − 189 (SPEC section 13; Shamir, CACM 1979).

A secret is the value at 0 of a polynomial of degree t − 1 whose other coefficients are uniform; a share is its value
at the holder's point.  Any t shares give the secret, and t − 1 fit every secret equally well.  Nothing here knows
whether a share is right: that is for the commitments.

Python's integers do not take constant time.  Shares are dealt and combined on the machine that owns the secrets, and
nobody is answered while that runs.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from math import prod
from operator import mul

from fedspallm_secure.errors import BadShare
from fedspallm_secure.secagg.seeds import PRIME, draw_element


def split(secret: int, threshold: int, points: Sequence[int]) -> list[int]:
    """One share for each of `points`, in their order; any `threshold` of them give `secret` (SPEC section 13).

    secret: 0 … p − 1; points: the holders' x coordinates, distinct, 1 … p − 1.  The coefficients are new in every call.
    Raises ValueError for a secret, points or a threshold that no dealer may use.
    """
    _check_threshold(threshold)
    _check_points(points)
    if not 0 <= secret < PRIME:
        raise ValueError("a secret is an integer below p")
    if threshold > len(points):
        raise ValueError(f"{len(points)} shares could never be {threshold}")
    coefficients = [draw_element() for _ in range(threshold - 1)]  # the highest power first; each may be 0
    return [_value_at(x, coefficients, secret) for x in points]


def combine(shares: Mapping[int, int], threshold: int) -> int:
    """The secret, from exactly `threshold` of `shares`: those with the smallest points.

    shares: x coordinate -> share.  Raises BadShare for fewer shares, a point outside 1 … p − 1 or a value outside
    0 … p − 1, and ValueError for a threshold that no dealer may use.  A wrong share gives a wrong secret, without an
    error: compare the result with its commitment.
    """
    _check_threshold(threshold)
    if len(shares) < threshold:
        raise BadShare(f"{len(shares)} shares cannot open a secret that needs {threshold}")
    if not all(0 < x < PRIME and 0 <= value < PRIME for x, value in shares.items()):
        raise BadShare("a share is not an element of the field, or its holder has no point")
    points = tuple(sorted(shares)[:threshold])
    total: int = sum(map(mul, lagrange_at_zero(points), map(shares.__getitem__, points)))
    return total % PRIME


@lru_cache(maxsize=128)  # points are public, and most secrets of a group are opened with the same holders
def lagrange_at_zero(points: tuple[int, ...]) -> tuple[int, ...]:
    """What each share is multiplied by, so that the sum is the polynomial's value at 0; one element per point.

    points: distinct, 1 … p − 1.  For point x it is the product of x' / (x' − x) over all other points x'.
    Raises ValueError for other points.
    """
    _check_points(points)
    product = prod(points)
    lowers = [x * prod([other - x for other in points if other != x]) % PRIME for x in points]
    return tuple(product * inverse % PRIME for inverse in _inverses(lowers))


def _value_at(x: int, coefficients: Sequence[int], constant: int) -> int:
    value = 0
    for coefficient in coefficients:
        value = (value + coefficient) * x
    return (value + constant) % PRIME  # once: points are small, and a division costs more than longer products


def _inverses(values: Sequence[int]) -> list[int]:
    """1 / value for every value, none of them 0, with one inversion: it takes as long as 60 products."""
    before = list(accumulate(values, lambda left, right: left * right % PRIME, initial=1))
    rest = pow(before[-1], -1, PRIME)  # 1 / (value 0 · … · value i), for i from the end
    found = []
    for value, left in zip(reversed(values), reversed(before[:-1]), strict=True):
        found.append(rest * left % PRIME)
        rest = rest * value % PRIME
    return found[::-1]


def _check_threshold(threshold: int) -> None:
    if threshold < 2:
        raise ValueError("with a threshold below 2 every share would be the secret")


def _check_points(points: Sequence[int]) -> None:
    if not points or len(set(points)) != len(points) or not all(0 < x < PRIME for x in points):
        raise ValueError("holders need distinct points from 1 to p - 1")
