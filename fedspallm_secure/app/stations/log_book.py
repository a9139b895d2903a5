"""A member's copy of its server's log, taken in entry by entry: checks G1 to G6 of SPEC section 22.4.

Nothing that a server says of a round counts before it stands in here: a server that tells members different things has
to show them different logs, and both are signed.
"""

from collections.abc import Callable, Collection
from typing import Final

from fedspallm_secure.app.stations.evidence import keep_split_view
from fedspallm_secure.app.stations.note_statements import check_stated, pin, pinned_statement
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.app.stations.station import NotYet
from fedspallm_secure.crypto.encoding import decode_base64, encode_base64
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.merkle import leaf_hash, root
from fedspallm_secure.crypto.notes import Checkpoint, Note, NoteKey, open_checkpoint
from fedspallm_secure.errors import AuditFailed, BadSignature, FedSpaError, FormatError, LogRefused, SplitView
from fedspallm_secure.protocol.audit.entries import Entry, EntryType, read_head
from fedspallm_secure.protocol.audit.grammar import Grammar
from fedspallm_secure.protocol.audit.log_bodies import LogBody
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement
from fedspallm_secure.protocol.audit.policies import TrustPolicy
from fedspallm_secure.protocol.audit.split_view import SplitViewProof
from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.protocol.rounds.messages import Incoming
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plan_bodies import PlanBody
from fedspallm_secure.protocol.rounds.survivors import parse_survivors
from fedspallm_secure.protocol.rounds.unmasking import UnmaskRequest

_ONE_LOG: Final = (
    "is [server] id right?  A home follows one log; for another one, have its certificate withdrawn, and enrol again "
    "in a new --home"
)
_NAMED: Final = frozenset({EntryType.PLAN, EntryType.SURVIVORS, EntryType.RESULT})


