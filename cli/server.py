"""`fedprune server`: rounds of a federation, at the server."""

from pathlib import Path
from typing import Any

import click
from fedprune_cli import console, logs
from fedprune_cli.beginning import next_steps, place_options, places
from fedprune_cli.grouped import grouped
from fedprune_cli.homes import home_option, open_warned
from fedprune_cli.parameters import json_option
from fedprune_cli.passwords import PasswordSource, password_options
from fedprune_cli.services import ServiceGroup, config_option, confirm, run_options, tell_to_carry
from fedprune_cli.status import show_rounds, show_status, watch_option

FILE = "federation.toml"
_ROUNDS = (
    "members",
    "min_cohort",
    "spread",
    "colluders",
    "profile",
    "witnesses",
    "key_holder",
    "sum_bits",
    "seed",
)
_GROUPS = {
    "What has to be there": ("home", "model"),
    "Pruning": ("sparsity", "pattern", "schedule", "pruner", "strategy", "compare"),
    "Rounds": _ROUNDS,
    "This server": ("data", "anchor", "listen", "metrics", "by_hand", "out"),
}
_KEYS = {
    "server": ("listen", "metrics"),
    "pruning": ("sparsity", "pattern", "schedule", "pruner", "strategy", "compare"),
    "rounds": _ROUNDS,
}  # section -> options that go into it as they were typed


@click.group(cls=ServiceGroup)
def server() -> None:
    """Run rounds of a federation: plan, collect, add up what you cannot read, publish.

    \b
    Once:    fedprune server init --home hub --model models/llama
    Look:    fedprune doctor
    Always:  fedprune server

    Without a command, run is meant.  What it does stands in federation.toml in the current folder.  Killed at any
    moment it goes on where it stopped when it is started again.
    """


@server.command(
    cls=grouped(_GROUPS), epilog="Example: fedprune server init --home hub --model models/llama --sparsity 0.5"
)
@home_option
@click.option("--model", required=True, type=click.Path(path_type=Path), help="Folder of the model that is pruned.")
@click.option("--sparsity", metavar="S", help="Share of weights to drop.  [default: 0.5]")
@click.option("--pattern", metavar="N:M", help="Instead: keep N of every M weights.")
@click.option("--schedule", metavar="S1,S2,...", help="Instead: several passes, and the sparsity after each.")
@click.option("--pruner", type=click.Choice(["sparsegpt", "wanda", "magnitude"]), help="[default: sparsegpt]")
@click.option(
    "--strategy",
    type=click.Choice(["fedspallm", "votes"]),
    help="Counts and sums, or counts alone.  [default: fedspallm]",
)
@click.option("--compare", type=click.Choice(["matrix", "row"]), help="Within what weights are compared.")
@click.option("--member", "members", multiple=True, metavar="NAME", help="A member that is asked; by default all are.")
@click.option("--min-cohort", type=int, help="Fewest members per layer.  [default: 3, with --colluders so many more]")
@click.option("--spread", is_flag=True, default=None, help="Take as many rounds as budgets need to cover all layers.")
@click.option("--colluders", type=int, help="Members that may work with the server.  [default: (members - 1) / 3]")
@click.option(
    "--profile",
    type=click.Choice(["three-trip", "two-trip", "two-trip-witnessed", "one-trip"]),
    help="[default: three-trip; by hand, for one pass: two-trip]",
)
@click.option("--witness", "witnesses", multiple=True, metavar="NAME", help="A witness that signs survivor lists.")
@click.option("--key-holder", metavar="NAME", help="Who decrypts the sums of one-trip rounds.")
@click.option("--sum-bits", type=click.Choice(["32", "16"]), help="Bits of a kept sum.  [default: 32]")
@click.option("--seed", type=int, help="Decides who prunes which layers.  [default: drawn anew]")
@place_options("rounds", "packages and results")
@click.option("--listen", multiple=True, metavar="ADDRESS:PORT", help="[default: port 8443 of all networks]")
@click.option("--metrics", metavar="ADDRESS:PORT", help="Figures for Prometheus, on this machine alone.")
@click.option("--by-hand", is_flag=True, help="Packages are carried by hand: deadlines in days.")
@click.option("--out", type=click.Path(path_type=Path), default=FILE, show_default=True, help="File to write.")
@json_option
def init(home: Path, model: Path, by_hand: bool, out: Path, as_json: bool, **options: Any) -> None:
    """Write a commented federation.toml.

    Everything that can be said here can be changed in the file afterwards.  Nothing is overwritten.
    """
    from fedspallm_secure.app.configuration import preparing
    from fedspallm_secure.app.configuration.templates import write_federation_template
    from fedspallm_secure.crypto.identity import Role

    roster = preparing.roster_for(open_warned(home), Role.SERVER)
    preparing.check_known(roster, Role.MEMBER, options["members"], "--member")
    preparing.check_known(roster, Role.WITNESS, options["witnesses"], "--witness")
    holder = (options["key_holder"],) if options["key_holder"] else ()
    preparing.check_known(roster, Role.KEY_HOLDER, holder, "--key-holder")
    if by_hand and options["profile"] is None:
        options["profile"] = preparing.carried_profile(options["schedule"])
    options["min_cohort"] = preparing.least_cohort(options["min_cohort"], options["colluders"])
    preparing.check_cohort(roster, options["members"], options["min_cohort"] or 3)
    preparing.check_model(model)
    preparing.check_pattern(model, options["pattern"])
    filled = {
        **{section: _given(options, names) for section, names in _KEYS.items()},
        "model": {"path": preparing.seen_from(out, model)},
        "deadlines": preparing.deadlines(by_hand),
    }
    filled["server"] = {"home": preparing.seen_from(out, home), **places(out, options), **filled["server"]}
    made = write_federation_template(out, filled)
    if as_json:
        console.print_json({"config": str(out), "home": str(home), "roster": roster.version})
        return
    count = len(made.rounds.members or preparing.ids(roster, Role.MEMBER))
    click.echo(f"Written: {console.shown(out)}, for rounds of {count} members")
    next_steps("read it: every key has its meaning above it", "server", out, FILE)


