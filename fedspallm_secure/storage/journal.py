"""What a party has done in rounds, in the database of its replay register (SPEC section 21).

    with journal.transaction():          # all of it becomes durable together, or nothing
        register.fill(head, "", now)
        journal.append(3, records)
        journal.send(departure)

Whatever follows from one message is one transaction, so a party that was killed either has taken the message in, with
everything that it led to, or has not.  Records that open somebody's vector are encrypted, and wiped when the round is
over.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from fedspallm_secure.crypto.aead import NONCE_SIZE, decrypt, encrypt
from fedspallm_secure.crypto.encoding import canonical_json, pae, parse_canonical_json
from fedspallm_secure.crypto.labels import Label, derive_key
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.errors import CannotDecrypt, RecordDamaged, RunLocked
from fedspallm_secure.storage.register import SqliteRegister, open_register, register_errors

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    number INTEGER PRIMARY KEY AUTOINCREMENT, round INTEGER NOT NULL, secret INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS records_of_round ON records (round, number);
CREATE TABLE IF NOT EXISTS facts (
    kind TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, name)
) STRICT;
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL UNIQUE, recipient TEXT NOT NULL, type TEXT NOT NULL,
    round INTEGER NOT NULL, grp TEXT NOT NULL, size INTEGER NOT NULL, at INTEGER NOT NULL,
    not_after INTEGER NOT NULL, departed INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS outbox_of_recipient ON outbox (recipient, number);
CREATE TABLE IF NOT EXISTS inbox (
    digest TEXT PRIMARY KEY, sender TEXT NOT NULL, sender_key TEXT NOT NULL, type TEXT NOT NULL,
    round INTEGER NOT NULL, grp TEXT NOT NULL, sequence INTEGER NOT NULL, size INTEGER NOT NULL,
    at INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS inbox_of_sender ON inbox (sender, state);
"""
_NUMBER = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'records'), 0)"
_SALT_SIZE = 32  # bytes
_NONCE = bytes(NONCE_SIZE)  # every record has a key of its own
_GONE = "do not restore an old copy; withdraw from the federation and enrol again in a new --home"
_ALONE = "let one service alone work in a home, and start it again"
T = TypeVar("T")


class Recordable(Protocol):
    """A record of a machine.  secret: whether it has to be encrypted."""

    secret: ClassVar[bool]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""


@dataclass(frozen=True, slots=True)
class Departure:
    """A package that was made and lies in the outbox.  at, not_after: Unix seconds; size: bytes of the file."""

    digest: str
    recipient: str
    type: str
    round: int
    group: str
    size: int
    at: int
    not_after: int