class LogBook:
    """The log of one server, as one member has it.

    deals: digests of all deals that the member made; policy: whose cosignatures it asks for, None for nobody's.
    """

    def __init__(
        self, post: Post, server: Party, deals: Callable[[], Collection[str]], policy: TrustPolicy | None = None
    ) -> None:
        """Raises LogRefused for a home that has followed the log of another server."""
        self.post = post
        self.server = server
        self.policy = policy
        self._deals = deals
        pinned = pinned_statement(post)
        if pinned is not None and pinned.party != server:
            said = f"{post.home.path} has followed the log of {pinned.party}; it cannot follow that of {server}"
            raise LogRefused(said, check="G1", hint=_ONE_LOG)
        self._learn_all()
        post.keeper = self

    def _learn_all(self) -> None:
        self._grammar = Grammar()
        self._named: dict[tuple[EntryType, int], tuple[str, int]] = {}  # -> hash, index
        self._server_key = ""
        log = self.post.log
        for body in log.entries(0, log.size):
            self._learn(Entry.parse(body))

    def _learn(self, entry: Entry) -> None:
        self._grammar.take(entry)
        if entry.type in _NAMED:
            self._named[entry.type, entry.round] = entry.data["hash"], entry.seq
        if entry.type is EntryType.CERTIFICATE and entry.actor == self.server:
            self._server_key = entry.data["key"]

    # What others ask

    @property
    def key(self) -> NoteKey | None:
        """The log's key, as it was pinned."""
        statement = pinned_statement(self.post)
        return None if statement is None else statement.key

    def checkpoint(self) -> bytes:
        """The newest checkpoint that was checked, empty before the first one."""
        return decode_base64(self.post.journal.recall("log checkpoint", "*", ""), "the newest checkpoint")

    def look_up(self, incoming: Incoming, now: int) -> None:
        """P6, and what of E1, Q2 and L2 is about the log: it has the same plan, list and result, and no other.

        now: Unix seconds.  Raises NotYet for what is not in the log yet, LogRefused, FormatError.
        """
        context = incoming.head.context
        if context.sender != self.server:
            return
        if (proof := self.post.journal.recall("split view", "*")) is not None:
            raise SplitView(f"the log of {self.server} has two histories: {proof}", check="P6")
        match context.type:
            case "plan":
                plan = PlanBody.parse(incoming.body).plan
                if now <= plan.deadlines.contribution:  # later, P14 declines it
                    self.expect(EntryType.PLAN, incoming.head, plan.hash, "P6")
            case "survivors":
                self.expect(EntryType.SURVIVORS, incoming.head, parse_survivors(incoming.body).hash, "E1")
            case "unmask-request":
                listed = UnmaskRequest.parse(incoming.body).survivors
                self.expect(EntryType.SURVIVORS, incoming.head, listed, "Q2")
                self.expect_witnessed(EntryType.SURVIVORS, context.round)
            case "result":
                self.expect(EntryType.RESULT, incoming.head, Result.parse(incoming.body).hash, "L2")

    def collects(self, round: int) -> bool:
        """Whether a contribution to this round may still count, as far as the log tells."""
        found = self._grammar.rounds.get(round)
        return found is None or not (found.is_over or found.has(EntryType.SURVIVORS))

    def expect(self, type: EntryType, head: Head, hash: str, check: str) -> None:
        """Raise LogRefused unless the log says the same; NotYet if what was written before this package is missing.

        head: of the package; what stands before its checkpoint is all that the server had written when it was sealed.
        """
        found = self._named.get((type, head.context.round))
        if found is None and self._size_at(head) > self.post.log.size:
            raise NotYet
        if found is None or found[0] != hash:
            other = "no" if found is None else "another"
            raise LogRefused(f"the log has {other} {type.value} of round {head.context.round}", check=check)

    def _size_at(self, head: Head) -> int:
        shown = head.context.checkpoint
        if not shown:
            return 0
        try:
            note, key = Note.parse(shown), self.key
            return Checkpoint.parse(note.text).size if key is None else self._open(note, key).size
        except FedSpaError as error:
            raise LogRefused(str(error), check="G2") from None

    def expect_witnessed(self, type: EntryType, round: int) -> None:
        """Raise NotYet where my policy asks for cosignatures, and there are too few that stand for this entry."""
        if self.policy is not None and self._named[type, round][1] >= self.post.journal.recall("witnessed", "*", 0):
            raise NotYet

    def testify(self, proof: bytes) -> None:
        """Members keep evidence, and write no log."""

    # What the server shows

    def heed(self, head: Head) -> None:
        """The checkpoint in the header of one of the server's packages.  Raises LogRefused or SplitView."""
        shown, key = head.context.checkpoint, self.key
        if not shown or key is None or head.context.sender != self.server:
            return
        found = self._open(Note.parse(shown), key)
        log = self.post.log
        if found.size > log.size:
            log.keep_note(shown, found.size, found.root)
        elif log.tree.root(found.size) != found.root:
            self._tell_apart(Note.parse(shown), found, ())

    def on_log(self, incoming: Incoming) -> None:
        """Take in what is new, or nothing; inside of `post.at_once()`.  Raises LogRefused or SplitView."""
        if incoming.head.context.sender != self.server:
            raise LogRefused(f"{incoming.head.context.sender} is not the server whose log I follow", check="G1")
        try:
            body = LogBody.parse(incoming.body)
        except FedSpaError as error:
            raise LogRefused(str(error), check="G1") from None
        key = self._check_key(body.note_key)
        found = self._open(body.checkpoint, key)
        if found.size != body.start + len(body.entries):
            raise LogRefused("the checkpoint is not that of these entries", check="G2")
        try:
            self._extend(body, found)
        except FedSpaError:
            self.post.log.drop_staged()
            self._learn_all()
            raise
        pin(self.post, body.note_key)
        for note in (body.checkpoint, body.cosigned):  # a policy may ask for nobody's cosignature
            self._check_cosigned(note, key)

    def _check_key(self, statement: NoteKeyStatement) -> NoteKey:
        """G1."""
        check_stated(self.post, self.server, statement, "G1")
        if self.policy is not None and statement.key not in self.policy.logs:
            raise LogRefused(f"my policy does not name the log {statement.key.vkey}", check="G1")
        return statement.key

    def _open(self, note: Note, key: NoteKey) -> Checkpoint:
        """G2."""
        try:
            return open_checkpoint(note, key)
        except (BadSignature, FormatError) as error:
            raise LogRefused(str(error), check="G2") from None

    def _extend(self, body: LogBody, found: Checkpoint) -> None:
        """G3 to G6."""
        log, before = self.post.log, self.post.log.size
        if body.start > before:
            raise LogRefused(f"entries {before} to {body.start - 1} are missing", check="G3")
        known = list(log.entries(body.start, min(found.size, before)))
        if known != list(body.entries[: len(known)]) or (
            found.size <= before and log.tree.root(found.size) != found.root
        ):
            self._tell_apart(body.checkpoint, found, body.entries, body.start)
        if found.size <= before:
            return
        fresh = body.entries[len(known) :]
        for entry in fresh:
            log.stage(entry)
        if log.tree.root(found.size) != found.root:
            # It may be one of another history: when the log has come so far, the two contradict each other.
            log.keep_note(body.checkpoint.only(body.note_key.key).encode(), found.size, found.root)
            raise LogRefused("the entries do not have the root of the checkpoint", check="G4")
        self._take(fresh, before)
        for shown, size, its_root in list(log.notes()):
            if before < size <= found.size and log.tree.root(size) != its_root:
                earlier = Checkpoint(found.origin, size, its_root)
                self._tell_apart(Note.parse(shown), earlier, (), against=body.checkpoint)
        note = body.checkpoint.only(body.note_key.key).encode()
        log.keep_note(note, found.size, found.root)
        self.post.remember("log checkpoint", "*", encode_base64(note))

    def _take(self, fresh: tuple[bytes, ...], before: int) -> None:
        """G5 and G6."""
        trust = self.post.trust
        leaf = trust.roster.entry(self.server).leaf
        try:
            entries = [Entry.parse(entry) for entry in fresh]
        except FedSpaError as error:
            raise LogRefused(str(error), check="G5") from None
        own = trust.roster.entry(self.post.party).leaf.key_id
        unchecked: list[Entry] = []  # a log begins with entries that come before the certificate of its server
        for index, entry in enumerate(entries, before):
            if (entry.seq, entry.federation) != (index, trust.roster.federation):
                raise LogRefused(f"entry {index} says that it is another one", check="G5")
            try:
                self._learn(entry)
                unchecked = [*unchecked, entry] if self._server_key in ("", leaf.key_id) else []
                while self._server_key and unchecked:  # what an earlier key signed, the checkpoint stands for
                    unchecked.pop().check_signature(leaf.public)
            except (AuditFailed, BadSignature) as error:
                raise LogRefused(f"entry {index}: {error}", check="G5") from None
            if entry.type is EntryType.CONTRIBUTION and entry.actor == self.post.party:
                head = read_head(entry.data["head"])
                if head.context.sender_key == own and entry.data["deal"] not in self._deals():
                    raise LogRefused(f"entry {index} is a contribution of mine that I have not made", check="G6")

    def _check_cosigned(self, note: Note | None, key: NoteKey) -> None:
        """The rest of G2: how far the log is witnessed as my policy asks for."""
        if note is None or self.policy is None:
            return
        found, log = self._open(note, key), self.post.log
        if found.size > log.size:
            return
        if log.tree.root(found.size) != found.root:
            self._tell_apart(note, found, ())
        if self.policy.satisfied(note) and found.size > self.post.journal.recall("witnessed", "*", 0):
            self.post.remember("witnessed", "*", found.size)

    # Evidence

    def _tell_apart(
        self,
        note: Note,
        found: Checkpoint,
        entries: tuple[bytes, ...],
        start: int = 0,
        against: Note | None = None,
    ) -> None:
        """Two histories: keep the proof, if what was shown is one, and raise SplitView; else LogRefused.

        against: the checkpoint that contradicts it; None for the newest one that was checked.
        """
        tree, statement, kept = self.post.log.tree, pinned_statement(self.post), self.checkpoint()
        proof: SplitViewProof | None = None
        if statement is not None and kept:
            other = Note.parse(kept) if against is None else against
            own = open_checkpoint(other, statement.key)
            mine = [tree.leaf(index) for index in range(own.size)]
            theirs = [*mine[:start], *map(leaf_hash, entries)] if entries else []
            if found.size <= own.size and root(mine[: found.size]) != found.root:
                proof = SplitViewProof.make(statement, (other, note), mine)
            elif len(theirs) == found.size and root(theirs) == found.root and root(theirs[: own.size]) != own.root:
                proof = SplitViewProof.make(statement, (other, note), theirs)
        if proof is None:
            raise LogRefused("entries that I have are not those that the server shows now", check="G3")
        path = keep_split_view(self.post.home, proof)
        self.post.remember("split view", "*", str(path))
        raise SplitView(f"the log has two histories; the proof is in {path}", check="G4")
