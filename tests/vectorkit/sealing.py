"""HPKE in base mode (RFC 9180, X-Wing) and Cobblestone-256, step by step, with every random value as an argument."""

import base64
import hashlib
import hmac
import json
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import cryptography_vectors
from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

CHUNK = 16_384
X25519_KEM = 0x0020
XWING_KEM = 0x647A
AES_128, AES_256, CHACHA = 1, 2, 3
COBBLESTONE = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM"
_AEADS = {AES_128: (AESGCM, 16), AES_256: (AESGCM, 32), CHACHA: (ChaCha20Poly1305, 32)}


def extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), secret, "sha256")


def expand(prk: bytes, info: bytes, length: int, algorithm: str = "sha256") -> bytes:
    """HKDF-Expand, RFC 5869 section 2.3."""
    out, block = b"", b""
    for i in range(1, 256):
        block = hmac.digest(prk, block + info + bytes([i]), algorithm)
        out += block
        if len(out) >= length:
            return out[:length]
    raise AssertionError("too long")


def labeled_extract(suite: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
    return extract(salt, b"HPKE-v1" + suite + label + secret)


def labeled_expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def dhkem_secret(dh: bytes, enc: bytes, public: bytes) -> bytes:
    """ExtractAndExpand of RFC 9180 section 4.1."""
    suite = b"KEM" + X25519_KEM.to_bytes(2, "big")
    prk = labeled_extract(suite, b"", b"eae_prk", dh)
    return labeled_expand(suite, prk, b"shared_secret", enc + public, 32)


def key_schedule(shared: bytes, info: bytes, kem: int = X25519_KEM, aead: int = AES_256) -> tuple[bytes, bytes]:
    """Key and base nonce of base mode, RFC 9180 section 5.1, with HKDF-SHA256."""
    suite = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (kem, 1, aead))
    context = b"\0" + labeled_extract(suite, b"", b"psk_id_hash", b"") + labeled_extract(suite, b"", b"info_hash", info)
    secret = labeled_extract(suite, shared, b"secret", b"")
    key = labeled_expand(suite, secret, b"key", context, _AEADS[aead][1])
    return key, labeled_expand(suite, secret, b"base_nonce", context, 12)


def nonce_at(base: bytes, counter: int) -> bytes:
    return (int.from_bytes(base, "big") ^ counter).to_bytes(12, "big")


def hpke_seal(
    public: bytes,
    ephemeral: bytes,
    info: bytes,
    message: bytes,
    *,
    aad: bytes = b"",
    counter: int = 0,
    aead: int = AES_256,
) -> bytes:
    """enc ‖ ciphertext for an X25519 key; the keyword arguments make the variants that a reader has to refuse."""
    secret = X25519PrivateKey.from_private_bytes(ephemeral)
    enc = secret.public_key().public_bytes_raw()
    shared = dhkem_secret(secret.exchange(X25519PublicKey.from_public_bytes(public)), enc, public)
    return enc + seal_under(shared, info, message, aad=aad, counter=counter, aead=aead)


def seal_under(
    shared: bytes, info: bytes, message: bytes, *, aad: bytes = b"", counter: int = 0, aead: int = AES_256
) -> bytes:
    key, base = key_schedule(shared, info, aead=aead)
    return _AEADS[aead][0](key).encrypt(nonce_at(base, counter), message, aad)


def xwing_secret(seed: bytes, x_secret: bytes, enc: bytes) -> bytes:
    """Decapsulation of X-Wing, with the ML-KEM seed (64 bytes) and the X25519 key already expanded."""
    ct_m, ct_x = enc[:1088], enc[1088:1120]
    ours = X25519PrivateKey.from_private_bytes(x_secret)
    ss_m = MLKEM768PrivateKey.from_seed_bytes(seed).decapsulate(ct_m)
    ss_x = ours.exchange(X25519PublicKey.from_public_bytes(ct_x))
    return hashlib.sha3_256(ss_m + ss_x + ct_x + ours.public_key().public_bytes_raw() + b"\\.//^\\").digest()


def xwing_open(secret: bytes, info: bytes, sealed: bytes) -> bytes:
    """What `enc ‖ ciphertext` for a hybrid key holds; `secret` as in a key file (SPEC section 7)."""
    shared = xwing_secret(secret[:64], secret[64:], sealed[:1120])
    key, base = key_schedule(shared, info, XWING_KEM)
    return AESGCM(key).decrypt(base, sealed[1120:], b"")


def body_keys(
    file_key: bytes, salt: bytes, context: bytes, name: bytes = COBBLESTONE, algorithm: str = "sha512"
) -> tuple[bytes, bytes, bytes]:
    """Key, base nonce and commitment of a body."""
    size = 16 if b"128" in name else 32
    out = expand(file_key, name + b"\0" + salt + context, size + 12 + 32, algorithm)
    return out[:size], out[size : size + 12], out[size + 12 :]


