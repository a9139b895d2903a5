"""The journal: all or nothing, and secrets that are encrypted while they are there, and gone afterwards."""

from contextlib import contextmanager
from pathlib import Path

import pytest

from fedspallm_secure.errors import RecordDamaged, RunLocked
from fedspallm_secure.protocol.rounds.records_member import PrekeyHeld, VectorFrozen, read_member_record
from fedspallm_secure.storage.journal import Departure, open_journal
from fedspallm_secure.storage.register import open_register

KEY, OWNER = b"k" * 32, "urn:fedprune:lungs.example:member:north"
SECRET = PrekeyHeld(3, b"a secret that nobody may read" + bytes(67))
OPEN = VectorFrozen(1, "ab" * 32)


@contextmanager
def journal(folder: Path, owner: str = OWNER, key: bytes = KEY):
    path = folder / "register.sqlite"
    if not path.exists():
        with open_register(path):
            pass
    with open_journal(path, owner, key) as found:
        yield found


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_records_come_back_in_their_order(tmp_path):
    with journal(tmp_path) as found, found.transaction():
        found.append(7, [OPEN, SECRET])
    with journal(tmp_path) as found:
        assert found.records(7, read_member_record) == [OPEN, SECRET]
        assert found.records(6, read_member_record) == []
        assert found.last_round() == 7


def test_secret_records_are_encrypted(tmp_path):
    with journal(tmp_path) as found:
        with found.transaction():
            found.append(7, [OPEN, SECRET])
        assert b"ab" * 32 in content(tmp_path)
        assert b"nobody may read" not in content(tmp_path)
        assert SECRET.to_dict()["raw"].encode() not in content(tmp_path)


@pytest.mark.parametrize(("owner", "key", "round"), [("urn:other", KEY, 7), (OWNER, b"x" * 32, 7)])
def test_a_secret_record_opens_for_its_owner_alone(tmp_path, owner, key, round):
    with journal(tmp_path) as found, found.transaction():
        found.append(7, [SECRET])
    with journal(tmp_path, owner, key) as found, pytest.raises(RecordDamaged):
        found.records(round, read_member_record)


@pytest.mark.parametrize("change", ["round = 8", "body = zeroblob(200)", "body = substr(body, 2)"])
def test_a_secret_record_is_bound_to_its_round_and_its_bytes(tmp_path, change):
    with journal(tmp_path) as found:
        with found.transaction():
            found.append(7, [SECRET])
        found.connection.execute(f"UPDATE records SET {change}")
        with pytest.raises(RecordDamaged):
            found.records(found.last_round(), read_member_record)


def test_forgotten_secrets_are_in_no_file_any_more(tmp_path):
    with journal(tmp_path) as found:
        with found.transaction():
            found.append(7, [OPEN, SECRET])
        (body,) = found.connection.execute("SELECT body FROM records WHERE secret = 1").fetchone()
        assert body in content(tmp_path)
        with found.transaction():
            found.forget_secrets(7)
        assert found.records(7, read_member_record) == [OPEN]
        assert body[40:] not in content(tmp_path)  # the database is open still, and its log is there


def test_records_are_written_by_one_process(tmp_path):
    with journal(tmp_path) as first, journal(tmp_path) as second:
        with first.transaction():
            first.append(7, [OPEN])
        with pytest.raises(RunLocked, match="another process has written records"), second.transaction():
            second.append(7, [OPEN])
        with pytest.raises(RunLocked), second.transaction():  # also of another round, and when it has read them
            second.records(7, read_member_record)
            second.append(8, [OPEN])
        with first.transaction():
            first.append(7, [SECRET])
        assert len(first.records(7, read_member_record)) == 2
    with journal(tmp_path) as third, third.transaction():
        third.append(7, [OPEN])


def test_records_that_were_wiped_were_written_all_the_same(tmp_path):
    with journal(tmp_path) as first, journal(tmp_path) as second:
        with first.transaction():
            first.append(7, [SECRET])
        with first.transaction():
            first.forget_secrets(7)
        with pytest.raises(RunLocked), second.transaction():
            second.append(7, [OPEN])


def test_a_transaction_that_failed_wrote_nothing(tmp_path):
    with journal(tmp_path) as found:
        with pytest.raises(RuntimeError), found.transaction():
            found.append(7, [OPEN])
            raise RuntimeError
        with found.transaction():
            found.append(7, [OPEN])
        assert found.records(7, read_member_record) == [OPEN]


def test_a_transaction_is_whole_or_nothing(tmp_path):
    departure = Departure("cd" * 32, "server/hub", "contribution", 7, "0", 10, 1, 2)
    with journal(tmp_path) as found:
        with pytest.raises(ZeroDivisionError), found.transaction():
            found.append(7, [OPEN])
            found.remember("kind", "name", 1)
            found.send(departure)
            raise ZeroDivisionError
        assert (found.last_round(), found.recall("kind", "name")) == (0, None)
        assert found.connection.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
        with found.transaction():
            found.append(7, [OPEN])
            found.remember("kind", "name", 1)
            found.send(departure)
        assert (found.last_round(), found.recall("kind", "name")) == (7, 1)
        assert found.connection.execute("SELECT count(*) FROM outbox").fetchone() == (1,)


