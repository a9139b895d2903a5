"""`fedprune export` and `fedprune import`: model folders out of and into other forms."""

from pathlib import Path

import click
from fedprune_cli import console
from fedprune_cli.parameters import json_option, model_option


@click.command(epilog="Example: fedprune export --model pruned/model --format compact --out pruned.fspc")
@model_option
@click.option("--format", "form", type=click.Choice(["hf", "compact"]), required=True)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder (hf) or file (compact) to write.")
@json_option
def export(model: Path, form: str, out: Path, as_json: bool) -> None:
    """Write a pruned model as dense safetensors with zeros (hf) or as a compact file (compact).

    hf loads with from_pretrained everywhere.  compact holds keep-mask bits and compressed values; `fedprune import`
    restores it bit for bit.  The output says what either means for size and speed.
    """
    raise NotImplementedError


@click.command("import", epilog="Example: fedprune import --from pruned.fspc --out model")
@click.option("--from", "source", required=True, type=click.Path(path_type=Path), help="A compact file.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@json_option
def import_(source: Path, out: Path, as_json: bool) -> None:
    """Restore a model folder from a compact file, bit for bit."""
    raise NotImplementedError


_ = console
