"""Proofs that one entry stands in a log: made from the log, checked by anybody, told in words (SPEC section 22.6)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fedspallm_secure.app.audit.opening import OpenLog
from fedspallm_secure.app.audit.sayings import moment, say
from fedspallm_secure.crypto.merkle import Tree
from fedspallm_secure.crypto.notes import Checkpoint, Note, NoteKey, cosigned_at, open_checkpoint
from fedspallm_secure.errors import AuditCheckpoint, AuditIncomplete, FormatError, MissingInput, UsageError
from fedspallm_secure.protocol.audit.entries import Entry, EntryType
from fedspallm_secure.protocol.audit.inclusion import InclusionProof
from fedspallm_secure.protocol.audit.policies import TrustPolicy


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entry is to be proven: a contribution, or any by its index."""

    index: int | None = None
    member: str = ""
    round: int = 0
    group: int | None = None

    def fits(self, entry: Entry) -> bool:
        """Whether this contribution is meant."""
        return (
            entry.type is EntryType.CONTRIBUTION
            and (entry.actor.id, entry.round) == (self.member, self.round)
            and self.group in (None, entry.data["group"])
        )


def prove(log: OpenLog, wanted: Wanted, told: Callable[[int, int], None]) -> InclusionProof:
    """A proof of one entry under the newest checkpoint, one with cosignatures where that has the entry too.

    Raises MissingInput if there is no such entry, UsageError if there are several; AuditIncomplete where the entries
    are not those of the checkpoint.
    """
    key, size = log.note_key().key, log.checkpoint.size
    index, extra = _find(log, wanted, size, told)
    cosigned = log.source.cosigned()
    notes = [Note.parse(note) for note in (cosigned, log.source.note()) if note is not None]
    note, checkpoint = next((n, c) for n in notes if (c := open_checkpoint(n, key)).size > index)
    tree = Tree(log.source.leaves(size))
    if checkpoint.size > size:
        raise AuditIncomplete(f"{log.path} does not have all entries that its checkpoint stands for")
    proof = InclusionProof(index, tuple(tree.inclusion(index, checkpoint.size)), note, extra)
    proof.check(extra, key)
    return proof


def _find(log: OpenLog, wanted: Wanted, size: int, told: Callable[[int, int], None]) -> tuple[int, bytes]:
    if wanted.index is not None and wanted.index >= size:
        raise MissingInput(f"the log has {size} entries, from 0 on", hint="fedprune audit show lists them")
    found: list[tuple[int, bytes, Entry]] = []
    for index, body in enumerate(log.source.entries(size)):
        if wanted.index == index:
            return index, body
        if wanted.index is None and wanted.fits(entry := Entry.parse(body)):
            found.append((index, body, entry))
        told(index + 1, size)
    if not found:
        raise MissingInput(
            f"the log has no contribution of {wanted.member} in round {wanted.round}"
            + ("" if wanted.group is None else f" for layer {wanted.group}"),
            hint="fedprune audit show lists all entries; what a receipt says and the log lacks, audit verify names",
        )
    if len(found) > 1:
        groups = ", ".join(str(entry.data["group"]) for _, _, entry in found)
        raise UsageError(f"{wanted.member} handed in vectors for layers {groups}", hint="say which with --group")
    return found[0][0], found[0][1]


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof shows.  witnesses: note name -> when it cosigned, Unix seconds; quorum: None without a policy."""

    index: int
    entry: Entry | None
    checkpoint: Checkpoint
    witnesses: dict[str, int]
    quorum: bool | None

    def sentences(self) -> list[str]:
        """In words, and what it does not show."""
        log, size = self.checkpoint.origin, self.checkpoint.size
        told = [f"Entry {self.index} stands in the log {log}, in its first {size} entries: its key signed that."]
        if self.entry is not None:
            told.append(f"The entry says, of {moment(self.entry.at)}: {say(self.entry)}.")
        told += [f"{name} cosigned this at {moment(at)}." for name, at in self.witnesses.items()]
        if not self.witnesses:
            told.append("No witness whose key was given has cosigned this: another history may be shown to others.")
        if self.entry is not None and self.entry.type is EntryType.CONTRIBUTION:
            told.append("That it counts in a sum, the survivor list and the result say: fedprune audit verify.")
        return [*told, "It does not show that what the entry says is true; fedprune audit verify checks a whole log."]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        entry = self.entry
        shown = None if entry is None else {"type": entry.type.value, "actor": str(entry.actor), "round": entry.round}
        return {
            "origin": self.checkpoint.origin,
            "size": self.checkpoint.size,
            "root": self.checkpoint.root.hex(),
            "index": self.index,
            "entry": shown,
            "witnesses": self.witnesses,
            "quorum": self.quorum,
            "says": self.sentences(),
        }


def check_proof(data: bytes, key: NoteKey | None, policy: TrustPolicy | None) -> Proven:
    """Check a proof file, which has to bring its entry.

    key: of the log; policy: whose logs and witnesses count.  Raises FormatError, BadSignature, UsageError;
    AuditIncomplete where the entry does not stand there, AuditCheckpoint where a quorum is missing.
    """
    proof = InclusionProof.parse(data)
    if not proof.extra:
        raise FormatError("this proof does not bring the entry that it is about")
    logs = [] if policy is None else [one for one in policy.logs if proof.note.of(one)]
    if key is None and not logs:
        named = "the policy does not name the log" if policy is not None else "nothing says whose log it is"
        raise UsageError(f"{named} of this proof", hint="give the log's key with --vkey, or a policy that has it")
    checkpoint = proof.check(proof.extra, key or logs[0])
    quorum = None if policy is None else policy.satisfied(proof.note)
    if quorum is False:
        raise AuditCheckpoint("the checkpoint of this proof is not signed and cosigned as the policy asks for")
    times = {} if policy is None else {name: cosigned_at(proof.note, one) for name, one in policy.witnesses.items()}
    witnesses = {name: at for name, at in times.items() if at is not None}
    return Proven(proof.index, _entry(proof, checkpoint), checkpoint, witnesses, quorum)


def _entry(proof: InclusionProof, checkpoint: Checkpoint) -> Entry | None:
    """The entry, if it is one of this program's logs; the same proof serves for others."""
    try:
        entry = Entry.parse(proof.extra)
    except FormatError:
        return None
    if entry.seq != proof.index or not checkpoint.origin.startswith(f"{entry.federation}/"):
        raise AuditIncomplete(f"the entry says that it is number {entry.seq} of a log of {entry.federation}")
    return entry
