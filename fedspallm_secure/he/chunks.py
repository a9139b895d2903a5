"""A vector of ciphertexts as bytes: a line that says what it is, their number, and each with its length before it.

Nothing here reads what is in a ciphertext; lengths are those that a genuine one can have, the number is the plan's, and
nothing follows the last.  So whoever stores or forwards vectors needs no part of SEAL for it.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from fedspallm_secure.errors import FormatError
from fedspallm_secure.he.parameters import Parameters

MAGIC: Final = b"FSHEV1\r\n"
_WHAT = "an encrypted vector"
_LENGTH = 4  # bytes of a number, little-endian


class Source(Protocol):
    """What is read from: a file, or anything else that blocks until there are bytes."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""


class Sink(Protocol):
    """What is written to."""

    def write(self, data: bytes, /) -> object:
        """All of `data`."""


def vector_least(parameters: Parameters, weights: int) -> int:
    """The fewest bytes of a vector as it is written.  Raises CapacityExceeded."""
    return len(MAGIC) + _LENGTH + parameters.chunks(weights) * (_LENGTH + parameters.chunk_least)


def vector_most(parameters: Parameters, weights: int) -> int:
    """The most.  Raises CapacityExceeded."""
    return len(MAGIC) + _LENGTH + parameters.chunks(weights) * (_LENGTH + parameters.chunk_most)


def check_chunk(parameters: Parameters, length: int, number: int) -> None:
    """Raise FormatError unless a ciphertext under these parameters can have `length` bytes."""
    if not parameters.chunk_least <= length <= parameters.chunk_most:
        raise FormatError(
            f"chunk {number} of {_WHAT} has {length} bytes, not {parameters.chunk_least} to {parameters.chunk_most}"
        )


def write_vector(sink: Sink, parameters: Parameters, weights: int, chunks: Iterable[bytes]) -> int:
    """Write the ciphertexts of one vector, in order; returns the bytes written.

    Raises FormatError for more or fewer than the vector has, or one of impossible length; the sink is of no use then.
    """
    expected, written, number = parameters.chunks(weights), len(MAGIC) + _LENGTH, 0
    sink.write(MAGIC + expected.to_bytes(_LENGTH, "little"))
    for chunk in chunks:
        check_chunk(parameters, len(chunk), number)
        number += 1
        if number > expected:
            raise FormatError(f"{_WHAT} has more than its {expected} chunks")
        sink.write(len(chunk).to_bytes(_LENGTH, "little") + chunk)
        written += _LENGTH + len(chunk)
    if number != expected:
        raise FormatError(f"{_WHAT} has {number} chunks, not {expected}")
    return written


def read_vector(source: Source, parameters: Parameters, weights: int) -> Iterator[bytes]:
    """The ciphertexts of one vector, one after the other, each held only until the next one is asked for.

    Raises FormatError for anything else than one whole vector of that many weights, at the place where it shows.
    """
    expected = parameters.chunks(weights)
    if _exactly(source, len(MAGIC), 0) != MAGIC:
        raise FormatError(f"{_WHAT} begins with other bytes")
    if _number(source, 0) != expected:
        raise FormatError(f"{_WHAT} does not say that it has the {expected} chunks of {weights} weights")
    for number in range(expected):
        length = _number(source, number)
        check_chunk(parameters, length, number)
        yield _exactly(source, length, number)
    if source.read(1):
        raise FormatError(f"{_WHAT} goes on after its last chunk")


def _number(source: Source, number: int) -> int:
    return int.from_bytes(_exactly(source, _LENGTH, number), "little")


def _exactly(source: Source, size: int, number: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = source.read(size - len(found))
        if not piece:
            raise FormatError(f"{_WHAT} ends in or before chunk {number}")
        found += piece
    return found
