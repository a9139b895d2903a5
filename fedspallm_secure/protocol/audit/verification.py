"""Checking a whole log: steps V1 to V8 of SPEC section 23, in one pass over its entries.

No network, no secrets, no I/O of its own.  Memory is that of the leaf hashes and of one round.
"""

from collections.abc import Callable
from itertools import zip_longest

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.merkle import Tree, leaf_hash
from fedspallm_secure.crypto.notes import Checkpoint, Note, NoteKey, open_checkpoint, verify_note
from fedspallm_secure.crypto.roots import parse_root
from fedspallm_secure.errors import AuditGrammar, FedSpaError
from fedspallm_secure.protocol.audit.entries import Entry, EntryType
from fedspallm_secure.protocol.audit.grammar import Grammar
from fedspallm_secure.protocol.audit.known_parties import KnownParties
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement
from fedspallm_secure.protocol.audit.policies import NO_QUORUM, TrustPolicy
from fedspallm_secure.protocol.audit.reports import Finding, Findings, Given, LogSource, Report, Step
from fedspallm_secure.protocol.audit.verifying_entries import EntryChecks
from fedspallm_secure.protocol.audit.verifying_receipts import check_receipts
from fedspallm_secure.protocol.audit.verifying_rounds import RoundChecks
from fedspallm_secure.protocol.limits import CERTIFICATE_LIMIT, NOTE_KEY_LIMIT

__all__ = ["Finding", "Given", "LogSource", "Report", "Step", "verify_log"]

Told = Callable[[str, int, int], None]  # what is being done, entries done, entries in all
_EVERY = 1_000  # entries between two words about progress
_RESTS = "not run: it rests on a step that failed"
_AFTER_V2 = ("V3", "V4", "V5", "V6", "V7", "V8")
_GROUNDS = {  # what each step rests on
    "V4": ("V1", "V3"),
    "V5": ("V3",),
    "V6": ("V1", "V3", "V4", "V5"),
    "V7": ("V1", "V3", "V4", "V5"),
    "V8": ("V1", "V3", "V4", "V5", "V6"),
}


def verify_log(
    source: LogSource, root_der: bytes, policy: TrustPolicy | None, given: Given, told: Told = lambda *_: None
) -> Report:
    """Check everything about a log that can be checked offline.

    root_der: the root certificate that the auditor trusts; policy: whose checkpoints and cosignatures count, None for
    those of the key that the log's server states.  Whatever is wrong is in the report.
    """
    return _Verification(source, root_der, policy, given, told).run()


