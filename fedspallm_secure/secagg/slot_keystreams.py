"""Keystreams of numbers below any modulus, for the slots of vectors that are encrypted (SPEC section 24.3).

A slot plus a uniform number, modulo t, is uniform, whatever the slot holds.  So what a sum of ciphertexts decrypts to
says something only to whoever can take off the keystreams of exactly the vectors in it, each once.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedspallm_secure.secagg.keystreams import write_keystream

CHUNK_BYTES: Final = 1 << 20  # of the keystream, set aside for each chunk
_WORD: Final = np.dtype("<u8")
_MODULUS_LIMIT: Final = 1 << 62  # so that two numbers add up in 64 bits

Slots = NDArray[np.int64]


def slot_keystream(key: bytes, chunk: int, slots: int, modulus: int) -> Slots:
    """Numbers for the first slots of chunk number `chunk`, each uniform on 0 ... modulus - 1; (slots,).

    key: of the stream, 32 bytes, with kind `self` and stream `slot`.  Words of the keystream are cut to as many bits as
    modulus - 1 has, and those that are not below it skipped, so nothing is nearer to one number than to another.
    Raises ValueError for another key, for more slots than a chunk's share of the keystream is sure to fill, and for a
    modulus that is not in 2 ... 2^62.
    """
    if not 2 <= modulus <= _MODULUS_LIMIT or not 0 <= slots <= CHUNK_BYTES // (4 * _WORD.itemsize):
        raise ValueError(f"there is no keystream of {slots} numbers below {modulus}")
    found, count, at = np.empty(slots, np.int64), 0, 0
    bits = np.uint64((1 << (modulus - 1).bit_length()) - 1)
    while count < slots:
        # Of all words at least half count; with some more than twice as many, one piece is nearly always enough.
        words = np.empty(2 * (slots - count) + 512, _WORD)  # an even number: whole blocks
        write_keystream(key, CHUNK_BYTES * chunk + at, words.view(np.uint8))
        at += words.nbytes
        words &= bits
        good = words[words < np.uint64(modulus)][: slots - count]
        found[count : count + len(good)] = good
        count += len(good)
    return found