def in_chunks(plaintext: bytes) -> list[bytes]:
    """Full chunks and then one that is shorter, possibly empty."""
    return [plaintext[i * CHUNK : (i + 1) * CHUNK] for i in range(len(plaintext) // CHUNK + 1)]


def seal_chunks(
    file_key: bytes,
    salt: bytes,
    context: bytes,
    chunks: Sequence[bytes],
    *,
    counters: Sequence[int] | None = None,
    aad: bytes = b"",
    nonce: Callable[[bytes, int], bytes] = nonce_at,
    name: bytes = COBBLESTONE,
    algorithm: str = "sha512",
) -> bytes:
    """A body of any chunks one likes; the keyword arguments make what a reader has to refuse."""
    key, base, commitment = body_keys(file_key, salt, context, name, algorithm)
    numbers = range(len(chunks)) if counters is None else counters
    sealed = [AESGCM(key).encrypt(nonce(base, i), chunk, aad) for i, chunk in zip(numbers, chunks, strict=True)]
    return salt + commitment + b"".join(sealed)


def seal_body(file_key: bytes, salt: bytes, context: bytes, plaintext: bytes) -> bytes:
    return seal_chunks(file_key, salt, context, in_chunks(plaintext))


def body_length(plaintext: int) -> int:
    return 56 + plaintext + 16 * (plaintext // CHUNK + 1)


def _vectors(name: str) -> list[dict]:
    found = json.loads((Path(cryptography_vectors.__file__).parent / name).read_text())
    return found["vectors"] if isinstance(found, dict) else found


def _check_hpke() -> None:
    [vector] = [
        v
        for v in _vectors("HPKE/test-vectors.json")
        if (v["mode"], v["kem_id"], v["kdf_id"], v["aead_id"]) == (0, X25519_KEM, 1, AES_256)
    ]
    first, public = vector["encryptions"][0], bytes.fromhex(vector["pkRm"])
    ephemeral, info = bytes.fromhex(vector["skEm"]), bytes.fromhex(vector["info"])
    sealed = hpke_seal(public, ephemeral, info, bytes.fromhex(first["pt"]), aad=bytes.fromhex(first["aad"]))
    if sealed.hex() != vector["enc"] + first["ct"]:
        raise SystemExit("the HPKE written here does not give what RFC 9180 gives")


def _check_xwing() -> None:
    [vector] = [v for v in _vectors("HPKE/hpke-pq-test-vectors.json") if (v["kem_id"], v["kdf_id"]) == (XWING_KEM, 1)]
    expanded = hashlib.shake_256(bytes.fromhex(vector["skRm"])).digest(96)
    shared = xwing_secret(expanded[:64], expanded[64:], bytes.fromhex(vector["enc"]))
    key, base = key_schedule(shared, bytes.fromhex(vector["info"]), XWING_KEM, vector["aead_id"])
    if (shared.hex(), key.hex(), base.hex()) != (vector["shared_secret"], vector["key"], vector["base_nonce"]):
        raise SystemExit("the X-Wing written here does not give what its published vector gives")


def _check_cobblestone() -> None:
    """The published vectors are those of the format with SHA-256; with SHA-512 the library must open what we seal."""
    done = 0
    for vector in _vectors("chunked-encryption/vectors.json"):
        if vector["aead"] != "AEAD_AES_256_GCM" or vector["expect"] != "success":
            continue
        body = base64.b64decode(vector["ciphertext"])
        if "compressed" in vector:
            body = zlib.decompress(body)
        key, context, salt = bytes.fromhex(vector["key"]), vector["context"].encode(), body[:24]
        aead_key, base, _ = body_keys(key, salt, context, algorithm="sha256")
        pieces = [body[i : i + CHUNK + 16] for i in range(56, len(body), CHUNK + 16)]
        plaintext = b"".join(AESGCM(aead_key).decrypt(nonce_at(base, i), p, b"") for i, p in enumerate(pieces))
        again = seal_chunks(key, salt, context, in_chunks(plaintext), algorithm="sha256")
        if again != body or hashlib.sha256(plaintext).hexdigest() != vector["payload_sha256"]:
            raise SystemExit(f"the chunked encryption written here fails on the published vector {vector['name']}")
        opener = Cobblestone256Decryptor(key, context)
        if opener.update(seal_body(key, salt, context, plaintext)) + opener.finalize() != plaintext:
            raise SystemExit("the Cobblestone-256 written here is not the one of the library")
        done += 1
    if not done:
        raise SystemExit("no published vector of AEAD_AES_256_GCM was found")


@cache
def check_against_published_vectors() -> None:
    """Before anything is written: what this module computes is what the standards give."""
    _check_hpke()
    _check_xwing()
    _check_cobblestone()
