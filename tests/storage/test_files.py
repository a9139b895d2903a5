"""Files appear complete or not at all, whatever fails: the body, the disk, another process."""

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.errors import (
    DiskFull,
    FedSpaError,
    ForeignFile,
    LimitExceeded,
    MissingInput,
    OutputExists,
    RunLocked,
    StorageError,
)
from fedspallm_secure.storage import files
from fedspallm_secure.storage.files import (
    atomic_folder,
    atomic_write,
    begin_flush,
    disk_errors,
    read_bounded,
    read_json,
    remove_tree,
    sha256_file,
    sole_writer,
    write_json,
)

FAILURES = [RuntimeError("stop"), KeyboardInterrupt(), SystemExit(3), ForeignFile("bad"), GeneratorExit()]
TOO_LONG = "x" * 300  # file systems take 255 bytes


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def failing(code: int):
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


# One file


def test_a_written_file_holds_what_was_written_and_nothing_else_is_left(tmp_path):
    with atomic_write(tmp_path / "a") as file:
        file.write(b"one")
        assert not (tmp_path / "a").exists()
        file.write(b"two")
    assert (tmp_path / "a").read_bytes() == b"onetwo"
    assert listing(tmp_path) == ["a"]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_a_failing_body_leaves_no_file_and_passes_its_own_error_on(tmp_path, failure):
    with pytest.raises(type(failure)), atomic_write(tmp_path / "a") as file:
        file.write(b"half")
        raise failure
    assert listing(tmp_path) == []


@pytest.mark.parametrize("failure", FAILURES[:2], ids=lambda failure: type(failure).__name__)
def test_a_failing_body_leaves_the_file_that_was_there(tmp_path, failure):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(type(failure)), atomic_write(tmp_path / "a") as file:
        file.write(b"new")
        raise failure
    assert (tmp_path / "a").read_bytes() == b"old"
    assert listing(tmp_path) == ["a"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("step", ["fsync", "publish"])
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, monkeypatch, code, step):
    monkeypatch.setattr(*((files.os, "fsync") if step == "fsync" else (files, "publish")), failing(code))
    with pytest.raises(DiskFull, match=r"no space left.*/a$") as caught, atomic_write(tmp_path / "a") as file:
        file.write(b"x")
    assert caught.value.hint
    assert listing(tmp_path) == []


def test_other_disk_errors_are_storage_errors_with_the_systems_words(tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "fsync", failing(errno.EIO))
    with pytest.raises(StorageError, match="Input/output error") as caught, atomic_write(tmp_path / "a") as file:
        file.write(b"x")
    assert not isinstance(caught.value, DiskFull)
    assert listing(tmp_path) == []


def test_data_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    """A crash after the rename must not find an empty file: so content is synced first, the folder afterwards."""
    done = []
    fsync, replace = os.fsync, Path.replace

    def recording_fsync(descriptor):
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        fsync(descriptor)

    def recording_replace(source, target):
        done.append("name")
        return replace(source, target)

    monkeypatch.setattr(files.os, "fsync", recording_fsync)
    monkeypatch.setattr(Path, "replace", recording_replace)
    write_json(tmp_path / "a.json", 1)
    assert done == ["content", "name", "folder"]


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system takes no advice about files")
def test_writing_begins_where_it_is_told(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *advice: told.append(advice))
    with atomic_write(tmp_path / "a") as file:
        file.write(b"12345")
        begin_flush(file, 3)
        assert told == [(file.fileno(), 3, 0, os.POSIX_FADV_DONTNEED)]


@pytest.mark.parametrize("system", ["advises", "refuses", "knows none"])
def test_a_file_holds_what_was_written_whatever_becomes_of_the_advice(tmp_path, monkeypatch, system):
    if system == "refuses":
        monkeypatch.setattr(os, "posix_fadvise", _refuse, raising=False)
        monkeypatch.setattr(os, "POSIX_FADV_DONTNEED", 4, raising=False)
    if system == "knows none":
        monkeypatch.delattr(os, "posix_fadvise", raising=False)
    with atomic_write(tmp_path / "a") as file:
        for piece in range(5):
            start = file.tell()
            file.write(bytes([piece]) * 5000)
            begin_flush(file, start)
    assert (tmp_path / "a").read_bytes() == b"".join(bytes([piece]) * 5000 for piece in range(5))


def _refuse(*advice):
    raise OSError(errno.EINVAL, "no")


