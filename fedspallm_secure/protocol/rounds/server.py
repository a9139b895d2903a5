"""The server's side of a round: verified messages in, records and messages out (SPEC sections 16 and 17).

It adds up what it cannot read.  It never holds a masked vector: whoever runs it keeps those, and is told in the end
whose to add and which keystreams to take off.
"""

from collections.abc import Callable, Iterable, Sequence

from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import (
    BadShare,
    BadSignature,
    ContributionRefused,
    FormatError,
    LimitExceeded,
    ResponseRefused,
)
from fedspallm_secure.protocol.rounds.answers import Unmasking, judge, open_seeds, suffices
from fedspallm_secure.protocol.rounds.collecting import check_handover, check_sender, disputed
from fedspallm_secure.protocol.rounds.deals import deal_digest
from fedspallm_secure.protocol.rounds.messages import Incoming, Outgoing, Step
from fedspallm_secure.protocol.rounds.outcomes import GroupResult, Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.records_server import (
    Answered,
    Endorsed,
    Finished,
    GroupEnded,
    Listed,
    Opened,
    Received,
    Refused,
    Requested,
    ServerRecord,
    Unmasked,
)
from fedspallm_secure.protocol.rounds.server_messages import aborts, receipt, unmask_requests
from fedspallm_secure.protocol.rounds.server_state import Event, ServerOwn, ServerState
from fedspallm_secure.protocol.rounds.survivors import (
    EndCode,
    Ended,
    Endorsement,
    ListedGroup,
    SurvivorList,
    check_endorsement,
)
from fedspallm_secure.protocol.rounds.survivors import Listed as Survivor
from fedspallm_secure.protocol.rounds.unmasking import UnmaskResponse
from fedspallm_secure.secagg.thresholds import Profile


