"""Step V4: each entry has its form, and who acted has signed what stands in it; and what of V1 later entries bring."""

from typing import Any, Final

from fedspallm_secure.crypto.encoding import parse_canonical_json
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.revocation import REVOCATION_LIST_LIMIT, RevocationList
from fedspallm_secure.crypto.signing import verify
from fedspallm_secure.errors import FedSpaError, FormatError
from fedspallm_secure.protocol.audit.entries import Entry, EntryType, read_head
from fedspallm_secure.protocol.audit.known_parties import KnownParties
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement
from fedspallm_secure.protocol.audit.policies import POLICY_LIMIT, TrustPolicy
from fedspallm_secure.protocol.audit.reports import Findings, LogSource
from fedspallm_secure.protocol.limits import (
    NOTE_KEY_LIMIT,
    OPENING_LIMIT,
    PREKEYS_LIMIT,
    RESULT_LIMIT,
    ROSTER_LIMIT,
    SURVIVORS_LIMIT,
)
from fedspallm_secure.protocol.package_types import PACKAGE_TYPES
from fedspallm_secure.protocol.packages import NONE, Head
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.receiving import Slot
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.protocol.rounds.openings import Opening
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.survivors import SurvivorList

_OF_V1: Final = frozenset({EntryType.ROSTER, EntryType.REVOCATIONS, EntryType.GENESIS})
_HEADS: Final = {
    EntryType.CONTRIBUTION: "contribution",
    EntryType.ENDORSEMENT: "endorsement",
    EntryType.UNMASK_RESPONSE: "unmask-response",
}


