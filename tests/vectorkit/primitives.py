"""Encodings, labels, hash trees and signatures (SPEC sections 1 to 4), written from the specification alone."""

import base64
import hashlib
from collections.abc import Mapping, Sequence

import nacl.bindings
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
ORDER_EIGHT = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
IDENTITY = bytes([1]) + bytes(31)
TILE = 2**20

Value = bool | int | str | Sequence["Value"] | Mapping[str, "Value"]


def seeded(name: str, length: int = 32) -> bytes:
    """Bytes that anybody can compute again: nothing in these vectors is a secret."""
    blocks = [
        hashlib.sha256(f"fedspallm-secure test vectors/{name}/{i}".encode()).digest() for i in range(length // 32 + 1)
    ]
    return b"".join(blocks)[:length]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def quoted(text: str) -> str:
    """A JSON string as RFC 8785 writes it; the control characters it would escape are refused by the SPEC."""
    assert all(ord(letter) >= 0x20 for letter in text)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def canonical(value: Value) -> str:
    """RFC 8785 for the values that the SPEC allows."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{quoted(name)}:{canonical(value[name])}" for name in names) + "}"
    return "[" + ",".join(canonical(item) for item in value) + "]"


def text_bytes(value: Value) -> bytes:
    return canonical(value).encode()


def pae(*parts: bytes) -> bytes:
    return u64(len(parts)) + b"".join(u64(len(part)) + part for part in parts)


def digest(label: str, *parts: bytes) -> bytes:
    return hashlib.sha256(pae(label.encode(), *parts)).digest()


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 section 2.1 over leaf hashes."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    left = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\1" + tree_root(leaves[:left]) + tree_root(leaves[left:])).digest()


def tiles_of(body: bytes) -> list[bytes]:
    return [body[i : i + TILE] for i in range(0, len(body), TILE)]


def raw_public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def signing_key_id(key: Ed25519PrivateKey) -> str:
    return digest("fsps/1/digest/signing-key", raw_public(key)).hex()


def recipient_key_id(kem: str, public: bytes) -> str:
    return digest("fsps/1/digest/recipient-key", kem.encode(), public).hex()


def sign(key: Ed25519PrivateKey, label: str, message: bytes) -> bytes:
    return key.sign(pae(label.encode(), message))


def sign_oddly(key: Ed25519PrivateKey, signed: bytes, nonce: bytes, *, torsion: bool = False) -> bytes:
    """A signature over `signed` with a nonce of our own.

    64 zero bytes as the nonce make R the identity.  With `torsion` a point of order eight is added to R: the
    cofactored equation then holds, the cofactorless one does not.
    """
    wide = bytearray(hashlib.sha512(key.private_bytes_raw()).digest()[:32])
    wide[0] &= 248
    wide[31] = (wide[31] & 127) | 64
    secret = int.from_bytes(wide, "little")
    r = int.from_bytes(nonce, "little") % GROUP_ORDER
    point = nacl.bindings.crypto_scalarmult_ed25519_base_noclamp(r.to_bytes(32, "little")) if r else IDENTITY
    if torsion:
        point = nacl.bindings.crypto_core_ed25519_add(point, ORDER_EIGHT)
    challenge = int.from_bytes(hashlib.sha512(point + raw_public(key) + signed).digest(), "little")
    return point + ((r + challenge * secret) % GROUP_ORDER).to_bytes(32, "little")


def checkpoint(origin: str, size: int, root: bytes, key: Ed25519PrivateKey) -> bytes:
    """A signed checkpoint of a log (SPEC section 22.1, C2SP tlog-checkpoint and signed-note)."""
    text = f"{origin}\n{size}\n{b64(root)}\n"
    key_id = hashlib.sha256(f"{origin}\n".encode() + b"\1" + raw_public(key)).digest()[:4]
    return f"{text}\n\u2014 {origin} {b64(key_id + key.sign(text.encode()))}\n".encode()


def fingerprint(data: bytes) -> str:
    found = digest("fsps/1/digest/fingerprint", data)
    return " ".join(f"{int.from_bytes(found[4 * i : 4 * i + 4], 'big') % 100_000:05d}" for i in range(8))


def statement(kind: str, fields: Mapping[str, Value], key: Ed25519PrivateKey) -> bytes:
    """A statement of one signature (SPEC section 6)."""
    line = text_bytes(fields)
    signature = b64(sign(key, f"fsps/1/sign/{kind}", line))
    return f"fedspallm-secure/1 {kind}\n".encode() + line + f"\n{signing_key_id(key)} {signature}\n".encode()


def statement_digest(kind: str, text: bytes) -> str:
    return digest(f"fsps/1/digest/{kind}", text.split(b"\n")[1]).hex()
