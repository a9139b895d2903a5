"""The server's side of a round: verified messages in, records and messages out (SPEC sections 16 and 17).

It adds up what it cannot read.  It never holds a masked vector: whoever runs it keeps those, and is told in the end
whose to add and which keystreams to take off.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Self

from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.errors import (
    BadShare,
    BadSignature,
    ContributionRefused,
    FormatError,
    OutOfTurn,
    ResponseRefused,
    RoundError,
)
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.rounds.answers import Unmasking, check_answer, judge, open_seeds
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.collecting import Dispute, check_handover, check_sender, unequal_edges
from fedspallm_secure.protocol.rounds.deals import deal_digest
from fedspallm_secure.protocol.rounds.messages import Incoming, Outgoing, Step
from fedspallm_secure.protocol.rounds.openings import Opening
from fedspallm_secure.protocol.rounds.outcomes import GroupResult, Result
from fedspallm_secure.protocol.rounds.plan_bodies import PastDeal
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.records_server import (
    Answered,
    Blamed,
    Endorsed,
    Finished,
    GroupEnded,
    ListMade,
    Opened,
    OutOfRange,
    Received,
    Refused,
    Requested,
    ServerRecord,
    Unmasked,
)
from fedspallm_secure.protocol.rounds.server_decrypting import DecryptingServer
from fedspallm_secure.protocol.rounds.server_messages import (
    aborts,
    announcements,
    invitations,
    receipt,
    reminders,
)
from fedspallm_secure.protocol.rounds.server_state import Event, ServerOwn
from fedspallm_secure.protocol.rounds.survivors import (
    EndCode,
    Ended,
    Endorsement,
    Listed,
    ListedGroup,
    SurvivorList,
    check_endorsement,
)
from fedspallm_secure.protocol.rounds.unmasking import UnmaskResponse
from fedspallm_secure.secagg.thresholds import Profile, witness_quorum

_NOTHING: Mapping[str, Sequence[PastDeal]] = MappingProxyType({})
_NOBODY: Mapping[str, bytes] = MappingProxyType({})


class Server(DecryptingServer):
    """One round.  Every method checks, then returns what to write down and what to send; an error changes nothing.

    A message that was taken in before and comes again is answered as before.  One that is refused goes to `refuse`.
    """

    @classmethod
    def open(cls, own: ServerOwn, plan: Plan) -> tuple[Self, Step[ServerRecord]]:
        """Begin a round.  Raises PlanRefused where the profile asks for witnesses and they are too few."""
        if plan.profile is Profile.WITNESSED:
            witness_quorum(len(own.witnesses), own.dishonest)
        return cls(own, plan), Step((Opened(plan.encode()),))

    def invite(
        self,
        bundles: Mapping[str, Prekeys],
        opening: Opening | None = None,
        beacons: Mapping[str, bytes] = _NOBODY,
        history: Mapping[str, Sequence[PastDeal]] = _NOTHING,
        cipher_key: CipherKey | None = None,
    ) -> Step[ServerRecord]:
        """Send the plan to everybody, as often as asked.  Arguments and errors: as of `invitations`."""
        self.check(Event.INVITE)
        return Step((), tuple(invitations(self.plan, bundles, opening, beacons, history, cipher_key)))

    def repeat(self) -> tuple[Outgoing, ...]:
        """Everything that may have been lost in a crash; whoever has it already takes it for the same message."""
        return (*aborts(self, self.ended), *reminders(self), *announcements(self))

    def refuse(self, incoming: Incoming, error: RoundError) -> Step[ServerRecord]:
        """Keep a message that was refused, once for every check that a sender's messages of one type fail."""
        context = incoming.head.context
        known = context.type == "contribution" and context.group in map(str, self.groups)
        told = (str(context.sender), context.type, context.group if known else NONE, error.check)
        if told in self.refused:
            return Step()
        return self._step(Refused(*told, error.named, incoming.head.digest.hex(), incoming.body))

    # Collecting

    def on_contribution(self, incoming: Incoming, root: bytes) -> Step[ServerRecord]:
        """Take in a contribution by S1 to S7.  root: what its streams hash to, 32 bytes.

        Raises ContributionRefused or OutOfTurn.
        """
        head = incoming.head
        group = check_sender(head, self.plan.round, self.plan_hash, self.groups)  # S1
        member, package = head.context.sender.id, head.digest.hex()
        known = self.received.get((group.gid, member))
        if known is not None and known.package == package:
            return Step((), (receipt(self, known),))
        links = self.links[group.gid]
        handover = check_handover(head, links, incoming.body, root, self.own.trust.roster)  # S2 to S6
        deal = deal_digest(links.context, member, handover.deal.encode())
        if known is not None:
            if known.deal != deal:
                raise ContributionRefused(f"{member} dealt twice for group {group.gid}", check="S7", named=(member,))
            return Step((), (receipt(self, known),))
        self.check(Event.CONTRIBUTION, "S7")
        record = Received(group.gid, member, package, deal, incoming.body)
        return self._step(record, messages=[receipt(self, record)])

    def close_collecting(self) -> Step[ServerRecord]:
        """End collecting: fix the survivors of every group, by S8 and n_min, once and for all."""
        self.check(Event.CLOSE_COLLECTING)
        records: list[ServerRecord] = []
        listed, ended = [], []
        for group in self.plan.groups:
            present = [member for member in group.cohort if (group.gid, member) in self.received]
            deals = {member: self.handover(group.gid, member).deal for member in present}
            dispute = Dispute.of(unequal_edges(self.links[group.gid], deals), self.plan.colluders)
            if dispute.left_out:
                records.append(Blamed(group.gid, "S8", dispute.guilty, dispute.suspects))
            left = [Listed(id, self.received[group.gid, id].deal) for id in present if id not in dispute.left_out]
            if len(left) < group.survivors:
                ended.append(Ended(group.gid, EndCode.TOO_FEW_CONTRIBUTIONS, dispute.named))
            else:
                listed.append(ListedGroup(group.gid, tuple(left)))
        statement = SurvivorList.make(
            self.own.signer, self.plan.federation, self.plan.round, self.plan_hash, listed, ended
        )
        return self._step(*records, ListMade(statement.encode()))

    # Endorsing

    def on_endorsement(self, incoming: Incoming) -> Step[ServerRecord]:
        """Take in an endorsement by N1 and N2.  Raises ResponseRefused or OutOfTurn."""
        sender = incoming.head.context.sender
        self._check_about(incoming, "endorsement", "N1")
        known = self.endorsements.get(str(sender))
        if known is not None:
            if incoming.body == Endorsement(self.listed.hash, known).encode():
                return Step()
            raise OutOfTurn(f"{sender} endorsed twice, in two ways", check="N1")
        self.check(Event.ENDORSEMENT)
        try:
            found = Endorsement.parse(incoming.body)
        except FormatError as error:
            raise ResponseRefused(str(error), check="N1") from None
        if str(sender) not in self.endorsers() or found.survivors != self.listed.hash:
            raise ResponseRefused(f"{sender} endorses another list, or has none to endorse", check="N1")
        try:
            check_endorsement(self.own.trust.roster.entry(sender).leaf.public, self.listed, found.signature)
        except BadSignature as error:
            raise ResponseRefused(f"{sender}: {error}", check="N2") from None
        return self._step(Endorsed(str(sender), found.signature))

    def close_endorsing(self) -> Step[ServerRecord]:
        """End endorsing: groups with too few endorsements end, the others are asked to unmask."""
        self.check(Event.CLOSE_ENDORSING)
        few = [group for group in self.running if not self.is_endorsed(group)]
        ended = [GroupEnded(Ended(group.gid, EndCode.TOO_FEW_ENDORSEMENTS)) for group in few]
        return self._step(*ended, *([] if len(few) == len(self.running) else [Requested()]))

    # Unmasking

    def on_response(self, incoming: Incoming) -> Step[ServerRecord]:
        """Take in an answer by R1 to R4.  Raises ResponseRefused or OutOfTurn."""
        sender = incoming.head.context.sender
        self._check_about(incoming, "unmask-response", "R1")
        known = self.answers.get(sender.id)
        if known is not None:
            if known == incoming.body:
                return Step()
            raise OutOfTurn(f"{sender} answered twice, in two ways", check="R1", named=(sender.id,))
        self.check(Event.ANSWER)
        if sender.role is not Role.MEMBER or sender.id not in self.asked():
            raise ResponseRefused(f"{sender} was not asked", check="R1")
        try:
            found = UnmaskResponse.parse(incoming.body)
        except FormatError as error:
            raise ResponseRefused(str(error), check="R2", named=(sender.id,)) from None
        if found.survivors != self.listed.hash:
            raise ResponseRefused(f"{sender} answers for another list", check="R1")
        mine = {group.gid for group in self.running if sender.id in self.ballots[group.gid].handovers}
        if not found.groups or not {answer.gid for answer in found.groups} <= mine:
            raise ResponseRefused(f"{sender} answers for other groups than its own", check="R2", named=(sender.id,))
        for answer in found.groups:
            check_answer(self.ballots[answer.gid], sender.id, answer)  # R2, R3
        blamed = [
            judge(self.ballots[answer.gid], sender.id, complaint, self.prekey(sender.id))  # R4
            for answer in found.groups
            for complaint in answer.complaints
        ]
        return self._step(Answered(sender.id, incoming.body), *blamed)

    def close_unmasking(self) -> tuple[Step[ServerRecord], dict[int, Unmasking]]:
        """End unmasking, R5: what to take off the sum of every group; groups whose secrets do not open end."""
        self.check(Event.CLOSE_UNMASKING)
        ended: list[ServerRecord] = []
        opened: dict[int, Unmasking] = {}
        for group in self.running:
            if group.cipher is not None and group.gid not in self.decrypted:
                ended.append(GroupEnded(Ended(group.gid, EndCode.TOO_FEW_RESPONSES)))
                continue
            try:
                opened[group.gid] = self._open(group.gid)
            except BadShare as error:
                code = EndCode.BAD_DEALING if error.named else EndCode.TOO_FEW_RESPONSES
                ended.append(GroupEnded(Ended(group.gid, code, error.named or self.named(group.gid))))
        return self._step(*ended, Unmasked()), opened

    def unmaskings(self) -> dict[int, Unmasking]:
        """What `close_unmasking` gave, once more after a crash.  Raises OutOfTurn."""
        self.check(Event.FINISH)
        return {group.gid: self._open(group.gid) for group in self.running}

    # The end

    def finish(
        self, results: Iterable[GroupResult], out_of_range: Mapping[int, int] = MappingProxyType({})
    ) -> Step[ServerRecord]:
        """End the round.  results: of groups that passed R6; out_of_range: gid -> violations, of those that did not.

        Raises ValueError unless these are the groups that were opened.
        """
        self.check(Event.FINISH)
        done = sorted(results, key=lambda result: result.gid)
        if sorted([*out_of_range, *(result.gid for result in done)]) != [group.gid for group in self.running]:
            raise ValueError("every group that was opened has a result, or is out of range")
        bad = [OutOfRange(gid, violations) for gid, violations in sorted(out_of_range.items())]
        if not done:
            return self._step(*bad)
        ended = [*self.ended.values(), *(Ended(gid, EndCode.SUM_OUT_OF_RANGE) for gid in out_of_range)]
        result = Result.make(
            self.own.signer,
            self.plan.federation,
            self.plan.round,
            self.plan_hash,
            self.listed.hash,
            done,
            sorted(ended, key=lambda end: end.gid),
            sorted(self.answers),
        )
        return self._step(*bad, Finished(result.encode()))

    def stop(self, named: tuple[str, ...] = ()) -> Step[ServerRecord]:
        """End every group that still runs, because the operator wants it.  named: ids of members, sorted."""
        self.check(Event.STOP)
        return self._step(*(GroupEnded(Ended(group.gid, EndCode.STOPPED, named)) for group in self.running))

    # Inside

    def _open(self, gid: int) -> Unmasking:
        ballot = self.ballots[gid]
        if ballot.links.group.cipher is not None:  # whoever runs this has the sum, and nothing is taken off it
            return Unmasking(ballot.links.group, ballot.survivors, (), ())
        return Unmasking.of(ballot, open_seeds(ballot, self.shares[gid]))
