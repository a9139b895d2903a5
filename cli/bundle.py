"""`fedprune bundle`: packages carried by hand, on a medium, between parties without a network."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from fedprune_cli import console
from fedprune_cli.documents import next_step
from fedprune_cli.parameters import json_option, typed_name
from fedprune_cli.passwords import PasswordSource, password_options

from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import UsageError

if TYPE_CHECKING:
    from fedspallm_secure.app.courier.exporting import Exported
    from fedspallm_secure.app.courier.inspecting import Inspected
    from fedspallm_secure.app.courier.outcomes import Imported

_SHOWN = 20  # names that are listed for people; --json lists all
_TIME = "%Y-%m-%d %H:%M UTC"
config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="federation.toml, member.toml, witness.toml or key-holder.toml.  [default: the one in the current folder]",
)


@click.group(epilog="Example: fedprune bundle export --to /media/courier")
def bundle() -> None:
    """Carry packages by hand: onto a medium, off a medium, or look at what one holds.

    The same packages travel by network and by hand, with the same protection; a federation may use both at once.
    Export where something waits, carry the medium, import at the other end.  Whoever carries it can lose it or break
    it, and nothing worse: export again, and what did not arrive is carried again.
    """


@bundle.command("export", epilog="Example: fedprune bundle export --to /media/courier --for server/hub")
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Folder on the medium.")
@click.option("--single", type=click.Path(path_type=Path), help="Or: a new file that holds everything.")
@click.option("--for", "recipients", multiple=True, metavar="ROLE/ID", help="For whom.  [default: all who wait]")
@click.option("--all", "everything", is_flag=True, help="Also what is known to have arrived.")
@click.option("--purpose", default="", help="A line for whoever inspects the medium.")
@config_option
@password_options
@json_option
def export_(
    folder: Path | None,
    single: Path | None,
    recipients: tuple[str, ...],
    everything: bool,
    purpose: str,
    config: Path | None,
    password: PasswordSource,
    as_json: bool,
) -> None:
    """Write everything that waits for others onto a medium.

    Packages of more than 3 GiB are cut into parts, which fit any file system.  Nothing is overwritten, and several
    bundles may lie in one folder.  If the medium is lost, export again.
    """
    from fedspallm_secure.app.courier.exporting import export
    from fedspallm_secure.app.courier.writing import check_target
    from fedspallm_secure.app.stations.opening import open_post

    if (folder is None) == (single is None):
        raise UsageError("name either --to or --single", hint="--to FOLDER for a folder, --single FILE for one file")
    chosen = [typed_name(Party.parse, name, "--for") for name in recipients]
    check_target(folder, single)  # before anybody has to type a password
    with open_post(config, password.read, _now) as post, console.progress() as progress:
        exported = export(post, folder, single, chosen, everything, purpose, progress)
    if as_json:
        where = console.shown(folder or single)
        console.print_json({"medium": where, "bundles": [one.to_dict() for one in exported]})
    else:
        for one in exported:
            _tell_export(one)
        for party in sorted(set(chosen) - {one.bundle.recipient for one in exported}):
            click.echo(f"Nothing waits for {party}")
        if not exported and not chosen:
            click.echo("Nothing waits for anybody")
        if exported:
            names = ", ".join(str(one.bundle.recipient) for one in exported[:_SHOWN])
            next_step(f"carry it to {names}; there: fedprune bundle import --from {console.shown(folder or single)}")


def _tell_export(one: "Exported") -> None:
    facts = one.to_dict()
    size = console.megabytes(facts["bytes"])
    line = (
        f"Exported: bundle {facts['number']} for {facts['recipient']}, {_count(facts['packages'], 'package')}, {size}"
    )
    line += f"; it tells that {_count(facts['received'], 'package')} arrived the other way" if facts["received"] else ""
    click.echo(line + (", the same as before" if one.again else ""))
    if one.left:
        click.echo(f"  {_count(one.left, 'more package')} had no room in it: export again once these have arrived")


@bundle.command("import", epilog="Example: fedprune bundle import --from /media/courier")
@click.option("--from", "source", required=True, type=click.Path(path_type=Path), help="Folder or single file.")
@config_option
@password_options
@json_option
def import_(source: Path, config: Path | None, password: PasswordSource, as_json: bool) -> None:
    """Take in everything on a medium that is for you.

    Nothing on the medium is believed or run: signatures are checked, and every package is checked while it is copied.
    What is for others stays untouched.  Importing twice is safe.
    """
    from fedspallm_secure.app.courier.importing import import_from
    from fedspallm_secure.app.courier.media import open_medium
    from fedspallm_secure.app.stations.opening import open_post

    with open_medium(source) as medium:  # before anybody has to type a password
        with open_post(config, password.read, _now) as post, console.progress() as progress:
            outcomes = import_from(post, medium, progress)
        others = medium.others()
    errors = [error for outcome in outcomes for error in outcome.errors]
    if as_json:
        found = {"medium": console.shown(source), "bundles": [outcome.to_dict() for outcome in outcomes]}
        console.print_json({**found, "ignored": others})
    else:
        for outcome in outcomes:
            if outcome.state != "other":
                _tell_import(outcome)
        _tell_foreign([outcome for outcome in outcomes if outcome.state == "other"])
        _tell_others(others)
        if any(outcome.arrived or outcome.told for outcome in outcomes):
            _tell_next(config)
    if errors:
        raise click.exceptions.Exit(errors[0].exit_code)


_ACTS = {
    Role.SERVER: "server run --once",
    Role.MEMBER: "client run --once",
    Role.WITNESS: "witness cosign",
    Role.KEY_HOLDER: "key-holder run --once",
}
_STATES = {
    "stale": "a newer bundle came before it; nothing was changed",
    "own": "made by you; it was left alone",
}


def _tell_foreign(outcomes: "Sequence[Imported]") -> None:
    """All bundles for others, as one line."""
    if outcomes:
        found = sorted({str(outcome.bundle.recipient) for outcome in outcomes if outcome.bundle is not None})
        names = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
        click.echo(f"{_count(len(outcomes), 'bundle')} for {names} left alone")


def _tell_next(config: Path | None) -> None:
    """What acts on what was imported: a service that runs does it by itself."""
    from fedspallm_secure.app.configuration.either import data_of, find_either, role_of
    from fedspallm_secure.app.service.live import read_live
    from fedspallm_secure.app.service.status import live_path
    from fedspallm_secure.app.stations.opening import read_config

    found = read_config(config)
    if read_live(live_path(data_of(found)), time.time()) is not None:
        click.echo("The running service goes on with it")
        return
    command = _ACTS[role_of(found)]
    next_step(f"fedprune {command}" + ("" if config is None else f" --config {console.shown(find_either(config))}"))


def _tell_import(outcome: "Imported") -> None:
    what = str(outcome.bundle or console.shown(outcome.name))
    if outcome.state in _STATES:
        click.echo(f"{what}: {_STATES[outcome.state]}")
    elif outcome.state == "taken":
        known = f", {len(outcome.known)} were here before" if outcome.known else ""
        new = _count(len(outcome.arrived), "new package") if outcome.arrived else "nothing new"
        told = f", {_count(outcome.told, 'package')} of yours arrived there" if outcome.told else ""
        click.echo(f"{what}: {new}{known}{told}")
    if outcome.gap_words:
        click.echo(f"  {outcome.gap_words}")
    for trouble in outcome.missing[:_SHOWN]:
        click.echo(f"  to be carried again: {trouble.digest[:16]}, {console.shown(trouble.error)}")
    _tell_rest(len(outcome.missing))
    for trouble in outcome.refused[:_SHOWN]:
        click.echo(f"  refused: {trouble.digest[:16]}, {console.shown(trouble.error)}")
    _tell_rest(len(outcome.refused))
    for error in outcome.errors[:1]:
        told = str(error)
        named = outcome.error is None or told.startswith(what)
        console.tell_error(told if named else f"{what}: {told}", error.hint)


@bundle.command(epilog="Example: fedprune bundle inspect /media/courier")
@click.argument("medium", type=click.Path(path_type=Path))
@json_option
def inspect(medium: Path, as_json: bool) -> None:
    """Show what lies on a medium.  Needs no key and no home, and verifies nothing."""
    from fedspallm_secure.app.courier import inspecting
    from fedspallm_secure.app.courier.media import open_medium

    with open_medium(medium) as opened:
        found, others = inspecting.inspect(opened), opened.others()
    if as_json:
        facts = {"medium": console.shown(medium), "verified": False, "note": inspecting.NOTHING_VERIFIED}
        console.print_json({**facts, "bundles": [one.to_dict() for one in found], "ignored": others})
        return
    click.echo(inspecting.NOTHING_VERIFIED)
    for one in found:
        click.echo()
        _show(one)
    if not found:
        click.echo("\nThere is no index of a bundle here.")
    _tell_others(others)


def _show(one: "Inspected") -> None:
    from fedspallm_secure.app.courier.inspecting import kind_of

    if one.bundle is None:
        click.echo(f"{console.shown(one.name)}: no index of a bundle: {console.shown(one.error)}")
        return
    bundle, contents = one.bundle, one.bundle.contents
    made = datetime.fromtimestamp(bundle.created, UTC).strftime(_TIME)
    rows: list[tuple[str, Any]] = [
        ("claims", f"{bundle} in {bundle.federation}, made {made}"),
        ("purpose", console.shown(contents.purpose)),
        ("index", f"{one.name}, digest {bundle.digest}"),
        (
            "packages",
            f"{len(one.packages)}, {console.megabytes(sum(seen.file.size for seen in one.packages))}, encrypted",
        ),
    ]
    rows += [
        ("", f"{number:>5} × {console.shown(type)}, {console.megabytes(size)}: {kind_of(type)}")
        for type, number, size in one.kinds
    ]
    rows.append(("also tells", f"that {_count(len(contents.received), 'package')} arrived the other way"))
    rows += [("log seen", console.shown(words)) for words in one.logs]
    for label, text in rows:
        click.echo(f"{label:<11} {text}")
    for seen in one.packages:
        words = "" if seen.error is None else f", {seen.state.upper()}: {console.shown(seen.error)}"
        click.echo(f"  {seen.file.digest}  {seen.file.size:>15,} bytes  {console.shown(seen.file.type)}{words}")


def _tell_others(names: Sequence[str]) -> None:
    """What no index lists."""
    if names:
        rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        click.echo(f"Ignored, for no index lists them: {', '.join(map(console.shown, names[:_SHOWN]))}{rest}")


def _tell_rest(count: int) -> None:
    if count > _SHOWN:
        click.echo(f"  and {count - _SHOWN} more; --json lists all")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _now() -> int:
    return int(time.time())