@pytest.mark.parametrize("target", ["missing/a", "file/a", "folder", TOO_LONG])
def test_a_file_that_cannot_be_written_there_is_a_storage_error(tmp_path, target):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    before = listing(tmp_path)
    with pytest.raises(StorageError), atomic_write(tmp_path / target) as file:
        file.write(b"x")
    assert listing(tmp_path) == before


LIMITED = """
import resource, signal, sys
from pathlib import Path
from fedspallm_secure.errors import DiskFull
from fedspallm_secure.storage.files import atomic_folder, atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
out = Path(sys.argv[1])
for size in (1, 100_000):  # the first flushes at the end, the second inside the body
    try:
        with atomic_write(out / "file") as file:
            for _ in range(100_000 // size):
                file.write(b"x" * size)
    except DiskFull as error:
        print("file", error)
try:
    with atomic_folder(out / "folder") as folder:
        (folder / "small").write_bytes(b"x")
        (folder / "large").write_bytes(b"x" * 100_000)
except DiskFull as error:
    print("folder", error)
"""


def test_a_real_limit_of_the_system_is_a_full_disk_and_leaves_nothing(tmp_path):
    result = run_python(LIMITED, tmp_path)
    assert result.returncode == 0, result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["file", "file", "folder"]
    assert str(tmp_path) in result.stdout
    assert listing(tmp_path) == []


# A folder


def test_a_folder_appears_with_all_its_content(tmp_path):
    out = tmp_path / "new" / "out"
    with atomic_folder(out) as work:
        (work / "a").write_text("x")
        assert not out.exists()
    assert listing(tmp_path) == ["new", "new/out", "new/out/a"]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_a_failing_body_leaves_no_folder(tmp_path, failure):
    with pytest.raises(type(failure)), atomic_folder(tmp_path / "out") as work:
        (work / "deep").mkdir()
        (work / "deep" / "a").write_text("x")
        raise failure
    assert listing(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "folder", "full folder", "link"])
def test_what_is_already_there_is_refused_and_left_alone(tmp_path, kind):
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("precious")
    elif kind == "link":
        (tmp_path / "elsewhere").mkdir()
        out.symlink_to(tmp_path / "elsewhere")
    else:
        out.mkdir()
        if kind == "full folder":
            (out / "a").write_text("precious")
    before = listing(tmp_path)
    with pytest.raises(OutputExists, match="already exists") as caught, atomic_folder(out):
        pytest.fail("the body must not run")
    assert "--out" in caught.value.hint
    assert listing(tmp_path) == before


def test_a_dangling_link_is_not_replaced(tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError), atomic_folder(tmp_path / "out") as work:
        (work / "a").write_text("x")
    assert (tmp_path / "out").is_symlink()
    assert listing(tmp_path) == ["out"]


def test_what_appears_there_in_the_meantime_is_not_overwritten(tmp_path):
    with pytest.raises(StorageError), atomic_folder(tmp_path / "out") as work:
        (work / "a").write_text("mine")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "b").write_text("theirs")
    assert listing(tmp_path) == ["out", "out/b"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_no_folder(tmp_path, code):
    with pytest.raises(DiskFull), atomic_folder(tmp_path / "out") as work:
        (work / "a").write_text("x")
        raise OSError(code, "full")
    assert listing(tmp_path) == []


def test_a_parent_that_is_a_file_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError), atomic_folder(tmp_path / "file" / "out"):
        pytest.fail("the body must not run")


def test_a_name_that_the_file_system_refuses_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError), atomic_folder(tmp_path / TOO_LONG):
        pytest.fail("the body must not run")


