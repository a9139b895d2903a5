"""The authority's folder: root key and certificate, profiles, and the register."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fedspallm_secure.crypto.certificates import CERTIFICATE_LIMIT, Root, parse_root, root_certificate
from fedspallm_secure.crypto.encoding import canonical_json, fields, parse_canonical_json
from fedspallm_secure.crypto.identity import check_federation
from fedspallm_secure.crypto.key_records import Purpose
from fedspallm_secure.crypto.keyfiles import authority_uri
from fedspallm_secure.crypto.passwords import Password, PasswordKey
from fedspallm_secure.crypto.profiles import DAY, Profiles
from fedspallm_secure.crypto.revocation import revocation_list
from fedspallm_secure.errors import FormatError, KeyFileExists, KeyStoreError, MissingInput, OutputExists
from fedspallm_secure.protocol.limits import CLOCK_SKEW
from fedspallm_secure.storage.authority_register import AuthorityRegister, open_register
from fedspallm_secure.storage.documents import read_own
from fedspallm_secure.storage.files import atomic_folder, create_private, is_file
from fedspallm_secure.storage.home_folder import check_private_folder, own_record
from fedspallm_secure.storage.keystore import FileSigner
from fedspallm_secure.storage.pem import CERTIFICATE, decode_pem, encode_pem
from fedspallm_secure.storage.profiles import read_profiles

AUTHORITY, ROOT_KEY, ROOT, PROFILES, REGISTER = (
    "authority.json",
    "root.key",
    "root.pem",
    "profiles.toml",
    "register.sqlite",
)
_FORMAT = "fedspallm-secure/1 authority"
_LIMIT = 4 << 10  # bytes of authority.json
_HINT = "put back the newest backup of the authority's folder"
_LEFT = (ROOT_KEY, ROOT, PROFILES, REGISTER, AUTHORITY)  # what the names begin with that a killed run may have left
_LEFT_AGE = 3600  # seconds after which nobody works in it any more


@dataclass(frozen=True, slots=True)
class Authority:
    """An open authority.  Made by `open_authority`."""

    path: Path
    root: Root
    profiles: Profiles
    register: AuthorityRegister

    @property
    def federation(self) -> str:
        """Whose authority it is."""
        return self.root.federation

    def signer(self, secret: Password | PasswordKey) -> FileSigner:
        """The root key.  Raises what opening a key file raises; KeyStoreError if it is not the certified one."""
        path = self.path / ROOT_KEY
        signer = FileSigner.open(path, secret, authority_uri(self.federation), Purpose.ROOT)
        if signer.public != self.root.public:
            raise KeyStoreError(f"{path} is not the key of {ROOT}", hint=_HINT)
        return signer


def check_absent(path: Path, federation: str) -> None:
    """What would stop `create_authority`, before anybody types a password.  Raises KeyFileExists or FormatError."""
    check_federation(federation)
    if os.path.lexists(path):
        raise KeyFileExists(f"{path} already exists", hint="name a new folder with --ca")


def create_authority(path: Path, federation: str, profiles: str, password_key: PasswordKey, now: int) -> None:
    """Make the folder with everything in it, the first revocation list included, or nothing.

    profiles: the text of profiles.toml; now: Unix seconds.
    Raises KeyFileExists when something is there, FormatError for a bad name or profiles, CertificateRefused for a clock
    that is far off, StorageError.
    """
    _sweep(path)
    made = Profiles.parse(profiles)
    start = now - CLOCK_SKEW  # in the past, for the clocks of those who read it
    try:
        with atomic_folder(path) as work:
            signer = FileSigner.create(work / ROOT_KEY, authority_uri(federation), password_key, Purpose.ROOT)
            der = root_certificate(signer, federation, made, start)
            first = revocation_list(signer, parse_root(der, federation), 1, [], start, now + made.crl_days * DAY)
            create_private(work / ROOT, encode_pem(CERTIFICATE, der))
            create_private(work / PROFILES, profiles.encode())
            with open_register(work / REGISTER, make=True) as register, register.transaction():
                register.add_list(1, now, first)
            create_private(work / AUTHORITY, canonical_json({"format": _FORMAT, "federation": federation}) + b"\n")
    except OutputExists:
        raise KeyFileExists(f"{path} already exists", hint="name a new folder with --ca") from None


def is_authority(path: Path) -> bool:
    """Whether `path` looks like an authority's folder.  Raises MissingInput where one may not look."""
    return is_file(path / AUTHORITY)


def _sweep(path: Path) -> None:
    """Remove unfinished folders with a root key that runs for the same path left when they were killed."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}")
    with suppress(OSError):
        for folder in path.parent.iterdir():
            if name.fullmatch(folder.name) and not folder.is_symlink() and _was_left(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _was_left(folder: Path) -> bool:
    with suppress(OSError):
        if time.time() - folder.stat().st_mtime > _LEFT_AGE:
            names = [entry.name for entry in folder.iterdir()]
            return AUTHORITY not in names and all(name.removeprefix(".").startswith(_LEFT) for name in names)
    return False


@contextmanager
def open_authority(path: Path) -> Iterator[Authority]:
    """Open an authority's folder.

    Raises MissingInput if it is none, ExposedKeyFile, RecordDamaged, FormatError for edited profiles, RunLocked.
    """
    if not is_authority(path):
        raise MissingInput(
            f"{path} is no authority's folder", hint="name another --ca, or make one: fedprune certs init FEDERATION"
        )
    check_private_folder(path)
    federation = _federation(path / AUTHORITY)
    with own_record(path / ROOT, _HINT):
        root = parse_root(decode_pem(read_own(path / ROOT, 2 * CERTIFICATE_LIMIT), CERTIFICATE, ROOT), federation)
    profiles = Profiles.parse(read_profiles(path / PROFILES))
    if not is_file(path / REGISTER):  # an empty one would give out its numbers again
        raise MissingInput(f"{path / REGISTER} is missing", hint=_HINT)
    with open_register(path / REGISTER) as register:
        yield Authority(path, root, profiles, register)


def _federation(file: Path) -> str:
    with own_record(file, _HINT):
        data = read_own(file, _LIMIT).removesuffix(b"\n")
        value = fields(parse_canonical_json(data, file.name), {"format": str, "federation": str}, file.name)
        if value["format"] != _FORMAT:
            raise FormatError(f"{file.name} is not of the format {_FORMAT!r}")
        return check_federation(value["federation"])
