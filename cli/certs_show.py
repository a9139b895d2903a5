"""`fedprune certs show`: what a home, an authority or a file says, with the days that are left."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from fedprune_cli import console, homes
from fedprune_cli.parameters import json_option

from fedspallm_secure.errors import ForeignFile, UsageError

if TYPE_CHECKING:
    from fedspallm_secure.app.showing import Row, Shown

_COLOURS = {"good": "green", "soon": "yellow", "over": "red"}


@click.command(epilog="Example: fedprune certs show member-north.request.fsdoc")
@click.argument("path", metavar="[FILE_OR_FOLDER]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--home",
    envvar="FEDPRUNE_HOME",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="Your home, to check a file against your root, roster and revocation list.",
)
@json_option
def show(path: Path | None, home: Path | None, as_json: bool) -> None:
    """Show a home, an authority's folder, or a file.

    Needs no password.  A file may be a request, answer, roster, list, certificate, statement or key file.  What was
    not verified is called a claim.
    """
    target = path or home
    if target is None:
        raise UsageError("what should be shown?", hint="name a file or a folder, or set FEDPRUNE_HOME")
    found = _look(target, home)
    if as_json:
        console.print_json(found.to_dict())
        return
    claims = "" if found.verified else click.style("  claims, not verified", fg="yellow")
    click.echo(click.style(console.shown(found.title), bold=True) + claims)
    print_rows(found.rows)
    homes.warn(found.warnings)
    if found.note:
        click.echo(f"Note: {console.shown(found.note)}", err=True)


def _look(path: Path, home: Path | None) -> "Shown":
    from fedspallm_secure.app.showing import show_authority, show_home
    from fedspallm_secure.app.showing_files import show_file
    from fedspallm_secure.storage.authority import is_authority, open_authority
    from fedspallm_secure.storage.files import is_folder
    from fedspallm_secure.storage.home import open_home
    from fedspallm_secure.storage.home_folder import is_home

    if not is_folder(path):
        return show_file(path, None if home is None else open_home(home))
    if is_home(path):
        return show_home(path)
    if is_authority(path):
        with open_authority(path) as authority:
            return show_authority(authority)
    raise ForeignFile(f"{path} is neither a home nor an authority's folder", hint="name another folder, or a file")


def print_rows(rows: "Sequence[Row]", err: bool = False) -> None:
    """Lines in columns; what ends has its date and its days, coloured on a terminal."""
    label = max((len(row.label) for row in rows), default=0)
    text = max((len(console.shown(row.text)) for row in rows if row.until is not None), default=0)
    for row in rows:
        line = f"  {row.label:{label}}  {console.shown(row.text):{text if row.until is not None else 0}}"
        if row.until is not None:
            date = datetime.fromtimestamp(row.until, UTC).strftime("%Y-%m-%d")
            left = f"{row.days} {console.counted(row.days or 0, 'days')}" if row.state != "over" else "over"
            line += f"  until {date}  " + click.style(left, fg=_COLOURS[row.state])
        click.echo(line, err=err)
