"""Drafts: a file has its name only when it is whole; what lies in the way is never written to."""

import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest

from fedspallm_secure.errors import DiskFull, OutputExists, RunLocked, StorageError
from fedspallm_secure.storage.drafts import draft


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def part(tmp_path) -> Path:
    return tmp_path / ".out.fedprune-part"


def write(path: Path, data: bytes = b"content") -> None:
    with draft(path) as file:
        file.write(data)
        file.finish()
        file.publish()


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_a_draft_becomes_the_file(path, part):
    with draft(path) as file:
        assert not path.exists()
        file.write(b"con")
        file.write(memoryview(b"tent"))
        file.finish()
        assert names(path.parent) == {".out.fedprune-part"}
        file.publish()
        assert names(path.parent) == {"out"}
    assert path.read_bytes() == b"content"
    assert names(path.parent) == {"out"}


def test_it_is_readable_by_its_owner_alone(path, part):
    before = os.umask(0)
    try:
        with draft(path) as file:
            assert part.stat().st_mode & 0o7777 == 0o600
            file.publish()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o7777 == 0o600
    assert path.stat().st_nlink == 1


def test_what_is_not_published_is_gone(path):
    with draft(path) as file:
        file.write(b"x")
    assert names(path.parent) == set()
    with pytest.raises(KeyboardInterrupt), draft(path) as file:
        file.write(b"x")
        raise KeyboardInterrupt
    assert names(path.parent) == set()


def test_an_interrupted_run_leaves_what_a_killed_one_would(path, part):
    """The register may know of the package already; its next run then looks for the draft."""
    with pytest.raises(KeyboardInterrupt), draft(path) as file:
        file.write(b"content")
        file.finish()
        raise KeyboardInterrupt
    assert names(path.parent) == {part.name}
    with pytest.raises(RuntimeError), draft(path) as file:
        file.write(b"content")
        file.finish()
        raise RuntimeError
    assert names(path.parent) == set()
    with pytest.raises(KeyboardInterrupt), draft(path) as file:
        file.finish()
        file.publish()
        raise KeyboardInterrupt
    assert names(path.parent) == {"out"}


def test_nothing_is_overwritten(path):
    path.write_bytes(b"precious")
    with pytest.raises(OutputExists):
        write(path)
    assert path.read_bytes() == b"precious"
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(OutputExists):
        write(path)
    assert names(path.parent) == {"out"}


def test_writes_go_where_they_belong(path):
    with draft(path) as file:
        file.write(b"56789", 5)
        file.write(b"01234")
        file.write(b"-")
        file.publish()
    assert path.read_bytes() == b"01234-6789"


def test_short_writes_are_continued(path, monkeypatch):
    write_, pwrite = os.write, os.pwrite
    monkeypatch.setattr(os, "write", lambda descriptor, data: write_(descriptor, data[:2]))
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: pwrite(descriptor, data[:3], offset))
    with draft(path) as file:
        file.write(b"content")
        file.write(b"later on", 7)
        file.publish()
    assert path.read_bytes() == b"contentlater on"


def test_two_runs_do_not_write_one_file(path):
    with draft(path) as file:
        with pytest.raises(RunLocked, match="another process is writing"), draft(path):
            pass
        file.write(b"mine")
        file.publish()
    assert path.read_bytes() == b"mine"


def test_what_a_killed_run_left_is_swept(path, part):
    part.write_bytes(b"old and longer than what is new")
    write(path)
    assert path.read_bytes() == b"content"
    assert names(path.parent) == {"out"}


def test_a_draft_is_always_a_new_file(path, part):
    """An old one may have another name, or somebody may have opened it when it was open to all."""
    treasure = path.with_name("treasure")
    treasure.write_bytes(b"precious")
    treasure.chmod(0o644)
    part.hardlink_to(treasure)
    write(path)
    assert treasure.read_bytes() == b"precious"
    assert treasure.stat().st_mode & 0o777 == 0o644
    assert path.stat().st_ino != treasure.stat().st_ino
    part.touch(mode=0o666)
    path.unlink()
    with part.open("rb") as listening:
        write(path)
        assert listening.read() == b""


