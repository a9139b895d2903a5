"""Sealing and opening, killed or failing at every call that changes the disk: whole or not at all, and once.

The calls are those of `tests.faults`, and the beginnings and commits of SQLite's transactions.
"""

import errno
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedspallm_secure import errors
from fedspallm_secure.app import packages
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.storage.register import open_register
from tests import faults
from tests.faults import When, count_points, every_point, failing, run_and_kill
from tests.parties import NOW, Federation

PLAIN = random.Random(1).randbytes((1 << 20) + 12345)  # two tiles
LUNGS = Federation()
NORTH, SOUTH = LUNGS["member/north"], LUNGS["member/south"]


class Database(sqlite3.Connection):
    """A database whose transactions are seen by `tests.faults`: as calls of os.fdatasync, which nobody else makes."""

    def execute(self, statement, *arguments):
        if statement not in ("BEGIN IMMEDIATE", "COMMIT"):
            return super().execute(statement, *arguments)
        try:
            return os.fdatasync(lambda: super(Database, self).execute(statement, *arguments))
        except OSError as error:
            full = error.errno == errno.ENOSPC
            said = sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
            said.sqlite_errorcode = sqlite3.SQLITE_FULL if full else sqlite3.SQLITE_IOERR
            raise said from error


@pytest.fixture(autouse=True)
def watched(monkeypatch):
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *arguments, **options: real(*arguments, factory=Database, **options))
    monkeypatch.setattr(os, "fdatasync", lambda call: call())
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # it is counted; nobody pulls the plug here
    monkeypatch.setattr("fedspallm_secure.app.packages.time.time", lambda: NOW)


