"""A published log: written from the database and nothing else, read as from strangers, in a folder or in one file."""

import os
import struct
import tracemalloc

import pytest

from fedspallm_secure.crypto.merkle import leaf_hash
from fedspallm_secure.errors import (
    FedSpaError,
    FormatError,
    HostileFile,
    InputError,
    LimitExceeded,
    MissingInput,
    OutputExists,
)
from fedspallm_secure.storage.log_file import FileLog, pack
from fedspallm_secure.storage.log_folder import FolderLog, publish
from fedspallm_secure.storage.log_reader import check_whole
from tests.faults import count_points
from tests.storage.logs import cosigned, document, entry, files, grow, note, opened, publish_all, transaction

SIZES = (0, 1, 2, 255, 256, 257, 511, 512, 600)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def store(tmp_path):
    with opened(tmp_path) as found:
        yield found


@pytest.fixture
def folder(tmp_path, store):
    """With partial files, a full tile, a cosigned checkpoint of its own and documents."""
    grow(store, 300, documents=2)
    publish_all(store, tmp_path / "log", 270)
    return tmp_path / "log"


@pytest.fixture(params=["folder", "file"])
def source_of(request, tmp_path):
    """A way to read what was published."""

    def read(folder):
        if request.param == "folder":
            return FolderLog(folder)
        (tmp_path / "packed.fslog").unlink(missing_ok=True)
        pack(folder, tmp_path / "packed.fslog")
        return FileLog(tmp_path / "packed.fslog")

    return read


def assert_holds(source, store, size: int | None = None) -> None:
    size = store.size if size is None else size
    assert check_whole(source).size == store.size
    assert list(source.entries(size)) == [entry(index) for index in range(size)]
    assert list(source.leaves(size)) == [leaf_hash(entry(index)) for index in range(size)]


# Publishing


@pytest.mark.parametrize("size", SIZES)
def test_what_was_published_is_read(tmp_path, store, source_of, size):
    grow(store, size)
    publish_all(store, tmp_path / "log")
    source = source_of(tmp_path / "log")
    assert source.note() == note(store)
    assert source.cosigned() is None
    assert_holds(source, store)


@pytest.mark.slow
def test_a_log_with_three_levels(tmp_path, store):
    for size in (65_535, 65_536, 70_000):
        grow(store, size)
        publish_all(store, tmp_path / "log")
        assert_holds(FolderLog(tmp_path / "log"), store)
    assert (tmp_path / "log/tile/2/000.p/1").exists()
    assert not (tmp_path / "log/tile/1/000.p").exists()
    pack(tmp_path / "log", tmp_path / "one")
    assert_holds(FileLog(tmp_path / "one"), store)


def test_the_files_are_those_of_the_format(tmp_path, store):
    grow(store, 257, documents=1)
    publish_all(store, tmp_path / "log", 256)
    [digest] = store.documents()
    found = files(tmp_path / "log")
    names = "tile/0/000 tile/0/001.p/1 tile/1/000.p/1 tile/entries/000 tile/entries/001.p/1 checkpoint"
    assert set(found) == {*names.split(), "checkpoint.cosigned", f"documents/{digest}"}
    assert found["tile/0/001.p/1"] == leaf_hash(entry(256))
    assert found["tile/1/000.p/1"] == store.tree.root(256)
    assert found["tile/entries/001.p/1"] == struct.pack(">H", len(entry(256))) + entry(256)
    assert found[f"documents/{digest}"] == document(0)
    assert (found["checkpoint"], found["checkpoint.cosigned"]) == (note(store), cosigned(store, 256))


def test_it_grows(tmp_path, store):
    log, sizes = tmp_path / "log", [0, 1, 3, 200, 255, 256, 258, 500, 513, 600]
    for size in sizes:
        grow(store, size)
        publish_all(store, log)
        for earlier in sizes[: sizes.index(size) + 1]:  # who still has an older checkpoint
            assert_holds(FolderLog(log), store, earlier)


def test_partial_files_go_when_the_full_one_is_there(tmp_path, store):
    log = tmp_path / "log"
    for size in (5, 9, 255):
        grow(store, size)
        publish_all(store, log)
    assert sorted(path.name for path in (log / "tile/0/000.p").iterdir()) == ["255", "5", "9"]
    grow(store, 256)
    publish_all(store, log)
    assert not list(log.rglob("*.p/5"))
    assert {path.name for path in log.rglob("*.p")} == {"000.p"}  # that of level 1


