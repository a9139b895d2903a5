"""Everything that follows from one message at once, or nothing of it."""

import pytest

from fedspallm_secure.errors import DiskFull
from fedspallm_secure.protocol.rounds.records_member import VectorFrozen, read_member_record
from tests.station_faults import failing, tellable, watching
from tests.stationary import SERVER, Stations


@pytest.fixture
def post(tmp_path):
    with tellable(), Stations(tmp_path / "federation", members=1) as found:
        found.carry()
        yield found.members["north"].post


def everything(post):
    post.note(5, [VectorFrozen(0, "ab" * 32)])
    post.remember("kind", "name", 1)
    return post.send("offer", SERVER, [b"body"])


def is_there(post):
    rows = [one.digest for one in post.spool.outgoing()]
    return len(post.journal.records(5, read_member_record)), post.journal.recall("kind", "name"), len(rows)


def test_all_of_it(post):
    with post.at_once():
        digest = everything(post)
        assert is_there(post) == (0, None, 2)
    assert is_there(post) == (1, 1, 3)
    assert post.spool.departure(SERVER, digest).exists()


def test_one_inside_of_another_is_part_of_it(post):
    with post.at_once():
        with post.at_once():
            everything(post)
        assert is_there(post) == (0, None, 2)
    assert is_there(post) == (1, 1, 3)


def test_nothing_after_an_error(post):
    with pytest.raises(ZeroDivisionError), post.at_once():
        everything(post)
        raise ZeroDivisionError
    assert is_there(post) == (0, None, 2)
    with post.at_once():
        pass
    assert is_there(post) == (0, None, 2)


@pytest.mark.parametrize("point", range(1, 10))
def test_nothing_on_a_full_disk(post, point):
    with watching(failing(point, 28, True)), pytest.raises(DiskFull), post.at_once():
        everything(post)
    assert is_there(post) == (0, None, 2)
    with post.at_once():
        everything(post)
    assert is_there(post) == (1, 1, 3)


def test_nothing_is_written_outside_of_it(post):
    with pytest.raises(RuntimeError):
        post.remember("kind", "name", 1)


def test_a_number_is_used_once_whatever_becomes_of_it(post):
    numbers = [post.journal.register.last_sequence()]
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), post.at_once():
            post.send("offer", SERVER, [b"body"])
            raise ZeroDivisionError
        numbers.append(post.journal.register.last_sequence())
    assert numbers == [2, 3, 4]


def test_room_is_asked_for_before_the_work(post):
    post.check_room(1)
    with pytest.raises(DiskFull):
        post.check_room(1 << 60)
