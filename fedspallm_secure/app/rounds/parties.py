"""The parties of a round within one process: each opens packages, runs its machine, keeps records, seals and sends.

A party does what a home on disk does: records first, then messages.  Everything here that is kept lives in memory.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import numpy as np

from fedspallm_secure.app.federation import Participant
from fedspallm_secure.app.postbox import Opened, Postbox
from fedspallm_secure.app.rounds.vault import Vault, word_sizes
from fedspallm_secure.app.rounds.vectors import Released, Streams
from fedspallm_secure.app.rounds.wire import Parcel, Wire
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import ContributionRefused, FedSpaError
from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.receiving import Awaited, Trust
from fedspallm_secure.protocol.rounds.answers import Unmasking
from fedspallm_secure.protocol.rounds.deals import handover_size, vector_root
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.member import LocalModel, Member, Own
from fedspallm_secure.protocol.rounds.messages import Incoming, Step
from fedspallm_secure.protocol.rounds.outcomes import GroupResult, Result
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.rounds.server import Server
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.protocol.rounds.witness import Witness
from fedspallm_secure.secagg.disclosure import Ledger
from fedspallm_secure.secagg.masking import add_keystreams
from fedspallm_secure.storage.memory import read_package

VALID: Final = 28 * 86_400  # seconds for which a package of a round may be opened
Clock = Callable[[], int]


class Work(Protocol):
    """What a member brings to a round."""

    def model(self, gids: tuple[int, ...]) -> LocalModel:
        """What this member's own files say about these layers."""

    def streams(self, group: GroupPlan) -> tuple[Streams, int]:
        """Its vector for a group, not masked yet, and how many of its values were clipped."""


class Correspondent:
    """What all parties have in common: a postbox at a wire, and a clock."""

    def __init__(self, participant: Participant, trust: Trust, wire: Wire, clock: Clock) -> None:
        self.party = participant.party
        self.postbox = Postbox(participant, trust)
        self.wire = wire
        self.clock = clock
        self.refused: list[tuple[Parcel, FedSpaError]] = []

    def receive(self, parcel: Parcel) -> None:
        """Open a package and act on it; what is refused is kept with the reason, and changes nothing."""
        try:
            self._act(parcel)
        except FedSpaError as error:
            self.refused.append((parcel, error))

    def collect(self) -> None:
        """Receive everything that waits on the wire."""
        for parcel in self.wire.take(self.party):
            self.receive(parcel)

    def post(self, step: Step[Any], plan_hash: str, number: int) -> None:
        """Seal and send what a step says."""
        for message in step.messages:
            self.send(message.type, message.recipient, message.group, [message.body], plan_hash, number)

    def send(self, type: str, to: Party, group: str, parts: list[Any], plan_hash: str, number: int) -> Parcel:
        """Seal one body, given in parts, and send it."""
        now = self.clock()
        package = self.postbox.seal(type, to, number, plan_hash, group, parts, now, now + VALID)
        parcel = Parcel(self.party, to, type, package)
        self.wire.send(parcel)
        return parcel

    def open(self, parcel: Parcel, types: frozenset[str], length: int | None = None) -> Opened:
        """SPEC section 9."""
        return self.postbox.open(parcel.package, Awaited(types=types, plaintext_length=length), self.clock())

    def _act(self, parcel: Parcel) -> None:
        raise NotImplementedError


class MemberParty(Correspondent):
    """A member for any number of rounds.  machine: of the present round; records: of all of them."""

    _AWAITED: Final = frozenset({"plan", "receipt", "survivors", "unmask-request", "result", "abort"})

    def __init__(
        self, participant: Participant, trust: Trust, policy: Policy, bundle: Prekeys, work: Work, wire: Wire, clock: Clock
    ) -> None:
        super().__init__(participant, trust, wire, clock)
        if participant.prekeys is None:
            raise ValueError(f"{participant.party} has no prekeys")
        self.prekeys = participant.prekeys
        self.bundle = bundle
        self.work = work
        self.ledger = Ledger()
        self.clipped: dict[int, int] = {}  # gid -> values of this round
        self.machine = Member(Own(self.party, participant.signer, self.postbox.trust, policy))
        self.records: list[Any] = []
        self.results: list[Result] = []
        self._sealed: list[Parcel] = []

    def _act(self, parcel: Parcel) -> None:
        opened = self.open(parcel, self._AWAITED)
        incoming, now = Incoming(opened.head, bytes(opened.body)), self.clock()
        match opened.head.context.type:
            case "plan":
                gids = None
                step = self.machine.on_plan(
                    incoming, self.work.model, self.ledger, self.bundle, self.prekeys.next_index(), now
                )
                self._keep(step)
            case "survivors":
                self._reply(self.machine.on_survivors(incoming, self.ledger, now))
            case "unmask-request":
                self._reply(self.machine.on_unmask_request(incoming, self.ledger, now))
            case "receipt":
                self._keep(self.machine.on_receipt(incoming))
            case "result":
                self._keep(self.machine.on_result(incoming))
            case "abort":
                self._keep(self.machine.on_abort(incoming))
