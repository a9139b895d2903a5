"""The server's log as it is being written: what happens becomes entries, in the same transaction (SPEC section 22).

A package that leaves carries the newest checkpoint, which stands for everything that was written down before it.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fedspallm_secure import SOFTWARE
from fedspallm_secure.app.stations.cosigners import Cosigners
from fedspallm_secure.app.stations.note_statements import own_statement
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.crypto.encoding import decode_base64, parse_canonical_json
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.notes import Checkpoint, Note, open_checkpoint, sign_checkpoint
from fedspallm_secure.errors import (
    BadSignature,
    FormatError,
    HostileFile,
    LimitExceeded,
    LogRefused,
    MissingInput,
    RolledBack,
)
from fedspallm_secure.protocol.audit.entries import Entry, EntryType
from fedspallm_secure.protocol.audit.log_bodies import ENTRIES_AT_ONCE, LogBody, fitting
from fedspallm_secure.protocol.audit.note_keys import note_key
from fedspallm_secure.protocol.audit.policies import make_policy
from fedspallm_secure.protocol.audit.recording import abort_of, document_name, drafts_of
from fedspallm_secure.protocol.packages import Head, Header
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.rounds.records_server import GroupEnded, ListMade, OutOfRange, ServerRecord
from fedspallm_secure.protocol.rounds.server_state import ServerState, State
from fedspallm_secure.storage.log_folder import FolderLog, publish

_LOST: Final = "a server whose log key is lost enrols anew, under another id, with a new log"
_PUT_BACK: Final = "stop: the journal of this server was put back.  Enrol a server under another id, with a new log"


class Scribe:
    """Writes the log, signs its checkpoints, and tells members what is new in it.

    key: of the log's notes; statement: who holds it.  Raises RolledBack where a member has seen more than there is.
    """

    def __init__(self, post: Post, folder: Path, witnesses: Collection[str] = (), dishonest: int = 0) -> None:
        """folder: where the log is published; witnesses: ids of those who cosign it; dishonest: how many may be.

        Raises MissingInput for a party without a key for a log, KeyStoreError for one whose key is another than before.
        """
        if post.note_signer is None:
            raise MissingInput(f"{post.home.path} has no key for a log")
        self.post, self.folder = post, folder
        self._signer = post.note_signer
        self._published = 0  # entries
        federation = post.trust.roster.federation
        self.key = note_key(federation, post.party, self._signer.public)
        self._cosigners = Cosigners(post, self.key, witnesses, dishonest)
        self._signed: tuple[tuple[int, bytes], bytes] = (0, b""), b""
        self._last = self._time_of_last()
        post.keeper = self
        self._check_published()
        with post.at_once():
            self.statement = own_statement(post, self._signer, _LOST)
            self.sync()

    def _check_published(self) -> None:
        """Whatever was published once is in the journal, too.  Raises RolledBack."""
        try:
            found = open_checkpoint(Note.parse(FolderLog(self.folder).note()), self.key)
        except (MissingInput, FormatError, BadSignature, HostileFile, LimitExceeded):
            return  # it is written anew
        log = self.post.log
        if found.size > log.size or log.tree.root(found.size) != found.root:
            raise RolledBack(f"{self.folder} has {found.size} entries that the journal does not have", hint=_PUT_BACK)

    def _time_of_last(self) -> int:
        log = self.post.log
        last = next(iter(log.entries(log.size - 1, log.size)), None) if log.size else None
        return 0 if last is None else Entry.parse(last).at

    # Writing

    def write(
        self, type: EntryType, actor: Party, data: Mapping[str, Any], round: int = 0, documents: Iterable[bytes] = ()
    ) -> None:
        """One more entry; inside of `post.at_once()`."""
        log, self._last = self.post.log, max(self._last, self.post.now())
        federation = self.post.trust.roster.federation
        entry = Entry.make(
            self.post.signer,
            type=type,
            federation=federation,
            seq=log.size,
            round=round,
            actor=actor,
            at=self._last,
            data=dict(data),
        )
        for document in documents:
            log.keep_document(document)
        log.stage(entry.encode())

    def record(self, records: Iterable[ServerRecord], state: ServerState, head: Head | None) -> None:
        """What a step of a round adds.  state: after the step; head: of the package that led to it."""
        kept = tuple(records)
        for record in kept:
            for draft in drafts_of(record, state, head):
                self.write(draft.type, draft.actor, draft.data, state.plan.round, draft.documents)
        ends = any(isinstance(record, ListMade | GroupEnded | OutOfRange) for record in kept)
        if ends and state.state is State.FINISHED and state.result is None:
            draft = abort_of(state)
            self.write(draft.type, draft.actor, draft.data, state.plan.round)

    def sync(self) -> None:
        """What is new about federation, roster, certificates, list and program; inside of `post.at_once()`."""
        trust, party = self.post.trust, self.post.party
        if not self.post.log.size:
            root, statement = trust.root.der, self.statement.encode()
            genesis = {
                "root": document_name(root),
                "origin": self.key.name,
                "note_key": document_name(statement),
            }
            self.write(EntryType.GENESIS, party, genesis, documents=(root, statement))
        roster = trust.roster
        if self._is_new("crl", trust.crl.number):
            crl = {"number": trust.crl.number, "document": document_name(trust.crl.der)}
            self.write(EntryType.REVOCATIONS, party, crl, documents=(trust.crl.der,))
        if self._is_new("roster", roster.hash):
            document = roster.statement.encode()
            data = {"version": roster.version, "hash": roster.hash, "document": document_name(document)}
            self.write(EntryType.ROSTER, party, data, documents=(document,))
            for entry in roster.entries:
                if self._is_new(f"certificate {entry.leaf.key_id}", True):
                    leaf = entry.leaf
                    shown = {"key": leaf.key_id, "not_before": leaf.not_before, "not_after": leaf.not_after}
                    self.write(EntryType.CERTIFICATE, entry.party, shown)
        if self._is_new("software", SOFTWARE):
            self.write(EntryType.SOFTWARE, party, {"name": SOFTWARE})

    def prekeys(self, bundle: Prekeys) -> None:
        """The prekeys of a member that a plan is going to name; inside of `post.at_once()`."""
        digest, document = bundle.statement.digest.hex(), bundle.encode()
        if self._is_new(f"prekeys {digest}", True):
            data = {"hash": digest, "document": document_name(document)}
            self.write(EntryType.PREKEYS, bundle.party, data, documents=(document,))

    def _is_new(self, what: str, value: Any) -> bool:
        if self.post.journal.recall("logged", what) == value:
            return False
        self.post.remember("logged", what, value)
        return True

    def testify(self, proof: bytes) -> None:
        """Somebody made two packages under one number; written once for a key and a round, however often it did.

        proof: as of `equivocation_proof`.
        """
        heads = parse_canonical_json(proof, "a proof")["packages"]
        context = Header.parse(decode_base64(heads[0]["header"], "a header")).context
        known = context.round <= self.post.journal.last_round()  # packages may name any round, and are kept unread
        round = context.round if known else 0
        if self._is_new(f"equivocation {context.sender_key} {round}", True):
            self.write(EntryType.EQUIVOCATION, context.sender, {"heads": heads}, round)

    def end(self, round: int, result: str, files: Sequence[Mapping[str, Any]], removed: Sequence[str]) -> None:
        """A round is over; inside of `post.at_once()`.

        result: its digest, for a model of `files`, none if it was not written yet; removed: of `contributions` and
        `answers`, what is not kept.
        """
        if files:
            self.write(EntryType.MODEL, self.post.party, {"result": result, "files": list(files)}, round)
        for what in removed:
            data = {"removed": what, "reason": "the server's settings say that rounds are not archived"}
            self.write(EntryType.RETENTION, self.post.party, data, round)

    def publish(self) -> None:
        """Write the files of the log, where they lack something.  Raises StorageError."""
        if self._published != self.post.log.size:
            cosigned = self._cosigners.newest()
            publish(self.post.log, self.folder, self.checkpoint(), None if cosigned is None else cosigned.encode())
            self._published = self.post.log.size

    # Checkpoints

    def checkpoint(self) -> bytes:
        """The newest checkpoint, as every package of this server carries it."""
        log = self.post.log
        now = log.size, log.tree.root()  # the root, too: entries that were never durable may have made place for others
        if self._signed[0] != now:
            self._signed = now, self.checkpoint_at(log.size).encode()
        return self._signed[1]

    def checkpoint_at(self, size: int) -> Note:
        """The checkpoint of the first `size` entries, with the log's signature alone."""
        found = Checkpoint(self.key.name, size, self.post.log.tree.root(size))
        return sign_checkpoint(self._signer, self.key, found)

    def heed(self, head: Head) -> None:
        """What a sender says that it has seen of this log.  Raises RolledBack, or LogRefused for another log's."""
        shown, sender = head.context.checkpoint, head.context.sender
        if not shown:
            return
        try:
            found = open_checkpoint(Note.parse(shown), self.key)
        except (FormatError, BadSignature) as error:
            raise LogRefused(f"{sender} shows a checkpoint that this log has not signed: {error}") from None
        log = self.post.log
        if found.size > log.size or log.tree.root(found.size) != found.root:
            said = f"{sender} has seen {found.size} entries of this log, which are not those that it has now"
            raise RolledBack(said, hint=_PUT_BACK)
        if found.size > self._seen_by(sender):
            self.post.remember("log seen", str(sender), found.size)
            self.post.remember("log seen under", str(sender), head.context.sender_key)

    def _seen_by(self, party: Party) -> int:
        """How much of the log a party has for certain: who enrolled again, in a new home, may have nothing.

        Raises UnknownSender.
        """
        key, recall = self.post.trust.roster.entry(party).leaf.key_id, self.post.journal.recall
        return int(recall("log seen", str(party), 0)) if recall("log seen under", str(party)) == key else 0

    # Telling others

    def tell(self, party: Party) -> None:
        """Send a member everything that it may not have; inside of `post.at_once()`.  Raises what `post.send` does."""
        log, journal = self.post.log, self.post.journal
        cosigned, witnesses = self._cosigners.newest(), self._cosigners.statements.values()
        told = {
            "size": log.size,
            "cosigned": "" if cosigned is None else hashlib.sha256(cosigned.encode()).hexdigest(),
            "roster": self.post.trust.roster.hash,
        }
        if journal.recall("log told", str(party)) == told:
            return
        for listed in self.post.spool.outgoing():  # what comes now holds all that was in those
            if listed.type == "log" and listed.recipient == str(party):
                self.post.withdraw(listed.digest)
        start = self._seen_by(party)
        while True:
            entries = fitting(log.entries(start, min(start + ENTRIES_AT_ONCE, log.size)))
            end = start + len(entries)
            shown = tuple(one.encode() for one in witnesses)
            body = LogBody(self.statement, shown, start, entries, self.checkpoint_at(end), cosigned)
            self.post.send("log", party, [body.encode()])
            start = end
            if end == log.size:
                break
        self.post.remember("log told", str(party), told)

    def ask_witnesses(self) -> list[tuple[Party, Exception]]:
        """Have the newest checkpoint cosigned; inside of `post.at_once()`.  Returns who could not be asked, and why."""
        return self._cosigners.ask(self.statement, Note.parse(self.checkpoint()), self.post.log)

    def on_cosignature(self, sender: Party, body: bytes) -> bool:
        """What a witness answers; whether there is something new to tell.  Errors: as of `Cosigners.on_cosignature`."""
        new = self._cosigners.on_cosignature(sender, body, self.post.log)
        self.post.later(self._unpublish)
        return new

    def _unpublish(self) -> None:
        self._published = 0

    def note_witnesses(self) -> None:
        """Write down whose cosignatures count, when that is new; inside of `post.at_once()`."""
        found = self._cosigners.statements
        if not found:
            return
        quorum = min(self._cosigners.quorum, len(found))
        policy = make_policy(self.key, [one.key for one in found.values()], quorum).encode()
        if self._is_new("witnesses", document_name(policy)):
            documents = [one.encode() for one in found.values()]
            names = sorted(map(document_name, documents))
            data = {"policy": document_name(policy), "note_keys": names}
            self.write(EntryType.WITNESSES, self.post.party, data, documents=(policy, *documents))
