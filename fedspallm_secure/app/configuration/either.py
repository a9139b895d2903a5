"""Whichever configuration file is at hand, for commands that serve both sides."""

import tomllib
from contextlib import suppress
from pathlib import Path

from fedspallm_secure.app.configuration.federation import FederationConfig
from fedspallm_secure.app.configuration.member import MemberConfig
from fedspallm_secure.app.configuration.reading import (
    CONFIGURATION_LIMIT,
    FEDERATION,
    MEMBER,
    find,
    parse_configuration,
)
from fedspallm_secure.errors import MissingInput, UsageError
from fedspallm_secure.storage.documents import read_own
from fedspallm_secure.storage.files import is_file, is_folder

Either = FederationConfig | MemberConfig


def find_either(path: Path | None) -> Path:
    """The file that was named, or the only one in the folder named, by default the current one.

    Raises MissingInput where there is none, UsageError where there are both.
    """
    if path is not None and not is_folder(path):
        return find(path, FEDERATION)
    folder = path or Path()
    there = [folder / name for name in (FEDERATION, MEMBER) if is_file(folder / name)]
    if not there:
        raise MissingInput(
            f"there is no {FEDERATION} and no {MEMBER} in {'this folder' if path is None else path}",
            hint="name one with --config, or write one with fedprune server init or fedprune client init",
        )
    if len(there) > 1:
        raise UsageError(f"there are both, {there[0]} and {there[1]}", hint="name one with --config")
    return there[0]


def read_either(path: Path) -> Either:
    """Read the file, for a member if it has a section [member].  Raises what `read_configuration` raises."""
    data = read_own(path, CONFIGURATION_LIMIT)
    named = path.name == MEMBER
    with suppress(ValueError, RecursionError):  # what is no TOML is told below
        named = "member" in tomllib.loads(data.decode())
    if named:
        return parse_configuration(data, path, MemberConfig)
    return parse_configuration(data, path, FederationConfig)
