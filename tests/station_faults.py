"""Faults at every call of a station that changes a disk, commits of SQLite among them.

    watch = Watch(step)
    with watch:
        ...             # step(number, name, call) is called in place of every such call

As `tests.faults`, whose calls of `os` are seen here too; and what is written through `Path.open`, and statements of
SQLite that make something durable: `COMMIT`, and what changes a row outside of a transaction.  What SQLite itself
writes for them is its own, and not seen: it is taken at its word that a commit is whole, or has not happened.
"""

import io
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, NoReturn
from unittest import mock

from fedspallm_secure.storage.journal import Journal
from tests import faults
from tests.faults import Outcome, Report, When

Step = Callable[[int, str, Callable[..., Any]], Any]
HALVES = frozenset({"write", "pwrite"})
_CHANGES = ("INSERT", "UPDATE", "DELETE", "COMMIT")


class Sql(Enum):
    """How a statement fails.  FULL: of its disk; BROKEN: an error of reading or writing."""

    FULL = sqlite3.SQLITE_FULL
    BROKEN = sqlite3.SQLITE_IOERR


class _Watched(sqlite3.Connection):
    """A connection that tells of what becomes durable.  Made while something watches, and of use only then."""

    step: Callable[[str, Callable[..., Any]], Any] | None = None

    def execute(self, statement: str, *values: Any) -> Any:
        word = statement.split(None, 1)[0].upper()
        durable = word == "COMMIT" or (word in _CHANGES and not self.in_transaction)
        if _Watched.step is None or not durable:
            return super().execute(statement, *values)
        name = "commit" if word == "COMMIT" else f"sql {word.lower()}"
        return _Watched.step(name, lambda **_: super(_Watched, self).execute(statement, *values))


_connect = sqlite3.connect


@contextmanager
def tellable() -> Iterator[None]:
    """Connections that are opened inside can be watched later."""
    with mock.patch.object(sqlite3, "connect", lambda *given, **options: _connect(*given, factory=_Watched, **options)):
        yield


@contextmanager
def watching(step: Step) -> Iterator[None]:
    """Call `step` in place of every call that changes the disk, in this thread; numbers count from 1."""
    count, thread = 0, threading.get_ident()

    def counted(name: str, call: Callable[..., Any]) -> Any:
        nonlocal count
        if threading.get_ident() != thread:
            return call()
        count += 1
        return step(count, name, call)

    real_open = io.open

    def watched_open(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if mode != "wb":
            return real_open(path, mode, *arguments, **options)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        return os.fdopen(descriptor, "wb")

    with faults._watching(lambda _, name, call: counted(name, call)), mock.patch.object(io, "open", watched_open):
        _Watched.step = counted
        try:
            yield
        finally:
            _Watched.step = None


@contextmanager
def telling(tell: Callable[[str], None]) -> Iterator[None]:
    """Tell what each transaction of a journal holds: kinds of records, facts, and what became of packages."""
    append, remember, settle = Journal.append, Journal.remember, Journal.settle

    def appended(self: Journal, round: int, records: Any) -> None:
        kept = tuple(records)
        for record in kept:
            tell(record.kind)
        append(self, round, kept)

    def remembered(self: Journal, kind: str, name: str, value: Any) -> None:
        tell(f"fact {kind.partition(' ')[0]}")
        remember(self, kind, name, value)

    def settled(self: Journal, digest: str, state: str, reason: str = "") -> None:
        rows = self.connection.execute("SELECT type FROM inbox WHERE digest = ?", (digest,)).fetchall()
        tell(f"{state} {rows[0][0]}")
        settle(self, digest, state, reason)

    with mock.patch.multiple(Journal, append=appended, remember=remembered, settle=settled):
        yield


def in_child(action: Callable[[Report], object]) -> Outcome:
    """`tests.faults`, of a child."""
    return faults._in_child(action)


def killing(point: int, when: When) -> Step:
    """A step that kills this process with signal 9 at call number `point`."""

    def step(number: int, name: str, call: Callable[..., Any]) -> Any:
        if number != point:
            return call()
        try:
            if when is When.AFTER:
                call()
            elif when is When.WITHIN and name in HALVES:
                call(half=True)
        finally:
            die()

    return step


def failing(point: int, code: int, lasting: bool) -> Step:
    """A step by which call number `point` fails with errno `code`; with `lasting` also all later ones."""

    def step(number: int, name: str, call: Callable[..., Any]) -> Any:
        if number < point or (number > point and not lasting):
            return call()
        if name != "commit" and not name.startswith("sql"):
            raise OSError(code, os.strerror(code))
        error = sqlite3.OperationalError("a fault")
        error.sqlite_errorcode = (Sql.FULL if code in {28, 122} else Sql.BROKEN).value
        raise error

    return step


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")
