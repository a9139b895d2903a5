"""Whichever configuration file is at hand, for commands that serve all parties."""

import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from fedspallm_secure.app.configuration.federation import FederationConfig
from fedspallm_secure.app.configuration.member import MemberConfig
from fedspallm_secure.app.configuration.reading import (
    CONFIGURATION_LIMIT,
    FEDERATION,
    MEMBER,
    WITNESS,
    find,
    parse_configuration,
)
from fedspallm_secure.app.configuration.witness import WitnessConfig
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.errors import MissingInput, UsageError
from fedspallm_secure.storage.documents import read_own
from fedspallm_secure.storage.files import is_file, is_folder

Either = FederationConfig | MemberConfig | WitnessConfig

_NAMES: Final = (FEDERATION, MEMBER, WITNESS)


def find_either(path: Path | None) -> Path:
    """The file that was named, or the only one in the folder named, by default the current one.

    Raises MissingInput where there is none, UsageError where there are several.
    """
    if path is not None and not is_folder(path):
        return find(path, FEDERATION)
    folder = path or Path()
    there = [folder / name for name in _NAMES if is_file(folder / name)]
    if not there:
        where = "this folder" if path is None else path
        raise MissingInput(
            f"there is no {FEDERATION}, {MEMBER} or {WITNESS} in {where}",
            hint="name one with --config, or write one with fedprune server init, client init or witness init",
        )
    if len(there) > 1:
        raise UsageError(f"there are several: {', '.join(map(str, there))}", hint="name one with --config")
    return there[0]


def read_either(path: Path) -> Either:
    """Read the file, for a member if it has a section [member], for a witness if it has [witness].

    Raises what `read_configuration` raises.
    """
    data = read_own(path, CONFIGURATION_LIMIT)
    table: dict[str, Any] = {"member": {}} if path.name == MEMBER else {"witness": {}} if path.name == WITNESS else {}
    with suppress(ValueError, RecursionError):  # what is no TOML is told below
        table = tomllib.loads(data.decode())
    if "member" in table:
        return parse_configuration(data, path, MemberConfig)
    if "witness" in table:
        return parse_configuration(data, path, WitnessConfig)
    return parse_configuration(data, path, FederationConfig)


def home_of(config: Either) -> Path:
    """Where the party's keys are."""
    match config:
        case FederationConfig():
            return config.server.home
        case MemberConfig():
            return config.member.home
        case WitnessConfig():
            return config.witness.home


def data_of(config: Either) -> Path:
    """Where the party's work lies."""
    match config:
        case FederationConfig():
            return config.server.data
        case MemberConfig():
            return config.member.data
        case WitnessConfig():
            return config.witness.data


def role_of(config: Either) -> Role:
    """What the party is."""
    match config:
        case FederationConfig():
            return Role.SERVER
        case MemberConfig():
            return Role.MEMBER
        case WitnessConfig():
            return Role.WITNESS