def test_another_writer_is_waited_for_and_then_said_so(tmp_path):
    with journal(tmp_path) as first, journal(tmp_path) as second:
        second.connection.execute("PRAGMA busy_timeout = 10")
        with first.transaction(), pytest.raises(RunLocked), second.transaction():
            pass
        with second.transaction():
            second.remember("kind", "name", 2)
        assert first.recall("kind", "name") == 2


def test_facts_are_replaced_and_forgotten(tmp_path):
    with journal(tmp_path) as found:
        for value in (1, [2], {"three": 3}):
            found.remember("kind", "b", value)
        found.remember("kind", "a", 0)
        assert found.recall_all("kind") == {"a": 0, "b": {"three": 3}}
        found.forget("kind", "b")
        assert found.recall("kind", "b", "nothing") == "nothing"


def test_a_journal_that_is_gone_is_not_made_anew(tmp_path):
    with pytest.raises(RecordDamaged), open_journal(tmp_path / "register.sqlite", OWNER, KEY):
        pass


def test_what_a_killed_process_forgot_is_wiped_by_the_next(tmp_path):
    with journal(tmp_path) as found:
        with found.transaction():
            found.append(7, [SECRET])
        (body,) = found.connection.execute("SELECT body FROM records").fetchone()
        found.connection.execute("DELETE FROM records")  # as a process that is killed before it wipes the log
        assert body[40:] in content(tmp_path)
        with journal(tmp_path) as other:
            with other.transaction():
                pass
            assert body[40:] not in content(tmp_path)


# Secret facts

WORD = b"a key that nobody may read, of a length" + bytes(60)


def kept(found):
    (body,) = found.connection.execute("SELECT body FROM facts").fetchone()
    return body


def test_a_secret_fact_comes_back_and_is_encrypted(tmp_path):
    with journal(tmp_path) as found:
        with found.transaction():
            found.remember_secret("cipher secret", "ab", WORD)
        assert WORD[:20] not in content(tmp_path)
    with journal(tmp_path) as found:
        assert found.recall_secret("cipher secret", "ab") == WORD
        assert found.recall_secret("cipher secret", "cd") is None
        first = kept(found)
        with found.transaction():
            found.remember_secret("cipher secret", "ab", WORD)
        assert kept(found) != first  # under another salt


@pytest.mark.parametrize(("owner", "key"), [("urn:other", KEY), (OWNER, b"x" * 32)])
def test_a_secret_fact_opens_for_its_owner_alone(tmp_path, owner, key):
    with journal(tmp_path) as found, found.transaction():
        found.remember_secret("cipher secret", "ab", WORD)
    with journal(tmp_path, owner, key) as found, pytest.raises(RecordDamaged, match="does not open"):
        found.recall_secret("cipher secret", "ab")


@pytest.mark.parametrize(
    "change", ["kind = 'other secret'", "name = 'cd'", "body = zeroblob(200)", "body = substr(body, 2)", "body = x''"]
)
def test_a_secret_fact_is_bound_to_its_kind_its_name_and_its_bytes(tmp_path, change):
    with journal(tmp_path) as found:
        with found.transaction():
            found.remember_secret("cipher secret", "ab", WORD)
        found.connection.execute(f"UPDATE facts SET {change}")
        kind, name = found.connection.execute("SELECT kind, name FROM facts").fetchone()
        with pytest.raises(RecordDamaged):
            found.recall_secret(kind, name)


def test_a_forgotten_secret_fact_is_in_no_file_any_more(tmp_path):
    with journal(tmp_path) as found:
        with found.transaction():
            found.remember_secret("cipher secret", "ab", WORD)
            found.remember_secret("cipher secret", "cd", WORD)
        bodies = dict(found.connection.execute("SELECT name, body FROM facts").fetchall())
        assert all(body in content(tmp_path) for body in bodies.values())
        with found.transaction():
            found.forget_secret("cipher secret", "ab")
        assert found.recall_secret("cipher secret", "ab") is None
        assert bodies["ab"][40:] not in content(tmp_path)
        assert bodies["cd"] in content(tmp_path)
        assert found.recall_secret("cipher secret", "cd") == WORD


def test_a_secret_fact_of_a_transaction_that_failed_was_never_there(tmp_path):
    with journal(tmp_path) as found:
        with pytest.raises(ZeroDivisionError), found.transaction():
            found.remember_secret("cipher secret", "ab", WORD)
            1 / 0  # noqa: B018
        assert found.recall_secret("cipher secret", "ab") is None
