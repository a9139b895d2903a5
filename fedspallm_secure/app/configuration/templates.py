"""Configuration files to begin with: every key there is, what it means, and its default, rendered from the models."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fedspallm_secure.app.configuration.federation import FederationConfig
from fedspallm_secure.app.configuration.key_holder import KeyHolderConfig
from fedspallm_secure.app.configuration.member import MemberConfig
from fedspallm_secure.app.configuration.reading import (
    FEDERATION,
    KEY_HOLDER,
    MEMBER,
    WITNESS,
    Config,
    Configuration,
    parse_configuration,
    sections,
)
from fedspallm_secure.app.configuration.witness import WitnessConfig
from fedspallm_secure.errors import UsageError
from fedspallm_secure.storage.files import create_private

Filled = Mapping[str, Mapping[str, Any]]  # section -> key -> value as TOML knows it
_WIDTH = 100  # columns
_HEAD = {
    FEDERATION: "Rounds of a federation, for fedprune server.",
    MEMBER: "A member's side of rounds, for fedprune client.",
    WITNESS: "A witness of rounds, for fedprune witness.",
    KEY_HOLDER: "A key holder of one-trip rounds, for fedprune key-holder.",
}
_OPTIONS = {  # keys that are typed under another name, in one section or in all
    "files": "text",
    "rounds members": "member",
    "witnesses": "witness",
    "key_holders": "key-holder",
    "profiles": "profile",
    "pruners": "pruner",
    "path": "model",
    "id": "server",
    "epsilon": "dp-epsilon",
    "delta": "dp-delta",
    "rounds": "dp-rounds",
    "clip": "dp-clip",
}
_GENERAL = (
    "A key that is left out has the default, which is the value written here at first; what stands behind a # is an "
    "example. Relative paths begin at the folder of this file."
)


def write_federation_template(path: Path, filled: Filled) -> FederationConfig:
    """Write a commented `federation.toml` and return what it says; [server] home and [model] path have to be filled.

    filled: values that are not the defaults.  Raises UsageError for one that is not allowed; OutputExists, which
    leaves alone what is there; RunLocked, DiskFull or StorageError.
    """
    return _write(path, FederationConfig, FEDERATION, filled)


def write_member_template(path: Path, filled: Filled) -> MemberConfig:
    """As `write_federation_template`, a `member.toml`: [member] home, [server] id, [model] path and [texts] files."""
    return _write(path, MemberConfig, MEMBER, filled)


def write_witness_template(path: Path, filled: Filled) -> WitnessConfig:
    """As `write_federation_template`, a `witness.toml`: [witness] home and [server] id."""
    return _write(path, WitnessConfig, WITNESS, filled)


def write_key_holder_template(path: Path, filled: Filled) -> KeyHolderConfig:
    """As `write_federation_template`, a `key-holder.toml`: [holder] home, [server] id and [keys] members."""
    return _write(path, KeyHolderConfig, KEY_HOLDER, filled)


def _write(path: Path, kind: type[Config], name: str, filled: Filled) -> Config:
    try:
        data = template(kind, name, filled).encode()
    except UnicodeEncodeError:
        raise UsageError("a path that is not UTF-8 cannot stand in a configuration file", hint="rename it") from None
    try:
        found = parse_configuration(data, path, kind)
    except UsageError as error:  # about what was typed: there is no file yet
        raise UsageError(_as_options(str(error), path), hint="correct the options and run it again") from None
    create_private(path, data)
    return found


def _as_options(said: str, path: Path) -> str:
    """A message about keys of a file as one about the options that they came from."""
    said = said.removeprefix(str(path)).removeprefix(": ").strip()

    def option(found: re.Match[str]) -> str:
        section, name = found[1], found[2].partition(".")[0]
        return f"--{_OPTIONS.get(f'{section} {name}', _OPTIONS.get(name, name)).replace('_', '-')}"

    return re.sub(r"\[([a-z]+)\] ([a-z_]+[a-z_.0-9]*)", option, said)


def template(kind: type[Configuration], name: str, filled: Filled) -> str:
    """The text of a configuration file.  Raises ValueError for a section, a key or a value that has no place in it."""
    lines = [*_comment(_HEAD[name]), *_comment(_GENERAL)]
    known = sections(kind)
    for section, values in filled.items():
        if section not in known or not values.keys() <= known[section].model_fields.keys():
            raise ValueError(f"[{section}] or one of its keys is not known")
    for section, model in known.items():
        lines += ["", *_section(section, model, filled.get(section, {}))]
    return "\n".join(lines) + "\n"


def _section(name: str, model: type[BaseModel], values: Mapping[str, Any]) -> Iterator[str]:
    yield from _comment(model.__doc__ or "")
    yield f"[{name}]"
    for key, field in model.model_fields.items():
        yield from _comment(field.description or "")
        if key in values:
            yield f"{key} = {_spell(values[key])}"
        elif field.is_required():
            raise ValueError(f"[{name}] {key} has no default and no value")
        elif field.default is not None:
            yield f"{key} = {_spell(field.default)}"
        else:
            yield f"# {key} = {(field.examples or [''])[0]}"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(" ".join(text.split()), _WIDTH - 2)]


def _spell(value: Any) -> str:
    """TOML of a text, a number, true, false, or a list of those."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_spell, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    raise ValueError(f"{value!r} has no place in a configuration file")
