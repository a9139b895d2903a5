"""What the commands of `fedprune audit` have in common: the log, what an audit relies on, progress."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from fedprune_cli import console
from fedprune_cli.fingerprints import ask_about

from fedspallm_secure.errors import UsageError

if TYPE_CHECKING:
    from fedspallm_secure.app.audit.opening import OpenLog
    from fedspallm_secure.protocol.audit.reports import Report

Command = TypeVar("Command", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)

log_argument = click.argument("log", type=_PATH)


@dataclass(frozen=True, slots=True)
class Basis:
    """What an audit relies on, as it was typed."""

    root: Path | None
    fingerprint: str | None
    policy: Path | None
    checkpoint: tuple[Path, ...]
    receipts: Path | None
    without_documents: bool


def basis_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what an audit relies on; the command gets them as `basis`."""

    @wraps(command)
    def gathered(**values: Any) -> Any:
        basis = Basis(**{name: values.pop(name) for name in Basis.__slots__})
        return command(basis=basis, **values)

    made: Callable[..., Any] = gathered
    for option in (
        click.option("--without-documents", is_flag=True, help="This is a member's own copy, which has no documents."),
        click.option("--receipts", type=_PATH, help="Folder with receipts that members handed in, nothing else in it."),
        click.option(
            "--checkpoint", multiple=True, type=_PATH, help="A checkpoint that was seen elsewhere; may be repeated."
        ),
        click.option("--policy", type=_PATH, help="Whose cosignatures are asked for: a C2SP tlog-policy."),
        click.option("--fingerprint", help="The root's fingerprint as the authority told you; nobody is asked then."),
        click.option("--root", type=_PATH, help="Root certificate.  [default: the home's, or the one in the log]"),
    ):
        made = option(made)
    return made


@contextmanager
def opened(log: Path) -> "Iterator[OpenLog]":
    """Open what was named as a log."""
    from fedspallm_secure.app.audit.opening import open_log_at

    with open_log_at(log) as found:
        yield found


def verified(log: "OpenLog", basis: Basis) -> "tuple[Report, bytes]":
    """Check a log and show how far it is; the report, and the root it relies on, DER."""
    from fedspallm_secure.app.audit.verifying import Basis as Files
    from fedspallm_secure.app.audit.verifying import trusted_root, verify
    from fedspallm_secure.crypto.identity import Role

    files = Files(
        root=basis.root,
        fingerprint=basis.fingerprint,
        policy=basis.policy,
        checkpoints=basis.checkpoint,
        receipts=basis.receipts,
        documents=not basis.without_documents,
    )
    if log.home is not None and log.home.identity.party.role is Role.MEMBER and not basis.without_documents:
        raise UsageError(
            f"{log.path} is the home of {log.home.identity.party}, whose copy of the log has no documents",
            hint="check what can be checked of it with --without-documents, or name the log that the server published",
        )
    root = trusted_root(log, files, _ask)
    with console.progress() as shown:
        return verify(log, root, files, lambda task, done, total: shown.update(task, done, total, "entries")), root


def _ask(root: bytes) -> None:
    from fedspallm_secure.crypto.fingerprints import fingerprint

    how = "This root comes with the log.  Compare it with the one that the federation's authority told you."
    ask_about("the root in this log", fingerprint(root), how, "--fingerprint")


def rounds_hint(rounds: Iterable[int]) -> str:
    """Which rounds there are instead of the one that was asked for."""
    numbers = [str(number) for number in rounds]
    return f"it has round {', '.join(numbers)}" if numbers else "it has no round"


@contextmanager
def progress(task: str) -> Iterator[Callable[[int, int], None]]:
    """Progress over entries: what to call with entries done and entries in all."""
    with console.progress() as shown:
        yield lambda done, total: shown.update(task, done, total, "entries")
