"""The register: a slot is filled once, a number is used once, and both outlive everything but their file."""

import os
import shutil
import signal
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fedspallm_secure.errors import (
    DiskFull,
    Equivocation,
    FedSpaError,
    OutputExists,
    RecordDamaged,
    ReplayedPackage,
    RunLocked,
    StorageError,
)
from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.protocol.receiving import Known, Slot
from fedspallm_secure.storage import register as registers
from fedspallm_secure.storage.register import Received, open_register, register_errors
from tests.protocol.test_packages import HEADER
from tests.protocol.test_packages import OTHER as FIELDS


def head(**changes: object) -> Head:
    header = replace(HEADER, context=replace(HEADER.context, **changes))
    return Head(header.encode(), header, bytes([changes.get("sequence", 1)]) * 64)


FIRST = head()
SECOND = head(created=HEADER.context.created + 1)  # the same slot, another package
SLOT = Slot.of(FIRST.context)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "register.sqlite"


@pytest.fixture
def register(path):
    with open_register(path) as opened:
        yield opened


def test_a_slot_is_free_claimed_published(register):
    assert register.find(SLOT) is None
    assert register.received(SLOT) is None
    register.fill(FIRST, "out", 7)
    assert register.find(SLOT) == Known(FIRST.digest, published=False)
    register.publish(FIRST)
    assert register.find(SLOT) == Known(FIRST.digest, published=True)
    assert register.received(SLOT) == Received(FIRST.digest, FIRST.encoded, FIRST.signature, "out", 7, True)


def test_a_claim_that_was_not_published_is_repeated(register):
    register.fill(FIRST, "out", 7)
    register.fill(FIRST, "elsewhere", 8)
    assert register.received(SLOT) == Received(FIRST.digest, FIRST.encoded, FIRST.signature, "elsewhere", 8, False)


def test_two_runs_cannot_both_publish(path):
    """Both have found the slot free; the first one fills it before the second one does."""
    with open_register(path) as first, open_register(path) as second:
        assert first.find(SLOT) is second.find(SLOT) is None
        first.fill(FIRST, "out", 7)
        with pytest.raises(Equivocation):
            second.fill(SECOND, "elsewhere", 8)
        first.publish(FIRST)
        with pytest.raises(ReplayedPackage):
            second.fill(FIRST, "elsewhere", 8)
        with pytest.raises(Equivocation):
            second.fill(SECOND, "elsewhere", 8)
        assert second.received(SLOT) == Received(FIRST.digest, FIRST.encoded, FIRST.signature, "out", 7, True)
        second.fill(head(sequence=2), "elsewhere", 8)  # and it goes on working


@pytest.mark.parametrize("name", ["federation", "round", "type", "sender", "sequence"])
def test_slots_differ_in_each_of_their_parts(register, name):
    other = head(**{name: FIELDS[name]})
    register.fill(FIRST, "out", 7)
    assert register.find(Slot.of(other.context)) is None
    register.fill(other, "other", 8)
    register.publish(other)
    assert register.find(Slot.of(other.context)) == Known(other.digest, True)
    assert register.find(SLOT) == Known(FIRST.digest, False)


def test_numbers_count_from_one_and_never_repeat(path):
    with open_register(path) as register:
        assert [register.next_sequence() for _ in range(3)] == [1, 2, 3]
    with open_register(path) as first, open_register(path) as second:
        assert [register.next_sequence() for register in (first, second, first, second)] == [4, 5, 6, 7]


def test_numbers_never_repeat_between_processes(path, tmp_path):
    """Four processes at once, each killed after its tenth number: forty numbers."""
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            try:
                with open_register(path) as register, (tmp_path / str(number)).open("a", buffering=1) as told:
                    for _ in range(10):
                        told.write(f"{register.next_sequence()}\n")
                    os.kill(os.getpid(), signal.SIGKILL)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [signal.SIGKILL] * 4
    numbers = [int(line) for number in range(4) for line in (tmp_path / str(number)).read_text().split()]
    assert sorted(numbers) == list(range(1, 41))


