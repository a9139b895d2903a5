"""Flushes that do not wait for a disk: what was written is there for every process, and nobody pulls the plug here.

Tests spend more time on waiting for disks than on everything else.  That the program flushes, in the right order, and
what it does if a flush fails, is still tested: its calls of `os.fsync` are made and seen.
"""

import fcntl
import functools
import os
import sqlite3
from typing import Any

import pytest

_FULL = "PRAGMA synchronous = FULL"
_fsync, _connect = os.fsync, sqlite3.connect


class _Unflushed(sqlite3.Connection):
    """A connection that leaves it to the operating system when pages reach the disk."""

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return super().execute("PRAGMA synchronous = OFF" if statement == _FULL else statement, *values)


def _flush(file: Any) -> None:
    """Fail for what is not an open file, as `os.fsync` does; otherwise nothing."""
    fcntl.fcntl(file, fcntl.F_GETFD)


def stop_flushing() -> None:
    """From here on, in this process and its forks."""
    os.fsync = _flush
    sqlite3.connect = functools.partial(_connect, factory=_Unflushed)


@pytest.fixture
def flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushes as the program makes them, for a test that looks at what they are."""
    monkeypatch.setattr(os, "fsync", _fsync)
    monkeypatch.setattr(sqlite3, "connect", _connect)