def listening(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this user may not make devices")


IN_THE_WAY = [
    Path.mkdir,
    os.mkfifo,
    listening,
    device,
    lambda path: path.symlink_to("treasure"),
    lambda path: path.symlink_to("nowhere"),
    lambda path: path.symlink_to(path),
]


@pytest.mark.parametrize("make", IN_THE_WAY)
def test_what_is_no_draft_is_left_alone(path, part, make):
    path.with_name("treasure").write_bytes(b"precious")
    make(part)
    before = part.lstat()
    with pytest.raises(StorageError, match="is in the way") as caught:
        write(path)
    assert type(caught.value) is StorageError
    assert part.lstat().st_ino == before.st_ino
    assert names(path.parent) == {".out.fedprune-part", "treasure"}
    assert path.with_name("treasure").read_bytes() == b"precious"


def test_a_pipe_that_takes_the_place_of_an_old_draft_does_not_stop_us(path, part, monkeypatch):
    part.touch()
    real = Path.lstat

    def lstat(self):
        status = real(self)
        monkeypatch.setattr(Path, "lstat", real)
        part.unlink()
        os.mkfifo(part)
        return status

    monkeypatch.setattr(Path, "lstat", lstat)
    write(path)
    assert path.read_bytes() == b"content"


def test_a_link_that_takes_the_place_of_an_old_draft_is_not_followed(path, part, monkeypatch):
    part.touch()
    path.with_name("treasure").write_bytes(b"precious")
    real = Path.lstat

    def lstat(self):
        status = real(self)
        monkeypatch.setattr(Path, "lstat", real)
        part.unlink()
        part.symlink_to("treasure")
        return status

    monkeypatch.setattr(Path, "lstat", lstat)
    with pytest.raises(StorageError, match="symbolic links"):
        write(path)
    assert path.with_name("treasure").read_bytes() == b"precious"


def test_a_draft_whose_owner_finished_meanwhile_is_not_swept(path, part, monkeypatch):
    """Between finding the old draft and opening it, it became a file: that one stays."""
    part.write_bytes(b"theirs")
    real = Path.lstat

    def lstat(self):
        status = real(self)
        monkeypatch.setattr(Path, "lstat", real)
        part.rename(path)
        return status

    monkeypatch.setattr(Path, "lstat", lstat)
    with pytest.raises(OutputExists):
        write(path)
    assert path.read_bytes() == b"theirs"


def test_a_draft_whose_owner_finished_while_we_opened_it_is_not_swept(path, part, monkeypatch):
    part.write_bytes(b"theirs")
    real = fcntl.flock

    def flock(descriptor, operation):
        monkeypatch.setattr(fcntl, "flock", real)
        part.rename(path)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OutputExists):
        write(path)
    assert path.read_bytes() == b"theirs"


def test_a_draft_that_was_swept_before_it_was_locked_is_made_again(path, part, monkeypatch):
    real, taken = fcntl.flock, []

    def flock(descriptor, operation):
        if len(taken) < 2:
            taken.append(part.stat().st_ino)
            part.unlink()
            if len(taken) == 2:  # another run even holds it at this moment
                raise BlockingIOError
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    write(path)
    assert path.read_bytes() == b"content"


