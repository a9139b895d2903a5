"""Key files on disk (SPEC sections 7 and 11): private from their first byte, never overwritten, opened with a password.

One password may protect all files of a party: pass the `PasswordKey` of one to the creation of the next.
"""

import errno
import os
import stat
from pathlib import Path
from typing import cast

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from fedspallm_secure.crypto.key_records import Purpose, RecipientSecrets, Record, SigningSeed, TlsSecret
from fedspallm_secure.crypto.keyfiles import KEY_FILE_LIMIT, LockedKey, lock, unlock
from fedspallm_secure.crypto.passwords import Password, PasswordKey
from fedspallm_secure.crypto.sealing import RecipientSecret
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.errors import (
    ExposedKeyFile,
    HostileFile,
    KeyFileExists,
    LimitExceeded,
    MissingInput,
    OutputExists,
)
from fedspallm_secure.storage.files import create_private, is_private

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # O_NONBLOCK: opening a pipe must not wait
_TILE = 1 << 16  # bytes
_LOST = (
    "check the path; a key file that is lost cannot be made again: have the certificate withdrawn, enrol again in a "
    "new --home, and put no old copy of this one back"
)


class FileSigner:
    """A `Signer` (crypto.signing) whose key comes from a key file; its seed is not kept.

    A key in a token takes the same place: a class with these two members, `public` and `sign`, that calls C_Sign of
    PKCS #11 with CKM_EDDSA.  Nothing else knows where a signing key is.
    """

    def __init__(self, path: Path, seed: SigningSeed) -> None:
        self._path = path
        self._signer = Ed25519Signer(seed.seed)

    @classmethod
    def create(
        cls, path: Path, owner: str, password_key: PasswordKey, purpose: Purpose = Purpose.SIGNING
    ) -> "FileSigner":
        """Make a key and its file.  purpose: `signing` or `root`.  Raises KeyFileExists or StorageError."""
        seed = SigningSeed(Ed25519Signer.generate()[1])
        create_key_file(path, purpose, owner, seed, password_key)
        return cls(path, seed)

    @classmethod
    def open(
        cls, path: Path, secret: Password | PasswordKey, owner: str | None, purpose: Purpose = Purpose.SIGNING
    ) -> "FileSigner":
        """Open a key file.  purpose: `signing` or `root`.  Raises what `open_key_file` raises."""
        return cls(path, cast(SigningSeed, open_key_file(path, secret, purpose, owner)[0]))

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""
        return self._signer.public

    def sign(self, message: bytes) -> bytes:
        """Sign exactly these bytes; 64 bytes.  Called with PAE already applied."""
        return self._signer.sign(message)

    def __repr__(self) -> str:
        return f"FileSigner({str(self._path)!r})"


def load_tls_key(path: Path, secret: Password | PasswordKey, owner: str | None) -> EllipticCurvePrivateKey:
    """The key of the TLS certificate.  Raises what `open_key_file` raises."""
    return cast(TlsSecret, open_key_file(path, secret, Purpose.TLS, owner)[0]).load()


def load_recipient_secrets(path: Path, secret: Password | PasswordKey, owner: str | None) -> list[RecipientSecret]:
    """The keys that packages for this party open with.  Raises what `open_key_file` raises."""
    return list(cast(RecipientSecrets, open_key_file(path, secret, Purpose.RECIPIENT, owner)[0]).keys)


def create_key_file(path: Path, purpose: Purpose, owner: str, record: Record, password_key: PasswordKey) -> None:
    """Write a new key file, mode 0600.  Raises KeyFileExists, RunLocked, DiskFull or StorageError."""
    data = lock(purpose, owner, record, password_key)
    try:
        create_private(path, data)
    except OutputExists:
        raise KeyFileExists(f"{path} already exists") from None


def open_key_file(
    path: Path, secret: Password | PasswordKey, purpose: Purpose, owner: str | None
) -> tuple[Record, PasswordKey]:
    """Read and open a key file of this purpose and, if given, of this owner.

    secret: the password, or the key that creating or opening this file gave before, which saves Argon2id.
    Raises MissingInput, HostileFile, ExposedKeyFile or LimitExceeded for the file, and what `keyfiles.unlock` raises.
    """
    return unlock(read_key_file(path), secret, purpose, owner, str(path))


def describe_key_file(path: Path) -> LockedKey:
    """What a key file claims to be; needs no password.  Raises what `read_key_file` raises, and FormatError."""
    return LockedKey.parse(read_key_file(path), str(path))


def read_key_file(path: Path) -> bytes:
    """Read a key file that is a plain file, this user's, for nobody else, and not too large.

    Raises MissingInput, HostileFile, ExposedKeyFile or LimitExceeded.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise HostileFile(f"{path} is a symbolic link, not a key file") from None
        if error.errno == errno.ENXIO:
            raise HostileFile(f"{path} is not a plain file") from None
        hint = _LOST if error.errno == errno.ENOENT else None
        raise MissingInput(f"cannot read {path}: {error.strerror or error}", hint=hint) from error
    try:
        _check_key_file(os.fstat(descriptor), path)
        data = bytearray()
        while len(data) <= KEY_FILE_LIMIT and (tile := os.read(descriptor, _TILE)):
            data += tile
    except OSError as error:
        raise MissingInput(f"cannot read {path}: {error.strerror or error}") from error
    finally:
        os.close(descriptor)
    if len(data) > KEY_FILE_LIMIT:
        raise LimitExceeded(f"{path} is larger than {KEY_FILE_LIMIT} bytes")
    return bytes(data)


def _check_key_file(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise HostileFile(f"{path} is not a plain file")
    if status.st_uid != os.geteuid():
        raise ExposedKeyFile(f"{path} belongs to another user", hint="its owner must run this, or give the file to you")
    if not is_private(status):
        raise ExposedKeyFile(f"{path} has mode {stat.S_IMODE(status.st_mode):04o}; a key file has 0600 or stricter")
    if status.st_size > KEY_FILE_LIMIT:
        raise LimitExceeded(f"{path} has {status.st_size} bytes; a key file has at most {KEY_FILE_LIMIT}")
