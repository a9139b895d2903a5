"""Wrapping a file key for one recipient: HPKE base mode (RFC 9180), by default hybrid with ML-KEM-768 (SPEC 4)."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.errors import CannotDecrypt, FormatError, WeakKey

FILE_KEY_SIZE = 32  # bytes
_MLKEM_SEED, _MLKEM_PUBLIC, _X25519 = 64, 1184, 32  # bytes


class Kem(Enum):
    """The key encapsulations that may stand in a header, the preferred one first."""

    HYBRID = "mlkem768-x25519"
    X25519 = "x25519"

    @property
    def public_size(self) -> int:
        """Bytes of a raw public key."""
        return _X25519 if self is Kem.X25519 else _MLKEM_PUBLIC + _X25519

    @property
    def secret_size(self) -> int:
        """Bytes of a raw secret key."""
        return _X25519 if self is Kem.X25519 else _MLKEM_SEED + _X25519

    @property
    def wrap_size(self) -> int:
        """Bytes of enc || ciphertext around a file key."""
        return (32 if self is Kem.X25519 else 1120) + FILE_KEY_SIZE + 16


_SUITES = {
    Kem.X25519: hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
    Kem.HYBRID: hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
}


@dataclass(frozen=True, slots=True)
class RecipientKey:
    """A public key to seal to."""

    kem: Kem
    public: bytes

    def __post_init__(self) -> None:
        if len(self.public) != self.kem.public_size:
            raise FormatError(f"a {self.kem.value} key has {self.kem.public_size} bytes, not {len(self.public)}")
        with suppress(UnsupportedAlgorithm):  # of others' keys this installation need not know more than their names
            _load_public(self.kem, self.public)

    @property
    def key_id(self) -> str:
        """Identifier, 64 hex digits (SPEC section 4)."""
        return digest(Label.DIGEST_RECIPIENT_KEY, self.kem.value.encode(), self.public).hex()


@dataclass(frozen=True, slots=True)
class RecipientSecret:
    """A secret key to open with."""

    kem: Kem
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != self.kem.secret_size:
            raise FormatError(f"a {self.kem.value} secret has {self.kem.secret_size} bytes, not {len(self.secret)}")

    @classmethod
    def generate(cls, kem: Kem) -> "RecipientSecret":
        """A new key."""
        return cls(kem, random_bytes(kem.secret_size))

    @property
    def recipient_key(self) -> RecipientKey:
        """The public half."""
        if self.kem is Kem.X25519:
            return RecipientKey(self.kem, _x25519(self.secret).public_key().public_bytes_raw())
        mlkem = MLKEM768PrivateKey.from_seed_bytes(self.secret[:_MLKEM_SEED]).public_key().public_bytes_raw()
        return RecipientKey(self.kem, mlkem + _x25519(self.secret[_MLKEM_SEED:]).public_key().public_bytes_raw())


def wrap(file_key: bytes, recipient: RecipientKey, info: bytes) -> bytes:
    """HPKE.Seal of a 32-byte file key; `kem.wrap_size` bytes.  Raises FormatError for a useless key."""
    if len(file_key) != FILE_KEY_SIZE:  # nobody could unwrap it
        raise ValueError(f"a file key has {FILE_KEY_SIZE} bytes, not {len(file_key)}")
    try:
        return _SUITES[recipient.kem].encrypt(file_key, _load_public(recipient.kem, recipient.public), info)
    except ValueError as error:  # an X25519 key of small order
        raise FormatError("this recipient key cannot be sealed to") from error


def unwrap(wrapped: bytes, secret: RecipientSecret, info: bytes) -> bytes:
    """HPKE.Open; 32 bytes.  Raises CannotDecrypt, with one message for every cause."""
    try:
        file_key = _SUITES[secret.kem].decrypt(wrapped, _load_secret(secret), info)
    except (InvalidTag, ValueError, TypeError):
        raise CannotDecrypt() from None
    if len(file_key) != FILE_KEY_SIZE:
        raise CannotDecrypt()
    return file_key


def x25519(secret: bytes, public: bytes) -> bytes:
    """Diffie-Hellman as in RFC 7748 section 6.1; 32 bytes.

    Both are 32 bytes; a public key that is no canonical number, or lies on the twist, counts as in the RFC.
    Raises FormatError for other sizes, WeakKey where everybody knows the result: it is all zero.
    """
    if len(secret) != _X25519 or len(public) != _X25519:
        raise FormatError(f"X25519 keys have {_X25519} bytes, got {len(secret)} and {len(public)}")
    try:
        return _x25519(secret).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise WeakKey("the other side's X25519 key has small order") from None


def supported_kems() -> list[Kem]:
    """The kems this installation can seal to, the preferred one first; ML-KEM is missing in some builds of OpenSSL."""
    try:
        RecipientSecret.generate(Kem.HYBRID).recipient_key  # noqa: B018  (the library says no only when asked to work)
    except UnsupportedAlgorithm:
        return [Kem.X25519]
    return [Kem.HYBRID, Kem.X25519]


def choose(offered: Sequence[RecipientKey], supported: Sequence[Kem]) -> RecipientKey:
    """The first key, in the recipient's order of preference, that both sides can use.  Raises FormatError if none."""
    for key in offered:
        if key.kem in supported:
            return key
    raise FormatError("the recipient offers no key that this installation can seal to")


def _x25519(raw: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(raw)


def _load_secret(secret: RecipientSecret) -> X25519PrivateKey | hpke.MLKEM768X25519PrivateKey:
    if secret.kem is Kem.X25519:
        return _x25519(secret.secret)
    return hpke.MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(secret.secret[:_MLKEM_SEED]), _x25519(secret.secret[_MLKEM_SEED:])
    )


def _load_public(kem: Kem, raw: bytes) -> X25519PublicKey | hpke.MLKEM768X25519PublicKey:
    try:
        if kem is Kem.X25519:
            return X25519PublicKey.from_public_bytes(raw)
        return hpke.MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC]),
            X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC:]),
        )
    except ValueError:
        raise FormatError(f"not a {kem.value} public key") from None
