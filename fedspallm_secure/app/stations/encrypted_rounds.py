"""What a server does in rounds with a key holder, and in no others: which key they use, and what the two exchange.

SPEC section 24.  Sums are made when they are asked for; what the key holder decrypted is durable before it counts.
"""

from collections.abc import Sequence
from typing import Final

from fedspallm_secure.app.rounds.ciphers import check_vector
from fedspallm_secure.app.rounds.encrypted_sums import EncryptedSums
from fedspallm_secure.app.rounds.planning import Terms, cipher_for
from fedspallm_secure.app.rounds.streams import plain_streams
from fedspallm_secure.app.rounds.wire import Parcel
from fedspallm_secure.app.stations.agenda import Agenda
from fedspallm_secure.app.stations.cipher_keys import next_key, used_key
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.app.stations.station import arrived_of
from fedspallm_secure.app.stations.vault_disk import DiskVault
from fedspallm_secure.errors import NotAwaited
from fedspallm_secure.protocol.receiving import Awaited
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.messages import Incoming, Outgoing, Step
from fedspallm_secure.protocol.rounds.records_server import ServerRecord
from fedspallm_secure.protocol.rounds.server import Server
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.storage.memory import Buffer

_CHALLENGE_LIMIT: Final = 1 << 16  # bytes


class EncryptedRound:
    """The encrypted side of one round; in rounds of another kind it refuses everything."""

    def __init__(self, post: Post, machine: Server, vault: DiskVault) -> None:
        self.key = used_key(post, machine.plan)
        self.sums = EncryptedSums(machine, vault, self.key)
        self._post, self._machine, self._vault = post, machine, vault

    def parts(self, message: Outgoing) -> Sequence[Buffer]:
        """The body of a message, with the chunks that belong to it."""
        match message.type:
            case "decrypt-request":
                return [message.body, self.sums.of(int(message.group)).data]
            case "decrypt-opening":
                return self.sums.opened(int(message.group))
            case _:
                return [message.body]

    def look_at(self, group: GroupPlan, member: str) -> Step[ServerRecord]:
        """S9: what was taken in last can be added up.  Raises ContributionRefused."""
        if self.key is not None:
            with self._vault.read_inflow() as source:
                check_vector(group, self.key.public, source, member)
        return Step()

    def challenged(self, parcel: Parcel) -> tuple[Incoming, str]:
        """What the key holder wants to see, and the root of the sum that it was shown, hex."""
        awaited = Awaited(types=frozenset({"decrypt-challenge"}), most=_CHALLENGE_LIMIT)
        opened = self._post.open(arrived_of(parcel), awaited)
        return Incoming(opened.head, bytes(opened.body)), self.sums.root(opened.head.context.group)

    def decrypted(self, parcel: Parcel) -> Incoming:
        """Keep a sum that the key holder decrypted, before it counts."""
        arrived, machine = arrived_of(parcel), self._machine
        group = machine.groups.get(int(arrived.group) if arrived.group.isdigit() else -1)
        if group is None:
            raise NotAwaited(f"there is no group {arrived.group[:16]!r} in this round")
        size = group.count_size + group.sum_size
        opened = self._post.open(arrived, Awaited(types=frozenset({"decrypt-response"}), plaintext_length=size))
        if opened.head.context.sender in machine.key_holders() and group.gid not in machine.decrypted:
            self._vault.keep_decrypted(group, plain_streams(opened.body, group))
        return Incoming(opened.head, b"")


def find_key(post: Post, agenda: Agenda, groups: Sequence[GroupPlan]) -> CipherKey | str:
    """The key that a round over these groups uses, or why there is none, in words."""
    largest, holder = max(len(group.cohort) for group in groups), agenda.key_holder
    found = next_key(post, holder, lambda key: _fits(key, agenda.terms, largest))
    if found is not None:
        return found
    if next_key(post, holder) is None:
        return f"no key of key-holder/{holder}, who has to run fedprune key-holder run"
    terms = agenda.terms
    bits = "" if terms.strategy is Strategy.VOTES else f", sum_bits = {terms.sum_bits}"
    return (
        f"key-holder/{holder} has keys of another kind: [keys] in its key-holder.toml has to say strategy = "
        f'"{terms.strategy.value}"{bits} and members = {largest} or more'
    )


def _fits(key: CipherKey, terms: Terms, largest: int) -> bool:
    most = key.parameters.members
    return most >= largest and key.parameters == cipher_for(most, terms.strategy, terms.sum_bits)
