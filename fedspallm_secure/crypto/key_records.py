"""What the key files hold once they are open: one frozen record for each purpose (the second table of SPEC section 7).

A record cannot exist half-valid, and none shows its secrets when printed.  What `passwords` says of memory holds here
too: records are made late and held briefly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedspallm_secure.crypto.encoding import INTEGER_BOUND, decode_base64, encode_base64, fields
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.crypto.signing import KEY_SIZE
from fedspallm_secure.errors import FormatError

RECIPIENT_KEYS_LIMIT: Final = 16  # keys of one recipient file: the present ones, and those being phased out
PREKEYS_HELD_LIMIT: Final = 10_000  # prekeys of one file: the longest array that canonical JSON allows
_EXCHANGE_SIZE = 32  # bytes of an X25519 secret


class Purpose(Enum):
    """One key file each."""

    ROOT = "root"
    SIGNING = "signing"
    TLS = "tls"
    RECIPIENT = "recipient"
    PREKEYS = "prekeys"
    JOURNAL = "journal"
    LOG = "log"
    COSIGNER = "cosigner"


@dataclass(frozen=True, slots=True)
class SigningSeed:
    """Of the purposes `root`, `signing`, `log` and `cosigner`.  seed: Ed25519 (RFC 8032), 32 bytes."""

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) != KEY_SIZE:
            raise FormatError(f"an Ed25519 seed has {KEY_SIZE} bytes, not {len(self.seed)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data as it is encrypted."""
        return {"ed25519": encode_base64(self.seed)}

    @classmethod
    def from_dict(cls, value: Any) -> "SigningSeed":
        """Read plain data.  Raises FormatError."""
        found = fields(value, {"ed25519": str}, "signing key")
        return cls(decode_base64(found["ed25519"], "ed25519"))