def test_making_a_draft_is_given_up_after_some_tries(path, part, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *arguments: part.unlink(missing_ok=True))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(StorageError, match="keeps removing it"):
        write(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_descriptors_do_not_leak(path, part):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(10):
        write(path.with_name(str(number)))
        part.write_bytes(b"old")
        with draft(path), pytest.raises(RunLocked), draft(path):
            pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_name_that_no_file_can_have_is_told(tmp_path, name):
    with pytest.raises(StorageError, match=r"'.*\\.*' is not the name of a file"):
        write(tmp_path / name)


def test_a_folder_that_is_not_there_or_cannot_be_written_is_told(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        write(tmp_path / "nothing" / "out")
    with pytest.raises(StorageError, match="too long"):
        write(tmp_path / ("x" * 255))


def test_room_is_checked(path, monkeypatch):
    class Disk:
        f_bavail, f_frsize = 3, 100

    with draft(path) as file:
        monkeypatch.setattr(os, "fstatvfs", lambda descriptor: Disk)
        file.check_room(300)
        with pytest.raises(DiskFull, match="needs 301 bytes; the disk has 300 free"):
            file.check_room(301)


@pytest.mark.parametrize(
    ("code", "error"), [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, StorageError)]
)
@pytest.mark.parametrize("call", ["write", "pwrite", "fsync", "rename"])
def test_a_disk_that_fails_leaves_nothing(path, monkeypatch, call, code, error):
    def fail(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(error) as caught, draft(path) as file:
        file.write(b"x")
        file.write(b"x", 1)
        file.finish()
        file.publish()
    assert type(caught.value) is error
    assert names(path.parent) == set()


def test_a_name_that_may_not_last_is_taken_back(path, monkeypatch):
    """The folder could not be flushed: whoever is told of an error must not find the file there and rely on it."""
    real = os.fsync
    with pytest.raises(StorageError), draft(path) as file:
        file.finish()

        def fail(descriptor):
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fsync", fail)
        file.publish()
    monkeypatch.setattr(os, "fsync", real)
    assert names(path.parent) == set()


def test_content_and_name_are_flushed_in_this_order(path, monkeypatch):
    done = []
    fsync, rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(Path(f"/proc/self/fd/{fd}").readlink()), fsync(fd))[1])
    monkeypatch.setattr(os, "rename", lambda *names: (done.append("rename"), rename(*names))[1])
    write(path)
    assert done == [path.with_name(".out.fedprune-part"), "rename", path.parent]


class TestSameAsPublished:
    """What `open` asks when an earlier run may have been killed just after publishing."""

    @pytest.mark.parametrize(
        ("published", "content", "same"),
        [
            (b"content", b"content", True),
            (b"", b"", True),
            (b"content", b"contens", False),
            (b"content", b"conten", False),
            (b"conten", b"content", False),
            (bytes(3 << 20) + b"x", bytes(3 << 20) + b"x", True),
            (bytes(3 << 20) + b"x", bytes(3 << 20) + b"y", False),
            (bytes(1 << 20) + b"x" + bytes(1 << 20), bytes(1 << 20) + b"y" + bytes(1 << 20), False),
        ],
    )
    def test_content_decides(self, path, published, content, same):
        path.write_bytes(published)
        with draft(path) as file:
            file.write(content)
            assert file.same_as_published() is same
            assert names(path.parent) == ({"out"} if same else {"out", ".out.fedprune-part"})
        assert path.read_bytes() == published
        assert names(path.parent) == {"out"}

    def test_the_name_is_made_durable(self, path, monkeypatch):
        """The run that gave it was perhaps killed before it had flushed the folder."""
        path.write_bytes(b"x")
        flushed = []
        with draft(path) as file:
            file.write(b"x")
            monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(Path(f"/proc/self/fd/{fd}").readlink()))
            assert file.same_as_published()
            assert flushed == [path.parent]
        path.write_bytes(b"y")
        with draft(path) as file:
            assert not file.same_as_published()
        assert flushed == [path.parent]

    def test_nothing_is_not_the_same(self, path):
        with draft(path) as file:
            assert not file.same_as_published()

    @pytest.mark.parametrize("make", IN_THE_WAY)
    def test_only_a_file_is_the_same(self, path, make):
        path.with_name("treasure").touch()
        make(path)
        with draft(path) as file:
            assert not file.same_as_published()
            with pytest.raises(OutputExists):
                file.publish()

    def test_descriptors_do_not_leak(self, path):
        path.write_bytes(b"x")
        before = len(list(Path("/proc/self/fd").iterdir()))
        for content in (b"x", b"y", b"zz"):
            with draft(path) as file:
                file.write(content)
                file.same_as_published()
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_drafts_are_named_after_their_file(path):
    with draft(path) as first, draft(path.with_name("other")) as second:
        first.publish()
        second.publish()
    assert names(path.parent) == {"out", "other"}
