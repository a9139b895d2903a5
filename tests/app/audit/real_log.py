"""The log of a real federation of two rounds, one of which somebody dropped out of; and ways to forge it.

Whoever forges has all keys of the server and of its log: what is left to notice is what the rules say, and what members
and witnesses have signed.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.merkle import Tree, leaf_hash
from fedspallm_secure.crypto.notes import Checkpoint, NoteKey, sign_checkpoint
from fedspallm_secure.crypto.signing import Signer, sign
from fedspallm_secure.errors import LimitExceeded, MissingInput
from fedspallm_secure.protocol.audit.entries import Entry, EntryType, head_data, read_head
from fedspallm_secure.protocol.rounds.member_state import State as MemberState
from fedspallm_secure.protocol.rounds.records_member import ReceiptHeld, read_member_record
from fedspallm_secure.storage.log_folder import FolderLog
from tests.stationary import HUB, Stations

DROPPED = "west"


@dataclass
class MemoryLog:
    """A `LogSource`, with the keys that wrote it.  members: id -> signing key; receipts: of all members."""

    bodies: list[bytes]
    documents: dict[str, bytes]
    root: bytes
    key: NoteKey
    log_signer: Signer
    server: Signer
    members: dict[str, Signer]
    receipts: list[bytes]
    shown: list[bytes] = field(default_factory=list)  # checkpoints that members kept
    hashes: list[bytes] | None = None
    signed: bytes | None = None
    cosigned_note: bytes | None = None

    # As a source

    @property
    def tree(self) -> Tree:
        return Tree(map(leaf_hash, self.bodies))

    def note(self) -> bytes:
        if self.signed is not None:
            return self.signed
        checkpoint = Checkpoint(self.key.name, len(self.bodies), self.tree.root())
        return sign_checkpoint(self.log_signer, self.key, checkpoint).encode()

    def cosigned(self) -> bytes | None:
        return self.cosigned_note

    def entries(self, size: int) -> Iterator[bytes]:
        yield from self.bodies[:size]

    def leaves(self, size: int) -> Iterator[bytes]:
        yield from (self.hashes or [leaf_hash(body) for body in self.bodies])[:size]

    def document(self, sha256: str, limit: int) -> bytes:
        if sha256 not in self.documents:
            raise MissingInput(f"there is no document {sha256}")
        if len(self.documents[sha256]) > limit:
            raise LimitExceeded("too long")
        return self.documents[sha256]

    # To forge

    def copy(self) -> "MemoryLog":
        return replace(self, bodies=list(self.bodies), documents=dict(self.documents))

    def all(self) -> list[Entry]:
        return [Entry.parse(body) for body in self.bodies]

    def find(self, type: EntryType, round: int = 0, number: int = 0) -> int:
        """Index of one entry."""
        found = [entry.seq for entry in self.all() if entry.type is type and entry.round in (0, round)]
        return found[number]

    def entry(self, index: int) -> Entry:
        return Entry.parse(self.bodies[index])

    def keep(self, document: bytes) -> str:
        name = hashlib.sha256(document).hexdigest()
        self.documents[name] = document
        return name

    def put(self, index: int, data: dict[str, Any] | None = None, **changes: Any) -> int:
        """Another entry in this place, signed by the server."""
        entry = self.entry(index)
        values = {name: getattr(entry, name) for name in ("type", "federation", "seq", "round", "actor", "at")}
        changed = {**values, "data": {**entry.data, **(data or {})}, **changes}
        self.bodies[index] = Entry.make(self.server, **changed).encode()
        return index

    def order(self, *indices: int) -> None:
        """The entries with these indices, and no others, numbered and signed anew."""
        old, self.bodies = self.all(), []
        for number, index in enumerate(indices):
            entry = old[index]
            made = Entry.make(
                self.server,
                type=entry.type,
                federation=entry.federation,
                seq=number,
                round=entry.round,
                actor=entry.actor,
                at=max(entry.at, self.entry(number - 1).at) if number else entry.at,
                data=entry.data,
            )
            self.bodies.append(made.encode())

    def without(self, index: int) -> None:
        self.order(*(one for one in range(len(self.bodies)) if one != index))

    def twice(self, index: int, at: int) -> None:
        """An entry once more, before number `at`."""
        places = list(range(len(self.bodies)))
        self.order(*places[:at], index, *places[at:])

    def head(self, index: int, change: Callable[[Any], Any]) -> int:
        """Another header in the package of this entry, signed by its sender."""
        entry = self.entry(index)
        head = read_head(entry.data["head"])
        encoded = replace(head.header, context=change(head.context)).encode()
        signature = sign(self.members[entry.actor.id], Label.SIGN_PACKAGE, encoded)
        data = {"head": head_data(encoded, signature)}
        if "package" in entry.data:
            data["package"] = replace(head, encoded=encoded).digest.hex()
        return self.put(index, data)


@contextmanager
def played(folder: Path, **setting: Any) -> Iterator[Stations]:
    """Two rounds; in the first somebody does not answer."""
    with Stations(folder, **{"members": 5, "schedule": ("1/4", "1/2"), **setting}) as found:
        while not _everybody_contributed(found):
            if not found.carry() + found.step():
                raise AssertionError("nobody contributes")
        found.silent = {DROPPED}
        while found.server.post.journal.recall("concluded", "1") is None:
            station = found.server.station
            if not found.carry() + found.step() and station is not None:
                found.now = max(found.now, found.server._deadline(station.plan, station.machine.state)) + 1
        found.silent = set()
        found.wait()
        yield found


def _everybody_contributed(found: Stations) -> bool:
    station = found.server.station
    if station is None:
        return False
    return all(
        (group.gid, member) in station.machine.received for group in station.plan.groups for member in group.cohort
    )


def read(found: Stations) -> MemoryLog:
    """The log that the server published, with everybody's keys."""
    post = found.server.post
    source = FolderLog(found.data(HUB) / "log")
    size = post.log.size
    receipts, shown = [], []
    for station in found.members.values():
        assert station.machine.state is MemberState.CLOSED
        for round in (1, 2):
            records = station.post.journal.records(round, read_member_record)
            receipts += [record.statement for record in records if isinstance(record, ReceiptHeld)]
        shown += [note for note, _, _ in station.post.log.notes()]
    documents = {name: post.log.document(name) for name in post.log.documents()}
    assert post.note_signer is not None
    return MemoryLog(
        list(source.entries(size)),
        documents,
        post.home.trust.root.der,
        found.server.scribe.key,
        post.note_signer,
        post.signer,
        {name: station.post.signer for name, station in found.members.items()},
        receipts,
        shown,
    )
