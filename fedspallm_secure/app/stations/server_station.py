"""The server of one round on disk: its machine, restored from its journal, and the masked vectors beside it.

Memory is that of one group's sums and of one matrix, whatever the number of members and layers.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from fedspallm_secure.app.rounds.server_party import add_up
from fedspallm_secure.app.rounds.vectors import Released
from fedspallm_secure.app.rounds.wire import Parcel
from fedspallm_secure.app.stations.archive import keep_tile_hashes
from fedspallm_secure.app.stations.calling_back import call_back
from fedspallm_secure.app.stations.encrypted_rounds import EncryptedRound
from fedspallm_secure.app.stations.finishing import Finisher, publish_layers
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.app.stations.scribe import Scribe
from fedspallm_secure.app.stations.station import arrived_of
from fedspallm_secure.app.stations.vault_disk import DiskVault
from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.crypto.signing import SIGNATURE_SIZE
from fedspallm_secure.errors import NotAwaited, PackageRefused, RoundError, TrustError
from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.protocol.receiving import Awaited
from fedspallm_secure.protocol.rounds.answers import Unmasking, response_limit
from fedspallm_secure.protocol.rounds.collecting import check_sender, contribution_size
from fedspallm_secure.protocol.rounds.deals import handover_size
from fedspallm_secure.protocol.rounds.messages import Incoming, Step
from fedspallm_secure.protocol.rounds.outcomes import GroupResult
from fedspallm_secure.protocol.rounds.plan_bodies import PastDeal
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.records_server import (
    Finished,
    ListMade,
    Opened,
    ServerRecord,
    read_server_record,
)
from fedspallm_secure.protocol.rounds.server import Server
from fedspallm_secure.protocol.rounds.server_state import ServerOwn, State
from fedspallm_secure.protocol.rounds.survivors import Endorsement
from fedspallm_secure.storage.package_reader import open_package

_ENDORSEMENT: Final = len(Endorsement(bytes(HASH_SIZE).hex(), bytes(SIGNATURE_SIZE)).encode())
_TYPES: Final = frozenset({"contribution", "endorsement", "unmask-response", "decrypt-challenge", "decrypt-response"})
_TOLD: Final = frozenset({"plan", "survivors", "unmask-request", "result", "abort"})  # with what the log has of it


class ServerStation:
    """One round, from its plan to its result."""

    def __init__(self, post: Post, machine: Server, vault: DiskVault, finisher: Finisher, scribe: Scribe) -> None:
        self.post = post
        self.encrypted = EncryptedRound(post, machine, vault)
        self.scribe = scribe
        self.machine = machine
        self.vault = vault
        self.finisher = finisher
        self.told: list[tuple[Party, Exception]] = []

    @classmethod
    def open(
        cls, post: Post, own: ServerOwn, plan: Plan, vault: DiskVault, finisher: Finisher, scribe: Scribe
    ) -> "ServerStation":
        """Begin a round; inside of `post.at_once()`.  Raises PlanRefused."""
        machine, step = Server.open(own, plan)
        station = cls(post, machine, vault, finisher, scribe)
        station.say(step)
        return station

    @classmethod
    def restore(
        cls, post: Post, own: ServerOwn, number: int, vault: DiskVault, finisher: Finisher, scribe: Scribe
    ) -> "ServerStation":
        """Go on with a round.  Raises RecordDamaged, FormatError."""
        machine = Server.restore(own, post.journal.records(number, read_server_record))
        return cls(post, machine, vault, finisher, scribe)

    @property
    def plan(self) -> Plan:
        """The plan of the round."""
        return self.machine.plan

    # Messages

    def say(self, step: Step[ServerRecord], head: Head | None = None) -> None:
        """Keep the records of a step, and send its messages; inside of `post.at_once()`.

        head: of the package that led to it.  One recipient whose certificate was withdrawn, or whose keys have ended,
        keeps nothing from the others.
        """
        self.post.note(self.plan.round, step.records)
        self.scribe.record(step.records, self.machine, head)
        if self.machine.state is State.FINISHED and step.records:
            self._remember_deals()
        failed = self.machine.state is State.FINISHED and self.machine.result is None
        knowing = call_back(self.post, self.plan.round, bool(step.records)) if failed else set()
        for message in step.messages:
            if failed and message.type == "abort" and str(message.recipient) not in knowing:
                continue
            try:
                if message.type in _TOLD and message.recipient.role is Role.MEMBER:
                    self.scribe.tell(message.recipient)
                self.post.send(
                    message.type,
                    message.recipient,
                    self.encrypted.parts(message),
                    self.plan.round,
                    self.machine.plan_hash,
                    message.group,
                )
            except (TrustError, PackageRefused) as error:
                self.told.append((message.recipient, error))
        if any(isinstance(record, Opened | ListMade | Finished) for record in step.records):
            self.told += self.scribe.ask_witnesses()

    def tell_log(self) -> None:
        """Show everybody what the log says in the end; inside of `post.at_once()`."""
        for member in self.machine.members():
            try:
                self.scribe.tell(member)
            except (TrustError, PackageRefused) as error:
                self.told.append((member, error))
        self.told += self.scribe.ask_witnesses()

    def repeat(self, without: Collection[Party] = ()) -> None:
        """Send once more what belongs to the present state, and of a past round its result; inside of `post.at_once()`.

        without: to these nothing.
        """
        over = self.post.journal.recall("concluded", str(self.plan.round)) is not None
        messages = [one for one in self.machine.repeat() if one.recipient not in without]
        self.say(Step((), tuple(one for one in messages if one.type == "result" or not over)))

    def act(self, parcel: Parcel) -> None:
        """Take in a contribution, an endorsement or an answer."""
        match parcel.type:
            case "contribution":
                self._take_in(parcel)
            case "endorsement":
                self._hear(self._open(parcel, _ENDORSEMENT), self.machine.on_endorsement)
            case "unmask-response":
                self._hear(self._open(parcel, response_limit(self.plan.groups)), self.machine.on_response)
            case "decrypt-challenge":
                incoming, root = self.encrypted.challenged(parcel)
                self._hear(incoming, lambda found: self.machine.on_challenge(found, root))
            case "decrypt-response":
                self._hear(self.encrypted.decrypted(parcel), self.machine.on_decrypted)
            case _:
                raise NotAwaited(f"no package of type {parcel.type!r} is awaited; {', '.join(sorted(_TYPES))} are")

    def _open(self, parcel: Parcel, most: int) -> Incoming:
        opened = self.post.open(arrived_of(parcel), Awaited(types=frozenset({parcel.type}), most=most))
        return Incoming(opened.head, bytes(opened.body))

    def _hear(self, incoming: Incoming, act: Callable[[Incoming], Step[ServerRecord]]) -> None:
        try:
            step = act(incoming)
        except RoundError as error:
            self.say(self.machine.refuse(incoming, error), incoming.head)
            raise
        self.say(step, incoming.head)

    def _take_in(self, parcel: Parcel) -> None:
        machine, arrived = self.machine, arrived_of(parcel)
        with open_package(arrived.path) as package:
            group = check_sender(package.head, self.plan.round, machine.plan_hash, machine.groups)
        awaited = Awaited(types=frozenset({"contribution"}), plaintext_length=contribution_size(group))
        with self.vault.inflow(handover_size(*group.deal_form), group.upload_tile) as inflow:
            head = self.post.open_through(arrived, awaited, inflow.write)
        member = head.context.sender.id
        incoming, root = Incoming(head, bytes(inflow.handover)), inflow.root
        if (group.gid, member) not in machine.received:  # kept before it counts; what is refused is never added up
            self._hear(incoming, lambda _: self.encrypted.look_at(group, member))
            self.vault.keep_inflow(group.gid, member)
        self._hear(incoming, lambda found: machine.on_contribution(found, root))

    # Stages

    def add_early(self, gid: int) -> None:
        """Add up a group that everybody has contributed to."""
        group = self.machine.groups[gid]
        if group.cipher is None and all((gid, member) in self.machine.received for member in group.cohort):
            self.vault.add_early(group)

    def close(self) -> None:
        """End the present stage with what is there.  Raises OutOfTurn when the round is over; StorageError."""
        match self.machine.state:
            case State.COLLECTING:
                with self.post.at_once():
                    self.say(self.machine.close_collecting())
            case State.ENDORSING:
                with self.post.at_once():
                    self.say(self.machine.close_endorsing())
            case State.UNMASKING:
                with self.post.at_once():
                    step, _ = self.machine.close_unmasking()
                    self.say(step)
                self.sum_up()
            case State.SUMMING:
                self.sum_up()
            case _:
                self.stop()

    def stop(self) -> None:
        """End every group that still runs.  Raises OutOfTurn when the round is over."""
        with self.post.at_once():
            self.say(self.machine.stop())

    def sum_up(self) -> None:
        """Open the sums, group by group, and make layers of them; also once more after a crash."""
        if self.machine.state is not State.SUMMING:
            return
        results: list[GroupResult] = []
        out_of_range: dict[int, int] = {}
        for gid, unmasking in self.machine.unmaskings().items():
            found = self._finish(unmasking)
            if isinstance(found, GroupResult):
                results.append(found)
            else:
                out_of_range[gid] = found
        with self.post.at_once():
            self.say(self.machine.finish(results, out_of_range))

    def _finish(self, unmasking: Unmasking) -> GroupResult | int:
        """The result of one group, or how many of its sums are out of range."""
        if unmasking.group.cipher is None:
            found = add_up(unmasking, self.vault)
        else:
            streams = self.vault.decrypted(unmasking.group)
            found = Released.of(unmasking.group, streams, len(unmasking.survivors))
        if found.figures.violations:
            return found.figures.violations
        group, hashes = found.group, found.streams.tile_hashes
        counts, sums = hashes.roots
        if self.post.archive is not None:
            keep_tile_hashes(self.post.archive / f"round-{self.plan.round}", group.gid, hashes)
        layer = self.finisher.layer(self.plan, found)
        return GroupResult(
            group.gid,
            group.weights,
            found.survivors,
            counts,
            sums,
            found.figures.unanimous,
            found.figures.single,
            layer,
        )

    def publish(self, without: Collection[Party] = ()) -> None:
        """Send the layers of a round that has a result, each once under one roster; goes on after a crash.

        without: to these nothing; to everybody else.
        """
        self.told += publish_layers(self.post, self.machine, self.finisher, without)

    def _remember_deals(self) -> None:
        """The deals of this round, for the members to see that their records are no old copies (check P5)."""
        found: dict[str, list[PastDeal]] = {}
        for gid, member in sorted(self.machine.received):
            handover = self.machine.handover(gid, member)
            deal = PastDeal(self.plan.round, self.machine.plan_hash, gid, handover.deal.encode(), handover.signature)
            found.setdefault(member, []).append(deal)
        for member, deals in found.items():
            self.post.remember("deals", member, [deal.to_dict() for deal in deals])

    def proof(self) -> Mapping[str, object]:
        """What an outsider needs to hold the result against: plan, list, endorsements, result; plain data."""
        machine = self.machine
        listed, result = machine.survivors, machine.result
        return {
            "plan": machine.plan.to_dict(),
            "survivors": "" if listed is None else encode_base64(listed.encode()),
            "endorsements": {who: encode_base64(sign) for who, sign in sorted(machine.endorsements.items())},
            "result": "" if result is None else encode_base64(result.encode()),
        }