def test_what_was_committed_outlives_a_kill(path):
    child = os.fork()
    if child == 0:
        try:
            with open_register(path) as register:
                register.fill(FIRST, "out", 7)
                register.publish(FIRST)
                register.fill(head(sequence=2), "two", 7)
                register.connection.execute("BEGIN IMMEDIATE")
                register.connection.execute("DELETE FROM received")
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    with open_register(path) as register:
        assert register.find(SLOT) == Known(FIRST.digest, True)
        assert register.find(Slot.of(head(sequence=2).context)).published is False


def test_what_is_committed_is_on_disk(flushing, path):
    """NORMAL would lose committed rows with the power; so would a journal in memory."""
    with open_register(path) as register:
        (mode,) = register.connection.execute("PRAGMA journal_mode").fetchone()
        (synchronous,) = register.connection.execute("PRAGMA synchronous").fetchone()
    assert (mode, synchronous) == ("wal", 2)


def test_it_is_its_owners_alone(register, path):
    register.next_sequence()
    for entry in path.parent.iterdir():
        assert entry.stat().st_mode & 0o777 == 0o600, entry


def test_a_failure_in_between_changes_nothing(register):
    with pytest.raises(KeyboardInterrupt), register._transaction():
        register.connection.execute("INSERT INTO counters VALUES ('sequence', 70)")
        raise KeyboardInterrupt
    assert register.next_sequence() == 1


def fill(register) -> None:
    (pages,) = register.connection.execute("PRAGMA page_count").fetchone()
    register.connection.execute(f"PRAGMA max_page_count = {pages}")


def test_a_full_disk_is_told_and_survived(register):
    fill(register)
    number = 1
    with pytest.raises(DiskFull, match="no space left"):
        for number in range(1, 1000):
            register.fill(head(sequence=number), "out" * 1000, 7)
    assert register.find(Slot.of(head(sequence=number).context)) is None
    register.connection.execute("PRAGMA max_page_count = 100000")
    register.fill(head(sequence=number), "out", 7)


def test_a_commit_that_fails_is_taken_back(path, monkeypatch):
    class Failing(sqlite3.Connection):
        fail = False

        def execute(self, statement, *arguments):
            if self.fail and statement == "COMMIT":
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(statement, *arguments)

    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *arguments, **options: real(*arguments, factory=Failing, **options))
    with open_register(path) as register:
        register.connection.fail = True
        with pytest.raises(StorageError, match="disk I/O error"):
            register.next_sequence()
        register.connection.fail = False
        assert register.next_sequence() == 1


def test_another_process_is_waited_for(path, register):
    held = threading.Event()

    def hold() -> None:
        with open_register(path) as other, other._transaction():
            held.set()
            time.sleep(0.1)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    assert register.next_sequence() == 1
    thread.join()


def test_another_process_is_not_waited_for_without_end(path, monkeypatch):
    monkeypatch.setattr(registers, "_WAIT", 0.1)
    with open_register(path) as first, open_register(path) as second:
        with first._transaction(), pytest.raises(RunLocked, match="another process holds"):
            second.next_sequence()
        assert second.next_sequence() == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (sqlite3.OperationalError("Could not decode to UTF-8"), StorageError),
        (sqlite3.DatabaseError("database disk image is malformed"), RecordDamaged),
        (sqlite3.IntegrityError("CHECK constraint failed"), RecordDamaged),
    ],
)
def test_errors_are_translated(error, expected):
    with pytest.raises(expected) as caught, register_errors(Path("here")):
        raise error
    assert type(caught.value) is expected
    assert "here" in str(caught.value)


def test_a_file_that_is_no_register_is_damaged(path):
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(RecordDamaged), open_register(path):
        pass


@pytest.mark.parametrize("place", [0.3, 0.5, 0.9])
def test_a_damaged_register_is_not_used(path, place):
    with open_register(path) as register:
        for number in range(1, 60):
            register.fill(head(sequence=number), "out" * 100, 7)
    data = bytearray(path.read_bytes())
    start = int(len(data) * place) // 4096 * 4096
    data[start : start + 4096] = b"\xa5" * 4096
    path.write_bytes(data)
    with pytest.raises(RecordDamaged), open_register(path) as register:
        pass


