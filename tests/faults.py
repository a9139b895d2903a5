"""Faults at every call that changes a disk: the process is killed there, or the call fails.

    points = count_points(action)                  # what `action` calls, in order: ["open", "write", "fsync", ...]
    outcome = run_and_kill(action, 3, When.AFTER)  # in a child, killed after its third such call
    failing(action, 3, errno.ENOSPC)               # here; the third such call fails, and errors come through

An action is a function of `report`, which tells the parent something (bytes) even if the child is killed right after.
Seen are calls of `os` by the thread that runs the action: those in CALLS, `os.open` only with O_CREAT, and what is
written through a file of `os.fdopen`.  The built-in `open` is not seen; code under test does not write with it.
"""

import io
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn
from unittest import mock

Report = Callable[[bytes], None]
Action = Callable[[Report], object]

CALLS = (
    "open",
    "write",
    "pwrite",
    "fsync",
    "fdatasync",
    "ftruncate",
    "posix_fallocate",
    "link",
    "rename",
    "replace",
    "unlink",
    "mkdir",
    "rmdir",
)
CHILD_SECONDS = 60
_real_fdopen = os.fdopen


class When(Enum):
    """Where a child is killed, seen from the call."""

    BEFORE = "before"
    WITHIN = "within"  # half of a write has reached the file; for other calls the same as BEFORE
    AFTER = "after"


@dataclass(frozen=True)
class Outcome:
    """What became of a child.  killed: by itself, at the point; reported: in order; error: the one raised, as text."""

    killed: bool
    reported: list[bytes]
    error: str


def count_points(action: Action) -> list[str]:
    """The names of all calls that `action` makes, in order.  It runs in a child, so here nothing is patched."""
    calls: list[str] = []

    def counted(report: Report) -> None:
        with _watching(lambda number, name, call: (calls.append(name), call())[1]):
            action(lambda _: None)
        report(" ".join(calls).encode())

    outcome = _in_child(counted)
    assert not outcome.error, outcome.error
    return outcome.reported[0].decode().split()


def run_and_kill(action: Action, point: int, when: When = When.AFTER) -> Outcome:
    """Run `action` in a child that kills itself at its call number `point`, counted from 1."""

    def step(number: int, name: str, call: Callable[..., Any]) -> Any:
        if number != point:
            return call()
        try:
            if when is When.AFTER:
                call()
            elif when is When.WITHIN and name in {"write", "pwrite"}:
                call(half=True)
        finally:  # also after a call that fails by itself
            _die()

    def killed(report: Report) -> None:
        with _watching(step):
            action(report)

    return _in_child(killed)


def failing(action: Action, point: int, code: int, *, lasting: bool = False) -> list[bytes]:
    """Run `action` here; call number `point` fails with errno `code`, and with `lasting` all later ones too.

    Returns what it reported.  Errors of the action come through.
    """
    reported: list[bytes] = []

    def step(number: int, name: str, call: Callable[..., Any]) -> Any:
        if number == point or (lasting and number > point):
            raise OSError(code, os.strerror(code))
        return call()

    with _watching(step):
        action(reported.append)
    return reported


def every_point(action: Action) -> list[tuple[int, str, When]]:
    """Every place where a child can be killed: before and after each call, and within each write."""
    return [
        (number, name, when)
        for number, name in enumerate(count_points(action), start=1)
        for when in When
        if when is not When.WITHIN or name in {"write", "pwrite"}
    ]


@contextmanager
def _watching(step: Callable[[int, str, Callable[..., Any]], Any]) -> Iterator[None]:
    """Call `step(number, name, call)` in place of every watched call."""
    thread, count = threading.get_ident(), 0

    def watched(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def replacement(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            if threading.get_ident() != thread or (name == "open" and not _creates(*arguments, **options)):
                return real(*arguments, **options)
            count += 1

            def call(half: bool = False) -> Any:
                if half:
                    descriptor, data, *rest = arguments
                    return real(descriptor, data[: len(data) // 2], *rest)
                return real(*arguments, **options)

            return step(count, name, call)

        return replacement

    real = {name: getattr(os, name) for name in CALLS if hasattr(os, name)}
    patches = {name: watched(name, function) for name, function in real.items()}
    with mock.patch.multiple(os, **patches, fdopen=_fdopen):
        yield


def _creates(path: Any, flags: int, *_: Any, **__: Any) -> bool:
    return bool(flags & os.O_CREAT)


class _WatchedFile(io.FileIO):
    """A file whose writes go through `os.write`, which may be patched."""

    def write(self, data: Any) -> int:
        return os.write(self.fileno(), data)


def _fdopen(descriptor: int, mode: str = "r", *arguments: Any, **options: Any) -> Any:
    if mode == "wb":
        return io.BufferedWriter(_WatchedFile(descriptor, "w"))
    return _real_fdopen(descriptor, mode, *arguments, **options)


def _in_child(action: Action) -> Outcome:
    """Run `action` in a fork that never comes back into the tests."""
    reader, writer = os.pipe()
    write, leave = os.write, os._exit  # as they are now, for the child patches `os`
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn where other threads run
        child = os.fork()

    def tell(kind: str, data: bytes) -> None:
        write(writer, f"{kind}{data.hex()}\n".encode())

    if child == 0:
        try:
            os.close(reader)
            signal.alarm(CHILD_SECONDS)
            action(lambda data: tell("r", data))
        except BaseException as error:
            tell("e", f"{type(error).__name__}: {error}".encode())
        finally:
            leave(0)
    os.close(writer)
    with _real_fdopen(reader, "rb") as pipe:
        lines = pipe.read().splitlines()
    status = os.waitpid(child, 0)[1]
    assert os.WIFEXITED(status) or os.WTERMSIG(status) == signal.SIGKILL, f"the child ended with {status}"
    told = {kind: [bytes.fromhex(line[1:].decode()) for line in lines if line[:1] == kind] for kind in (b"r", b"e")}
    return Outcome(os.WIFSIGNALED(status), told[b"r"], b"".join(told[b"e"]).decode())


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")
