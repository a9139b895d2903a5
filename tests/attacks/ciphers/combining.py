"""What anybody makes of ciphertexts without a key: sums of them times small numbers, by TenSEAL or its stand-in."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from fedspallm_secure.app.rounds import ciphers
from fedspallm_secure.he.parameters import DEGREE, Parameters
from tests import clear_cipher

Terms = Sequence[tuple[bytes, int]]


def combined(parameters: Parameters, public: bytes, terms: Terms) -> bytes:
    """One chunk of the sum of chunks, each times its factor, which is not 0."""
    if isinstance(ciphers.bfv, clear_cipher.ClearBfv):
        return clear_cipher.combined(parameters, terms)
    return _by_tenseal(public, terms)


def _by_tenseal(public: bytes, terms: Terms) -> bytes:
    import tenseal

    context = _context(public)
    total: Any = tenseal.bfv_vector(context, [0] * DEGREE)
    for chunk, factor in terms:
        vector = tenseal.bfv_vector_from(context, chunk)
        for _ in range(abs(factor)):
            total = total + vector if factor > 0 else total - vector
    return bytes(total.serialize())


@cache
def _context(public: bytes) -> Any:
    import tenseal

    return tenseal.context_from(public, n_threads=1)
