"""Ed25519 signatures over labelled bytes (RFC 8032, SPEC section 2), and the interface that hides a signing key.

Verification is libsodium's alone: it refuses small-order keys, so every verifier accepts the same signatures.
"""

from typing import Protocol

import nacl.bindings
import nacl.exceptions

from fedspallm_secure.crypto.encoding import pae
from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.errors import BadSignature, WeakKey

KEY_SIZE = 32  # bytes of a seed and of a public key
SIGNATURE_SIZE = 64  # bytes


class Signer(Protocol):
    """What a signing key can do, wherever it is kept: in a key file here, behind PKCS#11 elsewhere."""

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """Sign exactly these bytes; 64 bytes.  Called with PAE already applied."""


class Ed25519Signer:
    """A signing key in memory, from a 32-byte seed."""

    def __init__(self, seed: bytes) -> None:
        self.public, self._secret = nacl.bindings.crypto_sign_seed_keypair(seed)

    @classmethod
    def generate(cls) -> tuple["Ed25519Signer", bytes]:
        """A new key and the seed to store."""
        seed = random_bytes(KEY_SIZE)
        return cls(seed), seed

    def sign(self, message: bytes) -> bytes:
        """Sign exactly these bytes; 64 bytes."""
        return nacl.bindings.crypto_sign(message, self._secret)[:SIGNATURE_SIZE]


def sign(signer: Signer, label: Label, payload: bytes) -> bytes:
    """Signature over PAE(label, payload), 64 bytes."""
    return signer.sign(pae(label.encoded, payload))


def verify(public: bytes, label: Label, payload: bytes, signature: bytes, what: str) -> None:
    """Raise BadSignature unless `signature` is that of `public` over PAE(label, payload)."""
    if not verify_raw(public, pae(label.encoded, payload), signature):
        raise BadSignature(f"the signature on {what} does not match")


def verify_raw(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` over exactly these bytes is valid: what published test vectors need."""
    if len(public) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        return False  # libsodium reads 32 bytes of key whatever it is given, and takes signature and message joined
    try:
        nacl.bindings.crypto_sign_open(signature + message, public)
    except (nacl.exceptions.BadSignatureError, ValueError):
        return False
    return True


def check_public_key(public: bytes, what: str) -> None:
    """Raise WeakKey unless `public` is a canonical point of the prime-order subgroup (SPEC section 4).

    A party with a low-order key could deny its signatures: one signature would verify for several messages.
    """
    if len(public) != KEY_SIZE or not nacl.bindings.crypto_core_ed25519_is_valid_point(public):
        raise WeakKey(f"the signing key of {what} is not a point of the prime-order group")


def key_id(public: bytes) -> str:
    """Identifier of a signing key, 64 hex digits."""
    return digest(Label.DIGEST_SIGNING_KEY, public).hex()
