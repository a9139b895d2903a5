"""The log in the database: durable with what it is about or not at all, and never other entries than those."""

import hashlib
import sqlite3
import tracemalloc
from contextlib import closing

import pytest

from fedspallm_secure.crypto.merkle import Tree, leaf_hash
from fedspallm_secure.errors import MissingInput, RecordDamaged, RunLocked, StorageError
from fedspallm_secure.storage.journal import open_journal
from fedspallm_secure.storage.log_store import LogStore
from fedspallm_secure.storage.register import open_register
from tests.storage.logs import document, entry, grow, note, opened, transaction


@pytest.fixture
def store(tmp_path):
    with opened(tmp_path) as found:
        yield found


def tree(size: int) -> Tree:
    return Tree(leaf_hash(entry(index)) for index in range(size))


def bodies(store, start: int = 0, end: int | None = None) -> list[bytes]:
    return list(store.entries(start, store.size if end is None else end))


def test_what_is_staged_is_in_the_tree_at_once(store):
    assert (store.size, store.flushed) == (0, 0)
    assert [store.stage(entry(index)) for index in range(3)] == [0, 1, 2]
    assert (store.size, store.flushed) == (3, 0)
    assert store.tree.root() == tree(3).root()
    assert bodies(store) == [entry(0), entry(1), entry(2)]
    assert store.connection.execute("SELECT count(*) FROM log_entries").fetchone() == (0,)


def test_what_was_flushed_is_there_again(tmp_path, store):
    grow(store, 3)
    grow(store, 8)
    assert (store.size, store.flushed) == (8, 8)
    with opened(tmp_path) as again:
        assert (again.size, again.flushed) == (8, 8)
        assert again.tree.root() == tree(8).root()
        assert bodies(again) == [entry(index) for index in range(8)]


def test_what_was_not_flushed_is_not(tmp_path, store):
    grow(store, 3)
    store.stage(b"never")
    with opened(tmp_path) as again:
        assert again.size == 3


@pytest.mark.parametrize("size", [255, 256, 257, 600])
def test_entries_come_in_their_order_from_anywhere(store, size):
    grow(store, size)
    for index in range(size, size + 300):
        store.stage(entry(index))
    expected = [entry(index) for index in range(size + 300)]
    assert bodies(store) == expected
    for start, end in [(0, 0), (size, size), (size - 1, size + 1), (3, size), (size + 5, size + 9), (1, size + 299)]:
        assert bodies(store, start, end) == expected[start:end]


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (2, 1), (0, 6), (6, 6)])
def test_entries_that_there_are_not(store, start, end):
    grow(store, 5)
    with pytest.raises(IndexError):
        bodies(store, start, end)


def test_entries_are_not_all_in_memory(store):
    for _ in range(4_000):
        store.stage(bytes(10_000))
    with transaction(store):
        store.flush()
    tracemalloc.start()
    try:
        assert sum(1 for _ in store.entries(0, 4_000)) == 4_000
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_nobody_who_stopped_reading_holds_up_the_journal(store):
    grow(store, 600)
    reading = store.entries(0, 600)
    next(reading)
    noted = store.notes()
    assert next(noted, None) is None
    assert store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0  # not busy
    grow(store, 700)
    assert sum(1 for _ in reading) == 599


def test_it_flushes_inside_of_a_transaction_only(store):
    store.stage(b"x")
    with pytest.raises(RuntimeError):
        store.flush()
    assert store.connection.execute("SELECT count(*) FROM log_entries").fetchone() == (0,)
    with transaction(store):
        store.flush()
    store.flush()  # nothing


def test_it_is_durable_together_with_the_records_of_the_journal(tmp_path):
    path = tmp_path / "register.sqlite"
    with open_register(path):
        pass
    with open_journal(path, "urn:x", b"k" * 32) as journal:
        store = LogStore(journal.connection, path)
        with pytest.raises(ZeroDivisionError), journal.transaction():
            journal.remember("fact", "*", 1)
            store.stage(b"one")
            store.flush()
            1 / 0  # noqa: B018
        store.drop_staged()
        assert (store.size, journal.recall("fact", "*")) == (0, None)
        with journal.transaction():
            journal.remember("fact", "*", 2)
            store.stage(b"two")
            store.flush()
        assert (bodies(store), journal.recall("fact", "*")) == ([b"two"], 2)


# What fails


def test_dropping_what_is_staged(store):
    grow(store, 5)
    for index in range(5, 9):
        store.stage(entry(index))
    digest = store.keep_document(b"never")
    store.drop_staged()
    assert (store.size, store.flushed) == (5, 5)
    assert store.tree.root() == tree(5).root()
    with pytest.raises(MissingInput):
        store.document(digest)
    grow(store, 7)
    assert bodies(store) == [entry(index) for index in range(7)]


