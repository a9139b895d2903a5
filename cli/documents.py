"""Documents that commands write, and the line that says what to do with them."""

from pathlib import Path

import click

out_option = click.option(
    "--out", type=click.Path(path_type=Path), help="File or folder to write to.  [default: a telling name, here]"
)


def write(out: Path | None, name: str, data: bytes) -> Path:
    """Write a document where `out` says, under its usual name if that is a folder; returns where it is."""
    from fedspallm_secure.storage.documents import document_path, write_document

    path = document_path(out, name)
    write_document(path, data)
    return path


def next_step(text: str) -> None:
    """What to do next, on stderr."""
    click.echo(f"Next: {text}", err=True)