class Journal:
    """The journal of one party, for one thread.  Made by `open_journal`."""

    def __init__(self, connection: sqlite3.Connection, path: Path, owner: str, key: bytes) -> None:
        """owner: URI of the party; key: 32 bytes, for secret records."""
        self.path = path
        self.connection = connection
        self.register = SqliteRegister(connection, path)
        self._owner = owner
        self._key = key
        self._has_forgotten = True  # perhaps by a process that was killed right after
        self._written = self._last_number()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside becomes durable when this ends, or nothing does.

        Raises DiskFull, StorageError or RunLocked, after which the party has to be restored from the journal.
        """
        with register_errors(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
        written = self._written
        try:
            yield
            with register_errors(self.path):
                self.connection.execute("COMMIT")
        except BaseException:
            self._written = written
            if self.connection.in_transaction:  # on a full disk SQLite may have rolled back by itself
                self.connection.execute("ROLLBACK")
            raise
        if self._has_forgotten:
            self._wipe()

    def _wipe(self) -> None:
        """Take what was deleted out of the log beside the database, too, as far as nobody reads there now."""
        with register_errors(self.path):
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._has_forgotten = False

    # Records of machines

    def append(self, round: int, records: Iterable[Recordable]) -> None:
        """Write down what a machine decided, in order.

        Raises RunLocked if another process has written records since this journal was opened: two machines that know
        nothing of each other would each say something else in one round.
        """
        if self._last_number() != self._written:
            raise RunLocked(f"another process has written records into {self.path}", hint=_ALONE)
        for record in records:
            body = canonical_json(record.to_dict())
            if record.secret:
                salt = random_bytes(_SALT_SIZE)
                body = salt + encrypt(self._record_key(round, salt), _NONCE, body, _octets(round))
            self._do("INSERT INTO records (round, secret, body) VALUES (?, ?, ?)", round, int(record.secret), body)
        self._written = self._last_number()

    def _last_number(self) -> int:
        """The number of the last record that was ever written."""
        return int(self._all(_NUMBER)[0][0])

    def records(self, round: int, read: Callable[[Any], T]) -> list[T]:
        """The records of a round.  read: makes one of plain data.  Raises RecordDamaged."""
        found = []
        rows = self._all("SELECT number, secret, body FROM records WHERE round = ? ORDER BY number", round)
        for number, secret, body in rows:
            try:
                if secret:
                    salt, rest = body[:_SALT_SIZE], body[_SALT_SIZE:]
                    body = decrypt(self._record_key(round, salt), _NONCE, rest, _octets(round))
            except CannotDecrypt:
                raise RecordDamaged(f"record {number} in {self.path} does not open", hint=_GONE) from None
            found.append(read(parse_canonical_json(body, f"record {number} of {self.path}")))
        return found

    def forget_secrets(self, round: int) -> None:
        """Wipe the secret records of a round that is over; a round cannot be restored any more after that."""
        self._do("DELETE FROM records WHERE round = ? AND secret = 1", round)
        self._has_forgotten = True

    def forget_secrets_before(self, round: int) -> None:
        """Wipe the secret records of all earlier rounds, also of those that were never closed."""
        self._do("DELETE FROM records WHERE round < ? AND secret = 1", round)

    def last_round(self) -> int:
        """The newest round with records, 0 if there is none."""
        return int(self._all("SELECT coalesce(max(round), 0) FROM records")[0][0])

    def _record_key(self, round: int, salt: bytes) -> bytes:
        return derive_key(self._key, Label.KEY_RECORD, pae(self._owner.encode(), _octets(round)), salt)

    # Facts: small things to remember, by kind and name

    def remember(self, kind: str, name: str, value: Any) -> None:
        """Keep plain data in place of what was kept under this kind and name."""
        self._do(
            "INSERT INTO facts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
            kind,
            name,
            canonical_json(value),
        )

    def remember_secret(self, kind: str, name: str, value: bytes) -> None:
        """Keep bytes that nobody may read without the journal's key; of a kind that holds nothing else."""
        salt = random_bytes(_SALT_SIZE)
        context = pae(kind.encode(), name.encode())
        sealed = salt + encrypt(self._fact_key(kind, name, salt), _NONCE, value, context)
        self._do(
            "INSERT INTO facts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body", kind, name, sealed
        )

    def recall_secret(self, kind: str, name: str) -> bytes | None:
        """The bytes that were kept; None if none were.  Raises RecordDamaged."""
        rows = self._all("SELECT body FROM facts WHERE kind = ? AND name = ?", kind, name)
        if not rows:
            return None
        salt, sealed = rows[0][0][:_SALT_SIZE], rows[0][0][_SALT_SIZE:]
        try:
            return decrypt(self._fact_key(kind, name, salt), _NONCE, sealed, pae(kind.encode(), name.encode()))
        except CannotDecrypt:
            raise RecordDamaged(f"{kind} {name} in {self.path} does not open", hint=_GONE) from None

    def forget_secret(self, kind: str, name: str) -> None:
        """Wipe one of them."""
        self.forget(kind, name)
        self._has_forgotten = True

    def _fact_key(self, kind: str, name: str, salt: bytes) -> bytes:
        context = pae(self._owner.encode(), kind.encode(), name.encode())
        return derive_key(self._key, Label.KEY_RECORD, context, salt)

    def recall(self, kind: str, name: str, default: Any = None) -> Any:
        """What was kept; `default` if nothing was."""
        rows = self._all("SELECT body FROM facts WHERE kind = ? AND name = ?", kind, name)
        return parse_canonical_json(rows[0][0], f"{kind} {name}") if rows else default

    def recall_all(self, kind: str) -> dict[str, Any]:
        """Everything of a kind, by name, in order of the names."""
        rows = self._all("SELECT name, body FROM facts WHERE kind = ? ORDER BY name", kind)
        return {name: parse_canonical_json(body, f"{kind} {name}") for name, body in rows}

    def forget(self, kind: str, name: str) -> None:
        """Drop one."""
        self._do("DELETE FROM facts WHERE kind = ? AND name = ?", kind, name)

    # Packages

    def send(self, departure: Departure) -> None:
        """Put a package into the outbox: from the end of the transaction on it may leave."""
        self._do(
            "INSERT INTO outbox (digest, recipient, type, round, grp, size, at, not_after) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            departure.digest,
            departure.recipient,
            departure.type,
            departure.round,
            departure.group,
            departure.size,
            departure.at,
            departure.not_after,
        )

    def has_made(self, type: str, round: int) -> bool:
        """Whether a package of this type and round was put into the outbox."""
        return bool(self._all("SELECT 1 FROM outbox WHERE type = ? AND round = ? LIMIT 1", type, round))

    def withdraw(self, digest: str) -> None:
        """Take a package back out of the outbox: from the end of the transaction on it may not leave."""
        self._do("DELETE FROM outbox WHERE digest = ?", digest)

    def settle(self, digest: str, state: str, reason: str = "") -> None:
        """Say what became of a package of the inbox: `taken`, `refused`, `damaged`."""
        self._do("UPDATE inbox SET state = ?, reason = ? WHERE digest = ?", state, reason[:2000], digest)

    def _do(self, statement: str, *values: Any) -> None:
        with register_errors(self.path):
            self.connection.execute(statement, values)

    def _all(self, statement: str, *values: Any) -> list[Any]:
        with register_errors(self.path):
            return self.connection.execute(statement, values).fetchall()


def _octets(round: int) -> bytes:
    return round.to_bytes(8, "big")


@contextmanager
def open_journal(path: Path, owner: str, key: bytes) -> Iterator[Journal]:
    """Open the journal in the register at `path`, which has to be there.

    Raises RecordDamaged when SQLite finds it inconsistent or it is gone; StorageError.
    """
    with open_register(path, make=False) as register, register_errors(path):
        register.connection.execute("PRAGMA secure_delete = ON")
        register.connection.executescript(_SCHEMA)
        yield Journal(register.connection, path, owner, key)


@contextmanager
def read_journal(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads, for those who watch.  Raises RecordDamaged, or StorageError."""
    with register_errors(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0)
    with closing(connection):
        yield connection
