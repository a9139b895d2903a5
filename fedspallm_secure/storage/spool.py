"""Packages on their way: those that arrive, those that wait for their machine, those that may leave (SPEC section 21).

    spool/part/SENDER.DIGEST.part    arriving
    spool/in/DIGEST.fspkg            arrived; its row says what became of it
    spool/out/DIGEST.fspkg           made; may leave once the journal has its row

A spool serves transports, from any thread, beside the one thread that runs the machine; it has a connection of its own
to the journal.  What it takes in is checked as far as a head goes; bodies are checked by whoever opens them.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import FedSpaError, LimitExceeded, NotAwaited, RolledBack
from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.storage.arrivals import Check, FileArrival, part_of
from fedspallm_secure.storage.files import disk_errors, sync_folder
from fedspallm_secure.storage.package_reader import PACKAGE_LIMIT, open_package
from fedspallm_secure.storage.register import register_errors
from fedspallm_secure.storage.room import Quota, Room

SUFFIX = ".fspkg"
_WAITING, _DAMAGED = "waiting", "damaged"
_OLD = "stop: this home is an old copy.  Have its certificate withdrawn, and enrol again in a new --home"
_LAST = """SELECT coalesce(max(sequence), 0) FROM
(SELECT sequence FROM received WHERE sender = ?1 AND sender_key = ?2
UNION ALL SELECT sequence FROM inbox WHERE sender = ?1 AND sender_key = ?2)"""
_ANOTHER = "whoever made it has to make another one; what else came with it is not concerned"
_OUTGOING = "SELECT number, digest, recipient, size, type, round, grp, departed IS NOT NULL FROM outbox "


@dataclass(frozen=True, slots=True)
class Arrived:
    """A package in the inbox.  path: its file; sequence: the sender's own number of it."""

    digest: str
    sender: str
    type: str
    round: int
    group: str
    sequence: int
    path: Path


@dataclass(frozen=True, slots=True)
class Listed:
    """A package of the outbox.  number: grows and never comes again; size: bytes."""

    number: int
    digest: str
    recipient: str
    size: int
    type: str
    round: int
    group: str
    departed: bool


