"""`fedprune client`: rounds of a federation, at a member."""

from pathlib import Path
from typing import Any

import click
from fedprune_cli import console, logs
from fedprune_cli.beginning import file_facts, next_steps, place_options, server_options, tell_written, who_and_where
from fedprune_cli.documents import next_step
from fedprune_cli.grouped import grouped
from fedprune_cli.homes import home_option, open_warned
from fedprune_cli.parameters import json_option
from fedprune_cli.passwords import PasswordSource, password_options
from fedprune_cli.services import ServiceGroup, config_option, confirm, run_options, tell_to_carry
from fedprune_cli.status import show_rounds, show_status, watch_option

FILE = "member.toml"
_GROUPS = {
    "What has to be there": ("home", "model", "texts"),
    "The server": ("server", "url", "by_hand", "proxy", "upload_rate", "download_rate"),
    "Pruning": ("field", "samples", "seqlen", "seed", "layers", "gpu_memory", "minutes", "device", "dtype", "blocks"),
    "What you insist on": ("colluders", "least_cohort", "profiles", "witnesses", "key_holders", "pruners"),
    "Differential privacy of your text": ("epsilon", "delta", "rounds", "clip"),
    "This machine": ("data", "anchor", "metrics", "out"),
}
_KEYS = {
    "member": ("metrics",),
    "server": ("upload_rate", "download_rate"),
    "texts": ("field", "samples", "seqlen", "seed"),
    "budget": ("layers", "gpu_memory", "minutes"),
    "policy": ("colluders", "least_cohort", "profiles", "witnesses", "key_holders", "pruners"),
    "privacy": ("epsilon", "delta", "rounds", "clip"),
    "compute": ("device", "dtype", "blocks"),
}  # section -> options that go into it as they were typed


@click.group(cls=ServiceGroup)
def client() -> None:
    """Take part in rounds as a member: prune your layers with your own text, and send what only the sum can open.

    \b
    Once:    fedprune client init --home north --model models/llama --text north.jsonl
    Look:    fedprune doctor
    Always:  fedprune client

    Without a command, run is meant.  What it does, and what it refuses, stands in member.toml in the current folder.
    Killed at any moment it goes on where it stopped when it is started again.
    """


@client.command(
    cls=grouped(_GROUPS),
    epilog="Example: fedprune client init --home north --model models/llama --text north.jsonl "
    "--url https://hub.example.org:8443",
)
@home_option
@click.option("--model", required=True, type=click.Path(path_type=Path), help="Folder of the model that is pruned.")
@click.option(
    "--text",
    "texts",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="A private text; may be repeated.",
)
@server_options
@click.option("--upload-rate", metavar="RATE", help="Bytes per second that you send at most, for example 10 MiB/s.")
@click.option("--download-rate", metavar="RATE", help="Bytes per second that you fetch at most.")
@click.option("--field", help="Field or column that holds the text.  [default: text]")
@click.option("--samples", type=int, help="Calibration windows.  [default: 32]")
@click.option("--seqlen", type=int, help="Tokens per window.  [default: min(2048, the model's limit)]")
@click.option("--seed", type=int, help="Decides which windows of your texts are taken.  [default: 0]")
@click.option("--layers", type=int, help="Layers you prune in a round at most.  [default: all]")
@click.option("--gpu-memory", metavar="SIZE", help="Memory of the GPU that may be used, for example 20 GiB.")
@click.option("--minutes", type=int, help="Minutes that pruning may take.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="[default: auto]")
@click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), help="[default: auto]")
@click.option("--blocks", help="Path of the decoder blocks, where they cannot be told apart by themselves.")
@click.option("--colluders", type=int, help="Members that may work with the server.  [default: 1]")
@click.option("--least-cohort", type=int, help="Fewest members in a cohort of yours.  [default: 3]")
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    type=click.Choice(["three-trip", "two-trip", "two-trip-witnessed", "one-trip"]),
    help="One that you accept.  [default: three-trip; by hand two-trip as well]",
)
@click.option("--witness", "witnesses", multiple=True, metavar="NAME", help="A witness that you believe.")
@click.option(
    "--key-holder", "key_holders", multiple=True, metavar="NAME", help="Who may decrypt sums that you are in."
)
@click.option(
    "--pruner", "pruners", multiple=True, type=click.Choice(["sparsegpt", "wanda", "magnitude"]), help="[default: any]"
)
@click.option(
    "--dp-epsilon",
    "epsilon",
    metavar="E",
    help="Prune with noise: what all your rounds together may cost.  Needs [dp].",
)
@click.option("--dp-delta", "delta", metavar="D", help="Chance that the promise does not hold.  [default: 1e-6]")
@click.option("--dp-rounds", "rounds", type=int, help="Rounds that epsilon has to be enough for.  [default: 1]")
@click.option("--dp-clip", "clip", metavar="C", help="Longest vector of one record.  [default: 1]")
@place_options("pruning", "packages and layers")
@click.option("--metrics", metavar="ADDRESS:PORT", help="Figures for Prometheus, on this machine alone.")
@click.option("--out", type=click.Path(path_type=Path), default=FILE, show_default=True, help="File to write.")
@json_option
def init(home: Path, model: Path, texts: tuple[Path, ...], out: Path, as_json: bool, **options: Any) -> None:
    """Write a commented member.toml.

    The server is looked up in your roster; you are asked for its address.  Everything that can be said here can be
    changed in the file afterwards.  Nothing is overwritten.
    """
    from fedspallm_secure.app.configuration import preparing
    from fedspallm_secure.app.configuration.templates import write_member_template
    from fedspallm_secure.crypto.identity import Role

    roster = preparing.roster_for(open_warned(home), Role.MEMBER)
    server = preparing.server_of(roster, options["server"])
    preparing.check_known(roster, Role.WITNESS, options["witnesses"], "--witness")
    preparing.check_known(roster, Role.KEY_HOLDER, options["key_holders"], "--key-holder")
    preparing.check_model(model)
    for text in texts:
        preparing.check_text(text)
    if options["by_hand"] and not options["profiles"]:
        options["profiles"] = preparing.carried_profiles()
    filled = {section: {k: options[k] for k in keys if options[k] not in (None, ())} for section, keys in _KEYS.items()}
    filled["texts"]["files"] = [preparing.seen_from(out, text) for text in texts]
    filled["model"] = {"path": preparing.seen_from(out, model)}
    for section, said in who_and_where("member", home, out, server, options).items():
        filled.setdefault(section, {}).update(said)
    made = write_member_template(out, filled)
    if as_json:
        console.print_json(file_facts(out, home, made.server))
        return
    tell_written(out, made.server)
    next_steps("read [policy] in it: nothing that a plan says can loosen it", "client", out, FILE)


