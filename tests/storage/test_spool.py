"""Packages that arrive, wait and leave; and what a kill leaves of them."""

import os
import shutil
import time
from types import SimpleNamespace

import pytest

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import (
    BadSignature,
    DiskFull,
    LimitExceeded,
    NotAwaited,
    PackageFormatError,
    RolledBack,
    RunLocked,
    StorageError,
)
from fedspallm_secure.storage import arrivals
from fedspallm_secure.storage.package_reader import open_package
from fedspallm_secure.storage.room import KEPT, PLACES, Quota
from tests.stationary import HUB, SERVER, Stations

NORTH = Party.parse("member/north")


@pytest.fixture
def found(tmp_path):
    with Stations(tmp_path / "federation", members=2) as stations:
        yield stations


@pytest.fixture
def spool(found):
    return found.server.post.spool


def package(found, name="north", number=0):
    """Digest and bytes of a package that a member has made for the server."""
    post = found.members[name].post
    listed = post.spool.outgoing()[number]
    return listed.digest, post.spool.inside("out", listed.digest).read_bytes()


def deliver(spool, digest, data, sender=NORTH):
    arrival = spool.arrival(sender, digest, len(data))
    try:
        arrival.write(data)
        arrival.finish()
    finally:
        arrival.close()


def files(spool, where):
    return sorted(path.name for path in (spool.folder / where).iterdir())


# --- arriving ---------------------------------------------------------------------------------------------------------


def test_a_package_arrives_in_pieces_and_survives_a_break(found, spool):
    digest, data = package(found)
    first = spool.arrival(NORTH, digest, len(data))
    first.write(data[:100])
    first.close()
    second = spool.arrival(NORTH, digest, len(data))
    assert second.offset == 100
    second.write(data[100:])
    second.finish()
    assert [(one.digest, one.sender) for one in spool.arrived()] == [(digest, str(NORTH))]
    assert spool.arrived()[0].path.read_bytes() == data
    assert spool.arrival(NORTH, digest, len(data)) is None
    assert files(spool, "part") == []


def test_a_package_that_is_short_does_not_count(found, spool):
    digest, data = package(found)
    arrival = spool.arrival(NORTH, digest, len(data))
    arrival.write(data[:-1])
    with pytest.raises(PackageFormatError):
        arrival.finish()
    arrival.close()
    assert spool.arrived() == []
    with pytest.raises(StorageError):
        arrival.write(b"more")


def test_more_than_was_announced_is_refused_and_nothing_of_it_kept(found, spool):
    digest, data = package(found)
    arrival = spool.arrival(NORTH, digest, len(data))
    with pytest.raises(LimitExceeded):
        arrival.write(data + b"x")
    assert files(spool, "part") == []


def test_another_package_than_was_announced(found, spool):
    digest, _ = package(found)
    _, other = package(found, number=1)
    with pytest.raises(PackageFormatError):
        deliver(spool, digest, other)
    assert files(spool, "part") == []


def test_everybody_brings_the_own_packages(found, spool):
    digest, data = package(found, "south")
    with pytest.raises(NotAwaited):
        deliver(spool, digest, data)
    deliver(spool, digest, data, Party.parse("member/south"))
    assert len(spool.arrived()) == 1


def test_a_head_that_was_changed_is_refused_at_once(found, spool):
    digest, data = package(found)
    changed = bytearray(data)
    changed[200] ^= 1
    with pytest.raises((BadSignature, PackageFormatError)):
        deliver(spool, digest, bytes(changed))
    assert files(spool, "part") == files(spool, "in") == []


def test_too_short_to_be_a_package(spool):
    with pytest.raises(PackageFormatError):
        deliver(spool, "ab" * 32, b"short")


@pytest.mark.parametrize("size", [0, 1 << 60])
def test_impossible_sizes(spool, size):
    with pytest.raises(LimitExceeded):
        spool.arrival(NORTH, "ab" * 32, size)


def test_one_transfer_of_a_package_at_a_time(found, spool):
    digest, data = package(found)
    first = spool.arrival(NORTH, digest, len(data))
    with pytest.raises(RunLocked):
        spool.arrival(NORTH, digest, len(data))
    first.close()
    deliver(spool, digest, data)


