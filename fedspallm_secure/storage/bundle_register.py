"""What a party knows of bundles that were carried: its own, those of others, and what to tell whom (SPEC section 20.4).

Tables in the database of the replay register, like the journal, so that they are lost or kept together.  Index files of
all bundles that came are kept: two of them under one number are a proof.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import Equivocation
from fedspallm_secure.protocol.bundles import Bundle, bundle_equivocation_proof
from fedspallm_secure.storage.files import create_private, disk_errors
from fedspallm_secure.storage.register import register_errors

_SCHEMA = """
CREATE TABLE IF NOT EXISTS bundles_made (
    recipient TEXT NOT NULL, number INTEGER NOT NULL, digest TEXT NOT NULL, file BLOB NOT NULL,
    PRIMARY KEY (recipient, number)
) STRICT;
CREATE TABLE IF NOT EXISTS bundles_seen (
    sender TEXT NOT NULL, sender_key TEXT NOT NULL, number INTEGER NOT NULL, digest TEXT NOT NULL, file BLOB NOT NULL,
    at INTEGER NOT NULL, PRIMARY KEY (sender, sender_key, number)
) STRICT;
CREATE TABLE IF NOT EXISTS bundle_receipts (
    sender TEXT NOT NULL, digest TEXT NOT NULL, told INTEGER NOT NULL, PRIMARY KEY (sender, digest)
) STRICT;
CREATE TABLE IF NOT EXISTS bundle_requests (
    recipient TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (recipient, digest)
) STRICT;
"""
_NEWEST = "SELECT file FROM bundles_made WHERE recipient = ? ORDER BY number DESC LIMIT 1"
_SEEN = "SELECT number, digest, file FROM bundles_seen WHERE sender = ? AND sender_key = ? AND number >= ?"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bundle stands among those seen of its sender.

    fresh: none with this number or a higher one came before; known: this very one did; missing: numbers before it that
    never came, as first and last, None for none.
    """

    fresh: bool
    known: bool
    missing: tuple[int, int] | None


