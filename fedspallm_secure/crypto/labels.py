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
    SIGN_DEAL = "fsps/1/sign/deal"
    SIGN_SURVIVORS = "fsps/1/sign/survivors"
    SIGN_ENDORSEMENT = "fsps/1/sign/endorsement"
    SIGN_OPENING = "fsps/1/sign/opening"
    SIGN_BEACON = "fsps/1/sign/beacon"
    SIGN_RESULT = "fsps/1/sign/result"
    SIGN_BUNDLE = "fsps/1/sign/bundle"
    SIGN_RECEIPT = "fsps/1/sign/receipt"
    SIGN_NOTE_KEY = "fsps/1/sign/note-key"
    SIGN_ENTRY = "fsps/1/sign/entry"
    SIGN_CIPHER_KEY = "fsps/1/sign/cipher-key"
    DIGEST_PACKAGE = "fsps/1/digest/package"
    DIGEST_REQUEST = "fsps/1/digest/request"
    DIGEST_ENROLMENT = "fsps/1/digest/enrolment"
    DIGEST_KEY_STATEMENT = "fsps/1/digest/key-statement"
    DIGEST_PREKEYS = "fsps/1/digest/prekeys"
    DIGEST_ROSTER = "fsps/1/digest/roster"
    DIGEST_PLAN = "fsps/1/digest/plan"
    DIGEST_DEAL = "fsps/1/digest/deal"
    DIGEST_SURVIVORS = "fsps/1/digest/survivors"
    DIGEST_OPENING = "fsps/1/digest/opening"
    DIGEST_RESULT = "fsps/1/digest/result"
    DIGEST_BUNDLE = "fsps/1/digest/bundle"
    DIGEST_RECEIPT = "fsps/1/digest/receipt"
    DIGEST_NOTE_KEY = "fsps/1/digest/note-key"
    DIGEST_CIPHER_KEY = "fsps/1/digest/cipher-key"
    DIGEST_BASE = "fsps/1/digest/base"
    DIGEST_MODEL = "fsps/1/digest/model"
    DIGEST_LAYER = "fsps/1/digest/layer"
    DIGEST_SAMPLING = "fsps/1/digest/sampling"
    DIGEST_SIGNING_KEY = "fsps/1/digest/signing-key"
    DIGEST_RECIPIENT_KEY = "fsps/1/digest/recipient-key"
    DIGEST_FINGERPRINT = "fsps/1/digest/fingerprint"
    KEM = "fsps/1/kem"
    KEY_KEYSTORE = "fsps/1/key/keystore"
    KEY_RECORD = "fsps/1/key/record"
    SECAGG_EDGE = "fsps/1/secagg/edge-key"
    SECAGG_STREAM = "fsps/1/secagg/stream"
    SECAGG_SELF_SEED = "fsps/1/secagg/self-seed"
    SECAGG_EDGE_SEED = "fsps/1/secagg/edge-seed"
    SECAGG_SHARE = "fsps/1/secagg/share"
    SECAGG_BLIND = "fsps/1/secagg/blind"
    SECAGG_ROW = "fsps/1/secagg/row"
    SECAGG_ENVELOPE_INFO = "fsps/1/secagg/envelope-info"
    SECAGG_ENVELOPE_KEY = "fsps/1/secagg/envelope-key"
    SECAGG_ENVELOPE_HASH = "fsps/1/secagg/envelope-hash"
    SECAGG_FROZEN = "fsps/1/secagg/frozen"
    SECAGG_BEACON = "fsps/1/secagg/beacon"

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