def test_a_part_that_is_longer_than_the_package_is_begun_anew(found, spool):
    digest, data = package(found)
    (spool.folder / "part" / f"member-north.{digest}.part").write_bytes(data + b"more")
    arrival = spool.arrival(NORTH, digest, len(data))
    assert arrival.offset == 0
    arrival.write(data)
    arrival.finish()
    assert len(spool.arrived()) == 1


def test_the_quota_of_a_sender(found, spool):
    (one, first), (two, second) = package(found), package(found, number=1)
    spool.quota = Quota(sender=len(first) + len(second) - 1, free=0)
    deliver(spool, one, first)
    with pytest.raises(LimitExceeded, match=r"KiB of member/north wait here already, and at most .*: no room") as full:
        spool.arrival(NORTH, two, len(second))
    assert "tried again by itself" in full.value.hint
    spool.quota = Quota(sender=len(second) - 1, free=0)
    with pytest.raises(LimitExceeded) as never:
        spool.arrival(NORTH, two, len(second))
    assert "never fits" in never.value.hint
    spool.quota = Quota(sender=len(first) + len(second), free=0)
    deliver(spool, two, second)


def test_what_has_begun_to_arrive_counts_towards_the_quota(found, spool):
    (one, first), (two, second) = package(found), package(found, number=1)
    arrival = spool.arrival(NORTH, one, len(first))
    arrival.write(first[:100])
    arrival.close()
    spool.quota = Quota(sender=len(second) + 99, free=0)
    with pytest.raises(LimitExceeded):
        spool.arrival(NORTH, two, len(second))


def test_what_is_announced_counts_from_the_beginning_and_while_it_lasts(found, spool):
    (one, first), (two, second) = package(found), package(found, number=1)
    spool.quota = Quota(sender=len(first) + len(second) - 1, free=0)
    arrival = spool.arrival(NORTH, one, len(first))
    with pytest.raises(LimitExceeded):
        spool.arrival(NORTH, two, len(second))
    assert spool.arrival(SERVER, "ab" * 32, len(second)) is not None  # the quota is that of a sender
    arrival.close()
    assert spool.arrival(NORTH, two, len(second)) is not None


def test_what_goes_on_counts_once(found, spool):
    digest, data = package(found)
    spool.quota = Quota(sender=len(data), free=0)
    for end in (100, 200):
        arrival = spool.arrival(NORTH, digest, len(data))
        arrival.write(data[arrival.offset : end])
        arrival.close()
    deliver_rest = spool.arrival(NORTH, digest, len(data))
    deliver_rest.write(data[200:])
    deliver_rest.finish()
    assert len(spool.arrived()) == 1


def begin(spool, number):
    arrival = spool.arrival(NORTH, f"{number:064x}", 1000)
    arrival.write(b"x")
    arrival.close()


def test_a_sender_has_so_many_places(found, spool):
    for number in range(PLACES):
        begin(spool, number)
    with pytest.raises(LimitExceeded, match=f"{PLACES} packages of member/north have begun"):
        begin(spool, PLACES)
    begin(spool, 0)  # what has begun goes on
    assert spool.arrival(Party.parse("member/south"), f"{PLACES:064x}", 1000) is not None
    found.reopen(HUB)
    with pytest.raises(LimitExceeded):
        begin(found.server.post.spool, PLACES)


@pytest.mark.parametrize("again", [False, True], ids=["while it is open", "at the next start"])
def test_what_does_not_go_on_gives_its_place_back(found, spool, again):
    for number in range(PLACES):
        begin(spool, number)
    old = sorted((spool.folder / "part").iterdir())
    for path in old[:3]:
        os.utime(path, (time.time() - KEPT - 60,) * 2)
    if again:
        found.reopen(HUB)
        assert sorted((spool.folder / "part").iterdir()) == old[3:]
    begin(found.server.post.spool, PLACES)
    assert len(files(spool, "part")) == PLACES - 2


def test_what_was_only_announced_leaves_no_file(found, spool):
    digest, data = package(found)
    arrival = spool.arrival(NORTH, digest, len(data))
    assert files(spool, "part") == [f"member-north.{digest}.part"]
    arrival.close()
    assert files(spool, "part") == []
    deliver(spool, digest, data)


