"""Whichever configuration file is at hand, for commands that serve all parties."""

import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from fedspallm_secure.app.configuration.federation import FederationConfig
from fedspallm_secure.app.configuration.key_holder import KeyHolderConfig
from fedspallm_secure.app.configuration.member import MemberConfig
from fedspallm_secure.app.configuration.reading import (
    CONFIGURATION_LIMIT,
    FEDERATION,
    KEY_HOLDER,
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

Either = FederationConfig | MemberConfig | WitnessConfig | KeyHolderConfig

_NAMES: Final = (FEDERATION, MEMBER, WITNESS, KEY_HOLDER)
_SECTIONS: Final[dict[str, tuple[str, type[Either]]]] = {
    MEMBER: ("member", MemberConfig),
    WITNESS: ("witness", WitnessConfig),
    KEY_HOLDER: ("holder", KeyHolderConfig),
}


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
            f"there is no {', '.join(_NAMES[:-1])} or {_NAMES[-1]} in {where}",
            hint="name one with --config, or write one with fedprune server init, client, witness or key-holder init",
        )
    if len(there) > 1:
        raise UsageError(f"there are several: {', '.join(map(str, there))}", hint="name one with --config")
    return there[0]


def read_either(path: Path) -> Either:
    """Read the file, for a member if it has a section [member], for a witness if it has [witness], and so on.

    Raises what `read_configuration` raises.
    """
    data = read_own(path, CONFIGURATION_LIMIT)
    table: dict[str, Any] = {_SECTIONS[path.name][0]: {}} if path.name in _SECTIONS else {}
    with suppress(ValueError, RecursionError):  # what is no TOML is told below
        table = tomllib.loads(data.decode())
    for section, kind in _SECTIONS.values():
        if section in table:
            return parse_configuration(data, path, kind)
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
        case KeyHolderConfig():
            return config.holder.home


def data_of(config: Either) -> Path:
    """Where the party's work lies."""
    match config:
        case FederationConfig():
            return config.server.data
        case MemberConfig():
            return config.member.data
        case WitnessConfig():
            return config.witness.data
        case KeyHolderConfig():
            return config.holder.data


def anchor_of(config: Either) -> Path | None:
    """The folder that was named for the anchor of the party's home; None for the usual one."""
    match config:
        case FederationConfig():
            return config.server.anchor
        case MemberConfig():
            return config.member.anchor
        case WitnessConfig():
            return config.witness.anchor
        case KeyHolderConfig():
            return config.holder.anchor


def role_of(config: Either) -> Role:
    """What the party is."""
    match config:
        case FederationConfig():
            return Role.SERVER
        case MemberConfig():
            return Role.MEMBER
        case WitnessConfig():
            return Role.WITNESS
        case KeyHolderConfig():
            return Role.KEY_HOLDER