class _Verification:
    """One run.  A step that fails stops those that rest on it."""

    def __init__(self, source: LogSource, root: bytes, policy: TrustPolicy | None, given: Given, told: Told) -> None:
        self._source, self._root, self._policy, self._given, self._told = source, root, policy, given, told
        self._findings = Findings()
        self._tree = Tree()
        self._grammar = Grammar()
        self._parties: KnownParties
        self._server: Party
        self._statement: NoteKeyStatement | None = None
        self._shown: bytes | FedSpaError | None = None  # the cosigned checkpoint, or why it cannot be read
        self._seen: dict[bytes, int] = {}  # checkpoint in a head -> the first entry that shows it
        self._witnessed = 0

    def run(self) -> Report:
        """All steps."""
        self._read_cosigned()
        checkpoint = self._read_checkpoint()
        if checkpoint is None:
            return Report(self._findings.steps(), 0, b"")
        key = self._find_key(checkpoint)
        if key is None:
            self._findings.skip("not run: there is no key to check it with", "V2")
        if key is None or not self._check_checkpoints(checkpoint, key):
            self._findings.skip(_RESTS, *_AFTER_V2)
        else:
            self._read_entries(checkpoint, key)
        rounds = len(self._grammar.rounds)
        return Report(self._findings.steps(), checkpoint.size, checkpoint.root, self._witnessed, rounds)

    def _read_cosigned(self) -> None:
        """Once, and before the checkpoint: a server that is at work publishes newer ones while its log is read."""
        try:
            self._shown = self._source.cosigned()
        except FedSpaError as error:
            self._shown = error

    @property
    def _cosigned(self) -> bytes | None:
        if isinstance(self._shown, FedSpaError):
            raise self._shown
        return self._shown

    def _read_checkpoint(self) -> Checkpoint | None:
        try:
            self._note = Note.parse(self._source.note())
            return Checkpoint.parse(self._note.text)
        except FedSpaError as error:
            self._findings.add("V2", f"the checkpoint cannot be read: {error}")
            self._findings.skip("not run: there is no checkpoint", "V1", *_AFTER_V2)
            return None

    # V1

    def _find_key(self, checkpoint: Checkpoint) -> NoteKey | None:
        """Root, genesis and policy; the log's key, None if there is none to trust."""
        if not checkpoint.size:
            self._findings.add("V1", "the log is empty")
            return None
        try:
            genesis = Entry.parse(next(iter(self._source.entries(checkpoint.size))))
        except (FedSpaError, StopIteration) as error:
            self._findings.add("V1", f"entry 0 cannot be read: {error}", 0)
            return None
        if genesis.type is not EntryType.GENESIS:
            self._findings.add("V1", f"entry 0 is a {genesis.type.value}, and a log begins with its genesis", 0)
            return None
        try:
            self._parties = KnownParties(parse_root(self._root, genesis.federation))
        except FedSpaError as error:
            self._findings.add("V1", f"the root certificate that was given: {error}", 0)
            return None
        self._server = genesis.actor
        stated = self._read_genesis(genesis)
        if genesis.data["origin"] != checkpoint.origin:
            self._findings.add("V1", f"entry 0 is of the log {genesis.data['origin'][:100]}", 0)
        if self._policy is None or not self._policy.logs:
            return stated
        named = next((key for key in self._policy.logs if key.name == checkpoint.origin), None)
        if named is None:
            self._findings.add("V1", f"the policy does not name the log {checkpoint.origin[:100]}")
        elif stated is not None and stated != named:
            self._findings.add("V1", f"the policy has another key for {named.name} than its server states", 0)
            return None
        return named

    def _read_genesis(self, genesis: Entry) -> NoteKey | None:
        """What the genesis names; the key that the server states."""
        try:
            if self._source.document(genesis.data["root"], CERTIFICATE_LIMIT) != self._root:
                self._findings.add("V1", "the log was begun under another root certificate than the one given", 0)
                return None
            data = self._source.document(genesis.data["note_key"], NOTE_KEY_LIMIT)
            self._statement = NoteKeyStatement.parse(data)
        except FedSpaError as error:
            if self._given.documents:
                self._findings.add("V1", f"entry 0: {error}", 0)
            return None
        if self._statement.party != genesis.actor:
            self._findings.add("V1", f"the log's key is stated by {self._statement.party}, not {genesis.actor}", 0)
        return self._statement.key

    # V2

    def _check_checkpoints(self, checkpoint: Checkpoint, key: NoteKey) -> bool:
        """Signature and quorum; what has to be of the same history is compared when the entries are there."""
        try:
            open_checkpoint(self._note, key)
        except FedSpaError as error:
            self._findings.add("V2", f"the checkpoint: {error}")
            return False
        policy = self._policy
        if policy is not None and policy.quorum != NO_QUORUM:
            self._check_quorum(policy, checkpoint, key)
        return "V2" not in self._findings.found

    def _check_quorum(self, policy: TrustPolicy, checkpoint: Checkpoint, key: NoteKey) -> None:
        try:
            shown = self._cosigned
            for note in (self._note, *([] if shown is None else [Note.parse(shown)])):
                if policy.satisfied(note):
                    self._witnessed = max(self._witnessed, open_checkpoint(note, key).size)
            if not self._witnessed:
                self._findings.add("V2", "no checkpoint is cosigned by the quorum of the policy")
            elif self._witnessed > checkpoint.size:
                self._findings.add("V2", f"witnesses cosigned {self._witnessed} entries; the log shows fewer")
        except FedSpaError as error:
            self._findings.add("V2", f"the cosigned checkpoint: {error}")

    def _compare(self, key: NoteKey) -> None:
        """Every checkpoint that somebody was shown is one of this log."""
        shown = [(note, "a checkpoint that was given") for note in self._given.checkpoints]
        try:
            cosigned = self._cosigned
        except FedSpaError as error:
            self._findings.add("V2", f"the cosigned checkpoint: {error}")
            cosigned = None
        if cosigned is not None:
            shown.append((cosigned, "the cosigned checkpoint"))
        for note, what in shown:
            self._compare_one(note, what, key)

    def _compare_one(self, note: bytes, what: str, key: NoteKey, index: int | None = None) -> None:
        """index: of the entry whose head shows it; that was sealed before the entry was written."""
        indices = () if index is None else (index,)
        try:
            found = open_checkpoint(Note.parse(note), key)
        except FedSpaError as error:
            self._findings.add("V2", f"{what} is no checkpoint of this log: {error}", *indices)
            return
        if found.size > (self._tree.size if index is None else index):
            self._findings.add("V2", f"{what} is over {found.size} entries, more than there were", *indices)
        elif self._tree.root(found.size) != found.root:
            self._findings.add("V2", f"{what} over {found.size} entries is of another history", *indices)

    # V3 to V8

    def _read_entries(self, checkpoint: Checkpoint, key: NoteKey) -> None:
        documents = self._given.documents
        entries = EntryChecks(self._source, self._parties, self._server, self._statement, documents, self._findings)
        rounds = RoundChecks(self._parties, self._findings)
        in_order = True
        size, missing = checkpoint.size, object()
        try:
            pairs = zip_longest(self._source.entries(size), self._source.leaves(size), fillvalue=missing)
            for index, (body, leaf) in enumerate(pairs):
                if not isinstance(body, bytes) or not isinstance(leaf, bytes):
                    self._findings.add("V3", "there are not as many entries as hashes", index)
                    break
                found = leaf_hash(body)
                self._tree.append(found)
                if found != leaf:
                    self._findings.add("V3", f"entry {index} does not have the hash that the tiles have", index)
                if index % _EVERY == 0:
                    self._told("entries", index, size)
                entry = entries.read(index, body)
                if entry is None:
                    in_order = False  # of what comes after an entry that nobody can read, the order is not known
                    self._findings.skip(_RESTS, "V5")
                    continue
                for note in entries.shown:
                    if entry.type is not EntryType.EQUIVOCATION or _is_signed(note, key):
                        self._seen.setdefault(note, index)
                if in_order:
                    in_order = self._take(entry)
                    rounds.take(entry, entries)
        except FedSpaError as error:
            self._findings.add("V3", f"after {self._tree.size} entries: {error}", self._tree.size)
        self._told("entries", self._tree.size, size)
        self._conclude(checkpoint, key, entries, rounds)

    def _take(self, entry: Entry) -> bool:
        """V5; False from the first entry on that is out of order."""
        try:
            self._grammar.take(entry)
        except AuditGrammar as error:
            self._findings.add("V5", str(error).removeprefix("V5: "), *error.indices)
            return False
        return True

    def _conclude(self, checkpoint: Checkpoint, key: NoteKey, entries: EntryChecks, rounds: RoundChecks) -> None:
        whole = self._tree.size == checkpoint.size and self._tree.root() == checkpoint.root
        if not whole and "V3" not in self._findings.found:
            self._findings.add("V3", f"{self._tree.size} entries do not have the root of the checkpoint")
        if "V3" not in self._findings.found:
            for note, index in self._seen.items():
                self._compare_one(note, f"what the sender of entry {index} has seen", key, index)
            self._compare(key)
            entries.conclude()
        for step, grounds in _GROUNDS.items():
            self._findings.rest(_RESTS, step, *grounds)
        if not self._given.documents:
            self._findings.skip("not run: a copy without documents", "V4", "V6", "V7", "V8")
        if self._given.receipts is None:
            self._findings.skip("not run: no receipts were given", "V7")
        if "V7" not in self._findings.skipped:
            receipts, keys = self._given.receipts or (), self._parties.keys_of(self._server)
            federation = self._parties.root.federation
            check_receipts(receipts, rounds.contributions, entries.plans, federation, keys, self._findings)


def _is_signed(note: bytes, key: NoteKey) -> bool:
    """Whether a log has signed it; whoever is proved wrong may have shown anything, and the server refused it."""
    try:
        verify_note(Note.parse(note), key)
    except FedSpaError:
        return False
    return True