def test_only_what_changed_is_written(tmp_path, store):
    log = tmp_path / "log"
    grow(store, 520, documents=2)
    publish_all(store, log, 300)
    before = {path: path.stat().st_ino for path in log.rglob("*") if path.is_file()}
    assert count_points(lambda report: publish_all(store, log, 300)) == []
    with opened(tmp_path) as again:
        assert count_points(lambda report: publish_all(again, log, 300)) == []
    grow(store, 530)
    publish_all(store, log, 520)
    after = {path: path.stat().st_ino for path in log.rglob("*") if path.is_file()}
    changed = {str(path.relative_to(log)) for path in after if before.get(path) != after[path]}
    assert changed == {"checkpoint", "checkpoint.cosigned", "tile/0/002.p/18", "tile/entries/002.p/18"}


def test_files_that_were_found_right_are_not_read_again(tmp_path, store, monkeypatch):
    grow(store, 520, documents=2)
    publish_all(store, tmp_path / "log")

    def read(*_):
        raise AssertionError

    monkeypatch.setattr(type(store), "entries", read)
    monkeypatch.setattr(type(store), "document", read)
    publish_all(store, tmp_path / "log")


def test_a_cosigned_checkpoint_that_is_none_any_more_goes(folder, store):
    publish(store, folder, note(store), None)
    assert FolderLog(folder).cosigned() is None
    assert_holds(FolderLog(folder), store)


def test_who_relies_on_the_cosigned_checkpoint_finds_its_entries(store, folder, source_of):
    source = source_of(folder)
    assert source.cosigned() == cosigned(store, 270)
    assert_holds(source, store, 270)


def test_only_its_owner_can_write_what_is_published(folder):
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o600}


def test_a_checkpoint_of_what_is_not_durable_is_not_published(tmp_path, store):
    grow(store, 5)
    right = note(store, 4)
    store.stage(b"not flushed")
    with pytest.raises(ValueError, match="6 entries"):
        publish(store, tmp_path / "log", note(store), None)
    with pytest.raises(ValueError, match="5 entries"):
        publish(store, tmp_path / "log", right, cosigned(store, 5))
    with transaction(store):
        store.flush()
        with pytest.raises(ValueError, match="durably"):
            publish(store, tmp_path / "log", note(store), None)
    assert not (tmp_path / "log").exists()


def test_a_checkpoint_of_another_log_is_not_published(tmp_path, store):
    (tmp_path / "other").mkdir()
    with opened(tmp_path / "other") as other:
        other.stage(b"another")
        grow(other, 5)
        grow(store, 5)
        with pytest.raises(ValueError, match="5 entries"):
            publish(store, tmp_path / "log", note(other), None)


# What is torn


def delete(path):
    path.unlink()


def truncate(path):
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path):
    with path.open("ab") as file:
        file.write(b"\0")


def corrupt(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b"")


def beside(path):
    return path.with_name(path.name + ".elsewhere")


def lead_away(path):
    path.rename(beside(path))
    path.symlink_to(beside(path).name)


def name_twice(path):
    os.link(path, beside(path))


def turn_into_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


HARMS = (delete, truncate, lengthen, corrupt, empty, lead_away, name_twice, turn_into_a_pipe)


def read_all(folder, store) -> None:
    """Everything that a log has, as a reader checks it who knows the right roots."""
    source = FolderLog(folder)
    found = check_whole(source)
    assert (found.size, found.root) == (store.size, store.tree.root()), "wrong data"
    if source.cosigned() is None:
        raise MissingInput("a cosigned checkpoint that was published")
    if (source.note(), source.cosigned()) != (note(store), cosigned(store, 270)):
        raise FormatError("the signature of a note is not right")  # which whoever has the key sees
    for digest in store.documents():
        source.document(digest)


@pytest.mark.parametrize("harm", HARMS)
def test_harm_to_any_file_is_noticed_and_mended(tmp_path, store, folder, harm):
    read_all(folder, store)
    right = files(folder)
    for name in right:
        harm(folder / name)
        with pytest.raises(InputError):
            read_all(folder, store)
        with opened(tmp_path) as again:  # as after a restart
            publish_all(again, folder, 270)
        read_all(folder, store)
        beside(folder / name).unlink(missing_ok=True)
        assert files(folder) == right


