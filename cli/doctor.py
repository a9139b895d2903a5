"""`fedprune doctor`: everything that a service needs, looked at before it is needed."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from fedprune_cli import console
from fedprune_cli.fingerprints import at_terminal
from fedprune_cli.parameters import json_option
from fedprune_cli.passwords import PasswordSource, password_options
from fedprune_cli.services import text_table

if TYPE_CHECKING:
    from fedspallm_secure.app.service.findings import Finding
    from fedspallm_secure.crypto.passwords import Password

_PROBLEM = {"good": "none: ", "note": "note: ", "bad": ""}


@click.command(
    epilog="""\b
Examples:
  fedprune doctor
  fedprune doctor --config hub/federation.toml --quick --password-file /run/secrets/hub --json
"""
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="federation.toml, member.toml, witness.toml or key-holder.toml, or its folder.  "
    "[default: the one in this folder]",
)
@click.option("--quick", is_flag=True, help="Leave out model and texts, which take longest.")
@click.option("--without-keys", is_flag=True, help="Ask for no password: what needs the keys is not looked at.")
@password_options
@json_option
def doctor(config: Path | None, quick: bool, without_keys: bool, password: PasswordSource, as_json: bool) -> int:
    """Look at everything a server, a member, a witness or a key holder needs, and say how to put right what is wrong.

    Certificates, roster and keys, the clock, folders and disk, model, texts and memory, and the way to the server.
    It changes nothing.  Ends with code 0 if all is in order, and with 125 if there is a problem.
    """
    from fedspallm_secure.app.configuration.either import find_either
    from fedspallm_secure.app.service.doctor import check_health, examine
    from fedspallm_secure.app.service.findings import State
    from fedspallm_secure.errors import Unhealthy

    path = find_either(config)
    typed = None if without_keys else _password(password)
    found = list(examine(path, typed, quick))
    if as_json:
        healthy = all(finding.state is not State.BAD for finding in found)
        console.print_json(
            {"config": str(path), "healthy": healthy, "checks": [finding.to_dict() for finding in found]}
        )
        return 0 if healthy else Unhealthy.exit_code
    _print(found)
    check_health(found)
    return 0


def _password(source: PasswordSource) -> "Password | None":
    """The password, if it stands anywhere or somebody can be asked; what needs it is left out otherwise."""
    given = (source.file, source.descriptor, source.command, source.variable)
    if not at_terminal() and all(value is None for value in given):
        return None
    return source.read("your keys")


def _print(found: "list[Finding]") -> None:
    """The table; the name of a check stands in its first row only."""
    rows: list[list[str]] = []
    before = ""
    for finding in found:
        name = "" if finding.check == before else finding.check
        rows.append([name, _PROBLEM[finding.state.value] + finding.text, finding.fix])
        before = finding.check
    problems = {number for number, finding in enumerate(found) if finding.state.value == "bad"}
    console.printer().print(text_table(["Check", "Problem", "How to fix"], rows, problems))
