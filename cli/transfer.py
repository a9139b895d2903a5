"""`fedprune export` and `fedprune import`: a pruned model as a folder, as one compact file, and back."""

from pathlib import Path
from typing import Any

import click
from fedprune_cli import console
from fedprune_cli.parameters import json_option, model_option


@click.command(epilog="Example: fedprune export --model pruned/model --format compact --out pruned.fspc")
@model_option
@click.option("--format", "form", type=click.Choice(["hf", "compact"]), required=True, help="A folder, or one file.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder (hf) or file (compact) to write.")
@json_option
def export(model: Path, form: str, out: Path, as_json: bool) -> None:
    """Write a pruned model as dense safetensors with zeros (hf) or as one compact file (compact).

    hf loads with from_pretrained everywhere.  compact holds keep-mask bits and compressed values; `fedprune import`
    restores it bit for bit.  The output says what either means for size and speed.
    """
    from fedspallm_secure.app.export import export_compact, export_hf

    with console.progress() as progress:
        outcome = (export_hf if form == "hf" else export_compact)(model, out, progress)
    _tell(outcome, as_json)


@click.command("import", epilog="Example: fedprune import --from pruned.fspc --out model")
@click.option("--from", "source", required=True, type=click.Path(path_type=Path), help="A compact file.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@json_option
def import_(source: Path, out: Path, as_json: bool) -> None:
    """Restore a model folder from a compact file, bit for bit."""
    from fedspallm_secure.app.export import import_compact

    with console.progress() as progress:
        outcome = import_compact(source, out, progress)
    _tell(outcome, as_json)


def _tell(outcome: Any, as_json: bool) -> None:
    found = outcome.to_dict()
    if as_json:
        console.print_json(found)
        return
    click.echo(f"Written: {found['out']}")
    for sentence in found["words"]:
        click.echo(sentence)
