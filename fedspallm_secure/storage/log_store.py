"""A log in the database of a party's replay register: its entries, the documents they name, and checkpoints seen.

    index = log.stage(entry)      # in the tree at once
    with journal.transaction():
        ...                       # what the entry is about
        log.flush()               # durable together with it
    log.drop_staged()             # instead, where that failed

A server writes its own log here, a member keeps that of its server (SPEC section 22).  Checks no signature.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fedspallm_secure.crypto.merkle import HASH_SIZE, Tree, leaf_hash
from fedspallm_secure.errors import MissingInput, RecordDamaged, RunLocked
from fedspallm_secure.storage.register import register_errors

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS log_entries (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS log_leaves (seq INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS log_documents (sha256 TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS log_notes (
    number INTEGER PRIMARY KEY, note BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, root BLOB NOT NULL
) STRICT;
"""
_AT_ONCE: Final = 256  # rows that are read at once: nobody leaves a cursor open, which would hold up the journal
_STORED: Final = "SELECT coalesce(max(seq) + 1, 0) FROM log_leaves"
_BODIES: Final = "SELECT seq, body FROM log_entries WHERE seq >= ? AND seq < ? ORDER BY seq"
_ALONE: Final = "let one service alone work in a home, and start it again"
_GONE: Final = "do not restore an old copy: others have seen the log as it was; enrol again in a new --home"


