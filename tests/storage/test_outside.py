"""Files from outside: a regular file with one name, opened once and bounded, or one of three errors."""

import errno
import os
import stat
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.errors import FedSpaError, HostileFile, LimitExceeded, MissingInput, Truncated
from fedspallm_secure.storage.outside import entries, open_entry, open_folder, open_outside, printable

LIMIT = 1000


def read(path: Path, limit: int = LIMIT) -> bytes:
    with open_outside(path, limit) as file:
        assert file.size == path.stat().st_size
        return file.read_exactly(file.size)


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "a file"
    path.write_bytes(b"content")
    return path


def test_a_plain_file_is_read(file):
    assert read(file) == b"content"
    with open_folder(file.parent) as folder, open_entry(folder, file.name, "shown", 7) as opened:
        assert (opened.name, opened.size) == ("shown", 7)
        assert opened.read_exactly(3) == b"con"
        assert not opened.at_end()
        assert opened.read_exactly(3) == b"ent"
        assert opened.at_end()


def test_an_empty_file_is_read(tmp_path):
    (tmp_path / "empty").touch()
    with open_outside(tmp_path / "empty", 0) as opened:
        assert opened.at_end()
        assert opened.read_exactly(0) == b""


def test_the_limit_is_the_last_size_that_is_allowed(file):
    assert read(file, 7) == b"content"
    with pytest.raises(LimitExceeded, match="has 7 bytes; at most 6"):
        read(file, 6)


def link(path: Path) -> None:
    (path.parent / "target").write_bytes(b"content")
    path.symlink_to("target")


def hard_link(path: Path) -> None:
    (path.parent / "target").write_bytes(b"content")
    path.hardlink_to(path.parent / "target")


def listening(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))  # like /dev/null
    except PermissionError:
        pytest.skip("this user may not make devices")


NOT_PLAIN = [
    (link, "is a symbolic link"),
    (lambda path: path.symlink_to("nowhere"), "is a symbolic link"),
    (lambda path: path.symlink_to(path), "is a symbolic link"),
    (Path.mkdir, "is a folder"),
    (os.mkfifo, "is a pipe"),
    (listening, "is a socket"),
    (device, "is a device"),
    (hard_link, "has 2 names"),
]


@pytest.mark.parametrize(("make", "message"), NOT_PLAIN)
def test_what_is_not_a_plain_file_is_not_opened(tmp_path, make, message, monkeypatch):
    """Not even opened: that alone can block, or start something in a device."""
    path = tmp_path / "thing"
    make(path)
    with open_folder(tmp_path) as folder:
        opened = []
        monkeypatch.setattr(os, "open", lambda *arguments, **options: opened.append(arguments))
        with pytest.raises(HostileFile, match=message), open_entry(folder, "thing", "thing", LIMIT):
            pass
    assert opened == []


@contextmanager
def exchanged(monkeypatch, swap):
    """Call `swap` after step 1 has looked and before step 2 opens."""
    real = os.lstat

    def lstat(*arguments, **options):
        status = real(*arguments, **options)
        monkeypatch.setattr(os, "lstat", real)
        swap()
        return status

    monkeypatch.setattr(os, "lstat", lstat)
    yield


EXCHANGES = [
    *(make for make, _ in NOT_PLAIN),
    lambda path: path.write_bytes(b"content"),
    lambda path: path.symlink_to("kept"),  # to the very file that was looked at
]


@pytest.mark.parametrize("make", EXCHANGES)
def test_what_is_exchanged_between_looking_and_opening_is_refused(file, make, monkeypatch):
    def swap() -> None:
        file.rename(file.with_name("kept"))  # so that its inode is not used again
        make(file)

    with (
        exchanged(monkeypatch, swap),
        pytest.raises(HostileFile, match="was exchanged"),
        open_outside(file, LIMIT),
    ):
        pass


def test_what_disappears_between_looking_and_opening_is_refused(file, monkeypatch):
    with exchanged(monkeypatch, file.unlink), pytest.raises(HostileFile, match="exchanged"), open_outside(file, LIMIT):
        pass


@pytest.mark.parametrize(
    ("swap", "error"),
    [
        (lambda file: file.with_name("second").hardlink_to(file), HostileFile),
        (lambda file: os.truncate(file, LIMIT + 1), LimitExceeded),
    ],
)
def test_what_changes_between_looking_and_opening_is_looked_at_again(file, swap, error, monkeypatch):
    with exchanged(monkeypatch, lambda: swap(file)), pytest.raises(error), open_outside(file, LIMIT):
        pass


def test_what_grows_between_looking_and_opening_has_its_new_size(file, monkeypatch):
    with exchanged(monkeypatch, lambda: os.truncate(file, 9)), open_outside(file, LIMIT) as opened:
        assert opened.size == 9


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE])
def test_what_cannot_be_opened_for_another_reason_is_missing(file, code, monkeypatch):
    with open_folder(file.parent) as folder:

        def refuse(*arguments, **options):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(MissingInput, match=os.strerror(code)), open_entry(folder, file.name, "x", LIMIT):
            pass


def test_an_unreadable_file_is_missing(file):
    if os.geteuid():
        file.chmod(0)
        with pytest.raises(MissingInput, match="Permission denied"):
            read(file)
        return
    file.chmod(0o600)
    file.parent.chmod(0o755)
    with open_folder(file.parent) as folder:
        os.seteuid(65534)
        try:
            with pytest.raises(MissingInput, match="Permission denied"), open_entry(folder, file.name, "x", LIMIT):
                pass
        finally:
            os.seteuid(0)


