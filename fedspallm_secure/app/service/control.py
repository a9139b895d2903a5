"""What an operator asks of a service from another process: to abort a round, to leave.  Needs no password.

A wish is a fact of kind `control` in the journal, put there through a short connection of its own.  The running service
obeys within a second; where none runs, the next start does.  Whoever can write here could as well stop the service, so
a wish has no more to prove than that.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from fedspallm_secure.app.configuration.either import home_of, read_either, role_of
from fedspallm_secure.app.configuration.federation import FederationConfig
from fedspallm_secure.app.configuration.member import MemberConfig
from fedspallm_secure.app.service.past import member_rounds, server_rounds
from fedspallm_secure.app.service.status_server import round_of
from fedspallm_secure.app.service.watched import Watched, watch
from fedspallm_secure.crypto.encoding import canonical_json
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import OutOfTurn, UsageError
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.storage import home_folder as folder
from fedspallm_secure.storage.home_folder import read_identity
from fedspallm_secure.storage.register import register_errors

REASON_LIMIT: Final = 500  # characters
_WAIT: Final = 10.0  # seconds for another process to finish its transaction
_SEE = "fedprune server rounds lists the rounds there were"


def abort_round(path: Path, round: int, reason: str) -> None:
    """Ask the server to end the round that is going on.

    path: of federation.toml; reason: one line, which stays in the log.  Raises UsageError for a round that there is
    not, or a reason that is none; OutOfTurn for one that is over; RunLocked, StorageError.
    """
    config = read_either(path)
    if not isinstance(config, FederationConfig):
        said = f"a {role_of(config).value} cannot abort a round"
        raise UsageError(said, hint="to take part no more: fedprune client leave")
    if not reason.strip() or not reason.isprintable() or len(reason) > REASON_LIMIT:
        raise UsageError(f"a reason is one line of at most {REASON_LIMIT} characters", hint="say it with --reason")
    register = config.server.home / folder.REGISTER
    with watch(register) as watched:
        _check_goes_on(watched, round, config)
    _wish(register, "abort", {"round": round, "reason": reason.strip(), "at": int(time.time())})


def _check_goes_on(watched: Watched, round: int, config: FederationConfig) -> None:
    last = watched.last_round() if watched.has_begun() else 0
    found = round_of(watched, round, config) if 0 < round <= last else None
    if found is None:
        raise UsageError(f"there is no round {round}" + (f"; the newest is {last}" if last else " yet"), hint=_SEE)
    if round < last or found.state is State.FINISHED or watched.fact("concluded", str(round)) is not None:
        raise OutOfTurn(f"round {round} is over already", hint=_SEE)


def rounds_of(path: Path) -> list[dict[str, Any]]:
    """All rounds there were, the first one first; times are Unix seconds.  path: of federation.toml or
    member.toml.  Raises UsageError for a witness.
    """
    config = read_either(path)
    with watch(home_of(config) / folder.REGISTER) as watched:
        if not watched.has_begun():
            return []
        if isinstance(config, MemberConfig):
            return member_rounds(watched, read_identity(config.member.home).party.id)
        if isinstance(config, FederationConfig):
            return server_rounds(watched, config)
        raise UsageError(f"a {role_of(config).value} takes part in no rounds", hint="fedprune status shows what it did")


def leave(path: Path, undo: bool = False) -> None:
    """Ask a member to take part in no more rounds; undo: take that back, before or after it was obeyed.

    What was contributed is still answered for.  path: of member.toml.  Raises as `check_can_leave`; RunLocked,
    StorageError.
    """
    register = check_can_leave(path, undo)
    if undo:
        _take_back(register)
    else:
        _wish(register, "leave", {"at": int(time.time())})


def check_can_leave(path: Path, undo: bool = False) -> Path:
    """The register of a member that has something to leave, or to take back.  Raises UsageError for others."""
    config = read_either(path)
    if not isinstance(config, MemberConfig):
        said = f"a {role_of(config).value} cannot leave rounds"
        raise UsageError(said, hint="to end a round: fedprune server abort ROUND --reason TEXT")
    me = Party(Role.MEMBER.value, read_identity(config.member.home).party.id)
    register = config.member.home / folder.REGISTER
    with watch(register) as watched:
        begun = watched.has_begun()
        wished = begun and watched.fact("control", "leave") is not None
        left = begun and watched.fact("left", "*") is not None
    if undo and not (wished or left):
        raise UsageError(f"{me} has not left", hint="nothing to do: fedprune client run takes part in rounds")
    if not undo and not begun:
        raise UsageError(f"{me} has taken part in nothing yet", hint="nothing to do: do not start fedprune client")
    if not undo and left:
        raise UsageError(f"{me} has left already", hint="to come back: fedprune client leave --undo")
    return register


def _wish(register: Path, name: str, value: dict[str, Any]) -> None:
    with _connection(register) as connection:
        connection.execute(
            "INSERT INTO facts VALUES ('control', ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
            (name, canonical_json(value)),
        )


def _take_back(register: Path) -> None:
    with _connection(register) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM facts WHERE (kind, name) IN (VALUES ('control', 'leave'), ('left', '*'))")
        connection.execute("COMMIT")


@contextmanager
def _connection(register: Path) -> Iterator[sqlite3.Connection]:
    """A connection that writes into what is there; in WAL mode beside the service, which waits for a moment."""
    with register_errors(register):
        uri = f"{register.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=_WAIT, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            yield connection
