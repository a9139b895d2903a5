"""Writing packages: laid out as the specification says, from a source that holds still, and nothing left behind."""

import errno
import os
import struct
from pathlib import Path

import pytest

from fedspallm_secure import errors
from fedspallm_secure.crypto import randomness
from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.protocol.package_types import PACKAGE_TYPES
from fedspallm_secure.storage import package_writer
from fedspallm_secure.storage.package_writer import Source, write_package
from tests.attacks.stage import MIB, Parts
from tests.parties import Federation

LUNGS = Federation()


def write(path: Path, source: Source, advance=lambda _: None, **context):
    made = LUNGS.context(**context)
    keys = LUNGS["member/south"].entry.key_statement.keys
    key = next(key for key in keys if key.kem is made.kem)
    return write_package(path, source, made, key, LUNGS["member/north"].signer, advance)


@pytest.fixture
def plain(tmp_path):
    """Make a source of some content; it is open while the test lasts."""
    opened = []

    def make(data: bytes, said: int | None = None) -> Source:
        path = tmp_path / "plain"
        path.write_bytes(data)
        opened.append(os.open(path, os.O_RDONLY))
        return Source(opened[-1], len(data) if said is None else said, "plain")

    yield make
    for descriptor in opened:
        os.close(descriptor)


def left(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} - {"plain"}


# Chunks end just before, at and just after the end of a tile at these sizes, and tiles at others.
EDGES = [0, 1, 16_383, 16_384, MIB - 1100, MIB - 1096, MIB - 1088, MIB, 2 * MIB - 2200, 2 * MIB, 3 * MIB + 1]


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("kem", list(Kem))
def test_the_layout_is_that_of_the_specification(tmp_path, plain, size, kem):
    head = write(tmp_path / "p", plain(os.urandom(size)), kem=kem)
    data = (tmp_path / "p").read_bytes()
    assert data[:8] == b"FSPKG1\r\n"
    assert struct.unpack("<I", data[8:12]) == (len(head.encoded),)
    parts = Parts.of(data)
    assert (parts.header, parts.signature) == (head.encoded, head.signature)
    assert len(parts.body) == body_length(size) == parts.fields["body_len"]
    assert parts == parts.with_body(parts.body)  # hashes, root and lengths are those of this body
    assert parts == parts.signed(LUNGS["member/north"].signer)
    assert head.size == len(data)
    assert left(tmp_path) == {"p"}


def test_two_packages_of_the_same_share_nothing(tmp_path, plain):
    made = []
    for name in ("a", "b"):
        write(tmp_path / name, plain(b"x" * 1000))
        made.append(Parts.of((tmp_path / name).read_bytes()))
    assert made[0].fields["enc"] != made[1].fields["enc"]
    assert made[0].body[:56] != made[1].body[:56]
    assert made[0].body[56:90] != made[1].body[56:90]


def test_the_file_key_is_drawn_from_the_one_source(tmp_path, plain, monkeypatch):
    drawn = []
    real = randomness.random_bytes
    monkeypatch.setattr(package_writer, "random_bytes", lambda size: (drawn.append(size), real(size))[1])
    write(tmp_path / "p", plain(b"x"))
    assert drawn == [32]


def test_progress_counts_the_body(tmp_path, plain):
    told = []
    write(tmp_path / "p", plain(bytes(2 * MIB)), told.append)
    assert told == [MIB, 2 * MIB, body_length(2 * MIB)]


@pytest.mark.parametrize(
    ("size", "said", "word"),
    [
        (0, 1, "shorter"),
        (0, MIB, "shorter"),
        (3 * MIB, 3 * MIB + 1, "shorter"),
        (1, 0, "longer"),
        (3 * MIB, MIB, "longer"),
        (3 * MIB, 3 * MIB - 1, "longer"),
    ],
)
def test_a_source_that_changes_is_refused(tmp_path, plain, size, said, word):
    with pytest.raises(errors.InputError, match=f"plain became {word} while it was sealed"):
        write(tmp_path / "p", plain(bytes(size), said))
    assert left(tmp_path) == set()