# JSON


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_json_comes_back_equal_and_in_one_spelling(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "a.json"
    write_json(path, value)
    assert read_json(path) == value
    first = path.read_bytes()
    write_json(path, read_json(path))
    assert path.read_bytes() == first


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": {1, 2}}, {"a": b"x"}])
def test_what_json_cannot_say_leaves_no_file(tmp_path, value):
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a.json", value)
    assert listing(tmp_path) == []


BAD_JSON = {
    "empty": b"",
    "text": b"hello",
    "half": b'{"a": 1',
    "two values": b"{} {}",
    "not UTF-8": b'"\xff\xfe\xfa"',
    "zero bytes": b"\0\0\0",
    "single quotes": b"{'a': 1}",
    "deep lists": b"[" * 200_000,
    "deep objects": b'{"a":' * 200_000,
    "deep and balanced": b"[" * 100_000 + b"]" * 100_000,
    "a number of many digits": b"1" * 10_000,
}


@pytest.mark.parametrize("content", BAD_JSON.values(), ids=BAD_JSON)
def test_what_is_no_json_is_a_foreign_file_by_name(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ForeignFile, match=r"a\.json is not valid JSON"):
        read_json(path)


@given(st.binary(max_size=40))
def test_any_bytes_are_json_or_an_input_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_bytes(content)
    try:
        read_json(path)
    except ForeignFile:
        return
    json.loads(content)


# Reading


def test_reading_is_bounded_to_the_byte(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(LimitExceeded, match="larger than 4 bytes"):
        read_bounded(path, 4)
    path.write_bytes(b"")
    assert read_bounded(path, 0) == b""


def test_a_file_far_beyond_the_limit_is_not_read_to_its_end(tmp_path):
    with (tmp_path / "a").open("wb") as file:
        file.truncate(1 << 40)  # sparse: a tebibyte that takes no room, and that does not fit into memory
    with pytest.raises(LimitExceeded):
        read_bounded(tmp_path / "a", 1000)


def test_json_is_bounded_too(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('"' + "x" * 100 + '"')
    assert read_json(path, 102)
    with pytest.raises(LimitExceeded):
        read_json(path, 101)


@pytest.mark.parametrize("name", ["missing", "folder", "file/a", TOO_LONG])
@pytest.mark.parametrize(
    "read", [lambda path: read_bounded(path, 9), read_json, sha256_file], ids=["bytes", "json", "sha"]
)
def test_what_cannot_be_read_is_missing_input_by_name(tmp_path, name, read):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(MissingInput, match=name):
        read(tmp_path / name)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (2 << 20) + 5])
def test_digests_are_those_of_the_whole_file(tmp_path, size):
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "a").write_bytes(content[:size])
    assert sha256_file(tmp_path / "a") == hashlib.sha256(content[:size]).hexdigest()


# One writer


HOLDER = """
import sys
from pathlib import Path
from fedspallm_secure.storage.files import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_held_by_another_process_is_refused_until_it_ends_or_dies(tmp_path):
    out = tmp_path / "new" / "out"
    for end in ("leave", "kill"):
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with pytest.raises(RunLocked, match="another process is working in") as caught, sole_writer(out):
                pytest.fail("the body must not run")
            assert "--out" in caught.value.hint
            if end == "kill":
                other.kill()
            else:
                other.communicate()
        with sole_writer(out):
            pass


def test_the_lock_is_given_back_when_the_body_fails(tmp_path):
    with pytest.raises(RuntimeError), sole_writer(tmp_path / "out"):
        raise RuntimeError
    with sole_writer(tmp_path / "out"):
        pass


def test_two_folders_are_held_side_by_side(tmp_path):
    with (
        sole_writer(tmp_path / "a"),
        sole_writer(tmp_path / "b"),
        pytest.raises(RunLocked),
        sole_writer(tmp_path / "a"),
    ):
        pytest.fail("the body must not run")


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError), sole_writer(tmp_path / "file"):
        pytest.fail("the body must not run")


@pytest.mark.parametrize("error", [BrokenPipeError(errno.EPIPE, "Broken pipe"), FileNotFoundError(2, "gone")])
def test_errors_of_the_body_are_not_taken_for_errors_of_the_lock(tmp_path, error):
    """A closed pipe or a missing file inside a run must not read "cannot lock"."""
    with pytest.raises(type(error)), sole_writer(tmp_path / "out"):
        raise error


# The rest


def test_only_errors_of_the_system_are_translated():
    with pytest.raises(KeyError), disk_errors(Path("a")):
        raise KeyError("x")
    with pytest.raises(StorageError, match="cannot write a: odd"), disk_errors(Path("a")):
        raise OSError("odd")


def test_removing_a_tree_removes_it_and_nothing_is_fine_too(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    remove_tree(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    remove_tree(tmp_path / "a")


def test_a_file_is_not_removed_as_a_tree(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(FedSpaError):
        remove_tree(tmp_path / "a")
    assert (tmp_path / "a").exists()


def test_a_link_is_not_followed_when_a_tree_is_removed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "a").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    with pytest.raises(StorageError):
        remove_tree(tmp_path / "link")
    assert (tmp_path / "precious" / "a").exists()
