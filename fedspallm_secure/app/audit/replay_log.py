"""What the log says of one round, in the form in which the round is recomputed (SPEC sections 22 and 23)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fedspallm_secure.crypto.certificates import Root
from fedspallm_secure.crypto.encoding import parse_canonical_json
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import FormatError, MissingInput
from fedspallm_secure.protocol.audit.entries import Entry, EntryType, read_head
from fedspallm_secure.protocol.limits import ROSTER_LIMIT
from fedspallm_secure.protocol.packages import NONE, Head
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.survivors import SurvivorList
from fedspallm_secure.storage.log_reader import DOCUMENT_LIMIT, LogReader

Told = Callable[[int, int], None]  # entries done, entries in all

_ONCE: Final = {EntryType.PLAN, EntryType.SURVIVORS, EntryType.RESULT, EntryType.MODEL}
_DECRYPTED: Final = (EntryType.DECRYPT_CHALLENGE, EntryType.DECRYPT_RESPONSE)
_KEPT: Final = (*_ONCE, EntryType.CONTRIBUTION, EntryType.UNMASK_RESPONSE, *_DECRYPTED, EntryType.RETENTION)


@dataclass(frozen=True, slots=True)
class Sent:
    """A package that stands in the log.  index: of its entry; deal: digest of the deal in it, or empty."""

    index: int
    sender: Party
    head: Head
    deal: str = ""


@dataclass(frozen=True, slots=True)
class LoggedRound:
    """One round with a result.

    server: whose round it is; plan: canonical JSON; rosters: by hash; contributions: by group and member; answers: by
    member, in the order of the log; decryptions: of a key holder, by type of the entry and group; files: of the model,
    None where none is named; layers: layer -> earlier round whose pruned layer this one starts from.
    """

    number: int
    server: Party
    document: bytes = field(repr=False)
    plan: Plan
    rosters: Mapping[str, Roster] = field(repr=False)
    contributions: Mapping[tuple[int, str], Sent] = field(repr=False)
    answers: Mapping[str, Sent] = field(repr=False)
    decryptions: Mapping[tuple[EntryType, int], Sent] = field(repr=False)
    survivors: SurvivorList
    result: Result
    files: tuple[Mapping[str, Any], ...] | None
    layers: Mapping[int, int]

    @property
    def roster(self) -> Roster:
        """The one that the plan was made under.  Raises MissingInput."""
        return self.roster_of(self.plan.roster)

    def roster_of(self, digest: str) -> Roster:
        """One of the log's rosters by its hash.  Raises MissingInput."""
        if digest not in self.rosters:
            raise MissingInput(f"the log has no roster {digest[:16]}...")
        return self.rosters[digest]


class _Entries:
    """What is read from the log, in one pass: rosters, and of each round the entries that matter."""

    def __init__(self, source: LogReader, size: int, told: Told) -> None:
        self.source = source
        self.rosters: list[Entry] = []
        self.rounds: dict[int, list[Entry]] = {}
        for index, leaf in enumerate(source.entries(size)):
            entry = Entry.parse(leaf)
            if entry.type is EntryType.ROSTER:
                self.rosters.append(entry)
            elif entry.round and entry.type in _KEPT:
                self.rounds.setdefault(entry.round, []).append(entry)
            told(index + 1, size)

    def one(self, number: int, type: EntryType) -> Entry | None:
        """The entry of a type of which a round has one at most."""
        return next((entry for entry in self.rounds.get(number, ()) if entry.type is type), None)

    def document(self, entry: Entry, limit: int = DOCUMENT_LIMIT) -> bytes:
        """The document that an entry names.  Raises as `LogReader.document`."""
        return self.source.document(entry.data["document"], limit)

    def plan(self, number: int) -> tuple[Entry, bytes, Plan]:
        """The plan of a round.  Raises MissingInput, FormatError."""
        entry = self.one(number, EntryType.PLAN)
        if entry is None:
            raise MissingInput(f"the log has no round {number}", hint="fedprune audit show lists its rounds")
        document = self.document(entry)
        plan = Plan.from_dict(parse_canonical_json(document, "the plan"))
        _check_named(entry, plan.hash, "plan")
        return entry, document, plan

    def result(self, number: int) -> Result:
        """The result of a round.  Raises MissingInput, FormatError."""
        entry = self.one(number, EntryType.RESULT)
        if entry is None:
            raise MissingInput(
                f"round {number} has no result", hint="it ended without one, or goes on: fedprune audit show says which"
            )
        found = Result.parse(self.document(entry))
        _check_named(entry, found.hash, "result")
        return found

    def survivors(self, number: int) -> SurvivorList:
        """The survivor list of a round.  Raises MissingInput, FormatError."""
        entry = self.one(number, EntryType.SURVIVORS)
        if entry is None:
            raise MissingInput(f"round {number} has a result and no survivor list")
        found = SurvivorList.parse(self.document(entry))
        _check_named(entry, found.hash, "survivor list")
        return found


