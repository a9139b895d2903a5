"""Who was who at each moment of a log: rosters, certificates and revocation lists, as its entries bring them."""

from fedspallm_secure.crypto.certificates import Leaf, Purpose, Root, check_leaf
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.revocation import RevocationList
from fedspallm_secure.errors import CertificateExpired, RevocationListStale, RolledBack, UnknownSender
from fedspallm_secure.protocol.roster import Roster


class KnownParties:
    """What the log has said so far.  roster, crl: the newest ones; unnoted: keys that still lack their entry."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.roster: Roster | None = None
        self.crl: RevocationList | None = None
        self.unnoted: set[str] = set()
        self._leaves: dict[str, Leaf] = {}  # of all rosters, by key identifier
        self._checked: dict[tuple[str, int], Leaf] = {}  # under a list of this number

    def take_roster(self, roster: Roster) -> None:
        """A newer roster.  Raises RolledBack, RevocationListStale."""
        if self.roster is not None and roster.version <= self.roster.version:
            raise RolledBack(f"version {roster.version} of the roster follows version {self.roster.version}")
        if self.crl is None:
            raise RevocationListStale("the log has a roster before any revocation list")
        roster.check_crl(self.crl)
        self.roster = roster
        fresh = {entry.leaf.key_id: entry.leaf for entry in roster.entries if entry.leaf.key_id not in self._leaves}
        self._leaves.update(fresh)
        self.unnoted.update(fresh)

    def take_list(self, crl: RevocationList) -> None:
        """A newer revocation list.  Raises RevocationListStale."""
        if self.crl is not None and crl.number <= self.crl.number:
            raise RevocationListStale(f"revocation list {crl.number} follows number {self.crl.number}")
        self.crl = crl

    def leaf(self, key: str, party: Party) -> Leaf:
        """The certificate with this key identifier.  Raises UnknownSender unless a roster had it for `party`."""
        found = self._leaves.get(key)
        if found is None or found.party != party:
            raise UnknownSender(f"no roster so far has the key {key[:16]}… for {party}")
        return found

    def public(self, party: Party, at: int, key: str | None = None) -> bytes:
        """The signing key of `party`, valid and not withdrawn at `at` as far as the log knew.

        key: identifier of the key that was used; None for that of the newest roster.
        Raises TrustError.
        """
        if self.roster is None or self.crl is None:
            raise UnknownSender("the log has no roster yet")
        leaf = self.roster.entry(party).leaf if key is None else self.leaf(key, party)
        if (leaf.key_id, self.crl.number) not in self._checked:
            self._checked[leaf.key_id, self.crl.number] = check_leaf(
                leaf.der, self.root, party, Purpose.SIGNING, at, self.crl
            )
        if not leaf.not_before <= at <= leaf.not_after:
            raise CertificateExpired(f"the certificate of {party} was not valid then")
        return leaf.public
