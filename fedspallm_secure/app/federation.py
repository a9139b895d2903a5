"""A whole federation in the memory of one process: root, roster, revocation list, and parties with all their keys.

Everything is what it would be in homes and at an authority: the same certificates, statements and profiles, read back
and verified like those of strangers.  Nothing of it is written down, so it is gone with the process, and its
certificates say that they are for development.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from fedspallm_secure.crypto.certificates import Purpose, Root, parse_leaf, parse_root
from fedspallm_secure.crypto.certificates import root_certificate as make_root
from fedspallm_secure.crypto.certificates import signing_certificate as issue
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.key_records import PrekeySecret
from fedspallm_secure.crypto.profiles import DAY, Profiles
from fedspallm_secure.crypto.revocation import CLOCK_SKEW, Reason, RevocationList, Revoked, revocation_list
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret, supported_kems
from fedspallm_secure.crypto.signing import Ed25519Signer, Signer
from fedspallm_secure.errors import LimitExceeded, UnknownSender, UsageError
from fedspallm_secure.protocol.key_statements import KeyStatement
from fedspallm_secure.protocol.limits import PARTIES_LIMIT
from fedspallm_secure.protocol.prekeys import Prekey, Prekeys
from fedspallm_secure.protocol.receiving import OwnKey, Reader, Trust
from fedspallm_secure.protocol.roster import Roster, RosterEntry
from fedspallm_secure.storage.memory import MemoryPrekeys
from fedspallm_secure.storage.profiles import default_profiles

_FEWER = "take fewer members"


class Supply(Protocol):
    """The prekeys that a member has left, in memory or in a key file."""

    def next_index(self) -> int:
        """The index of the first that was not burned."""

    def public_leaves(self, first: int | None = None) -> list[bytes]:
        """What is published of those from index `first` on."""

    def burn(self, index: int) -> PrekeySecret:
        """Use up one, and all before it."""


@dataclass(frozen=True, slots=True)
class Participant:
    """One party with its secrets.  secrets: key identifier -> recipient secret; entry: its own in the roster.

    prekeys: None for everybody but members, and for members that were given none.
    """

    party: Party
    signer: Signer = field(repr=False)
    secrets: Mapping[str, RecipientSecret] = field(repr=False)
    entry: RosterEntry
    prekeys: Supply | None = field(default=None, repr=False)

    @property
    def reader(self) -> Reader:
        """The party as one who checks packages: its keys are valid as long as its key statement."""
        stated = self.entry.key_statement
        keys = {name: OwnKey(key.kem, stated.not_before, stated.not_after) for name, key in self.secrets.items()}
        return Reader(self.party, keys)


@dataclass(frozen=True, slots=True)
class Federation:
    """What all parties pin, and the parties.  authority: the root's key."""

    trust: Trust
    participants: Mapping[Party, Participant]
    profiles: Profiles
    authority: Ed25519Signer = field(repr=False)

    @classmethod
    def make(
        cls, name: str, parties: Sequence[Party], now: int, prekeys: int = 0, profiles: Profiles | None = None
    ) -> "Federation":
        """Make keys, certificates and statements for `parties`, at `now` in Unix seconds.

        prekeys: how many each member gets; profiles: None for the packaged ones.
        Raises FormatError for the name, UsageError for a party that is named twice, LimitExceeded for too many parties
        or prekeys.
        """
        if len(set(parties)) != len(parties):
            raise UsageError("a party is named twice")
        if len(parties) > PARTIES_LIMIT:
            raise LimitExceeded(f"a federation has at most {PARTIES_LIMIT} parties, not {len(parties)}", hint=_FEWER)
        made = profiles or Profiles.parse(default_profiles()).for_development()
        authority, _ = Ed25519Signer.generate()
        root = parse_root(make_root(authority, name, made, now - CLOCK_SKEW), name)
        crl = _revoke(authority, root, 1, [], made, now)
        kems = supported_kems()
        found = [_enrol(authority, root, party, kems, made, now) for party in parties]
        roster = Roster.make(authority, root, 1, now, crl.number, [one.entry for one in found])
        entries = {entry.party: entry for entry in roster.entries}  # as everybody reads them
        participants = {
            one.party: replace(one, entry=entries[one.party], prekeys=_prekeys(one.party, prekeys)) for one in found
        }
        return cls(Trust(root, roster, crl), participants, made, authority)

    def __getitem__(self, party: Party) -> Participant:
        """The party with its secrets.  Raises UnknownSender."""
        found = self.participants.get(party)
        if found is None:
            raise UnknownSender(f"{party} is not in this federation", hint="name it when the federation is made")
        return found

    def bundle(self, party: Party, now: int, first: int | None = None) -> Prekeys:
        """The signed bundle of a member's prekeys that are left, from index `first` on.

        Raises UsageError for a party without prekeys, FormatError for more than fit a bundle, or none.
        """
        holder = self[party]
        if holder.prekeys is None:
            raise UsageError(f"{party} has no prekeys")
        start = holder.prekeys.next_index() if first is None else first
        leaves = [Prekey.from_bytes(leaf) for leaf in holder.prekeys.public_leaves(start)]
        validity = now - CLOCK_SKEW, now + self.profiles.prekeys_days * DAY
        return Prekeys.make(holder.signer, self.trust.root.federation, party, start, leaves, *validity)

    def withdraw(self, parties: Sequence[Party], now: int, reason: Reason = Reason.KEY_COMPROMISE) -> "Federation":
        """The federation with a newer revocation list, which names `parties` too.  Raises UnknownSender."""
        named = [Revoked(self[party].entry.leaf.serial, now, reason) for party in parties]
        before, root = self.trust.crl, self.trust.root
        crl = _revoke(self.authority, root, before.number + 1, [*before.entries, *named], self.profiles, now)
        return replace(self, trust=replace(self.trust, crl=crl))


def _enrol(
    authority: Ed25519Signer, root: Root, party: Party, kems: Sequence[Kem], profiles: Profiles, now: int
) -> Participant:
    """Keys, certificate and key statement of one party."""
    signer, _ = Ed25519Signer.generate()
    secrets = [RecipientSecret.generate(kem) for kem in kems]
    public = [secret.recipient_key for secret in secrets]
    start, end = now - CLOCK_SKEW, now + profiles.key_statement_days * DAY
    statement = KeyStatement.make(signer, root.federation, party, public, start, end)
    der = issue(authority, root, party, signer.public, profiles, start)
    entry = RosterEntry(party, parse_leaf(der, root, Purpose.SIGNING, party), statement)
    named = {key.key_id: secret for key, secret in zip(public, secrets, strict=True)}
    return Participant(party, signer, named, entry)


def _prekeys(party: Party, count: int) -> MemoryPrekeys | None:
    return MemoryPrekeys(count) if count and party.role is Role.MEMBER else None


def _revoke(
    authority: Ed25519Signer, root: Root, number: int, revoked: Sequence[Revoked], profiles: Profiles, now: int
) -> RevocationList:
    start = max(now - CLOCK_SKEW, root.not_before)
    der = revocation_list(authority, root, number, revoked, start, now + profiles.crl_days * DAY)
    return RevocationList.parse(der, root)
