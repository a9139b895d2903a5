"""THREAT_MODEL section 3, "The medium": what lies there in place of a file, and what happens to it meanwhile."""

import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedspallm_secure.app import packages
from fedspallm_secure.app.imports import import_files
from fedspallm_secure.errors import (
    FedSpaError,
    HostileFile,
    LimitExceeded,
    TileMismatch,
    TrailingBytes,
    Truncated,
)
from fedspallm_secure.protocol.limits import FOLDER_LIMIT
from tests.attacks.hostile import after_looking, after_reading, listening
from tests.attacks.stage import Stage
from tests.ceremony import Ceremony
from tests.threats.bench import refused


@contextmanager
def at_once() -> Iterator[None]:
    """What waits longer than two seconds fails."""
    signal.setitimer(signal.ITIMER_REAL, 2)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this user may not make devices")


@pytest.mark.parametrize(
    "make",
    [
        Path.mkdir,
        os.mkfifo,
        listening,
        device,
        lambda path: path.symlink_to("good.fspkg"),
        lambda path: path.symlink_to(path),
    ],
    ids=["folder", "pipe", "socket", "device", "link", "link to itself"],
)
def test_what_is_not_a_plain_file_is_refused_at_once(stage: Stage, made: Ceremony, make: Callable[[Path], object]):
    """THREAT_MODEL T73: in place of a package, and in place of a document."""
    path = stage.medium / "x.fspkg"
    (stage.medium / "good.fspkg").write_bytes(stage.seal(b"x"))
    make(path)
    for read in (stage.open, stage.verify, packages.inspect):
        with refused(HostileFile, untouched=stage.out), at_once():
            read(path)
    home = made.home("member/north")
    with refused(HostileFile, untouched=home), at_once():
        import_files(home, [path], lambda root, pinned: None)


def test_a_file_with_two_names_is_refused(stage: Stage):
    """THREAT_MODEL T74: a hard link, under which somebody may change the file."""
    path = stage.medium / "x.fspkg"
    path.write_bytes(stage.seal(b"x"))
    (stage.folder / "second name").hardlink_to(path)
    with refused(HostileFile, untouched=stage.out):
        stage.open(path)


def aside(path: Path) -> Path:
    return path.rename(path.with_name("aside"))


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.with_name("other").rename(path),
        lambda path: path.symlink_to(aside(path)),
        lambda path: (aside(path), os.mkfifo(path)),
        aside,
    ],
    ids=["file", "link", "pipe", "nothing"],
)
def test_a_file_exchanged_before_it_is_opened_is_refused(stage: Stage, change: Callable[[Path], object]):
    """THREAT_MODEL T75: between looking at it and opening it."""
    path = stage.medium / "x.fspkg"
    for name in ("x.fspkg", "other"):
        (stage.medium / name).write_bytes(stage.seal(b"x"))
    with refused(HostileFile, untouched=stage.out), at_once(), after_looking(path, lambda: change(path)):
        stage.open(path)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-10, os.SEEK_END)
        file.write(bytes(10))


@pytest.mark.parametrize(
    ("change", "reads", "error"),
    [
        (overwrite, 4, TileMismatch),
        (lambda path: os.truncate(path, path.stat().st_size + 1), 5, TrailingBytes),
        (lambda path: os.truncate(path, path.stat().st_size - 1), 4, Truncated),
    ],
    ids=["changed", "longer", "shorter"],
)
def test_a_file_that_changes_while_it_is_read_is_refused(
    stage: Stage, change: Callable[[Path], object], reads: int, error: type[FedSpaError]
):
    """THREAT_MODEL T76: after its head was read and before its end was."""
    path = stage.medium / "x.fspkg"
    path.write_bytes(stage.seal(b"x"))
    with refused(error, untouched=stage.out), after_reading(reads, lambda: change(path)):
        stage.open(path)


def test_a_folder_with_too_many_entries_is_refused(stage: Stage):
    """THREAT_MODEL T77: one more than are read at once, none of which needs to be a package."""
    entry = stage.medium / "0"
    entry.touch()
    for number in range(FOLDER_LIMIT):
        os.link(entry, stage.medium / f"{number + 1}")
    with refused(LimitExceeded, untouched=stage.out):
        packages.packages_in([stage.medium])
