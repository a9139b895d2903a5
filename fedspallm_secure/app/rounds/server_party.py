"""The server of a round within one process: its machine, and the masked vectors that the machine never sees."""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np

from fedspallm_secure.app.postbox import Postbox
from fedspallm_secure.app.rounds.ciphers import check_vector
from fedspallm_secure.app.rounds.encrypted_sums import EncryptedSums
from fedspallm_secure.app.rounds.parties import Clock, Correspondent
from fedspallm_secure.app.rounds.streams import plain_streams
from fedspallm_secure.app.rounds.vault import Vault, word_sizes
from fedspallm_secure.app.rounds.vectors import Released, Streams
from fedspallm_secure.app.rounds.wire import Parcel, Wire
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import RoundError
from fedspallm_secure.protocol.receiving import Awaited
from fedspallm_secure.protocol.rounds.answers import Unmasking
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.collecting import check_sender, contribution_size
from fedspallm_secure.protocol.rounds.deals import handover_size, vector_root
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.messages import Incoming, Outgoing, Step
from fedspallm_secure.protocol.rounds.outcomes import GroupResult
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.records_server import ServerRecord
from fedspallm_secure.protocol.rounds.server import Server
from fedspallm_secure.protocol.rounds.server_state import ServerOwn, State
from fedspallm_secure.secagg.masking import add_keystreams
from fedspallm_secure.storage.memory import read_package


class ServerParty(Correspondent):
    """One round, from its plan to its sums.  released: gid -> what came out."""

    def __init__(
        self,
        signer: Signer,
        postbox: Postbox,
        plan: Plan,
        witnesses: tuple[str, ...],
        vault: Vault,
        wire: Wire,
        clock: Clock,
        dishonest: int = 0,
        cipher_key: CipherKey | None = None,
    ) -> None:
        """witnesses, dishonest: whose endorsements count, and how many of them may lie; cipher_key: the plan's."""
        super().__init__(postbox, wire, clock)
        own = ServerOwn(self.party, signer, self.trust, witnesses, dishonest)
        self.machine, step = Server.open(own, plan)
        self.vault = vault
        self.released: dict[int, Released] = {}
        self._key = cipher_key
        self._decrypted: dict[int, Streams] = {}
        self._sums = EncryptedSums(self.machine, vault, cipher_key)
        self.say(step)

    @property
    def plan(self) -> Plan:
        """The plan of the round."""
        return self.machine.plan

    def say(self, step: Step[ServerRecord]) -> None:
        """Keep the records of a step of this round, and send its messages."""
        self.keep(step, self.plan.round, self.machine.plan_hash)

    def act(self, parcel: Parcel) -> None:
        """Take in a contribution, an endorsement or an answer."""
        match read_package(parcel.package).head.context.type:
            case "contribution":
                self._take_in(parcel)
            case "endorsement":
                self._hear(self.open(parcel, frozenset({"endorsement"})), self.machine.on_endorsement)
            case "decrypt-challenge":
                incoming = self.open(parcel, frozenset({"decrypt-challenge"}))
                root = self._sums.root(incoming.head.context.group)
                self._hear(incoming, lambda found: self.machine.on_challenge(found, root))
            case "decrypt-response":
                self._take_decrypted(parcel)
            case _:
                self._hear(self.open(parcel, frozenset({"unmask-response"})), self.machine.on_response)

    def _hear(self, incoming: Incoming, act: Callable[[Incoming], Step[ServerRecord]]) -> None:
        try:
            step = act(incoming)
        except RoundError as error:
            self.say(self.machine.refuse(incoming, error))
            raise
        self.say(step)

    def _take_in(self, parcel: Parcel) -> None:
        machine = self.machine
        group = check_sender(read_package(parcel.package).head, machine.plan.round, machine.plan_hash, machine.groups)
        before = handover_size(*group.deal_form)
        awaited = Awaited(types=frozenset({"contribution"}), plaintext_length=contribution_size(group))
        opened = self.postbox.open(parcel.package, awaited, self.clock())
        streams = _streams(opened.body[before:], group)
        root = vector_root([part.data for part in streams.parts], group.upload_tile)

        member = opened.head.context.sender.id
        incoming = Incoming(opened.head, bytes(opened.body[:before]))
        if (group.gid, member) not in machine.received:  # kept before it counts; what is refused is never added up
            self._hear(incoming, lambda _: self._look_at(group, streams, member))
            self.vault.keep(group.gid, member, streams)
        self._hear(incoming, lambda found: machine.on_contribution(found, root))

    def _look_at(self, group: GroupPlan, streams: Streams, member: str) -> Step[ServerRecord]:
        if group.cipher is not None and self._key is not None:
            check_vector(group, self._key.public, BytesIO(streams.count.tobytes()), member)
        return Step()

    def _take_decrypted(self, parcel: Parcel) -> None:
        opened = self.postbox.open(parcel.package, Awaited(types=frozenset({"decrypt-response"})), self.clock())
        incoming = Incoming(opened.head, b"")
        self._hear(incoming, self.machine.on_decrypted)
        group = self.machine.groups[int(opened.head.context.group)]
        self._decrypted[group.gid] = plain_streams(opened.body, group)

    def parts(self, message: Outgoing) -> Sequence[Any]:
        """The body of a message, with the chunks that follow it."""
        match message.type:
            case "decrypt-request":
                return [message.body, self._sums.of(int(message.group)).data]
            case "decrypt-opening":
                return self._sums.opened(int(message.group))
            case _:
                return super().parts(message)

    def close(self) -> None:
        """End the present stage with what is there.  Raises OutOfTurn when the round is over."""
        match self.machine.state:
            case State.COLLECTING:
                self.say(self.machine.close_collecting())
            case State.ENDORSING:
                self.say(self.machine.close_endorsing())
            case State.UNMASKING:
                step, unmaskings = self.machine.close_unmasking()
                self.say(step)
                if unmaskings:
                    self._add_up(unmaskings)
            case _:
                self.say(self.machine.stop())

    def _add_up(self, unmaskings: Mapping[int, Unmasking]) -> None:
        results, out_of_range = [], {}
        for gid, unmasking in unmaskings.items():
            found = self._release(unmasking)
            shown = found.figures
            if shown.violations:
                out_of_range[gid] = shown.violations
                continue
            self.released[gid] = found
            counts, sums = found.streams.tile_hashes.roots
            weights, survivors = found.group.weights, found.survivors
            results.append(GroupResult(gid, weights, survivors, counts, sums, shown.unanimous, shown.single))
        self.say(self.machine.finish(results, out_of_range))

    def _release(self, unmasking: Unmasking) -> Released:
        group = unmasking.group
        if group.cipher is None:
            return add_up(unmasking, self.vault)
        return Released.of(group, self._decrypted[group.gid], len(unmasking.survivors))


def add_up(unmasking: Unmasking, vault: Vault) -> Released:
    """The sums of one group: of the survivors' vectors, with their keystreams taken off."""
    group = unmasking.group
    streams = vault.total(group, unmasking.survivors)
    terms = (unmasking.count_terms, unmasking.sum_terms)
    for part, size, these in zip(streams.parts, word_sizes(group), terms, strict=False):
        add_keystreams(part, these, size)
    return Released.of(group, streams, len(unmasking.survivors))


def _streams(body: memoryview, group: GroupPlan) -> Streams:
    """What a contribution brings: masked streams, or in one piece what is encrypted."""
    if group.cipher is not None:
        return Streams(np.frombuffer(body, np.uint8).copy(), None)
    return plain_streams(body, group)
