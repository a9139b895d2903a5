"""The key holder of a round: it decrypts one sum of each group, and nothing else (SPEC section 24.4).

It trusts the server in nothing: what comes out is the sum over one survivor list, long enough, of vectors that their
members signed.  The chunks show that it adds up again, as far as they are opened; and from anything but that sum the
survivors' keystreams cannot be taken off.  What a `Step` says to write down has to be durable before any of its
messages leaves.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Self, cast, get_args

from fedspallm_secure.crypto.encoding import parse_canonical_json
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.crypto.sealing import RecipientSecret
from fedspallm_secure.errors import FormatError, OutOfTurn, PlanDeclined, UnmaskingDeclined, UsageError
from fedspallm_secure.protocol.rounds import cipher_checks, plan_checks, unmask_checks
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.decrypting import Challenge, DecryptRequest, OpenedChunk, draw_chunks
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.member_own import Own
from fedspallm_secure.protocol.rounds.messages import Incoming, Outgoing, Step
from fedspallm_secure.protocol.rounds.outcomes import Abort, Result
from fedspallm_secure.protocol.rounds.plans import KeyUse, Plan
from fedspallm_secure.protocol.rounds.policy_checks import check_terms
from fedspallm_secure.protocol.rounds.records import Record, read_record
from fedspallm_secure.protocol.rounds.sealed_seeds import opened_key
from fedspallm_secure.protocol.rounds.survivors import ListedGroup, SurvivorList
from fedspallm_secure.secagg.disclosure import Ledger, Release


@dataclass(frozen=True, slots=True)
class PlanTaken(Record):
    """A plan passed K1 to K3.  plan: canonical JSON; plan_hash: hex."""

    kind = "plan-taken"
    plan: bytes
    plan_hash: str


@dataclass(frozen=True, slots=True)
class SumShown(Record):
    """The one sum of a group, and what is to be opened of it.

    survivors: statement file of the list; root: of the sum's chunks, hex; roots, envelopes: of the survivors' vectors,
    hex, and with their seeds, as they were sealed, in cohort order; chunks: numbers, ascending.
    """

    kind = "sum-shown"
    gid: int
    survivors: bytes
    root: str
    roots: tuple[str, ...]
    envelopes: tuple[bytes, ...]
    chunks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SumDecrypted(Record):
    """The sum was that of its survivors, and what it holds may leave.  digest: SHA-256 of what leaves, hex."""

    kind = "sum-decrypted"
    gid: int
    digest: str


@dataclass(frozen=True, slots=True)
class KeyErased(Record):
    """The round is over for the key holder, and its key is gone."""

    kind = "key-erased"


KeyHolderRecord = PlanTaken | SumShown | SumDecrypted | KeyErased


def read_key_holder_record(value: Any) -> KeyHolderRecord:
    """The record whose plain data `value` is.  Raises FormatError."""
    return cast(KeyHolderRecord, read_record(value, get_args(KeyHolderRecord)))


class KeyHolder:
    """One round.  Every method checks, then returns what to write down and what to send; an error changes nothing."""

    def __init__(self, own: Own) -> None:
        """Raises UsageError for another role."""
        if own.party.role is not Role.KEY_HOLDER:
            raise UsageError(f"{own.party} is no key holder")
        self.own = own
        self.taken: Plan | None = None
        self.plan_hash = ""
        self.survivors: SurvivorList | None = None
        self.shown: dict[int, SumShown] = {}
        self.decrypted: dict[int, str] = {}  # gid -> digest of what left, hex
        self.over = False

    @classmethod
    def restore(cls, own: Own, records: Iterable[KeyHolderRecord]) -> Self:
        """The round as its records have it.  Raises FormatError when they are of no round."""
        holder = cls(own)
        for record in records:
            holder.apply(record)
        return holder

    @property
    def plan(self) -> Plan:
        """The plan that was taken.  Raises OutOfTurn while there is none."""
        if self.taken is None:
            raise OutOfTurn("no plan was taken yet")
        return self.taken

    @property
    def releases(self) -> tuple[Release, ...]:
        """What was or may be decrypted: it belongs into the ledger before a challenge leaves."""
        plan = self.plan
        return tuple(
            Release(matrix.name, group.base, plan.round, frozenset(self.listed(group.gid).ids), plan.split)
            for group in plan.groups
            if group.gid in self.shown
            for matrix in group.matrices
        )

    def listed(self, gid: int) -> ListedGroup:
        """The survivors of a group whose sum was shown."""
        return cast(ListedGroup, cast(SurvivorList, self.survivors).group(gid))

    def on_plan(
        self,
        incoming: Incoming,
        key: CipherKey,
        ledger: Ledger,
        now: int,
        last_round: int = 0,
        used_keys: Collection[str] = (),
    ) -> Step[KeyHolderRecord]:
        """Take a plan by K1 to K3.  The same plan again changes nothing.

        key: the own one that the plan names; now: Unix seconds; last_round: the newest round that it took a plan for;
        used_keys: digests of all keys that plans of other rounds named, hex, whether these rounds have ended or not.
        Raises PlanDeclined, DisclosureRefused.
        """
        own = self.own
        body, plan_hash = plan_checks.read_plan(incoming)
        plan = body.plan
        plan_checks.check_server(incoming, own.policy)
        plan_checks.check_federation(plan, own)
        if self.taken is not None and self.plan_hash == plan_hash:
            return Step()
        plan_checks.check_round(plan, self.taken is not None, last_round)
        cipher_checks.check_key_use(plan, key, own, used_keys)  # K2
        plan_checks.check_protection(plan, own)
        plan_checks.check_cohorts(plan)
        check_terms(plan, own.policy, now)
        for group in plan.groups:  # K3
            if len(group.cohort) < own.policy.least_cohort:
                few = f"the cohort of group {group.gid} has {len(group.cohort)} members"
                raise PlanDeclined(f"{few}; I ask for {own.policy.least_cohort}", check="K3")
            self._check_disclosure(plan, group, group.cohort, ledger, "K3")
        return self._step(PlanTaken(plan.encode(), plan_hash))

    @property
    def key_hash(self) -> str:
        """Digest of the key that the plan names, hex."""
        return self._use.key

    def on_request(
        self, incoming: Incoming, root: str, ledger: Ledger, secret: RecipientSecret, now: int
    ) -> Step[KeyHolderRecord]:
        """Look at the sum of a group by K4 to K7, and ask for chunks of it; the first sum of a group counts.

        incoming: without the sum's chunks; root: of these, hex; secret: what members sealed their seeds to.  The same
        sum again is answered by the same challenge.
        Raises UnmaskingDeclined, DisclosureRefused, OutOfTurn.
        """
        group = self.group_in(incoming, "decrypt-request", now)
        with unmask_checks.declining("K4"):
            request = DecryptRequest.parse(incoming.body)
            plan, own, survivors = self.plan, self.own, request.survivors
            survivors.check(own.server, plan.federation, plan.round, self.plan_hash)
        unmask_checks.check_same_list(survivors, self.survivors, "K5")
        unmask_checks.check_cohorts(plan, survivors, "K5")
        unmask_checks.check_sizes(plan, survivors, "K5")
        listed = cipher_checks.listed_group(survivors, group.gid)
        known = self.shown.get(group.gid)
        if known is not None:
            if known.root != root:
                raise UnmaskingDeclined(
                    f"this is the second sum of group {group.gid}; the first one counts", check="K5"
                )
            return Step((), (self._challenge(known),))
        context = plan.context(group.gid, self.plan_hash)
        roots = cipher_checks.check_deals(request, context, group, listed, own, secret)  # K6
        self._check_disclosure(plan, group, listed.ids, ledger, "K7")
        chunks = draw_chunks(group.upload_size // group.upload_tile, self._use.sample)
        hexed, envelopes = tuple(found.hex() for found in roots.values()), tuple(one.envelope for one in request.deals)
        record = SumShown(group.gid, survivors.encode(), root, hexed, envelopes, chunks)
        return self._step(record, messages=(self._challenge(record),))

    def awaits_opening(self, incoming: Incoming, now: int) -> GroupPlan:
        """The group whose chunks this package opens, which was asked for.  Raises UnmaskingDeclined, OutOfTurn."""
        group = self.group_in(incoming, "decrypt-opening", now)
        if group.gid not in self.shown:
            raise OutOfTurn(f"no sum of group {group.gid} was shown", check="K8")
        return group

    def check_opened(self, gid: int, member: str, chunk: int, opened: OpenedChunk) -> None:
        """K8, first half: this is what the member signed.  Raises UnmaskingDeclined."""
        shown, group = self.shown[gid], self._group(gid)
        root = bytes.fromhex(shown.roots[self.listed(gid).ids.index(member)])
        if not opened.is_under(root, chunk, group.upload_size // group.upload_tile):
            raise UnmaskingDeclined(f"chunk {chunk} of group {gid} is not the one that {member} signed", check="K8")

    def slot_keys(self, gid: int, secret: RecipientSecret) -> tuple[bytes, ...]:
        """Keys of the keystreams to be taken off a sum that was shown, one for each survivor.  Raises CannotDecrypt."""
        context, sealed = self.plan.context(gid, self.plan_hash), self.shown[gid].envelopes
        pairs = zip(self.listed(gid).ids, sealed, strict=True)
        return tuple(opened_key(context, member, envelope, self.own.party, secret) for member, envelope in pairs)

    def note_decrypted(self, gid: int, digest: str) -> Step[KeyHolderRecord]:
        """All chunks that were opened add up to those of the sum, K8: what it holds may leave, the same every time.

        digest: SHA-256 of what leaves, hex.  Raises OutOfTurn.
        """
        if self.over or gid not in self.shown or self.decrypted.get(gid, digest) != digest:
            raise OutOfTurn(f"no sum of group {gid} is to be decrypted, or another one was", check="K8")
        return Step() if gid in self.decrypted else self._step(SumDecrypted(gid, digest))

    def on_end(self, incoming: Incoming) -> Step[KeyHolderRecord]:
        """Take in the result of the round, or its end: the key has done its work.  The same again changes nothing.

        Raises UnmaskingDeclined, BadSignature, WrongFederation, NotAwaited, FormatError, LimitExceeded.
        """
        plan, own, type = self.plan, self.own, incoming.head.context.type
        unmask_checks.check_origin(incoming, type, plan, self.plan_hash, own.policy, "K9")
        if type == "abort":
            if Abort.parse(incoming.body).gid is not None:
                return Step()
        else:
            result = Result.parse(incoming.body)
            result.check(own.server, plan.federation, plan.round, self.plan_hash)
            if self.survivors is not None and result.survivors != self.survivors.hash:
                raise UnmaskingDeclined("the result is over another list than the sums that I decrypted", check="K9")
        return Step() if self.over else self._step(KeyErased())

    def expire(self, now: int) -> Step[KeyHolderRecord]:
        """The key has no more work once nothing is answered any more, whether the end of the round was heard or not."""
        gone = self.taken is not None and now > self.plan.deadlines.abort and not self.over
        return self._step(KeyErased()) if gone else Step()

    def apply(self, record: KeyHolderRecord) -> None:
        """Know one more thing.  Records come in the order in which they were made.  Raises FormatError."""
        match record:
            case PlanTaken():
                self.taken = Plan.from_dict(parse_canonical_json(record.plan, "the plan"))
                self.plan_hash = record.plan_hash
            case _ if self.taken is None:
                raise FormatError("the records of a round begin with its plan")
            case SumShown():
                self.survivors = SurvivorList.parse(record.survivors)
                self.shown[record.gid] = record
            case SumDecrypted():
                self.decrypted[record.gid] = record.digest
            case KeyErased():
                self.over = True

    # Inside

    @property
    def _use(self) -> KeyUse:
        return cast(KeyUse, self.plan.key_holder)

    def _step(self, *records: KeyHolderRecord, messages: tuple[Outgoing, ...] = ()) -> Step[KeyHolderRecord]:
        for record in records:
            self.apply(record)
        return Step(records, messages)

    def _group(self, gid: int) -> GroupPlan:
        return cast(GroupPlan, self.plan.group(gid))

    def group_in(self, incoming: Incoming, type: str, now: int) -> GroupPlan:
        """K4, first half: the group that a message of the server is about.  Raises UnmaskingDeclined, OutOfTurn."""
        plan = self.plan
        unmask_checks.check_origin(incoming, type, plan, self.plan_hash, self.own.policy, "K4")
        if self.over or now > plan.deadlines.abort:
            raise OutOfTurn("the time of this round is over", check="K4")
        text = incoming.head.context.group
        return unmask_checks.find_group(plan, int(text) if text.isdigit() else -1, "K4")

    def _challenge(self, shown: SumShown) -> Outgoing:
        body = Challenge(shown.root, shown.chunks).encode()
        return Outgoing("decrypt-challenge", self.own.policy.server, body, str(shown.gid))

    def _check_disclosure(
        self, plan: Plan, group: GroupPlan, members: Iterable[str], ledger: Ledger, check: str
    ) -> None:
        names = [matrix.name for matrix in group.matrices]
        epochs = self.own.policy.epochs
        ledger.check(names, group.base, tuple(members), plan.colluders, epochs=epochs, split=plan.split, step=check)
