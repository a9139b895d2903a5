"""A journal as somebody sees it who has no password and only reads: plain records, facts, and what lies in the boxes.

Everything is read in one transaction, so that it fits together.  Records that hold secrets are left alone; what they
would tell about who has answered stands in the rows of packages, too.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from fedspallm_secure.crypto.encoding import parse_canonical_json
from fedspallm_secure.storage.journal import read_journal
from fedspallm_secure.storage.register import register_errors

T = TypeVar("T")
SAYS: Final = "the server says: "  # how the phase of a member begins that the server waits for
_TABLES: Final = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('records', 'facts', 'inbox')"
_CHECK: Final = re.compile(r"([A-Z][0-9]{1,2}): ")  # how the message of a check that failed begins
_REASON: Final = 300  # characters of a reason that are shown


@dataclass(frozen=True, slots=True)
class Seen:
    """A package of the inbox.  at: when it came, Unix seconds; state: waiting, taken, refused or damaged."""

    sender: str
    type: str
    round: int
    group: str
    size: int
    at: int
    state: str
    reason: str

    def refusal(self) -> dict[str, Any]:
        """Why it was refused, as plain data.  check: the number of the check, or empty."""
        check = _CHECK.match(self.reason)
        return {
            "sender": self.sender,
            "type": self.type,
            "round": self.round,
            "layer": layer_of(self.group),
            "check": "" if check is None else check[1],
            "reason": self.reason[:_REASON],
            "at": self.at,
        }


@dataclass(frozen=True, slots=True)
class Sent:
    """A package of the outbox.  at: when it was made; departed: when it was over there, None before."""

    recipient: str
    type: str
    round: int
    group: str
    size: int
    at: int
    departed: int | None


class Watched:
    """What the connection shows.  path: of the database, for messages."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def has_begun(self) -> bool:
        """Whether rounds have ever been run here."""
        return bool(self._all(_TABLES)[0][0] == 3)

    def counted(self) -> int:
        """The sequence number that was used up last, 0 if none was."""
        return int(self._all("SELECT coalesce(max(value), 0) FROM counters WHERE name = 'sequence'")[0][0])

    def mark(self) -> int | None:
        """The random number of this register, None before anybody has asked for it."""
        rows = self._all("SELECT value FROM counters WHERE name = 'mark'")
        return int(rows[0][0]) if rows else None

    def last_round(self) -> int:
        """The newest round with records, 0 if there is none."""
        return int(self._all("SELECT coalesce(max(round), 0) FROM records")[0][0])

    def rounds(self) -> list[int]:
        """All rounds with records."""
        return [number for (number,) in self._all("SELECT DISTINCT round FROM records ORDER BY round")]

    def records(self, round: int, read: Callable[[Any], T]) -> list[T]:
        """Plain records of a round but those of single contributions, which are long and stand in the inbox, too."""
        rows = self._all(
            "SELECT number, body FROM records WHERE round = ? AND secret = 0 AND instr(body, ?) = 0 ORDER BY number",
            round,
            b'"record":"received"',
        )
        return [read(parse_canonical_json(body, f"record {number} of {self._path}")) for number, body in rows]

    def fact(self, kind: str, name: str, default: Any = None) -> Any:
        """What was kept under kind and name."""
        rows = self._all("SELECT body FROM facts WHERE kind = ? AND name = ?", kind, name)
        return parse_canonical_json(rows[0][0], f"{kind} {name}") if rows else default

    def facts(self, kind: str) -> Mapping[str, Any]:
        """Everything of a kind, by name."""
        rows = self._all("SELECT name, body FROM facts WHERE kind = ? ORDER BY name", kind)
        return {name: parse_canonical_json(body, f"{kind} {name}") for name, body in rows}

    def inbox(self, round: int) -> list[Seen]:
        """Packages of a round that arrived, in order."""
        rows = self._all(
            "SELECT sender, type, round, grp, size, at, state, reason FROM inbox WHERE round = ? ORDER BY at, sequence",
            round,
        )
        return [Seen(*row) for row in rows]

    def refused(self, since: int, most: int) -> list[dict[str, Any]]:
        """Packages that were refused last, outside of rounds or in a round from `since` on, the newest first."""
        rows = self._all(
            "SELECT sender, type, round, grp, size, at, state, reason FROM inbox WHERE state IN ('refused', 'damaged') "
            "AND (round = 0 OR round >= ?) ORDER BY at DESC, sequence DESC LIMIT ?",
            since,
            most,
        )
        return [Seen(*row).refusal() for row in rows]

    def refused_plans(self) -> Mapping[int, Seen]:
        """The plan that was refused last in each round in which one was."""
        rows = self._all(
            "SELECT sender, type, round, grp, size, at, state, reason FROM inbox "
            "WHERE type = 'plan' AND state = 'refused' ORDER BY at, sequence"
        )
        return {seen.round: seen for seen in (Seen(*row) for row in rows)}

    def names(self, kind: str) -> list[str]:
        """Names of everything of a kind."""
        return [name for (name,) in self._all("SELECT name FROM facts WHERE kind = ? ORDER BY name", kind)]

    def heard(self) -> Mapping[str, int]:
        """Who sent something last when: ROLE/ID -> Unix seconds.  A bundle counts, also one that has receipts alone."""
        packages = "SELECT sender, max(at) FROM inbox GROUP BY sender"
        bundles = "SELECT sender, max(at) FROM bundles_seen GROUP BY sender"
        found: dict[str, int] = {}
        for sender, at in (*self._all(packages), *self._all(bundles)):
            found[sender] = max(at, found.get(sender, 0))
        return found

    def outbox(self, round: int) -> list[Sent]:
        """Packages of a round that were made, in order."""
        rows = self._all(
            "SELECT recipient, type, round, grp, size, at, departed FROM outbox WHERE round = ? ORDER BY number", round
        )
        return [Sent(*row) for row in rows]

    def leaving(self, now: int, most: int) -> list[dict[str, Any]]:
        """Packages that nobody has fetched or taken along yet, the oldest first, those for one end together."""
        rows = self._all(
            "SELECT recipient, type, round, count(*), sum(size), min(at) FROM outbox WHERE departed IS NULL "
            "AND not_after >= ? GROUP BY recipient, type, round ORDER BY min(number) LIMIT ?",
            now,
            most,
        )
        names = ("recipient", "type", "round", "packages", "bytes", "since")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def untold(self) -> list[str]:
        """Parties whose packages came by hand, and who were not told yet that they did, ROLE/ID."""
        if not self._all("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'bundle_receipts'"):
            return []
        found = self._all("SELECT DISTINCT sender FROM bundle_receipts WHERE told = 0 ORDER BY sender")
        return [sender for (sender,) in found]

    def boxes(self, now: int) -> dict[str, dict[str, int]]:
        """Packages and bytes that wait in inbox and outbox."""
        waiting = "SELECT count(*), coalesce(sum(size), 0) FROM inbox WHERE state = 'waiting'"
        leaving = "SELECT count(*), coalesce(sum(size), 0) FROM outbox WHERE departed IS NULL AND not_after >= ?"
        (inbox,), (outbox,) = self._all(waiting), self._all(leaving, now)
        return {
            "inbox": {"packages": inbox[0], "bytes": inbox[1]},
            "outbox": {"packages": outbox[0], "bytes": outbox[1]},
        }

    def departed_last(self) -> int:
        """When a package was over there last, 0 if none was."""
        return int(self._all("SELECT coalesce(max(departed), 0) FROM outbox")[0][0])

    def refusals(self) -> Mapping[str, int]:
        """How many packages were ever refused, by check; under an empty name those that no numbered check is about."""
        found: dict[str, int] = {}
        for (reason,) in self._all("SELECT reason FROM inbox WHERE state = 'refused'"):
            match = _CHECK.match(reason)
            check = "" if match is None else match[1]
            found[check] = found.get(check, 0) + 1
        return found

    def _all(self, statement: str, *values: Any) -> list[Any]:
        with register_errors(self._path):
            return self._connection.execute(statement, values).fetchall()


@contextmanager
def watch(path: Path) -> Iterator[Watched]:
    """The journal in the register at `path`, as it is now.  Raises StorageError, or RecordDamaged."""
    with read_journal(path) as connection:
        with register_errors(path):
            connection.execute("BEGIN")
        yield Watched(connection, path)


def layer_of(group: str) -> int | None:
    """The layer that a package is about; None for one about none or all."""
    return int(group) if group.isascii() and group.isdigit() else None
