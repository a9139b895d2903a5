"""A log as the story of its rounds: who did what when, and how much it was.

It tells what the log says.  Whether that is true, `protocol.audit.verification` finds out; what cannot be read there is
left out here and listed.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fedspallm_secure.app.audit.sayings import package_size, say
from fedspallm_secure.crypto.encoding import parse_canonical_json
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.protocol.audit.entries import Entry, EntryType
from fedspallm_secure.protocol.audit.reports import LogSource
from fedspallm_secure.protocol.limits import RESULT_LIMIT, SURVIVORS_LIMIT
from fedspallm_secure.protocol.package_types import PACKAGE_TYPES
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.survivors import SurvivorList

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Line:
    """One entry for people.  at: Unix seconds; who: ROLE/ID; size: bytes of the package behind it, if there is one."""

    index: int
    at: int
    who: str
    type: EntryType
    text: str
    size: int | None = None
    group: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        found: dict[str, Any] = {"index": self.index, "at": self.at, "who": self.who, "type": self.type.value}
        found |= {"text": self.text}
        found |= {} if self.size is None else {"bytes": self.size}
        return found if self.group is None else found | {"group": self.group}


@dataclass(slots=True)
class Round:
    """One round as the log tells it.  What is not there yet, or cannot be read, is None or empty.

    hashes: of plan, survivor list and result, hex, by type; files: of the model, `{name, size, sha256}`; abort: why
    there is no result; refused: id of the member and group of a vector that was not taken -> by which check, empty for
    none; declined: id of a member that declined the plan -> by which check.
    """

    number: int
    lines: list[Line] = field(default_factory=list)
    plan: Plan | None = None
    listed: SurvivorList | None = None
    result: Result | None = None
    asked: tuple[str, ...] = ()
    files: list[dict[str, Any]] = field(default_factory=list)
    abort: str = ""
    hashes: dict[EntryType, str] = field(default_factory=dict)
    refused: dict[tuple[str, str], str] = field(default_factory=dict)
    declined: dict[str, str] = field(default_factory=dict)

    def of(self, type: EntryType) -> list[Line]:
        """Entries of one type, in order."""
        return [line for line in self.lines if line.type is type]

    def at(self, type: EntryType) -> int | None:
        """When the first entry of this type was written."""
        return next((line.at for line in self.lines if line.type is type), None)

    @property
    def begun(self) -> int:
        """When it was opened."""
        return self.lines[0].at

    @property
    def ended(self) -> int | None:
        """When it had its result, or was given up; None while it goes on."""
        result = self.at(EntryType.RESULT)
        return self.at(EntryType.ABORT) if result is None else result

    @property
    def state(self) -> str:
        """In a word or two."""
        if self.at(EntryType.RESULT) is not None:
            return "finished"
        return "not finished" if self.at(EntryType.ABORT) is None else "no result"

    @property
    def members(self) -> list[str]:
        """Ids of everybody whom the plan asks, sorted; without a readable plan, of those who handed something in."""
        if self.plan is not None:
            return sorted({member for group in self.plan.groups for member in group.cohort})
        return sorted({line.who.partition("/")[2] for line in self.of(EntryType.CONTRIBUTION)})

    @property
    def counted(self) -> list[str]:
        """Ids of the members in at least one sum, sorted."""
        return sorted({id for group in self.listed.groups for id in group.ids}) if self.listed is not None else []

    def who(self, type: EntryType, role: Role = Role.MEMBER) -> list[str]:
        """Ids of those with this role who did something of this type, in order of time."""
        sides = (line.who.partition("/") for line in self.of(type))
        return list(dict.fromkeys(id for its_role, _, id in sides if its_role == role.value))


@dataclass(slots=True)
class Story:
    """A whole log.  size: entries; outside: entries of no round; unread: what could not be read, with the reason."""

    origin: str
    size: int
    outside: list[Line] = field(default_factory=list)
    rounds: dict[int, Round] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


def read_story(source: LogSource, origin: str, size: int, told: Callable[[int, int], None]) -> Story:
    """Read the first `size` entries of a log.  told: entries done, entries in all.

    Raises what the source raises where entries are missing.
    """
    story = Story(origin, size)
    read_into(story, source, told)
    return story


def read_into(story: Story, source: LogSource, told: Callable[[int, int], None]) -> None:
    """As `read_story`, into a story that has what could be read, also where this raises."""
    size = story.size
    for index, body in enumerate(source.entries(size)):
        try:
            entry = Entry.parse(body)
        except FedSpaError as error:
            story.unread.append(f"entry {index}: {error}")
        else:
            _take(story, source, index, entry)
        told(index + 1, size)


def _take(story: Story, source: LogSource, index: int, entry: Entry) -> None:
    group = entry.data.get("group")
    number = group if type(group) is int else None
    line = Line(index, entry.at, str(entry.actor), entry.type, say(entry), package_size(entry), number)
    if not entry.round:
        story.outside.append(line)
        return
    found = story.rounds.setdefault(entry.round, Round(entry.round))
    found.lines.append(line)
    if "hash" in entry.data:
        found.hashes[entry.type] = entry.data["hash"]
    match entry.type:
        case EntryType.PLAN:
            found.plan = _document(story, source, entry, PACKAGE_TYPES["plan"].plaintext_limit, _plan)
        case EntryType.SURVIVORS:
            found.listed = _document(story, source, entry, SURVIVORS_LIMIT, SurvivorList.parse)
        case EntryType.RESULT:
            found.result = _document(story, source, entry, RESULT_LIMIT, Result.parse)
        case EntryType.UNMASK_REQUEST:
            found.asked = tuple(entry.data["recipients"])
        case EntryType.MODEL:
            found.files = list(entry.data["files"])
        case EntryType.REFUSAL if entry.data["type"] == "contribution":
            found.refused.setdefault((entry.actor.id, entry.data["group"]), entry.data["check"])
        case EntryType.REFUSAL if entry.data["type"] == "decline":
            found.declined[entry.actor.id] = entry.data["check"]
        case EntryType.ABORT:
            found.abort = entry.data["code"]
        case _:
            pass


def _plan(data: bytes) -> Plan:
    return Plan.from_dict(parse_canonical_json(data, "the plan"))


def _document(story: Story, source: LogSource, entry: Entry, limit: int, read: Callable[[bytes], T]) -> T | None:
    name = entry.data["document"]
    try:
        data = source.document(name, limit)
        if hashlib.sha256(data).hexdigest() == name:
            return read(data)
        reason = "it is not the one that was named"
    except FedSpaError as error:
        reason = str(error)
    story.unread.append(f"the {entry.type.value} of round {entry.round}: {reason}")
    return None
