"""Keys at rest: AES-256-GCM under a key from a password (SPEC section 7).  Bytes in, bytes out.

A wrong password and a changed file give one and the same error, so nobody learns which it was.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from fedspallm_secure.crypto.aead import NONCE_SIZE, decrypt, encrypt
from fedspallm_secure.crypto.encoding import (
    canonical_json,
    decode_base64,
    encode_base64,
    fields,
    parse_canonical_json,
)
from fedspallm_secure.crypto.identity import Party, check_federation
from fedspallm_secure.crypto.key_records import RECORDS, Purpose, Record
from fedspallm_secure.crypto.labels import Label, derive_key
from fedspallm_secure.crypto.passwords import DEFAULT_KDF, SALT_SIZE, KdfParameters, Password, PasswordKey
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.errors import CannotDecrypt, FormatError, KeyStoreError, LimitExceeded, WrongPassword

__all__ = [
    "DEFAULT_KDF",
    "KEY_FILE_LIMIT",
    "KdfParameters",
    "LockedKey",
    "Password",
    "PasswordKey",
    "Purpose",
    "Record",
    "authority_uri",
    "check_owner",
    "lock",
    "unlock",
]

FORMAT: Final = "fedspallm-secure/1 key"
KEY_FILE_LIMIT: Final = 4 << 20  # bytes
_FILE_SALT_SIZE = 32  # bytes
_TAG_SIZE = 16  # bytes
_NONCE = bytes(NONCE_SIZE)  # every file key is used once: its salt is new with every writing
_SCHEMA: dict[str, type] = {
    "format": str,
    "purpose": str,
    "owner": str,
    "kdf": dict,
    "file_salt": str,
    "ciphertext": str,
}
_KDF = {"name": str, "memory_kib": int, "passes": int, "lanes": int, "salt": str}
_KDF_NAME = "argon2id"
_URI = "spiffe://"
_AUTHORITY = "authority/root"
_HINT = "check that --home names the right identity"
_DAMAGED = "it is damaged, or not a key file; what cannot be opened any more is replaced: fedprune certs request"


@dataclass(frozen=True, slots=True)
class LockedKey:
    """A key file as it lies there.  What it says of itself is a claim until `unlock` has opened it."""

    purpose: Purpose
    owner: str
    parameters: KdfParameters
    salt: bytes
    file_salt: bytes
    ciphertext: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes, what: str) -> "LockedKey":
        """Read a key file and compute nothing.  what: names it in errors.  Raises FormatError or LimitExceeded."""
        if len(data) > KEY_FILE_LIMIT:
            raise LimitExceeded(f"{what} is larger than {KEY_FILE_LIMIT} bytes")
        try:
            return cls._parse(data)
        except FormatError as error:
            raise FormatError(f"{what}: {error}", hint=_DAMAGED) from None

    @classmethod
    def _parse(cls, data: bytes) -> "LockedKey":
        if not data.endswith(b"\n"):
            raise FormatError("the line feed at its end is missing")
        found = fields(parse_canonical_json(data[:-1], "its line"), _SCHEMA, "the object")
        if found["format"] != FORMAT:
            raise FormatError(f"not of the format {FORMAT!r}")
        if found["purpose"] not in {purpose.value for purpose in Purpose}:
            raise FormatError(f"{found['purpose'][:64]!r} is no purpose of a key file")
        purpose = Purpose(found["purpose"])
        check_owner(purpose, found["owner"])
        parameters, salt = _parse_kdf(found["kdf"])
        file_salt = decode_base64(found["file_salt"], "file_salt", _FILE_SALT_SIZE)
        ciphertext = decode_base64(found["ciphertext"], "ciphertext")
        if len(ciphertext) < _TAG_SIZE:
            raise FormatError("ciphertext is too short")
        return cls(purpose, found["owner"], parameters, salt, file_salt, ciphertext)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without the ciphertext."""
        kdf = self.parameters
        return {
            "format": FORMAT,
            "purpose": self.purpose.value,
            "owner": self.owner,
            "kdf": {
                "name": _KDF_NAME,
                "memory_kib": kdf.memory_kib,
                "passes": kdf.passes,
                "lanes": kdf.lanes,
                "salt": encode_base64(self.salt),
            },
            "file_salt": encode_base64(self.file_salt),
        }

    @property
    def header(self) -> bytes:
        """Everything but the ciphertext in canonical JSON: the context of the file key, and the AAD."""
        return canonical_json(self.to_dict())

    def open(self, secret: Password | PasswordKey, what: str) -> tuple[Record, PasswordKey]:
        """Decrypt.  secret: the password, or what an earlier opening made of it.

        Raises WrongPassword, OutOfMemory; FormatError if what was locked is no record of this purpose.
        """
        if isinstance(secret, Password):
            key = PasswordKey.derive(secret, self.parameters, self.salt)
        elif (secret.parameters, secret.salt) == (self.parameters, self.salt):
            key = secret
        else:  # the file has been given another password since
            raise WrongPassword(_refusal(what))
        try:
            plaintext = decrypt(_file_key(key, self), _NONCE, self.ciphertext, self.header)
        except CannotDecrypt:
            raise WrongPassword(_refusal(what)) from None
        return _parse_record(plaintext, self.purpose, what), key


