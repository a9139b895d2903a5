"""Reading a configuration file: found, read within bounds, checked as a whole, every mistake told in plain words."""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError
from pydantic_core import ErrorDetails

from fedspallm_secure.app.configuration.fields import shorten
from fedspallm_secure.errors import MissingInput, UsageError
from fedspallm_secure.storage.documents import read_own
from fedspallm_secure.storage.files import is_file, is_folder

FEDERATION, MEMBER, WITNESS = "federation.toml", "member.toml", "witness.toml"
KEY_HOLDER = "key-holder.toml"
CONFIGURATION_LIMIT: Final = 1 << 20  # bytes
_TOLD: Final = 8  # mistakes in one message
_MAKES = {
    FEDERATION: "fedprune server init",
    MEMBER: "fedprune client init",
    WITNESS: "fedprune witness init",
    KEY_HOLDER: "fedprune key-holder init",
}


_SIGNS = {"member": MEMBER, "witness": WITNESS, "holder": KEY_HOLDER, "pruning": FEDERATION, "rounds": FEDERATION}
# a section that one kind of file has alone -> the usual name of that file


class Section(BaseModel):
    """A table of a configuration file.  Its docstring and the descriptions of its fields are what the template says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Configuration(Section):
    """A whole file."""

    _file: Path = PrivateAttr(default=Path())

    @property
    def file(self) -> Path:
        """Where it was read from, for messages."""
        return self._file


_AGAIN = "correct the file and run the same command again; docs/CONFIGURATION.md describes every key"
_TOML = 'keys are written  name = "text"  or  name = 3  under a heading in brackets, such as [model]'

Config = TypeVar("Config", bound=Configuration)


def find(path: Path | None, name: str) -> Path:
    """The file at hand: the one that was named, or in the folder that was named; else `name` in the current folder.

    Raises MissingInput.
    """
    if path is not None:
        found = path / name if is_folder(path) else path
        if not is_file(found):
            raise MissingInput(f"{found} does not exist or is not a file", hint="check the path")
        return found
    found = Path(name)
    if is_file(found):
        return found
    other = next((one for one in _MAKES if one != name and is_file(Path(one))), None)
    beside = f"; {other} is there, which is for {_MAKES[other].removesuffix(' init')}" if other else ""
    raise MissingInput(f"there is no {name} in this folder{beside}", hint=f"name it with --config, or {_make(name)}")


def _make(name: str) -> str:
    return f"write one with {_MAKES[name]}" if name in _MAKES else "check the path"


def read_configuration(path: Path, kind: type[Config]) -> Config:
    """Read a file of this kind.

    Raises UsageError, which names file, key, what was found and what is allowed; MissingInput, LimitExceeded or
    HostileFile for what is no file of a sensible size.
    """
    return parse_configuration(read_own(path, CONFIGURATION_LIMIT), path, kind)


def parse_configuration(data: bytes, path: Path, kind: type[Config]) -> Config:
    """What the bytes of the file `path` say.  Raises UsageError."""
    try:
        table = tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}", hint=_AGAIN) from None
    except (ValueError, RecursionError) as error:  # ValueError also for numbers of absurd length
        raise UsageError(f"{path} is not TOML: {error}", hint=_TOML) from None
    try:
        found = kind.model_validate(table, context=path.absolute().parent)
    except ValidationError as error:
        _check_kind(table, path, kind)
        raise UsageError(_story(path, kind, error.errors(include_url=False)), hint=_AGAIN) from None
    found._file = path
    return found


def _check_kind(table: Mapping[str, Any], path: Path, kind: type[BaseModel]) -> None:
    """Raise UsageError if a section says that this is another kind of file than was asked for."""
    wanted = next((name for section, name in _SIGNS.items() if section in kind.model_fields), None)
    names = {name for section, name in _SIGNS.items() if section in table}
    if wanted is not None and len(names) == 1 and wanted not in names:
        found = names.pop()
        command = _MAKES[found].removesuffix(" init")
        raise UsageError(
            f"{path} is a {found}, which is for {command}, and a {wanted} is asked for here",
            hint=f"run {command} with it, or name a {wanted} with --config",
        )


def _story(path: Path, kind: type[BaseModel], mistakes: list[ErrorDetails]) -> str:
    told = [_mistake(kind, mistake) for mistake in mistakes[:_TOLD]]
    if len(mistakes) > _TOLD:
        told.append(f"and {len(mistakes) - _TOLD} more")
    many = f" has {len(mistakes)} mistakes" if len(mistakes) > 1 else ""
    return f"{path}{many}: {'; '.join(told)}"


def _mistake(kind: type[BaseModel], mistake: ErrorDetails) -> str:
    """One mistake: where it is, what was found, what is allowed."""
    names = [str(part) for part in mistake["loc"]]
    if not names:  # about several sections at once, which the reason names
        return _reason(mistake)
    where = _where(names)
    if mistake["type"] == "missing":
        return f"{where} is missing: {_comment(kind, names)}"
    if mistake["type"] == "extra_forbidden":
        return f"{where}: there is no such {'key' if len(names) > 1 else 'section'}{_suggestion(kind, names)}"
    if mistake["type"] in {"model_type", "model_attributes_type"}:
        return f"{where} = {shorten(mistake['input'])}: allowed is a section, a heading [{names[0]}] with keys under it"
    if len(names) < 2:  # about several keys at once
        return f"{where} {_reason(mistake)}"
    return f"{where} = {shorten(mistake['input'])}: {_reason(mistake)}"


def _reason(mistake: ErrorDetails) -> str:
    return str(mistake.get("ctx", {}).get("error", mistake["msg"]))


def _where(names: list[str]) -> str:
    section, *key = (name[:60] for name in names)
    return f"[{section}] {'.'.join(key)}".strip()


def sections(kind: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Name -> model, of the sections of a file."""
    found = {name: field.annotation for name, field in kind.model_fields.items()}
    return {name: one for name, one in found.items() if isinstance(one, type) and issubclass(one, BaseModel)}


def _comment(kind: type[BaseModel], names: list[str]) -> str:
    section = sections(kind).get(names[0])
    if section is None or len(names) < 2:
        return "a section of this name has to be there"
    return (section.model_fields[names[1]].description or "").removesuffix(".")


def _suggestion(kind: type[BaseModel], names: list[str]) -> str:
    """What may have been meant by a name that is not known."""
    known_sections = sections(kind)
    if len(names) < 2:
        near = get_close_matches(names[0], known_sections, 1)
        at_home = [name for name, section in known_sections.items() if names[0] in section.model_fields]
        if at_home:
            return f"; {names[0]} is a key of [{at_home[0]}]"
        return f"; did you mean [{near[0]}]?" if near else f"; sections are {', '.join(known_sections)}"
    known = known_sections[names[0]].model_fields
    elsewhere = [name for name, section in known_sections.items() if names[-1] in section.model_fields]
    if elsewhere:
        return f"; {names[-1]} is a key of [{elsewhere[0]}]"
    near = get_close_matches(names[-1], known, 1)
    return f"; did you mean {near[0]}?" if near else f"; keys of [{names[0]}] are {', '.join(known)}"
