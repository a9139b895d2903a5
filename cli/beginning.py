"""What `init` of those who follow a server has in common: its options, what the new file says, what to do next."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from fedprune_cli import console
from fedprune_cli.documents import next_step
from fedprune_cli.fingerprints import at_terminal

from fedspallm_secure.errors import UsageError

if TYPE_CHECKING:
    from fedspallm_secure.app.configuration.member import Server

Command = TypeVar("Command", bound=Callable[..., Any])


def server_options(command: Command) -> Command:
    """Add --server, --url, --by-hand and --proxy."""
    for option in (
        click.option("--proxy", help="A proxy that connections go through."),
        click.option("--by-hand", is_flag=True, help="There is no network: packages are carried by hand."),
        click.option("--url", help="Where the server listens, for example https://hub.example.org:8443."),
        click.option("--server", metavar="NAME", help="The server's name.  [default: the only one in the roster]"),
    ):
        command = option(command)
    return command


def place_options(data: str, what: str) -> Callable[[Command], Command]:
    """Add --data and --anchor.  data: the folder that is taken otherwise; what: is put into it."""

    def add(command: Command) -> Command:
        for option in (
            click.option(
                "--anchor",
                type=click.Path(path_type=Path),
                help="Folder for the anchor, apart from home and data, best on another disk.  "
                "[default: ~/.local/state/fedprune/anchors]",
            ),
            click.option("--data", type=click.Path(path_type=Path), help=f"Folder for {what}.  [default: {data}]"),
        ):
            command = option(command)
        return command

    return add


def places(out: Path, options: dict[str, Any]) -> dict[str, str]:
    """What the file `out` says of the folders of `place_options`."""
    from fedspallm_secure.app.configuration import preparing

    said = {name: options[name] for name in ("data", "anchor") if options[name] is not None}
    return {name: preparing.seen_from(out, path) for name, path in said.items()}


def who_and_where(own: str, home: Path, out: Path, server: str, options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the file `out` says under [own], of whoever writes it, and under [server], of the one that is followed.

    options: those of `server_options` and `place_options`.  Raises UsageError if nobody says how to reach the server.
    """
    from fedspallm_secure.app.configuration import preparing

    filled: dict[str, dict[str, Any]] = {
        own: {"home": preparing.seen_from(out, home), **places(out, options)},
        "server": {"id": server, "url": _url(options["url"], options["by_hand"], server)},
    }
    if options["proxy"] is not None:
        filled["server"]["proxy"] = options["proxy"]
    return filled


def _url(url: str | None, by_hand: bool, server: str) -> str:
    """Where a server listens: as typed, asked for at a terminal, empty for packages carried by hand."""
    if url is not None and by_hand:
        raise UsageError("--url and --by-hand exclude each other")
    if by_hand:
        return ""
    if url is None and at_terminal():
        question = f"Where does server/{server} listen? For example https://hub.example.org:8443; empty if by hand"
        return str(click.prompt(question, default="", show_default=False, err=True)).strip()
    if url is None:
        raise UsageError("how is the server reached?", hint="add --url https://HOST:PORT, or --by-hand")
    return url


def file_facts(out: Path, home: Path, server: "Server") -> dict[str, Any]:
    """The new file as plain data, for --json.  server: the one that it names."""
    return {"config": str(out), "home": str(home), "server": server.id, "url": server.url}


def tell_written(out: Path, server: "Server") -> None:
    """The new file in a line."""
    reached = f"at {server.url}" if server.url else "by hand"
    click.echo(f"Written: {console.shown(out)}, for server/{server.id}, reached {reached}")


def next_steps(first: str, command: str, out: Path, usual: str) -> None:
    """What to do with a new file: `first`, then look, then run the command.  usual: its name if none was said."""
    where = "" if str(out) == usual else f" --config {console.shown(out)}"
    next_step(first)
    next_step(f"fedprune doctor{where}")
    next_step(f"fedprune {command} run{where}")
