"""`fedprune audit replay`: recompute a round at its server, from the packages that it has kept."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from fedprune_cli import console
from fedprune_cli.parameters import json_option
from fedprune_cli.passwords import PasswordSource, password_options
from fedprune_cli.services import config_option, text_table

from fedspallm_secure.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from fedspallm_secure.app.audit.replay import Site
    from fedspallm_secure.app.audit.replay_book import Report, Step
    from fedspallm_secure.app.audit.sampling import Sample

FILE = "federation.toml"
WORDS = {True: "OK", False: "DIFFERS", None: "NOT RUN"}
_PATH = click.Path(path_type=Path)


@click.command(
    epilog="""\b
Examples:
  fedprune audit replay 2 --config hub/federation.toml
  fedprune audit replay 2 --sample 5%
  fedprune audit replay 2 --home hub --data rounds --without-model --json
"""
)
@click.argument("number", metavar="ROUND", type=click.IntRange(1))
@config_option(FILE)
@click.option("--home", type=_PATH, help="Without a configuration file: the server's home.")
@click.option("--data", type=_PATH, help="And the server's work folder.")
@click.option("--model", type=_PATH, help="And the folder of the model as it was before all rounds.")
@click.option("--sample", metavar="SHARE", help="Recompute this share of the tiles of each stream, such as 5%.")
@click.option("--seed", metavar="HEX", help="With --sample: draw the tiles that an earlier run has drawn.")
@click.option("--without-model", is_flag=True, help="Do without the server step on the sums, which needs torch.")
@json_option
@password_options
def replay(
    number: int,
    config: Path | None,
    home: Path | None,
    data: Path | None,
    model: Path | None,
    sample: str | None,
    seed: str | None,
    without_model: bool,
    as_json: bool,
    password: PasswordSource,
) -> int:
    """Recompute a round from the server's archive, and compare it with the result, bit for bit.

    It verifies the log, opens what members sent with the server's recipient key, whose password is asked for, adds up,
    unmasks, takes the server step, and looks at the files of the model.  Nothing is changed; the server may go on
    running.  A layer at a time lies in the folder for temporary files (TMPDIR).
    """
    from fedspallm_secure.app.audit.replay import replay as run

    drawn = _sample(sample, seed)
    site = _site(config, home, data, model, without_model, password)
    with console.progress() as progress:
        found = run(site, number, drawn, progress)
    failure = found.failure or _incomplete(found)
    if as_json:
        console.print_json(found.to_dict())
        return 0 if failure is None else failure.exit_code
    _print(found)
    if failure is not None:
        raise failure
    return 0


def _sample(share: str | None, seed: str | None) -> "Sample | None":
    from fedspallm_secure.app.audit.sampling import Sample, parse_share
    from fedspallm_secure.crypto.randomness import random_bytes

    if share is None:
        if seed is not None:
            raise UsageError("--seed says which tiles --sample draws; add --sample")
        return None
    try:
        drawn = random_bytes(32) if seed is None else bytes.fromhex(seed)
    except ValueError:
        drawn = b""
    if len(drawn) != 32:
        raise UsageError("--seed is written as 64 hex digits, as an earlier run has printed it")
    return Sample(parse_share(share), drawn)


def _site(
    config: Path | None,
    home: Path | None,
    data: Path | None,
    model: Path | None,
    without_model: bool,
    password: PasswordSource,
) -> "Site":
    """Where the server works, and its recipient keys."""
    from fedspallm_secure.app.audit.replay import open_site
    from fedspallm_secure.app.configuration.federation import read_federation
    from fedspallm_secure.app.configuration.reading import FEDERATION, find

    if home is None and data is None and model is None:
        found = read_federation(find(config, FEDERATION))
        home, data, model = found.server.home, found.server.data, found.model.path
    elif config is not None or home is None or data is None:
        raise UsageError("name --config, or --home and --data without it")
    elif model is None and not without_model:
        raise UsageError("the layers cannot be recomputed without the model", hint="add --model or --without-model")
    return open_site(home, data, None if without_model else model, password.read)


def _incomplete(found: "Report") -> MissingExtra | None:
    """Where torch is missing, and nobody said that this is accepted."""
    from fedspallm_secure.app.audit.replay import NO_TORCH

    if all(step.why != NO_TORCH for step in found.steps):
        return None
    return MissingExtra(
        "all that was compared is the same, but layers were not: torch is not installed",
        hint="pip install 'fedspallm-secure[torch]', or accept it with --without-model",
    )


def _print(found: "Report") -> None:
    from fedspallm_secure.app.audit.replay_book import TITLES

    out = console.printer()
    rows = [[step.name, f"{TITLES[step.name]}{_more(step)}", WORDS[step.passed], _time(step)] for step in found.steps]
    out.print(text_table(["Step", "What", "", "Seconds"], rows))
    for step in found.steps:
        for finding in step.findings:
            click.echo(f"  {step.name}: {console.shown(finding.text)}")
    if found.seed is not None:
        click.echo(f"{found.share} of the tiles, drawn from --seed {found.seed}")
    click.echo(f"Round {found.round} replayed in {found.seconds:.1f} s")


def _more(step: "Step") -> str:
    said = step.done if step.passed is not None else step.why
    return f" ({said})" if said else ""


def _time(step: "Step") -> str:
    return "" if step.passed is None else f"{step.seconds:.1f}"
