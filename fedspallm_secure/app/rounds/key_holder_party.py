"""A key holder within one process: its keys, its machine, and the one sum of each group that it decrypts."""

import hashlib
from typing import Any, Final

import numpy as np

from fedspallm_secure.app.postbox import Postbox
from fedspallm_secure.app.rounds.ciphers import check_sums, decrypted
from fedspallm_secure.app.rounds.parties import Clock, Correspondent
from fedspallm_secure.app.rounds.round_keys import RoundSecret, make_round_key
from fedspallm_secure.app.rounds.streams import Octets
from fedspallm_secure.app.rounds.wire import Parcel, Wire
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import FormatError, NotAwaited
from fedspallm_secure.he.parameters import Parameters
from fedspallm_secure.protocol.receiving import Awaited
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.deals import vector_root
from fedspallm_secure.protocol.rounds.decrypting import header_length, opened_sizes, opening_size, parse_opened
from fedspallm_secure.protocol.rounds.key_holder import KeyHolder
from fedspallm_secure.protocol.rounds.member_own import Own
from fedspallm_secure.protocol.rounds.messages import Incoming, Step
from fedspallm_secure.protocol.rounds.plan_bodies import PlanBody
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.secagg.disclosure import Ledger


class KeyHolderParty(Correspondent):
    """A key holder, for any number of rounds.

    machine: of the present round; keys: digest of a key, hex -> both halves, until its round is over.
    """

    _AWAITED: Final = frozenset({"plan", "decrypt-request", "decrypt-opening", "result", "abort"})

    def __init__(self, signer: Signer, postbox: Postbox, policy: Policy, wire: Wire, clock: Clock) -> None:
        super().__init__(postbox, wire, clock)
        self.own = Own(self.party, signer, self.trust, policy)
        self.machine = KeyHolder(self.own)
        self.ledger = Ledger()
        self.keys: dict[str, tuple[CipherKey, RoundSecret]] = {}
        self._made = 0
        self._used: set[str] = set()
        self._sums: dict[int, Octets] = {}

    def make_key(self, parameters: Parameters) -> CipherKey:
        """A new key for one round.  Raises WorkerLost or MissingExtra."""
        self._made += 1
        federation = self.trust.roster.federation
        key, secret = make_round_key(self.own.signer, federation, self.party, self._made, parameters, self.clock())
        self.keys[key.hash] = key, secret
        return key

    def act(self, parcel: Parcel) -> None:
        """Act on a message of the server."""
        opened = self.postbox.open(parcel.package, Awaited(types=self._AWAITED), self.clock())
        incoming, now = Incoming(opened.head, bytes(opened.body)), self.clock()
        match incoming.head.context.type:
            case "plan":
                self._on_plan(incoming, now)
            case "decrypt-request":
                self._on_request(incoming, now)
            case "decrypt-opening":
                self._on_opening(incoming, now)
            case _:
                self._keep(self.machine.on_end(incoming))
                if self.machine.over:
                    self._erase()

    def _on_plan(self, incoming: Incoming, now: int) -> None:
        use = PlanBody.parse(incoming.body).plan.key_holder
        if use is None or use.key not in self.keys:
            raise NotAwaited("the plan names no key that I have")
        last = 0 if self.machine.taken is None else self.machine.taken.round
        same = incoming.head.context.round == last
        machine = self.machine if same else KeyHolder(self.own)
        used = self._used - ({self.machine.key_hash} if same and last else set())
        step = machine.on_plan(incoming, self.keys[use.key][0], self.ledger, now, 0 if same else last, used)
        if machine is not self.machine:
            self.machine, self._sums = machine, {}
        self._used.add(machine.key_hash)
        self._keep(step)

    def _on_request(self, incoming: Incoming, now: int) -> None:
        start = 4
        end = start + header_length(incoming.body[:start])
        group = self.machine.group_in(incoming, "decrypt-request", now)
        if len(incoming.body) != end + group.upload_size:
            raise FormatError(f"a sum of group {group.gid} has {group.upload_size} bytes")
        places = np.frombuffer(incoming.body[end:], np.uint8)
        root = vector_root([places.data], group.upload_tile).hex()
        secret = self.keys[self.machine.key_hash][1].recipient
        request = Incoming(incoming.head, incoming.body[start:end])
        step = self.machine.on_request(request, root, self.ledger, secret, now)
        self._sums.setdefault(group.gid, places)
        self.ledger = self.ledger.with_release(*self.machine.releases)
        self._keep(step)

    def _on_opening(self, incoming: Incoming, now: int) -> None:
        machine = self.machine
        group = machine.awaits_opening(incoming, now)
        shown, survivors = machine.shown[group.gid], machine.listed(group.gid).ids
        if len(incoming.body) != opening_size(group, len(survivors), shown.chunks):
            raise FormatError(f"an opening of group {group.gid} does not have {len(incoming.body)} bytes")
        opened: dict[str, list[bytes]] = {member: [] for member in survivors}
        at = 0
        for chunk, member, size in opened_sizes(group, survivors, shown.chunks):
            found = parse_opened(group, chunk, incoming.body[at : at + size])
            machine.check_opened(group.gid, member, chunk, found)
            opened[member].append(found.slot)
            at += size
        key, secret = self.keys[machine.key_hash]
        places, size = self._sums[group.gid], group.upload_tile
        sums = [places[size * chunk : size * (chunk + 1)].tobytes() for chunk in shown.chunks]
        check_sums(group, key.public, list(opened.values()), sums)
        whole = (places[start : start + size].tobytes() for start in range(0, len(places), size))
        streams = decrypted(group, secret.decryption, whole, machine.slot_keys(group.gid, secret.recipient))
        digest = hashlib.sha256(b"".join(part.tobytes() for part in streams.parts)).hexdigest()
        self._keep(machine.note_decrypted(group.gid, digest))
        parts = [part.data for part in streams.parts]
        server = self.own.policy.server
        self.send("decrypt-response", server, parts, machine.plan.round, machine.plan_hash, str(group.gid))

    def _keep(self, step: Step[Any]) -> None:
        self.keep(step, self.machine.plan.round, self.machine.plan_hash)

    def _erase(self) -> None:
        found = self.keys.pop(self.machine.key_hash, None)
        if found is not None:
            found[1].decryption.wipe()
