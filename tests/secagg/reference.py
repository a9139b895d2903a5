"""Slow, obvious twins of masking, written from SPEC sections 1, 2, 12 and 13, FIPS 197, SP 800-38A and RFC 5869.

Nothing here is imported by the library, and nothing of the library here.  Cohorts are given as positions: member i is
the one at place i, and `edges` maps a neighbour's place to the seed of the edge.
"""

import hashlib
import hmac
from collections.abc import Mapping

P = 2**256 - 189

# --- AES-256 (FIPS 197), one byte at a time ---------------------------------------------------------------------------


def _times(a: int, b: int) -> int:
    """Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (section 4.2)."""
    product = 0
    for bit in range(8):
        if b >> bit & 1:
            product ^= a << bit
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x11B << bit - 8
    return product


def _substitute(byte: int) -> int:
    """The S-box (section 5.1.1): the inverse, or 0 of 0, then the affine map."""
    inverse = next((other for other in range(256) if _times(byte, other) == 1), 0)
    bits = [inverse >> i & 1 for i in range(8)]
    mapped = [
        bits[i] ^ bits[(i + 4) % 8] ^ bits[(i + 5) % 8] ^ bits[(i + 6) % 8] ^ bits[(i + 7) % 8] ^ (0x63 >> i & 1)
        for i in range(8)
    ]
    return sum(bit << i for i, bit in enumerate(mapped))


SBOX = [_substitute(byte) for byte in range(256)]
TWICE = [_times(byte, 2) for byte in range(256)]
THRICE = [_times(byte, 3) for byte in range(256)]


def _round_keys(key: bytes) -> list[bytes]:
    """The key schedule for 8 words of key and 14 rounds (section 5.2)."""
    words = [key[4 * i : 4 * i + 4] for i in range(8)]
    constant = 1
    for i in range(8, 60):
        word = words[-1]
        if i % 8 == 0:
            word = bytes(SBOX[byte] for byte in word[1:] + word[:1])
            word = bytes([word[0] ^ constant]) + word[1:]
            constant = TWICE[constant]
        elif i % 8 == 4:
            word = bytes(SBOX[byte] for byte in word)
        words.append(bytes(a ^ b for a, b in zip(words[-8], word, strict=True)))
    return [b"".join(words[4 * i : 4 * i + 4]) for i in range(15)]


def aes256(keys: list[bytes], block: bytes) -> bytes:
    """The cipher (section 5.1); state byte 4 c + r stands in row r and column c."""
    state = [a ^ b for a, b in zip(block, keys[0], strict=True)]
    for number in range(1, 15):
        state = [SBOX[state[(i + 4 * (i % 4)) % 16]] for i in range(16)]  # SubBytes and ShiftRows
        if number < 14:
            mixed = []
            for c in range(0, 16, 4):
                a, b, d, e = state[c : c + 4]
                mixed += [
                    TWICE[a] ^ THRICE[b] ^ d ^ e,
                    a ^ TWICE[b] ^ THRICE[d] ^ e,
                    a ^ b ^ TWICE[d] ^ THRICE[e],
                    THRICE[a] ^ b ^ d ^ TWICE[e],
                ]
            state = mixed
        state = [a ^ b for a, b in zip(state, keys[number], strict=True)]
    return bytes(state)


# --- keys and keystreams ----------------------------------------------------------------------------------------------


def pae(*parts: bytes) -> bytes:
    encoded = len(parts).to_bytes(8, "little")
    for part in parts:
        encoded += len(part).to_bytes(8, "little") + part
    return encoded


def digest(label: str, *parts: bytes) -> bytes:
    return hashlib.sha256(pae(label.encode(), *parts)).digest()


def derive(secret: bytes, label: str, context: bytes, salt: bytes, size: int = 32) -> bytes:
    """HKDF-SHA-256 (RFC 5869 section 2): extract, then expand."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    output, block, number = b"", b"", 1
    while len(output) < size:
        block = hmac.digest(extracted, block + pae(label.encode(), context) + bytes([number]), "sha256")
        output, number = output + block, number + 1
    return output[:size]


def stream_key(seed: int, plan_hash: bytes, group: int, kind: str, stream: str) -> bytes:
    context = pae(plan_hash, group.to_bytes(4, "little"), kind.encode(), stream.encode())
    return derive(seed.to_bytes(32, "big"), "fsps/1/secagg/stream", context, b"")


def keystream(key: bytes, size: int, offset: int = 0) -> bytes:
    """Bytes offset ... offset + size - 1 of AES-256-CTR (SP 800-38A section 6.5) from counter block 0."""
    keys, whole = _round_keys(key), b""
    first, skipped = divmod(offset, 16)
    for number in range(first, (offset + size + 15) // 16):
        whole += aes256(keys, number.to_bytes(16, "big"))
    return whole[skipped : skipped + size]


# --- masked vectors ---------------------------------------------------------------------------------------------------


def add(one: bytes, two: bytes, word: int, sign: int = 1) -> bytes:
    """one + sign * two in little-endian words of `word` bytes that wrap around; the last word may be shorter."""
    total = b""
    for start in range(0, len(one), word):
        size = min(word, len(one) - start)
        a = int.from_bytes(one[start : start + size], "little")
        b = int.from_bytes(two[start : start + size], "little")
        total += ((a + sign * b) % 256**size).to_bytes(size, "little")
    return total


def masked_vector(
    plain: bytes,
    word: int,
    plan_hash: bytes,
    group: int,
    stream: str,
    own: int,
    self_seed: int,
    edges: Mapping[int, int],
) -> bytes:
    """y_i for the member at place `own`: x_i + its own keystream + those of later, - those of earlier neighbours."""
    y = add(plain, keystream(stream_key(self_seed, plan_hash, group, "self", stream), len(plain)), word)
    for neighbour, seed in edges.items():
        pair = keystream(stream_key(seed, plan_hash, group, "pair", stream), len(plain))
        y = add(y, pair, word, 1 if own < neighbour else -1)
    return y


# --- seeds ------------------------------------------------------------------------------------------------------------


def edge_seed(
    dh: bytes,
    federation: str,
    number: int,
    plan_hash: bytes,
    group: int,
    first: tuple[str, bytes],
    second: tuple[str, bytes],
) -> int:
    """number: of the round; first, second: id and X25519 key of each end, in order of the cohort."""
    context = pae(
        federation.encode(),
        number.to_bytes(8, "little"),
        group.to_bytes(4, "little"),
        first[0].encode(),
        second[0].encode(),
        first[1],
        second[1],
    )
    return int.from_bytes(derive(dh, "fsps/1/secagg/edge-key", context, plan_hash, 48), "big") % P


def self_commitment(plan_hash: bytes, group: int, member: str, seed: int) -> bytes:
    label = "fsps/1/secagg/self-seed"
    return digest(label, plan_hash, group.to_bytes(4, "little"), member.encode(), seed.to_bytes(32, "big"))


def edge_commitment(plan_hash: bytes, group: int, first: str, second: str, seed: int) -> bytes:
    label = "fsps/1/secagg/edge-seed"
    ids = first.encode(), second.encode()
    return digest(label, plan_hash, group.to_bytes(4, "little"), *ids, seed.to_bytes(32, "big"))
