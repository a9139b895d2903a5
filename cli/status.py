"""`fedprune status`: where a server or a member stands, once or for as long as somebody watches."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
from fedprune_cli import console
from fedprune_cli.parameters import json_option
from fedprune_cli.status_text import status_text

_INTERVAL: Final = 1.0  # seconds between two looks
_MOVING: Final = frozenset(
    {"now", "left", "rate", "done", "disk_free", "transfers", "work", "arriving", "bytes", "contacts", "last_contact"}
    | {"last_heard", "warnings", "phase"}
)  # what changes all the time, and is no news where there is no terminal


@click.command(
    epilog="""\b
Examples:
  fedprune status
  fedprune status --config hub/federation.toml --watch
  fedprune status --json
"""
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="federation.toml or member.toml, or its folder.  [default: the one in this folder]",
)
@click.option("--watch", is_flag=True, help="Go on showing it, every second, until Ctrl-C.")
@json_option
def status(config: Path | None, watch: bool, as_json: bool) -> None:
    """Show where the rounds stand: what has come, who is awaited, how long there is time, what is on its way.

    Needs no password and disturbs nothing.  With --watch and no terminal a new block, or with --json a new line, is
    printed whenever something has happened.
    """
    from fedspallm_secure.app.configuration.either import find_either

    show_status(find_either(config), watch, as_json)


def show_status(path: Path, watch: bool, as_json: bool) -> None:
    """Print where the party of this configuration file stands; watch: until somebody interrupts it."""
    if watch and not as_json and sys.stdout.isatty():
        _watch_terminal(path)
    elif watch:
        _watch_changes(path, as_json)
    else:
        from fedspallm_secure.app.service import status as found

        facts = found.status_of(path)
        if as_json:
            console.print_json(facts)
        else:
            out = console.printer()
            out.print(status_text(facts, out.width))


def _watch_terminal(path: Path) -> None:
    """In place, as long as the terminal is high enough; what is lower down waits for a higher one."""
    from rich.live import Live

    from fedspallm_secure.app.service.status import status_of

    out = console.printer()
    with Live(console=out, screen=True, auto_refresh=False) as shown:
        while True:
            shown.update(status_text(status_of(path), out.width), refresh=True)
            time.sleep(_INTERVAL)


def _watch_changes(path: Path, as_json: bool) -> None:
    import json

    from fedspallm_secure.app.service.status import status_of

    before: Any = None
    while True:
        found = status_of(path)
        if (news := lasting(found)) != before:
            if as_json:
                click.echo(json.dumps(found, ensure_ascii=True, allow_nan=False))
            else:
                out = console.printer()
                out.print(status_text(found, out.width))
                out.print()
            sys.stdout.flush()
            before = news
        time.sleep(_INTERVAL)


def lasting(found: Any) -> Any:
    """The part of a status that is news when it changes."""
    if isinstance(found, Mapping):
        return {name: lasting(value) for name, value in found.items() if name not in _MOVING}
    return [lasting(value) for value in found] if isinstance(found, list) else found