def test_an_index_that_lacks_a_row_is_damage(path):
    """Such a register would say of a package that it was never received."""
    with open_register(path) as register:
        for number in range(1, 4):
            register.fill(head(sequence=number), "out", 7)
        register.connection.execute("PRAGMA writable_schema = ON")
        register.connection.execute("CREATE TABLE spare (a)")
        register.connection.execute(
            "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'spare') "
            "WHERE name = 'sqlite_autoindex_received_1'"
        )
    with pytest.raises(RecordDamaged), open_register(path):
        pass


def test_what_is_not_there_or_in_the_way_is_told(tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "nothing" / "register", tmp_path / "folder"):
        with pytest.raises(StorageError) as caught, open_register(path):
            pass
        assert type(caught.value) is StorageError


def test_a_register_that_cannot_be_written_is_told(path, tmp_path):
    with open_register(path) as register:
        register.connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StorageError) as caught:
            register.next_sequence()
        assert type(caught.value) is StorageError
        register.connection.execute("PRAGMA query_only = OFF")
        assert register.next_sequence() == 1


def test_a_restored_register_counts_again(path, tmp_path):
    """What the module warns of: this is why it must not be restored from a backup."""
    with open_register(path) as register:
        register.next_sequence()
    shutil.copy(path, tmp_path / "backup")
    with open_register(path) as register:
        assert register.next_sequence() == 2
    with open_register(tmp_path / "backup") as register:
        assert register.next_sequence() == 2


def test_only_one_of_our_errors_ever_comes_out(path, register):
    register.connection.execute("DROP TABLE received")
    for call in (lambda: register.find(SLOT), lambda: register.fill(FIRST, "", 1), lambda: register.publish(FIRST)):
        with pytest.raises(FedSpaError):
            call()


def test_of_two_runs_that_filled_one_slot_one_gives_the_name(path):
    """Both came with the same package, and filled the slot before either had published."""
    named = []
    with open_register(path) as first, open_register(path) as second:
        first.fill(FIRST, "out", 7)
        second.fill(FIRST, "elsewhere", 8)
        second.publish(FIRST, lambda: named.append("second"))
        with pytest.raises(ReplayedPackage):
            first.publish(FIRST, lambda: named.append("first"))
    assert named == ["second"]


def test_a_name_that_could_not_be_given_leaves_the_slot_as_it_was(register):
    def occupied() -> None:
        raise OutputExists("something is there")

    register.fill(FIRST, "out", 7)
    with pytest.raises(OutputExists):
        register.publish(FIRST, occupied)
    assert register.find(SLOT) == Known(FIRST.digest, False)
    register.publish(FIRST)


def test_an_emptied_register_is_not_begun_anew(path):
    with open_register(path) as register:
        register.next_sequence()
    with open_register(path, make=False) as register:
        assert register.next_sequence() == 2
    path.write_bytes(b"")
    with pytest.raises(RecordDamaged, match="has lost what was in it"), open_register(path, make=False):
        pass


def test_a_slot_that_is_not_filled_cannot_be_marked(register):
    """Another run has emptied it meanwhile; the caller takes the name back that it has given."""
    register.fill(FIRST, "out", 7)
    register.empty(FIRST, "out")
    given = []
    with pytest.raises(RecordDamaged, match="has lost the package meanwhile"):
        register.publish(FIRST, lambda: given.append("out"))
    assert given == ["out"]
    assert register.find(SLOT) is None


def test_only_what_this_run_filled_is_emptied(register):
    register.fill(FIRST, "out", 7)
    register.empty(FIRST, "elsewhere")
    assert register.find(SLOT) == Known(FIRST.digest, False)
    register.empty(head(sequence=2), "out")
    assert register.find(SLOT) == Known(FIRST.digest, False)
    register.publish(FIRST)
    register.empty(FIRST, "out")
    assert register.find(SLOT) == Known(FIRST.digest, True)
