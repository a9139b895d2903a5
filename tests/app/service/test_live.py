"""What a running service says about this moment, and who believes it."""

import json
import os
import subprocess
import sys
import time

import pytest

from fedspallm_secure.app.service.live import FRESH, Live, LiveProgress, Rate, read_live


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def live(tmp_path):
    made = Live(tmp_path / "live.json", Clock())
    yield made
    made.close()


def read(path):
    for _ in range(200):
        if path.exists():
            return json.loads(path.read_bytes())
        time.sleep(0.01)
    raise AssertionError("nothing was written")


def move(live, done, key="k", direction="up", size=1000):
    live.transfer(key, direction, "server/hub", "contribution", 3, "7", done, size)


def test_everything_that_was_told_is_there(live, tmp_path):
    live.phase("round 3 is collecting")
    live.trouble("no connection", 112)
    live.trouble("no connection", 112)
    live.contact("member/west")
    live.work("prune", 2, 8, "layers")
    move(live, 100)
    found = live.snapshot()
    assert (found["phase"], found["trouble"]) == ("round 3 is collecting", "no connection")
    assert (found["errors"], list(found["contacts"])) == ({"112": 2}, ["member/west"])
    assert found["work"] == [{"task": "prune", "done": 2, "total": 8, "unit": "layers", "rate": 0.0}]
    (transfer,) = found["transfers"]
    assert (transfer["done"], transfer["size"], transfer["peer"]) == (100, 1000, "server/hub")
    assert found["pid"] == os.getpid()
    assert {"phase", "transfers", "pid", "at"} <= read(tmp_path / "live.json").keys()


def test_trouble_passes(live):
    live.trouble("no connection", 112)
    live.trouble("")
    assert (live.snapshot()["trouble"], live.snapshot()["errors"]) == ("", {"112": 1})


def test_only_what_moved_here_counts(live):
    move(live, 400)  # of a transfer that was broken off before
    move(live, 900)
    live.done("k")
    move(live, 0, "other", "down")
    move(live, 50, "other", "down")
    found = live.snapshot()
    assert found["bytes"] == {"up": 500, "down": 50}
    assert [one["key"] for one in found["transfers"]] == ["other"]


def test_work_ends(live):
    live.work("prune", 1, 2, "layers")
    live.work("prune", 2, 2, "layers")
    assert live.snapshot()["work"] == []


def test_a_rate_is_the_mean_at_first_and_then_forgets():
    rate = Rate(0, 0.0)
    assert rate.look(500, 1.0) == pytest.approx(500)
    assert rate.look(1000, 2.0) == pytest.approx(500)
    for second in range(3, 63):
        rate.look(1000 + (second - 2) * 100, float(second))
    assert rate.value == pytest.approx(100, rel=0.02)
    stalled = [rate.look(7000, float(second)) for second in (70, 80, 200)]
    assert stalled == sorted(stalled, reverse=True)
    assert stalled[-1] < 1


def test_a_rate_is_not_asked_too_often():
    rate = Rate(0, 0.0)
    assert rate.look(10**9, 0.01) == 0
    assert rate.look(100, 1.0) == pytest.approx(100)


def test_a_stalled_transfer_slows_down_in_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("fedspallm_secure.app.service.live._LEAST", 60.0)  # the writer looks too, and this clock stands
    clock = Clock()
    live = Live(tmp_path / "live.json", clock)
    move(live, 0)
    while not (tmp_path / "live.json").exists():  # the writer's first look is over
        time.sleep(0.01)
    clock.now += 1
    move(live, 800)
    assert live.snapshot()["transfers"][0]["rate"] == 800
    clock.now += 60
    assert live.snapshot()["transfers"][0]["rate"] < 20
    live.close()


def test_who_has_told_nothing_overwrites_nothing(tmp_path):
    path = tmp_path / "live.json"
    path.write_text("another's")
    other = Live(path)
    other.close()
    assert path.read_text() == "another's"