class Spool:
    """Inbox and outbox of one party.  Made by `open_spool`."""

    def __init__(
        self, connection: sqlite3.Connection, database: Path, folder: Path, check: Check, quota: Quota, sole: bool
    ) -> None:
        """check: raises what a head is refused with; called as soon as the head of a package is there.

        sole: whether no other process makes packages here, so that what has no row was left by a kill.
        """
        self.folder = folder
        self.quota = quota
        self.check = check
        self.notify: Callable[[], None] = lambda: None  # called when something has arrived
        self.key_of: Callable[[Party], str] = lambda _: ""  # identifier of the key with which a party signs now
        self.begun: set[str] = set()  # digests of packages that somebody has begun to fetch since this was opened
        self._connection = connection
        self._database = database
        self._lock = RLock()
        with disk_errors(folder):
            for name in ("part", "in", "out"):
                (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._room = Room(folder / "part")
            if sole:
                self._sweep()

    # Arriving

    def arrival(self, peer: Party, digest: str, size: int) -> FileArrival | None:
        """`transport.depot.Depot.arrival`."""
        if not 0 < size <= PACKAGE_LIMIT:
            raise LimitExceeded(f"a package has 1 to {PACKAGE_LIMIT} bytes, not {size}")
        with self._lock:
            known = self._all("SELECT state, reason FROM inbox WHERE digest = ?", digest)
            if known and known[0][0] == "refused":
                raise NotAwaited(f"this package was refused before: {known[0][1]}", hint=_ANOTHER)
            if known and known[0][0] != _DAMAGED:
                return None
            ((waiting,),) = self._all(
                "SELECT coalesce(sum(size), 0) FROM inbox WHERE sender = ? AND state = 'waiting'", str(peer)
            )
            self._room.check(peer, digest, size, waiting, self.quota)
            arrival = FileArrival(self, part_of(self.folder / "part", peer, digest), peer, digest, size)
            self._room.begin(peer, digest, arrival)
        return arrival

    def arrived(self) -> list[Arrived]:
        """What waits for the machine: the packages of one sender in the order in which it made them."""
        rows = self._all(
            "SELECT digest, sender, type, round, grp, sequence FROM inbox WHERE state = 'waiting' "
            "ORDER BY sender, sequence"
        )
        return [
            Arrived(digest, sender, type, round, group, sequence, self.inside("in", digest))
            for digest, sender, type, round, group, sequence in rows
        ]

    def again(self, peer: Party) -> Sequence[str]:
        """`transport.depot.Depot.again`."""
        rows = self._all("SELECT digest FROM inbox WHERE state = ? AND sender = ?", _DAMAGED, str(peer))
        return [digest for (digest,) in rows]

    def drop(self, digest: str) -> None:
        """Remove the file of a package that was settled."""
        with disk_errors(self.folder):
            self.inside("in", digest).unlink(missing_ok=True)

    # Departing

    def listing(self, peer: Party, after: int, most: int) -> Sequence[Listed]:
        """`transport.depot.Depot.listing`."""
        where = "WHERE recipient = ? AND number > ? AND not_after >= ? ORDER BY number LIMIT ?"
        return self._listed(_OUTGOING + where, str(peer), after, int(time.time()), most)

    def unsent(self, peer: Party) -> Sequence[Listed]:
        """What may leave for `peer` and has not left yet, in order."""
        where = "WHERE recipient = ? AND departed IS NULL AND not_after >= ? ORDER BY number"
        return self._listed(_OUTGOING + where, str(peer), int(time.time()))

    def outgoing(self, after: int = 0) -> Sequence[Listed]:
        """What may leave, to whomever, in order."""
        where = "WHERE number > ? AND not_after >= ? ORDER BY number"
        return self._listed(_OUTGOING + where, after, int(time.time()))

    def _listed(self, statement: str, *values: Any) -> Sequence[Listed]:
        return [
            Listed(number, digest, recipient, size, type, round, group, bool(departed))
            for number, digest, recipient, size, type, round, group, departed in self._all(statement, *values)
        ]

    def departure(self, peer: Party, digest: str) -> Path | None:
        """`transport.depot.Depot.departure`."""
        found = self._all("SELECT 1 FROM outbox WHERE digest = ? AND recipient = ?", digest, str(peer))
        path = self.inside("out", digest)
        if not found or not path.exists():
            return None
        self.begun.add(digest)
        return path

    def departed(self, peer: Party, digest: str) -> None:
        """`transport.depot.Depot.departed`."""
        with self._lock, register_errors(self._database):
            self._connection.execute(
                "UPDATE outbox SET departed = ? WHERE digest = ? AND recipient = ? AND departed IS NULL",
                (int(time.time()), digest, str(peer)),
            )

    def undeparted(self, peer: Party, digest: str) -> bool:
        """It did not arrive whole: send it once more; whether it is still here."""
        with self._lock, register_errors(self._database):
            changed = self._connection.execute(
                "UPDATE outbox SET departed = NULL WHERE digest = ? AND recipient = ? AND departed IS NOT NULL",
                (digest, str(peer)),
            ).rowcount
        return changed > 0

    def last_sequence(self, peer: Party) -> int:
        """The highest sequence number of a package that was taken in or waits, 0 if there was none.

        Of those that `peer` signed with its present key: who has enrolled again counts from 1 again.
        """
        rows = self._all(_LAST, str(peer), self.key_of(peer))
        return int(rows[0][0])

    def discard(self, before: int) -> None:
        """Remove what was made in rounds before this one: nobody asks for it any more."""
        with self._lock:
            gone = self._all("SELECT digest FROM outbox WHERE round > 0 AND round < ?", before)
            if gone:  # rows first: a file without one is swept
                with register_errors(self._database):
                    self._connection.execute("DELETE FROM outbox WHERE round > 0 AND round < ?", (before,))
            with disk_errors(self.folder):
                for (digest,) in gone:
                    self.inside("out", digest).unlink(missing_ok=True)

    # Inside

    def inside(self, where: str, digest: str) -> Path:
        """The file of a package in `in` or `out`."""
        return self.folder / where / (digest + SUFFIX)

    def take_in(self, part: Path, head: Head) -> None:
        """Give an arrival that is durable its place in the inbox."""
        path = self.inside("in", head.digest.hex())
        with self._lock:
            with disk_errors(path):
                part.replace(path)
                sync_folder(path.parent)
            self._insert(head)
        self.notify()

    def _insert(self, head: Head) -> None:
        context = head.context
        with register_errors(self._database):
            self._connection.execute(
                "INSERT INTO inbox VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'waiting', '') "
                "ON CONFLICT DO UPDATE SET state = 'waiting', reason = '' WHERE state = 'damaged'",
                (
                    head.digest.hex(),
                    str(context.sender),
                    context.sender_key,
                    context.type,
                    context.round,
                    str(context.group),
                    context.sequence,
                    head.size,
                    int(time.time()),
                ),
            )

    def leave(self, digest: str) -> None:
        """An arrival has ended, one way or the other."""
        with self._lock:
            self._room.end(digest)

    def _sweep(self) -> None:
        """Put right what a kill has left: files without rows.  Raises RolledBack where it was none."""
        sent = {digest for (digest,) in self._all("SELECT digest FROM outbox")}
        unknown = [path for path in (self.folder / "out").iterdir() if path.name.removesuffix(SUFFIX) not in sent]
        self._check_made(unknown)
        for path in unknown:  # sealed, but what it belongs to was never written down
            path.unlink(missing_ok=True)
        known = dict(self._all("SELECT digest, state FROM inbox"))
        for path in (self.folder / "in").iterdir():
            state = known.get(path.name.removesuffix(SUFFIX))
            if state is None:
                self._adopt(path)
            elif state != _WAITING:
                path.unlink(missing_ok=True)

    def _check_made(self, paths: Iterable[Path]) -> None:
        """A number is used up, durably, before anything is sealed: a kill leaves none that is not counted."""
        last = self._all("SELECT coalesce(max(value), 0) FROM counters WHERE name = 'sequence'")[0][0]
        newest = max((head.context.sequence for head in map(_head, paths) if head is not None), default=0)
        if newest > last:
            raise RolledBack(f"package {newest} lies in {self.folder}; {self._database} has made {last}", hint=_OLD)

    def _adopt(self, path: Path) -> None:
        head = _head(path)
        if head is None or self.inside("in", head.digest.hex()) != path:
            path.unlink(missing_ok=True)
        else:
            self._insert(head)

    def _all(self, statement: str, *values: Any) -> list[Any]:
        with self._lock, register_errors(self._database):
            return self._connection.execute(statement, values).fetchall()


def _head(path: Path) -> Head | None:
    """The head of a package that is there in its whole length, else None."""
    try:
        with open_package(path) as package:
            package.check_length()
            return package.head
    except FedSpaError:
        return None


@contextmanager
def open_spool(
    database: Path, folder: Path, check: Check, quota: Quota | None = None, sole: bool = True
) -> Iterator[Spool]:
    """The spool in `folder` of the party whose journal, opened before, is at `database`.

    sole: as in `Spool`.  Raises StorageError, and RolledBack for an older copy of the database.
    """
    with register_errors(database):
        connection = sqlite3.connect(database, timeout=10.0, isolation_level=None, check_same_thread=False)
    with closing(connection):
        with register_errors(database):
            connection.execute("PRAGMA synchronous = FULL")
        yield Spool(connection, database, folder, check, quota or Quota(), sole)
