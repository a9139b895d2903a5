"""What the authority has issued, withdrawn and published: its register, in SQLite.

A row is durable before the file that it speaks of leaves (journal WAL, synchronous FULL), so a request is answered
once, and no number of a list or roster is ever given to two of them.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fedspallm_secure.crypto.certificates import Leaf
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.revocation import Reason, Revoked
from fedspallm_secure.errors import FedSpaError, RecordDamaged, RunLocked, StorageError
from fedspallm_secure.protocol.limits import LATEST_TIME
from fedspallm_secure.storage.files import disk_errors

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL UNIQUE, party TEXT NOT NULL,
    signing_key TEXT NOT NULL UNIQUE, tls_key TEXT NOT NULL UNIQUE, renews TEXT NOT NULL, at INTEGER NOT NULL,
    key_statement BLOB NOT NULL, answer BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS certificates (
    serial TEXT PRIMARY KEY, request INTEGER NOT NULL REFERENCES requests (number),
    party TEXT NOT NULL, purpose TEXT NOT NULL CHECK (purpose IN ('signing', 'tls')),
    not_after INTEGER NOT NULL, der BLOB NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('valid', 'superseded', 'revoked')),
    revoked INTEGER, reason TEXT, CHECK ((status = 'revoked') = (revoked IS NOT NULL AND reason IS NOT NULL))
) STRICT;
CREATE TABLE IF NOT EXISTS lists (number INTEGER PRIMARY KEY, at INTEGER NOT NULL, der BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS rosters (version INTEGER PRIMARY KEY, at INTEGER NOT NULL, file BLOB NOT NULL) STRICT;
CREATE VIEW IF NOT EXISTS issued AS
    SELECT r.digest, r.party, r.signing_key, r.key_statement, r.answer, c.der, c.not_after, c.status,
        c.revoked, c.reason, r.number
    FROM requests r JOIN certificates c ON c.request = r.number AND c.purpose = 'signing';
"""
_WAIT = 10.0  # seconds for another process to finish its transaction
_HINT = "put back the newest backup of the authority's folder; it must not be older than the newest list and roster"


@dataclass(frozen=True, slots=True)
class Issued:
    """One request that was answered.  digest: of the request; signing_key: key identifier; both in hex.

    revoked, reason: when and why its signing certificate was withdrawn, if it was.
    """

    digest: str
    party: Party
    signing_key: str
    key_statement: bytes
    answer: bytes
    signing: bytes
    not_after: int
    status: str
    revoked: int | None = None
    reason: Reason | None = None


def tls_key_hash(public: bytes) -> str:
    """What tells TLS keys apart here.  public: SubjectPublicKeyInfo in DER."""
    return hashlib.sha256(public).hexdigest()