class EntryChecks:
    """Looks at entries in their order.

    shown: checkpoints in the heads of the last one; opened: its document as it was read, None if it has none;
    plans: round -> plan hash.
    """

    def __init__(self, source: LogSource, parties: KnownParties, documents: bool, findings: Findings) -> None:
        self.shown: list[bytes] = []
        self.opened: Any = None
        self.plans: dict[int, str] = {}
        self._source, self._parties, self._documents, self._findings = source, parties, documents, findings
        self._early: list[Entry] = []  # signed by a server whose certificate the log has not shown yet
        self._statement: NoteKeyStatement | None = None
        self._last = 0

    def expect_key(self, statement: NoteKeyStatement | None) -> None:
        """What the genesis says of the log's key: whose statement it is shows the first roster."""
        self._statement = statement

    def read(self, index: int, body: bytes) -> Entry | None:
        """One entry, checked; None if it cannot be read."""
        self.shown, self.opened = [], None
        try:
            entry = Entry.parse(body)
        except FedSpaError as error:
            self._findings.add("V4", f"entry {index} cannot be read: {error}", index)
            return None
        step = "V1" if entry.type in _OF_V1 else "V4"
        try:
            self._check_place(index, entry)
            self._check_server(entry)
            if self._documents:
                self._check_content(entry)
            else:
                self._look_at_heads(entry)
        except FedSpaError as error:
            self._findings.add(step, f"entry {index}, {entry.type.value}: {error}", index)
        return entry

    def conclude(self) -> None:
        """What has to be there in the end."""
        if self._documents and self._parties.roster is None:
            self._findings.add("V1", "the log has no roster")
        for key in sorted(self._parties.unnoted) if self._documents else ():
            self._findings.add("V4", f"the certificate with key {key[:16]}… has no entry of its own")

    def _check_place(self, index: int, entry: Entry) -> None:
        if entry.seq != index or entry.federation != self._parties.root.federation:
            raise FormatError(f"it says that it is entry {entry.seq} of {entry.federation}")
        if entry.at < self._last:
            raise FormatError("it is earlier than the one before")
        self._last = entry.at

    def _check_server(self, entry: Entry) -> None:
        """The server's signature, with the key that its certificate had then."""
        if not self._documents:
            return
        if self._parties.roster is None:
            self._early.append(entry)
            return
        entry.check_signature(self._parties.public(self._server(entry), entry.at))

    def _server(self, entry: Entry) -> Party:
        return self._early[0].actor if self._early else entry.actor

    # Documents and heads

    def _document(self, name: str, limit: int) -> bytes:
        return self._source.document(name, limit)

    def _check_content(self, entry: Entry) -> None:
        data, parties = entry.data, self._parties
        match entry.type:
            case EntryType.REVOCATIONS:
                crl = RevocationList.parse(self._document(data["document"], REVOCATION_LIST_LIMIT), parties.root)
                _same(crl.number, data["number"])
                parties.take_list(crl)
            case EntryType.ROSTER:
                self._take_roster(entry)
            case EntryType.CERTIFICATE:
                leaf = parties.leaf(data["key"], entry.actor)
                _same((leaf.not_before, leaf.not_after), (data["not_before"], data["not_after"]))
                if data["key"] not in parties.unnoted:
                    raise FormatError("the certificate has an entry already")
                parties.unnoted.discard(data["key"])
            case EntryType.WITNESSES:
                self._check_witnesses(entry)
            case EntryType.PREKEYS:
                self.opened = bundle = Prekeys.parse(self._document(data["document"], PREKEYS_LIMIT))
                _same(bundle.statement.digest.hex(), data["hash"])
                bundle.check(parties.public(entry.actor, entry.at), entry.federation, entry.actor)
            case EntryType.ROUND_OPEN if data["opening"]:
                opening = Opening.parse(self._document(data["opening"], OPENING_LIMIT))
                server = parties.public(self._server(entry), entry.at)
                opening.check(server, entry.federation, entry.round, opening.roster)
            case EntryType.PLAN:
                document = self._document(data["document"], PACKAGE_TYPES["plan"].plaintext_limit)
                self.opened = plan = Plan.from_dict(parse_canonical_json(document, "the plan"))
                _same((plan.hash, plan.round, plan.federation), (data["hash"], entry.round, entry.federation))
                self.plans[entry.round] = plan.hash
            case EntryType.SURVIVORS:
                self.opened = listed = SurvivorList.parse(self._document(data["document"], SURVIVORS_LIMIT))
                _same(listed.hash, data["hash"])
                listed.check(*self._of_round(entry))
            case EntryType.RESULT:
                self.opened = result = Result.parse(self._document(data["document"], RESULT_LIMIT))
                _same(result.hash, data["hash"])
                result.check(*self._of_round(entry))
            case EntryType.CONTRIBUTION | EntryType.ENDORSEMENT | EntryType.UNMASK_RESPONSE:
                head = self._head(entry, data["head"], valid=True)
                _same(head.context.type, _HEADS[entry.type])
                _same((head.context.round, head.context.plan_hash), (entry.round, self.plans.get(entry.round, NONE)))
                if entry.type is EntryType.CONTRIBUTION:
                    _same(head.context.group, str(data["group"]))
                if entry.type is not EntryType.ENDORSEMENT:
                    _same(head.digest.hex(), data["package"])
            case EntryType.REFUSAL:
                head = self._head(entry, data["head"], valid=False)
                _same((head.digest.hex(), head.context.type), (data["package"], data["type"]))
            case EntryType.EQUIVOCATION:
                first, second = (self._head(entry, head, valid=False) for head in data["heads"])
                if Slot.of(first.context) != Slot.of(second.context) or first.digest == second.digest:
                    raise FormatError("these are not two packages under one number")

    def _of_round(self, entry: Entry) -> tuple[bytes, str, int, str]:
        server = self._parties.public(self._server(entry), entry.at)
        return server, entry.federation, entry.round, self.plans.get(entry.round, NONE)

    def _head(self, entry: Entry, value: Any, valid: bool) -> Head:
        """What a package's sender signed.  valid: whether its certificate has to be valid when the entry was made."""
        head = read_head(value)
        context = head.context
        if context.checkpoint:
            self.shown.append(context.checkpoint)
        _same((context.sender, context.federation), (entry.actor, entry.federation))
        if valid:
            public = self._parties.public(entry.actor, entry.at, context.sender_key)
        else:
            public = self._parties.leaf(context.sender_key, entry.actor).public
        verify(public, Label.SIGN_PACKAGE, head.encoded, head.signature, "the package")
        return head

    def _look_at_heads(self, entry: Entry) -> None:
        """Without rosters: what senders have seen, and nothing else."""
        if "head" in entry.data:
            head = read_head(entry.data["head"])
            if head.context.checkpoint:
                self.shown.append(head.context.checkpoint)

    def _take_roster(self, entry: Entry) -> None:
        roster = Roster.parse(self._document(entry.data["document"], ROSTER_LIMIT), self._parties.root)
        _same((roster.version, roster.hash), (entry.data["version"], entry.data["hash"]))
        first = self._parties.roster is None
        self._parties.take_roster(roster)
        if not first:
            return
        server = self._early[0].actor
        public = self._parties.public(server, entry.at)
        if self._statement is not None:
            self._statement.check(public, entry.federation, server)
        for early in self._early:
            early.check_signature(public)

    def _check_witnesses(self, entry: Entry) -> None:
        policy = TrustPolicy.parse(self._document(entry.data["policy"], POLICY_LIMIT))
        found = set()
        for name in entry.data["note_keys"]:
            statement = NoteKeyStatement.parse(self._document(name, NOTE_KEY_LIMIT))
            statement.check(self._parties.public(statement.party, entry.at), entry.federation, statement.party)
            found.add(statement.key)
        if found != set(policy.witnesses.values()):
            raise FormatError("the policy names other witnesses than those whose keys are stated")


def _same(found: object, expected: object) -> None:
    if found != expected:
        raise FormatError("what is shown is not what the entry says")
