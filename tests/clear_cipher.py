"""A stand-in for `fedspallm_secure.he.bfv` that hides nothing: the same functions, lengths and refusals, in no time.

A chunk holds its slots in clear, and sums are made slot by slot modulo t.  So the parties around it are the real ones
and only TenSEAL is not; and what a server does to ciphertexts without any key, like negating them, is a line here too.

    with clear():
        play(Bench(Setting(profile=Profile.ONE_TRIP)))
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np

from fedspallm_secure.errors import CapacityExceeded, CiphertextRefused
from fedspallm_secure.he.keys import KeyPair, SecretKey
from fedspallm_secure.he.packing import ChunkSums, Slots, chunk_weights, slot_bytes, slots_from, slots_used, unpack
from fedspallm_secure.he.parameters import DEGREE, Parameters

_USERS = (
    "fedspallm_secure.app.audit.replay_decryption",
    "fedspallm_secure.app.rounds.ciphers",
    "fedspallm_secure.app.rounds.round_keys",
)
_PUBLIC = b"anybody may read this"


class ClearBfv:
    """What `bfv` has, as far as rounds use it."""

    def generate(self, parameters: Parameters) -> KeyPair:
        """A key that is of no use."""
        return KeyPair(SecretKey(b"nothing to hide"), _PUBLIC)

    def encrypt(self, parameters: Parameters, public: bytes, slots: Iterable[Slots], weights: int) -> Iterator[bytes]:
        """Chunks of one vector."""
        for _, numbers in zip(chunk_weights(parameters, weights), slots, strict=True):
            yield chunk_of(parameters, numbers)

    def check(self, parameters: Parameters, public: bytes, chunks: Iterable[bytes], weights: int) -> None:
        """Refuse what is no chunk, or another number of them."""
        if sum(slots_in(parameters, chunk).size > 0 for chunk in chunks) != parameters.chunks(weights):
            raise CiphertextRefused("a vector does not have its chunks")

    def add(
        self, parameters: Parameters, public: bytes, vectors: Sequence[Iterable[bytes]], weights: int
    ) -> Iterator[bytes]:
        """Sums, chunk by chunk."""
        if not 1 <= len(vectors) <= parameters.members:
            raise CapacityExceeded(f"these parameters do not add {len(vectors)} vectors")
        for chunks in zip(*vectors, strict=True):
            yield combined(parameters, [(chunk, 1) for chunk in chunks])

    def decrypt(
        self,
        parameters: Parameters,
        secret: SecretKey,
        chunks: Iterable[bytes],
        weights: int,
        survivors: int,
        keystreams: Iterable[Slots],
    ) -> Iterator[ChunkSums]:
        """Counts and sums, with every check that numbers go through."""
        assert secret.view  # an erased key decrypts nothing
        for piece, chunk, added in zip(chunk_weights(parameters, weights), chunks, keystreams, strict=True):
            slots, size = slots_in(parameters, chunk), piece.stop - piece.start
            used = slots_used(parameters, size)
            if slots[used:].any():
                raise CiphertextRefused("slots that are not used hold something")
            yield unpack(parameters, (slots[:used] - added) % parameters.plain_modulus, size, survivors)


def chunk_of(parameters: Parameters, slots: Slots) -> bytes:
    """A chunk with these slots, and zeros in the others."""
    padded = np.zeros(DEGREE, np.int64)
    padded[: slots.size] = slots
    return slot_bytes(padded % parameters.plain_modulus).ljust(parameters.chunk_least, b"\x00")


def slots_in(parameters: Parameters, chunk: bytes) -> Slots:
    """All slots of a chunk.  Raises CiphertextRefused."""
    if len(chunk) != parameters.chunk_least or any(chunk[8 * DEGREE :]):
        raise CiphertextRefused(f"a chunk does not have {len(chunk)} bytes")
    slots = slots_from(chunk[: 8 * DEGREE])
    if (slots < 0).any() or (slots >= parameters.plain_modulus).any():
        raise CiphertextRefused("a slot is out of range")
    return slots


def combined(parameters: Parameters, terms: Iterable[tuple[bytes, int]]) -> bytes:
    """A sum of chunks, each times a small number: what everybody can make of ciphertexts."""
    total = np.zeros(DEGREE, np.int64)
    for chunk, factor in terms:
        total = (total + factor * slots_in(parameters, chunk)) % parameters.plain_modulus
    return chunk_of(parameters, total)


@contextmanager
def clear() -> Iterator[None]:
    """Every party of this process encrypts like this, and not with TenSEAL."""
    with ExitStack() as stack:
        for user in _USERS:
            stack.enter_context(mock.patch(f"{user}.bfv", ClearBfv()))
        yield


def cleared(act: Callable[..., Any]) -> Callable[..., Any]:
    """`clear` around a function."""

    def within(*arguments: Any, **named: Any) -> Any:
        with clear():
            return act(*arguments, **named)

    return within
