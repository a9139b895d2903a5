"""Media that vanish, fill up, or hold something else; and runs that are killed."""

import errno
import os
from unittest import mock

import pytest

from fedspallm_secure.app.courier.writing import check_target
from fedspallm_secure.errors import (
    DiskFull,
    MediumIncomplete,
    MediumLost,
    MissingInput,
    OutputExists,
    RecordDamaged,
    StorageError,
)
from tests.couriers import HUB, NORTH, Couriers, names
from tests.faults import When, count_points, failing, run_and_kill


@pytest.fixture
def couriers(tmp_path):
    (tmp_path / "homes").mkdir()
    with Couriers(tmp_path / "homes") as found:
        yield found


@pytest.fixture
def medium(tmp_path):
    (tmp_path / "medium").mkdir()
    return tmp_path / "medium"


def test_the_index_comes_last(couriers, medium):
    """Wherever an export is killed there is no index, or everything that it lists."""
    sent = {couriers.send(HUB, NORTH, b"one"), couriers.send(HUB, NORTH, b"two" * 500_000)}

    def action(report):
        couriers.export(HUB, medium)

    for point in range(1, len(count_points(action)) + 1):
        for path in medium.iterdir():
            path.unlink()
        run_and_kill(action, point, When.AFTER)
        if names(medium, ".fsdoc"):
            assert {name.removesuffix(".fspkg") for name in names(medium, ".fspkg")} >= sent
        couriers.export(HUB, medium)  # the same command again
        assert {name.removesuffix(".fspkg") for name in names(medium, ".fspkg")} == sent
        assert len(names(medium, ".fsdoc")) == 1
        assert names(medium, "-part") == []


@pytest.mark.parametrize(
    ("number", "error"), [(errno.EIO, MediumLost), (errno.ENODEV, MediumLost), (errno.ENOSPC, DiskFull)]
)
def test_a_medium_that_fails_in_the_middle_is_completed_later(couriers, medium, number, error):
    sent = [couriers.send(HUB, NORTH, b"one"), couriers.send(HUB, NORTH, b"two" * 500_000)]

    def action(report):
        couriers.export(HUB, medium)

    writes = [point for point, call in enumerate(count_points(action), 1) if call == "write"]
    for path in medium.iterdir():
        path.unlink()
    with pytest.raises(error):
        failing(action, writes[-2], number)
    assert names(medium, ".fsdoc") == []
    couriers.export(HUB, medium)
    assert sorted(couriers.take(NORTH, medium)[0].arrived) == sorted(sent)


def test_a_medium_that_is_too_small_is_not_begun(couriers, medium):
    couriers.send(HUB, NORTH)
    full = os.statvfs(medium)
    small = mock.Mock(f_bavail=1, f_frsize=512)
    with mock.patch.object(os, "statvfs", return_value=small), pytest.raises(DiskFull, match="has 512 free"):
        couriers.export(HUB, medium)
    assert names(medium) == []
    assert full.f_bavail > 1


def test_a_file_that_is_too_large_for_the_file_system_is_explained(couriers, medium):
    couriers.send(HUB, NORTH)
    with mock.patch.object(os, "write", side_effect=OSError(errno.EFBIG, "too large")), pytest.raises(DiskFull) as told:
        couriers.export(HUB, None, single=medium / "x")
    assert "--to" in told.value.hint
    assert names(medium) == []


def test_nothing_is_overwritten(couriers, medium):
    sent = couriers.send(HUB, NORTH)
    (medium / f"{sent}.fspkg").write_bytes(b"something else")
    with pytest.raises(OutputExists):
        couriers.export(HUB, medium)
    assert (medium / f"{sent}.fspkg").read_bytes() == b"something else"


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "same size"])
def test_nothing_is_written_through_what_is_there(couriers, medium, tmp_path, kind):
    sent = couriers.send(HUB, NORTH)
    path, size = medium / f"{sent}.fspkg", couriers.post(HUB).depot.inside("out", sent).stat().st_size
    (tmp_path / "treasure").write_bytes(b"precious")
    {
        "link": lambda: path.symlink_to(tmp_path / "treasure"),
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "same size": lambda: path.write_bytes(bytes(size)),
    }[kind]()
    with pytest.raises(OutputExists):
        couriers.export(HUB, medium)
    assert (tmp_path / "treasure").read_bytes() == b"precious"


def test_what_is_there_already_stays(couriers, medium):
    sent = couriers.send(HUB, NORTH)
    couriers.export(HUB, medium)
    before = (medium / f"{sent}.fspkg").stat()
    couriers.export(HUB, medium)
    after = (medium / f"{sent}.fspkg").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_medium_that_is_not_mounted_is_not_made(couriers, tmp_path):
    couriers.send(HUB, NORTH)
    for folder, single in ((tmp_path / "media", None), (None, tmp_path / "media" / "x")):
        with pytest.raises(MissingInput, match="not a folder"):
            check_target(folder, single)
        with pytest.raises(MissingInput, match="not a folder"):
            couriers.export(HUB, folder, single=single)
    assert not (tmp_path / "media").exists()


def test_an_outbox_that_lost_a_file_says_so(couriers, medium):
    sent = couriers.send(HUB, NORTH)
    os.truncate(couriers.post(HUB).depot.inside("out", sent), 10)
    with pytest.raises(RecordDamaged):
        couriers.export(HUB, medium)


def test_an_import_that_was_killed_is_repeated(couriers, medium):
    """Wherever it is killed: everything arrives in the end, once."""
    sent = [couriers.send(HUB, NORTH, b"one"), couriers.send(HUB, NORTH, b"two" * 500_000)]
    couriers.export(HUB, medium)
    home = couriers.folder / "again"

    def action(report):
        couriers.open(NORTH, home)
        couriers.posts[NORTH] = couriers.open(NORTH, home)
        couriers.take(NORTH, medium)

    for point in range(1, len(count_points(action)) + 1, 3):
        home = couriers.folder / f"again-{point}"
        run_and_kill(action, point, When.AFTER)
        action(None)
        assert couriers.inbox(NORTH) == sent
        assert couriers.take(NORTH, medium)[0].arrived == []


def test_an_inbox_that_is_full_stops_the_import(couriers, medium):
    sent = [couriers.send(HUB, NORTH, b"one"), couriers.send(HUB, NORTH, b"two")]
    couriers.export(HUB, medium)
    depot = couriers.post(NORTH).depot
    with mock.patch.object(type(depot._room), "check", side_effect=DiskFull("no room")), pytest.raises(StorageError):
        couriers.take(NORTH, medium)
    assert sorted(couriers.take(NORTH, medium)[0].arrived) == sorted(sent)


def test_a_sector_that_cannot_be_read_is_carried_again(couriers, medium):
    lost, sent = couriers.send(HUB, NORTH, b"x" * (2 << 20)), couriers.send(HUB, NORTH, b"two")
    couriers.export(HUB, medium)
    real, calls = os.readv, []

    def broken(descriptor, buffers):
        calls.append(len(buffers[0]))
        if len(buffers[0]) == 1 << 20:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, buffers)

    with mock.patch.object(os, "readv", broken):
        outcome = couriers.take(NORTH, medium)[0]
    assert ([trouble.digest for trouble in outcome.missing], outcome.arrived) == ([lost], [sent])
    assert type(outcome.errors[0]) is MediumIncomplete
