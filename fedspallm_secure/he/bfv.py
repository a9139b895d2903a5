"""Keys, encryption, addition and decryption, each as one job of a process of its own.

Vectors are streams of chunks in the order of their weights, so nobody holds more than a few chunks, however long the
vector is and however many members there are.  Ciphertexts are not authenticated: what comes from others goes in here
only after the signature of the package that brought it was checked.  Nothing here reads one; that is for the process.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from fedspallm_secure.errors import CapacityExceeded, CiphertextRefused, WorkerLost
from fedspallm_secure.he import worker
from fedspallm_secure.he.keys import KEY_LIMIT, KeyPair, SecretKey
from fedspallm_secure.he.packing import (
    SLOT_SIZE,
    ChunkSums,
    Slots,
    chunk_weights,
    slot_bytes,
    slots_from,
    slots_used,
    unpack,
)
from fedspallm_secure.he.parameters import DEGREE, Parameters
from fedspallm_secure.he.sandbox import Limits, Worker

DEFAULT_LIMITS: Final = Limits()
_AHEAD = 2  # chunks that the process has before it has answered, so that neither side waits for the other


def generate(parameters: Parameters, limits: Limits = DEFAULT_LIMITS) -> KeyPair:
    """A new key, for one round, made at the key holder.  Raises WorkerLost or MissingExtra."""
    with Worker(_job("generate", parameters), limits) as process:
        secret = SecretKey(process.receive(worker.KEY, "a new key"))
        try:
            return KeyPair(secret, bytes(process.receive(worker.PUBLIC, "a new key")))
        except BaseException:
            secret.wipe()
            raise


def encrypt(
    parameters: Parameters, public: bytes, slots: Iterable[Slots], weights: int, limits: Limits = DEFAULT_LIMITS
) -> Iterator[bytes]:
    """The ciphertexts of one member's vector.

    public: of the key holder, its signature checked; slots: what `pack` gives for each of `chunk_weights`.
    Raises CiphertextRefused for a public key that is none of these parameters, WorkerLost, MissingExtra,
    CapacityExceeded, and ValueError for slots of another vector.
    """
    with _keyed("encrypt", parameters, public, limits) as process:
        waiting = 0
        for piece, numbers in zip(chunk_weights(parameters, weights), slots, strict=True):
            if numbers.shape != (slots_used(parameters, piece.stop - piece.start),):
                raise ValueError(f"the slots of the weights from {piece.start} on are not {numbers.size}")
            process.send(worker.DATA, slot_bytes(numbers))
            waiting += 1
            if waiting == _AHEAD:
                waiting -= 1
                yield _ciphertext(process, parameters, "a vector to encrypt")
        for _ in range(waiting):
            yield _ciphertext(process, parameters, "a vector to encrypt")


def check(
    parameters: Parameters, public: bytes, chunks: Iterable[bytes], weights: int, limits: Limits = DEFAULT_LIMITS
) -> None:
    """Look at all of one member's ciphertexts, in a process of its own, so that it is clear whose they were.

    Raises CiphertextRefused unless each is one of these parameters with two polynomials, and there are as many as the
    vector has; WorkerLost where the process did not survive them; MissingExtra, CapacityExceeded.
    """
    expected, waiting, count = parameters.chunks(weights), 0, 0
    with _keyed("check", parameters, public, limits) as process:
        for chunk in chunks:
            count += 1
            if count > expected:
                break
            _send(process, parameters, chunk, count - 1)
            waiting += 1
            if waiting == _AHEAD:
                waiting -= 1
                process.receive(worker.DONE, "a vector")
        for _ in range(waiting):
            process.receive(worker.DONE, "a vector")
    if count != expected:
        raise CiphertextRefused(f"a vector does not have the {expected} chunks of {weights} weights")


def add(
    parameters: Parameters,
    public: bytes,
    vectors: Sequence[Iterable[bytes]],
    weights: int,
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[bytes]:
    """The ciphertexts of the sum of several vectors, or of sums of them, read side by side.

    vectors: no more than parameters.members in all, counting what was added before.
    Raises CapacityExceeded for too many, CiphertextRefused, naming the vector by its place, WorkerLost, MissingExtra.
    """
    if not 1 <= len(vectors) <= parameters.members:
        raise CapacityExceeded(f"these parameters add 1 to {parameters.members} vectors, not {len(vectors)}")
    streams = [iter(vector) for vector in vectors]
    with _keyed("add", parameters, public, limits) as process:
        asked: deque[int] = deque()
        for number in range(parameters.chunks(weights)):
            for place, stream in enumerate(streams):
                chunk = next(stream, None)
                if chunk is None:
                    raise CiphertextRefused(f"vector {place} ends before its chunk {number}")
                _send(process, parameters, chunk, number)
            process.send(worker.NEXT)
            asked.append(number)
            if len(asked) == _AHEAD:
                yield _sum(process, parameters, asked.popleft(), len(streams))
        while asked:
            yield _sum(process, parameters, asked.popleft(), len(streams))
    for place, stream in enumerate(streams):
        if next(stream, None) is not None:
            raise CiphertextRefused(f"vector {place} goes on after its last chunk")


def decrypt(
    parameters: Parameters,
    secret: SecretKey,
    chunks: Iterable[bytes],
    weights: int,
    survivors: int,
    keystreams: Iterable[Slots],
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[ChunkSums]:
    """Counts and sums of one vector's chunks.  For the key holder, after its own checks, and for sums alone.

    survivors: how many vectors the sum is of; keystreams: for each chunk what its used slots hold too much, modulo t.
    Nothing of it may be used or sent before the last chunk has come out.
    Raises SumOutOfRange where a number is none that so many members can have made, CiphertextRefused for what is no sum
    under these parameters, WorkerLost, MissingExtra, CapacityExceeded.
    """
    expected = list(chunk_weights(parameters, weights))
    if not 1 <= survivors <= parameters.members:
        raise CapacityExceeded(f"these parameters are for sums over 1 to {parameters.members} members, not {survivors}")
    with _keyed("decrypt", parameters, secret.view, limits, slots_used(parameters, weights)) as process:
        count, added = 0, iter(keystreams)
        for chunk in chunks:
            if count == len(expected):
                raise CiphertextRefused("a sum goes on after its last chunk")
            length = expected[count].stop - expected[count].start
            _send(process, parameters, chunk, count)
            found = process.receive(worker.DATA, f"chunk {count} of a sum")
            if len(found) != SLOT_SIZE * slots_used(parameters, length):
                raise WorkerLost("the process for encrypted sums answered another number of slots")
            yield unpack(parameters, (slots_from(found) - next(added)) % parameters.plain_modulus, length, survivors)
            count += 1
    if count != len(expected):
        raise CiphertextRefused(f"a sum has {count} chunks, not {len(expected)}")


def _job(name: str, parameters: Parameters, slots: int = 0) -> dict[str, Any]:
    return {
        "op": name,
        "degree": DEGREE,
        "plain": parameters.plain_modulus,
        "bits": list(parameters.coefficient_bits),
        "members": parameters.members,
        "slots": slots,
    }


def _keyed(name: str, parameters: Parameters, key: bytes | memoryview, limits: Limits, slots: int = 0) -> Worker:
    if not 1 <= len(key) <= KEY_LIMIT:
        raise CiphertextRefused(f"a key has 1 to {KEY_LIMIT} bytes, not {len(key)}")
    process = Worker(_job(name, parameters, slots), limits)
    try:
        process.send(worker.KEY, key)
        process.receive(worker.DONE, "the key")
    except BaseException:
        process.close()
        raise
    return process


def _send(process: Worker, parameters: Parameters, chunk: bytes, number: int) -> None:
    if not parameters.chunk_least <= len(chunk) <= parameters.chunk_most:
        raise CiphertextRefused(f"chunk {number} of a vector has {len(chunk)} bytes, which no ciphertext here has")
    process.send(worker.DATA, chunk)


def _ciphertext(process: Worker, parameters: Parameters, what: str) -> bytes:
    chunk = bytes(process.receive(worker.DATA, what))
    if not parameters.chunk_least <= len(chunk) <= parameters.chunk_most:
        raise WorkerLost("the process for encrypted sums answered no ciphertext")
    return chunk


def _sum(process: Worker, parameters: Parameters, number: int, vectors: int) -> bytes:
    try:
        return _ciphertext(process, parameters, f"chunk {number}")
    except CiphertextRefused as error:
        place, chunk = (error.frame - 1) % vectors, (error.frame - 1) // vectors
        raise CiphertextRefused(f"vector {place}, chunk {chunk}: {error}", frame=error.frame) from None
