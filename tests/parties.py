"""A federation on paper: real keys, certificates, roster and revocation list, all in memory and cheap to make."""

from dataclasses import dataclass, field
from pathlib import Path

from fedspallm_secure.crypto.certificates import Purpose, Root, check_root, parse_leaf, root_certificate
from fedspallm_secure.crypto.certificates import signing_certificate as issue
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.profiles import Profiles
from fedspallm_secure.crypto.revocation import Reason, RevocationList, Revoked, revocation_list
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.protocol.key_statements import KeyStatement
from fedspallm_secure.protocol.package_types import BodyType
from fedspallm_secure.protocol.packages import NONE, Context
from fedspallm_secure.protocol.receiving import OwnKey, Reader, Trust
from fedspallm_secure.protocol.roster import Roster, RosterEntry

PROFILES = Profiles.parse((Path(__file__).parent.parent / "certs/profiles.toml").read_text())
DAY = 86_400
NOW = 1_790_000_000  # 2026-09-21
NAMES = ("server/hub", "member/north", "member/south", "member/west", "auditor/watch")


@dataclass
class Actor:
    """One party with its secrets."""

    party: Party
    signer: Ed25519Signer
    secrets: dict[str, RecipientSecret]
    entry: RosterEntry

    @property
    def reader(self) -> Reader:
        statement = self.entry.key_statement
        keys = {key.key_id: OwnKey(key.kem, statement.not_before, statement.not_after) for key in statement.keys}
        return Reader(self.party, keys)

    @property
    def leaf(self):
        return self.entry.leaf


@dataclass
class Federation:
    """A root, its parties, and what all of them pin."""

    name: str = "lungs.example"
    now: int = NOW
    names: tuple[str, ...] = NAMES
    profiles: Profiles = PROFILES
    actors: dict[str, Actor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root_signer, _ = Ed25519Signer.generate()
        der = root_certificate(self.root_signer, self.name, self.profiles, self.now - DAY)
        self.root: Root = check_root(der, self.name, self.now)
        for name in self.names:
            self.actors[name] = self.actor(name)
        self.crl = self.revoke([])
        self.roster = self.new_roster(1)

    def actor(self, name: str, until: int | None = None) -> Actor:
        party = Party.parse(name)
        signer, _ = Ed25519Signer.generate()
        der = issue(self.root_signer, self.root, party, signer.public, self.profiles, self.now - DAY)
        secrets = [RecipientSecret.generate(kem) for kem in Kem]
        statement = KeyStatement.make(
            signer,
            self.name,
            party,
            [secret.recipient_key for secret in secrets],
            self.now - DAY,
            until or self.now + 365 * DAY,
        )
        entry = RosterEntry(party, parse_leaf(der, self.root, Purpose.SIGNING, party), statement)
        return Actor(party, signer, {secret.recipient_key.key_id: secret for secret in secrets}, entry)

    def new_roster(self, version: int, crl_number: int | None = None) -> Roster:
        entries = [actor.entry for actor in self.actors.values()]
        number = self.crl.number if crl_number is None else crl_number
        return Roster.make(self.root_signer, self.root, version, self.now, number, entries)

    def revoke(self, names: list[str], number: int = 1, valid: int = 45 * DAY) -> RevocationList:
        revoked = [Revoked(self[name].leaf.serial, self.now, Reason.KEY_COMPROMISE) for name in names]
        der = revocation_list(self.root_signer, self.root, number, revoked, self.now - DAY, self.now - DAY + valid)
        return RevocationList.parse(der, self.root)

    @property
    def trust(self) -> Trust:
        return Trust(self.root, self.roster, self.crl)

    def __getitem__(self, name: str) -> Actor:
        return self.actors[name]

    def context(self, sender: str = "member/north", recipient: str = "member/south", **changes) -> Context:
        """A context of type `file` that an honest sender would write, with changes."""
        kem = changes.pop("kem", Kem.X25519)
        to = self[recipient].entry
        key = next(key for key in to.key_statement.keys if key.kem is kem)
        values = {
            "type": "file",
            "federation": self.name,
            "roster": self.roster.hash,
            "round": 0,
            "plan_hash": NONE,
            "group": NONE,
            "sender": self[sender].party,
            "sender_key": self[sender].leaf.key_id,
            "recipient": to.party,
            "recipient_key": key.key_id,
            "kem": kem,
            "sequence": 1,
            "created": self.now,
            "not_after": self.now + 30 * DAY,
            "body_type": BodyType.BYTES,
        }
        return Context(**{**values, **changes})
