"""Step V4: each entry has its form, and who acted has signed what stands in it; and what of V1 later entries bring."""

from contextlib import suppress
from typing import Any, Final

from fedspallm_secure.crypto.encoding import parse_canonical_json
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.revocation import REVOCATION_LIST_LIMIT, RevocationList
from fedspallm_secure.crypto.signing import verify
from fedspallm_secure.errors import BadSignature, FedSpaError, FormatError, UnknownSender
from fedspallm_secure.protocol.audit.entries import Entry, EntryType, read_head
from fedspallm_secure.protocol.audit.known_parties import KnownParties
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement
from fedspallm_secure.protocol.audit.policies import POLICY_LIMIT, TrustPolicy
from fedspallm_secure.protocol.audit.reports import Findings, LogSource
from fedspallm_secure.protocol.limits import (
    CLOCK_SKEW,
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

_OF_V1: Final = frozenset({EntryType.ROSTER, EntryType.REVOCATIONS, EntryType.GENESIS})  # also before any roster
_OF_OTHERS: Final = frozenset({EntryType.CERTIFICATE, EntryType.REFUSAL, EntryType.EQUIVOCATION})  # a server's, too
_HEADS: Final = {
    EntryType.CONTRIBUTION: "contribution",
    EntryType.ENDORSEMENT: "endorsement",
    EntryType.UNMASK_RESPONSE: "unmask-response",
    EntryType.DECRYPT_CHALLENGE: "decrypt-challenge",
    EntryType.DECRYPT_RESPONSE: "decrypt-response",
}


class EntryChecks:
    """Looks at entries in their order.

    server: whose log it is; shown: checkpoints in the heads of the last entry; opened: its document as it was read,
    None if it has none; plans: round -> plan hash.
    """

    def __init__(
        self,
        source: LogSource,
        parties: KnownParties,
        server: Party,
        statement: NoteKeyStatement | None,
        documents: bool,
        findings: Findings,
    ) -> None:
        """statement: what the genesis says of the log's key; whose it is shows the first roster."""
        self.server = server
        self.shown: list[bytes] = []
        self.opened: Any = None
        self.plans: dict[int, str] = {}
        self._source, self._parties, self._documents, self._findings = source, parties, documents, findings
        self._held: list[Entry] = []  # signed with a key that the next roster has to bring
        self._statement = statement
        self._last = 0

    def read(self, index: int, body: bytes) -> Entry | None:
        """One entry, checked; None if it cannot be read."""
        self.shown, self.opened = [], None
        try:
            entry = Entry.parse(body)
        except FedSpaError as error:
            self._findings.add("V4", f"entry {index} cannot be read: {error}", index)
            return None
        step = "V4"
        try:
            self._check_place(index, entry)
            self._check_server(entry)
            if self._documents:
                step = "V1" if entry.type in _OF_V1 else "V4"
                self._check_content(entry)
            elif "head" in entry.data:  # without rosters: what senders have seen, and nothing else
                self._read_head(entry.data["head"])
        except FedSpaError as error:
            self._findings.add(step, f"entry {index}, {entry.type.value}: {error}", index)
        return entry

    def conclude(self) -> None:
        """What has to be there in the end."""
        if not self._documents:
            return
        if self._parties.roster is None:
            self._findings.add("V1", "the log has no roster")
        else:
            self._give_up()
        for key, index in sorted(self._parties.unnoted.items()):
            self._findings.add("V4", f"the certificate with key {key[:16]}… has no entry of its own", index)

    def _check_place(self, index: int, entry: Entry) -> None:
        if entry.seq != index or entry.federation != self._parties.root.federation:
            raise FormatError(f"it says that it is entry {entry.seq} of {entry.federation}")
        if entry.at < self._last:
            raise FormatError("it is earlier than the one before")
        self._last = entry.at

    def _check_server(self, entry: Entry) -> None:
        """The server's signature, with the key that its certificate had then.

        With a renewed key it signs the list and the roster first that tell of this key: these wait for the roster.
        """
        if entry.actor.role is Role.SERVER and entry.actor != self.server and entry.type not in _OF_OTHERS:
            raise FormatError(f"it is by {entry.actor}, and this is the log of {self.server}")
        if not self._documents:
            return
        if entry.type in _OF_V1:
            self._held.append(entry)
            return
        if self._parties.roster is None:
            raise FormatError("it comes before any roster")
        self._give_up()
        entry.check_signature(self._server_key(entry))

    def _server_key(self, entry: Entry) -> bytes:
        return self._parties.public(self.server, entry.at, fresh=False)

    def _give_up(self) -> None:
        """No roster came right after these: they are signed with the key of the newest one, or wrongly."""
        held, self._held = self._held, []
        for entry in held:
            try:
                entry.check_signature(self._server_key(entry))
            except FedSpaError as error:
                self._findings.add("V4", f"entry {entry.seq}, {entry.type.value}: {error}", entry.seq)

    # Documents and heads

    def _check_content(self, entry: Entry) -> None:
        data, parties = entry.data, self._parties
        match entry.type:
            case EntryType.REVOCATIONS:
                crl = RevocationList.parse(self._source.document(data["document"], REVOCATION_LIST_LIMIT), parties.root)
                _same(crl.number, data["number"])
                parties.take_list(crl)
            case EntryType.ROSTER:
                self._take_roster(entry)
            case EntryType.CERTIFICATE:
                leaf = parties.leaf(data["key"], entry.actor)
                if parties.unnoted.pop(data["key"], None) is None:
                    raise FormatError("the certificate has an entry already")
                _same((leaf.not_before, leaf.not_after), (data["not_before"], data["not_after"]))
            case EntryType.WITNESSES:
                self._check_witnesses(entry)
            case EntryType.PREKEYS:
                self.opened = bundle = Prekeys.parse(self._source.document(data["document"], PREKEYS_LIMIT))
                _same(bundle.statement.digest.hex(), data["hash"])
                bundle.check(parties.public(entry.actor, entry.at), entry.federation, entry.actor)
            case EntryType.ROUND_OPEN if data["opening"]:
                opening = Opening.parse(self._source.document(data["opening"], OPENING_LIMIT))
                server = self._server_key(entry)
                opening.check(server, entry.federation, entry.round, opening.roster)
            case EntryType.PLAN:
                self.plans[entry.round] = data["hash"]  # also where the document is another one
                document = self._source.document(data["document"], PACKAGE_TYPES["plan"].plaintext_limit)
                self.opened = plan = Plan.from_dict(parse_canonical_json(document, "the plan"))
                _same((plan.hash, plan.round, plan.federation), (data["hash"], entry.round, entry.federation))
            case EntryType.SURVIVORS:
                self.opened = listed = SurvivorList.parse(self._source.document(data["document"], SURVIVORS_LIMIT))
                _same(listed.hash, data["hash"])
                listed.check(*self._of_round(entry))
            case EntryType.RESULT:
                self.opened = result = Result.parse(self._source.document(data["document"], RESULT_LIMIT))
                _same(result.hash, data["hash"])
                result.check(*self._of_round(entry))
            case type if type in _HEADS:
                head = self._head(entry, data["head"], valid=True)
                _same(head.context.type, _HEADS[entry.type])
                _same((head.context.round, head.context.plan_hash), (entry.round, self.plans.get(entry.round, NONE)))
                if "group" in data:
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
        server = self._server_key(entry)
        return server, entry.federation, entry.round, self.plans.get(entry.round, NONE)

    def _head(self, entry: Entry, value: Any, valid: bool) -> Head:
        """What a package's sender signed.  valid: whether its certificate has to be valid when the entry was made."""
        head = self._read_head(value)
        context = head.context
        _same((context.sender, context.federation), (entry.actor, entry.federation))
        if context.created > entry.at + CLOCK_SKEW:
            raise FormatError(f"the package was made {context.created - entry.at} seconds after the entry")
        if valid:
            _same(context.recipient, self.server)
            public = self._parties.public(entry.actor, entry.at, context.sender_key)
        else:
            public = self._parties.leaf(context.sender_key, entry.actor).public
        verify(public, Label.SIGN_PACKAGE, head.encoded, head.signature, "the package")
        return head

    def _read_head(self, value: Any) -> Head:
        head = read_head(value)
        if head.context.checkpoint:
            self.shown.append(head.context.checkpoint)
        return head

    def _take_roster(self, entry: Entry) -> None:
        roster = Roster.parse(self._source.document(entry.data["document"], ROSTER_LIMIT), self._parties.root)
        _same((roster.version, roster.hash), (entry.data["version"], entry.data["hash"]))
        old = [] if self._parties.roster is None else self._parties.keys_of(self.server)
        self._parties.take_roster(roster, entry.seq)
        new = self._server_key(entry)
        if self._statement is not None:  # of the genesis, so with the first key
            self._check_statement(self._statement, entry.federation, new)
            self._statement = None
        held, self._held = self._held, []
        for one in held:
            if not any(_is_signed(one, key) for key in (new, *old[-1:])):
                self._findings.add("V4", f"entry {one.seq}, {one.type.value}: the server did not sign it", one.seq)

    def _check_statement(self, statement: NoteKeyStatement, federation: str, public: bytes) -> None:
        try:
            statement.check(public, federation, self.server)
        except FedSpaError as error:
            self._findings.add("V1", f"entry 0: {error}", 0)

    def _check_witnesses(self, entry: Entry) -> None:
        self.opened = policy = TrustPolicy.parse(self._source.document(entry.data["policy"], POLICY_LIMIT))
        found = set()
        for name in entry.data["note_keys"]:
            statement = NoteKeyStatement.parse(self._source.document(name, NOTE_KEY_LIMIT))
            self._check_cosigner(statement, entry.federation)
            found.add(statement.key)
        if found != set(policy.witnesses.values()):
            raise FormatError("the policy names other witnesses than those whose keys are stated")

    def _check_cosigner(self, statement: NoteKeyStatement, federation: str) -> None:
        """Made with any key that the witness has had: it may have renewed its certificates since, or be gone."""
        keys = self._parties.keys_of(statement.party)
        for public in keys[:-1]:
            with suppress(BadSignature):
                return statement.check(public, federation, statement.party)
        if not keys:
            raise UnknownSender(f"no roster so far has {statement.party}")
        statement.check(keys[-1], federation, statement.party)


def _is_signed(entry: Entry, public: bytes) -> bool:
    try:
        entry.check_signature(public)
    except BadSignature:
        return False
    return True


def _same(found: object, expected: object) -> None:
    if found != expected:
        raise FormatError("what is shown is not what the entry says")
