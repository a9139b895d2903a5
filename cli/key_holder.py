"""`fedprune key-holder`: decrypt the sums of one-trip rounds, and nothing else, at a key holder."""

from pathlib import Path
from typing import Any

import click
from fedprune_cli import console, logs
from fedprune_cli.beginning import file_facts, next_steps, place_options, server_options, tell_written, who_and_where
from fedprune_cli.documents import check_free
from fedprune_cli.homes import home_option, open_warned
from fedprune_cli.parameters import json_option
from fedprune_cli.passwords import PasswordSource, password_options
from fedprune_cli.services import ServiceGroup, config_option, tell_to_carry
from fedprune_cli.status import show_status, watch_option

FILE = "key-holder.toml"
_KEYS = ("members", "strategy", "sum_bits")
_POLICY = ("colluders", "least_cohort")


@click.group("key-holder", cls=ServiceGroup)
def key_holder() -> None:
    """Hold the keys of one-trip rounds: make one for each round, and decrypt the sums of that round.

    \b
    Once:    fedprune key-holder init --home vault
    Look:    fedprune doctor
    Always:  fedprune key-holder

    Without a command, run is meant.  A key holder must not be whoever runs the server, and no member: with the key it
    could read every vector that it is shown.  It is shown sums, and of single vectors a sample.  Needs the extra [he].
    """


@key_holder.command(epilog="Example: fedprune key-holder init --home vault --url https://hub.example.org:8443")
@home_option
@server_options
@click.option("--members", type=int, help="Members of a cohort at most.  [default: all of the roster]")
@click.option("--strategy", type=click.Choice(["fedspallm", "votes"]), help="What members send.  [default: fedspallm]")
@click.option("--sum-bits", type=click.Choice(["32", "16"]), help="Bits of a kept sum.  [default: 32]")
@click.option("--colluders", type=int, help="Members that may work with the server.  [default: 1]")
@click.option("--least-cohort", type=int, help="Fewest members in any cohort.  [default: 3]")
@place_options("decrypting", "packages and sums")
@click.option("--out", type=click.Path(path_type=Path), default=FILE, show_default=True, help="File to write.")
@json_option
def init(home: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Write a commented key-holder.toml.

    Everything that can be said here can be changed in the file afterwards.  Nothing is overwritten.
    """
    from fedspallm_secure.app.configuration import preparing
    from fedspallm_secure.app.configuration.templates import write_key_holder_template
    from fedspallm_secure.crypto.identity import Role

    roster = preparing.roster_for(open_warned(home), Role.KEY_HOLDER)
    server = preparing.server_of(roster, options["server"])
    check_free(out, FILE)
    options["members"] = options["members"] or max(2, len(preparing.ids(roster, Role.MEMBER)))
    options["sum_bits"] = None if options["sum_bits"] is None else int(options["sum_bits"])
    filled = {
        **who_and_where("holder", home, out, server, options),
        "keys": {name: options[name] for name in _KEYS if options[name] is not None},
        "policy": {name: options[name] for name in _POLICY if options[name] is not None},
    }
    made = write_key_holder_template(out, filled)
    if as_json:
        console.print_json({**file_facts(out, home, made.server), "members": made.keys.members})
        return
    tell_written(out, made.server)
    click.echo(f"Keys: for sums over {made.keys.members} members at most")
    next_steps("read [policy] in it: nothing that a plan says can loosen it", "key-holder", out, FILE)


@key_holder.command(
    epilog="Example: fedprune key-holder run --json-log --password-file /run/secrets/vault 2>>vault.log"
)
@config_option(FILE)
@click.option("--json-log", is_flag=True, help="Log on stderr as one JSON object a line.")
@click.option("--once", is_flag=True, help="Do what there is to do now, and end; for cron.")
@password_options
def run(config: Path | None, once: bool, json_log: bool, password: PasswordSource) -> int:
    """Make keys and decrypt sums until you stop it.

    It asks for the password once.  Stop it with Ctrl-C or SIGTERM; started again it goes on where it stopped.
    """
    from fedspallm_secure.app.configuration.reading import KEY_HOLDER, find
    from fedspallm_secure.app.service.key_holder import run_key_holder

    path = find(config, KEY_HOLDER)
    with logs.service_output(json_log, False):
        code = run_key_holder(path, password.read, once)
    tell_to_carry(path, once, json_log)
    return code


@key_holder.command(epilog="Example: fedprune key-holder status")
@config_option(FILE)
@watch_option
@json_option
def status(config: Path | None, watch: bool, as_json: bool) -> None:
    """Show your keys, and which sums you have decrypted.  Needs no password and disturbs nothing."""
    from fedspallm_secure.app.configuration.reading import KEY_HOLDER, find

    show_status(find(config, KEY_HOLDER), watch, as_json)
