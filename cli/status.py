"""`fedprune status`: where a party of rounds stands, once or for as long as somebody watches."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from fedprune_cli import console
from fedprune_cli.parameters import json_option
from fedprune_cli.spelling import alike, listed, moment, numbers
from fedprune_cli.status_key_holder import key_holder_blocks
from fedprune_cli.status_member import member_blocks
from fedprune_cli.status_server import server_blocks
from fedprune_cli.status_text import facts, head, moving, refused, titled
from fedprune_cli.status_witness import witness_blocks
from rich.console import Group, RenderableType
from rich.text import Text

Command = TypeVar("Command", bound=Callable[..., Any])
_INTERVAL: Final = 1.0  # seconds between two looks
_MOVING: Final = frozenset(
    {"now", "left", "rate", "done", "disk_free", "transfers", "work", "arriving", "bytes", "contacts", "last_contact"}
    | {"last_heard", "warnings", "phase"}
)  # what changes all the time, and is no news where there is no terminal


def watch_option(command: Command) -> Command:
    """Add --watch."""
    return click.option("--watch", is_flag=True, help="Go on showing it, every second, until Ctrl-C.")(command)


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
    help="federation.toml, member.toml, witness.toml or key-holder.toml, or its folder.  "
    "[default: the one in this folder]",
)
@watch_option
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
    if watch:
        with suppress(KeyboardInterrupt):
            _watch_terminal(path) if sys.stdout.isatty() and not as_json else _watch_changes(path, as_json)
        return
    from fedspallm_secure.app.service.status import status_of

    found = status_of(path)
    if as_json:
        console.print_json(found)
    else:
        out = console.printer()
        out.print(status_text(found, out.width))


def status_text(found: Mapping[str, Any], width: int) -> RenderableType:
    """A status for people: what goes on first, then who is awaited, then the rest.  width: columns."""
    special = {
        "server": server_blocks,
        "member": member_blocks,
        "witness": witness_blocks,
        "key-holder": key_holder_blocks,
    }[found["role"]]
    blocks = [head(found), facts(found), *special(found, width), *moving(found), *refused(found)]
    return Group(blocks[0], *(one for block in blocks[1:] for one in (Text(""), block)))


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


def show_rounds(path: Path, as_json: bool) -> None:
    """Print all rounds there were.  path: of the configuration file of a server or a member."""
    from fedspallm_secure.app.service.control import rounds_of

    found = rounds_of(path)
    if as_json:
        console.print_json({"rounds": found})
    elif found:
        print_rounds(found)
    else:
        click.echo("No rounds yet.")


def print_rounds(rounds: Sequence[Mapping[str, Any]]) -> None:
    """All rounds there were, as `rounds_of` has them for a server or a member."""
    at_server = any("cohorts" in one for one in rounds)
    rows = []
    for one in rounds:
        when = [moment(one[name], 0) if one[name] else "" for name in ("opened", "over")]
        layers = [f"{one['layers']}", one["cohorts"], _took_part(one)] if at_server else [_own(one)]
        ended = [_ended(one), (one["result"] or "")[:12]]
        step = ["" if one[name] is None else f"{one[name]}" for name in ("round", "step", "target")]
        rows.append([*step, *layers, *when, *ended])
    layers = ["layers", "cohort", "in the sum"] if at_server else ["your layers"]
    columns = ["round", "step", "target", *layers, "opened", "over", "ended with", "result"]
    console.printer().print(titled("Rounds", columns, rows))


def _ended(one: Mapping[str, Any]) -> str:
    told = [one["reason"]] if one.get("reason") else []
    declined = alike(one.get("declined", ()), "check")
    told += [f"{listed(members, 6)} declined by {check}" for (check,), members in declined.items()]
    check = f" by {one['check']}" if one.get("check") else ""
    return f"{one['ended']}{check}{': ' if told else ''}{'; '.join(told)}"


def _took_part(one: Mapping[str, Any]) -> str:
    if not one["in_the_sum"]:
        return "nobody"
    return f"{len(one['in_the_sum'])}, without {listed(one['left_out'], 6)}" if one["left_out"] else "all"


def _own(one: Mapping[str, Any]) -> str:
    if one["ended"] == "declined":
        return numbers(one["layers"])
    summed = numbers(one["in_the_sum"]) or "none"
    return f"{numbers(one['layers'])}; in the sum: {'all' if one['in_the_sum'] == one['layers'] else summed}"


def lasting(found: Any) -> Any:
    """The part of a status that is news when it changes."""
    if isinstance(found, Mapping):
        return {name: lasting(value) for name, value in found.items() if name not in _MOVING}
    return [lasting(value) for value in found] if isinstance(found, list) else found
