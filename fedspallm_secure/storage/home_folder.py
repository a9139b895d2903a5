"""A party's home as a folder: who it belongs to, who may work in it, and how a new set of keys becomes the current one.

New keys lie in `pending/` until their certificates are there.  Then the folder is renamed to `installing/`, and that is
the moment they become current: whoever opens the home next moves what is left in there to its place.  So after a crash
at any moment the home has the old keys or the new ones, and never some of each.
"""

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedspallm_secure.crypto.certificate_fields import host_name
from fedspallm_secure.crypto.encoding import canonical_json, fields, parse_canonical_json
from fedspallm_secure.crypto.identity import Party, Role, check_federation
from fedspallm_secure.errors import (
    ExposedKeyFile,
    FormatError,
    KeyFileExists,
    MissingInput,
    RecordDamaged,
    RunLocked,
    TrustError,
    UsageError,
)
from fedspallm_secure.protocol.limits import HOSTS_LIMIT
from fedspallm_secure.storage.documents import read_own
from fedspallm_secure.storage.files import (
    create_private,
    disk_errors,
    is_file,
    is_folder,
    is_private,
    publish,
    replace_private,
)
from fedspallm_secure.storage.register import open_register

IDENTITY = "identity.json"
SIGNING_KEY, TLS_KEY, RECIPIENT_KEY, PREKEYS_KEY = "signing.key", "tls.key", "recipient.key", "prekeys.key"
ROOT, SIGNING, TLS, CRL = "root.pem", "signing.pem", "tls.pem", "crl.pem"
KEY_STATEMENT, PREVIOUS = "key-statement.fsdoc", "previous-key-statement.fsdoc"
PREKEYS, ROSTER, REQUEST = "prekeys.fsdoc", "roster.fsdoc", "request.fsdoc"
REGISTER = "register.sqlite"
PENDING, INSTALLING = "pending", "installing"

_INSTALLED = (
    SIGNING_KEY,
    TLS_KEY,
    RECIPIENT_KEY,
    PREKEYS_KEY,
    ROOT,
    SIGNING,
    TLS,
    CRL,
    KEY_STATEMENT,
    PREVIOUS,
    PREKEYS,
)
_FORMAT = "fedspallm-secure/1 home"
_SCHEMA: dict[str, type] = {"format": str, "federation": str, "role": str, "id": str, "hosts": list}
_IDENTITY_LIMIT = 16 << 10  # bytes
_LOCK = ".lock"
_WAIT, _PAUSE = 10.0, 0.05  # seconds to wait for another process, and between two tries


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose home it is.  hosts: DNS names and addresses in the TLS certificate; only servers have any."""

    federation: str
    party: Party
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_federation(self.federation)
        if self.hosts and self.party.role is not Role.SERVER:
            raise UsageError(f"{self.party} cannot have hosts: only servers are connected to", hint="leave out --host")
        if len(self.hosts) > HOSTS_LIMIT or len(set(self.hosts)) != len(self.hosts):
            raise UsageError(f"a server has at most {HOSTS_LIMIT} hosts, each once", hint="name fewer with --host")
        for host in self.hosts:
            host_name(host)

    @property
    def uri(self) -> str:
        """The party's URI."""
        return self.party.uri(self.federation)

    def __str__(self) -> str:
        return f"{self.party} of {self.federation}"

    def encode(self) -> bytes:
        """The file, one line."""
        return canonical_json(self.to_dict()) + b"\n"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "format": _FORMAT,
            "federation": self.federation,
            "role": self.party.role_name,
            "id": self.party.id,
            "hosts": list(self.hosts),
        }

    @classmethod
    def parse(cls, data: bytes, what: str) -> "Identity":
        """Read the file.  Raises FormatError or UsageError."""
        if not data.endswith(b"\n"):
            raise FormatError(f"{what} does not end with a line feed")
        value = fields(parse_canonical_json(data[:-1], what), _SCHEMA, what)
        if value["format"] != _FORMAT or not all(type(host) is str for host in value["hosts"]):
            raise FormatError(f"{what} is not of the format {_FORMAT!r}")
        return cls(value["federation"], Party(value["role"], value["id"]), tuple(value["hosts"]))


