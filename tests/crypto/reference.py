"""Slow, obvious twins of what crypto/ takes from libraries, written from the RFCs; never imported by the library."""

import hashlib
import hmac

import nacl.bindings
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# --- edwards25519 (RFC 8032 section 5.1), in affine coordinates -------------------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)

Point = tuple[int, int]
IDENTITY: Point = (0, 1)


def recover_x(y: int, sign: int) -> int | None:
    """The x of this parity with (x, y) on the curve; of x = 0 both signs are taken, which RFC 8032 forbids."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * SQRT_M1 % P
    if (x * x - square) % P:
        return None
    return -x % P if x & 1 != sign else x


def add(a: Point, b: Point) -> Point:
    (x1, y1), (x2, y2) = a, b
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P)
    return x % P, (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P


def multiply(scalar: int, point: Point) -> Point:
    result = IDENTITY
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def encode(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def _base() -> Point:
    y = 4 * pow(5, -1, P) % P
    x = recover_x(y, 0)
    assert x is not None
    return x, y


def _torsion() -> list[Point]:
    """The eight points of order 1, 2, 4 and 8: multiples of one of order 8."""
    for y in range(2, 100):
        x = recover_x(y, 0)
        if x is not None:
            point = multiply(L, (x, y))  # takes the part of prime order away
            if multiply(4, point) != IDENTITY:
                return [multiply(number, point) for number in range(8)]
    raise AssertionError("no point of order 8 found")


BASE = _base()
TORSION = _torsion()


def challenge(r: bytes, public: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + public + message).digest(), "little") % L


# --- trees (RFC 6962 section 2.1, word by word) -----------------------------------------------------------------------


def tree_root(data: list[bytes]) -> bytes:
    if not data:
        return hashlib.sha256().digest()
    if len(data) == 1:
        return hashlib.sha256(b"\0" + data[0]).digest()
    k = left_size(len(data))
    return hashlib.sha256(b"\1" + tree_root(data[:k]) + tree_root(data[k:])).digest()


def tree_path(index: int, data: list[bytes]) -> list[bytes]:
    if len(data) == 1:
        return []
    k = left_size(len(data))
    if index < k:
        return [*tree_path(index, data[:k]), tree_root(data[k:])]
    return [*tree_path(index - k, data[k:]), tree_root(data[:k])]


def tree_proof(old: int, data: list[bytes], complete: bool = True) -> list[bytes]:
    """Consistency proof (RFC 6962 section 2.1.2); complete: the old tree is one of the nodes that are known."""
    if old == len(data):
        return [] if complete else [tree_root(data)]
    k = left_size(len(data))
    if old <= k:
        return [*tree_proof(old, data[:k], complete), tree_root(data[k:])]
    return [*tree_proof(old - k, data[k:], False), tree_root(data[:k])]


def left_size(size: int) -> int:
    k = 1
    while 2 * k < size:
        k *= 2
    return k


# --- HKDF (RFC 5869) and HPKE in base mode (RFC 9180 sections 4 and 5.1) ----------------------------------------------


def hkdf_extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), secret, "sha256")


def hkdf_expand(key: bytes, info: bytes, size: int, name: str = "sha256") -> bytes:
    output = block = b""
    for number in range(1, 256):
        if len(output) >= size:
            break
        block = hmac.digest(key, block + info + bytes([number]), name)
        output += block
    return output[:size]


DHKEM, XWING = 0x0020, 0x647A
HKDF_SHA256, AES_256_GCM = 1, 2
_VERSION = b"HPKE-v1"
XWING_LABEL = bytes.fromhex("5c2e2f2f5e5c")


def _extract(suite: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
    return hkdf_extract(salt, _VERSION + suite + label + secret)


def _expand(suite: bytes, key: bytes, label: bytes, info: bytes, size: int) -> bytes:
    return hkdf_expand(key, size.to_bytes(2, "big") + _VERSION + suite + label + info, size)


def key_schedule(kem: int, aead: int, shared: bytes, info: bytes, key_size: int) -> tuple[bytes, bytes]:
    """Key and base nonce in base mode with HKDF-SHA-256."""
    suite = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (kem, HKDF_SHA256, aead))
    context = b"\0" + _extract(suite, b"", b"psk_id_hash", b"") + _extract(suite, b"", b"info_hash", info)
    secret = _extract(suite, shared, b"secret", b"")
    return _expand(suite, secret, b"key", context, key_size), _expand(suite, secret, b"base_nonce", context, 12)


def dhkem_shared(agreed: bytes, enc: bytes, public: bytes) -> bytes:
    suite = b"KEM" + DHKEM.to_bytes(2, "big")
    return _expand(suite, _extract(suite, b"", b"eae_prk", agreed), b"shared_secret", enc + public, 32)


def xwing_shared(mlkem_shared: bytes, agreed: bytes, ephemeral: bytes, public: bytes) -> bytes:
    """The combiner of draft-connolly-cfrg-xwing-kem; ephemeral and public are the X25519 halves."""
    return hashlib.sha3_256(mlkem_shared + agreed + ephemeral + public + XWING_LABEL).digest()


def hpke_seal(kem: int, enc: bytes, shared: bytes, info: bytes, plaintext: bytes) -> bytes:
    """enc || ciphertext, from what the KEM agreed on."""
    key, nonce = key_schedule(kem, AES_256_GCM, shared, info, 32)
    return enc + AESGCM(key).encrypt(nonce, plaintext, b"")


def hpke_open_x25519(wrapped: bytes, secret: bytes, info: bytes) -> bytes:
    enc, ciphertext = wrapped[:32], wrapped[32:]
    public = nacl.bindings.crypto_scalarmult_base(secret)
    shared = dhkem_shared(nacl.bindings.crypto_scalarmult(secret, enc), enc, public)
    key, nonce = key_schedule(DHKEM, AES_256_GCM, shared, info, 32)
    return AESGCM(key).decrypt(nonce, ciphertext, b"")


def hpke_open_hybrid(wrapped: bytes, secret: bytes, info: bytes) -> bytes:
    """ML-KEM itself is the library's; the vectors of test_wycheproof.py cover it."""
    mlkem_enc, ephemeral, ciphertext = wrapped[:1088], wrapped[1088:1120], wrapped[1120:]
    seed, x25519 = secret[:64], secret[64:]
    shared = xwing_shared(
        MLKEM768PrivateKey.from_seed_bytes(seed).decapsulate(mlkem_enc),
        nacl.bindings.crypto_scalarmult(x25519, ephemeral),
        ephemeral,
        nacl.bindings.crypto_scalarmult_base(x25519),
    )
    key, nonce = key_schedule(XWING, AES_256_GCM, shared, info, 32)
    return AESGCM(key).decrypt(nonce, ciphertext, b"")


# --- Cobblestone-256 (c2sp.org/chunked-encryption) --------------------------------------------------------------------


def cobblestone_keys(key: bytes, salt: bytes, context: bytes, name: str = "sha512") -> tuple[bytes, bytes, bytes]:
    """Chunk key, base nonce and commitment.  The format leaves the hash open; Cobblestone-256 takes SHA-512."""
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    derived = hkdf_expand(key, info, 32 + 12 + 32, name)
    return derived[:32], derived[32:44], derived[44:]


def counted(nonce: bytes, number: int) -> bytes:
    return (int.from_bytes(nonce, "big") ^ number).to_bytes(12, "big")


def cobblestone(key: bytes, salt: bytes, context: bytes, plaintext: bytes) -> bytes:
    """The one body of this plaintext under this salt."""
    chunk_key, nonce, commitment = cobblestone_keys(key, salt, context)
    chunks = [plaintext[start : start + 16384] for start in range(0, len(plaintext) + 1, 16384)]
    cipher = AESGCM(chunk_key)
    sealed = [cipher.encrypt(counted(nonce, number), chunk, b"") for number, chunk in enumerate(chunks)]
    return salt + commitment + b"".join(sealed)