def lock(purpose: Purpose, owner: str, record: Record, password_key: PasswordKey) -> bytes:
    """A key file, with a new file salt.  Raises FormatError for a bad owner, LimitExceeded for too many keys."""
    check_owner(purpose, owner)
    if type(record) is not RECORDS[purpose]:
        raise TypeError(f"a {purpose.value} file does not hold {type(record).__name__}")
    parameters, salt = password_key.parameters, password_key.salt
    empty = LockedKey(purpose, owner, parameters, salt, random_bytes(_FILE_SALT_SIZE), b"")
    ciphertext = encrypt(_file_key(password_key, empty), _NONCE, canonical_json(record.to_dict()), empty.header)
    data = canonical_json({**empty.to_dict(), "ciphertext": encode_base64(ciphertext)}) + b"\n"
    if len(data) > KEY_FILE_LIMIT:
        raise LimitExceeded(f"the {purpose.value} file would be larger than {KEY_FILE_LIMIT} bytes")
    return data


def unlock(
    data: bytes, secret: Password | PasswordKey, purpose: Purpose, owner: str | None, what: str = "the key file"
) -> tuple[Record, PasswordKey]:
    """Open a key file that must be of this purpose and, if given, of this owner.

    what: names the file in errors.  Raises LimitExceeded or FormatError for what is no key file or asks for more than
    the bounds allow, KeyStoreError for another purpose or owner, all before anything is computed; then WrongPassword
    for a wrong password or a changed file; OutOfMemory.
    """
    locked = LockedKey.parse(data, what)
    if locked.purpose is not purpose:
        raise KeyStoreError(f"{what} holds a {locked.purpose.value} key, not a {purpose.value} key", hint=_HINT)
    if owner not in {None, locked.owner}:
        raise KeyStoreError(f"{what} belongs to {locked.owner}, not to {owner}", hint=_HINT)
    return locked.open(secret, what)


def authority_uri(federation: str) -> str:
    """Who owns the root key.  Raises FormatError for a bad name."""
    return f"{_URI}{check_federation(federation)}/{_AUTHORITY}"


def check_owner(purpose: Purpose, owner: str) -> None:
    """Raise FormatError unless `owner` is the authority's URI for a root key, or a party's URI for any other key."""
    if not owner.startswith(_URI):
        raise FormatError(f"{owner[:64]!r} is not the URI of a party")
    federation, _, name = owner.removeprefix(_URI).partition("/")
    check_federation(federation)
    if (name == _AUTHORITY) != (purpose is Purpose.ROOT):
        raise FormatError(f"{owner[:64]!r} cannot own a {purpose.value} key")
    if purpose is not Purpose.ROOT:
        Party.parse(name)


def _file_key(password_key: PasswordKey, locked: LockedKey) -> bytes:
    return derive_key(password_key.key, Label.KEY_KEYSTORE, locked.header, locked.file_salt)


def _refusal(what: str) -> str:
    return f"{what} does not open: the password is wrong, or the file was changed"


def _parse_kdf(value: Any) -> tuple[KdfParameters, bytes]:
    found = fields(value, _KDF, "kdf")
    if found["name"] != _KDF_NAME:
        raise FormatError(f"kdf must be {_KDF_NAME}")
    parameters = KdfParameters(found["memory_kib"], found["passes"], found["lanes"])
    return parameters, decode_base64(found["salt"], "salt", SALT_SIZE)


def _parse_record(plaintext: bytes, purpose: Purpose, what: str) -> Record:
    try:
        return RECORDS[purpose].from_dict(parse_canonical_json(plaintext, "the content"))
    except FormatError:
        pass
    # raised out here, so that no error that quotes the plaintext hangs on it
    raise FormatError(f"{what} opens, but what it holds is not a {purpose.value} key")
