"""A small certificate authority and its parties, made of the real classes, for tests that need an identity."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from fedspallm_secure.crypto.certificates import (
    Leaf,
    Purpose,
    Root,
    generate_tls_key,
    parse_leaf,
    parse_root,
    read_tls_request,
    root_certificate,
    signing_certificate,
    tls_certificate,
    tls_request,
)
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.profiles import DAY, Profiles
from fedspallm_secure.crypto.revocation import RevocationList, Revoked, revocation_list
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.protocol.enrolment import KeyStatement, Request
from fedspallm_secure.protocol.roster import Roster, RosterEntry

FEDERATION = "lungs.example"
NOW = 1_800_000_000  # 2027-01-15
NORTH = Party.parse("member/north")
HUB = Party.parse("server/hub")
PROFILES = Profiles.parse((Path(__file__).parent.parent / "certs/profiles.toml").read_text()).for_development()


@cache
def signer(name: str) -> Ed25519Signer:
    """The same key for the same name, new in every run."""
    return Ed25519Signer.generate()[0]


@cache
def tls_key(name: str) -> bytes:
    """The same P-256 key for the same name, PKCS #8 in DER."""
    return generate_tls_key()


@cache
def recipient(name: str, kem: Kem = Kem.X25519) -> RecipientSecret:
    """The same recipient key for the same name."""
    return RecipientSecret.generate(kem)


@dataclass(frozen=True)
class Authority:
    """A root key with its certificate, made at `now`."""

    key: Ed25519Signer = field(default_factory=lambda: signer("root"))
    federation: str = FEDERATION
    now: int = NOW

    @property
    def root(self) -> Root:
        return _root(self.key, self.federation, self.now)

    def crl(self, *revoked: Revoked, number: int = 1, now: int | None = None) -> RevocationList:
        now = self.now if now is None else now
        end = now + PROFILES.crl_days * DAY
        return RevocationList.parse(revocation_list(self.key, self.root, number, revoked, now, end), self.root)

    def leaf(self, party: Party, name: str = "", now: int | None = None) -> Leaf:
        """The signing leaf of `party`, for the key called `name` or as the party."""
        public = signer(name or str(party)).public
        now = self.now if now is None else now
        der = signing_certificate(self.key, self.root, party, public, PROFILES, now)
        return parse_leaf(der, self.root, Purpose.SIGNING, party)

    def entry(self, party: Party, name: str = "") -> RosterEntry:
        return RosterEntry(party, self.leaf(party, name), key_statement(party, name, self.federation))

    def roster(self, *parties: Party, version: int = 1, crl_number: int = 1) -> Roster:
        entries = [self.entry(party) for party in parties]
        return Roster.make(self.key, self.root, version, NOW, crl_number, entries)

    def tls_leaf(self, party: Party, hosts: Sequence[str] = ()) -> Leaf:
        """The TLS leaf of `party`, for `tls_key(str(party))`."""
        request = tls_request(tls_key(str(party)), party, self.federation)
        public = read_tls_request(request, party, self.federation)
        der = tls_certificate(self.key, self.root, party, public, hosts, PROFILES, self.now)
        return parse_leaf(der, self.root, Purpose.TLS, party)


@cache
def _root(key: Ed25519Signer, federation: str, now: int) -> Root:
    return parse_root(root_certificate(key, federation, PROFILES, now), federation)


def key_statement(party: Party, name: str = "", federation: str = FEDERATION) -> KeyStatement:
    """Signed by the key called `name` or as the party."""
    keys = [recipient(str(party)).recipient_key]
    return KeyStatement.make(signer(name or str(party)), federation, party, keys, NOW, NOW + 365 * DAY)


def request(party: Party, **changes: object) -> Request:
    """A request by the keys called as the party."""
    options = {"tls_key": tls_key(str(party)), "key_statement": key_statement(party), **changes}
    return Request.make(signer(str(party)), FEDERATION, party, NOW, **options)
