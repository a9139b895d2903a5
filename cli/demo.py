"""`fedprune demo`: five silos, five kinds of text, one small real model, in a few minutes on a laptop."""

from pathlib import Path

import click
from fedprune_cli import console
from fedprune_cli.parameters import json_option
from fedprune_cli.summary import print_result


@click.command(epilog="Example: fedprune demo --out demo-out")
@click.option(
    "--out",
    default="demo-out",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for model, result and report.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder with the demo's model and texts.  [default: examples/demo of this checkout]",
)
@json_option
def demo(out: Path, data: Path | None, as_json: bool) -> None:
    """Five silos prune a small trained Llama-style model to 50 % with SparseGPT, and the result is measured.

    Everything it needs ships with the project; nothing is downloaded.  Given again, it shows the finished result;
    remove the output folder to run it anew.
    """
    from fedspallm_secure.app.demo import demo_settings
    from fedspallm_secure.app.runner import simulate

    settings = demo_settings(out, data)
    with console.progress() as progress:
        progress.say(f"{len(settings.silos)} silos, SparseGPT at 50 %, all on this machine; nothing is downloaded.")
        result = simulate(settings, progress)
    if as_json:
        console.print_json(result)
    else:
        print_result(result)
