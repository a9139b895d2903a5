"""Keystreams: what a seed becomes before it is added to a vector (SPEC section 12 "Keys").

AES-256 in counter mode (NIST SP 800-38A), starting at counter block 0, under a key for one seed, one kind and one
stream.  Nothing of it is kept: any piece can be made again, and alone, because byte 16 b is the first of block b.
A key that is used for two vectors gives their difference away; the key of a stream belongs to one plan and one group.
"""

from enum import Enum

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from fedspallm_secure.crypto.encoding import pae
from fedspallm_secure.crypto.labels import Label, derive_key
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.seeds import encode_element

KEY_SIZE = 32  # bytes
BLOCK = 16  # bytes of keystream for each counter block
_ZEROS = memoryview(bytes(1 << 20))  # what is encrypted: never written, so all of it is one page of memory

Buffer = bytearray | memoryview | NDArray[np.uint8]


class Kind(Enum):
    """Whose seed it is: the member's own, or that of an edge between two members."""

    SELF = "self"
    PAIR = "pair"


class Stream(Enum):
    """What the vector holds: keep counts, sums of kept weights, or, where it is encrypted, slots with both."""

    COUNT = "count"
    SUM = "sum"
    SLOT = "slot"


def stream_key(seed: int, context: GroupContext, kind: Kind, stream: Stream) -> bytes:
    """K(seed, kind, stream), 32 bytes.  Raises ValueError if `seed` is no field element."""
    bound = pae(*context.parts, kind.value.encode(), stream.value.encode())
    return derive_key(encode_element(seed), Label.SECAGG_STREAM, bound, salt=b"", size=KEY_SIZE)


def check_offset(offset: int) -> None:
    """Raise ValueError unless a piece of a keystream may begin at byte `offset`: at the beginning of a block."""
    if offset < 0 or offset % BLOCK:
        raise ValueError(f"a piece of a keystream begins at a multiple of {BLOCK} bytes, not at {offset}")


def write_keystream(key: bytes, offset: int, buffer: Buffer) -> None:
    """Overwrite `buffer` with bytes offset ... offset + len(buffer) - 1 of the keystream of `key`, in place.

    buffer: writable bytes in one piece, of any length.
    Raises ValueError for a key that has not 32 bytes, and unless `offset` is a multiple of 16, at least 0.
    """
    if len(key) != KEY_SIZE:  # AES would take shorter ones
        raise ValueError(f"the key of a stream has {KEY_SIZE} bytes, not {len(key)}")
    check_offset(offset)
    view = np.frombuffer(buffer, np.uint8).data
    encryptor = Cipher(AES(key), CTR((offset // BLOCK).to_bytes(BLOCK, "big"))).encryptor()
    for start in range(0, len(view), len(_ZEROS)):
        piece = view[start : start + len(_ZEROS)]
        encryptor.update_into(_ZEROS[: len(piece)], piece)