class AuthorityRegister:
    """The register of one authority.  Made by `open_register`; what changes it is called inside `transaction`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it, durably, or nothing; alone with the register meanwhile."""
        with _errors(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def answered(self, digest: str) -> Issued | None:
        """What this request was answered with."""
        return self._issued("SELECT * FROM issued WHERE digest = ?", digest)

    def newest(self, party: Party) -> Issued | None:
        """The last request of `party` that was answered, whatever has become of its certificates."""
        return self._issued("SELECT * FROM issued WHERE party = ? ORDER BY number DESC LIMIT 1", str(party))

    def knows_key(self, signing_key: str) -> bool:
        """Whether this signing key was certified before, for anybody."""
        return self._one("SELECT 1 FROM requests WHERE signing_key = ?", signing_key) is not None

    def certified(self, signing_key: str) -> Issued | None:
        """The request in which this signing key was certified."""
        return self._issued("SELECT * FROM issued WHERE signing_key = ?", signing_key)

    def knows_tls_key(self, public: bytes) -> bool:
        """Whether this TLS key was certified before, for anybody.  public: SubjectPublicKeyInfo in DER."""
        return self._one("SELECT 1 FROM requests WHERE tls_key = ?", tls_key_hash(public)) is not None

    def parties(self) -> list[Issued]:
        """The last answered request of every party, sorted by party."""
        with _errors(self._path):
            rows = self._connection.execute(
                "SELECT * FROM issued WHERE number IN (SELECT max(number) FROM requests GROUP BY party)"
            ).fetchall()
        return sorted((self.read(partial(_issued_of, row)) for row in rows), key=lambda issued: issued.party)

    def read(self, parse: Callable[[], T]) -> T:
        """What stands in a row.  Raises RecordDamaged if it is nothing that was ever written there."""
        try:
            return parse()
        except (FedSpaError, ValueError) as error:
            raise RecordDamaged(f"{self._path} is damaged: {error}", hint=_HINT) from error

    def add(self, issued: Issued, renews: str, at: int, leaves: tuple[Leaf, Leaf]) -> None:
        """Note an answer and the certificates in it, signing then TLS, the party's earlier ones being superseded."""
        party = str(issued.party)
        self._connection.execute(
            "UPDATE certificates SET status = 'superseded' WHERE party = ? AND status = 'valid'", (party,)
        )
        keys = (issued.signing_key, tls_key_hash(leaves[1].public))
        row = (issued.digest, party, *keys, renews, at, issued.key_statement, issued.answer)
        number = self._connection.execute(
            "INSERT INTO requests (digest, party, signing_key, tls_key, renews, at, key_statement, answer) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        ).lastrowid
        for leaf in leaves:
            self._connection.execute(
                "INSERT INTO certificates VALUES (?, ?, ?, ?, ?, ?, 'valid', NULL, NULL)",
                (f"{leaf.serial:x}", number, party, leaf.purpose.value, leaf.not_after, leaf.der),
            )

    def replace_answer(self, digest: str, answer: bytes) -> None:
        """The same certificates with a newer revocation list."""
        self._connection.execute("UPDATE requests SET answer = ? WHERE digest = ?", (answer, digest))

    def has_more_of(self, party: Party) -> bool:
        """Whether `party` has a certificate that is not withdrawn."""
        query = "SELECT 1 FROM certificates WHERE party = ? AND status != 'revoked'"
        return self._one(query, str(party)) is not None

    def revoke(self, party: Party, at: int, reason: Reason) -> int:
        """Withdraw every certificate of `party` that is not withdrawn; returns how many.

        Those that have ended too: whether they have, a clock says, and it may be wrong now or have been wrong then.
        """
        return self._connection.execute(
            "UPDATE certificates SET status = 'revoked', revoked = ?, reason = ? "
            "WHERE party = ? AND status != 'revoked'",
            (at, reason.value, str(party)),
        ).rowcount

    def revoked(self) -> list[Revoked]:
        """Everything that was ever withdrawn."""
        with _errors(self._path):
            rows = self._connection.execute(
                "SELECT serial, revoked, reason FROM certificates WHERE status = 'revoked'"
            ).fetchall()
        return [self.read(partial(_revoked_of, *row)) for row in rows]

    def newest_list(self) -> tuple[int, bytes] | None:
        """Number and DER of the last revocation list."""
        return self._one("SELECT number, der FROM lists ORDER BY number DESC LIMIT 1")

    def add_list(self, number: int, at: int, der: bytes) -> None:
        """Note a revocation list."""
        self._connection.execute("INSERT INTO lists VALUES (?, ?, ?)", (number, at, der))

    def newest_roster(self) -> tuple[int, bytes] | None:
        """Version and file of the last roster."""
        return self._one("SELECT version, file FROM rosters ORDER BY version DESC LIMIT 1")

    def add_roster(self, version: int, at: int, file: bytes) -> None:
        """Note a roster."""
        self._connection.execute("INSERT INTO rosters VALUES (?, ?, ?)", (version, at, file))

    def _issued(self, query: str, value: str) -> Issued | None:
        row = self._one(query, value)
        return None if row is None else self.read(partial(_issued_of, row))

    def _one(self, query: str, *values: str) -> tuple[Any, ...] | None:
        with _errors(self._path):
            row: tuple[Any, ...] | None = self._connection.execute(query, values).fetchone()
        return row


def _issued_of(row: tuple[Any, ...]) -> Issued:
    digest, party, signing_key, statement, answer, signing, not_after, status, revoked, reason, _ = row
    why = None if reason is None else Reason(reason)
    issued = Issued(
        digest, Party.parse(party), signing_key, statement, answer, signing, not_after, status, revoked, why
    )
    _check_time(issued.not_after)
    _check_time(issued.revoked or 0)
    return issued


def _revoked_of(serial: str, at: int, reason: str) -> Revoked:
    _check_time(at)
    return Revoked(int(serial, 16), at, Reason(reason))


def _check_time(time: int) -> None:
    if not 0 <= time <= LATEST_TIME:
        raise ValueError(f"{time} is not a time")


@contextmanager
def open_register(path: Path, *, make: bool = False) -> Iterator[AuthorityRegister]:
    """Open the register at `path`, or make it.  Raises RecordDamaged, RunLocked or StorageError."""
    with disk_errors(path), _errors(path):
        if make:
            path.touch(mode=0o600)
        connection = sqlite3.connect(path, timeout=_WAIT, isolation_level=None)
    with closing(connection):
        with _errors(path):
            if make:
                connection.executescript(_SCHEMA)
            elif _schema(connection) != _own_schema():  # before anything in it is evaluated
                raise RecordDamaged(f"{path} has other tables than those of this version", hint=_HINT)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise RecordDamaged(f"{path} is damaged", hint=_HINT)
        yield AuthorityRegister(connection, path)


def _schema(connection: sqlite3.Connection) -> set[tuple[Any, ...]]:
    """Everything that is defined in a database, as it was written."""
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall())


def _own_schema() -> set[tuple[Any, ...]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_SCHEMA)
        return _schema(connection)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Translate what SQLite says about the database at `path`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise RunLocked(f"another process works with {path}") from error
        raise StorageError(f"cannot use {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise RecordDamaged(f"{path} is damaged: {error}", hint=_HINT) from error