def test_a_file_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(MissingInput, match="No such file"):
        read(tmp_path / "nothing")
    with pytest.raises(MissingInput, match=r"cannot open .*No such file"):
        read(tmp_path / "nothing" / "file")
    with pytest.raises(MissingInput, match="too long"):
        read(tmp_path / ("x" * 256))


BAD_NAMES = ["", ".", "..", "/etc/passwd", "../x", "sub/x", "x/", "/", "a\0b", "\0", "\ud800"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_is_the_name_of_an_entry_and_nothing_else(tmp_path, name):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x").touch()
    (tmp_path / "x").touch()
    with (
        open_folder(tmp_path / "sub") as folder,
        pytest.raises(HostileFile, match="is not the name of a file"),
        open_entry(folder, name, name, LIMIT),
    ):
        pass


@pytest.mark.parametrize("path", [Path("a\0b"), Path("a\0/b"), Path("\ud800/b"), Path(".."), Path("/"), Path(), Path()])
def test_an_impossible_path_is_refused(path):
    with pytest.raises(HostileFile):
        read(path)


def test_a_folder_is_a_folder(file):
    with pytest.raises(HostileFile, match="is not a folder"), open_folder(file):
        pass
    with pytest.raises(HostileFile, match="is not a folder"):
        read(file / "x")
    os.mkfifo(file.with_name("pipe"))
    with pytest.raises(HostileFile), open_folder(file.with_name("pipe")):
        pass
    with pytest.raises(MissingInput), open_folder(file.with_name("nothing")):
        pass


def test_descriptors_do_not_leak(tmp_path, file):
    os.mkfifo(tmp_path / "pipe")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        read(file)
        for path, limit in ((tmp_path / "pipe", LIMIT), (file, 1), (tmp_path / "no", 1)):
            with pytest.raises(FedSpaError):
                read(path, limit)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_descriptors_are_not_inherited(file):
    with open_folder(file.parent) as folder, open_outside(file, LIMIT) as opened:
        assert not os.get_inheritable(folder)
        assert not os.get_inheritable(opened._descriptor)


def test_a_file_that_ends_early_is_truncated(file):
    with open_outside(file, LIMIT) as opened:
        os.truncate(file, 3)
        with pytest.raises(Truncated, match="a file ends before"):
            opened.read_exactly(7)


def test_short_reads_are_continued(file, monkeypatch):
    real = os.readv
    monkeypatch.setattr(os, "readv", lambda descriptor, buffers: real(descriptor, [buffers[0][:2]]))
    assert read(file) == b"content"


def test_a_disk_that_cannot_be_read_is_told(file, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    with open_outside(file, LIMIT) as opened:
        monkeypatch.setattr(os, "readv", fail)
        with pytest.raises(MissingInput, match=r"cannot read .*a file: Input/output error"):
            opened.read_exactly(1)
        monkeypatch.setattr(os, "read", fail)
        with pytest.raises(MissingInput, match=r"cannot read .*a file: Input/output error"):
            opened.at_end()


def test_entries_are_those_with_the_suffix(tmp_path):
    for name in ("b.fspkg", "a.fspkg", "c.FSPKG", "d", ".hidden.fspkg", ".fspkg", "e.fspkg.part"):
        (tmp_path / name).touch()
    (tmp_path / "folder.fspkg").mkdir()  # refused when it is opened, not passed over
    assert entries(tmp_path, ".fspkg", 8) == ["a.fspkg", "b.fspkg", "folder.fspkg"]
    with pytest.raises(LimitExceeded, match="more than 7 entries"):
        entries(tmp_path, ".fspkg", 7)


def test_entries_that_do_not_count_count_for_the_limit(tmp_path):
    """Somebody could keep the reader busy with names that are passed over."""
    for number in range(5):
        (tmp_path / str(number)).touch()
    with pytest.raises(LimitExceeded):
        entries(tmp_path, ".fspkg", 4)


@pytest.mark.parametrize("name", ["nothing", "a file", "a\0b", "\ud800"])
def test_a_folder_that_cannot_be_read_is_told(file, name):
    with pytest.raises((MissingInput, HostileFile), match=r"cannot open|is not a folder"):
        entries(file.with_name(name), ".fspkg", 10)


def test_a_folder_whose_entries_cannot_be_read_is_told(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(MissingInput, match=r"cannot read .*Input/output error"):
        entries(tmp_path, "", 10)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name-1.fspkg", "plain name-1.fspkg"),
        ("Köln.fspkg", "Köln.fspkg"),
        ("a\nb", r"a\nb"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("\udcff", r"\udcff"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("a\u2028b", r"a\u2028b"),
        ("a\0b", r"a\x00b"),
    ],
)
def test_names_are_shown_without_effect(tmp_path, name, shown):
    assert printable(name) == shown
    if "\0" not in name:
        with pytest.raises(MissingInput) as caught, open_outside(tmp_path / name, LIMIT):
            pass
        assert shown in str(caught.value)
    for call in (lambda path: entries(path, "", 1), open_and_close, lambda path: read(path / "x")):
        with pytest.raises(FedSpaError) as caught:
            call(tmp_path / name)
        assert shown in str(caught.value)


def open_and_close(folder):
    with open_folder(folder):
        pass


@given(st.text())
def test_any_text_can_be_shown(text):
    assert printable(text).isprintable()
    printable(text).encode()