@dataclass(frozen=True, slots=True)
class TlsSecret:
    """Of the purpose `tls`.  pkcs8: an ECDSA key on P-256, PKCS #8 in DER."""

    pkcs8: bytes = field(repr=False)

    def __post_init__(self) -> None:
        self.load()

    def load(self) -> ec.EllipticCurvePrivateKey:
        """The key for the TLS library and for CSRs.  Raises FormatError if it is none on P-256."""
        try:
            key = serialization.load_der_private_key(self.pkcs8, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise FormatError("not an unencrypted PKCS #8 key") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise FormatError("not a key on P-256")
        return key

    def to_dict(self) -> dict[str, Any]:
        """Plain data as it is encrypted."""
        return {"p256": encode_base64(self.pkcs8)}

    @classmethod
    def from_dict(cls, value: Any) -> "TlsSecret":
        """Read plain data.  Raises FormatError."""
        found = fields(value, {"p256": str}, "TLS key")
        return cls(decode_base64(found["p256"], "p256"))


@dataclass(frozen=True, slots=True)
class RecipientSecrets:
    """Of the purpose `recipient`: at least one key, none of them twice."""

    keys: tuple[RecipientSecret, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.keys) <= RECIPIENT_KEYS_LIMIT:
            raise FormatError(f"a recipient has 1 to {RECIPIENT_KEYS_LIMIT} keys, not {len(self.keys)}")
        if len({(key.kem, key.secret) for key in self.keys}) != len(self.keys):
            raise FormatError("a recipient key is there twice")

    def to_dict(self) -> dict[str, Any]:
        """Plain data as it is encrypted."""
        return {"keys": [{"kem": key.kem.value, "secret": encode_base64(key.secret)} for key in self.keys]}

    @classmethod
    def from_dict(cls, value: Any) -> "RecipientSecrets":
        """Read plain data.  Raises FormatError."""
        found = fields(value, {"keys": list}, "recipient keys")
        return cls(tuple(_recipient_secret(key) for key in found["keys"]))


def _recipient_secret(value: Any) -> RecipientSecret:
    found = fields(value, {"kem": str, "secret": str}, "recipient key")
    if found["kem"] not in {kem.value for kem in Kem}:
        raise FormatError(f"{found['kem'][:64]!r} is no kem")
    return RecipientSecret(Kem(found["kem"]), decode_base64(found["secret"], "secret"))


@dataclass(frozen=True, slots=True)
class PrekeySecret:
    """A one-time key.  index: its place in the hash trees; exchange: X25519, 32 bytes; recipient: hybrid."""

    index: int
    exchange: bytes = field(repr=False)
    recipient: RecipientSecret

    def __post_init__(self) -> None:
        if not 0 <= self.index < INTEGER_BOUND:
            raise FormatError(f"{self.index} is no index of a prekey")
        if len(self.exchange) != _EXCHANGE_SIZE or self.recipient.kem is not Kem.HYBRID:
            raise FormatError(f"prekey {self.index} is not an X25519 key and a {Kem.HYBRID.value} key")

    @classmethod
    def generate(cls, index: int) -> "PrekeySecret":
        """A new one-time key."""
        return cls(index, random_bytes(_EXCHANGE_SIZE), RecipientSecret.generate(Kem.HYBRID))

    @property
    def leaf(self) -> bytes:
        """What is published of it: X25519 public key (32) || public key of `mlkem768-x25519` (1216); SPEC 6.4."""
        exchange = X25519PrivateKey.from_private_bytes(self.exchange).public_key().public_bytes_raw()
        return exchange + self.recipient.recipient_key.public

    def to_dict(self) -> dict[str, Any]:
        """Plain data as it is encrypted."""
        return {"index": self.index, "secret": encode_base64(self.exchange + self.recipient.secret)}

    @classmethod
    def from_dict(cls, value: Any) -> "PrekeySecret":
        """Read plain data.  Raises FormatError."""
        found = fields(value, {"index": int, "secret": str}, "prekey")
        raw = decode_base64(found["secret"], "secret", _EXCHANGE_SIZE + Kem.HYBRID.secret_size)
        return cls(found["index"], raw[:_EXCHANGE_SIZE], RecipientSecret(Kem.HYBRID, raw[_EXCHANGE_SIZE:]))


@dataclass(frozen=True, slots=True)
class PrekeySecrets:
    """Of the purpose `prekeys`: those not used yet, without a gap.

    next: the index of keys[0], which is burned next; without keys, the index of the first one to be made.
    """

    next: int
    keys: tuple[PrekeySecret, ...]

    def __post_init__(self) -> None:
        if len(self.keys) > PREKEYS_HELD_LIMIT:
            raise FormatError(f"a file holds at most {PREKEYS_HELD_LIMIT} prekeys, not {len(self.keys)}")
        if not 0 <= self.next <= INTEGER_BOUND - 1 - len(self.keys):
            raise FormatError(f"{self.next} cannot be the next prekey")
        if [key.index for key in self.keys] != list(range(self.next, self.end)):
            raise FormatError("the prekeys are not those that follow one another from the next one on")

    @property
    def end(self) -> int:
        """The index after the last one: where the next prekey to be made goes."""
        return self.next + len(self.keys)

    def to_dict(self) -> dict[str, Any]:
        """Plain data as it is encrypted."""
        return {"next": self.next, "keys": [key.to_dict() for key in self.keys]}

    @classmethod
    def from_dict(cls, value: Any) -> "PrekeySecrets":
        """Read plain data.  Raises FormatError."""
        found = fields(value, {"next": int, "keys": list}, "prekeys")
        return cls(found["next"], tuple(PrekeySecret.from_dict(key) for key in found["keys"]))


@dataclass(frozen=True, slots=True)
class JournalSecret:
    """Of the purpose `journal`: what secret records of rounds are encrypted under.  key: AES-256, 32 bytes."""

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) != KEY_SIZE:
            raise FormatError(f"the key of a journal has {KEY_SIZE} bytes, not {len(self.key)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data as it is encrypted."""
        return {"aes256": encode_base64(self.key)}

    @classmethod
    def from_dict(cls, value: Any) -> "JournalSecret":
        """Read plain data.  Raises FormatError."""
        found = fields(value, {"aes256": str}, "journal key")
        return cls(decode_base64(found["aes256"], "aes256"))


Record = SigningSeed | TlsSecret | RecipientSecrets | PrekeySecrets | JournalSecret

RECORDS: Final[dict[Purpose, type[Record]]] = {
    Purpose.ROOT: SigningSeed,
    Purpose.SIGNING: SigningSeed,
    Purpose.TLS: TlsSecret,
    Purpose.RECIPIENT: RecipientSecrets,
    Purpose.PREKEYS: PrekeySecrets,
    Purpose.JOURNAL: JournalSecret,
    Purpose.LOG: SigningSeed,
    Purpose.COSIGNER: SigningSeed,
}


def prekeys_from(first: int, count: int) -> Sequence[PrekeySecret]:
    """New one-time keys with the indices first, first + 1, ..."""
    return [PrekeySecret.generate(index) for index in range(first, first + count)]
