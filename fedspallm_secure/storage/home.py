"""A party's home: its identity, its certificates, and what it pins; everything read from disk is checked again.

Time and revocation are judged where they matter (`crypto.certificates.check_leaf`, `protocol.receiving`), not here: a
home whose certificate has expired can still be read, shown and replaced.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from fedspallm_secure.crypto.certificates import CERTIFICATE_LIMIT, Leaf, Purpose, Root, parse_leaf, parse_root
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.passwords import KdfParameters, Password, PasswordKey
from fedspallm_secure.crypto.revocation import REVOCATION_LIST_LIMIT, RevocationList
from fedspallm_secure.crypto.sealing import RecipientSecret
from fedspallm_secure.errors import KeyStoreError, MissingInput
from fedspallm_secure.protocol.enrolment import KeyStatement, Request
from fedspallm_secure.protocol.limits import KEY_STATEMENT_LIMIT, PREKEYS_LIMIT, REQUEST_LIMIT, ROSTER_LIMIT
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.receiving import OwnKey, Reader, Trust
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.storage import home_folder as folder
from fedspallm_secure.storage.documents import read_own
from fedspallm_secure.storage.home_folder import Identity, own_record, read_identity
from fedspallm_secure.storage.keystore import FileSigner, describe_key_file, load_recipient_secrets, load_tls_key
from fedspallm_secure.storage.pem import CERTIFICATE, REVOCATION_LIST, decode_pem
from fedspallm_secure.storage.prekeys import PrekeyFile
from fedspallm_secure.storage.register import SqliteRegister, open_register

T = TypeVar("T")
_PEM_FACTOR = 2  # a PEM file is at most so many times as long as the DER in it
_HINT = "get it again from the authority and import it; do not restore a backup, which may be older"


class Unlocking:
    """A password and what was derived from it so far: once for a salt, for Argon2id is slow on purpose."""

    def __init__(self, password: Password) -> None:
        self._password = password
        self._keys: dict[tuple[KdfParameters, bytes], PasswordKey] = {}

    def key(self, path: Path) -> PasswordKey:
        """What opens this key file, if the password does.  Raises what `describe_key_file` raises, OutOfMemory."""
        found = describe_key_file(path)
        under = (found.parameters, found.salt)
        if under not in self._keys:
            self._keys[under] = PasswordKey.derive(self._password, found.parameters, found.salt)
        return self._keys[under]


@dataclass(frozen=True, slots=True)
class Home:
    """An enrolled party, as its folder says.  previous: the key statement before the last renewal."""

    path: Path
    identity: Identity
    root: Root
    signing: Leaf
    tls: Leaf
    key_statement: KeyStatement
    previous: KeyStatement | None
    prekeys: Prekeys | None
    crl: RevocationList
    roster: Roster | None

    @property
    def party(self) -> Party:
        """Who it is."""
        return self.identity.party

    @property
    def federation(self) -> str:
        """Where it belongs."""
        return self.identity.federation

    @contextmanager
    def open_register(self) -> Iterator[SqliteRegister]:
        """The replay register and the sequence counter.

        Raises RecordDamaged when it is gone or empty: a new one would count from 1 again and take everything in once
        more.
        """
        with open_register(self.path / folder.REGISTER, make=False) as register:
            yield register

    @property
    def evidence(self) -> Path:
        """Folder for proofs of equivocation."""
        return self.path / "evidence"

    @property
    def trust(self) -> Trust:
        """What packages are checked against.  Raises MissingInput before the first roster was imported."""
        if self.roster is None:
            raise MissingInput(
                f"{self.path} has no roster yet",
                hint="ask the authority for it (fedprune certs roster) and import it: fedprune certs import FILE",
            )
        return Trust(self.root, self.roster, self.crl)

    @property
    def reader(self) -> Reader:
        """Who opens packages here, and with which keys: the present ones, and those before the last renewal."""
        keys = {}
        for statement in filter(None, (self.previous, self.key_statement)):
            for key in statement.keys:
                keys[key.key_id] = OwnKey(key.kem, statement.not_before, statement.not_after)
        return Reader(self.party, keys)

    def signer(self, secret: Password | PasswordKey) -> FileSigner:
        """The signing key.  Raises what opening a key file raises; KeyStoreError if it is not the certified one."""
        path = self.path / folder.SIGNING_KEY
        signer = FileSigner.open(path, secret, self.identity.uri)
        if signer.public != self.signing.public:
            raise KeyStoreError(f"{path} is not the key of {folder.SIGNING}", hint="enrol again in a new --home")
        return signer

    def tls_key(self, secret: Password | PasswordKey) -> EllipticCurvePrivateKey:
        """The TLS key.  Raises what opening a key file raises."""
        return load_tls_key(self.path / folder.TLS_KEY, secret, self.identity.uri)

    def recipient_secrets(self, secret: Password | PasswordKey) -> dict[str, RecipientSecret]:
        """Key identifier -> secret, of all keys that `reader` names.  Raises what opening a key file raises."""
        secrets = load_recipient_secrets(self.path / folder.RECIPIENT_KEY, secret, self.identity.uri)
        return {key.recipient_key.key_id: key for key in secrets}

    def prekey_file(self, secret: Password | PasswordKey) -> PrekeyFile:
        """The prekeys not used yet.  Raises what opening a key file raises."""
        return PrekeyFile.open(self.path / folder.PREKEYS_KEY, secret, self.identity.uri)


def open_home(path: Path) -> Home:
    """Read the home of an enrolled party; what a killed run left half done is finished first.

    Raises MissingInput if it is nobody's or not enrolled yet, ExposedKeyFile, RecordDamaged, RunLocked.
    """
    read_identity(path)
    with folder.held(path, exclusive=False):
        if not folder.needs_repair(path):
            return read_home(path)
    with folder.held(path, exclusive=True):
        folder.finish_install(path)
        return read_home(path)


def read_home(path: Path) -> Home:
    """As `open_home`, for a caller who holds the home already."""
    identity = read_identity(path)
    federation, party = identity.federation, identity.party
    if not (path / folder.SIGNING).exists():
        raise MissingInput(
            f"{path}, the home of {identity}, is not enrolled yet",
            hint="send the request to the authority and import its answer: fedprune certs import FILE --home DIR",
        )
    root = _read(path, folder.ROOT, CERTIFICATE_LIMIT, lambda der: parse_root(der, federation), CERTIFICATE)
    signing = _read(path, folder.SIGNING, CERTIFICATE_LIMIT, _leaf(root, Purpose.SIGNING, party), CERTIFICATE)
    tls = _read(path, folder.TLS, CERTIFICATE_LIMIT, _leaf(root, Purpose.TLS, party), CERTIFICATE)
    statement = _read(path, folder.KEY_STATEMENT, KEY_STATEMENT_LIMIT, KeyStatement.parse)
    with own_record(path / folder.KEY_STATEMENT, _HINT):
        statement.check(signing.public, federation, party)
    crl = _read(path, folder.CRL, REVOCATION_LIST_LIMIT, lambda der: RevocationList.parse(der, root), REVOCATION_LIST)
    return Home(
        path,
        identity,
        root,
        signing,
        tls,
        statement,
        _maybe(path, folder.PREVIOUS, KEY_STATEMENT_LIMIT, KeyStatement.parse),
        _maybe(path, folder.PREKEYS, PREKEYS_LIMIT, Prekeys.parse),
        crl,
        _maybe(path, folder.ROSTER, ROSTER_LIMIT, lambda data: Roster.parse(data, root)),
    )


def read_pending(path: Path) -> Request | None:
    """The request whose answer this home waits for; the caller holds the home."""
    return _maybe(path / folder.PENDING, folder.REQUEST, REQUEST_LIMIT, Request.parse)


def _leaf(root: Root, purpose: Purpose, party: Party) -> Callable[[bytes], Leaf]:
    return lambda der: parse_leaf(der, root, purpose, party)


def _read(path: Path, name: str, limit: int, parse: Callable[[bytes], T], label: str | None = None) -> T:
    file = path / name
    data = read_own(file, limit if label is None else _PEM_FACTOR * limit)
    with own_record(file, _HINT):
        return parse(data if label is None else decode_pem(data, label, name))


def _maybe(path: Path, name: str, limit: int, parse: Callable[[bytes], T]) -> T | None:
    return _read(path, name, limit, parse) if (path / name).exists() else None
