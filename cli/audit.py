"""`fedprune audit`: check a server's log without taking part, without a network and without secrets."""

from pathlib import Path

import click
from fedprune_cli import console
from fedprune_cli.audit_compare import compare
from fedprune_cli.audit_parameters import Basis, basis_options, log_argument, opened, verified
from fedprune_cli.audit_proof import proof
from fedprune_cli.audit_replay import replay
from fedprune_cli.audit_report import report
from fedprune_cli.audit_show import show
from fedprune_cli.parameters import json_option

WORDS = {True: "PASS", False: "FAIL", None: "NOT RUN"}


class AuditGroup(click.Group):
    """A group that lists its commands in order of use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, as they were added."""
        return list(self.commands)


@click.group(cls=AuditGroup)
def audit() -> None:
    """Check what a server says of its rounds, by the log that it signed.

    \b
    First:           fedprune audit verify LOG --fingerprint 12345-...-67890
    Then look:       fedprune audit show LOG
    Hold together:   fedprune audit compare LOG FILE
    For the record:  fedprune audit report LOG --out audit.html

    LOG is a log's folder, the one file made of it, the work folder around it, or the home of somebody who follows it.
    Nothing is sent anywhere, and only replay asks for a password.  docs/AUDIT.md says what each step means.
    """


@click.command(epilog="Example: fedprune audit verify log --root root.pem --policy witnesses.txt --receipts receipts")
@log_argument
@basis_options
@json_option
def verify(log: Path, basis: Basis, as_json: bool) -> int:
    """Check a log, step by step: V1 to V8 of docs/AUDIT.md.

    Ends with code 0 if all steps pass that were run, and otherwise with the code of the first that failed, 201 to 208.
    """
    from fedspallm_secure.app.audit.sayings import entries
    from fedspallm_secure.app.audit.verifying import failure, report_dict

    with opened(log) as found:
        checked, _ = verified(found, basis)
    error = failure(checked)
    if as_json:
        console.print_json({"log": str(log), **report_dict(checked)})
        return 0 if error is None else error.exit_code
    for step in checked.steps:  # what was not run says why in its first finding
        click.echo(f"{step.name}  {WORDS[step.passed]:<7}  {console.shown(step.title)}")
        for finding in step.findings:
            where = f" ({entries(finding.indices)})" if finding.indices else ""
            click.echo(f"             {console.shown(finding.text)}{where}")
    click.echo(f"{checked.size} entries, root {checked.root.hex()}")
    if error is not None:
        raise error
    return 0


@click.command(epilog="Example: fedprune audit pack rounds --out hub.fslog")
@log_argument
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write.")
@json_option
def pack(log: Path, out: Path, as_json: bool) -> None:
    """Put a log's folder into one file, for carrying; what is not whole is refused."""
    from fedspallm_secure.app.audit.opening import log_folder
    from fedspallm_secure.storage import log_file

    log_file.pack(log_folder(log), out)
    size = out.stat().st_size
    if as_json:
        console.print_json({"file": str(out), "bytes": size})
    else:
        click.echo(f"Written: {console.shown(out)}, {console.megabytes(size)}")


@click.command(epilog="Example: fedprune audit receipts north --out receipts")
@click.argument("home", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write to.")
@json_option
def receipts(home: Path, out: Path, as_json: bool) -> None:
    """Write what the server has acknowledged to a member as files, for an auditor's --receipts."""
    from fedspallm_secure.app.audit.receipts import kept_receipts, write_receipts

    written = write_receipts(kept_receipts(home), out)
    if as_json:
        console.print_json({"files": list(map(str, written))})
    else:
        click.echo(f"Written: {len(written)} receipts in {console.shown(out)}")


for command in (verify, show, proof, compare, report, receipts, pack, replay):
    audit.add_command(command)
