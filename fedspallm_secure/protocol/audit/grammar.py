"""The order of entries: what may follow what, round by round (SPEC section 22.2; step V5 of section 23).

Incremental, so that members use it while they follow a log, and auditors while they read one.
"""

from dataclasses import dataclass, field
from typing import Final

from fedspallm_secure.errors import AuditGrammar
from fedspallm_secure.protocol.audit.entries import Entry, EntryType

_STAGES: Final = (
    EntryType.ROUND_OPEN,
    EntryType.PLAN,
    EntryType.CONTRIBUTION,
    EntryType.SURVIVORS,
    EntryType.ENDORSEMENT,
    EntryType.UNMASK_REQUEST,
    EntryType.UNMASK_RESPONSE,
    EntryType.RESULT,
    EntryType.MODEL,
)
_DECRYPTING: Final = (EntryType.DECRYPT_CHALLENGE, EntryType.DECRYPT_RESPONSE)  # groups take turns, in any order
_NUMBER: Final = {type: number for number, type in enumerate(_STAGES)} | dict.fromkeys(
    _DECRYPTING, _STAGES.index(EntryType.UNMASK_RESPONSE)
)
_OF_GROUPS: Final = frozenset({EntryType.CONTRIBUTION, *_DECRYPTING})
_ONCE_EACH: Final = frozenset({EntryType.ENDORSEMENT, EntryType.UNMASK_RESPONSE}) | _OF_GROUPS
_ONCE: Final = frozenset(_STAGES) - _ONCE_EACH
_NEEDS: Final = {
    EntryType.PLAN: EntryType.ROUND_OPEN,
    EntryType.CONTRIBUTION: EntryType.PLAN,
    EntryType.SURVIVORS: EntryType.PLAN,
    EntryType.ENDORSEMENT: EntryType.SURVIVORS,
    EntryType.UNMASK_REQUEST: EntryType.SURVIVORS,
    EntryType.UNMASK_RESPONSE: EntryType.UNMASK_REQUEST,
    EntryType.DECRYPT_CHALLENGE: EntryType.UNMASK_REQUEST,
    EntryType.DECRYPT_RESPONSE: EntryType.DECRYPT_CHALLENGE,
    EntryType.RESULT: EntryType.UNMASK_REQUEST,
    EntryType.MODEL: EntryType.RESULT,
    EntryType.REFUSAL: EntryType.PLAN,
    EntryType.EQUIVOCATION: EntryType.PLAN,
    EntryType.RETENTION: EntryType.PLAN,
    EntryType.COMPLAINT: EntryType.PLAN,
    EntryType.GROUP_ENDED: EntryType.PLAN,
    EntryType.ABORT: EntryType.PLAN,
}
_AFTER_THE_END: Final = frozenset({EntryType.MODEL, EntryType.REFUSAL, EntryType.EQUIVOCATION, EntryType.RETENTION})


@dataclass(slots=True)
class RoundEntries:
    """What a round has so far.  types: of its entries; last: number of its stage."""

    round: int
    types: set[EntryType] = field(default_factory=set)
    seen: set[tuple[EntryType, str, int]] = field(default_factory=set)  # type, who, group
    last: int = 0

    def has(self, type: EntryType) -> bool:
        """Whether there is an entry of this type."""
        return type in self.types

    @property
    def is_over(self) -> bool:
        """Whether it has its result or its abort."""
        return self.has(EntryType.RESULT) or self.has(EntryType.ABORT)


class Grammar:
    """Everything that was taken so far.  rounds: by number; current: the newest one, None before the first."""

    def __init__(self) -> None:
        self.rounds: dict[int, RoundEntries] = {}
        self.current: RoundEntries | None = None
        self._first = True

    def take(self, entry: Entry) -> None:
        """One more entry, in order.  Raises AuditGrammar with its index, and nothing was taken."""
        if self._first != (entry.type is EntryType.GENESIS):
            raise _wrong(entry, "a log begins with its genesis, and has one")
        if not entry.round:
            self._first = False
            return
        found = self._round(entry)
        self._check(entry, found)
        if entry.type is EntryType.ROUND_OPEN:
            self.rounds[entry.round] = self.current = found
        found.types.add(entry.type)
        found.seen.add(_who(entry))
        found.last = max(found.last, _NUMBER.get(entry.type, 0))

    def _round(self, entry: Entry) -> RoundEntries:
        if entry.type is not EntryType.ROUND_OPEN:
            if entry.round not in self.rounds:
                raise _wrong(entry, f"round {entry.round} was not opened")
            return self.rounds[entry.round]
        before = 0 if self.current is None else self.current.round
        if self.current is not None and not self.current.is_over:
            raise _wrong(entry, f"round {entry.round} opens while round {before} is going on")
        if entry.round != before + 1:
            raise _wrong(entry, f"round {entry.round} follows round {before}")
        return RoundEntries(entry.round)

    @staticmethod
    def _check(entry: Entry, found: RoundEntries) -> None:
        type, needed = entry.type, _NEEDS.get(entry.type)
        if needed is not None and not found.has(needed):
            raise _wrong(entry, f"there is no {needed.value} before this {type.value}")
        if found.is_over and type not in _AFTER_THE_END:
            raise _wrong(entry, f"round {entry.round} is over")
        if type in _NUMBER and _NUMBER[type] < found.last:
            raise _wrong(entry, f"this {type.value} comes after a {_STAGES[found.last].value}")
        if type in _ONCE and found.has(type):
            raise _wrong(entry, f"round {entry.round} has a {type.value} already")
        if type in _ONCE_EACH and _who(entry) in found.seen:
            raise _wrong(entry, f"{entry.actor} has a {type.value} there already")


def _who(entry: Entry) -> tuple[EntryType, str, int]:
    return entry.type, str(entry.actor), entry.data.get("group", 0) if entry.type in _OF_GROUPS else 0


def _wrong(entry: Entry, text: str) -> AuditGrammar:
    return AuditGrammar(f"entry {entry.seq}: {text}", indices=(entry.seq,))
