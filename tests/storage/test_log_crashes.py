"""A log that is written and published, killed or failing at every call that changes the disk.

What was flushed is never lost, and the checkpoint in the folder always stands for entries that are there.
"""

import errno
import os
import random
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from fedspallm_secure.errors import DiskFull, MissingInput, StorageError
from fedspallm_secure.storage.journal import Journal, open_journal
from fedspallm_secure.storage.log_folder import FolderLog
from fedspallm_secure.storage.log_reader import check_whole, size_of
from fedspallm_secure.storage.log_store import LogStore
from fedspallm_secure.storage.register import open_register
from tests import station_faults
from tests.faults import Action, When, count_points, every_point, failing, run_and_kill
from tests.storage.logs import document, entry, files, grow, note, opened, publish_all

SIZES = {"first": (0, 3), "a full one": (250, 258)}  # published before, and then
COSIGNED = {"first": 2, "a full one": 254}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # it is counted; nobody pulls the plug here


class Scene:
    """A log that was published before, and has grown.  Copies of it are what is killed."""

    def __init__(self, folder: Path, what: str) -> None:
        folder.mkdir()
        self._folder, self._number = folder / "start", 0
        self.before, self.after = SIZES[what]
        self.cosigned = COSIGNED[what]
        self._folder.mkdir()
        with opened(self._folder) as store:
            if self.before:
                grow(store, self.before, documents=1)
                publish_all(store, self._folder / "log", 249)
            grow(store, self.after, documents=2)
            self.notes = [note(store, self.before), note(store)]
        shutil.copytree(self._folder, folder / "right")
        self.publish(folder / "right")
        self.right = files(folder / "right/log")

    def copy(self) -> Path:
        self._number += 1
        return Path(shutil.copytree(self._folder, self._folder.with_name(str(self._number))))

    def publish(self, folder: Path) -> None:
        with opened(folder) as store:
            publish_all(store, folder / "log", self.cosigned)

    def publishing(self) -> Action:
        """Publishes in a copy that is made now."""
        return partial(lambda folder, _: self.publish(folder), self.copy())

    def check(self, folder: Path) -> None:
        """What has to hold when a run has ended somewhere, and that the next one completes it."""
        source = FolderLog(folder / "log")
        try:
            shown = source.note()
        except MissingInput:
            assert not self.before
        else:
            assert shown in self.notes
            check_whole(source)
            for size in {self.before, size_of(shown)}:
                assert list(source.entries(size)) == [entry(index) for index in range(size)]
        self.publish(folder)
        assert files(folder / "log") == self.right
        shutil.rmtree(folder)


@pytest.fixture(params=SIZES)
def scene(request, tmp_path):
    return Scene(tmp_path / "scene", request.param)


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["first", "a full one"], indirect=True)
def test_publishing_killed_at_every_call(scene):
    points = every_point(scene.publishing())
    assert {call for _, call, _ in points} >= {"open", "write", "fsync", "replace"}
    for point, call, when in points:
        folder = scene.copy()
        outcome = run_and_kill(lambda _, folder=folder: scene.publish(folder), point, when)
        assert outcome.killed, (point, call, when, outcome)
        scene.check(folder)


def test_partial_tiles_go_after_the_checkpoint(tmp_path):
    scene = Scene(tmp_path / "scene", "a full one")
    calls = count_points(scene.publishing())
    assert "rmdir" in calls
    assert "unlink" in calls
    last_replaced = len(calls) - calls[::-1].index("replace")
    assert calls.index("rmdir") > last_replaced


@pytest.mark.parametrize(("code", "lasting"), [(errno.ENOSPC, False), (errno.EIO, True)], ids=["once", "from then on"])
def test_publishing_failing_at_every_call(scene, code, lasting):
    for point, call in enumerate(count_points(scene.publishing()), start=1):
        folder = scene.copy()
        with pytest.raises(StorageError) as caught:
            failing(lambda _, folder=folder: scene.publish(folder), point, code, lasting=lasting)
        assert type(caught.value) is (DiskFull if code == errno.ENOSPC else StorageError), (point, call)
        scene.check(folder)


def test_killed_again_and_again(scene):
    """Whoever always dies at one call makes no progress there, and no harm."""
    for point in range(1, len(count_points(scene.publishing())), 5):
        folder = scene.copy()
        for _ in range(3):
            run_and_kill(lambda _, folder=folder: scene.publish(folder), point, When.BEFORE)
        scene.check(folder)


# Flushing, together with the journal


