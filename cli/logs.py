"""What a service says while it runs, one line each on stderr: for people, or as JSON for whoever collects logs.

Records come from the library's loggers; the password, keys and texts never are in them.
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

from fedprune_cli import console

if TYPE_CHECKING:
    from fedspallm_secure.app.progress import Progress

_LIBRARY = "fedspallm_secure"
_INTERVAL = 30.0  # seconds between lines about a task still running
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_PLAIN = str | int | float | bool | None


class JsonLines(logging.Formatter):
    """One JSON object a line: at, level, source, message, and whatever else the record was given (`extra=`)."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, in ASCII."""
        line: dict[str, object] = {
            "at": moment(record.created),
            "level": record.levelname.lower(),
            "source": record.name.removeprefix(f"{_LIBRARY}."),
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _OWN:
                line.setdefault(name, value if isinstance(value, _PLAIN) else str(value))
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        return json.dumps(line, default=str)


class PlainLines(logging.Formatter):
    """Time, level where it is worth a look, and message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; what does not print is written as an escape."""
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        error = f": {record.exc_info[1]}" if record.exc_info and record.exc_info[1] is not None else ""
        return f"{moment(record.created)} {level}{console.shown(record.getMessage() + error)}"


class LoggedProgress:
    """Progress as log records: each task when it ends, and now and then while it runs."""

    def __init__(self) -> None:
        self._log = logging.getLogger(f"{_LIBRARY}.progress")
        self._started: dict[str, float] = {}
        self._told: dict[str, float] = {}

    def update(self, task: str, done: int, total: int, unit: str) -> None:
        """Log the end of a task, or how far it is if nothing was said for a while."""
        now = monotonic()
        start = self._started.setdefault(task, now)
        facts = {"task": task, "done": done, "total": total, "unit": unit, "seconds": round(now - start, 1)}
        if done >= total:
            self._started.pop(task)
            self._told.pop(task, None)
            self._log.info("%s: %d %s in %.1f s", task, total, console.counted(total, unit), now - start, extra=facts)
        elif now - self._told.setdefault(task, now) >= _INTERVAL:
            self._told[task] = now
            self._log.info("%s: %d of %d %s", task, done, total, unit, extra=facts)

    def say(self, line: str) -> None:
        """Log the line."""
        self._log.info("%s", line)


def moment(seconds: float) -> str:
    """UTC, to the millisecond, as RFC 3339 writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@contextmanager
def service_output(as_json: bool, bars: bool) -> "Iterator[Progress]":
    """Send the library's log records to stderr while a service runs, and yield where its progress goes.

    as_json: JSON lines; bars: progress for somebody who watches, instead of log records.
    """
    logger, handler = logging.getLogger(_LIBRARY), logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else PlainLines())
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        if bars and not as_json:
            with console.progress() as progress:
                yield progress
        else:
            yield LoggedProgress()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