def test_tiles_above_are_made_of_those_below(folder):
    corrupt(folder / "tile/1/000.p/1")
    leaves = FolderLog(folder).leaves(300)
    assert len([next(leaves) for _ in range(300)]) == 300
    with pytest.raises(FormatError, match="tile/1/000"):
        next(leaves)


@pytest.mark.parametrize("harm", [delete, truncate, lengthen, empty, lead_away, name_twice])
def test_harm_is_mended_by_a_running_process(store, folder, harm):
    right = files(folder)
    for name in right:
        harm(folder / name)
    publish_all(store, folder, 270)
    assert {name: data for name, data in files(folder).items() if not name.endswith("elsewhere")} == right


def test_a_folder_that_lost_everything_is_mended(tmp_path, store, folder):
    right = files(folder)
    folder.rename(tmp_path / "gone")
    publish_all(store, folder, 270)
    assert files(folder) == right


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_torn_is_not_packed(tmp_path, store, folder, harm):
    for name in files(folder):
        if name == "checkpoint.cosigned" and harm is delete:
            continue
        harm(folder / name)
        if name.startswith("documents/") and harm is delete:
            pack(folder, tmp_path / "out")  # whoever needs it will miss it
            (tmp_path / "out").unlink()
        elif not (name.startswith("checkpoint") and harm is corrupt):
            with pytest.raises(InputError):
                pack(folder, tmp_path / "out")
        assert not (tmp_path / ".out.fedprune-part").exists()
        (folder / name).unlink(missing_ok=True)
        beside(folder / name).unlink(missing_ok=True)
        publish_all(store, folder, 270)


# Hostile folders


def test_other_files_are_ignored(store, folder):
    for name in ("evil", "tile/evil", "tile/0/999", "tile/0/001.p/200", "documents/..evil", ".checkpoint.x"):
        (folder / name).write_bytes(b"evil")
    os.mkfifo(folder / "documents" / "pipe")
    read_all(folder, store)


@pytest.mark.parametrize("name", ["tile", "tile/0", "tile/0/001.p", "tile/entries", "documents"])
@pytest.mark.parametrize("kind", ["link", "pipe", "file"])
def test_folders_are_folders(tmp_path, store, folder, name, kind):
    (folder / name).rename(tmp_path / "elsewhere")
    if kind == "link":
        (folder / name).symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).write_bytes(b"")
    with pytest.raises(HostileFile):
        read_all(folder, store)


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_there_has_to_be_a_folder(tmp_path, kind):
    if kind == "a file":
        (tmp_path / "log").write_bytes(b"")
    with pytest.raises(MissingInput if kind == "missing" else HostileFile):
        FolderLog(tmp_path / "log").note()


def test_huge_files_are_refused_unread(store, folder):
    for name in files(folder):
        size = (folder / name).stat().st_size
        os.truncate(folder / name, 1 << 40)
        tracemalloc.start()
        try:
            with pytest.raises(InputError):
                read_all(folder, store)
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
        finally:
            tracemalloc.stop()
        os.truncate(folder / name, size)


@pytest.mark.parametrize("digest", ["..", "../checkpoint", "", "0" * 63, "0" * 65, "A" * 64, "0" * 64 + "\n", "/etc"])
def test_documents_are_named_by_digests_alone(folder, source_of, digest):
    with pytest.raises(FormatError):
        source_of(folder).document(digest)


def test_documents(store, folder, source_of):
    source, [digest, _] = source_of(folder), store.documents()
    assert source.document(digest) == source.document(digest, len(store.document(digest))) == store.document(digest)
    with pytest.raises(LimitExceeded):
        source.document(digest, len(store.document(digest)) - 1)
    with pytest.raises(MissingInput):
        source.document("0" * 64)


@pytest.mark.parametrize("size", [301, 512, 600, 65_536, 1 << 50])
def test_more_entries_than_there_are(folder, source_of, size):
    source = source_of(folder)
    with pytest.raises(MissingInput):
        list(source.entries(size))
    with pytest.raises(MissingInput):
        list(source.leaves(size))


# One file


