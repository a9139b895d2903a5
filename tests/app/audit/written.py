"""A log in memory, written entry by entry, with a clock that moves; for tests of what is told about one.

Entries have their form and nothing is signed as it would have to be: whoever tells a log's story verifies nothing.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.merkle import Tree, leaf_hash
from fedspallm_secure.crypto.notes import Checkpoint, Note, sign_checkpoint
from fedspallm_secure.errors import LimitExceeded, MissingInput
from fedspallm_secure.protocol.audit.entries import Entry, EntryType, head_data
from fedspallm_secure.protocol.packages import Header
from fedspallm_secure.protocol.rounds.outcomes import GroupResult, Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.survivors import EndCode, Ended, Listed, ListedGroup, SurvivorList
from tests.parties import Federation
from tests.protocol.audit import logs
from tests.protocol.rounds.test_plans import COHORT, PLAN

BEGIN = 1_800_000_000  # 2027-01-15 08:00:00 UTC
HASH = "ab" * 32
SIZE = 5 << 20  # bytes of plaintext of a contribution


@cache
def federation() -> Federation:
    return Federation()


def head(member: str, kind: str, group: str = "*", size: int = SIZE) -> dict[str, Any]:
    """What an entry shows of a package."""
    context = federation().context("member/north", "server/hub", type=kind, round=7, group=group)
    context = replace(context, sender=Party.parse(f"member/{member}"))
    made = Header(context, bytes(context.kem.wrap_size), body_length(size), bytes(32))
    return head_data(made.encode(), bytes(64))


@dataclass
class Written:
    """The log.  It is a `LogSource`."""

    bodies: list[bytes] = field(default_factory=list)
    documents: dict[str, bytes] = field(default_factory=dict)
    now: int = BEGIN
    round: int = 0

    def add(self, kind: EntryType, /, actor: str = "server/hub", wait: int = 10, **data: Any) -> int:
        """One more entry, `wait` seconds after the one before; its index."""
        self.now += wait
        made = Entry.make(
            logs.SERVER_SIGNER,
            type=kind,
            federation=logs.FEDERATION,
            seq=len(self.bodies),
            round=self.round,
            actor=Party.parse(actor),
            at=self.now,
            data=data,
        )
        self.bodies.append(made.encode())
        return made.seq

    def keep(self, document: bytes) -> str:
        """Keep a document; its name."""
        name = hashlib.sha256(document).hexdigest()
        self.documents[name] = document
        return name

    # As a source

    def note(self) -> bytes:
        return self.checkpoint().encode()

    def checkpoint(self) -> Note:
        root = Tree(map(leaf_hash, self.bodies)).root()
        return sign_checkpoint(logs.LOG_SIGNER, logs.LOG, Checkpoint(logs.LOG.name, len(self.bodies), root))

    def cosigned(self) -> bytes | None:
        return None

    def entries(self, size: int) -> Iterator[bytes]:
        if size > len(self.bodies):
            raise MissingInput("so many entries are not there")
        return iter(self.bodies[:size])

    def leaves(self, size: int) -> Iterator[bytes]:
        return map(leaf_hash, self.bodies[:size])

    def document(self, sha256: str, limit: int) -> bytes:
        if sha256 not in self.documents:
            raise MissingInput(f"there is no document {sha256}")
        if len(self.documents[sha256]) > limit:
            raise LimitExceeded("it is too large")
        return self.documents[sha256]

    # What happens

    def begin(self) -> None:
        """The genesis."""
        note_key = self.keep(logs.STATEMENT.encode())
        self.add(EntryType.GENESIS, root=self.keep(b"root"), origin=logs.LOG.name, note_key=note_key)

    def open_round(self, number: int, plan: Plan = PLAN) -> None:
        """Round and plan."""
        self.round = number
        self.add(EntryType.ROUND_OPEN, opening="")
        self.add(EntryType.PLAN, hash=plan.hash, document=self.keep(plan.encode()))

    def hand_in(self, member: str, group: int) -> None:
        """A contribution."""
        shown = head(member, "contribution", str(group))
        self.add(EntryType.CONTRIBUTION, f"member/{member}", group=group, package=HASH, deal=HASH, head=shown)

    def list_up(self, groups: dict[int, tuple[str, ...]], ended: tuple[Ended, ...] = ()) -> None:
        """The survivor list."""
        listed = [ListedGroup(gid, tuple(Listed(id, HASH) for id in ids)) for gid, ids in groups.items()]
        made = SurvivorList.make(logs.SERVER_SIGNER, logs.FEDERATION, self.round, PLAN.hash, listed, ended)
        self.add(EntryType.SURVIVORS, hash=made.hash, document=self.keep(made.encode()))

    def sign_list(self, party: str) -> None:
        """An endorsement."""
        shown = head("north", "endorsement")
        self.add(EntryType.ENDORSEMENT, party, survivors=HASH, signature=encode_base64(bytes(64)), head=shown)

    def answer(self, member: str) -> None:
        """An answer to the request."""
        self.add(EntryType.UNMASK_RESPONSE, f"member/{member}", package=HASH, head=head(member, "unmask-response"))

    def conclude(self, groups: list[GroupResult], answered: tuple[str, ...], ended: tuple[Ended, ...] = ()) -> None:
        """The result and its model."""
        made = Result.make(logs.SERVER_SIGNER, logs.FEDERATION, self.round, PLAN.hash, HASH, groups, ended, answered)
        self.add(EntryType.RESULT, hash=made.hash, document=self.keep(made.encode()))
        self.add(
            EntryType.MODEL, result=made.hash, files=[{"name": "model.safetensors", "size": 3 << 30, "sha256": HASH}]
        )


def whole_log() -> Written:
    """A round that ends well, in which members fall silent at every stage, and one that does not.

    west hands in nothing; mid nothing for layer 4; south is left out of layer 3; east does not sign; north does not
    answer; layer 4 ends without a sum.
    """
    log = Written()
    log.begin()
    log.open_round(1)
    for member, gid in (("east", 3), ("east", 4), ("mid", 3), ("north", 3), ("north", 4), ("south", 3), ("south", 4)):
        log.hand_in(member, gid)
    shown = head("mid", "contribution", "4")
    log.add(EntryType.REFUSAL, "member/mid", type="contribution", group="4", package=HASH, check="S4", head=shown)
    log.add(EntryType.COMPLAINT, group=4, check="U3", guilty=["south"], suspects=["mid", "north"])
    ended = Ended(4, EndCode.BAD_DEALING, ("south",))
    log.add(EntryType.GROUP_ENDED, group=4, code="BAD_DEALING", named=["south"])
    log.list_up({3: ("east", "mid", "north")}, (ended,))
    for member in ("mid", "north"):
        log.sign_list(f"member/{member}")
    log.add(EntryType.UNMASK_REQUEST, recipients=["east", "mid", "north"])
    for member in ("east", "mid"):
        log.answer(member)
    log.conclude([GroupResult(3, 30, 3, HASH, HASH, 15, 3, HASH)], ("east", "mid"), (ended,))
    log.add(EntryType.RETENTION, removed="answers", reason="<b>asked & granted</b>")
    log.open_round(2)
    log.hand_in("east", 3)
    log.add(EntryType.ABORT, code="TOO_FEW_CONTRIBUTIONS")
    return log


__all__ = ["BEGIN", "COHORT", "HASH", "Written", "federation", "head", "whole_log"]
