"""`fedprune audit show`: a log as people read it, round by round."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from fedprune_cli import console
from fedprune_cli.audit_parameters import log_argument, opened, progress, rounds_hint
from fedprune_cli.parameters import json_option
from fedprune_cli.services import text_table
from fedprune_cli.spelling import span

if TYPE_CHECKING:
    from fedspallm_secure.app.audit.timeline import Line, Round, Story


@click.command(epilog="Example: fedprune audit show rounds/log --round 2")
@log_argument
@click.option("--round", "number", type=click.IntRange(1), help="This round alone.")
@json_option
def show(log: Path, number: int | None, as_json: bool) -> None:
    """Show a log: when, who, what, and what each round came to.

    Nothing is verified here: it is what the log says.  fedprune audit verify checks it.
    """
    from fedspallm_secure.app.audit.course import story_dict
    from fedspallm_secure.app.audit.timeline import read_story
    from fedspallm_secure.errors import MissingInput

    with opened(log) as found, progress("read") as told:
        checkpoint = found.checkpoint
        story = read_story(found.source, checkpoint.origin, checkpoint.size, told)
    if number is not None:
        if number not in story.rounds:
            raise MissingInput(f"the log has no round {number}", hint=rounds_hint(story.rounds))
        story.rounds = {number: story.rounds[number]}
        story.outside = []
    if as_json:
        console.print_json({"log": str(log), "verified": False, **story_dict(story)})
    else:
        _print(story)


def _print(story: "Story") -> None:
    """Entries outside of rounds first, then round by round; all times in UTC."""
    out = console.printer()
    out.print(f"{console.shown(story.origin)}: {story.size} entries; not verified here; times are UTC", markup=False)
    if story.outside:
        click.echo()
        out.print(text_table(["Entry", "Time", "Who", "What"], [_row(line) for line in story.outside]))
    for found in story.rounds.values():
        click.echo()
        out.print(f"Round {found.number}: {found.state}", style="bold", markup=False)
        for sentence in _totals(found):
            out.print(sentence, markup=False, soft_wrap=True)
        out.print(text_table(["Entry", "Time", "Who", "What"], [_row(line) for line in found.lines]))
    for sentence in story.unread:
        click.echo(f"fedprune: warning: could not read {console.shown(sentence)}", err=True)


def _row(line: "Line") -> list[str]:
    from fedspallm_secure.app.audit.sayings import clock

    return [str(line.index), clock(line.at), line.who, line.text]


def _totals(found: "Round") -> list[str]:
    """Members, vectors, durations and who fell silent."""
    from fedspallm_secure.app.audit.course import silences, stages
    from fedspallm_secure.app.audit.report_rounds import silence_texts
    from fedspallm_secure.app.audit.sayings import names
    from fedspallm_secure.protocol.audit.entries import EntryType

    received = found.of(EntryType.CONTRIBUTION)
    octets = console.megabytes(sum(line.size or 0 for line in received))
    took = "" if found.ended is None else f", took {span(found.ended - found.begun)}"
    told = [
        f"  {len(found.counted)} of {len(found.members)} members in the sums ({names(found.counted)}), "
        f"{len(received)} vectors, {octets}{took}"
    ]
    parts = [f"{name} {span(end - begun)}" for name, begun, end in stages(found) if end is not None]
    told += [f"  {', '.join(parts)}"] if parts else []
    return told + [f"  {sentence}" for sentence in silence_texts(silences(found))]