@client.command(epilog="Example: fedprune client run --json-log --password-file /run/secrets/north 2>>north.log")
@config_option(FILE)
@click.option("--until-done", is_flag=True, help="End as soon as the last round is over, and its result is here.")
@run_options
@password_options
def run(config: Path | None, once: bool, json_log: bool, bars: bool, until_done: bool, password: PasswordSource) -> int:
    """Take part in rounds until you stop it.

    It asks for the password once.  Stop it with Ctrl-C or SIGTERM; started again it goes on where it stopped.
    """
    from fedspallm_secure.app.configuration.reading import MEMBER, find
    from fedspallm_secure.app.service.client import run_client
    from fedspallm_secure.errors import PlanRefused, RoundError

    path = find(config, MEMBER)
    try:
        with logs.service_output(json_log, bars) as progress:
            code = run_client(path, password.read, once, progress, until_done)
    except (RoundError, PlanRefused):  # a plan was declined: that, too, is carried
        tell_to_carry(path, once, json_log)
        raise
    tell_to_carry(path, once, json_log)
    return code


@client.command(epilog="Example: fedprune client status")
@config_option(FILE)
@watch_option
@json_option
def status(config: Path | None, watch: bool, as_json: bool) -> None:
    """Show what you have taken part in and what is under way.  Needs no password and disturbs nothing."""
    from fedspallm_secure.app.configuration.reading import MEMBER, find

    show_status(find(config, MEMBER), watch, as_json)


@client.command(epilog="Example: fedprune client rounds --json")
@config_option(FILE)
@json_option
def rounds(config: Path | None, as_json: bool) -> None:
    """List all rounds that you took part in or declined, and how each ended.

    Needs no password and disturbs nothing.
    """
    from fedspallm_secure.app.configuration.reading import MEMBER, find

    show_rounds(find(config, MEMBER), as_json)


@client.command(epilog="Example: fedprune client leave")
@click.option("--undo", is_flag=True, help="Come back.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option(FILE)
@json_option
def leave(undo: bool, yes: bool, config: Path | None, as_json: bool) -> None:
    """Take part in no more rounds.

    The running client does it as soon as it can, or else when it is started again.  A round that you have sent a
    contribution for is still answered, or the others could not finish it.
    """
    from fedspallm_secure.app.configuration.reading import MEMBER, find
    from fedspallm_secure.app.service.control import check_can_leave
    from fedspallm_secure.app.service.control import leave as leave_rounds

    path = find(config, MEMBER)
    check_can_leave(path, undo)
    if not undo:
        confirm("Take part in no more rounds?", yes)
    leave_rounds(path, undo)
    if as_json:
        console.print_json({"asked": "come back" if undo else "leave"})
    elif undo:
        click.echo("Asked: you take part in rounds again")
        next_step("fedprune client run")
    else:
        click.echo("Asked: you take part in no more rounds; one that you have contributed to is still answered")