def test_a_file_that_another_process_has_just_finished_is_left_alone(found, spool, monkeypatch):
    digest, data = package(found)
    part, there = spool.folder / "part" / f"member-north.{digest}.part", spool.inside("in", digest)
    part.write_bytes(data)
    lock = arrivals.fcntl.flock

    def late(descriptor, kind):
        part.rename(there)
        lock(descriptor, kind)

    monkeypatch.setattr(arrivals.fcntl, "flock", late)
    with pytest.raises(RunLocked):
        spool.arrival(NORTH, digest, len(data))
    assert there.read_bytes() == data


def test_other_files_among_the_parts_are_nobodys(found, spool):
    for name in ("copy", ".part", f"member-north.{'ab' * 32}", f"nobody-x.{'ab' * 32}.part", f"north.{'ab' * 32}.part"):
        (spool.folder / "part" / name).write_bytes(b"x" * 100)
    found.reopen(HUB)
    found.server.post.spool.quota = Quota(sender=1000, free=0)
    assert found.server.post.spool.arrival(NORTH, "ab" * 32, 1000) is not None


def test_room_on_the_disk_is_for_all_that_arrives(found, spool, monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=250, f_frsize=1))
    spool.quota = Quota(free=50)
    arrival = spool.arrival(NORTH, "ab" * 32, 100)
    spool.arrival(SERVER, "cd" * 32, 100).close()
    with pytest.raises(DiskFull):
        spool.arrival(SERVER, "cd" * 32, 101)
    arrival.write(b"x")  # it is on the disk now, which has as much less
    spool.arrival(SERVER, "cd" * 32, 101)


def test_some_of_the_disk_stays_free(found, spool):
    digest, data = package(found)
    spool.quota = Quota(free=1 << 60)
    with pytest.raises(DiskFull):
        spool.arrival(NORTH, digest, len(data))


# --- what became of them ----------------------------------------------------------------------------------------------


def settle(found, digest, state):
    with found.server.post.journal.transaction():
        found.server.post.journal.settle(digest, state, "a reason")
    found.server.post.spool.drop(digest)


def test_what_is_damaged_is_asked_for_again(found, spool):
    digest, data = package(found)
    deliver(spool, digest, data)
    assert spool.again(NORTH) == []
    settle(found, digest, "damaged")
    assert (spool.again(NORTH), spool.arrived(), files(spool, "in")) == ([digest], [], [])
    deliver(spool, digest, data)
    assert (spool.again(NORTH), len(spool.arrived())) == ([], 1)


def test_what_was_refused_stays_refused(found, spool):
    digest, data = package(found)
    deliver(spool, digest, data)
    settle(found, digest, "refused")
    with pytest.raises(NotAwaited, match="a reason"):
        spool.arrival(NORTH, digest, len(data))
    found.reopen(HUB)
    with pytest.raises(NotAwaited):
        found.server.post.spool.arrival(NORTH, digest, len(data))


def test_the_newest_number_counts_what_waits_too(found, spool):
    digest, data = package(found, number=1)
    assert spool.last_sequence(NORTH) == 0
    deliver(spool, digest, data)
    assert spool.last_sequence(NORTH) == 2
    found.server.work_through()
    assert spool.last_sequence(NORTH) == 2


def test_a_second_row_does_not_bring_back_what_was_taken(found, spool):
    digest, data = package(found)
    deliver(spool, digest, data)
    (arrived,) = spool.arrived()
    shutil.copy(arrived.path, spool.folder / "part" / "copy")

    with open_package(arrived.path) as opened:
        head = opened.head
    found.server.work_through()
    spool.take_in(spool.folder / "part" / "copy", head)  # as a courier that is late by a moment
    assert spool.arrived() == []


# --- after a kill -----------------------------------------------------------------------------------------------------


def test_sealed_without_a_row_is_swept(found):
    spool = found.members["north"].post.spool
    digest, data = package(found)
    kept = files(spool, "out")
    orphan = spool.inside("out", "ab" * 32)
    orphan.write_bytes(data)
    (spool.folder / "out" / ".9.sealing.fedprune-part").write_bytes(b"half")
    found.reopen("member/north")
    assert files(found.members["north"].post.spool, "out") == kept
    assert digest in kept[0] + kept[1]