def is_home(path: Path) -> bool:
    """Whether `path` looks like a party's home.  Raises MissingInput where one may not look."""
    return is_file(path / IDENTITY)


def read_identity(path: Path) -> Identity:
    """Whose home `path` is.  Raises MissingInput if nobody's, ExposedKeyFile, RecordDamaged."""
    if not is_home(path):
        raise MissingInput(
            f"{path} is nobody's home", hint="make one: fedprune certs request --home DIR, or name another"
        )
    check_private_folder(path)
    file = path / IDENTITY
    with own_record(file, "name another --home, or enrol again in a new one"):
        return Identity.parse(read_own(file, _IDENTITY_LIMIT), IDENTITY)


def prepare_home(path: Path, identity: Identity) -> None:
    """Make the folder, or check that it is empty or belongs to the same party already.

    Raises KeyFileExists for somebody else's home or a folder with other things in it.
    """
    with disk_errors(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        others = [entry.name for entry in path.iterdir() if not entry.name.startswith((".", REGISTER))]
        if not others:
            path.chmod(0o700)
    if not is_home(path):
        if others:
            raise KeyFileExists(f"{path} holds other things", hint="name a new folder with --home")
        with open_register(path / REGISTER) as register:  # made now and never again, so that a lost one is noticed
            register.mark()  # by now, so that every copy of the home has it
        create_private(path / IDENTITY, identity.encode())
    found = read_identity(path)
    if found != identity:
        hosts = "" if found.hosts == identity.hosts else f" with the hosts {', '.join(found.hosts) or '(none)'}"
        raise KeyFileExists(f"{path} is the home of {found}{hosts}", hint="name a new folder with --home")


def check_private_folder(path: Path) -> None:
    """Raise ExposedKeyFile unless the folder is this user's and nobody else may look into it."""
    try:
        status = path.stat()
    except OSError as error:
        raise MissingInput(f"cannot look at {path}: {error.strerror or error}") from error
    if not is_private(status, 0o700):
        raise ExposedKeyFile(
            f"{path} has mode {stat.S_IMODE(status.st_mode):04o} or another owner; a folder with keys has 0700",
            hint=f"chmod 700 {path}, and think about who may have looked into it",
        )


@contextmanager
def own_record(file: Path, hint: str) -> Iterator[None]:
    """Turn what is wrong with a file of our own into RecordDamaged, which names it."""
    try:
        yield
    except (FormatError, TrustError, UsageError) as error:
        raise RecordDamaged(f"{file} is damaged: {error}", hint=hint) from error


@contextmanager
def held(path: Path, *, exclusive: bool) -> Iterator[None]:
    """Work in a home: alone, or together with others who read.  Raises RunLocked after ten seconds."""
    with disk_errors(path):
        descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, path, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, kind: int) -> None:
    deadline = time.monotonic() + _WAIT
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RunLocked(f"another process works in {path}") from None
            time.sleep(_PAUSE)


def install(path: Path, files: Mapping[str, bytes]) -> None:
    """Make the keys in `pending/` current, together with `files`, all at once.  The caller holds the home alone."""
    for name, data in files.items():
        replace_private(path / PENDING / name, data)
    with disk_errors(path):
        publish(path / PENDING, path / INSTALLING)
    finish_install(path)


def needs_repair(path: Path) -> bool:
    """Whether a run was killed while it installed keys."""
    return is_folder(path / INSTALLING)


def finish_install(path: Path) -> None:
    """Do what is left to do in `installing/`, if it is there; the caller holds the home alone."""
    folder = path / INSTALLING
    if not folder.is_dir():
        return
    with disk_errors(path):
        for name in _INSTALLED:
            if (folder / name).exists():
                publish(folder / name, path / name)
        shutil.rmtree(folder)


def sweep(path: Path) -> None:
    """Remove what killed runs left in the folder; the caller holds the home alone."""
    for entry in path.glob(f".{PENDING}.*"):
        with suppress(OSError):
            shutil.rmtree(entry)