class BundleRegister:
    """The tables of bundles.  connection: to the database at `path`, with autocommit, used by one thread."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self._path = path
        with register_errors(path):
            for statement in filter(str.strip, _SCHEMA.split(";")):  # executescript would end a transaction
                connection.execute(statement)

    # What was made

    def newest(self, recipient: Party) -> Bundle | None:
        """The bundle that was made last for a party."""
        rows = self._all(_NEWEST, str(recipient))
        return Bundle.parse(rows[0][0]) if rows else None

    def made(self, recipient: Party, number: int) -> str | None:
        """Digest of the bundle for a party that got this number; None if none did."""
        rows = self._all("SELECT digest FROM bundles_made WHERE recipient = ? AND number = ?", str(recipient), number)
        return str(rows[0][0]) if rows else None

    def make(self, recipient: Party, make: Callable[[Bundle | None], Bundle]) -> Bundle:
        """Use up the next number.  make: is given the newest bundle, and returns it again or the next one.

        When this returns the bundle is durable, so that one number never stands on two.
        """
        with self._transaction():
            before = self.newest(recipient)
            made = make(before)
            if made != before:
                self._do(
                    "INSERT INTO bundles_made VALUES (?, ?, ?, ?)",
                    str(recipient),
                    made.number,
                    made.digest,
                    made.encode(),
                )
            for digest in made.contents.received:
                self._do(
                    "UPDATE bundle_receipts SET told = ? WHERE sender = ? AND digest = ? AND told = 0",
                    made.number,
                    str(recipient),
                    digest,
                )
        return made

    # What came

    def place(self, bundle: Bundle, sender_key: str) -> Place:
        """Where a verified bundle stands.

        Raises Equivocation if another one of the same number came before; both are kept in `evidence`.
        """
        later = self._all(_SEEN, str(bundle.sender), sender_key, bundle.number)
        same = [(digest, file) for number, digest, file in later if number == bundle.number]
        if same and same[0][0] != bundle.digest:
            raise Equivocation(
                f"{bundle.sender} made two different bundles number {bundle.number} for you; "
                f"the proof is in {self._keep(same[0], bundle)}"
            )
        before = self.seen(bundle.sender, sender_key)
        if before == 0:  # after a renewal numbers go on under the new key
            before = self._number("SELECT max(number) FROM bundles_seen WHERE sender = ?", str(bundle.sender))
            before = before if before < bundle.number else 0
        missing = (before + 1, bundle.number - 1) if not later and bundle.number > before + 1 else None
        return Place(not later, bool(same) and len(later) == 1, missing)

    def seen(self, sender: Party, sender_key: str) -> int:
        """Number of the newest bundle that came from a party under its key, 0 for none."""
        return self._number(
            "SELECT max(number) FROM bundles_seen WHERE sender = ? AND sender_key = ?", str(sender), sender_key
        )

    def take_in(
        self, bundle: Bundle, sender_key: str, arrived: Iterable[str], sent: Callable[[str], bool], at: int
    ) -> None:
        """Note a verified bundle, and everything it tells, together.

        arrived: digests of its packages that are here; sent: whether a package was made for its sender; at: Unix
        seconds.
        """
        sender = str(bundle.sender)
        with self._transaction():
            self._do(
                "INSERT INTO bundles_seen VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                sender,
                sender_key,
                bundle.number,
                bundle.digest,
                bundle.encode(),
                at,
            )
            self._do(
                "DELETE FROM bundle_receipts WHERE sender = ? AND told BETWEEN 1 AND ?", sender, bundle.contents.seen
            )
            for digest in arrived:
                self._do(
                    "INSERT INTO bundle_receipts VALUES (?, ?, 0) ON CONFLICT DO UPDATE SET told = 0", sender, digest
                )
            for digest in bundle.contents.received:
                self._do("DELETE FROM bundle_requests WHERE recipient = ? AND digest = ?", sender, digest)
            for digest in filter(sent, bundle.contents.again):
                self._do("INSERT INTO bundle_requests VALUES (?, ?) ON CONFLICT DO NOTHING", sender, digest)

    # What to tell, and what to send once more

    def receipts(self, sender: Party) -> list[str]:
        """Digests of packages of a party that have arrived, and of which it is not known that it was told so."""
        rows = self._all("SELECT digest FROM bundle_receipts WHERE sender = ? ORDER BY rowid", str(sender))
        return [digest for (digest,) in rows]

    def untold(self) -> list[Party]:
        """Parties that were not told yet of something that arrived."""
        return [
            Party.parse(name) for (name,) in self._all("SELECT DISTINCT sender FROM bundle_receipts WHERE told = 0")
        ]

    def requests(self, recipient: Party) -> set[str]:
        """Digests of packages that a party has asked for once more."""
        return {
            digest for (digest,) in self._all("SELECT digest FROM bundle_requests WHERE recipient = ?", str(recipient))
        }

    @property
    def evidence(self) -> Path:
        """Folder for proofs: that of the home in which the database lies."""
        return self._path.parent / "evidence"

    def _keep(self, first: tuple[str, bytes], second: Bundle) -> Path:
        digest, file = first
        path = self.evidence / f"bundle-{digest}.json"
        with disk_errors(path):
            self.evidence.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            create_private(path, bundle_equivocation_proof(file, second.encode()) + b"\n")
        return path

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with register_errors(self._path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:  # on a full disk SQLite may have rolled back by itself
                    self.connection.execute("ROLLBACK")
                raise

    def _number(self, statement: str, *values: Any) -> int:
        return int(self._all(statement, *values)[0][0] or 0)

    def _do(self, statement: str, *values: Any) -> None:
        with register_errors(self._path):
            self.connection.execute(statement, values)

    def _all(self, statement: str, *values: Any) -> list[Any]:
        with register_errors(self._path):
            return self.connection.execute(statement, values).fetchall()
