"""Every purpose for which something is signed, hashed or derived, and nothing else (SPEC section 2)."""

import hashlib
from enum import Enum

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedspallm_secure.crypto.encoding import pae


class Label(Enum):
    """The table of SPEC section 2.  No label is the beginning of another; a test holds both together."""

    SIGN_PACKAGE = "FSPKG1"
    SIGN_REQUEST = "fsps/1/sign/request"
    SIGN_ENROLMENT = "fsps/1/sign/enrolment"
    SIGN_KEY_STATEMENT = "fsps/1/sign/key-statement"
    SIGN_PREKEYS = "fsps/1/sign/prekeys"
    SIGN_ROSTER = "fsps/1/sign/roster"
    DIGEST_PACKAGE = "fsps/1/digest/package"
    DIGEST_REQUEST = "fsps/1/digest/request"
    DIGEST_ENROLMENT = "fsps/1/digest/enrolment"
    DIGEST_KEY_STATEMENT = "fsps/1/digest/key-statement"
    DIGEST_PREKEYS = "fsps/1/digest/prekeys"
    DIGEST_ROSTER = "fsps/1/digest/roster"
    DIGEST_SIGNING_KEY = "fsps/1/digest/signing-key"
    DIGEST_RECIPIENT_KEY = "fsps/1/digest/recipient-key"
    DIGEST_FINGERPRINT = "fsps/1/digest/fingerprint"
    KEM = "fsps/1/kem"
    KEY_KEYSTORE = "fsps/1/key/keystore"

    @property
    def encoded(self) -> bytes:
        """The label as it stands in signatures, digests and HKDF info."""
        return self.value.encode("ascii")


def digest(label: Label, *parts: bytes) -> bytes:
    """SHA-256 of PAE(label, parts), 32 bytes."""
    return hashlib.sha256(pae(label.encoded, *parts)).digest()


def derive_key(secret: bytes, label: Label, context: bytes, salt: bytes, size: int = 32) -> bytes:
    """HKDF-SHA-256 (RFC 5869) with info = PAE(label, context); `size` bytes, at most 255 * 32."""
    return hkdf_sha256(secret, salt, pae(label.encoded, context), size)


def hkdf_sha256(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """HKDF-SHA-256 as in RFC 5869.  Raises ValueError where the RFC allows no such size.

    Callers outside of tests use `derive_key`, which cannot forget the label.
    """
    return HKDF(algorithm=SHA256(), length=size, salt=salt, info=info).derive(secret)
