"""Logs in memory as a server would write them, with everybody's keys, also the root's; and quick to make.

Certificates, statements, plans and signatures are real.  Nobody prunes anything: of vectors and
deals a log has nothing but digests, and any will do.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.labels import digest as labelled_digest
from fedspallm_secure.crypto.merkle import Tree, leaf_hash
from fedspallm_secure.crypto.notes import Checkpoint, sign_checkpoint
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.crypto.signing import Ed25519Signer, sign
from fedspallm_secure.he.parameters import choose
from fedspallm_secure.protocol.audit.entries import Entry, EntryType, head_data
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement, note_key
from fedspallm_secure.protocol.audit.policies import make_policy
from fedspallm_secure.protocol.package_types import PACKAGE_TYPES
from fedspallm_secure.protocol.packages import NONE, Header
from fedspallm_secure.protocol.prekeys import Prekey, Prekeys
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.openings import PrekeyUse
from fedspallm_secure.protocol.rounds.outcomes import GroupResult, Result
from fedspallm_secure.protocol.rounds.plans import Deadlines, KeyUse, Plan, Sampling
from fedspallm_secure.protocol.rounds.receipts import Receipt
from fedspallm_secure.protocol.rounds.survivors import Ended, Listed, ListedGroup, SurvivorList, endorse
from fedspallm_secure.pruning.strategies import Group, Strategy
from fedspallm_secure.secagg.fields import CountField
from fedspallm_secure.secagg.graphs import group_thresholds
from fedspallm_secure.secagg.thresholds import Profile, witness_quorum
from tests.app.audit.real_log import MemoryLog
from tests.parties import DAY, NOW, Federation

SERVER = "server/hub"
MEMBERS = ("east", "mid", "north", "south", "west")
DROPPED = "west"
KEY_HOLDERS = ("key-holder/vault", "key-holder/other")
TARGETS = ("1/4", "1/2")
LOG_SIGNER = Ed25519Signer(b"\x12" * 32)
TYPES = EntryType


def digest(*words: object) -> str:
    """Some digest, 64 hex digits, the same for the same words."""
    return hashlib.sha256(repr(words).encode()).hexdigest()


@dataclass
class Kit:
    """A log that grows.

    layers: of the model, and groups of each round; shows: whether heads carry the newest checkpoint.  Those that do
    contradict every later change of what stands before them, so forgeries of anything else do without.
    """

    members: Sequence[str] = MEMBERS
    layers: int = 2
    profile: Profile = Profile.THREE_TRIP
    witnesses: Sequence[str] = ()
    key_holders: Sequence[str] = ()
    dishonest: int = 0
    shows: bool = True
    now: int = NOW
    round: int = 0
    bundles: dict[str, Prekeys] = field(default_factory=dict)
    uses: dict[str, int] = field(default_factory=dict)  # member -> index of its prekey of this round

    def __post_init__(self) -> None:
        names = (SERVER, *(f"member/{name}" for name in self.members), *(f"witness/{name}" for name in self.witnesses))
        if self.profile is Profile.ONE_TRIP:
            self.key_holders = KEY_HOLDERS
        names += tuple(self.key_holders)
        self.federation = Federation(names=names)
        key = note_key(self.federation.name, self.federation[SERVER].party, LOG_SIGNER.public)
        members = {name: self.federation[f"member/{name}"].signer for name in self.members}
        members |= {name: self.federation[f"witness/{name}"].signer for name in self.witnesses}
        members |= {name.partition("/")[2]: self.federation[name].signer for name in self.key_holders}
        root, server = self.federation.root.der, self.federation[SERVER].signer
        self.log = MemoryLog([], {}, root, key, LOG_SIGNER, server, members, [])
        self.tree = Tree()
        self._numbers: dict[str, int] = {}
        self._noted: set[str] = set()
        self._begin()

    # Outside of rounds

    def _begin(self) -> None:
        server = self.federation[SERVER]
        stated = NoteKeyStatement.make(server.signer, self.federation.name, server.party, self.log.key, self.now)
        root, document = self.log.keep(self.log.root), self.log.keep(stated.encode())
        self.add(TYPES.GENESIS, root=root, origin=self.log.key.name, note_key=document)
        self.take_list()
        self.take_roster()
        self.add(TYPES.SOFTWARE, name="fedspallm-secure/0.1.0")
        if self.witnesses:
            self._name_witnesses()

    def add(self, kind: EntryType, /, actor: str = SERVER, **data: Any) -> int:
        """One more entry; its index."""
        self.now += 1
        outside = kind not in (TYPES.EQUIVOCATION, TYPES.RETENTION) and not _inside(kind)
        made = Entry.make(
            self.federation[SERVER].signer,
            type=kind,
            federation=self.federation.name,
            seq=len(self.log.bodies),
            round=0 if outside else self.round,
            actor=self.federation[actor].party,
            at=self.now,
            data=data,
        )
        self.log.bodies.append(made.encode())
        self.tree.append(leaf_hash(self.log.bodies[-1]))
        return made.seq

    def take_list(self) -> int:
        """The federation's newest revocation list."""
        crl = self.federation.crl
        return self.add(TYPES.REVOCATIONS, number=crl.number, document=self.log.keep(crl.der))

    def take_roster(self) -> int:
        """The federation's newest roster, and the certificates that are new in it."""
        roster = self.federation.roster
        document = self.log.keep(roster.encode())
        index = self.add(TYPES.ROSTER, version=roster.version, hash=roster.hash, document=document)
        for entry in roster.entries:
            leaf = entry.leaf
            if leaf.key_id not in self._noted:
                self._noted.add(leaf.key_id)
                dates = {"not_before": leaf.not_before, "not_after": leaf.not_after}
                self.add(TYPES.CERTIFICATE, str(entry.party), key=leaf.key_id, **dates)
        return index

    def renew(self, *names: str, revoke: bool = False) -> int:
        """New keys and certificates for these, as of now, with a new list; index of the first entry about it.

        revoke: whether the old ones are withdrawn.
        """
        self.federation.now = self.now
        self.federation.crl = self.federation.revoke(list(names) if revoke else [], self.federation.crl.number + 1)
        for name in names:
            self.federation.actors[name] = self.federation.actor(name)
        self.federation.roster = self.federation.new_roster(self.federation.roster.version + 1)
        self.log.server = self.federation[SERVER].signer
        first = len(self.log.bodies)
        self.take_list()
        self.take_roster()
        return first

    def offer_prekeys(self, member: str, count: int = 8) -> int:
        """A new bundle of a member."""
        actor, old = self.federation[f"member/{member}"], self.bundles.get(member)
        first = 0 if old is None else old.first + len(old.leaves)
        keys = [RecipientSecret.generate(kem).recipient_key for kem in (Kem.X25519, Kem.HYBRID)]
        leaves = [Prekey(keys[0].public, keys[1])] * count  # a log tells nothing about who has which key
        times = NOW - DAY, NOW + 90 * DAY
        bundle = Prekeys.make(actor.signer, self.federation.name, actor.party, first, leaves, *times)
        self.bundles[member] = bundle
        document, hash = self.log.keep(bundle.encode()), bundle.statement.digest.hex()
        return self.add(TYPES.PREKEYS, f"member/{member}", hash=hash, document=document)

    def _name_witnesses(self) -> None:
        keys, names = [], []
        for number, name in enumerate(self.witnesses):
            actor = self.federation[f"witness/{name}"]
            key = note_key(self.federation.name, actor.party, Ed25519Signer(bytes([0x20 + number]) * 32).public)
            stated = NoteKeyStatement.make(actor.signer, self.federation.name, actor.party, key, self.now)
            keys.append(key)
            names.append(self.log.keep(stated.encode()))
        policy = make_policy(self.log.key, keys, witness_quorum(len(keys), self.dishonest))
        self.add(TYPES.WITNESSES, policy=self.log.keep(policy.encode()), note_keys=sorted(names))

    # Rounds

    def head(self, sender: str, kind: str, group: str = NONE, **changes: Any) -> tuple[str, dict[str, Any]]:
        """Package digest, and what an entry shows of a package that `sender` seals now."""
        number = self._numbers[sender] = self._numbers.get(sender, 0) + 1
        values = {"type": kind, "round": self.round, "plan_hash": self.plan_hash, "group": group, "sequence": number}
        values |= {"checkpoint": self.note() if self.shows else b"", "body_type": PACKAGE_TYPES[kind].body}
        context = self.federation.context(sender, SERVER, **{**values, **changes})
        encoded = Header(context, bytes(context.kem.wrap_size), body_length(5), bytes(32)).encode()
        signature = sign(self.federation[sender].signer, Label.SIGN_PACKAGE, encoded)
        return labelled_digest(Label.DIGEST_PACKAGE, encoded).hex(), head_data(encoded, signature)

    def note(self) -> bytes:
        """The newest checkpoint."""
        found = Checkpoint(self.log.key.name, self.tree.size, self.tree.root())
        return sign_checkpoint(LOG_SIGNER, self.log.key, found).encode()

    def open(self) -> Plan:
        """The next round, with a plan for it."""
        self.round += 1
        for member in self.members:
            old, index = self.bundles.get(member), self.uses.get(member, -1) + 1
            if old is None or index >= old.first + len(old.leaves):
                self.offer_prekeys(member)
            self.uses[member] = max(index, self.bundles[member].first)
        self.plan = self.make_plan()
        self.plan_hash = self.plan.hash
        self.add(TYPES.ROUND_OPEN, opening="")
        self.add(TYPES.PLAN, hash=self.plan_hash, document=self.log.keep(self.plan.encode()))
        self.deals: dict[tuple[int, str], str] = {}
        return self.plan

    def make_plan(self) -> Plan:
        """A plan by the rules, as the members' budgets allow."""
        seed, number = digest("seed", self.round), (self.round - 1) % len(TARGETS) + 1
        budgets = tuple((name, self.layers) for name in sorted(self.members))
        sampling = Sampling(number, self.layers, TARGETS, 3, False, budgets)
        groups, encrypted = [], self.profile is Profile.ONE_TRIP
        for gid, cohort in sampling.draw(bytes.fromhex(seed)).cohorts.items():
            needed = group_thresholds(len(cohort), 1, self.profile)
            degree = 0 if needed.holders is None else needed.holders - 1
            shapes = (MatrixShape(f"layers.{gid}.proj", 1, 7),)
            counts, numbers = CountField.for_cohort(len(cohort)), (needed.shares, needed.survivors, degree)
            cipher = choose(len(self.members)) if encrypted else None
            groups.append(GroupPlan(gid, digest("base", gid), shapes, tuple(cohort), *numbers, counts, None, cipher))
        uses = [PrekeyUse(id, self.bundles[id].statement.digest.hex(), self.uses[id]) for id in sorted(self.members)]
        return Plan(
            federation=self.federation.name,
            round=self.round,
            nonce=digest("nonce", self.round),
            roster=self.federation.roster.hash,
            crl=self.federation.crl.number,
            software="fedspallm-secure/0.1.0",
            profile=self.profile,
            colluders=1,
            strategy=Strategy.VOTES,
            pruner="wanda",
            target=TARGETS[number - 1],
            compare=Group.MATRIX,
            previous=NONE,
            seed=seed,
            sampling=sampling,
            groups=tuple(groups),
            prekeys=tuple(uses),
            deadlines=Deadlines(*[NOW + 40 * DAY] * 4),
            counts_to=(),
            key_holder=KeyUse("vault", digest("key", self.round), 50) if encrypted else None,
        )

    def contribute(self, member: str, gid: int) -> int:
        """What a member hands in for a group, with a receipt for it."""
        package, shown = self.head(f"member/{member}", "contribution", str(gid))
        deal = self.deals[gid, member] = digest("deal", self.round, gid, member)
        named = self.federation.name, self.round, self.plan_hash, gid, member, package, deal
        self.log.receipts.append(Receipt.make(self.federation[SERVER].signer, *named).encode())
        return self.add(TYPES.CONTRIBUTION, f"member/{member}", group=gid, package=package, deal=deal, head=shown)

    def list_survivors(self, left_out: Collection[tuple[int, str]] = (), ended: Sequence[Ended] = ()) -> int:
        """Who contributed, but for those left out."""
        gone = {end.gid for end in ended}
        groups = []
        for group in self.plan.groups:
            ids = [id for id in group.cohort if (group.gid, id) in self.deals.keys() - set(left_out)]
            if group.gid not in gone:
                groups.append(ListedGroup(group.gid, tuple(Listed(id, self.deals[group.gid, id]) for id in ids)))
        signer, name = self.federation[SERVER].signer, self.federation.name
        self.listed = SurvivorList.make(signer, name, self.round, self.plan_hash, groups, ended)
        return self.add(TYPES.SURVIVORS, hash=self.listed.hash, document=self.log.keep(self.listed.encode()))

    def endorse(self, party: str) -> int:
        """Its endorsement of the list."""
        signature = encode_base64(endorse(self.federation[party].signer, self.listed))
        _, shown = self.head(party, "endorsement")
        return self.add(TYPES.ENDORSEMENT, party, survivors=self.listed.hash, signature=signature, head=shown)

    def answer(self, member: str) -> int:
        """Its answer to the unmask request."""
        package, shown = self.head(f"member/{member}", "unmask-response")
        return self.add(TYPES.UNMASK_RESPONSE, f"member/{member}", package=package, head=shown)

    def challenge(self, gid: int, party: str = KEY_HOLDERS[0]) -> int:
        """What the key holder wants to see of a sum."""
        package, shown = self.head(party, "decrypt-challenge", str(gid))
        return self.add(TYPES.DECRYPT_CHALLENGE, party, group=gid, package=package, head=shown)

    def decrypt(self, gid: int, party: str = KEY_HOLDERS[0]) -> int:
        """A sum that it decrypted."""
        package, shown = self.head(party, "decrypt-response", str(gid))
        return self.add(TYPES.DECRYPT_RESPONSE, party, group=gid, package=package, head=shown)

    def conclude(self, answered: Iterable[str], ended: Sequence[Ended] = ()) -> int:
        """The result, and a model; index of the result."""
        groups = [
            GroupResult(group.gid, 7, len(group.ids), digest("counts", self.round, group.gid), NONE, 1, 1)
            for group in self.listed.groups
            if group.gid not in {end.gid for end in ended}
        ]
        named = self.federation.name, self.round, self.plan_hash, self.listed.hash, groups, ended, sorted(answered)
        result = Result.make(self.federation[SERVER].signer, *named)
        index = self.add(TYPES.RESULT, hash=result.hash, document=self.log.keep(result.encode()))
        files = [{"name": "model.safetensors", "size": 9, "sha256": digest("model", self.round)}]
        self.add(TYPES.MODEL, result=result.hash, files=files)
        return index

    def play(self, silent: Collection[str] = ()) -> None:
        """A whole round.  silent: who does nothing in it."""
        there = [member for member in self.members if member not in silent]
        for group in self.open().groups:
            for member in group.cohort:
                if member in there:
                    self.contribute(member, group.gid)
        self.list_survivors()
        if self.profile is Profile.ONE_TRIP:
            return self._play_decryption()
        if self.profile is not Profile.TWO_TRIP:
            asked = self.witnesses if self.profile is Profile.WITNESSED else there
            role = "witness" if self.profile is Profile.WITNESSED else "member"
            for party in asked:
                self.endorse(f"{role}/{party}")
        self.add(TYPES.UNMASK_REQUEST, recipients=sorted(there))
        for member in there:
            self.answer(member)
        self.conclude(there)

    def _play_decryption(self) -> None:
        self.add(TYPES.UNMASK_REQUEST, recipients=[])
        for group in self.plan.groups:
            self.challenge(group.gid)
        for group in self.plan.groups[::-1]:  # groups take turns, in any order
            self.decrypt(group.gid)
        self.conclude(())


def valid_log(**setting: Any) -> Kit:
    """Two rounds, the first without somebody."""
    kit = Kit(**setting)
    kit.play(silent=(DROPPED,))
    kit.play()
    return kit


def _inside(kind: EntryType) -> bool:
    return list(EntryType).index(kind) >= list(EntryType).index(TYPES.ROUND_OPEN)
