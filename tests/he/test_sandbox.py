"""Whatever becomes of the process, its parent gets one error, in time, and no process stays behind."""

import io
import os
import signal
import subprocess
import sys
import time
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from fedspallm_secure.errors import CiphertextRefused, MissingExtra, WorkerLost
from fedspallm_secure.he import bfv, sandbox, worker
from fedspallm_secure.he.sandbox import Limits, Worker
from tests.he.vectors import slots_of

JOB = {"op": "none"}
FRAME = "import os, sys, time\ndef say(kind, data=b'', size=None):\n    head = (len(data) if size is None else size)"
FRAME += ".to_bytes(4, 'little') + kind\n    os.write(1, head + data)\n"
LOADED = FRAME + (
    f"import importlib.util\nspec = importlib.util.spec_from_file_location('w', {str(Path(worker.__file__))!r})\n"
    "w = importlib.util.module_from_spec(spec); spec.loader.exec_module(w)\n"
)
CONFINED = LOADED + "w.confine(int(sys.argv[1]), int(sys.argv[2]))\n"


@pytest.fixture
def acted(tmp_path, monkeypatch):
    """Start another program in the place of the worker."""

    def start(code, limits=None):
        script = tmp_path / "actor.py"
        script.write_text(code)
        monkeypatch.setattr(sandbox, "_SCRIPT", script)
        return Worker(JOB, limits or Limits(patience=5.0))

    return start


def gone(process):
    return process._process.returncode is not None


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("", "ended with status 0"),
        ("sys.exit(7)", "ended with status 7"),
        ("os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("os.kill(os.getpid(), 11)", "was ended by SIGSEGV"),
        ("os.write(1, b'garbage')", "answered more than it may"),
        ("os.write(1, b'\\1\\0')", "ended with status 0"),
        ("say(b'D', b'12', size=3)", "ended with status 0"),
        ("say(b'D', size=1 << 20 | 1)", "answered more than it may"),
        ("say(b'K')", "answered what it was not asked"),
        ("say(b'R')", "gave a reason that is none"),
        ('say(b\'R\', b\'{"code": "odd", "frame": 0}\')', "gave a reason that is none"),
        ('say(b\'R\', b\'{"code": "\\x1b[2J", "frame": 0}\')', "gave a reason that is none"),
        ('say(b\'R\', b\'{"code": "memory", "frame": 0}\' * 2)', "gave a reason that is none"),
        ('say(b\'R\', b\'{"code": "memory", "frame": 0}\')', "more memory was asked for"),
        ('say(b\'R\', b\'{"code": "limits", "frame": 0}\')', "limits of the process"),
        ("os.close(1); os.close(0); time.sleep(0.1)", "ended with status"),
    ],
    ids=lambda value: value[:40] if len(value) < 90 else None,
)
def test_whatever_it_does_is_one_error(acted, code, how):
    with acted(FRAME + code) as process, pytest.raises(WorkerLost, match=how):
        process.receive(worker.DATA, "a test")
    assert gone(process)


def test_an_answer_that_is_asked_for_arrives(acted):
    """The twin of the test above."""
    with acted(FRAME + "say(b'D', b'fine')") as process:
        assert bytes(process.receive(worker.DATA, "a test")) == b"fine"
    assert gone(process)
    assert not any(process._buffer[:64])


def test_refusals_have_their_own_errors(acted):
    with acted(FRAME + 'say(b\'R\', b\'{"code": "missing", "frame": 0}\')') as process:
        with pytest.raises(MissingExtra) as found:
            process.receive(worker.DATA, "a test")
        assert "[he]" in found.value.hint
    with (
        acted(FRAME + 'say(b\'R\', b\'{"code": "ciphertext", "frame": 3}\')') as process,
        pytest.raises(CiphertextRefused, match="a test: a ciphertext is malformed") as refused,
    ):
        process.receive(worker.DATA, "a test")
    assert refused.value.frame == 3


