"""Documents that commands write, and the line that says what to do with them."""

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import OutputExists

out_option = click.option(
    "--out", type=click.Path(path_type=Path), help="File or folder to write to.  [default: a telling name, here]"
)


def check_free(out: Path | None, name: str) -> None:
    """Raise OutputExists before the work is done and a password typed, where `write` would raise it after that."""
    from fedspallm_secure.storage.documents import document_path

    path = document_path(out, name)
    if os.path.lexists(path):
        raise OutputExists(f"{path} already exists")


def dated(party: Party, kind: str, renews: bool, created: int) -> str:
    """The usual name of a document about one party; renewals have their day in it, for there will be more of them."""
    day = datetime.fromtimestamp(created, UTC).strftime("-%Y-%m-%d") if renews else ""
    return f"{party.role_name}-{party.id}.{kind}{day}.fsdoc"


def write(out: Path | None, name: str, data: bytes) -> Path:
    """Write a document where `out` says, under its usual name if that is a folder; returns where it is."""
    from fedspallm_secure.storage.documents import document_path, write_document

    path = document_path(out, name)
    write_document(path, data)
    return path


def next_step(text: str) -> None:
    """What to do next, on stderr."""
    click.echo(f"Next: {text}", err=True)
