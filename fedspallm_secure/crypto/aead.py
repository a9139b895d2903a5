"""One message under AES-256-GCM (NIST SP 800-38D): one size of key, one of nonce, one of tag.

A nonce must never be used twice under a key.  Callers derive a new key for every message (SPEC section 7).
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedspallm_secure.errors import CannotDecrypt

KEY_SIZE = 32  # bytes
NONCE_SIZE = 12  # bytes


def encrypt(key: bytes, nonce: bytes, data: bytes, aad: bytes) -> bytes:
    """Ciphertext with the tag at its end, len(data) + 16 bytes.  Raises ValueError for another size of key or nonce."""
    if not _sizes_fit(key, nonce):
        raise ValueError(f"AES-256-GCM takes a key of {KEY_SIZE} and a nonce of {NONCE_SIZE} bytes")
    return AESGCM(key).encrypt(nonce, data, aad)


def decrypt(key: bytes, nonce: bytes, data: bytes, aad: bytes) -> bytes:
    """The plaintext.  Raises CannotDecrypt for every cause, sizes included."""
    if not _sizes_fit(key, nonce):
        raise CannotDecrypt()
    try:
        return AESGCM(key).decrypt(nonce, data, aad)
    except InvalidTag:
        raise CannotDecrypt() from None


def _sizes_fit(key: bytes, nonce: bytes) -> bool:
    return len(key) == KEY_SIZE and len(nonce) == NONCE_SIZE
