"""The discrete Gaussian, sampled exactly: integers alone, from the operating system's randomness.

    P(X = x) proportional to exp(-x^2 / (2 sigma^2)),    x a whole number, sigma = 2^bits

Algorithms 1 to 3 of Canonne, Kamath and Steinke, *The Discrete Gaussian for Differential Privacy* (NeurIPS 2020), for
many numbers at once.  As sigma is a power of two, and so is the scale of the Laplace distribution that proposes, every
probability has a denominator that is a power of two, or such times a small k, and is met exactly.  No floating point:
rounded noise is distinguishable (Mironov, CCS 2012).  The time taken depends on what is drawn.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedspallm_secure.crypto.randomness import random_bytes

Integers = NDArray[np.int64]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]

MOST_BITS = 20  # (|y| - sigma)^2 then fits 64 bits, up to |y| = 2,048 sigma, which is not met before exp(-2,048)
_AT_ONCE = 1 << 17  # proposals; their temporaries stay in the cache


def discrete_gaussian(count: int, bits: int) -> Integers:
    """Draw `count` independent numbers with sigma = 2**bits, (count,).  Raises ValueError unless 1 <= bits <= 20."""
    if not 1 <= bits <= MOST_BITS:
        raise ValueError(f"sigma is a power of two from 2**1 to 2**{MOST_BITS}, not 2**{bits}")
    drawn = [np.zeros(0, np.int64)]
    missing = count
    while missing > 0:
        proposed = _discrete_laplace(min(_AT_ONCE, 3 * missing + 64), bits)
        distance = np.abs(proposed) - (1 << bits)
        accepted = proposed[_bernoulli_exp(distance * distance, 2 * bits + 1)]
        drawn.append(accepted[:missing])
        missing -= len(drawn[-1])
    return np.concatenate(drawn)


def _discrete_laplace(most: int, bits: int) -> Integers:
    """At most `most` numbers with P(x) proportional to exp(-|x| / 2**bits): those of so many proposals that pass."""
    remainder = (_words(most) >> np.uint64(64 - bits)).astype(np.int64)
    remainder = remainder[_bernoulli_exp(remainder, bits)]
    size = remainder + (_geometric(len(remainder)) << bits)
    negative = (_words(len(size)) & np.uint64(1)).astype(np.bool_)
    once = ~(negative & (size == 0))  # zero has one sign
    signed: Integers = np.where(negative, -size, size)[once]
    return signed


def _geometric(count: int) -> Integers:
    """How many trials of probability exp(-1) succeed before one fails, (count,)."""
    successes = np.zeros(count, np.int64)
    going = np.arange(count)
    while len(going):
        going = going[_bernoulli_fraction(np.ones(len(going), np.int64), 0)]
        successes[going] += 1
    return successes


def _bernoulli_exp(numerator: Integers, bits: int) -> Flags:
    """True with probability exp(-numerator / 2**bits) each.  numerator: >= 0, (count,)."""
    passed = _bernoulli_fraction(numerator & ((1 << bits) - 1), bits)
    whole = numerator >> bits
    going = np.flatnonzero(passed & (whole > 0))
    left = whole[going]
    while len(going):
        success = _bernoulli_fraction(np.ones(len(going), np.int64), 0)
        passed[going[~success]] = False
        going, left = going[success], left[success] - 1
        going, left = going[left > 0], left[left > 0]
    return passed


def _bernoulli_fraction(numerator: Integers, bits: int) -> Flags:
    """True with probability exp(-f), f = numerator / 2**bits in [0, 1]: the first k at which a trial fails is odd.

    The k-th trial succeeds with probability f / k: two independent trials, one of f and one of 1 / k.
    """
    odd = np.zeros(len(numerator), np.bool_)
    going = np.arange(len(numerator))
    k = 1
    while len(going):
        success = _one_in(k, len(going))
        if bits:
            success &= (_words(len(going)) >> np.uint64(64 - bits)).astype(np.int64) < numerator[going]
        odd[going[~success]] = k % 2 == 1
        going = going[success]
        k += 1
    return odd


def _one_in(k: int, count: int) -> Flags:
    """True with probability 1 / k each, (count,); by rejection, so exactly."""
    if k == 1:
        return np.ones(count, np.bool_)
    words = _words(count)
    last = np.uint64((1 << 64) - (1 << 64) % k - 1)  # up to it every remainder is met equally often
    while bool((refused := words > last).any()):
        words[refused] = _words(int(refused.sum()))
    zero: Flags = words % np.uint64(k) == 0
    return zero


def _words(count: int) -> Words:
    """`count` uniform words of 64 bits."""
    words: np.ndarray[Any, np.dtype[np.uint64]] = np.frombuffer(random_bytes(8 * count), np.uint64).copy()
    return words
