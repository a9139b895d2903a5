"""Options that several commands share, and how their values are read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fedspallm_secure.errors import FormatError, UsageError
from fedspallm_secure.pruning.patterns import NofM, Pattern, Unstructured, parse_pattern, parse_sparsity
from fedspallm_secure.storage.texts import DEFAULT_FIELD, TextFile

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def texts(values: tuple[str, ...], what: str, field: str) -> tuple[TextFile, ...]:
    """Read NAME=FILE values.  Raises UsageError on a missing '=' or a name given twice."""
    found: dict[str, TextFile] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or not path:
            raise UsageError(f"{what} is written NAME=FILE, got {value!r}")
        if name in found:
            raise UsageError(f"{what} {name} is given twice")
        found[name] = TextFile(name, Path(path), field)
    return tuple(found.values())


def named(values: tuple[str, ...], what: str) -> dict[str, str]:
    """Read NAME=VALUE values.  Raises UsageError."""
    found: dict[str, str] = {}
    for value in values:
        name, equals, content = value.partition("=")
        if not equals or not content:
            raise UsageError(f"{what} is written NAME=VALUE, got {value!r}")
        if name in found:
            raise UsageError(f"{what} for {name} is given twice")
        found[name] = content
    return found


def whole(text: str, what: str) -> int:
    """Read a whole number.  Raises UsageError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise UsageError(f"{what} must be a whole number, got {text!r}")
    return int(text)


def size(text: str) -> int:
    """Read "4G", "512M" or a number of bytes.  Raises UsageError."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in {"K", "M", "G"} else (text, "")
    if not (number.isascii() and number.isdigit() and len(number) <= 12):
        raise UsageError(f"a size is written 4G, 512M or in bytes, got {text!r}")
    return int(number) * _UNITS[unit]


def schedule(sparsity: str | None, pattern: str | None, rounds: int | None, steps: str | None) -> tuple[Pattern, ...]:
    """The target of each pass over the model, from the four options that describe it.  Raises UsageError."""
    if sparsity is not None and pattern is not None:
        raise UsageError("--sparsity and --pattern exclude each other")
    if pattern is not None:
        if steps is not None:
            raise UsageError("--schedule is for unstructured sparsity, not for --pattern")
        return (parse_pattern(pattern),) * (rounds or 1)
    if steps is not None:
        return _explicit(sparsity, rounds, steps)
    if sparsity is None:
        raise UsageError("how sparse should the model become?", hint="add --sparsity 0.5 or --pattern 2:4")
    target = parse_sparsity(sparsity)
    count = rounds or 1
    return tuple(Unstructured(target * step / count) for step in range(1, count + 1))


def _explicit(sparsity: str | None, rounds: int | None, steps: str) -> tuple[Pattern, ...]:
    values = [parse_sparsity(part.strip()) for part in steps.split(",")]
    if rounds is not None and rounds != len(values):
        raise UsageError(f"--rounds {rounds} and a --schedule of {len(values)} steps contradict each other")
    if sparsity is not None and parse_sparsity(sparsity) != values[-1]:
        raise UsageError(f"--schedule ends at {float(values[-1]):g}, not at --sparsity {sparsity}")
    return tuple(Unstructured(value) for value in values)


def own_sparsities(values: tuple[str, ...], target: Pattern) -> dict[str, Pattern]:
    """Read --silo-sparsity NAME=S values.  Raises UsageError under an N:M target."""
    own = {name: Unstructured(parse_sparsity(text)) for name, text in named(values, "--silo-sparsity").items()}
    if own and isinstance(target, NofM):
        raise UsageError("silos cannot choose their own sparsity under an N:M pattern")
    return dict(own)


def typed_name(read: Callable[[str], T], text: str, what: str) -> T:
    """Read a name that somebody typed: a mistake in it is one of usage, not a damaged file.  Raises UsageError."""
    try:
        return read(text)
    except FormatError as error:
        hint = "names are lower case, for example member/north in lungs.example"
        raise UsageError(f"{what}: {error}", hint=hint) from None


model_option = click.option(
    "--model",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder with config.json and *.safetensors.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, nothing else.")
field_option = click.option(
    "--field", default=DEFAULT_FIELD, show_default=True, help="Field or column that holds the text."
)


def compute_options(command: Command) -> Command:
    """Add --device, --dtype, --activation-budget and --blocks."""
    for option in (
        click.option("--blocks", help="Path of the decoder blocks, where they cannot be told apart by themselves."),
        click.option(
            "--activation-budget",
            default="4G",
            show_default=True,
            help="Hidden states kept in memory; more than that spills to disk.",
        ),
        click.option(
            "--dtype",
            type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
            default="auto",
            show_default=True,
            help="Of the forward pass. auto: float32 on a CPU, the checkpoint's own elsewhere.",
        ),
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda", "mps"]),
            default="auto",
            show_default=True,
            help="auto: CUDA if present, then MPS, then CPU.",
        ),
    ):
        command = option(command)
    return command
