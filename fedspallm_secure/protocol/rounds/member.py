"""The member's side of a round: verified messages in, records and messages out (SPEC sections 16 and 17).

A machine is for one round.  It trusts its own files and its policy, and the server in nothing: every message is held
against SPEC section 17 before anything follows from it.  What a `Step` says to write down has to be durable before any
of its messages leaves; then a crash at any moment makes nobody deal twice, or answer twice.
"""

from collections.abc import Collection
from typing import cast

from fedspallm_secure.crypto.key_records import PrekeySecret
from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.errors import KeyStoreError, NotAwaited, OutOfTurn
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.rounds import cipher_checks, plan_checks, unmask_checks
from fedspallm_secure.protocol.rounds.answering import answer_group
from fedspallm_secure.protocol.rounds.dealing import Draft, draw
from fedspallm_secure.protocol.rounds.links import Links
from fedspallm_secure.protocol.rounds.member_own import LocalGroup, LocalModel, Own, Situation
from fedspallm_secure.protocol.rounds.member_state import Answer, Ending, Event, MemberState, State
from fedspallm_secure.protocol.rounds.messages import Incoming, Outgoing, Step
from fedspallm_secure.protocol.rounds.outcomes import Abort, Result
from fedspallm_secure.protocol.rounds.plan_key_checks import check_prekeys, check_seed
from fedspallm_secure.protocol.rounds.policy_checks import check_terms
from fedspallm_secure.protocol.rounds.receipts import Receipt
from fedspallm_secure.protocol.rounds.records_member import (
    Aborted,
    Answered,
    Closed,
    Dealt,
    Endorsed,
    ListHeld,
    MemberRecord,
    PlanAccepted,
    PrekeyHeld,
    ReceiptHeld,
    Sealed,
    VectorFrozen,
)
from fedspallm_secure.protocol.rounds.survivors import Endorsement, SurvivorList, endorse
from fedspallm_secure.protocol.rounds.unmasking import UnmaskRequest, UnmaskResponse
from fedspallm_secure.secagg.disclosure import Ledger
from fedspallm_secure.secagg.thresholds import Profile

__all__ = ["Answer", "Draft", "Ending", "LocalGroup", "LocalModel", "Member", "Own"]


