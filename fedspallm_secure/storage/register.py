"""What a party has received and how far it has counted: the replay register and the sequence counter, in SQLite.

Durable before anything observable happens: journal WAL with synchronous FULL, so a committed row survives a power cut
(NORMAL would not).  Never restore it from a backup: the counter would go back and packages could be taken in twice.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.errors import DiskFull, RecordDamaged, RunLocked, StorageError
from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.protocol.receiving import Known, Slot, check_first
from fedspallm_secure.storage.files import disk_errors

_SCHEMA = """
CREATE TABLE IF NOT EXISTS received (
    federation TEXT NOT NULL, round INTEGER NOT NULL, type TEXT NOT NULL,
    sender TEXT NOT NULL, sender_key TEXT NOT NULL, sequence INTEGER NOT NULL,
    digest BLOB NOT NULL, header BLOB NOT NULL, signature BLOB NOT NULL, output TEXT NOT NULL, at INTEGER NOT NULL,
    published INTEGER NOT NULL CHECK (published IN (0, 1)),
    PRIMARY KEY (federation, round, type, sender, sender_key, sequence)
) STRICT;
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
"""
_TABLES = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('received', 'counters')"
_MARK = "SELECT value FROM counters WHERE name = 'mark'"
_WAIT = 10.0  # seconds for another process to finish its transaction
LOST = "do not restore an old one; enrol again in a new --home, with new keys"


@dataclass(frozen=True, slots=True)
class Received:
    """A row of the register.  at: Unix seconds; output: where the plaintext went."""

    digest: bytes
    header: bytes
    signature: bytes
    output: str
    at: int
    published: bool


class SqliteRegister:
    """The register of one home.  Made by `open_register`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self._path = path

    def find(self, slot: Slot) -> Known | None:
        """What fills the slot; None if it is free."""
        row = self.received(slot)
        return None if row is None else Known(row.digest, row.published)

    def received(self, slot: Slot) -> Received | None:
        """The whole row of the slot."""
        with self._errors():
            row = self.connection.execute(
                "SELECT digest, header, signature, output, at, published FROM received "
                "WHERE federation = ? AND round = ? AND type = ? AND sender = ? AND sender_key = ? AND sequence = ?",
                _key(slot),
            ).fetchone()
        if row is None:
            return None
        digest, header, signature, output, at, published = row
        return Received(digest, header, signature, output, at, bool(published))

    def fill(self, head: Head, output: str, at: int) -> None:
        """Fill the slot of a verified package, before its plaintext gets its name.

        Filling it again for the same package only notes where the plaintext goes this time.
        Raises ReplayedPackage or Equivocation when another run has filled the slot since step 8.
        """
        with self._transaction():
            check_first(head, self)
            self.connection.execute(
                "INSERT INTO received VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0) "
                "ON CONFLICT DO UPDATE SET output = excluded.output, at = excluded.at",
                (*_key(Slot.of(head.context)), head.digest, head.encoded, head.signature, output, at),
            )

    def publish(self, head: Head, give_name: Callable[[], object] = lambda: None) -> None:
        """Give the plaintext its name and mark the filled slot, alone with the register: of several runs one does it.

        Raises ReplayedPackage when another run has done so since the slot was filled, and what `give_name` raises.
        """
        with self._transaction():
            check_first(head, self)
            give_name()
            changed = self.connection.execute(
                "UPDATE received SET published = 1 "
                "WHERE federation = ? AND round = ? AND type = ? AND sender = ? AND sender_key = ? AND sequence = ?",
                _key(Slot.of(head.context)),
            ).rowcount
            if changed != 1:
                raise RecordDamaged(f"{self._path} has lost the package meanwhile", hint="run the same command again")

    def empty(self, head: Head, output: str) -> None:
        """Make the slot free again that was filled for `output`, unless it is marked: the plaintext got no name."""
        with self._transaction():
            self.connection.execute(
                "DELETE FROM received WHERE federation = ? AND round = ? AND type = ? AND sender = ? "
                "AND sender_key = ? AND sequence = ? AND output = ? AND published = 0",
                (*_key(Slot.of(head.context)), output),
            )

    def last_sequence(self) -> int:
        """The sequence number that was used up last, 0 if none was."""
        with self._errors():
            row = self.connection.execute("SELECT value FROM counters WHERE name = 'sequence'").fetchone()
        return 0 if row is None else int(row[0])

    def mark(self) -> int:
        """A random number below 2^63 that tells this register from all others; made when it is asked for first."""
        with self._errors():
            if (found := self.connection.execute(_MARK).fetchone()) is None:
                number = int.from_bytes(random_bytes(8), "big") >> 1
                self.connection.execute("INSERT INTO counters VALUES ('mark', ?) ON CONFLICT DO NOTHING", (number,))
                found = self.connection.execute(_MARK).fetchone()
        return int(found[0])

    def next_sequence(self) -> int:
        """Use up and return the next sequence number, from 1.  A number that was returned never comes again."""
        with self._transaction():
            row = self.connection.execute(
                "INSERT INTO counters VALUES ('sequence', 1) "
                "ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value"
            ).fetchone()
        return int(row[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._is_inside():  # the transaction of a journal, in which this is one of several things
            yield
            return
        with self._errors():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self._is_inside():  # on a full disk SQLite may have rolled back by itself
                    self.connection.execute("ROLLBACK")
                raise

    def _is_inside(self) -> bool:
        return self.connection.in_transaction

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with register_errors(self._path):
            yield


@contextmanager
def register_errors(path: Path) -> Iterator[None]:
    """Translate what SQLite says about the database at `path` into the errors of storage."""
    try:
        yield
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without SQLite's details; Python's own errors have none
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise RunLocked(f"another process holds {path}") from error
        if code == sqlite3.SQLITE_FULL:
            raise DiskFull(f"no space left while writing {path}") from error
        raise StorageError(f"cannot use {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise RecordDamaged(
            f"{path} is damaged: {error}",
            hint="do not restore it from a backup; enrol again with new keys so that nothing can be replayed to you",
        ) from error


@contextmanager
def open_register(path: Path, *, make: bool = True) -> Iterator[SqliteRegister]:
    """Open the register at `path`; make it, if that is wanted and it is not there.

    Raises RecordDamaged when SQLite finds it inconsistent, or when it is gone or empty and should not be made;
    StorageError.
    """
    if not make and not path.exists():
        raise RecordDamaged(f"{path} is gone", hint=LOST)
    with disk_errors(path), register_errors(path):
        if not path.exists():
            path.touch(mode=0o600)
        connection = sqlite3.connect(path, timeout=_WAIT, isolation_level=None)
    with closing(connection):
        with register_errors(path):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise RecordDamaged(f"{path} is damaged", hint="do not restore it from a backup; enrol again")
            if make:
                connection.executescript(_SCHEMA)
            elif connection.execute(_TABLES).fetchone() != (2,):
                raise RecordDamaged(f"{path} has lost what was in it", hint=LOST)
        yield SqliteRegister(connection, path)


def _key(slot: Slot) -> tuple[str, int, str, str, str, int]:
    return slot.federation, slot.round, slot.type, slot.sender, slot.sender_key, slot.sequence
