"""`fedprune demo`: a federation, five kinds of text, one small real model, in a few minutes on a laptop."""

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
@click.option(
    "--plain", is_flag=True, help="One process, and plain sums: no server, no network, no secure aggregation."
)
@click.option(
    "--dp-epsilon",
    type=float,
    help="Members prune with noise, by wanda: privacy budget of each.  8 is one.  Needs [dp].",
)
@json_option
def demo(out: Path, data: Path | None, plain: bool, dp_epsilon: float | None, as_json: bool) -> None:
    """Five members prune a small trained Llama-style model to 50 % with SparseGPT, and the result is measured.

    An authority, a server and five members are made.  They run as processes of this machine, over mutual TLS, with
    secure aggregation.  One is killed in the middle of the round; the packages of another are carried in folders.

    Everything it needs ships with the project; nothing is downloaded.  Given again, it goes on where it stopped, or
    shows the finished result; remove the output folder to run it anew.
    """
    from fedspallm_secure.app.demo import demo_settings
    from fedspallm_secure.app.privacy.settings import PrivacySettings
    from fedspallm_secure.app.runner import simulate

    privacy = None if dp_epsilon is None else PrivacySettings(dp_epsilon)
    settings = demo_settings(out, data, privacy)
    pruner = "SparseGPT" if privacy is None else f"Wanda with noise for epsilon {privacy.epsilon:g}"
    with console.progress() as progress:
        if plain:
            progress.say(f"{len(settings.silos)} silos, {pruner} at 50 %, all on this machine; nothing is downloaded.")
            result = simulate(settings, progress)
        else:
            from fedspallm_secure.app.service.demo import RealRound, real_settings

            settings = real_settings(settings)
            progress.say(
                f"A server and {len(settings.silos)} members, {pruner} at 50 %, as processes of this machine; "
                "nothing is downloaded."
            )
            result = simulate(settings, progress, RealRound(settings, progress))
    if as_json:
        console.print_json(result)
    else:
        print_result(result)
