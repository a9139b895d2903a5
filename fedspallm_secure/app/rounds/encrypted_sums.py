"""A server's sums of encrypted vectors, and the chunks that a key holder asks to see of them (SPEC section 24.4)."""

from contextlib import ExitStack
from typing import Final

from fedspallm_secure.app.rounds.ciphers import added, joined
from fedspallm_secure.app.rounds.streams import Octets
from fedspallm_secure.app.rounds.vault import Vault
from fedspallm_secure.crypto.merkle import Tree
from fedspallm_secure.errors import OutOfTurn, RecordDamaged
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.deals import tile_hashes, vector_root
from fedspallm_secure.protocol.rounds.decrypting import Challenge, OpenedChunk, encode_opened
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.server_state import ServerState

_PIECE: Final = 1 << 20  # bytes of a vector that are read at once


class EncryptedSums:
    """The sums of one round, made when they are asked for; one is held at a time."""

    def __init__(self, machine: ServerState, vault: Vault, key: CipherKey | None) -> None:
        """key: of the plan, None where nothing is encrypted."""
        self._machine, self._vault, self._key = machine, vault, key
        self._made: tuple[int, Octets] | None = None

    def of(self, gid: int) -> Octets:
        """The places of the sum over a group's survivors.  Raises as `ciphers.added`."""
        if self._made is None or self._made[0] != gid:
            self._made = gid, self._add(self._machine.groups[gid])
        return self._made[1]

    def root(self, group: str) -> str:
        """Root of a sum, hex; empty for what names no sum of the round."""
        gid = int(group) if group.isdigit() else -1
        if gid not in self._machine.ballots:
            return ""
        return vector_root([self.of(gid).data], self._machine.groups[gid].upload_tile).hex()

    def opened(self, gid: int) -> list[bytes]:
        """The body of a `decrypt-opening`, in parts: what the challenge asks for, of every survivor.

        Raises RecordDamaged where a vector is not what its member signed.
        """
        group, chunks = self._machine.groups[gid], Challenge.parse(self._machine.challenged[gid].body).chunks
        found = {}
        for member in self._machine.ballots[gid].survivors:
            tree, places = self._places(group, member, set(chunks))
            for chunk, place in places.items():
                found[chunk, member] = OpenedChunk(place, tuple(tree.inclusion(chunk, tree.size)))
        return [
            encode_opened(found[chunk, member]) for chunk in chunks for member in self._machine.ballots[gid].survivors
        ]

    def _places(self, group: GroupPlan, member: str, chunks: set[int]) -> tuple[Tree, dict[int, bytes]]:
        """The tree over a vector's places, and some of these."""
        tree, places = Tree(), dict[int, bytes]()
        with self._vault.read(group, member) as source:
            for chunk in range(group.upload_size // group.upload_tile):
                place = source.read(group.upload_tile)
                tree.append(tile_hashes(memoryview(place), group.upload_tile)[0])
                if chunk in chunks:
                    places[chunk] = place
        if tree.root() != self._machine.handover(group.gid, member).deal.vector_root:
            raise RecordDamaged(f"the vector of {member} for group {group.gid} is not the one that it signed")
        return tree, places

    def _add(self, group: GroupPlan) -> Octets:
        if self._key is None:
            raise OutOfTurn("nothing is encrypted in this round")
        with ExitStack() as stack:
            sources = {
                member: stack.enter_context(self._vault.read(group, member))
                for member in self._machine.ballots[group.gid].survivors
            }
            return joined(added(group, self._key.public, sources), group)
