"""Private files: whole or not at all, for their owner alone, and never in place of another, wherever it is killed."""

import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest

from fedspallm_secure.errors import DiskFull, OutputExists, RunLocked, StorageError
from fedspallm_secure.storage import files
from fedspallm_secure.storage.files import atomic_write, create_private, replace_private
from tests.faults import When, count_points, every_point, failing, run_and_kill

OLD, NEW = b"old" * 1000, b"new" * 2000


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.fedprune-new")


# The injector itself


def test_the_injector_sees_what_changes_a_disk(tmp_path):
    def action(report):
        with atomic_write(tmp_path / "a") as file:
            file.write(b"x")
        Path(tmp_path / "a").unlink()
        os.close(os.open(tmp_path, os.O_RDONLY))

    assert count_points(action) == ["open", "write", "fsync", "replace", "fsync", "unlink"]


def test_the_injector_kills_before_within_and_after(tmp_path):
    path = tmp_path / "a"

    def action(report):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        report(b"opened")
        os.write(descriptor, b"0123456789")
        report(b"written")

    found = {}
    for point, name, when in every_point(action):
        path.unlink(missing_ok=True)
        outcome = run_and_kill(action, point, when)
        assert outcome.killed
        assert not outcome.error
        found[name, when] = (outcome.reported, path.read_bytes() if path.exists() else None)
    assert found == {
        ("open", When.BEFORE): ([], None),
        ("open", When.AFTER): ([], b""),
        ("write", When.BEFORE): ([b"opened"], b""),
        ("write", When.WITHIN): ([b"opened"], b"01234"),
        ("write", When.AFTER): ([b"opened"], b"0123456789"),
    }
    assert not run_and_kill(action, 3).killed


def test_the_injector_fails_one_call_or_all_that_follow(tmp_path):
    def action(report):
        for number in range(3):
            try:
                (tmp_path / f"{number}").mkdir()
            except OSError as error:
                report(f"{number} {error.errno}".encode())

    assert failing(action, 2, errno.EIO) == [b"1 5"]
    for folder in tmp_path.iterdir():
        folder.rmdir()
    assert failing(action, 2, errno.EIO, lasting=True) == [b"1 5", b"2 5"]
    (tmp_path / "0").rmdir()  # and nothing stays patched


# Creating


def test_a_private_file_is_its_owners_alone_whatever_the_umask_says(tmp_path):
    for umask in (0, 0o022, 0o777):
        before = os.umask(umask)
        try:
            create_private(tmp_path / f"{umask}", NEW)
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / f"{umask}").stat().st_mode) == 0o600
        assert (tmp_path / f"{umask}").read_bytes() == NEW
    assert len(listing(tmp_path)) == 3


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link"])
def test_nothing_is_overwritten(tmp_path, kind):
    path = tmp_path / "a"
    (tmp_path / "other").write_bytes(OLD)
    if kind == "file":
        path.write_bytes(OLD)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / ("other" if kind == "link" else "nowhere"))
    before = path.lstat()
    with pytest.raises(OutputExists, match="a already exists"):
        create_private(path, NEW)
    assert path.lstat() == before
    assert (tmp_path / "other").read_bytes() == OLD
    assert listing(tmp_path) == ["a", "other"]


