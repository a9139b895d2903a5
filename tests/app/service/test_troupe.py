"""Processes that are started, watched, killed and never left behind; a few lines of Python stand for `fedprune`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedspallm_secure.app.service import troupe as module
from fedspallm_secure.app.service.troupe import Troupe
from fedspallm_secure.errors import RoundAborted

TELL = "import json, os, sys; print(json.dumps([sys.stdin.readline(), sys.argv, dict(os.environ), os.getpgrp()]))"
SLEEP = "import sys, time; sys.stdin.read(); print('ready', flush=True); time.sleep(60)"
SECONDS = 20.0


@pytest.fixture
def program(monkeypatch):
    def choose(code: str) -> None:
        monkeypatch.setattr(module, "PROGRAM", (sys.executable, "-c", code))

    return choose


def wait_for(condition) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return not status.parent.parent.exists()  # gone meanwhile; or there is no such file system here


def test_a_command_gets_the_password_through_a_pipe_alone(program, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPRUNE_PASSWORD", "of the user")
    program(TELL)
    with Troupe(tmp_path / "logs", "open sesame") as troupe:
        line, words, environment, group = troupe.run(["bundle", "export"])
    assert line == "open sesame\n"
    assert words[1:] == ["bundle", "export", "--password-fd", "0"]
    assert "open sesame" not in json.dumps([words, environment])
    assert not [name for name in environment if name.startswith("FEDPRUNE_")]
    assert environment["OMP_NUM_THREADS"] == "1"
    assert group != os.getpgrp(), "Ctrl-C at a terminal goes to a whole group"


def test_a_command_that_fails_is_told_with_what_it_said(program, tmp_path):
    program("import sys; sys.exit('fedprune: error: no such medium')")
    with Troupe(tmp_path, "x") as troupe, pytest.raises(RoundAborted, match=r"bundle export ended.*no such medium"):
        troupe.run(["bundle", "export"])


def test_a_service_that_ends_is_told_with_the_end_of_its_log(program, tmp_path):
    program(
        "import json, sys\n"
        "for n in range(20): print(json.dumps({'message': f'line {n}'}), file=sys.stderr)\n"
        "print(json.dumps({'message': 'stopped', 'error': 'DiskFull: no room'}), file=sys.stderr)\n"
        "sys.exit('plain words')"
    )
    with Troupe(tmp_path, "x") as troupe:
        troupe.start("north", ["client", "run"])
        wait_for(lambda: troupe._processes["north"].poll() is not None)
        with pytest.raises(RoundAborted) as caught:
            troupe.check()
    told = str(caught.value)
    assert told.startswith("north ended with code 1: ")
    assert "line 19 / stopped: DiskFull: no room / plain words" in told
    assert "line 3 " not in told
    assert "goes on where it stopped" in caught.value.hint


def test_one_is_killed_and_the_others_are_stopped(program, tmp_path):
    program(SLEEP)
    with Troupe(tmp_path, "x") as troupe:
        for name in ("north", "south"):
            troupe.start(name, ["client", "run"])
        wait_for(lambda: all("ready" in (tmp_path / f"{name}.log").read_text() for name in ("north", "south")))
        processes = dict(troupe._processes)
        troupe.kill("north")
        assert "north" not in troupe and "south" in troupe
        troupe.check()
    assert processes["north"].returncode == -signal.SIGKILL
    assert processes["south"].returncode == -signal.SIGTERM
    assert troupe._keeper.returncode == 0


def test_one_that_will_not_stop_is_killed(program, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    program("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP)
    with Troupe(tmp_path, "x") as troupe:
        troupe.start("north", ["client", "run"])
        wait_for(lambda: "ready" in (tmp_path / "north.log").read_text())
        process = troupe._processes["north"]
    assert process.returncode == -signal.SIGKILL


def test_nothing_is_left_when_the_one_who_started_them_is_killed(tmp_path):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from fedspallm_secure.app.service import troupe as module\n"
        f"module.PROGRAM = (sys.executable, '-c', {SLEEP!r})\n"
        f"troupe = module.Troupe(Path({str(tmp_path)!r}), 'x')\n"
        "troupe.start('north', [])\n"
        "print(troupe._processes['north'].pid, troupe._keeper.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    north, keeper = map(int, parent.stdout.readline().split())
    wait_for(lambda: "ready" in (tmp_path / "north.log").read_text())
    assert is_there(north)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not is_there(north))
    wait_for(lambda: not is_there(keeper))


def test_a_log_is_read_from_its_end_alone(program, tmp_path):
    program("pass")
    (tmp_path / "north.log").write_bytes(b"x" * (1 << 20) + b"\nthe end\n")
    with Troupe(tmp_path, "x") as troupe:
        assert troupe.last_words("north").endswith("/ the end")
        assert len(troupe.last_words("north")) < 20_000
        (tmp_path / "south.log").write_bytes(b"")
        assert troupe.last_words("south") == "it said nothing"