class Member(MemberState):
    """One round.  Every method checks, then returns what to write down and what to send; an error changes nothing."""

    def on_plan(
        self,
        incoming: Incoming,
        model: LocalModel,
        ledger: Ledger,
        own_bundle: Prekeys,
        next_prekey: int,
        now: int,
        *,
        last_round: int = 0,
        known_deals: Collection[str] = (),
    ) -> Step[MemberRecord]:
        """Accept a plan by P1 to P15.  The same plan again changes nothing.

        own_bundle, next_prekey: the member's published prekeys, and the index of the first that is not burned; now:
        Unix seconds; last_round: the newest round that it accepted a plan for; known_deals: digests of all its deals.
        Raises PlanDeclined, DisclosureRefused.
        """
        own, situation = self.own, Situation(model, ledger, own_bundle, next_prekey, now, last_round, known_deals)
        body, plan_hash = plan_checks.read_plan(incoming)  # P1, P12
        plan = body.plan
        plan_checks.check_server(incoming, own.policy)  # P2
        plan_checks.check_federation(plan, own)  # P3
        if self.accepted is not None and self.accepted.plan_hash == plan_hash:
            return Step()
        plan_checks.check_round(plan, self.accepted is not None, last_round)  # P4
        plan_checks.check_history(body, own, situation)  # P5
        plan_checks.check_groups(plan, own)  # P7
        plan_checks.check_cohorts(plan)  # P8
        check_seed(body, own)
        index, leaves = check_prekeys(body, own, situation)  # P9
        plan_checks.check_base(plan, own, model)  # P10
        plan_checks.check_load(plan, own, model)  # P11
        plan_checks.check_disclosure(plan, own, ledger)  # P13
        check_terms(plan, own.policy, now)  # P14
        plan_checks.check_privacy(plan, own, model)  # P14
        cipher_checks.check_cipher_key(body, own, now)  # P15
        key = b"" if body.cipher_key is None else body.cipher_key.encode()
        return self._step(PlanAccepted(plan.encode(), plan_hash, index, leaves, key))

    # The own contribution

    def freeze(self, gid: int, streams_hash: bytes) -> Step[MemberRecord]:
        """Fix the vector for a group.  streams_hash: SHA-256 of its unmasked streams, 32 bytes.

        The same one again changes nothing; the step has to be durable before `prepare`.  Raises OutOfTurn.
        """
        links = self._own_group(gid)
        if len(streams_hash) != HASH_SIZE:
            raise ValueError(f"SHA-256 has {HASH_SIZE} bytes, not {len(streams_hash)}")
        found = digest(Label.SECAGG_FROZEN, *links.context.parts, streams_hash).hex()
        if self.frozen.get(gid) == found:
            return Step()
        if gid in self.frozen:
            raise OutOfTurn(f"another vector was frozen for group {gid}; the first one counts")
        step = self._step(VectorFrozen(gid, found))
        self._fresh.add(gid)
        return step

    def prepare(self, gid: int, prekey: PrekeySecret) -> Draft:
        """Draw the seeds for a group, once: also after an error, and after a crash, never again.

        prekey: the burned one that the plan names.  Raises OutOfTurn, or KeyStoreError for another prekey.
        """
        links, accepted = self._own_group(gid), self.round
        if (prekey.index, prekey.leaf) != (accepted.index, accepted.uses[self.me].prekey.raw):
            raise KeyStoreError(
                f"prekey {prekey.index} is not the one that the plan names", hint="burn the prekey of this plan"
            )
        if gid not in self._fresh:
            raise OutOfTurn(f"seeds for group {gid} were drawn before, or its vector is not frozen; it is left out")
        self._fresh.discard(gid)
        draft = draw(links, self.me, prekey, accepted.uses, accepted.cipher_key)
        self._drafts[gid] = draft
        return draft

    def hand_over(self, draft: Draft, vector_root: bytes) -> Step[MemberRecord]:
        """Sign the deal over the masked vector.  vector_root: of its streams, 32 bytes (`deals.vector_root`).

        The message lacks the streams, which follow it in the package.  Raises OutOfTurn but for a draft of this
        machine, the first time; FormatError for a root of another size.
        """
        self._own_group(draft.gid)
        if self._drafts.get(draft.gid) is not draft:
            raise OutOfTurn(f"this draft for group {draft.gid} was handed over, or made by another process")
        handover = draft.handover(self.own.signer, vector_root)
        del self._drafts[draft.gid]
        held = () if self.prekey is not None else (PrekeyHeld.of(draft.prekey),)
        row, deal = draft.own_row, handover.deal.encode()
        dealt = Dealt(draft.gid, deal, handover.signature, row.blind_seed, row.shares)
        message = Outgoing("contribution", self.own.policy.server, handover.encode(), str(draft.gid))
        return self._step(*held, dealt, messages=(message,))

    def note_sealed(self, gid: int, package: str) -> Step[MemberRecord]:
        """Note as which package a contribution leaves, durably before it does.  package: package digest, hex."""
        if gid not in self.deals or gid in self.packages:
            raise OutOfTurn(f"no contribution to group {gid} was handed over, or it was sealed before")
        return self._step(Sealed(gid, package))

    def on_receipt(self, incoming: Incoming) -> Step[MemberRecord]:
        """Keep the server's word that it has a contribution of mine; the same again changes nothing.

        Raises OutOfTurn, NotAwaited, BadSignature, WrongFederation, FormatError, LimitExceeded.
        """
        self.turn(Event.RECEIPT)
        self._from_server(incoming, "receipt")
        receipt, plan = Receipt.parse(incoming.body), self.round.plan
        gid = receipt.group
        if gid not in self.packages or incoming.head.context.group != str(gid):
            raise NotAwaited("the receipt is for a contribution that I did not make")
        mine = (self.round.plan_hash, gid, self.me, self.packages[gid], self.deals[gid])
        receipt.check(self.own.server, plan.federation, plan.round, *mine)
        return Step() if gid in self.receipts else self._step(ReceiptHeld(gid, receipt.encode()))

    # Unmasking

    def on_survivors(self, incoming: Incoming, ledger: Ledger, now: int) -> Step[MemberRecord]:
        """Take in the survivor list, and endorse it by E1 to E5 where the profile asks for that; the first one counts.

        The same list again is answered by the same endorsement.
        Raises UnmaskingDeclined, DisclosureRefused, OutOfTurn.
        """
        self._in_time(Event.SURVIVORS, now)
        own, plan, plan_hash = self.own, self.round.plan, self.round.plan_hash
        unmask_checks.check_origin(incoming, "survivors", plan, plan_hash, own.policy, "E1")
        survivors = unmask_checks.read_list(incoming, plan, plan_hash, own)  # E2
        unmask_checks.check_same_list(survivors, self.survivors)  # E3
        if self.survivors is not None:
            return Step((), self._endorsement(survivors))
        unmask_checks.check_cohorts(plan, survivors, "E4")
        unmask_checks.check_sizes(plan, survivors, "E4")
        if plan.profile is not Profile.THREE_TRIP:
            return self._step(ListHeld(survivors.encode()))
        unmask_checks.check_own_deals(survivors, self.me, self.deals, "E4")
        mine = [listed for listed in survivors.groups if self.me in listed.ids]
        if not mine:  # nobody asks for an endorsement by somebody who is in no sum
            return self._step(ListHeld(survivors.encode()))
        unmask_checks.check_disclosure(plan, mine, ledger, own.policy, "E5")
        step = self._step(Endorsed(survivors.encode(), endorse(own.signer, survivors)))
        return Step(step.records, self._endorsement(survivors))

    def on_unmask_request(self, incoming: Incoming, ledger: Ledger, now: int) -> Answer:
        """Answer by Q1 to Q8, for one list of the round.  The same list again is answered by the same bytes.

        The request is held against deals and envelopes that the list and the deals fix, so nothing in it but the list
        decides what the answer is.  Raises UnmaskingDeclined, DisclosureRefused, OutOfTurn.
        """
        self._in_time(Event.UNMASK_REQUEST, now)
        own, plan, plan_hash = self.own, self.round.plan, self.round.plan_hash
        if plan.profile is Profile.ONE_TRIP:
            raise OutOfTurn("nothing is asked of members where vectors are encrypted", check="Q1")
        unmask_checks.check_origin(incoming, "unmask-request", plan, plan_hash, own.policy, "Q1")
        request = unmask_checks.read_request(incoming)
        if self.answer is not None:
            unmask_checks.check_same_answer(request, self.answer.survivors)
            return self._answering(self.answer, ())
        survivors = unmask_checks.check_held_list(request, self.survivors)  # Q2
        unmask_checks.check_endorsed(plan, survivors, request, own)
        response = self._answer(request, survivors, ledger)  # Q3-Q8
        record = Answered(survivors.hash, tuple(group.gid for group in response.groups), response.encode())
        return self._answering(record, self._step(record).records)

    def _answer(self, request: UnmaskRequest, survivors: SurvivorList, ledger: Ledger) -> UnmaskResponse:
        """Q3 to Q8: the answer to a request for this list."""
        own, plan = self.own, self.round.plan
        unmask_checks.check_own_deals(survivors, self.me, self.deals)  # Q3
        asked = unmask_checks.asked_groups(request, survivors, self.me)
        unmask_checks.check_cohorts(plan, survivors)  # Q4
        links = self.round.links
        deals = [unmask_checks.read_deals(links[one.gid], self.me, one, listed, own) for one, listed in asked]
        unmask_checks.check_sizes(plan, survivors)  # Q5
        unmask_checks.check_disclosure(plan, [listed for _, listed in asked], ledger, own.policy)  # Q6
        prekey = cast(PrekeySecret, self.prekey)  # whoever is listed has dealt, and whoever dealt holds it
        groups = []
        for (one, listed), dealt in zip(asked, deals, strict=True):
            row = self._rows[one.gid]
            answered = answer_group(links[one.gid], self.me, one, listed.deals, dealt, row, prekey)  # Q7
            unmask_checks.check_kinds(answered, listed.ids)  # Q8
            groups.append(answered)
        return UnmaskResponse(survivors.hash, tuple(groups))

    # The end

    def on_result(self, incoming: Incoming) -> Ending:
        """Take in the result of the round.

        Raises OutOfTurn, NotAwaited, BadSignature, WrongFederation, FormatError, LimitExceeded.
        """
        self.turn(Event.RESULT)
        self._from_server(incoming, "result")
        plan, result = self.round.plan, Result.parse(incoming.body)
        result.check(self.own.server, plan.federation, plan.round, self.round.plan_hash)
        if self.result is not None and self.result != result.hash:
            raise OutOfTurn("this is the second result of the round; the first one counts")
        if self.survivors is not None and result.survivors != self.survivors.hash:
            raise NotAwaited("the result is over another survivor list than the one that I was shown")
        if self.result is not None:
            return Ending(result=result)
        return Ending(self._step(Closed(result.hash)).records, (), result)

    def on_abort(self, incoming: Incoming) -> Step[MemberRecord]:
        """Take in the end of the round, or of one of my groups; `ended` has why.

        Raises OutOfTurn, NotAwaited, FormatError.
        """
        self.turn(Event.ABORT)
        self._from_server(incoming, "abort")
        abort = Abort.parse(incoming.body)
        if abort.gid is not None and abort.gid not in self.round.links:
            raise NotAwaited(f"group {abort.gid} is none of mine")
        group = NONE if abort.gid is None else str(abort.gid)
        if self.state is State.CLOSED or group in self.ended:
            return Step()
        return self._step(Aborted(group, abort.code.value))

    # Inside

    def _step(self, *records: MemberRecord, messages: tuple[Outgoing, ...] = ()) -> Step[MemberRecord]:
        for record in records:
            self.apply(record)
        return Step(records, messages)

    def _own_group(self, gid: int) -> Links:
        self.turn(Event.CONTRIBUTION)
        if gid not in self.round.links or str(gid) in self.ended:
            raise OutOfTurn(f"group {gid} is none of mine, or has ended")
        return self.round.links[gid]

    def _in_time(self, event: Event, now: int) -> None:
        self.turn(event)
        if now > self.round.plan.deadlines.abort:
            raise OutOfTurn("the time of this round is over")

    def _from_server(self, incoming: Incoming, type: str) -> None:
        context, accepted = incoming.head.context, self.round
        found = context.sender, context.type, context.round, context.plan_hash
        if found != (self.own.policy.server, type, accepted.plan.round, accepted.plan_hash):
            raise NotAwaited(f"this is no {type} of the server for the plan that I accepted")

    def _endorsement(self, survivors: SurvivorList) -> tuple[Outgoing, ...]:
        if self.endorsement is None:
            return ()
        body = Endorsement(survivors.hash, self.endorsement).encode()
        return (Outgoing("endorsement", self.own.policy.server, body),)

    def _answering(self, record: Answered, records: tuple[MemberRecord, ...]) -> Answer:
        message = Outgoing("unmask-response", self.own.policy.server, record.body)
        return Answer(records, (message,), self.releases)
