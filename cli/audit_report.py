"""`fedprune audit report`: what came out of an audit, as a page for people who decide by it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from fedprune_cli import console
from fedprune_cli.audit_parameters import Basis, basis_options, log_argument, opened, progress, rounds_hint, verified
from fedprune_cli.documents import check_free
from fedprune_cli.parameters import json_option

if TYPE_CHECKING:
    from fedspallm_secure.app.audit.opening import OpenLog
    from fedspallm_secure.app.audit.timeline import Story


@click.command(epilog="Example: fedprune audit report rounds/log --root root.pem --out audit.html")
@log_argument
@basis_options
@click.option("--out", required=True, type=click.Path(path_type=Path), help="HTML file to write.")
@click.option("--round", "number", type=click.IntRange(1), help="Show the details of this round alone.")
@json_option
def report(log: Path, basis: Basis, out: Path, number: int | None, as_json: bool) -> int:
    """Verify a log and write a report for a compliance officer: one HTML file, to read on a screen or on paper.

    The report is written whether the log passes or not; the exit code is that of fedprune audit verify.
    """
    from fedspallm_secure.app.audit.quality import perplexity_beside
    from fedspallm_secure.app.audit.report import Audited, write_audit
    from fedspallm_secure.app.audit.verifying import failure, read_policy, report_dict
    from fedspallm_secure.errors import MissingInput

    check_free(out, "audit.html")
    with opened(log) as found:
        checked, root = verified(found, basis)
        with progress("read") as told:
            story = _story(found, told)
    if number is not None and number not in story.rounds:
        raise MissingInput(f"the log has no round {number}", hint=rounds_hint(story.rounds))
    write_audit(
        out,
        Audited(
            story=story,
            report=checked,
            root=root,
            policy=read_policy(basis.policy),
            made=int(time.time()),
            quality=perplexity_beside(log),
            round=number,
            documents=not basis.without_documents,
            receipts=basis.receipts is not None,
        ),
    )
    error = failure(checked)
    if as_json:
        console.print_json({"file": str(out), **report_dict(checked)})
        return 0 if error is None else error.exit_code
    click.echo(f"Written: {console.shown(out)}")
    if error is not None:
        raise error
    return 0


def _story(log: "OpenLog", told: Callable[[int, int], None]) -> "Story":
    """What can be read of a log, which may have failed its audit because some of it cannot."""
    from fedspallm_secure.app.audit.timeline import Story, read_into
    from fedspallm_secure.errors import FedSpaError

    story = Story("that cannot be read", 0)
    try:
        checkpoint = log.checkpoint
        story = Story(checkpoint.origin, checkpoint.size)
        read_into(story, log.source, told)
    except FedSpaError as error:
        story.unread.append(str(error))
    return story