def test_short_reads_are_continued(tmp_path, plain, monkeypatch):
    real = os.readv
    monkeypatch.setattr(os, "readv", lambda descriptor, buffers: real(descriptor, [buffers[0][:999]]))
    write(tmp_path / "p", plain(bytes(5000)))
    assert len(Parts.of((tmp_path / "p").read_bytes()).body) == body_length(5000)


@pytest.mark.parametrize("name", PACKAGE_TYPES)
def test_more_than_a_type_holds_is_refused_unread(tmp_path, name):
    row = PACKAGE_TYPES[name]
    source = Source(-1, row.plaintext_limit + 1, "plain")
    with pytest.raises(errors.NotAllowed, match=f"larger than a package of type '{name}'"):
        write(tmp_path / "p", source, type=name)
    assert left(tmp_path) == set()


def test_the_largest_that_a_type_holds_is_not_refused(tmp_path, plain):
    write(tmp_path / "p", plain(bytes(1 << 20)), type="receipt")


def test_a_source_has_a_length(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    descriptor = os.open(tmp_path / "pipe", os.O_RDWR)
    try:
        with pytest.raises(errors.UsageError, match="is not a file"):
            Source.of(descriptor, tmp_path / "pipe")
    finally:
        os.close(descriptor)
    (tmp_path / "file").write_bytes(b"12345")
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        assert Source.of(descriptor, tmp_path / "file") == Source(descriptor, 5, str(tmp_path / "file"))
    finally:
        os.close(descriptor)


def test_room_is_checked_before_the_work(tmp_path, plain, monkeypatch):
    class Full:
        f_bavail, f_frsize = 1, 4096

    monkeypatch.setattr(os, "fstatvfs", lambda _: Full)
    monkeypatch.setattr(os, "readv", lambda *_: pytest.fail("read"))
    with pytest.raises(errors.DiskFull):
        write(tmp_path / "p", plain(bytes(4096)))
    assert left(tmp_path) == set()


def test_room_is_needed_for_head_and_body(tmp_path, plain, monkeypatch):
    size = write(tmp_path / "p", plain(bytes(4096))).size

    class Disk:
        f_bavail, f_frsize = size - 1, 1

    monkeypatch.setattr(os, "fstatvfs", lambda _: Disk)
    with pytest.raises(errors.DiskFull, match=f"needs {size} bytes"):
        write(tmp_path / "q", plain(bytes(4096)))
    Disk.f_bavail = size
    write(tmp_path / "q", plain(bytes(4096)))


def test_content_is_flushed_before_it_has_its_name(tmp_path, plain, monkeypatch):
    """Otherwise a power cut could leave the name with holes behind it."""
    done = []
    fsync, rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(os.fstat(fd).st_size), fsync(fd))[1])
    monkeypatch.setattr(os, "rename", lambda *names: (done.append("rename"), rename(*names))[1])
    size = write(tmp_path / "p", plain(bytes(MIB))).size
    assert done[:2] == [size, "rename"]


@pytest.mark.parametrize("call", ["readv", "pwrite", "fsync", "rename"])
def test_a_disk_that_fails_leaves_nothing(tmp_path, plain, monkeypatch, call):
    source = plain(bytes(3 * MIB))

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(errors.StorageError):
        write(tmp_path / "p", source)
    monkeypatch.undo()
    assert left(tmp_path) == set()


def test_nothing_is_overwritten(tmp_path, plain):
    (tmp_path / "p").write_bytes(b"precious")
    with pytest.raises(errors.OutputExists):
        write(tmp_path / "p", plain(b"x"))
    assert (tmp_path / "p").read_bytes() == b"precious"
    assert left(tmp_path) == {"p"}


def test_a_signer_that_fails_leaves_nothing(tmp_path, plain):
    class Broken:
        public = bytes(32)

        def sign(self, message: bytes) -> bytes:
            raise KeyboardInterrupt

    made = LUNGS.context()
    key = next(key for key in LUNGS["member/south"].entry.key_statement.keys if key.kem is made.kem)
    with pytest.raises(KeyboardInterrupt):
        write_package(tmp_path / "p", plain(b"x"), made, key, Broken(), lambda _: None)
    assert left(tmp_path) == set()