def test_dropping_what_was_flushed_in_a_transaction_that_failed(store):
    grow(store, 5)
    with pytest.raises(ZeroDivisionError), transaction(store):
        store.stage(b"never")
        store.flush()
        1 / 0  # noqa: B018
    store.drop_staged()
    assert (store.size, store.tree.root()) == (5, tree(5).root())


def test_dropping_nothing_leaves_what_is_durable(store):
    grow(store, 5)
    store.drop_staged()
    assert bodies(store) == [entry(index) for index in range(5)]


def test_a_flush_that_fails_in_the_middle(store):
    grow(store, 2)
    store.connection.execute(
        "CREATE TRIGGER full BEFORE INSERT ON log_leaves WHEN new.seq = 3 BEGIN SELECT raise(ABORT, 'no'); END"
    )
    for index in range(2, 5):
        store.stage(entry(index))
    with pytest.raises(StorageError), transaction(store):
        store.flush()
    store.drop_staged()
    store.connection.execute("DROP TRIGGER full")
    assert bodies(store) == [entry(0), entry(1)]
    grow(store, 5)
    assert bodies(store) == [entry(index) for index in range(5)]


def test_another_process_that_writes_is_noticed(tmp_path, store):
    grow(store, 2)
    with opened(tmp_path) as other:
        grow(other, 3)
    store.stage(b"mine")
    with pytest.raises(RunLocked), transaction(store):
        store.flush()
    store.drop_staged()
    assert store.size == 2


# Damage


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM log_leaves WHERE seq = 3",
        "DELETE FROM log_leaves WHERE seq = 0",
        "DELETE FROM log_leaves WHERE seq = 599",
        "DELETE FROM log_entries WHERE seq = 599",
        "UPDATE log_leaves SET hash = substr(hash, 2) WHERE seq = 4",
        "UPDATE log_leaves SET seq = 600 WHERE seq = 599",
        "UPDATE log_leaves SET seq = -1 WHERE seq = 0",
    ],
)
def test_damage_that_is_noticed_at_once(tmp_path, store, damage):
    grow(store, 600)
    store.connection.execute(damage)
    with pytest.raises(RecordDamaged), opened(tmp_path):
        pass


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM log_entries WHERE seq = 300",
        "DELETE FROM log_entries WHERE seq = 0",
        "UPDATE log_entries SET body = x'00' WHERE seq = 300",
        "UPDATE log_entries SET body = (SELECT body FROM log_entries WHERE seq = 301) WHERE seq = 300",
        "UPDATE log_leaves SET hash = zeroblob(32) WHERE seq = 300",
    ],
)
def test_damage_that_is_noticed_when_it_is_read(tmp_path, store, damage):
    grow(store, 600)
    store.connection.execute(damage)
    with opened(tmp_path) as again:
        with pytest.raises(RecordDamaged):
            bodies(again)
        assert bodies(again, 400, 600) == [entry(index) for index in range(400, 600)]


def test_no_database(tmp_path):
    path = tmp_path / "register.sqlite"
    path.write_bytes(b"no database" * 1000)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection, pytest.raises(RecordDamaged):
        LogStore(connection, path)


# Documents


def test_documents(tmp_path, store):
    digests = [store.keep_document(document(index)) for index in range(3)]
    assert digests[0] == hashlib.sha256(document(0)).hexdigest()
    assert store.document(digests[1]) == document(1)
    assert store.documents() == []
    grow(store, 0)
    grow(store, 0, documents=2)  # the same again
    assert store.documents() == sorted(digests)
    with opened(tmp_path) as again:
        assert [again.document(digest) for digest in digests] == [document(index) for index in range(3)]


def test_a_document_that_is_not_there(store):
    with pytest.raises(MissingInput):
        store.document("00" * 32)


def test_a_damaged_document(store):
    digest = store.keep_document(b"document")
    grow(store, 0)
    store.connection.execute("UPDATE log_documents SET body = x'00'")
    with pytest.raises(RecordDamaged):
        store.document(digest)


# Notes


def test_notes_come_back_once_and_in_their_order(tmp_path, store):
    grow(store, 300)
    shown = [(note(store, size), size, store.tree.root(size)) for size in range(290)]
    for one in shown[:280]:
        store.keep_note(*one)
    assert list(store.notes()) == shown[:280]
    grow(store, 300)
    for one in shown[270:]:
        store.keep_note(*one)
    assert list(store.notes()) == shown
    grow(store, 300)
    with opened(tmp_path) as again:
        assert list(again.notes()) == shown


def test_two_notes_of_one_size_are_both_kept(store):
    store.keep_note(b"one", 5, b"1" * 32)
    store.keep_note(b"two", 5, b"2" * 32)
    grow(store, 0)
    assert list(store.notes()) == [(b"one", 5, b"1" * 32), (b"two", 5, b"2" * 32)]


def test_a_note_outlives_entries_that_were_dropped(store):
    store.stage(b"never")
    store.keep_note(b"signed", 5, b"1" * 32)
    store.drop_staged()
    grow(store, 0)
    assert list(store.notes()) == [(b"signed", 5, b"1" * 32)]