def test_the_same_log_makes_the_same_file(tmp_path, store, folder):
    pack(folder, tmp_path / "one")
    (folder / "evil").write_bytes(b"evil")
    (folder / "tile/0/001.p/5").write_bytes(b"older")
    pack(folder, tmp_path / "two")
    publish_all(store, tmp_path / "other", 270)
    pack(tmp_path / "other", tmp_path / "three")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == (tmp_path / "three").read_bytes()
    pack(folder, tmp_path / "one")  # left as it is
    (tmp_path / "two").write_bytes(b"another")
    with pytest.raises(OutputExists):
        pack(folder, tmp_path / "two")


def test_the_file_is_that_of_the_format(tmp_path, store, folder):
    pack(folder, tmp_path / "one")
    data, at, found = (tmp_path / "one").read_bytes(), 7, {}
    assert data[:7] == b"FSLOG1\n"
    while at < len(data):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length]
        (size,) = struct.unpack_from("<Q", data, at + 2 + length)
        at += 10 + length + size
        found[name.decode()] = data[at - size : at]
    assert list(found) == sorted(found)
    assert at == len(data)
    assert found == files(folder)


def packed(*parts: tuple[bytes, bytes]) -> bytes:
    made = b"FSLOG1\n"
    for name, data in parts:
        made += struct.pack("<H", len(name)) + name + struct.pack("<Q", len(data)) + data
    return made


GOOD = packed((b"a", b"1"), (b"b", b"22"))
BAD_FILES = {
    "nothing": (b"", FormatError),
    "half a magic": (b"FSL", FormatError),
    "another magic": (b"FSLOG2\n", FormatError),
    "twice": (packed((b"a", b"1"), (b"a", b"1")), FormatError),
    "out of order": (packed((b"b", b"1"), (b"a", b"1")), FormatError),
    "no name": (packed((b"", b"1")), FormatError),
    "a long name": (packed((b"a" * 256, b"1")), LimitExceeded),
    "size beyond the file": (b"FSLOG1\n\1\0a" + struct.pack("<Q", 1 << 63) + b"1", FormatError),
    "something after it": (GOOD + b"\0", FormatError),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_bad_files_are_refused(tmp_path, what):
    data, error = BAD_FILES[what]
    (tmp_path / "log").write_bytes(data)
    with pytest.raises(error):
        FileLog(tmp_path / "log")


def test_a_file_cut_anywhere_is_refused(tmp_path):
    (tmp_path / "log").write_bytes(GOOD)
    assert FileLog(tmp_path / "log").read("b", 2) == b"22"
    whole = {len(packed()), len(packed((b"a", b"1"))), len(GOOD)}
    for size in range(len(GOOD)):
        (tmp_path / "log").write_bytes(GOOD[:size])
        if size not in whole:
            with pytest.raises(FormatError):
                FileLog(tmp_path / "log")


def test_a_file_with_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr("fedspallm_secure.storage.log_file.FILES_LIMIT", 1)
    (tmp_path / "log").write_bytes(GOOD)
    with pytest.raises(LimitExceeded):
        FileLog(tmp_path / "log")


def test_a_changed_file_is_noticed(tmp_path, folder):
    pack(folder, tmp_path / "one")
    right = (tmp_path / "one").read_bytes()
    step = max(1, len(right) // 300)
    for at in range(0, len(right), step):
        changed = bytearray(right)
        changed[at] ^= 0x40
        (tmp_path / "one").write_bytes(changed)
        try:
            source = FileLog(tmp_path / "one")
            check_whole(source)
            notes = source.note(), source.cosigned()
            documents = [source.document(path.name) for path in (folder / "documents").iterdir()]
        except FedSpaError:
            continue
        assert len(documents) == 2
        assert notes != (FolderLog(folder).note(), FolderLog(folder).cosigned())  # a signature: whoever checks it sees


def test_a_file_that_shrinks_after_it_was_opened(tmp_path, folder):
    pack(folder, tmp_path / "one")
    source = FileLog(tmp_path / "one")
    os.truncate(tmp_path / "one", 100)
    with pytest.raises(FormatError):
        source.note()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "missing"])
def test_only_a_plain_file_is_read(tmp_path, folder, kind):
    pack(folder, tmp_path / "one")
    path = tmp_path / "two"
    if kind == "link":
        path.symlink_to("one")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(MissingInput if kind == "missing" else HostileFile):
        FileLog(path)
