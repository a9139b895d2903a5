"""A key holder on disk: its keys, the machine of a round restored from its journal, and the sums that it was shown.

What leaves was decided by `protocol.rounds.key_holder`; here it becomes durable before it leaves.  A sum lies in a file
until its round is over; of single vectors nothing is kept.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fedspallm_secure.app.rounds.ciphers import check_sums, decrypted
from fedspallm_secure.app.rounds.round_keys import RoundSecret, make_round_key
from fedspallm_secure.app.rounds.wire import Parcel
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.app.stations.shown_sums import ShownSums, places_at, places_of, sweep
from fedspallm_secure.app.stations.station import arrived_of, take_in
from fedspallm_secure.app.stations.sum_inflow import Inbound, OpenedChunks, SumInflow
from fedspallm_secure.crypto.encoding import decode_base64, encode_base64
from fedspallm_secure.errors import FedSpaError, NotAwaited, RecordDamaged
from fedspallm_secure.he.parameters import Parameters
from fedspallm_secure.protocol.receiving import Awaited
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.decrypting import HEADER_LIMIT, opening_size
from fedspallm_secure.protocol.rounds.key_holder import KeyHolder, KeyHolderRecord, read_key_holder_record
from fedspallm_secure.protocol.rounds.member_own import Own
from fedspallm_secure.protocol.rounds.messages import Incoming, Step
from fedspallm_secure.protocol.rounds.plan_bodies import PlanBody
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.secagg.disclosure import Ledger
from fedspallm_secure.storage.package_reader import open_package
from fedspallm_secure.storage.spool import Arrived

_DAY: Final = 86_400
_KEYS: Final = "cipher key"  # facts: by digest, the package's body; and under the same names the secret halves
_SECRETS: Final = "cipher secret"
_SENT: Final = "cipher key sent"  # facts: by digest, the roster that it was sealed under, or that a plan has named it
_USED: Final = "used"
_SMALL: Final = frozenset({"plan", "result", "abort"})


class KeyHolderStation:
    """A key holder of one server, for any number of rounds.  told: what was refused, with the reason."""

    def __init__(self, post: Post, policy: Policy, parameters: Parameters, folder: Path, stock: int = 2) -> None:
        """parameters: of new keys; folder: for sums; stock: keys that lie ready at the server.

        Raises WorkerLost or MissingExtra where no key can be made; RecordDamaged, StorageError.
        """
        self.post = post
        self.policy = policy
        self.folder = folder
        self.told: list[tuple[Arrived, FedSpaError]] = []
        self.own = Own(post.party, post.signer, post.trust, policy)
        self.machine = self._restored()
        self._in_doubt = False  # whether the machine may know what was not written down
        self._parameters, self._stock = parameters, stock
        self.keep_stock()

    def _restored(self) -> KeyHolder:
        number = self.post.journal.last_round()
        records = self.post.journal.records(number, read_key_holder_record) if number else []
        return KeyHolder.restore(self.own, records)

    # Keys

    def keep_stock(self) -> None:
        """Have as many keys at the server as it may need next; of those that were sealed under another roster, too."""
        post, roster, now = self.post, self.post.trust.roster.hash, self.post.now()
        sent = post.journal.recall_all(_SENT)
        unused = [key for key in self.held_keys() if sent.get(key.hash) != _USED]
        ready = [key for key in unused if key.parameters == self._parameters and key.not_after > now + _DAY]
        with post.at_once():
            for key in unused:
                if key.not_after < now:  # no plan can name it any more
                    self._erase(key.hash)
            for key in ready:
                if sent.get(key.hash) != roster:
                    self._publish(key)
        for _ in range(self._stock - len(ready)):
            self._make()

    def held_keys(self) -> list[CipherKey]:
        """All keys whose secret half is still there, in the order in which they were made."""
        bodies = self.post.journal.recall_all(_KEYS).values()
        keys = [CipherKey.parse(decode_base64(body, "a cipher key")) for body in bodies]
        return sorted(keys, key=lambda key: key.index)

    def _make(self) -> None:
        post, now = self.post, self.post.now()
        index = post.journal.recall("cipher key next", "*", 1)
        federation = post.trust.roster.federation
        made, secret = make_round_key(post.signer, federation, post.party, index, self._parameters, now)
        with secret, post.at_once():
            kept = secret.encode()
            post.later(lambda: post.journal.remember_secret(_SECRETS, made.hash, kept))
            post.remember(_KEYS, made.hash, encode_base64(made.encode()))
            post.remember("cipher key next", "*", index + 1)
            self._publish(made)

    def _publish(self, key: CipherKey) -> None:
        self.post.send("cipher-key", self.policy.server, [key.encode()])
        self.post.remember(_SENT, key.hash, self.post.trust.roster.hash)

    @contextmanager
    def _secret(self) -> Iterator[RoundSecret]:
        found = self.post.journal.recall_secret(_SECRETS, self.machine.key_hash)
        if found is None:
            raise RecordDamaged("the secret key of this round is not there any more")
        with RoundSecret.parse(found) as secret:
            yield secret

    def _erase(self, key: str) -> None:
        """Wipe both halves of a key; inside of `post.at_once()`.  key: its digest."""
        self.post.later(lambda: self.post.journal.forget_secret(_SECRETS, key))
        self.post.forget(_KEYS, key)

    # Messages

    def work_through(self) -> int:
        """Act on everything in the inbox; how many packages were settled.  Errors: as of `take_in`."""
        self._expire()
        settled = take_in(self.post, self.act, lambda arrived, error: self.told.append((arrived, error)))
        self._settle_doubt()
        if settled:
            self.post.spool.discard(self.post.journal.last_round())
            current = self.machine.plan.round if self.machine.taken is not None and not self.machine.over else None
            sweep(self.folder, current)
            self.keep_stock()
        return settled

    def act(self, parcel: Parcel) -> None:
        """Act on a message of the server."""
        self._settle_doubt()
        self._in_doubt = True
        self._act(arrived_of(parcel))
        self._in_doubt = False

    def _settle_doubt(self) -> None:
        """After an error what was decided may not have been written down: then it must not count."""
        if self._in_doubt:
            self.machine = self._restored()
        self._in_doubt = False

    def _act(self, arrived: Arrived) -> None:
        match arrived.type:
            case "plan":
                self._on_plan(self._open(arrived))
            case "decrypt-request":
                self._on_request(arrived)
            case "decrypt-opening":
                self._on_opening(arrived)
            case "result" | "abort":
                self._keep(self.machine.on_end(self._open(arrived)))
                if self.machine.over:
                    self._erase(self.machine.key_hash)
            case _:
                raise NotAwaited(f"no package of type {arrived.type!r} is awaited")

    def _open(self, arrived: Arrived) -> Incoming:
        opened = self.post.open(arrived, Awaited(types=_SMALL))
        return Incoming(opened.head, bytes(opened.body))

    def _on_plan(self, incoming: Incoming) -> None:
        post = self.post
        use = PlanBody.parse(incoming.body).plan.key_holder
        key = next((one for one in self.held_keys() if use is not None and one.hash == use.key), None)
        if key is None:
            raise NotAwaited("the plan names no key that I have")
        last = 0 if self.machine.taken is None else self.machine.taken.round
        same = incoming.head.context.round == last
        machine = self.machine if same else KeyHolder(self.own)
        used = {name for name, where in post.journal.recall_all(_SENT).items() if where == _USED}
        step = machine.on_plan(incoming, key, self._ledger, post.now(), 0 if same else last, used)
        if machine is not self.machine and self.machine.taken is not None and not self.machine.over:
            self._erase(self.machine.key_hash)  # that round never ended here; its key decrypts nothing any more
        self.machine = machine
        self._keep(step)
        post.remember(_SENT, key.hash, _USED)

    def _on_request(self, arrived: Arrived) -> None:
        machine, now = self.machine, self.post.now()
        with open_package(arrived.path) as package:
            group = machine.group_in(Incoming(package.head, b""), "decrypt-request", now)
        awaited = Awaited(types=frozenset({"decrypt-request"}), most=HEADER_LIMIT + group.upload_size)
        with self._sums.draft("incoming.part") as file:
            inflow = SumInflow(file.fileno(), group)
            head = self.post.open_through(arrived, awaited, inflow.write)
            header, root = inflow.end()
            with self._secret() as secret:
                step = machine.on_request(Incoming(head, header), root.hex(), self._ledger, secret.recipient, now)
            if step.records:
                self._sums.place("incoming.part", group.gid)
        self.post.remember("ledger", "*", self._ledger.with_release(*machine.releases).to_dict())
        self._keep(step)

    def _on_opening(self, arrived: Arrived) -> None:
        machine = self.machine
        with open_package(arrived.path) as package:
            group = machine.awaits_opening(Incoming(package.head, b""), self.post.now())
        shown, survivors = machine.shown[group.gid], machine.listed(group.gid).ids
        size = opening_size(group, len(survivors), shown.chunks)
        awaited = Awaited(types=frozenset({"decrypt-opening"}), plaintext_length=size)
        with self._sums.draft("opening.part") as file:
            self.post.open_through(arrived, awaited, Inbound(file.fileno()).write)
            file.seek(0)
            opened = OpenedChunks(file, machine, group)
            with self._sums.read(group.gid) as whole:
                sums = places_at(whole, group, shown.chunks)
                key = next(one for one in self.held_keys() if one.hash == machine.key_hash)
                check_sums(group, key.public, [opened.of(member) for member in survivors], sums)
                with self._secret() as secret:
                    keys = machine.slot_keys(group.gid, secret.recipient)
                    streams = decrypted(group, secret.decryption, places_of(whole, group), keys)
        parts = [part.data for part in streams.parts]
        hasher = hashlib.sha256()
        for part in parts:
            hasher.update(part)
        self._keep(machine.note_decrypted(group.gid, hasher.hexdigest()))
        round, plan_hash = machine.plan.round, machine.plan_hash
        self.post.send("decrypt-response", self.policy.server, parts, round, plan_hash, str(group.gid))

    def _expire(self) -> None:
        step = self.machine.expire(self.post.now())
        if step.records:
            with self.post.at_once():
                self._keep(step)
                self._erase(self.machine.key_hash)

    # Writing down

    def _keep(self, step: Step[KeyHolderRecord]) -> None:
        round, plan_hash = self.machine.plan.round, self.machine.plan_hash
        self.post.note(round, step.records)
        for message in step.messages:
            self.post.send(message.type, message.recipient, [message.body], round, plan_hash, message.group)

    @property
    def _sums(self) -> ShownSums:
        return ShownSums(self.folder, self.machine.plan.round)

    @property
    def _ledger(self) -> Ledger:
        found = self.post.journal.recall("ledger", "*")
        return Ledger() if found is None else Ledger.from_dict(found)

    # Newer rosters

    def renew(self) -> None:
        """Go on with a newer roster or revocation list, which the post has read."""
        self.own = Own(self.post.party, self.post.signer, self.post.trust, self.policy)
        self.machine.own = self.own
        self.keep_stock()
