"""Where passwords come from: a file, a descriptor, a command, the environment, or a person at a terminal.

No option takes the password itself, for every user of the machine can read the arguments of a process.  The environment
is there for machines where nothing else is possible: this user's other processes can read it, and so can programs that
this one starts.  What Python cannot promise about memory is said in `crypto.passwords`.
"""

import functools
import getpass
import os
import select
import shlex
import stat
import subprocess
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import click
from fedprune_cli.fingerprints import at_terminal

from fedspallm_secure.crypto.passwords import Password
from fedspallm_secure.errors import MissingInput, NoPassword, UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

VARIABLE = "FEDPRUNE_PASSWORD"
SHORTEST = 8  # characters of a new password (NIST SP 800-63B, section 5.1.1)
COMMAND_SECONDS = 120.0  # for a --password-command, which may have to ask a person
_LINE_LIMIT = 4096  # bytes of a line with a password, which has at most 1024 once it is normalised
_OUTPUT_LIMIT = 1 << 16  # bytes of a command's whole output


@dataclass(frozen=True, slots=True)
class PasswordSource:
    """Where a command takes its password from: one of the four, or else a person.  variable: the password itself."""

    file: Path | None = None
    descriptor: int | None = None
    command: str | None = None
    variable: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        values = (self.file, self.descriptor, self.command, self.variable)
        names = ("--password-file", "--password-fd", "--password-command", VARIABLE)
        given = [name for name, value in zip(names, values, strict=True) if value is not None]
        if len(given) > 1:
            raise UsageError(f"the password comes from one place, not from {' and '.join(given)}", hint="name only one")

    def read(self, what: str, *, new: bool = False) -> Password:
        """The password.  what: the thing it opens, for the prompt; new: a person types it twice.

        Raises UsageError for one that is empty, too long, not UTF-8, typed differently, or short though it is new;
        MissingInput; NoPassword.
        """
        password = self._read(what, new)
        if new and len(password.encoded.decode()) < SHORTEST:
            raise UsageError(
                f"a new password has at least {SHORTEST} characters", hint="it is all that protects the keys"
            )
        return password

    def _read(self, what: str, new: bool) -> Password:
        if self.file is not None:
            return _from_file(self.file)
        if self.descriptor is not None:
            return _from_descriptor(self.descriptor, "--password-fd")
        if self.command is not None:
            return _from_command(self.command)
        if self.variable is not None:
            return Password.from_text(self.variable)
        return _from_person(what, new)


def password_options(command: Command) -> Command:
    """Add --password-file, --password-fd and --password-command; the command gets a `PasswordSource` as `password`."""

    @functools.wraps(command)
    def with_source(
        *arguments: Any,
        password_file: Path | None,
        password_fd: int | None,
        password_command: str | None,
        **options: Any,
    ) -> Any:
        source = PasswordSource(password_file, password_fd, password_command, os.environ.get(VARIABLE))
        return command(*arguments, password=source, **options)

    wrapped: Any = with_source
    for option in (
        click.option(
            "--password-command",
            envvar=f"{VARIABLE}_COMMAND",
            help="Program that prints the password; run without a shell, its first line counts.",
        ),
        click.option(
            "--password-fd",
            type=click.IntRange(min=0),
            envvar=f"{VARIABLE}_FD",
            help="Open descriptor to read the password from, up to the end of a line.",
        ),
        click.option(
            "--password-file",
            type=click.Path(path_type=Path),
            envvar=f"{VARIABLE}_FILE",
            help=f"File whose first line is the password.  {VARIABLE} may hold it too; a terminal is asked otherwise.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]


def _from_file(path: Path) -> Password:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise MissingInput(f"cannot read {path}: {error.strerror or error}") from error
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_IRGRP | stat.S_IROTH):
            click.echo(f"fedprune: warning: other users may read {path}", err=True)
        return _from_descriptor(descriptor, str(path))
    finally:
        os.close(descriptor)


def _from_descriptor(descriptor: int, name: str) -> Password:
    """Read to the end of a line and not a byte further, so that what follows is left to its reader."""
    line = bytearray()
    try:
        while len(line) <= _LINE_LIMIT and (byte := os.read(descriptor, 1)) not in {b"", b"\n"}:
            line += byte
    except OSError as error:
        raise MissingInput(f"cannot read {name}: {error.strerror or error}") from error
    return _from_line(bytes(line))


def _from_command(text: str) -> Password:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--password-command cannot be split into words: {error}") from None
    if not words:
        raise UsageError("--password-command is empty")
    try:
        process = subprocess.Popen(words, stdout=subprocess.PIPE)  # noqa: S603  (the user's own words, and no shell)
    except OSError as error:
        raise MissingInput(f"cannot run {words[0]}: {error.strerror or error}") from error
    with process:
        try:
            line = _first_line_of(process, words[0])
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise NoPassword(f"{words[0]} gave no password: it ended with code {process.returncode}")
    return _from_line(line)


def _first_line_of(process: "subprocess.Popen[bytes]", name: str) -> bytes:
    """The first line of what a command prints, once it has ended.  Raises NoPassword for too much, or too late."""
    deadline = time.monotonic() + COMMAND_SECONDS
    descriptor = cast(IO[bytes], process.stdout).fileno()
    output = bytearray()
    while len(output) <= _OUTPUT_LIMIT:
        left = max(0.0, deadline - time.monotonic())
        if not select.select([descriptor], [], [], left)[0]:
            raise NoPassword(f"{name} gave no password within {COMMAND_SECONDS:.0f} seconds")
        if tile := os.read(descriptor, _OUTPUT_LIMIT):
            output += tile
            continue
        with suppress(subprocess.TimeoutExpired):
            process.wait(left)
            return bytes(output.partition(b"\n")[0])
        raise NoPassword(f"{name} did not end within {COMMAND_SECONDS:.0f} seconds")
    raise NoPassword(f"{name} prints more than {_OUTPUT_LIMIT} bytes, which is no password")


def _from_line(line: bytes) -> Password:
    # what is no UTF-8 becomes surrogates, which are refused without an error that holds the bytes
    return Password.from_text(line.removesuffix(b"\r").decode("utf-8", "surrogateescape"))


def _from_person(what: str, new: bool) -> Password:
    if not at_terminal():
        raise NoPassword(f"there is no password for {what}, and no terminal to ask at")
    password = _ask(f"{'New password' if new else 'Password'} for {what}: ")
    if new and _ask("The same again: ").encoded != password.encoded:
        raise UsageError("the two passwords differ", hint="type the same password twice")
    return password


def _ask(prompt: str) -> Password:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            text = getpass.getpass(prompt)
    except getpass.GetPassWarning:
        raise NoPassword("this terminal cannot hide what is typed") from None
    except EOFError:
        raise NoPassword("no password was typed") from None
    except UnicodeDecodeError:
        text = "\ud800"  # refused below, where no error that holds the bytes hangs on the refusal
    return Password.from_text(text)
