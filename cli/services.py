"""What commands that run as services have in common: `run` without being said, options, tables of texts."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click
from fedprune_cli import console
from fedprune_cli.documents import next_step
from fedprune_cli.fingerprints import at_terminal
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from fedspallm_secure.errors import FedSpaError, UsageError

Command = TypeVar("Command", bound=Callable[..., Any])


class ServiceGroup(click.Group):
    """A group whose command `run` is meant when no command is named, and which lists commands in order of use."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `run` before options that are not for the group."""
        own = {option for parameter in self.get_params(ctx) for option in parameter.opts}
        if not ctx.resilient_parsing and (not args or (args[0].startswith("-") and args[0] not in own)):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, as they were added."""
        return list(self.commands)


def config_option(name: str) -> Callable[[Command], Command]:
    """Add --config.  name: of the file in the current folder that is taken otherwise."""
    return click.option(
        "--config", type=click.Path(path_type=Path), help=f"Configuration file, or its folder.  [default: ./{name}]"
    )


def run_options(command: Command) -> Command:
    """Add --once, --json-log and --foreground-progress."""
    for option in (
        click.option(
            "--foreground-progress", "bars", is_flag=True, help="Show progress bars, for somebody who watches."
        ),
        click.option("--json-log", is_flag=True, help="Log on stderr as one JSON object a line."),
        click.option("--once", is_flag=True, help="Do what there is to do now, and end; for cron."),
    ):
        command = option(command)
    return command


class Cell:
    """Text in a table: broken between words, and a path that is longer than a line behind one of its separators."""

    def __init__(self, text: str) -> None:
        self.text = console.shown(text)

    def __rich_measure__(self, out: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(out, options, Text(self.text))

    def __rich_console__(self, out: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("\n".join(broken(self.text, options.max_width)), overflow="fold")


def broken(text: str, width: int) -> Iterator[str]:
    """Lines of at most `width` characters, but for a piece of a path that is longer by itself.  width: at least 1."""
    line = ""
    for word in re.findall(r"\s*\S+", text):
        pieces = [word] if len(word.strip()) <= width else re.findall(r"\s*/*[^/]+/*|/+", word)
        for piece in pieces:
            if line and len(line + piece) > width:
                yield line
                line, piece = "", piece.lstrip()
            line += piece
    yield line


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]], strong: Collection[int] = ()) -> Table:
    """A table of texts, left-aligned, broken between words where the terminal is narrow.  strong: rows in bold."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, overflow="fold")
    for number, row in enumerate(rows):
        made.add_row(*map(Cell, row), style="bold" if number in strong else None)
    return made


def confirm(question: str, yes: bool) -> None:
    """Go on only if a person says so, or --yes was given.  Raises UsageError, or click's Abort."""
    if yes:
        return
    if not at_terminal():
        raise UsageError("nobody can be asked here whether that is meant", hint="add --yes")
    click.confirm(question, default=False, err=True, abort=True)


def tell_to_carry(path: Path, once: bool, json_log: bool) -> None:
    """After a run that ended by itself: what is to be carried by hand now.  path: of the configuration file."""
    if not once or json_log:
        return
    from fedspallm_secure.app.service.status import status_of

    found: dict[str, Any] = {}
    with suppress(FedSpaError):  # a courtesy: the run has ended with a code of its own
        found = status_of(path)
    waiting = {one["recipient"] for one in found.get("leaving", ())}
    names = sorted(waiting.union(found.get("untold", ())))
    if names and found.get("by_hand", True):
        what = "for" if waiting else "receipts for"
        export = f"fedprune bundle export --to FOLDER --config {console.shown(path)}"
        next_step(f"{what} {', '.join(names[:6])}: {export}")
