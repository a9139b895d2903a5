"""How readers of values become fields of a model: lists, choices and paths, and what else any section may need.

A reader takes what TOML gives and returns a value, or raises UsageError that says what is allowed.  `by` makes a field
of it.
"""

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BeforeValidator, Field, ValidationInfo

from fedspallm_secure.errors import FedSpaError, UsageError

T = TypeVar("T")
Named = TypeVar("Named", bound=Enum)

ENTRIES_LIMIT: Final = 10_000  # of one list
TEXT_LIMIT: Final = 4_096  # characters
ANCHOR: Final = (
    "A folder that you have made, for a note of how far your home has counted: by it an old copy of home and data is "
    "noticed. Best on a disk that is never put back together with them. Empty: ~/.local/state/fedprune/anchors."
)


def said(default: Any, comment: str, example: str = "") -> Any:
    """A field: its default as TOML spells it (None: absent; ...: has to be there), and what the template says of it.

    example: what the template shows, commented out, where there is no default.
    """
    examples = [example] if example else None
    return Field(default, validate_default=default is not ..., description=comment, examples=examples)


def by(read: Callable[[Any], object]) -> BeforeValidator:
    """A field whose value `read` makes of what TOML gives."""

    def validate(value: Any) -> Any:
        return _told(read, value)

    return BeforeValidator(validate)


def _told(read: Callable[[Any], T], value: Any) -> T:
    try:
        return read(value)
    except FedSpaError as error:
        raise ValueError(str(error)) from None  # which pydantic puts together with the key


def optional(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    """As `read`, and None for an empty text."""
    return lambda value: None if value is None or value == "" else read(value)


def each(read: Callable[[Any], T], least: int = 0) -> Callable[[Any], tuple[T, ...]]:
    """A list of what `read` reads, of at least so many entries, none of them twice."""

    def entries(value: Any) -> tuple[T, ...]:
        if type(value) is not list:
            raise UsageError("allowed is a list, written [ … ]")
        if not least <= len(value) <= ENTRIES_LIMIT:
            raise UsageError(f"allowed are {least} to {ENTRIES_LIMIT} entries")
        found: list[T] = []
        for number, entry in enumerate(value, start=1):
            try:
                one = read(entry)
            except FedSpaError as error:
                raise UsageError(f"entry {number}, {shorten(entry)}: {error}") from None
            if one in found:
                raise UsageError(f"entry {number}, {shorten(entry)}, stands there twice")
            found.append(one)
        return tuple(found)

    return entries


def ordered(read: Callable[[Any], str]) -> Callable[[Any], tuple[str, ...]]:
    """As `each`, sorted."""
    entries = each(read)
    return lambda value: tuple(sorted(entries(value)))


def text(value: Any) -> str:
    """A text.  Raises UsageError."""
    if type(value) is not str or len(value) > TEXT_LIMIT or not value.isprintable():
        raise UsageError("allowed is a text, in quotes")
    return value


def flag(value: Any) -> bool:
    """true or false.  Raises UsageError."""
    if type(value) is not bool:
        raise UsageError("allowed is true or false, without quotes")
    return value


def whole(least: int, most: int) -> Callable[[Any], int]:
    """A whole number from `least` to `most`."""

    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise UsageError(f"allowed is a whole number from {least} to {most}, without quotes")
        return value

    return read


def choice(*values: T) -> Callable[[Any], T]:
    """One of these texts or numbers."""

    def read(value: Any) -> T:
        for one in values:
            if type(value) is type(one) and value == one:
                return one
        raise UsageError("allowed is " + " or ".join(map(shorten, values)))

    return read


def member_of(kind: type[Named]) -> Callable[[Any], Named]:
    """One of the values of an enumeration."""
    read = choice(*(one.value for one in kind))
    return lambda value: kind(read(value))


def own_path() -> BeforeValidator:
    """A file or folder.  A relative one begins at the context of the validation, the configuration file's folder."""
    return BeforeValidator(lambda value, info: _told(_beginning_at(info), value))


def own_path_or_none() -> BeforeValidator:
    """As `own_path`, and None for an empty text."""
    return BeforeValidator(lambda value, info: _told(optional(_beginning_at(info)), value))


def own_paths() -> BeforeValidator:
    """A list of files, at least one."""
    return BeforeValidator(lambda value, info: _told(each(_beginning_at(info), least=1), value))


def _beginning_at(info: ValidationInfo) -> Callable[[Any], Path]:
    folder: Path = info.context  # type: ignore[assignment]

    def read(value: Any) -> Path:
        written = text(value)
        if not written:
            raise UsageError("allowed is the path of a file or folder")
        try:
            return folder / Path(written).expanduser()
        except RuntimeError:
            raise UsageError("the home folder that ~ stands for is not known; write the whole path") from None

    return read


def shorten(value: Any) -> str:
    """What was found, as TOML spells it, short enough for a message."""
    found = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return found if len(found) <= 60 else f"{found[:57]}…"