class Home:
    """The folders of one sender and one recipient."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.plain, self.package, self.output = folder / "plain", folder / "p.fspkg", folder / "out"
        self.plain.write_bytes(PLAIN)

    def register(self, actor):
        return open_register(self.folder / f"{actor.party.id}.sqlite")

    def desk(self, actor, register) -> packages.Desk:
        return packages.Desk(actor.party, LUNGS.trust, register, self.folder / "evidence")

    def seal(self, path: Path | None = None) -> None:
        with self.register(NORTH) as register:
            packages.seal(
                self.desk(NORTH, register),
                self.plain,
                path or self.package,
                Party.parse("member/south"),
                NORTH.signer,
                3600,
                Kem.X25519,
                Silent(),
            )

    def open(self, output: Path | None = None) -> None:
        with self.register(SOUTH) as register:
            packages.open_sealed(
                self.desk(SOUTH, register),
                SOUTH.reader,
                SOUTH.secrets,
                self.package,
                output or self.output,
                Silent(),
            )

    def names(self) -> set[str]:
        return {entry.name for entry in self.folder.iterdir() if ".sqlite" not in entry.name} - {"plain"}

    def sequence(self, path: Path) -> int:
        return packages.inspect(path).context.sequence


# What has to hold when a run has ended somewhere, and that the same command completes afterwards


def check_sealing_completes(home: Home) -> None:
    assert home.names() <= {"p.fspkg", ".p.fspkg.fedprune-part"}
    used = 0
    if home.package.exists():
        used = home.sequence(home.package)
        with pytest.raises(errors.OutputExists):
            home.seal()
    else:
        home.seal()
    home.seal(home.folder / "q.fspkg")  # a number that was used does not come again
    assert used <= home.sequence(home.package) < home.sequence(home.folder / "q.fspkg")
    home.open()
    assert home.output.read_bytes() == PLAIN
    assert home.names() == {"p.fspkg", "q.fspkg", "out"}


def check_opening_completes(home: Home) -> None:
    assert home.names() <= {"p.fspkg", "out", ".out.fedprune-part"}
    if home.output.exists():
        assert home.output.read_bytes() == PLAIN
    try:
        home.open()
    except errors.ReplayedPackage:
        assert home.output.exists()
    assert home.output.read_bytes() == PLAIN
    assert home.names() == {"p.fspkg", "out"}
    with pytest.raises(errors.ReplayedPackage):
        home.open(home.folder / "again")
    assert home.names() == {"p.fspkg", "out"}


def sealing(folder: Path) -> Home:
    return Home(folder)


def opening(folder: Path) -> Home:
    home = Home(folder)
    home.seal()
    return home


Command = tuple[Callable[[Path], Home], Callable[[Home], None], Callable[[Home], None]]
COMMANDS: dict[str, Command] = {
    "seal": (sealing, Home.seal, check_sealing_completes),
    "open": (opening, Home.open, check_opening_completes),
}
CALLS = {
    "seal": {"open", "pwrite", "fsync", "rename", "fdatasync"},
    "open": {"open", "write", "fsync", "rename", "fdatasync", "unlink"},
}


@pytest.fixture(params=COMMANDS)
def command(request) -> tuple[str, Command]:
    return request.param, COMMANDS[request.param]


def homes(tmp_path: Path, prepare: Callable[[Path], Home]) -> Iterator[Home]:
    number = 0
    while True:
        number += 1
        yield prepare(tmp_path / str(number))


def test_killed_at_every_call(tmp_path, command):
    name, (prepare, run, check) = command
    fresh = homes(tmp_path, prepare)
    home = next(fresh)
    points = every_point(lambda _: run(home))
    assert {call for _, call, _ in points} >= CALLS[name] - {"unlink"}
    assert len(points) > 20
    for point, call, when in points:
        home = next(fresh)
        outcome = run_and_kill(lambda _, home=home: run(home), point, when)
        assert outcome.killed, (point, call, when, outcome)
        check(home)


@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, errors.DiskFull), (errno.EIO, errors.StorageError)])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_failing_at_every_call(tmp_path, command, code, error, lasting):
    """With `lasting` not even the draft can be removed; the next run does it."""
    _, (prepare, run, check) = command
    fresh = homes(tmp_path, prepare)
    first = next(fresh)
    for point, call in enumerate(count_points(lambda _: run(first)), start=1):
        home = next(fresh)
        with pytest.raises(errors.StorageError) as caught:
            failing(lambda _, home=home: run(home), point, code, lasting=lasting)
        assert type(caught.value) is error, (point, call)
        check(home)


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER])
def test_interrupted_at_every_call(tmp_path, command, when):
    """Somebody presses Ctrl-C: then everything is cleaned up that a kill would leave, and nothing more."""
    _, (prepare, run, check) = command
    fresh = homes(tmp_path, prepare)
    first = next(fresh)
    for point, _ in enumerate(count_points(lambda _: run(first)), start=1):
        home = next(fresh)

        def step(number, name, call, point=point):
            if (number, when) == (point, When.BEFORE):
                raise KeyboardInterrupt
            result = call()
            if number == point:
                raise KeyboardInterrupt
            return result

        with pytest.raises(KeyboardInterrupt), faults._watching(step):
            run(home)
        check(home)


def test_a_repeated_kill_at_the_same_call_is_survived(tmp_path, command):
    """A machine that always dies there makes no progress, and no harm."""
    _, (prepare, run, check) = command
    fresh = homes(tmp_path, prepare)
    first = next(fresh)
    for point, _ in enumerate(count_points(lambda _: run(first)), start=1):
        home = next(fresh)
        for _ in range(3):
            run_and_kill(lambda _, home=home: run(home), point, When.BEFORE)
        check(home)


def test_numbers_are_used_up_before_they_are_seen(tmp_path):
    """Whatever a killed run has shown anybody, the next one has another number."""
    home = sealing(tmp_path / "home")
    seen = set()
    for point, _, when in every_point(lambda _: sealing(tmp_path / "counted").seal()):
        run_and_kill(lambda _: home.seal(), point, when)
        for path in (home.package, home.folder / ".p.fspkg.fedprune-part"):
            try:
                number = home.sequence(path)
            except errors.InputError:
                continue
            assert number not in seen or path == home.package
            seen.add(number)
        home.package.unlink(missing_ok=True)
    home.seal()
    assert home.sequence(home.package) > max(seen)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(tmp_path, command, seed):
    """Not only between calls: inside SQLite, inside the library that encrypts, anywhere."""
    _, (prepare, run, check) = command
    draw = random.Random(seed)
    fresh = homes(tmp_path, prepare)
    home = next(fresh)
    start = time.monotonic()
    run(home)
    usual = time.monotonic() - start
    for _ in range(60):
        home = next(fresh)
        child = os.fork()
        if child == 0:
            try:
                run(home)
            finally:
                os._exit(0)
        time.sleep(draw.uniform(0, 1.2 * usual))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        check(home)