def read_round(source: LogReader, size: int, root: Root, number: int, told: Told) -> LoggedRound:
    """Round `number` of the first `size` entries, which were verified.

    Raises MissingInput where it has no result or nothing of it was kept, FormatError where what is there does not
    belong together, and what reading the log raises.
    """
    found = _Entries(source, size, told)
    plan_entry, document, plan = found.plan(number)
    result, survivors = found.result(number), found.survivors(number)
    about = (number, plan.hash)
    if (survivors.round, survivors.plan_hash) != about or (result.round, result.plan_hash) != about:
        raise FormatError(f"list or result of round {number} are those of another plan")
    if result.survivors != survivors.hash:
        raise FormatError(f"the result of round {number} is that of another survivor list")
    entries = found.rounds[number]
    for entry in entries:
        if entry.type is EntryType.RETENTION:
            reason = f"of round {number} no {entry.data['removed']} were kept: {entry.data['reason']}"
            raise MissingInput(reason, hint="only rounds that were archived can be replayed: [limits] archive = true")
    rosters = [Roster.parse(found.document(entry, ROSTER_LIMIT), root) for entry in found.rosters]
    model = found.one(number, EntryType.MODEL)
    if model is not None and model.data["result"] != result.hash:
        raise FormatError(f"the model of round {number} is that of another result")
    return LoggedRound(
        number=number,
        server=plan_entry.actor,
        document=document,
        plan=plan,
        rosters={roster.hash: roster for roster in rosters},
        contributions={
            (entry.data["group"], entry.actor.id): _sent(entry, entry.data["deal"])
            for entry in entries
            if entry.type is EntryType.CONTRIBUTION
        },
        answers={entry.actor.id: _sent(entry) for entry in entries if entry.type is EntryType.UNMASK_RESPONSE},
        decryptions={(entry.type, entry.data["group"]): _sent(entry) for entry in entries if entry.type in _DECRYPTED},
        survivors=survivors,
        result=result,
        files=None if model is None else tuple(model.data["files"]),
        layers=_layers_before(found, plan),
    )


def _sent(entry: Entry, deal: str = "") -> Sent:
    head = read_head(entry.data["head"])
    _check_named(entry, head.digest.hex(), "package", "package")
    if head.context.sender != entry.actor:
        raise FormatError(f"entry {entry.seq}: the package is that of {head.context.sender}, not of {entry.actor}")
    return Sent(entry.seq, entry.actor, head, deal)


def _check_named(entry: Entry, digest: str, what: str, field: str = "hash") -> None:
    if entry.data[field] != digest:
        raise FormatError(f"entry {entry.seq} names another {what} than the one that it shows")


def _layers_before(found: _Entries, plan: Plan) -> dict[int, int]:
    """Layer -> round, of what a plan starts from: result after result, back to the model as it was."""
    by_hash = {
        entry.data["hash"]: number
        for number, entries in found.rounds.items()
        for entry in entries
        if entry.type is EntryType.RESULT
    }
    layers: dict[int, int] = {}
    previous, before = plan.previous, plan.round
    while previous != NONE:
        number = by_hash.get(previous)
        if number is None or number >= before:
            raise FormatError(f"the log has no result {previous[:16]}... before round {before}, which starts from it")
        for group in found.result(number).groups:
            if group.layer != NONE:
                layers.setdefault(group.gid, number)
        previous, before = found.plan(number)[2].previous, number
    return layers