def _given(options: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """What was typed, as the file spells it."""
    found = {name: options[name] for name in names if options[name] not in (None, ())}
    if "schedule" in found:
        found["schedule"] = [step.strip() for step in found["schedule"].split(",")]
    elif names == _KEYS["pruning"] and "pattern" not in found:
        found.setdefault("sparsity", "0.5")
    if "sum_bits" in found:
        found["sum_bits"] = int(found["sum_bits"])
    return found


@server.command(epilog="Example: fedprune server run --json-log --password-file /run/secrets/hub 2>>hub.log")
@config_option(FILE)
@click.option("--until-done", is_flag=True, help="End as soon as all rounds are done, and fetched.")
@run_options
@password_options
def run(config: Path | None, once: bool, json_log: bool, bars: bool, until_done: bool, password: PasswordSource) -> int:
    """Run rounds until all that federation.toml asks for is done.

    It asks for the password once.  Stop it with Ctrl-C or SIGTERM; started again it goes on where it stopped.
    """
    from fedspallm_secure.app.configuration.reading import FEDERATION, find
    from fedspallm_secure.app.service.server import run_server

    path = find(config, FEDERATION)
    with logs.service_output(json_log, bars) as progress:
        code = run_server(path, password.read, once, progress, until_done)
    tell_to_carry(path, once, json_log)
    return code


@server.command(epilog="Example: fedprune server status")
@config_option(FILE)
@watch_option
@json_option
def status(config: Path | None, watch: bool, as_json: bool) -> None:
    """Show where the rounds stand.  Needs no password and disturbs nothing."""
    from fedspallm_secure.app.configuration.reading import FEDERATION, find

    show_status(find(config, FEDERATION), watch, as_json)


@server.command(epilog="Example: fedprune server rounds --json")
@config_option(FILE)
@json_option
def rounds(config: Path | None, as_json: bool) -> None:
    """List all rounds there were, and how each ended."""
    from fedspallm_secure.app.configuration.reading import FEDERATION, find

    show_rounds(find(config, FEDERATION), as_json)


@server.command(epilog='Example: fedprune server abort 3 --reason "wrong model"')
@click.argument("number", metavar="ROUND", type=click.IntRange(1))
@click.option("--reason", required=True, help="What members are told, and what stays in the records.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option(FILE)
@json_option
def abort(number: int, reason: str, yes: bool, config: Path | None, as_json: bool) -> None:
    """End a round without a result.

    The running server does it within a second, or else when it is started again.  Members learn it and forget their
    secrets of the round; what they sent is of no more use.
    """
    from fedspallm_secure.app.configuration.reading import FEDERATION, find
    from fedspallm_secure.app.service.control import abort_round

    path = find(config, FEDERATION)
    confirm(f"End round {number} for everybody, without a result?", yes)
    abort_round(path, number, reason)
    if as_json:
        console.print_json({"round": number, "asked": True, "reason": reason})
    else:
        click.echo(f"Asked: the server ends round {number}")
