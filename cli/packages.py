"""`fedprune package`: seal a file for another party, open one, verify one, or look at what one claims."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from fedprune_cli import console
from fedprune_cli.homes import home_option, open_warned
from fedprune_cli.parameters import json_option, typed_name
from fedprune_cli.passwords import PasswordSource, password_options

from fedspallm_secure.app.progress import Progress
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.errors import FedSpaError, UsageError
from fedspallm_secure.protocol.packages import Head

DAY = 86_400  # seconds
_TIME = "%Y-%m-%d %H:%M:%S UTC"
package_paths = click.argument("paths", metavar="PACKAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))


@click.group(epilog="Example: fedprune package seal report.pdf --to member/south --home north")
def package() -> None:
    """Seal files for other parties, and open, verify or inspect what they sent.

    A package is one file (.fspkg), signed by its sender and sealed to its recipient.  It may travel on any medium:
    nobody on the way can read it, change it unnoticed, or pass it off as meant for somebody else.
    """


@package.command(epilog="Example: fedprune package seal report.pdf --to member/south --home north")
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--to", "recipient", required=True, metavar="ROLE/ID", help="Who may open it; must be in your roster.")
@click.option("--out", type=click.Path(path_type=Path), help="The package to write.  [default: FILE.fspkg]")
@click.option("--valid-days", default=30, show_default=True, type=click.IntRange(1, 3650), help="How long it opens.")
@click.option(
    "--kem",
    type=click.Choice([kem.value for kem in Kem]),
    help="How its key is wrapped.  [default: what the recipient prefers]",
)
@home_option
@password_options
@json_option
def seal(
    source: Path,
    recipient: str,
    out: Path | None,
    valid_days: int,
    kem: str | None,
    home: Path,
    password: PasswordSource,
    as_json: bool,
) -> None:
    """Seal FILE for one party, signed with your key."""
    from fedspallm_secure.app import packages
    from fedspallm_secure.storage.home import open_home

    if not source.name:
        raise UsageError(f"{source} is not the name of a file", hint="name the file to seal")
    to, path = typed_name(Party.parse, recipient, "--to"), out or source.with_name(source.name + packages.SUFFIX)
    mine = open_warned(home)
    packages.check_sealable(mine.trust, mine.party, to, path)  # before anybody has to type a password
    typed = password.read(f"the signing key of {mine.party}")
    mine = open_home(home)  # again: while somebody typed, a newer list may have come
    signer = mine.signer(typed)
    with mine.open_register() as register, console.progress() as progress:
        desk = packages.Desk(mine.party, mine.trust, register, mine.evidence)
        chosen = None if kem is None else Kem(kem)
        head = packages.seal(desk, source, path, to, signer, valid_days * DAY, chosen, progress)
    if as_json:
        console.print_json({"package": console.shown(path), **packages.describe(head)})
    else:
        size = console.megabytes(head.size)
        click.echo(f"Sealed: {console.shown(path)}, {size}, for {to}, package {head.digest.hex()[:16]}")


@package.command("open", epilog="Example: fedprune package open report.pdf.fspkg --out report.pdf --home south")
@package_paths
@click.option("--out", type=click.Path(path_type=Path), help="New file for the content of one package.")
@click.option("--into", type=click.Path(path_type=Path), help="Or: folder; names are made from package digests.")
@home_option
@password_options
@json_option
def open_(
    paths: tuple[Path, ...], out: Path | None, into: Path | None, home: Path, password: PasswordSource, as_json: bool
) -> None:
    """Open packages that are for you; a folder stands for all packages in it.

    Everything about a package is checked before its content gets its name: sender, signature, recipient, time, every
    byte of the body, and that it was not opened before.  What is refused leaves nothing behind.
    """
    from fedspallm_secure.app import packages
    from fedspallm_secure.storage.home import open_home

    target = into or out
    if target is None or (into and out):
        raise UsageError("name either --out or --into", hint="--out FILE for one package, --into DIR for several")
    found = packages.packages_in(paths)
    if out and len(found) != 1:
        raise UsageError(f"--out takes the content of one package, these are {len(found)}", hint="use --into DIR")
    mine = open_warned(home)
    if len(found) == 1 and not as_json:  # before anybody has to type a password
        packages.check_arrival(mine.trust, mine.reader, found[0])
    secrets = mine.recipient_secrets(password.read(f"the recipient keys of {mine.party}"))
    made = into is not None and packages.make_folder(into)
    with mine.open_register() as register:

        def one(path: Path, progress: Progress) -> tuple[dict[str, Any], str]:
            now = open_home(home)  # for each package: a newer roster or list may have come
            desk = packages.Desk(now.party, now.trust, register, now.evidence)
            head, where = packages.open_sealed(desk, now.reader, secrets, path, target, progress)
            size = console.megabytes(head.header.plaintext_length)
            line = f"Opened: {console.shown(where)}, {size}, from {head.context.sender}"
            line += f", out of {console.shown(path)}" if into else ""
            return {"output": console.shown(where), **packages.describe(head)}, line

        try:
            _each(found, one, as_json)
        finally:
            if into is not None and made:
                packages.remove_if_empty(into)


@package.command(epilog="Example: fedprune package verify inbox/ --home watch")
@package_paths
@home_option
@json_option
def verify(paths: tuple[Path, ...], home: Path, as_json: bool) -> None:
    """Verify packages without opening them, whoever they are for; needs no password.

    Checks sender, signature, recipient, time and every byte of the body against your roster and revocation list.
    """
    from fedspallm_secure.app import packages
    from fedspallm_secure.protocol.receiving import Awaited

    found = packages.packages_in(paths)
    mine = open_warned(home)

    def one(path: Path, progress: Progress) -> tuple[dict[str, Any], str]:
        head = packages.verify(path, mine.reader, mine.trust, progress, Awaited())
        context = head.context
        line = f"Genuine: {console.shown(path)}, {context.type} from {context.sender} for {context.recipient}"
        return packages.describe(head), line

    _each(found, one, as_json)


@package.command(epilog="Example: fedprune package inspect report.pdf.fspkg")
@package_paths
@json_option
def inspect(paths: tuple[Path, ...], as_json: bool) -> None:
    """Show what packages claim about themselves.  Needs no key and no home, and verifies nothing."""
    from fedspallm_secure.app import packages

    def one(path: Path, _: Progress) -> tuple[dict[str, Any], str]:
        head = packages.inspect(path)
        claims = packages.describe(head)
        lines = [f"{console.shown(path)}: nothing of this is verified"]
        lines += [f"  claims {name.replace('_', ' '):<17} {value}" for name, value in _claims(head)]
        return {"verified": False, "claims": claims}, "\n".join(lines)

    _each(packages.packages_in(paths), one, as_json)


def _claims(head: Head) -> list[tuple[str, str]]:
    """What a header says, for people: name and value."""
    from fedspallm_secure.app.packages import log_words

    context, header = head.context, head.header
    made, until = (datetime.fromtimestamp(at, UTC).strftime(_TIME) for at in (context.created, context.not_after))
    rows = [
        ("type", f"{console.shown(context.type[:64])}, version {context.version}, {context.body_type.value}"),
        ("federation", context.federation),
        ("roster", context.roster),
        ("sender", f"{context.sender}, package number {context.sequence}"),
        ("sender key", context.sender_key),
        ("recipient", str(context.recipient)),
        ("recipient key", f"{context.recipient_key} ({context.kem.value})"),
        ("made", f"{made}, valid until {until}"),
        ("content", f"{header.plaintext_length:,} bytes, {header.tiles} {'tile' if header.tiles == 1 else 'tiles'}"),
        ("package digest", head.digest.hex()),
    ]
    if context.checkpoint:
        rows[-1:-1] = [("log seen", console.shown(log_words(context.checkpoint)))]
    if context.round:
        rows[2:2] = [("round", f"{context.round}, group {context.group}, plan {context.plan_hash}")]
    return rows


def _each(paths: Sequence[Path], one: Callable[[Path, Progress], tuple[dict[str, Any], str]], as_json: bool) -> None:
    """Do `one` for each path.  A refusal does not stop the others; the code of the first one is the exit code."""
    rows: list[dict[str, Any]] = []
    code = 0
    for path in paths:
        try:
            with console.progress() as progress:  # over before the verdict is printed, or the bar would overwrite it
                row, line = one(path, progress)
        except FedSpaError as error:
            if len(paths) == 1 and not as_json:
                raise
            code = code or error.exit_code
            row = {"error": type(error).__name__, "message": str(error), "hint": error.hint, "code": error.exit_code}
            line = ""
            if not as_json:
                told = str(error)
                console.tell_error(told if str(path) in told else f"{path}: {told}", error.hint)
        rows.append({"package": console.shown(path), "success": "error" not in row, **row})
        if line and not as_json:
            click.echo(line)
    if as_json:
        console.print_json({"packages": rows})
    if code:
        raise click.exceptions.Exit(code)
