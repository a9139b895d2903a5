"""The log as it lies in a party's home: the server's own, a member's copy of it, or what a witness cosigned.

Read without a password, and nothing is changed.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedspallm_secure.app.service.watched import Watched
from fedspallm_secure.app.stations.note_statements import read_stated
from fedspallm_secure.crypto.certificate_fields import CERTIFICATE_LIMIT
from fedspallm_secure.crypto.encoding import decode_base64
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.errors import LimitExceeded, MissingInput
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement
from fedspallm_secure.storage import home_folder as folder
from fedspallm_secure.storage.documents import read_own
from fedspallm_secure.storage.home_folder import Identity, read_identity
from fedspallm_secure.storage.journal import read_journal
from fedspallm_secure.storage.log_store import LogStore
from fedspallm_secure.storage.pem import CERTIFICATE, decode_pem
from fedspallm_secure.storage.register import register_errors

_TABLES = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('facts', 'log_notes')"


@dataclass(frozen=True, slots=True)
class HomeLog:
    """What a home knows of a log: a `LogSource`, where it has entries.

    root: the pinned root certificate, DER; statement: who holds the log's key; kept: all checkpoints that it signed,
    with cosignatures where there are any.
    """

    identity: Identity
    root: bytes
    store: LogStore
    statement: NoteKeyStatement
    kept: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """How many entries are there."""
        return self.store.size

    def note(self) -> bytes:
        """The newest checkpoint of entries that are there.  Raises MissingInput."""
        fitting = [(size, note) for note, size, root in self.store.notes() if self._has(size, root)]
        if not fitting:
            raise MissingInput(
                f"the home of {self.identity} has no checkpoint of the log",
                hint="name the folder log/ in the server's work folder instead, or the one file made of it",
            )
        return max(fitting)[1]

    def _has(self, size: int, root: bytes) -> bool:
        return 0 < size <= self.store.size and self.store.tree.root(size) == root

    def cosigned(self) -> bytes | None:
        """None: whom the log's cosignatures convinced is not kept here."""
        return None

    def entries(self, size: int) -> Iterator[bytes]:
        """The first `size` entries.  Raises MissingInput, RecordDamaged."""
        if size > self.store.size:
            raise MissingInput(f"the home of {self.identity} has {self.store.size} entries of the log, not {size}")
        return self.store.entries(0, size)

    def leaves(self, size: int) -> Iterator[bytes]:
        """Their hashes.  Raises MissingInput."""
        if size > self.store.size:
            raise MissingInput(f"the home of {self.identity} has {self.store.size} entries of the log, not {size}")
        return map(self.store.tree.leaf, range(size))

    def document(self, sha256: str, limit: int) -> bytes:
        """A document; members keep none but what they pin.  Raises MissingInput, LimitExceeded or RecordDamaged."""
        pinned = {hashlib.sha256(one).hexdigest(): one for one in (self.root, self.statement.encode())}
        found = pinned.get(sha256) or self.store.document(sha256)
        if len(found) > limit:
            raise LimitExceeded(f"document {sha256} has {len(found)} bytes; at most {limit} are read")
        return found


@contextmanager
def open_home_log(path: Path) -> Iterator[HomeLog]:
    """The log of the home at `path`.  Raises MissingInput where there is none, StorageError, RecordDamaged."""
    identity = read_identity(path)
    register = path / folder.REGISTER
    with read_journal(register) as connection:
        with register_errors(register):
            connection.execute("BEGIN")  # all of it as it is now, whatever a service writes meanwhile
            ready = connection.execute(_TABLES).fetchone()[0] == 2
        watched = Watched(connection, register)
        kind = "own" if identity.party.role is Role.SERVER else "pinned"
        stated = watched.fact("note key", kind) if ready else None
        if stated is None:
            raise MissingInput(
                f"{path}, the home of {identity}, has seen nothing of a log yet", hint="name the log, or another home"
            )
        statement = read_stated(stated)
        store = LogStore(connection, register)
        root = read_own(path / folder.ROOT, 2 * CERTIFICATE_LIMIT)
        pinned = decode_pem(root, CERTIFICATE, folder.ROOT)
        yield HomeLog(identity, pinned, store, statement, _kept(watched, store, statement))


def _kept(watched: Watched, store: LogStore, statement: NoteKeyStatement) -> tuple[bytes, ...]:
    notes = [note for note, _, _ in store.notes()]
    kinds = ("cosigned note", f"cosigned {statement.key.name}")  # at a server, at a witness
    cosigned = [note for kind in kinds for note in watched.facts(kind).values()]
    return (*notes, *(decode_base64(note, "a cosigned checkpoint") for note in cosigned))