def test_a_package_without_a_row_is_adopted(found, spool):
    digest, data = package(found)
    spool.inside("in", digest).write_bytes(data)
    found.reopen(HUB)
    assert [one.digest for one in found.server.post.spool.arrived()] == [digest]


@pytest.mark.parametrize("what", ["garbage", "cut", "under another name"])
def test_what_is_no_package_is_not_adopted(found, spool, what):
    digest, data = package(found)
    name = "cd" * 32 if what == "under another name" else digest
    spool.inside("in", name).write_bytes({"garbage": b"x" * 500, "cut": data[:-1]}.get(what, data))
    found.reopen(HUB)
    assert (found.server.post.spool.arrived(), files(found.server.post.spool, "in")) == ([], [])


def test_the_file_of_a_settled_package_is_removed(found, spool):
    digest, data = package(found)
    deliver(spool, digest, data)
    settle(found, digest, "taken")
    spool.inside("in", digest).write_bytes(data)
    found.reopen(HUB)
    assert files(found.server.post.spool, "in") == []


def test_a_work_folder_that_is_newer_than_the_home(found):
    member = found.members["north"]
    old = found.folder / "old"
    found.close("member/north")
    shutil.copytree(found.ceremony.home("member/north"), old)
    found.open("member/north")
    member = found.members["north"]
    with member.post.at_once():
        member.post.send("prekeys", SERVER, [b"whatever"])
    found.close("member/north")
    shutil.rmtree(found.ceremony.home("member/north"))
    shutil.copytree(old, found.ceremony.home("member/north"))
    for path in found.anchors.iterdir():
        path.unlink()
    with pytest.raises(RolledBack, match="lies in"):
        found.open("member/north")


# --- departing --------------------------------------------------------------------------------------------------------


def test_what_leaves_is_for_its_recipient_alone(found):
    spool = found.members["north"].post.spool
    first, second = spool.listing(SERVER, 0, 10)
    assert [one.digest for one in spool.listing(SERVER, first.number, 10)] == [second.digest]
    assert len(spool.listing(SERVER, 0, 1)) == 1
    assert spool.listing(NORTH, 0, 10) == []
    assert spool.departure(SERVER, first.digest).exists()
    assert spool.departure(NORTH, first.digest) is None
    spool.departed(NORTH, first.digest)
    assert not spool.listing(SERVER, 0, 10)[0].departed
    spool.departed(SERVER, first.digest)
    assert spool.listing(SERVER, 0, 10)[0].departed
    assert spool.undeparted(SERVER, first.digest) and not spool.undeparted(SERVER, second.digest)


def test_a_listing_asks_the_database_for_no_more_than_it_gives(found):
    post = found.server.post
    rows = post.journal.connection.execute(
        "EXPLAIN QUERY PLAN SELECT * FROM outbox WHERE recipient = ? AND number > ? ORDER BY number LIMIT 1", ("x", 0)
    ).fetchall()
    assert [row[-1] for row in rows] == ["SEARCH outbox USING INDEX outbox_of_recipient (recipient=? AND number>?)"]


def test_what_has_not_left_yet(found):
    spool = found.members["north"].post.spool
    first, second = spool.unsent(SERVER)
    spool.departed(SERVER, first.digest)
    assert spool.unsent(SERVER) == [second]
    assert spool.unsent(NORTH) == []
    assert [one.departed for one in spool.listing(SERVER, 0, 10)] == [True, False]
    assert [one.number for one in spool.listing(SERVER, 0, 1)] == [first.number]


def test_what_is_out_of_date_does_not_leave(found):
    spool = found.members["north"].post.spool
    found.members["north"].post.journal.connection.execute("UPDATE outbox SET not_after = 1 WHERE number = 1")
    assert [one.number for one in spool.outgoing()] == [2]


def test_past_rounds_are_discarded(found):
    found.members["north"].post.journal.connection.execute("UPDATE outbox SET round = number")
    spool = found.members["north"].post.spool
    first, second = spool.outgoing()
    spool.discard(2)
    assert [one.digest for one in spool.outgoing()] == [second.digest]
    assert not spool.inside("out", first.digest).exists()
