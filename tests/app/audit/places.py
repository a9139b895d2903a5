"""Places where somebody has seen a log: folders, checkpoint files and homes, cheap to make."""

import hashlib
from pathlib import Path

from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.merkle import Tree, leaf_hash
from fedspallm_secure.crypto.notes import Checkpoint, Note, sign_checkpoint
from fedspallm_secure.protocol.audit.entries import Entry, EntryType
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement
from fedspallm_secure.storage import home_folder as folder
from fedspallm_secure.storage.home_folder import Identity
from fedspallm_secure.storage.journal import open_journal
from fedspallm_secure.storage.log_folder import publish
from fedspallm_secure.storage.log_store import LogStore
from fedspallm_secure.storage.pem import CERTIFICATE, encode_pem
from fedspallm_secure.storage.register import open_register
from tests.protocol.audit import logs

ROOT = b"a root certificate, as far as these tests go"
DOCUMENTS = (ROOT, logs.STATEMENT.encode())
GENESIS = Entry.make(
    logs.SERVER_SIGNER,
    type=EntryType.GENESIS,
    federation=logs.FEDERATION,
    seq=0,
    round=0,
    actor=logs.SERVER,
    at=1_800_000_000,
    data={
        "root": hashlib.sha256(ROOT).hexdigest(),
        "origin": logs.LOG.name,
        "note_key": hashlib.sha256(logs.STATEMENT.encode()).hexdigest(),
    },
).encode()


def history(size: int, parted: int | None = None) -> list[bytes]:
    """Entries of a log that begins as logs do; from `parted` on, those of another history."""
    return [GENESIS, *logs.entries(size, parted)[1:]]


def tree(size: int, parted: int | None = None) -> Tree:
    """The tree over them."""
    return Tree(map(leaf_hash, history(size, parted)))


def note(size: int, parted: int | None = None) -> Note:
    """The checkpoint over them, signed by the log."""
    return sign_checkpoint(logs.LOG_SIGNER, logs.LOG, Checkpoint(logs.LOG.name, size, tree(size, parted).root()))


def checkpoint_file(path: Path, size: int, parted: int | None = None) -> Path:
    """A file with a checkpoint and nothing else."""
    path.write_bytes(note(size, parted).encode())
    return path


def published(where: Path, size: int, parted: int | None = None, cosigned: Note | None = None) -> Path:
    """A log's folder with these entries."""
    where.parent.mkdir(parents=True, exist_ok=True)
    register = where.with_name(f"{where.name}.sqlite")
    with open_register(register), open_journal(register, "a log", bytes(32)) as journal:
        store = LogStore(journal.connection, register)
        for entry in history(size, parted):
            store.stage(entry)
        for document in DOCUMENTS:
            store.keep_document(document)
        with journal.transaction():
            store.flush()
        where.mkdir()
        publish(store, where, note(size, parted).encode(), None if cosigned is None else cosigned.encode())
    return where


def home(
    where: Path,
    party: str,
    size: int,
    seen: list[Note],
    parted: int | None = None,
    statement: NoteKeyStatement = logs.STATEMENT,
) -> Path:
    """A home that has seen these entries and checkpoints; there is nothing else in it."""
    where.mkdir(parents=True, mode=0o700)
    identity = Identity(logs.FEDERATION, Party.parse(party))
    (where / folder.IDENTITY).write_bytes(identity.encode())
    (where / folder.ROOT).write_bytes(encode_pem(CERTIFICATE, ROOT))
    register = where / folder.REGISTER
    with open_register(register), open_journal(register, identity.uri, bytes(32)) as journal:
        store = LogStore(journal.connection, register)
        for entry in history(size, parted) if size else []:
            store.stage(entry)
        for one in seen:
            found = Checkpoint.parse(one.text)
            store.keep_note(one.encode(), found.size, found.root)
        with journal.transaction():
            store.flush()
            kind = "own" if party.startswith("server/") else "pinned"
            journal.remember("note key", kind, encode_base64(statement.encode()))
    return where
