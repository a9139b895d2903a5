"""The `fedprune` group: errors become one line, one hint and one exit code."""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click
from fedprune_cli import console, logs
from fedprune_cli.audit import audit
from fedprune_cli.bundle import bundle
from fedprune_cli.certs import certs
from fedprune_cli.client import client
from fedprune_cli.demo import demo
from fedprune_cli.doctor import doctor
from fedprune_cli.inspect import evaluate, inspect
from fedprune_cli.key_holder import key_holder
from fedprune_cli.packages import package
from fedprune_cli.server import server
from fedprune_cli.simulate import simulate
from fedprune_cli.status import status
from fedprune_cli.transfer import export, import_
from fedprune_cli.witness import witness

from fedspallm_secure import __version__
from fedspallm_secure.errors import FedSpaError, MissingExtra, OutOfMemory

NEEDS_TORCH = {"torch", "transformers", "tokenizers", "accelerate", "safetensors", "zstandard"}  # the extra [torch]
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110, "auto_envvar_prefix": "FEDPRUNE"}


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name="fedprune")
def cli() -> None:
    """Prune one language model together, without showing each other the data.

    \b
    Try it:       fedprune demo
    Look first:   fedprune inspect --model DIR
    The main job: fedprune simulate --model DIR --silo a=a.txt --silo b=b.txt --silo c=c.txt \\
                      --test a=a-held-out.txt --sparsity 0.5 --out OUT

    Every option can also be set in the environment, for example FEDPRUNE_SIMULATE_SEED=1.  Exit codes are listed in
    docs/EXIT_CODES.md; an unknown code means failure.
    """


for command in (
    simulate,
    evaluate,
    inspect,
    export,
    import_,
    demo,
    certs,
    package,
    server,
    client,
    witness,
    key_holder,
    bundle,
    status,
    doctor,
    audit,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    # Read once, when torch is loaded.  Threads that spin while they wait take cores from other work, and from each
    # other where there are fewer cores than threads.
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # As the first process of a container it gets no signal for which it has no handler, and services set theirs late.
    signal.signal(signal.SIGTERM, _end)
    sys.exit(run(arguments))


def _end(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.  FEDPRUNE_DEBUG=1 shows tracebacks, and changes nothing else."""
    try:
        code = cli.main(arguments, prog_name="fedprune", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("FEDPRUNE_DEBUG") == "1":
            for line in traceback.format_exc().splitlines():
                click.echo(console.shown(line), err=True)
        message, hint, code = _refused(error)
        words = sys.argv[1:] if arguments is None else arguments
        if message and _logs_json(words):
            _log_error(message, hint, code)
        elif message:
            console.tell_error(message, hint)
        if message and "--json" in words:
            console.print_json({"error": type(error).__name__, "message": message, "hint": hint, "code": code})
        return code
    return code if isinstance(code, int) else 0  # a command that goes on after a refusal ends with that code


def _logs_json(words: Sequence[str]) -> bool:
    """Whether a service was to log as JSON, by an option or by the environment: then its last word is a line too."""
    name = f"FEDPRUNE_{words[0]}_RUN_JSON_LOG".upper().replace("-", "_") if words else ""
    return "--json-log" in words or os.environ.get(name, "").lower() in ("1", "t", "true", "y", "yes", "on")


def _log_error(message: str, hint: str, code: int) -> None:
    facts = {"name": "cli", "msg": "%s", "args": (message,), "levelname": logging.getLevelName(logging.ERROR)}
    record = logging.makeLogRecord({**facts, "levelno": logging.ERROR, "hint": hint, "code": code})
    click.echo(logs.JsonLines().format(record), err=True)


def _refused(error: BaseException) -> tuple[str, str, int]:
    """What ended the command, what to do about it, and the exit code.  Nobody is told who has gone away."""
    if isinstance(error, FedSpaError):
        return str(error), error.hint, error.exit_code
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "fedprune"
        return error.format_message(), f"{command} -h shows what it takes", 2
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return "interrupted", "run the same command again: it continues where it stopped", 130
    if isinstance(error, BrokenPipeError):
        return "", "", 1
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in NEEDS_TORCH:
        return (
            f"this command needs {error.name}, which is not installed",
            "pip install 'fedspallm-secure[torch]'; authority, witnesses, key holders and auditors do without",
            MissingExtra.exit_code,
        )
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "t allocate memory" in str(error):
        return "not enough memory", OutOfMemory.hint, OutOfMemory.exit_code
    lines = str(error).strip().splitlines() or [""]
    return (
        f"unexpected {type(error).__name__}: {lines[0]}",
        "this is a defect; FEDPRUNE_DEBUG=1 shows where, please report it",
        1,
    )


if __name__ == "__main__":
    main()
