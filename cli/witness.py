"""`fedprune witness`: endorse survivor lists and cosign the log of a server, at a witness."""

from pathlib import Path
from typing import Any

import click
from fedprune_cli import console, logs
from fedprune_cli.beginning import file_facts, next_steps, place_options, server_options, tell_written, who_and_where
from fedprune_cli.documents import check_free, next_step, write
from fedprune_cli.homes import home_option, open_warned
from fedprune_cli.parameters import json_option
from fedprune_cli.passwords import PasswordSource, password_options
from fedprune_cli.services import ServiceGroup, config_option, tell_to_carry
from fedprune_cli.status import show_status, watch_option

FILE = "witness.toml"


@click.group(cls=ServiceGroup)
def witness() -> None:
    """Watch over a server: sign one survivor list of each round, and checkpoints of one history of its log.

    \b
    Once:    fedprune witness init --home wyn
    Look:    fedprune doctor
    Always:  fedprune witness

    Without a command, run is meant.  A witness sees no plan, no vector and no result.  Killed at any moment it goes on
    where it stopped when it is started again.  Never put its home back from a copy: it would sign a second history.
    """


@witness.command(epilog="Example: fedprune witness init --home wyn --url https://hub.example.org:8443")
@home_option
@server_options
@place_options("witnessing", "packages")
@click.option("--out", type=click.Path(path_type=Path), default=FILE, show_default=True, help="File to write.")
@password_options
@json_option
def init(home: Path, out: Path, password: PasswordSource, as_json: bool, **options: Any) -> None:
    """Write a commented witness.toml, make the key to cosign with, and show it.

    Members and auditors name this key in their policies.  Nothing is overwritten.
    """
    from fedspallm_secure.app.configuration import preparing
    from fedspallm_secure.app.configuration.reading import WITNESS, parse_configuration
    from fedspallm_secure.app.configuration.templates import template, write_witness_template
    from fedspallm_secure.app.configuration.witness import WitnessConfig
    from fedspallm_secure.app.service.witness import make_key
    from fedspallm_secure.crypto.identity import Role

    roster = preparing.roster_for(open_warned(home), Role.WITNESS)
    server = preparing.server_of(roster, options["server"])
    check_free(out, FILE)
    filled = who_and_where("witness", home, out, server, options)
    found = parse_configuration(template(WitnessConfig, WITNESS, filled).encode(), out, WitnessConfig)
    key = make_key(found, password.read)
    write_witness_template(out, filled)
    if as_json:
        console.print_json({**file_facts(out, home, found.server), "vkey": key.vkey})
        return
    tell_written(out, found.server)
    click.echo(f"Key: {key.vkey}")
    next_steps("tell members and auditors your key, over a way that the server does not control", "witness", out, FILE)


@witness.command(epilog="Example: fedprune witness run --json-log --password-file /run/secrets/wyn 2>>wyn.log")
@config_option(FILE)
@click.option("--json-log", is_flag=True, help="Log on stderr as one JSON object a line.")
@click.option("--once", is_flag=True, help="Do what there is to do now, and end; for cron.")
@password_options
def run(config: Path | None, once: bool, json_log: bool, password: PasswordSource) -> int:
    """Cosign and endorse until you stop it.

    It asks for the password once.  Stop it with Ctrl-C or SIGTERM; started again it goes on where it stopped.
    """
    from fedspallm_secure.app.configuration.reading import WITNESS, find
    from fedspallm_secure.app.service.witness import run_witness

    path = find(config, WITNESS)
    with logs.service_output(json_log, False):
        code = run_witness(path, password.read, once)
    tell_to_carry(path, once, json_log)
    return code


@witness.command(epilog="Example: fedprune bundle import --from /media/courier && fedprune witness cosign")
@config_option(FILE)
@password_options
@json_option
def cosign(config: Path | None, password: PasswordSource, as_json: bool) -> None:
    """Act once on what was carried here, without network: sign it, or refuse it.

    What is to be carried back lies ready afterwards: fedprune bundle export.
    """
    from fedspallm_secure.app.configuration.reading import WITNESS, find
    from fedspallm_secure.app.service.witness import cosign_arrived

    done = cosign_arrived(find(config, WITNESS), password.read)
    if as_json:
        console.print_json(done.to_dict())
        return
    click.echo(f"Packages: {done.settled} taken in, of which {len(done.refused)} refused")
    for type, sender, reason in done.refused:
        click.echo(f"  refused a {type} of {sender}: {console.shown(reason)}")
    if done.size is not None:
        click.echo(f"Log: {done.size} entries are cosigned")
    if done.waiting:
        listed = ", ".join(f"{count} {type}" for type, count in done.waiting.items())
        click.echo(f"To be carried back: {listed}")
        next_step("fedprune bundle export --to FOLDER")


@witness.command(epilog="Example: fedprune witness status")
@config_option(FILE)
@watch_option
@json_option
def status(config: Path | None, watch: bool, as_json: bool) -> None:
    """Show what you have signed and what is under way.  Needs no password and disturbs nothing."""
    from fedspallm_secure.app.configuration.reading import WITNESS, find

    show_status(find(config, WITNESS), watch, as_json)


@witness.command(epilog="Example: fedprune witness key --policy wyn.policy")
@click.option("--policy", type=click.Path(path_type=Path), help="Write a tlog-policy that asks for this witness.")
@config_option(FILE)
@json_option
def key(policy: Path | None, config: Path | None, as_json: bool) -> None:
    """Show the key that you cosign with.  Needs no password.

    The policy names the log too, once the server has shown it.  Policies of several witnesses are put together by hand,
    with a line: group NAME COUNT WITNESS...
    """
    from fedspallm_secure.app.configuration.reading import WITNESS, find
    from fedspallm_secure.app.service.witness import keys_of
    from fedspallm_secure.protocol.audit.policies import TrustPolicy

    own, log = keys_of(find(config, WITNESS))
    if policy is not None:
        made = TrustPolicy((log,) if log else (), {own.name: own}, {}, own.name)
        policy = write(policy, "witness.policy", made.encode())
    if as_json:
        facts = {"vkey": own.vkey, "log": log.vkey if log else "", "policy": str(policy) if policy else ""}
        console.print_json(facts)
        return
    click.echo(own.vkey)
    if policy is not None:
        click.echo(f"Written: {console.shown(policy)}, {'with' if log else 'without'} the log", err=True)
