"""What a member may send in the place of a ciphertext, and what becomes of the server that looks at it.

    python -m tests.attacks.ciphertexts COUNT SEED     prints the figures as JSON

COUNT flips of single bits and COUNT truncations at drawn places, COUNT strings of random bytes, and every case of a
fixed corpus: other parameters, another scheme, other numbers of polynomials, a secret context, headers that lie about
sizes, and streams that expand to gigabytes.  Each goes to a process of its own, past the checks of lengths that would
stop many of them before.  A ciphertext is not authenticated, so a flipped bit may leave one: then the key holder opens
it, and must find what was encrypted or refuse.
"""

import os
import random
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import tenseal
import zstandard

from fedspallm_secure.errors import CiphertextRefused, FedSpaError, SumOutOfRange, WorkerLost
from fedspallm_secure.he import bfv, worker
from fedspallm_secure.he.parameters import DEGREE, choose
from fedspallm_secure.he.sandbox import Limits
from tests.attacks.stage import peak_memory
from tests.figures.spread import show, spread
from tests.he.vectors import draw_vector, encrypted, opened, plain

PARAMETERS = choose(5, 7)
WEIGHTS = 50
MEMORY = 128 << 20  # bytes that the process may have
PATIENCE = 20.0  # seconds
HEADER = 16  # bytes before SEAL's compressed stream
INNER = {"form": 32, "polynomials": 33, "degree": 41, "moduli": 49, "array header": 73, "words": 89}  # offsets in it
BOMB = 1 << 30  # bytes that a stream expands to


@dataclass(frozen=True)
class Case:
    """kind: what is counted; data: in the place of a ciphertext; refused: whether it has to be."""

    kind: str
    data: bytes
    refused: bool = True


# --- material ---------------------------------------------------------------------------------------------------------


@cache
def stage() -> tuple[bfv.KeyPair, bytes]:
    """A key, and a genuine ciphertext of one chunk under it."""
    pair = bfv.generate(PARAMETERS)
    return pair, encrypted(PARAMETERS, pair.public, vector())[0]


def vector():
    return draw_vector(PARAMETERS, WEIGHTS, np.random.default_rng(1))


def context(scheme=tenseal.SCHEME_TYPE.BFV, degree=DEGREE, plain=PARAMETERS.plain_modulus, bits=(54, 30)):
    return tenseal.context(
        scheme, poly_modulus_degree=degree, plain_modulus=plain, coeff_mod_bit_sizes=list(bits), n_threads=1
    )


def field(number: int, data: bytes) -> bytes:
    """A field of bytes in protocol buffers' encoding."""
    return bytes([number << 3 | 2]) + varint(len(data)) + data


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def take_apart(data: bytes) -> tuple[bytes, bytearray]:
    """SEAL's header of 16 bytes, and what its stream expands to."""
    start = data.index(b"\x5e\xa1\x10")
    stream = zstandard.ZstdDecompressor().decompressobj().decompress(data[start + HEADER :])
    return data[start : start + HEADER], bytearray(stream)


def put_together(header: bytes, stream: bytes, sizes: tuple[int, ...] = (DEGREE,), length: int | None = None) -> bytes:
    """TenSEAL's message around SEAL's object.  stream: compressed; length: what the header says, None for the truth."""
    total = HEADER + len(stream) if length is None else length
    blob = header[:8] + struct.pack("<Q", total) + stream
    return field(1, b"".join(map(varint, sizes))) + field(2, blob)


