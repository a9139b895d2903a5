"""Talking to people: progress and tables on a terminal, plain lines elsewhere, one JSON object with --json.

Data goes to stdout, everything else to stderr.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from time import monotonic
from types import TracebackType
from typing import Any

import click
from rich.console import Console, Group
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from fedspallm_secure.storage.outside import printable

_PLAIN_WIDTH = 120  # columns, where there is no terminal to ask
_PLAIN_INTERVAL = 30.0  # seconds between lines about a task still running
_ENDED = 6  # bars of tasks that are over; more would leave no room for those that are not
_WIDE = 110  # columns, with room for longer bars


def printer() -> Console:
    """A console on stdout for tables: styled on a terminal, plain and wide enough elsewhere."""
    return Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON object on stdout and nothing else.  What does not print stands there as JSON's own escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    click.echo("".join(c if c.isprintable() or c == "\n" else _json_escape(c) for c in text))


def _json_escape(character: str) -> str:
    return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"


def shown(text: object) -> str:
    """A name from outside, safe on a terminal: whatever does not print is written as an escape."""
    return printable(str(text))


def tell_error(message: str, hint: str) -> None:
    """One line for an error on stderr, and one for what to do about it."""
    click.echo(f"fedprune: error: {shown(message)}", err=True)
    if hint:
        click.echo(f"fedprune: hint: {shown(hint)}", err=True)


class PlainProgress:
    """Progress as lines on stderr: each task when it is done, and now and then while it runs."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._told: dict[str, float] = {}

    def update(self, task: str, done: int, total: int, unit: str) -> None:
        """Print a line when the task ends or has been silent for a while."""
        now = monotonic()
        start = self._started.setdefault(task, now)
        if done >= total:
            click.echo(f"{shown(task)}: {amount(total, unit)} in {now - start:.1f} s", err=True)
            self._started.pop(task)
            self._told.pop(task, None)
        elif now - self._told.setdefault(task, now) >= _PLAIN_INTERVAL:
            self._told[task] = now
            left = (now - start) / done * (total - done) if done else 0.0
            click.echo(f"{shown(task)}: {share(done, total, unit)}, about {left:.0f} s left", err=True)

    def say(self, line: str) -> None:
        """Print the line."""
        click.echo(shown(line), err=True)


class _Name(ProgressColumn):
    """What a task is called."""

    def render(self, task: Task) -> Text:
        """On one line."""
        return Text(task.description, no_wrap=True, overflow="ellipsis")


class _Share(ProgressColumn):
    """How much of a task is done."""

    def render(self, task: Task) -> Text:
        """12 of 32 layers, or 1.5 MiB of 3.0 MiB."""
        return Text(share(int(task.completed), int(task.total or 0), task.fields["unit"]), justify="right")


class _Rate(ProgressColumn):
    """How fast it goes: of late, or on the whole where too little was done lately to tell."""

    def render(self, task: Task) -> Text:
        """1.25 layers/s, or 1.5 MiB/s."""
        whole = (task.completed - task.fields["before"]) / task.elapsed if task.elapsed else 0.0
        return Text(rate(task.finished_speed or task.speed or whole, task.fields["unit"]), justify="right")


class LiveProgress:
    """Progress as bars on a terminal."""

    def __init__(self) -> None:
        terminal = Console(stderr=True)
        wide, whole = terminal.width >= _WIDE, Column(no_wrap=True)  # where room is short, names are cut, not numbers
        self._bars = Progress(
            _Name(),
            BarColumn(30 if wide else 10, table_column=whole),
            _Share(whole),
            _Rate(whole),
            *([TimeElapsedColumn(whole)] if wide else ()),
            TextColumn("left", table_column=whole),
            TimeRemainingColumn(table_column=whole),
            console=terminal,
        )
        self._tasks: dict[str, Any] = {}
        self._ended: list[Any] = []
        self._lock = RLock()  # work and network tell from threads of their own

    def __enter__(self) -> "LiveProgress":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, task: str, done: int, total: int, unit: str) -> None:
        """Move the task's bar; the last finished tasks keep their lines.

        What is done at the first call counts for no rate: it was there before.
        """
        with self._lock:
            if task not in self._tasks:
                self._tasks[task] = self._bars.add_task(
                    shown(task), total=total, completed=done, unit=unit, before=done
                )
            self._bars.update(self._tasks[task], completed=done, total=total)
            if done >= total:
                self._ended.append(self._tasks.pop(task))
            for old in self._ended[:-_ENDED]:
                self._bars.remove_task(old)
            del self._ended[:-_ENDED]

    def drop(self, task: str) -> None:
        """Remove the bar of a task that was given up, if it has one."""
        with self._lock:
            if task in self._tasks:
                self._bars.remove_task(self._tasks.pop(task))

    def say(self, line: str) -> None:
        """Print the line above the bars."""
        self._bars.console.print(shown(line), markup=False, highlight=False)


@contextmanager
def progress() -> Iterator[PlainProgress | LiveProgress]:
    """Bars if stderr is a terminal, lines if not."""
    if sys.stderr.isatty():
        with LiveProgress() as bars:
            yield bars
    else:
        yield PlainProgress()


def table(title: str, columns: list[str], rows: list[list[str]], strong: set[int] | None = None) -> Group:
    """A table whose first column is text and whose others are numbers, right-aligned.  strong: rows in bold."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for number, row in enumerate(rows):
        made.add_row(*row, style="bold" if strong and number in strong else None)
    return Group(Text(title, style="bold"), made)  # a title of the table itself would wrap at its width


def amount(number: int, unit: str) -> str:
    """So much of a unit: 1 layer, 2 layers; bytes as people read them."""
    return megabytes(number) if unit == "bytes" else f"{number:,} {counted(number, unit)}"


def share(done: int, total: int, unit: str) -> str:
    """So much of a whole: 1 of 8 layers; bytes as people read them."""
    if unit == "bytes":
        return f"{megabytes(done)} of {megabytes(total)}"
    return f"{done:,} of {total:,} {unit}"


def rate(speed: float, unit: str) -> str:
    """Units per second, or per minute or hour where it is slow; empty at a standstill."""
    if speed <= 0:
        return ""
    if unit == "bytes":
        return f"{megabytes(speed)}/s"
    for span, seconds in (("s", 1), ("min", 60)):
        if speed * seconds >= 1:
            return f"{speed * seconds:.1f} {unit}/{span}"
    return f"{speed * 3600:.1f} {unit}/h"


def counted(number: int, unit: str) -> str:
    """A unit in the plural, for so many of it: 1 layer, 2 layers, 1 MiB."""
    return unit.removesuffix("s") if number == 1 else unit


def megabytes(size: float) -> str:
    """Bytes for people, in units of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError


def number(value: float) -> str:
    """A perplexity with as many digits as are worth reading."""
    return f"{value:,.0f}" if value >= 10_000 else f"{value:.2f}"