class Server(ServerState):
    """One round.  Every method checks, then returns what to write down and what to send; an error changes nothing."""

    @classmethod
    def open(cls, own: ServerOwn, plan: Plan) -> "tuple[Server, Step[ServerRecord]]":
        """Begin a round."""
        return cls(own, plan, plan.hash), Step((Opened(plan.encode()),))

    # Collecting

    def on_contribution(self, incoming: Incoming, root: bytes) -> Step[ServerRecord]:
        """Take in a contribution by S1 to S7.  root: what its streams hash to, 32 bytes.

        The same contribution again is answered by the same receipt.  Raises ContributionRefused or OutOfTurn.
        """
        head = incoming.head
        group = check_sender(head, self.plan_hash, self.groups)  # S1
        member, package = head.context.sender.id, head.digest.hex()
        context = self.plan.context(group.gid, self.plan_hash)
        known = self.received.get((group.gid, member))
        if known is not None and known.package == package:
            return Step((), (receipt(known),))
        handover = check_handover(member, group, context, incoming.body, root, self.own.trust.roster)  # S2-S6
        deal = deal_digest(context, member, handover.deal.encode())
        if known is not None and known.deal != deal:  # S7
            raise ContributionRefused(f"{member} dealt twice for group {group.gid}", check="S7", named=(member,))
        if known is not None:
            return Step((), (receipt(known),))
        self.check(Event.CONTRIBUTION)
        record = Received(group.gid, member, package, deal, incoming.body)
        return self._step([record], [receipt(record)])

    def refuse(self, incoming: Incoming, check: str) -> Step[ServerRecord]:
        """Note that a message did not count."""
        return self._step([Refused(incoming.head.context.sender.id, check, incoming.head.digest.hex())])

    @property
    def everybody_contributed(self) -> bool:
        """Whether nothing more can come in while collecting."""
        return all((group.gid, member) in self.received for group in self.plan.groups for member in group.cohort)

    def close_collecting(self) -> Step[ServerRecord]:
        """End collecting: fix the survivors of every group, by S8 and n_min, once and for all."""
        self.check(Event.CLOSE_COLLECTING)
        records: list[ServerRecord] = []
        listed, ended = [], []
        for group in self.plan.groups:
            present = {m: self.handovers[group.gid, m] for m in group.cohort if (group.gid, m) in self.received}
            named = disputed(group, group.graph(bytes.fromhex(self.plan.seed)), present)
            records += [Refused(member, "S8", self.received[group.gid, member].package) for member in named]
            survivors = [member for member in present if member not in named]
            if len(survivors) < group.survivors:
                ended.append(Ended(group.gid, EndCode.TOO_FEW_CONTRIBUTIONS, named))
                continue
            members = tuple(Survivor(member, self.received[group.gid, member].deal) for member in survivors)
            listed.append(ListedGroup(group.gid, members))
        statement = SurvivorList.make(
            self.own.signer,
            self.plan.federation,
            self.plan.round,
            self.plan_hash,
            tuple(listed),
            tuple(ended),
        )
        records.append(Listed(statement.encode()))
        if not listed:
            records.append(Finished(b""))
            return self._step(records, aborts(ended, self.groups))
        messages = aborts(ended, self.groups) + self._announce(statement)
        if self.plan.profile is Profile.TWO_TRIP:
            records.append(Requested())
            return self._step(records, lambda: messages + self._ask())
        return self._step(records, messages)

    # Endorsing

    def on_endorsement(self, incoming: Incoming) -> Step[ServerRecord]:
        """Take in an endorsement by N1 and N2.  Raises ResponseRefused or OutOfTurn."""
        sender = incoming.head.context.sender
        statement = self._named_list(incoming, "endorsement", "N1")
        try:
            found = Endorsement.parse(incoming.body)
        except (FormatError, LimitExceeded) as error:
            raise ResponseRefused(str(error), check="N1") from None
        if sender.role is Role.WITNESS:
            expected = sender.id in self.own.witnesses
        else:
            expected = any(sender.id == member.id for group in statement.groups for member in group.members)
        if not expected or found.survivors != statement.hash:
            raise ResponseRefused(f"{sender} endorses another list, or has none to endorse", check="N1")
        try:
            public = self.own.trust.roster.entry(sender).leaf.public
            check_endorsement(public, statement, found.signature)
        except BadSignature as error:
            raise ResponseRefused(str(error), check="N2") from None
        if str(sender) in self.endorsements:
            return Step()
        self.check(Event.ENDORSEMENT)
        return self._step([Endorsed(str(sender), found.signature)])

    @property
    def everybody_endorsed(self) -> bool:
        """Whether no endorsement that is asked for is missing."""
        return self.survivors is not None and set(self.endorsers()) <= self.endorsements.keys()

    def close_endorsing(self) -> Step[ServerRecord]:
        """End endorsing: groups with too few endorsements end, the others are asked to unmask."""
        self.check(Event.CLOSE_ENDORSING)
        running = self.running
        ended = [Ended(group.gid, EndCode.TOO_FEW_ENDORSEMENTS) for group in running if not self.is_endorsed(group)]
        records: list[ServerRecord] = [GroupEnded(end) for end in ended]
        if len(ended) == len(running):
            return self._step([*records, Finished(b"")], aborts(ended, self.groups))
        records.append(Requested())
        return self._step(records, lambda: aborts(ended, self.groups) + self._ask())

    # Unmasking

    def on_answer(self, incoming: Incoming) -> Step[ServerRecord]:
        """Take in an answer by R1 to R4.  Raises ResponseRefused or OutOfTurn."""
        member = incoming.head.context.sender.id
        statement = self._named_list(incoming, "unmask-response", "R1")
        if self.answers.get(member) == incoming.body:
            return Step()
        if member in self.answers:
            raise ResponseRefused(f"{member} answered twice, in two ways", check="R1", named=(member,))
        try:
            found = UnmaskResponse.parse(incoming.body)
        except (FormatError, LimitExceeded) as error:
            raise ResponseRefused(str(error), check="R2", named=(member,)) from None
        if found.survivors != statement.hash:
            raise ResponseRefused(f"the answer of {member} is to another list", check="R1")
        if member not in self.asked():
            raise ResponseRefused(f"{member} was not asked", check="R1")
        self.read(member, found)  # R2, R3
        self.check(Event.ANSWER)
        records: list[ServerRecord] = [Answered(member, incoming.body)]
        for answer in found.groups:
            for complaint in answer.complaints:
                verdict = judge(self.ballots[answer.gid], member, complaint, self.prekey(member))
                blamed = verdict.guilty + verdict.suspects
                records += [Refused(name, "R4", incoming.head.digest.hex()) for name in blamed]
        return self._step(records)

    @property
    def everybody_answered(self) -> bool:
        """Whether every survivor that was asked has answered."""
        return self.asked() <= self.answers.keys()

    @property
    def enough_answers(self) -> bool:
        """Whether every group can be opened with the answers that are there."""
        return all(suffices(self.ballots[group.gid], self.shares.get(group.gid, {})) for group in self.running)

    def close_unmasking(self) -> tuple[Step[ServerRecord], dict[int, Unmasking]]:
        """End unmasking, R5: what to take off the sum of every group; groups whose secrets do not open end."""
        self.check(Event.CLOSE_UNMASKING)
        ended, opened = [], {}
        for group in self.running:
            ballot = self.ballots[group.gid]
            try:
                opened[group.gid] = Unmasking.of(ballot, open_seeds(ballot, self.shares.get(group.gid, {})))
            except BadShare as error:
                code = EndCode.BAD_DEALING if error.named else EndCode.TOO_FEW_RESPONSES
                ended.append(Ended(group.gid, code, error.named))
        records: list[ServerRecord] = [*(GroupEnded(end) for end in ended), Unmasked()]
        if not opened:
            records.append(Finished(b""))
        return self._step(records, aborts(ended, self.groups)), opened

    # The end

    def finish(self, results: Iterable[GroupResult], out_of_range: Iterable[int] = ()) -> Step[ServerRecord]:
        """End the round.  results: of the groups whose sums passed R6; out_of_range: of those whose did not."""
        self.check(Event.FINISH)
        ended = [Ended(gid, EndCode.SUM_OUT_OF_RANGE, ()) for gid in sorted(out_of_range)]
        records: list[ServerRecord] = [GroupEnded(end) for end in ended]
        done = tuple(sorted(results, key=lambda result: result.gid))
        if {group.gid for group in self.running} != {r.gid for r in done} | {e.gid for e in ended}:
            raise ValueError("every group that was opened has a result, or is out of range")
        if not done:
            return self._step([*records, Finished(b"")], aborts(ended, self.groups))
        everything = tuple(sorted((*self.ended.values(), *ended), key=lambda end: end.gid))
        result = Result.make(
            self.own.signer,
            self.plan.federation,
            self.plan.round,
            self.plan_hash,
            self.listed().hash,
            done,
            everything,
            tuple(sorted(self.answers)),
        )
        recipients = [Party(Role.MEMBER.value, use.id) for use in self.plan.prekeys]
        recipients += [e.party for e in self.own.trust.roster.entries if e.party.role is Role.AUDITOR]
        messages = [Outgoing("result", recipient, result.encode()) for recipient in recipients]
        return self._step([*records, Finished(result.encode())], aborts(ended, self.groups) + messages)

    def stop(self, named: tuple[str, ...] = ()) -> Step[ServerRecord]:
        """End every group that still runs, because the operator wants it."""
        self.check(Event.STOP)
        ended = [Ended(group.gid, EndCode.STOPPED, named) for group in self.running]
        return self._step([*(GroupEnded(end) for end in ended), Finished(b"")], aborts(ended, self.groups))

    # Inside

    def _step(
        self, records: Sequence[ServerRecord], messages: Sequence[Outgoing] | Callable[[], list[Outgoing]] = ()
    ) -> Step[ServerRecord]:
        """Apply the records, then say what goes out; a function of the new state where it depends on it."""
        for record in records:
            self.apply(record)
        return Step(tuple(records), tuple(messages() if callable(messages) else messages))

    def _announce(self, statement: SurvivorList) -> list[Outgoing]:
        recipients = [Party(Role.MEMBER.value, use.id) for use in self.plan.prekeys]
        if self.plan.profile is Profile.WITNESSED:
            recipients += [Party(Role.WITNESS.value, witness) for witness in self.own.witnesses]
        return [Outgoing("survivors", to, statement.body()) for to in recipients]

    def _ask(self) -> list[Outgoing]:
        ballots = [self.ballots[group.gid] for group in self.running]
        return unmask_requests(self.listed(), self.endorsements, ballots)

    def _named_list(self, incoming: Incoming, type: str, check: str) -> SurvivorList:
        context = incoming.head.context
        if context.type != type or context.plan_hash != self.plan_hash or self.survivors is None:
            raise ResponseRefused(f"nothing of type {context.type} is awaited for this plan", check=check)
        return self.survivors