def compress(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(bytes(data))


# --- the fixed corpus -------------------------------------------------------------------------------------------------


def corpus(bomb: int = BOMB) -> Iterator[Case]:
    """Every case once, in order."""
    pair, genuine = stage()
    yield Case("genuine", genuine, refused=False)
    yield from other_parameters()
    yield Case("secret context", bytes(pair.secret.view))
    yield Case("public context", pair.public)
    header, inner = take_apart(genuine)
    yield Case("compressed again", put_together(header, compress(inner)), refused=False)
    yield from lies(header, inner)
    yield from bombs(header, inner, bomb)
    yield Case("oversize", genuine + bytes(1 << 19))
    yield Case("oversize", field(3, bytes(1 << 19)) + b"\xff" * 16)
    yield Case("empty", b"")
    yield Case("two ciphertexts", genuine + genuine)
    second = put_together(header, compress(inner), sizes=())[2:]  # without its field of numbers, which is empty
    for sizes in ((DEGREE,), (DEGREE // 2, DEGREE // 2), (DEGREE, 0)):
        yield Case("two in the place of one", put_together(header, compress(inner), sizes) + second)
    # A polynomial of zeros would carry its numbers in the open.
    clear = bytearray(inner)
    clear[INNER["words"] + 8 + 8 * DEGREE :] = bytes(8 * DEGREE)
    yield Case("transparent", put_together(header, compress(clear)))


def other_parameters() -> Iterator[Case]:
    ones, plain_modulus = [1] * DEGREE, PARAMETERS.plain_modulus
    yield Case("other plain modulus", tenseal.bfv_vector(context(plain=choose(6, 7).plain_modulus), ones).serialize())
    yield Case("other modulus", tenseal.bfv_vector(context(bits=(55, 30)), ones).serialize())
    yield Case("other modulus", tenseal.bfv_vector(context(bits=(36, 36, 37)), ones).serialize())
    other = context(degree=2 * DEGREE, plain=65537 if plain_modulus % (4 * DEGREE) != 1 else plain_modulus)
    yield Case("other degree", tenseal.bfv_vector(other, ones * 2).serialize())
    approximate = tenseal.context(tenseal.SCHEME_TYPE.CKKS, poly_modulus_degree=8192, coeff_mod_bit_sizes=[60, 40, 60])
    approximate.global_scale = 2**40
    yield Case("CKKS", tenseal.ckks_vector(approximate, [1.0] * 4096).serialize())
    approximate = tenseal.context(tenseal.SCHEME_TYPE.CKKS, poly_modulus_degree=4096, coeff_mod_bit_sizes=[54, 30])
    approximate.global_scale = 2**20
    yield Case("CKKS", tenseal.ckks_vector(approximate, [1.0] * 2048).serialize())
    own = context()
    yield Case("fewer numbers", tenseal.bfv_vector(own, [1, 2, 3]).serialize())
    own.auto_relin = False
    square = tenseal.bfv_vector(own, ones)
    yield Case("three polynomials", square.mul(square).serialize())


def lies(header: bytes, inner: bytearray) -> Iterator[Case]:
    """The stream's own numbers say something else than what it holds."""
    for name, offset in INNER.items():
        size = 1 if name == "form" else 8
        for value in (
            0,
            1,
            2,
            3,
            16,
            4095,
            8192,
            1 << 20,
            1 << 31,
            (1 << 32) + 1,
            1 << 40,
            (1 << 63) - 1,
            (1 << 64) - 1,
        ):
            changed = bytearray(inner)
            changed[offset : offset + size] = (value % (1 << 8 * size)).to_bytes(size, "little")
            if changed != inner:
                yield Case(f"lie about {name}", put_together(header, compress(changed)))
    changed = bytearray(inner)
    changed[INNER["words"] + 8 : INNER["words"] + 16] = b"\xff" * 8  # not below the modulus
    yield Case("coefficient too large", put_together(header, compress(changed)))
    changed[:32] = bytes(32)
    yield Case("no parameters", put_together(header, compress(changed)))
    for length in (0, 1, HEADER, 1 << 20, 1 << 40, (1 << 64) - 1):
        yield Case("lie about the length", put_together(header, compress(inner), length=length))
    for sizes in ((), (1,), (DEGREE, DEGREE), (1 << 40,), ((1 << 64) - 1,)):
        yield Case("lie about the numbers", put_together(header, compress(inner), sizes=sizes))
    for place in range(8):
        broken = bytearray(header)
        broken[place] ^= 0x41
        if place not in (6, 7):  # reserved, and not looked at
            yield Case("other header", put_together(bytes(broken), compress(inner)))


def bombs(header: bytes, inner: bytearray, size: int) -> Iterator[Case]:
    """Streams of a few KiB that expand to `size` bytes, of each kind of compression, after three beginnings."""
    block = bytes(1 << 24)
    for number, deflate in ((1, lambda: zlib.compressobj(1)), (2, zstandard.ZstdCompressor(1).compressobj)):
        for start in (lying(inner, size), bytes(inner[:97]), b""):
            stream = deflate()
            parts = [stream.compress(start), *(stream.compress(block) for _ in range(size >> 24)), stream.flush()]
            name = {1: "deflate bomb", 2: "zstd bomb"}[number]
            yield Case(name, put_together(header[:5] + bytes([number]) + header[6:], b"".join(parts)))


def lying(inner: bytearray, size: int) -> bytes:
    """A beginning that announces as many words as the bomb has."""
    changed = bytearray(inner[:97])
    changed[INNER["polynomials"] : INNER["polynomials"] + 8] = struct.pack("<Q", 16)
    changed[INNER["words"] : INNER["words"] + 8] = struct.pack("<Q", size >> 3)
    changed[INNER["array header"] + 8 : INNER["array header"] + 16] = struct.pack("<Q", size + 24)
    return bytes(changed)


# --- drawn cases ------------------------------------------------------------------------------------------------------


def drawn(count: int, seed: int) -> Iterator[Case]:
    """Flips, truncations and random bytes."""
    draw, (_, genuine) = random.Random(seed), stage()
    for number in range(count):
        flipped = bytearray(genuine)
        # Every other one among the first bytes, where lengths and headers are.
        place = draw.randrange(160) if number % 2 else draw.randrange(len(genuine))
        flipped[place] ^= 1 << draw.randrange(8)
        yield Case("flip", bytes(flipped), refused=False)
        yield Case("truncation", genuine[: draw.randrange(len(genuine))])
        head = genuine[: draw.choice((0, 8, 24, 40))]
        yield Case("random", head + draw.randbytes(draw.randrange(1, len(genuine))))


# --- judging ----------------------------------------------------------------------------------------------------------


def judge(case: Case) -> Counter[str]:
    """Show one case to the process of a server, and to that of the key holder if it passes."""
    pair, _ = stage()
    found = Counter({"cases": 1, f"of {case.kind}": 1, "failures": 0})
    limits = Limits(memory=MEMORY, patience=PATIENCE)
    try:
        with bfv._keyed("check", PARAMETERS, pair.public, limits) as process:
            process.send(worker.DATA, case.data[: worker.FRAME_LIMIT])
            process.receive(worker.DONE, "a case")
    except CiphertextRefused:
        return found + Counter({"refused": 1})
    except WorkerLost:
        return found + Counter({"process lost": 1})
    except FedSpaError as error:
        return found + Counter({f"FAILURE {case.kind}: {type(error).__name__}": 1})
    except Exception as error:
        return found + Counter({"parent crashes": 1, f"FAILURE {case.kind}: {type(error).__name__}: {error}": 1})
    if case.refused:
        return found + Counter({f"FAILURE {case.kind}: accepted": 1})
    try:
        counts, sums = opened(PARAMETERS, pair.secret, [case.data], WEIGHTS, 1)
    except (SumOutOfRange, CiphertextRefused):
        return found + Counter({"opened and refused": 1})
    expected = plain([vector()])
    if np.array_equal(counts, expected[0]) and np.array_equal(sums, expected[1]):
        return found + Counter({"opened as it was": 1})
    return found + Counter({f"FAILURE {case.kind}: opened as something else": 1})


def figures(count: int, seed: int, workers: int | None = None) -> dict[str, object]:
    """All cases; the parent's memory is that of one process that saw a share of them."""
    found: Counter[str] = Counter()
    tasks = [Task(count, seed, part, workers or os.cpu_count() or 1) for part in range(workers or os.cpu_count() or 1)]
    growth = 0
    for counts, grown in spread(run, tasks, workers):
        found.update(counts)
        growth = max(growth, grown)
    failures = [f"{name}: {number}" for name, number in found.items() if name.startswith("FAILURE")]
    counts = {name: number for name, number in sorted(found.items()) if not name.startswith("FAILURE") and number}
    return {"counts": {"parent crashes": 0, **counts}, "growth_kib": growth, "failures": failures}


@dataclass(frozen=True)
class Task:
    """Every `parts`-th case from the one numbered `part` on."""

    count: int
    seed: int
    part: int
    parts: int


def run(task: Task) -> tuple[Counter[str], int]:
    """One process's share, with a key of its own."""
    cases = [case for cases in (corpus(), drawn(task.count, task.seed)) for case in cases][task.part :: task.parts]
    before, found = peak_memory(), Counter[str]()
    for case in cases:
        found += judge(case)
    return found, peak_memory() - before


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:3])))