@pytest.mark.parametrize(
    "code",
    ["time.sleep(60)", "os.write(1, b'D'); time.sleep(60)", "while True: os.write(1, b'\\0'); time.sleep(0.2)"],
)
def test_it_does_not_hang(acted, code):
    """Neither silence nor a byte now and then holds its parent."""
    start = time.monotonic()
    with (
        acted(FRAME + code, Limits(patience=0.5)) as process,
        pytest.raises(WorkerLost, match=r"within 0\.5 seconds|answered what"),
    ):
        process.receive(worker.DATA, "a test")
    assert gone(process) and time.monotonic() - start < 5


def test_one_that_does_not_read_is_not_waited_for(acted):
    with acted(FRAME + "time.sleep(60)", Limits(patience=0.5)) as process, pytest.raises(WorkerLost, match="within"):
        for _ in range(100):
            process.send(worker.DATA, bytes(1 << 16))
    assert gone(process)


def test_one_that_floods_is_read_frame_by_frame(acted):
    """It says far more than it is asked; no more than a frame is ever held, and it is ended."""
    with acted(FRAME + "while True: say(b'D', bytes(1 << 16))") as process:
        for _ in range(3):
            process.send(worker.DATA, bytes(1 << 10))
            assert len(process.receive(worker.DATA, "a test")) == 1 << 16
    assert gone(process) and process._process.returncode == -signal.SIGKILL


def test_a_refusal_is_heard_even_if_it_reads_no_more(acted):
    code = 'say(b\'R\', b\'{"code": "ciphertext", "frame": 1}\'); os.close(0)'
    with acted(FRAME + code) as process:
        time.sleep(0.3)
        for _ in range(20):
            process.send(worker.DATA, bytes(1 << 16))
        with pytest.raises(CiphertextRefused):
            process.receive(worker.DATA, "a test")
        process.send(worker.DATA, b"ignored")


def test_it_may_be_killed_in_the_middle(parameters, pair, weights, members, monkeypatch):
    made = []
    genuine = Worker.__init__

    def remember(self, *arguments):
        genuine(self, *arguments)
        made.append(self)

    monkeypatch.setattr(Worker, "__init__", remember)
    slots = list(slots_of(parameters, *members[0]))[:1] * 40
    chunks = bfv.encrypt(parameters, pair.public, slots, 40 * parameters.weights_per_chunk)
    next(chunks)
    os.kill(made[0].pid, signal.SIGKILL)
    with pytest.raises(WorkerLost, match="SIGKILL"):
        list(chunks)
    assert gone(made[0])
    chunks = bfv.encrypt(parameters, pair.public, slots, 40 * parameters.weights_per_chunk)
    next(chunks)
    chunks.close()  # the caller loses interest
    assert gone(made[1])


# Limits


def test_memory_beyond_the_cap_is_not_there(acted):
    code = CONFINED + "try:\n    held = bytearray(400 << 20)\n    say(b'D')\nexcept MemoryError:\n    say(b'O')\n"
    for memory, kind in ((300 << 20, worker.DONE), (900 << 20, worker.DATA)):
        with acted(code, Limits(memory=memory)) as process:
            process.receive(kind, "a test")


def test_the_library_itself_is_held_by_the_cap(parameters):
    with pytest.raises(WorkerLost):
        bfv.generate(parameters, Limits(memory=20 << 20))
    bfv.generate(parameters, Limits(memory=128 << 20)).secret.wipe()


def test_processor_time_ends(acted):
    with (
        acted(CONFINED + "while True: pass", Limits(seconds=1, patience=20.0)) as process,
        pytest.raises(WorkerLost, match=r"SIGKILL|SIGXCPU"),
    ):
        process.receive(worker.DATA, "a test")


def test_it_can_write_no_file_and_open_few(acted, tmp_path):
    code = CONFINED + (
        f"import resource\npath = {str(tmp_path / 'out')!r}\n"
        "try:\n    file = open(path, 'wb', buffering=0); file.write(b'x'); say(b'D')\nexcept OSError:\n    say(b'O')\n"
        "try:\n    held = [open('/dev/null') for _ in range(40)]; say(b'D')\nexcept OSError:\n    say(b'O')\n"
        "say(b'O' if resource.getrlimit(resource.RLIMIT_CORE) == (0, 0) else b'D')\n"
        "status = ''\n"
    )
    with acted(code) as process:
        for _ in range(3):
            process.receive(worker.DONE, "a test")


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_it_gains_no_privileges(acted):
    code = CONFINED + "say(b'O' if 'NoNewPrivs:\\t1' in open('/proc/thread-self/status').read() else b'D')"
    with acted(code) as process:
        process.receive(worker.DONE, "a test")


