"""Help with the options of a command under headings, for commands that have many."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import click

Groups = Mapping[str, Sequence[str]]  # heading -> names of parameters, in the order in which they are shown


class GroupedCommand(click.Command):
    """A command whose help shows options under the headings of `groups`, and all others after them."""

    groups: ClassVar[Groups] = {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each heading."""
        left = {param.name: param for param in self.get_params(ctx)}
        found = {title: [left.pop(name) for name in names] for title, names in self.groups.items()}
        for title, params in (*found.items(), ("Options", list(left.values()))):
            records = [record for param in params if (record := param.get_help_record(ctx)) is not None]
            with formatter.section(title):
                formatter.write_dl(records)


def grouped(groups: Groups) -> type[GroupedCommand]:
    """The class of a command with these groups."""
    return type("Grouped", (GroupedCommand,), {"groups": groups})