def test_the_file_goes_with_the_service(live, tmp_path):
    live.phase("x")
    read(tmp_path / "live.json")
    live.close()
    live.phase("too late")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_nothing_ends_no_service(tmp_path):
    (tmp_path / "file").write_text("")
    live = Live(tmp_path / "file" / "live.json")
    live.phase("x")
    live.close()
    assert live.snapshot()["phase"] == "x"


def test_the_file_is_private_and_never_half_there(live, tmp_path):
    live.phase("x")
    read(tmp_path / "live.json")
    assert (tmp_path / "live.json").stat().st_mode & 0o777 == 0o600


def test_progress_is_shown_and_told(live):
    told = []

    class Inner:
        def update(self, *words):
            told.append(words)

        def say(self, line):
            told.append(line)

    progress = LiveProgress(Inner(), live)
    progress.update("prune", 1, 3, "layers")
    progress.say("x")
    assert told == [("prune", 1, 3, "layers"), "x"]
    assert live.snapshot()["work"][0]["done"] == 1


class Bars:
    """Progress that has room for packages."""

    def __init__(self):
        self.told = []

    def update(self, task, done, total, unit):
        self.told.append((task, done, total, unit))

    def drop(self, task):
        self.told.append(task)

    def say(self, line):
        raise AssertionError(line)


def test_packages_on_their_way_have_bars(live):
    bars, size = Bars(), 1 << 20
    LiveProgress(bars, live)
    move(live, 100, size=size)
    move(live, size, size=size)
    live.done("k")
    live.done("k")
    task = "up: contribution 7, round 3, server/hub"
    assert bars.told == [(task, 100, size, "bytes"), (task, size, size, "bytes"), task]


def test_a_package_has_a_bar_as_soon_as_it_is_known_what_it_is(live):
    bars, size = Bars(), 1 << 20
    LiveProgress(bars, live)
    live.transfer("k", "up", "member/west", "package", 0, "*", 0, size)
    live.transfer("k", "up", "member/west", "log", 3, "*", 70_000, size)
    assert bars.told == [("up: log, round 3, member/west", 70_000, size, "bytes")]


def test_what_is_over_at_once_has_no_bar(live):
    bars = Bars()
    LiveProgress(bars, live)
    move(live, 100, size=1000)
    live.done("k")
    assert bars.told == []


def test_a_log_has_no_line_for_every_package(live):
    class Log:
        def update(self, *words):
            raise AssertionError(words)

        def say(self, line):
            raise AssertionError(line)

    LiveProgress(Log(), live)
    move(live, 0, size=1 << 20)
    live.done("k")


def said(path, later=0, **changes):
    path.write_text(json.dumps({"pid": os.getpid(), "at": time.time() + later, **changes}))
    return read_live(path, time.time())


def test_a_fresh_file_of_a_living_process_is_believed(tmp_path):
    assert said(tmp_path / "live.json", phase="x")["phase"] == "x"
    assert said(tmp_path / "live.json", pid=1) is not None  # somebody else's process


@pytest.mark.parametrize(
    "changes",
    [
        {"later": -FRESH - 5},
        {"later": FRESH + 60},
        {"at": None},
        {"at": "soon"},
        {"pid": 0},
        {"pid": -1},
        {"pid": 10**30},
        {"pid": "me"},
    ],
    ids=["old", "from the future", "no time", "no number", "no process", "a group", "huge", "text"],
)
def test_what_makes_no_sense_is_not_believed(tmp_path, changes):
    assert said(tmp_path / "live.json", **changes) is None


def test_a_process_that_has_ended_is_not_believed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert said(tmp_path / "live.json", pid=ended.pid) is None


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b"\xff", b"[" * 100_000], ids=["empty", "list", "cut", "bytes", "deep"]
)
def test_what_is_no_object_is_not_believed(tmp_path, data):
    (tmp_path / "live.json").write_bytes(data)
    assert read_live(tmp_path / "live.json", time.time()) is None
    assert read_live(tmp_path / "nothing.json", time.time()) is None