def test_limits_that_cannot_be_set_are_an_error(acted):
    code = LOADED + "import resource\ndef no(*_): raise ValueError\nresource.setrlimit = no\nw.main()\n"
    with acted(code) as process, pytest.raises(WorkerLost, match="limits of the process"):
        process.receive(worker.DATA, "a test")
    for change in ({"memory": 0}, {"seconds": -1}, {"patience": 0.0}):
        with pytest.raises(ValueError):
            Limits(**change)


# What the process is told, and what it is not


def test_no_secret_is_in_its_arguments_or_environment(parameters, pair, monkeypatch):
    started = []
    genuine = subprocess.Popen

    def popen(words, **options):
        started.append((words, options))
        return genuine(words, **options)

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setenv("FEDPRUNE_PASSWORD", "a password")
    with bfv._keyed("decrypt", parameters, pair.secret.view, Limits(), 1):
        pass
    [(words, options)] = started
    assert words == [sys.executable, "-I", worker.__file__, str(256 << 20), "3600"]
    assert options["env"] == {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    assert options["cwd"] == "/" and not options.get("shell") and options["stderr"] == subprocess.DEVNULL


def test_a_secret_key_can_be_wiped_after_it_was_used(parameters, pair, weights, ciphertexts):
    copy = bfv.SecretKey(pair.secret.view)
    list(bfv.decrypt(parameters, copy, ciphertexts[0], weights, 1, repeat(0)))
    copy.wipe()
    with pytest.raises(ValueError, match="wiped"):
        list(bfv.decrypt(parameters, copy, ciphertexts[0], weights, 1, repeat(0)))


def test_the_parent_keeps_nothing_of_a_new_key(parameters, monkeypatch):
    seen = []
    genuine = Worker.close

    def close(self):
        before = bytes(self._buffer[: self._most])
        genuine(self)
        seen.append((any(before), any(self._buffer)))

    monkeypatch.setattr(Worker, "close", close)
    bfv.generate(parameters).secret.wipe()
    assert seen == [(True, False)]


def test_the_library_is_not_in_this_process():
    code = (
        "import sys; import fedspallm_secure.he.bfv; assert not {'tenseal', '_tenseal_cpp', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_process_at_all_is_an_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(WorkerLost, match="could not be started"):
        Worker(JOB, Limits())


def test_a_frame_that_is_too_large_is_a_mistake_of_the_caller(acted):
    with acted("") as process, pytest.raises(ValueError, match="1 MiB"):
        process.send(worker.DATA, bytes((1 << 20) + 1))


def test_the_worker_refuses_what_it_does_not_know():
    """Run by hand, without a parent."""
    for words, code in ((b"\xff\xff\xff\xffJ", b"excess"), (b"\0\0\0\0K", b"job"), (b"\2\0\0\0J{}", b"")):
        done = subprocess.run(
            [sys.executable, "-I", worker.__file__, str(1 << 30), "10"], input=words, capture_output=True, check=False
        )
        assert done.returncode == 1
        assert code in done.stdout and bool(done.stdout) == bool(code)


def test_a_frame_that_ends_early_is_the_end():
    for words in (b"", b"\5\0\0", b"\5\0\0\0J{}"):
        with pytest.raises(EOFError):
            worker.Pipe(io.BytesIO(words), io.BytesIO()).receive()
    assert worker.Pipe(io.BytesIO(b"\2\0\0\0J{}"), io.BytesIO()).receive() == (b"J", b"{}")


def test_numbers_keep_their_order_on_every_machine(monkeypatch):
    words = worker.array("q", [1])
    assert worker.little_endian(words).tolist() == [1]
    monkeypatch.setattr(sys, "byteorder", "big" if sys.byteorder == "little" else "little")
    assert worker.little_endian(worker.array("q", [1])).tolist() == [1 << 56]
    assert np.dtype("<i8").itemsize == 8
