"""`fedprune doctor`: look at everything a service needs before it is needed, and say how to put it right."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fedspallm_secure.app.configuration.either import Either, home_of, read_either, role_of
from fedspallm_secure.app.configuration.federation import FederationConfig
from fedspallm_secure.app.configuration.member import MemberConfig
from fedspallm_secure.app.service import (
    doctor_anchor,
    doctor_encryption,
    doctor_identity,
    doctor_machine,
    doctor_model,
    doctor_network,
    doctor_privacy,
    doctor_results,
)
from fedspallm_secure.app.service.findings import Finding, Findings, Patient, State, bad, good, looked_at, note
from fedspallm_secure.crypto.passwords import Password
from fedspallm_secure.errors import FedSpaError, Unhealthy
from fedspallm_secure.storage.home import Home, Unlocking, open_home

Check = tuple[str, Callable[[Patient], Findings]]
_QUICK: tuple[Check, ...] = (
    ("certificates", doctor_identity.certificates),
    ("roster", doctor_identity.roster),
    ("revocation list", doctor_identity.revocation_list),
    ("key files", doctor_identity.key_files),
    ("keys", doctor_identity.keys),
    ("prekeys", doctor_identity.prekeys),
    ("journal", doctor_identity.journal),
    ("anchor", doctor_anchor.anchor),
    ("log policy", doctor_identity.log_policy),
    ("privacy", doctor_privacy.privacy),
    ("encryption", doctor_encryption.encryption),
    ("clock", doctor_identity.clock),
    ("folders", doctor_machine.folders),
    ("results", doctor_results.results),
    ("open files", doctor_machine.open_files),
    ("OpenSSL", doctor_machine.openssl),
    ("ports", doctor_machine.ports),
    ("server", doctor_network.reach),
)
_SLOW: tuple[Check, ...] = (("model", doctor_model.model),)


def examine(path: Path, password: Password | None, quick: bool = False) -> Iterator[Finding]:
    """Check what the configuration file at `path` describes, one finding after the other.

    password: of the key files; without it what needs them is not looked at.  quick: leave out model and texts, which
    take longest.  Problems are findings, not errors.
    """
    try:
        config = read_either(path)
    except FedSpaError as error:
        yield bad("configuration", str(error), error.hint)
        return
    yield good("configuration", f"{path} is in order")
    home: list[Home] = []
    yield from looked_at("home", lambda: _home(config, home))
    if not home:
        return
    patient = Patient(config, home[0], int(time.time()), None if password is None else Unlocking(password))
    for name, check in _QUICK if quick else (*_QUICK, *_SLOW):
        yield from looked_at(name, lambda check=check: check(patient))  # type: ignore[misc]
    if quick and isinstance(config, FederationConfig | MemberConfig):
        yield note("model", "not looked at, because of --quick")


def _home(config: Either, found: list[Home]) -> Findings:
    home = open_home(home_of(config))
    wanted = role_of(config)
    if home.party.role is not wanted:
        text = f"{home.path} is the home of {home.party}, not of a {wanted.value}"
        yield bad("home", text, f"name the home of a {wanted.value} in {config.file}")
        return
    found.append(home)
    yield good("home", f"{home.identity}")


def check_health(findings: list[Finding]) -> None:
    """Raise Unhealthy if one of the findings is a problem."""
    problems = sum(finding.state is State.BAD for finding in findings)
    if problems:
        what = "1 problem was" if problems == 1 else f"{problems} problems were"
        raise Unhealthy(f"{what} found by {len(findings)} check{'' if len(findings) == 1 else 's'}")
