"""Members' vectors for tests, and the whole way from them to their sums."""

from itertools import repeat

import numpy as np

from fedspallm_secure.he import bfv
from fedspallm_secure.he.packing import chunk_weights, pack


def draw_vector(parameters, weights, draws):
    """Keep bits and values; the values None where only votes are summed."""
    keep = draws.integers(0, 2, weights).astype(bool)
    if parameters.bound == 0:
        return keep, None
    return keep, draws.integers(-parameters.bound, parameters.bound, weights, np.int32, endpoint=True) * keep


def slots_of(parameters, keep, values):
    for piece in chunk_weights(parameters, keep.size):
        yield pack(parameters, keep[piece], None if values is None else values[piece])


def encrypted(parameters, public, vector):
    keep, values = vector
    return list(bfv.encrypt(parameters, public, slots_of(parameters, keep, values), keep.size))


def opened(parameters, secret, chunks, weights, survivors):
    """Counts and sums of the whole vector."""
    found = list(bfv.decrypt(parameters, secret, chunks, weights, survivors, repeat(0)))
    counts = np.concatenate([piece.counts for piece in found]).astype(np.int64)
    return counts, None if parameters.bound == 0 else np.concatenate([piece.sums for piece in found]).astype(np.int64)


def plain(vectors):
    """Adding in the open."""
    counts = np.sum([keep for keep, _ in vectors], axis=0, dtype=np.int64)
    return counts, None if vectors[0][1] is None else np.sum([values for _, values in vectors], axis=0, dtype=np.int64)
