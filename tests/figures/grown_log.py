"""A log of a real federation made longer with the keys of everybody in it: as its server would write it, but quickly.

Further rounds are the last real one again, with a plan, deals, statements and signatures of its own; nobody computes
vectors for them, and the log has nothing but digests of vectors.  Between them stand entries outside of rounds.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fedspallm_secure.crypto.encoding import encode_base64, parse_canonical_json
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.merkle import Tree, leaf_hash
from fedspallm_secure.crypto.notes import Checkpoint, sign_checkpoint
from fedspallm_secure.crypto.signing import sign
from fedspallm_secure.protocol.audit.entries import Entry, EntryType, head_data, read_head
from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.survivors import Listed, ListedGroup, SurvivorList, endorse
from tests.app.audit.real_log import MemoryLog


class Growing:
    """Appends to a log.  bodies: entries so far, with those that were given."""

    def __init__(self, log: MemoryLog, seed: int) -> None:
        self.log = log
        self.bodies = log.bodies
        self._tree = Tree(map(leaf_hash, log.bodies))
        self._seed, self._drawn = seed, 0
        entries = log.all()
        self._last = entries[-1]
        self._round = max(entry.round for entry in entries)
        self._template = [entry for entry in entries if entry.round == self._round]
        self._sequences: dict[str, int] = {}
        for entry in entries:
            if "head" in entry.data:
                context = read_head(entry.data["head"]).context
                self._sequences[context.sender.id] = max(self._sequences.get(context.sender.id, 0), context.sequence)
        plan = self._plan()
        self._uses = {use.id: use.index for use in plan.prekeys}
        self._previous = plan.previous

    @property
    def size(self) -> int:
        """How many entries there are."""
        return len(self.bodies)

    @property
    def length(self) -> int:
        """How many entries a round has."""
        return len(self._template)

    def software(self, size: int) -> None:
        """Entries about other versions of the program, until there are so many entries."""
        while self.size < size:
            self._append(EntryType.SOFTWARE, self._last_actor(), 0, {"name": f"fedspallm-secure/0.{self.size}"})

    def rounds(self, size: int) -> None:
        """Whole rounds, as long as they fit into so many entries."""
        while self.size + self.length <= size:
            self.round()

    def round(self) -> None:
        """The last real round once more."""
        self._round += 1
        made = _Round(self, self._round, self._plan())
        for entry in self._template:
            self._append(entry.type, entry.actor, self._round, made.data(entry))
        self._previous = made.result

    # What a round needs

    def digest(self) -> str:
        """A digest of something that was not there before, in hex."""
        self._drawn += 1
        return hashlib.sha256(b"%d %d" % (self._seed, self._drawn)).hexdigest()

    def note(self) -> bytes:
        """The newest checkpoint."""
        log = self.log
        return sign_checkpoint(log.log_signer, log.key, Checkpoint(log.key.name, self.size, self._tree.root())).encode()

    def next_plan(self, plan: Plan) -> Plan:
        """The plan of the next round, with prekeys that no plan has named."""
        uses = []
        for use in plan.prekeys:
            self._uses[use.id] += 1
            uses.append(replace(use, index=self._uses[use.id]))
        return replace(plan, round=self._round, nonce=self.digest(), previous=self._previous, prekeys=tuple(uses))

    def head(self, entry: Entry, note: bytes, **changes: Any) -> Head:
        """The header of the package that led to an entry, as its sender would write it now."""
        old = read_head(entry.data["head"])
        sender = old.context.sender.id
        self._sequences[sender] += 1
        context = replace(old.context, round=self._round, sequence=self._sequences[sender], checkpoint=note, **changes)
        header = replace(old.header, context=context)
        encoded = header.encode()
        return Head(encoded, header, sign(self.log.members[sender], Label.SIGN_PACKAGE, encoded))

    def _plan(self) -> Plan:
        (data,) = (entry.data for entry in self._template if entry.type is EntryType.PLAN)
        return Plan.from_dict(parse_canonical_json(self.log.documents[data["document"]], "a plan"))

    def _last_actor(self) -> Party:
        return Entry.parse(self.bodies[0]).actor

    def _append(self, type: EntryType, actor: Party, round: int, data: Mapping[str, Any]) -> None:
        entry = Entry.make(
            self.log.server,
            type=type,
            federation=self._last.federation,
            seq=self.size,
            round=round,
            actor=actor,
            at=self._last.at,
            data=data,
        )
        self.bodies.append(entry.encode())
        self._tree.append(leaf_hash(self.bodies[-1]))


class _Round:
    """One further round: what stands in its entries.  result: digest of its result."""

    def __init__(self, growing: Growing, number: int, template: Plan) -> None:
        self._growing, self._log = growing, growing.log
        self._number = number
        self._plan = growing.next_plan(template)
        self._hash = self._plan.hash
        self._note = growing.note()  # what everybody has seen while the round goes on
        self._deals: dict[tuple[int, str], str] = {}
        self._listed: SurvivorList
        self.result = ""

    def data(self, entry: Entry) -> Mapping[str, Any]:
        """What stands in this round's entry in place of `entry`."""
        match entry.type:
            case EntryType.PLAN:
                return {"hash": self._hash, "document": self._log.keep(self._plan.encode())}
            case EntryType.CONTRIBUTION:
                deal = self._growing.digest()
                self._deals[entry.data["group"], entry.actor.id] = deal
                return {"group": entry.data["group"], "deal": deal, **self._shown(entry)}
            case EntryType.UNMASK_RESPONSE:
                return self._shown(entry)
            case EntryType.REFUSAL:
                return {**entry.data, **self._shown(entry)}
            case EntryType.SURVIVORS:
                return self._survivors(entry)
            case EntryType.ENDORSEMENT:
                head = self._growing.head(entry, self._note, plan_hash=self._hash)
                signature = encode_base64(endorse(self._log.members[entry.actor.id], self._listed))
                shown = head_data(head.encoded, head.signature)
                return {"survivors": self._listed.hash, "signature": signature, "head": shown}
            case EntryType.RESULT:
                return self._result(entry)
            case EntryType.MODEL:
                return {**entry.data, "result": self.result}
        return entry.data

    def _shown(self, entry: Entry) -> dict[str, Any]:
        head = self._growing.head(entry, self._note, plan_hash=self._hash)
        return {"package": head.digest.hex(), "head": head_data(head.encoded, head.signature)}

    def _survivors(self, entry: Entry) -> dict[str, Any]:
        old = SurvivorList.parse(self._log.documents[entry.data["document"]])
        groups = [
            ListedGroup(group.gid, tuple(Listed(id, self._deals[group.gid, id]) for id in group.ids))
            for group in old.groups
        ]
        self._listed = SurvivorList.make(self._log.server, old.federation, self._number, self._hash, groups, old.ended)
        return {"hash": self._listed.hash, "document": self._log.keep(self._listed.encode())}

    def _result(self, entry: Entry) -> dict[str, Any]:
        old = Result.parse(self._log.documents[entry.data["document"]])
        groups = [
            replace(group, counts=self._growing.digest(), sums=self._growing.digest(), layer=self._growing.digest())
            for group in old.groups
        ]
        made = Result.make(
            self._log.server,
            old.federation,
            self._number,
            self._hash,
            self._listed.hash,
            groups,
            old.ended,
            old.answered,
        )
        self.result = made.hash
        return {"hash": made.hash, "document": self._log.keep(made.encode())}