class Service:
    """Steps of a server: each adds entries, a document and a fact, and then publishes."""

    STEPS = 2

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "register.sqlite"
        folder.mkdir()
        with open_register(self.path):
            pass

    def run(self, report) -> None:
        with open_journal(self.path, "urn:x", b"k" * 32) as journal:
            store = LogStore(journal.connection, self.path)
            publish_all(store, self.folder / "log", store.size)
            for step in range(int(journal.recall("step", "*", 0)), self.STEPS):
                self.take_step(journal, store, step)
                report(b"%d" % store.size)
                publish_all(store, self.folder / "log", store.size)

    def take_step(self, journal: Journal, store: LogStore, step: int) -> None:
        for index in range(store.size, store.size + 2 + step):
            store.stage(entry(index))
        store.keep_document(document(step))
        store.keep_note(b"note %d" % step, step, bytes(32))
        try:
            with journal.transaction():
                journal.remember("step", "*", step + 1)
                store.flush()
        except BaseException:
            store.drop_staged()
            raise

    def check(self, acknowledged: int) -> None:
        """All that was acknowledged is there, whole steps are, and what was published is what is there."""
        with open_journal(self.path, "urn:x", b"k" * 32) as journal:
            store = LogStore(journal.connection, self.path)
            steps = int(journal.recall("step", "*", 0))
            assert store.size == sum(2 + step for step in range(steps)) >= acknowledged
            assert list(store.entries(0, store.size)) == [entry(index) for index in range(store.size)]
            assert len(store.documents()) == len(list(store.notes())) == steps
            source = FolderLog(self.folder / "log")
            try:
                found = check_whole(source)
            except MissingInput:
                found = None
            if found is not None:
                assert found.root == store.tree.root(found.size)
        self.run(lambda _: None)
        with opened(self.folder) as store:
            assert check_whole(FolderLog(self.folder / "log")).root == store.tree.root()
            assert store.size == sum(2 + step for step in range(self.STEPS))


@pytest.mark.parametrize("where", ["at commits", pytest.param("everywhere", marks=pytest.mark.slow)])
def test_a_service_killed(tmp_path, where):
    first = Service(tmp_path / "counted")

    def counted(report):
        calls = []
        with station_faults.tellable(), station_faults.watching(lambda _, name, call: (calls.append(name), call())[1]):
            first.run(lambda _: None)
        report(" ".join(calls).encode())

    calls = station_faults.in_child(counted).reported[0].decode().split()
    assert calls.count("commit") >= Service.STEPS
    for point, call in enumerate(calls, start=1):
        for when in When:
            if when is When.WITHIN and call not in station_faults.HALVES:
                continue
            if where == "at commits" and call != "commit":
                continue
            service = Service(tmp_path / f"{point} {when.value}")

            def killed(report, service=service, point=point, when=when):
                with station_faults.tellable(), station_faults.watching(station_faults.killing(point, when)):
                    service.run(report)

            outcome = station_faults.in_child(killed)
            assert outcome.killed, (point, call, when, outcome)
            service.check(max(map(int, outcome.reported), default=0))
            shutil.rmtree(service.folder)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_commit_that_fails(tmp_path, code):
    with station_faults.tellable():
        service = Service(tmp_path / "service")
        with open_journal(service.path, "urn:x", b"k" * 32) as journal:
            store = LogStore(journal.connection, service.path)
            service.take_step(journal, store, 0)
            root = store.tree.root()
            with pytest.raises(StorageError), station_faults.watching(station_faults.failing(1, code, False)):
                service.take_step(journal, store, 1)
            assert (store.size, store.flushed, store.tree.root()) == (2, 2, root)
            service.take_step(journal, store, 1)
            assert list(store.entries(0, 5)) == [entry(index) for index in range(5)]
    service.check(5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_service_killed_at_any_moment(tmp_path, seed):
    """Not only between calls: inside SQLite, anywhere."""
    draw = random.Random(seed)
    start = time.monotonic()
    Service(tmp_path / "usual").run(lambda _: None)
    usual = time.monotonic() - start
    for number in range(60):
        service = Service(tmp_path / str(number))
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                service.run(lambda size, writer=writer: os.write(writer, size + b"\n"))
            finally:
                os._exit(0)
        os.close(writer)
        time.sleep(draw.uniform(0, 1.2 * usual))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reader, "rb") as pipe:
            acknowledged = [int(line) for line in pipe.read().splitlines()]
        service.check(max(acknowledged, default=0))