class LogStore:
    """The log of one database, that of a journal, for one thread; empty where none was written.

    tree: over all entries, staged ones among them.  known_files: what `log_folder.publish` found right on the disk.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """connection: to the database at `path`, with autocommit.  Raises RecordDamaged or StorageError."""
        self.connection = connection
        self.path = path
        self.known_files: dict[Path, tuple[int, ...]] = {}
        self._entries: list[bytes] = []  # staged
        self._documents: dict[str, bytes] = {}
        self._notes: dict[bytes, tuple[int, bytes]] = {}
        with register_errors(path):
            for statement in filter(str.strip, _SCHEMA.split(";")):  # executescript would end a transaction
                connection.execute(statement)
        self.tree = self._read_tree()

    @property
    def size(self) -> int:
        """How many entries there are, with those that are staged."""
        return self.tree.size

    @property
    def flushed(self) -> int:
        """How many entries stand in the database."""
        return self.tree.size - len(self._entries)

    # Adding

    def stage(self, body: bytes) -> int:
        """Append an entry, which becomes durable with the next `flush`; its index."""
        index = self.tree.append(leaf_hash(body))
        self._entries.append(body)
        return index

    def keep_document(self, body: bytes) -> str:
        """Keep what an entry names, from the next `flush` on; its SHA-256 in hex."""
        digest = hashlib.sha256(body).hexdigest()
        self._documents[digest] = body
        return digest

    def keep_note(self, note: bytes, size: int, root: bytes) -> None:
        """Keep a checkpoint that was shown, from the next `flush` on; the same one once."""
        self._notes.setdefault(note, (size, root))

    def flush(self) -> None:
        """Write down what is staged, inside of the transaction of what it is about.

        Raises RunLocked where another process has added entries; DiskFull or StorageError, and then, as after a commit
        that fails, `drop_staged` has to follow.
        """
        if not (self._entries or self._documents or self._notes):
            return
        if not self.connection.in_transaction:
            raise RuntimeError("what is flushed belongs into a transaction")
        before = self._stored()
        if before != self.flushed:
            raise RunLocked(f"another process has written entries of the log into {self.path}", hint=_ALONE)
        with register_errors(self.path):
            for index, body in enumerate(self._entries, before):
                self.connection.execute("INSERT INTO log_entries VALUES (?, ?)", (index, body))
                self.connection.execute("INSERT INTO log_leaves VALUES (?, ?)", (index, self.tree.leaf(index)))
            for digest, body in self._documents.items():
                self.connection.execute(
                    "INSERT INTO log_documents VALUES (?, ?) ON CONFLICT DO NOTHING", (digest, body)
                )
            for note, (size, root) in self._notes.items():
                self.connection.execute(
                    "INSERT INTO log_notes (note, size, root) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                    (note, size, root),
                )
        self._entries.clear()
        self._documents.clear()
        self._notes.clear()

    def drop_staged(self) -> None:
        """Go back to what stands in the database: a transaction has failed.  Raises StorageError.

        Notes that were not flushed stay: whatever became of the rest, somebody has signed them.
        """
        flushed = self.flushed
        self._entries.clear()
        self._documents.clear()
        self.tree.truncate(min(self._stored(), flushed))  # the database is asked: what was flushed may have no commit

    # Reading

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """The entries from `start` up to and without `end`, also staged ones, 256 in memory at a time.

        Raises IndexError for entries that there are not; RecordDamaged.
        """
        if not 0 <= start <= end <= self.size:
            raise IndexError(f"entries {start} to {end} of {self.size}")
        for first in range(start, end, _AT_ONCE):
            yield from self._slice(first, min(first + _AT_ONCE, end))

    def _slice(self, start: int, end: int) -> list[bytes]:
        flushed = self.flushed
        rows = self._all(_BODIES, start, min(end, flushed))
        bodies = [body for _, body in rows]
        if [index for index, _ in rows] != list(range(start, min(end, flushed))):
            raise RecordDamaged(f"{self.path} has lost entries of the log between {start} and {end}", hint=_GONE)
        for index, body in rows:
            if leaf_hash(body) != self.tree.leaf(index):
                raise RecordDamaged(f"entry {index} of the log in {self.path} is damaged", hint=_GONE)
        return bodies + self._entries[max(0, start - flushed) : max(0, end - flushed)]

    def document(self, digest: str) -> bytes:
        """A document by its SHA-256 in hex, also a staged one.  Raises MissingInput or RecordDamaged."""
        if digest in self._documents:
            return self._documents[digest]
        rows = self._all("SELECT body FROM log_documents WHERE sha256 = ?", digest)
        if not rows:
            raise MissingInput(f"{self.path} has no document {digest}")
        if hashlib.sha256(rows[0][0]).hexdigest() != digest:
            raise RecordDamaged(f"document {digest} of the log in {self.path} is damaged", hint=_GONE)
        return bytes(rows[0][0])

    def documents(self) -> list[str]:
        """SHA-256, in hex, of all documents that stand in the database, sorted."""
        return [digest for (digest,) in self._all("SELECT sha256 FROM log_documents ORDER BY sha256")]

    def notes(self) -> Iterator[tuple[bytes, int, bytes]]:
        """Checkpoints that were shown, as note, size and root, in the order in which they came; staged ones last."""
        last, seen = 0, dict(self._notes)
        while rows := self._all(
            "SELECT number, note, size, root FROM log_notes WHERE number > ? ORDER BY number LIMIT ?", last, _AT_ONCE
        ):
            for number, note, size, root in rows:
                last = number
                seen.pop(note, None)
                yield note, size, root
        for note, (size, root) in seen.items():
            yield note, size, root

    # Inside

    def _read_tree(self) -> Tree:
        tree = Tree()
        with register_errors(self.path):
            for index, hash in self.connection.execute("SELECT seq, hash FROM log_leaves ORDER BY seq"):
                if index != tree.size or len(hash) != HASH_SIZE:
                    raise RecordDamaged(f"{self.path} has lost entry {tree.size} of the log", hint=_GONE)
                tree.append(hash)
        last = self._all("SELECT coalesce(max(seq) + 1, 0) FROM log_entries")[0][0]
        if last != tree.size:
            raise RecordDamaged(f"{self.path} has {last} entries of the log, and hashes of {tree.size}", hint=_GONE)
        return tree

    def _stored(self) -> int:
        return int(self._all(_STORED)[0][0])

    def _all(self, statement: str, *values: Any) -> list[Any]:
        with register_errors(self.path):
            return self.connection.execute(statement, values).fetchall()
