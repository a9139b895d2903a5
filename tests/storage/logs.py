"""A log in a database and in a folder, for tests of what becomes of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from fedspallm_secure.crypto.notes import Checkpoint, Note, NoteKey, NoteKind, cosign, sign_checkpoint
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.storage.log_folder import publish
from fedspallm_secure.storage.log_store import LogStore

LOG_SIGNER, WITNESS_SIGNER = Ed25519Signer(b"\x01" * 32), Ed25519Signer(b"\x02" * 32)
LOG = NoteKey("lungs.example/log/hub", NoteKind.LOG, LOG_SIGNER.public)
WITNESS = NoteKey("lungs.example/witness/eye", NoteKind.COSIGNER, WITNESS_SIGNER.public)


def entry(index: int) -> bytes:
    """Entry number `index`: of several lengths, none among them."""
    return b"entry %d " % index * (index % 7)


@contextmanager
def opened(folder: Path) -> Iterator[LogStore]:
    """The log in the database of a folder."""
    path = folder / "register.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")  # nobody pulls the plug here
        yield LogStore(connection, path)


@contextmanager
def transaction(store: LogStore) -> Iterator[None]:
    """As `Journal.transaction`."""
    store.connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        store.connection.execute("COMMIT")
    except BaseException:
        if store.connection.in_transaction:
            store.connection.execute("ROLLBACK")
        raise


def grow(store: LogStore, size: int, documents: int = 0) -> None:
    """Entries up to `size`, and documents, durably."""
    for index in range(store.size, size):
        store.stage(entry(index))
    for index in range(documents):
        store.keep_document(document(index))
    with transaction(store):
        store.flush()


def document(index: int) -> bytes:
    """A document."""
    return b"document %d " % index * 100


def note(store: LogStore, size: int | None = None) -> bytes:
    """The checkpoint of the first `size` entries."""
    size = store.size if size is None else size
    checkpoint = Checkpoint(LOG.name, size, store.tree.root(size))
    return sign_checkpoint(LOG_SIGNER, LOG, checkpoint).encode()


def cosigned(store: LogStore, size: int) -> bytes:
    """The same with a cosignature."""
    return cosign(WITNESS_SIGNER, WITNESS, Note.parse(note(store, size)), 1_800_000_000).encode()


def publish_all(store: LogStore, folder: Path, cosigned_size: int | None = None) -> None:
    """Publish everything that is flushed."""
    shown = None if cosigned_size is None else cosigned(store, cosigned_size)
    publish(store, folder, note(store), shown)


def files(folder: Path) -> dict[str, bytes]:
    """All that lies in a folder, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