def test_what_appears_in_the_last_moment_is_not_overwritten(tmp_path, monkeypatch):
    path, real = tmp_path / "a", os.link

    def late(*names):
        path.write_bytes(OLD)
        real(*names)

    monkeypatch.setattr(files.os, "link", late)
    with pytest.raises(OutputExists):
        create_private(path, NEW)
    assert path.read_bytes() == OLD
    assert listing(tmp_path) == ["a"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_where_there_are_no_links_files_are_renamed(tmp_path, monkeypatch, code):
    def no_links(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "link", no_links)
    create_private(tmp_path / "a", NEW)
    assert (tmp_path / "a").read_bytes() == NEW
    assert listing(tmp_path) == ["a"]
    with pytest.raises(OutputExists):
        create_private(tmp_path / "a", OLD)
    assert (tmp_path / "a").read_bytes() == NEW


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    descriptor = os.open(beside(tmp_path / "a"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        for write in (create_private, replace_private):
            with pytest.raises(RunLocked, match="another process is writing"):
                write(tmp_path / "a", NEW)
    finally:
        os.close(descriptor)
    create_private(tmp_path / "a", NEW)
    assert listing(tmp_path) == ["a"]


@pytest.mark.parametrize("leftover", ["half", "empty", "open to all", "second name"])
def test_what_a_killed_run_left_is_swept_and_harms_nothing(tmp_path, leftover):
    """A second name of the file that counts is removed, not emptied; and nobody has kept the new file open."""
    path, other = tmp_path / "a", tmp_path / "b"
    other.write_bytes(OLD)
    if leftover == "second name":
        os.link(other, beside(path))
    else:
        beside(path).write_bytes(b"" if leftover == "empty" else b"half")
        beside(path).chmod(0o600 if leftover == "empty" else 0o644)
    inode = beside(path).stat().st_ino
    keeper = os.open(beside(path), os.O_RDONLY)
    create_private(path, NEW)
    assert path.read_bytes() == NEW
    assert other.read_bytes() == OLD
    assert listing(tmp_path) == ["a", "b"]
    assert leftover == "empty" or os.fstat(keeper).st_ino == inode != path.stat().st_ino
    os.close(keeper)


def test_who_opens_the_file_of_a_writer_that_just_finished_starts_again(tmp_path, monkeypatch):
    path, real = tmp_path / "a", fcntl.flock
    gone = []

    def late(descriptor, operation):
        if not gone:
            gone.append(beside(path).rename(tmp_path / "theirs"))
        real(descriptor, operation)

    monkeypatch.setattr(files.fcntl, "flock", late)
    create_private(path, NEW)
    assert path.read_bytes() == NEW
    assert (tmp_path / "theirs").read_bytes() == b""


def test_content_name_and_folder_are_flushed_in_this_order(tmp_path, monkeypatch):
    done, fsync, link = [], os.fsync, os.link

    def recording_fsync(descriptor):
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        fsync(descriptor)

    def recording_link(*names):
        done.append("name")
        link(*names)

    monkeypatch.setattr(files.os, "fsync", recording_fsync)
    monkeypatch.setattr(files.os, "link", recording_link)
    create_private(tmp_path / "a", NEW)
    assert done == ["content", "name", "folder"]


def test_a_folder_without_file_modes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "is_private", lambda *_: False)
    with pytest.raises(StorageError, match="does not keep files private"):
        create_private(tmp_path / "a", NEW)
    assert listing(tmp_path) == []


def test_a_link_planted_beside_is_not_followed(tmp_path):
    (tmp_path / "other").write_bytes(OLD)
    beside(tmp_path / "a").symlink_to(tmp_path / "other")
    with pytest.raises(StorageError):
        create_private(tmp_path / "a", NEW)
    assert (tmp_path / "other").read_bytes() == OLD


@pytest.mark.parametrize("target", ["missing/a", "file/a", "x" * 300])
def test_what_cannot_be_written_there_is_a_storage_error(tmp_path, target):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        create_private(tmp_path / target, NEW)
    assert listing(tmp_path) == ["file"]


# Killed, and failing


def test_a_killed_creation_leaves_the_whole_file_or_none_and_the_next_one_succeeds(tmp_path):
    path = tmp_path / "a"
    points = every_point(lambda report: create_private(path, NEW))
    assert {name for _, name, _ in points} == {"open", "write", "fsync", "link", "unlink"}
    path.unlink()
    for point, _, when in points:
        outcome = run_and_kill(lambda report: create_private(path, NEW), point, when)
        assert outcome.killed
        if path.exists():
            assert path.read_bytes() == NEW
            path.unlink()
        create_private(path, OLD)
        assert path.read_bytes() == OLD
        assert listing(tmp_path) == ["a"]
        path.unlink()


def test_a_killed_replacement_leaves_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "a"
    create_private(path, OLD)
    points = every_point(lambda report: replace_private(path, NEW))
    assert {name for _, name, _ in points} == {"open", "write", "fsync", "replace"}
    for point, _, when in points:
        replace_private(path, OLD)
        outcome = run_and_kill(lambda report: replace_private(path, NEW), point, when)
        assert outcome.killed
        assert path.read_bytes() in {OLD, NEW}
        replace_private(path, OLD)
        assert listing(tmp_path) == ["a"]


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, DiskFull), (errno.EIO, StorageError)])
def test_a_failing_disk_is_named_and_leaves_the_old_file_or_the_new_one(tmp_path, code, error, lasting):
    path = tmp_path / "a"
    names = count_points(lambda report: create_private(path, NEW))
    for point, name in enumerate(names, start=1):
        path.unlink(missing_ok=True)
        beside(path).unlink(missing_ok=True)
        if name == "unlink":  # only the second name stays, until the next writer sweeps it
            failing(lambda report: create_private(path, NEW), point, code, lasting=lasting)
            assert path.read_bytes() == NEW
            continue
        with pytest.raises(error) as caught:
            failing(lambda report: create_private(path, NEW), point, code, lasting=lasting)
        assert type(caught.value) is error
        assert str(path) in str(caught.value)
        if path.exists():
            assert lasting  # then it cannot be removed either
            assert path.read_bytes() == NEW
    replace_private(path, OLD)
    for point in range(1, len(count_points(lambda report: replace_private(path, NEW))) + 1):
        replace_private(path, OLD)
        with pytest.raises(error):
            failing(lambda report: replace_private(path, NEW), point, code, lasting=lasting)
        assert path.read_bytes() in {OLD, NEW}
    replace_private(path, OLD)
    assert listing(tmp_path) == ["a"]
