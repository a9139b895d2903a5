"""Who was who at each moment of a log: rosters, certificates and revocation lists, as its entries bring them."""

from fedspallm_secure.crypto.certificates import Leaf, Root, check_leaf_time
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.revocation import RevocationList
from fedspallm_secure.errors import CertificateRevoked, RevocationListStale, RolledBack, UnknownSender
from fedspallm_secure.protocol.roster import Roster


class KnownParties:
    """What the log has said so far.

    roster, crl: the newest ones; unnoted: keys that still lack their entry -> index of the roster that brought them.
    Form, name and issuer of a certificate were checked when its roster was read; time and revocation are judged here.
    """

    def __init__(self, root: Root) -> None:
        self.root = root
        self.roster: Roster | None = None
        self.crl: RevocationList | None = None
        self.unnoted: dict[str, int] = {}
        self._leaves: dict[str, Leaf] = {}  # of all rosters, by key identifier
        self._revoked: set[int] = set()  # serial numbers in the newest list, which may be long

    def take_roster(self, roster: Roster, index: int) -> None:
        """A newer roster, of the entry `index`.  Raises RolledBack, RevocationListStale."""
        if self.roster is not None and roster.version <= self.roster.version:
            raise RolledBack(f"version {roster.version} of the roster follows version {self.roster.version}")
        if self.crl is None:
            raise RevocationListStale("the log has a roster before any revocation list")
        roster.check_crl(self.crl)
        self.roster = roster
        fresh = {entry.leaf.key_id: entry.leaf for entry in roster.entries if entry.leaf.key_id not in self._leaves}
        self._leaves.update(fresh)
        self.unnoted.update(dict.fromkeys(fresh, index))

    def take_list(self, crl: RevocationList) -> None:
        """A newer revocation list.  Raises RevocationListStale."""
        if self.crl is not None and crl.number <= self.crl.number:
            raise RevocationListStale(f"revocation list {crl.number} follows number {self.crl.number}")
        self.crl, self._revoked = crl, {entry.serial for entry in crl.entries}

    def keys_of(self, party: Party) -> list[bytes]:
        """All signing keys that rosters have had for `party`, raw."""
        return [leaf.public for leaf in self._leaves.values() if leaf.party == party]

    def leaf(self, key: str, party: Party) -> Leaf:
        """The certificate with this key identifier.  Raises UnknownSender unless a roster had it for `party`."""
        found = self._leaves.get(key)
        if found is None or found.party != party:
            raise UnknownSender(f"no roster so far has the key {key[:16]}… for {party}")
        return found

    def public(self, party: Party, at: int, key: str | None = None, fresh: bool = True) -> bytes:
        """The signing key of `party`, valid and not withdrawn at `at` as far as the log knew.

        key: identifier of the key that was used, None for that of the newest roster; fresh: whether the newest list has
        to be in force at `at`, as it has to be where a package is taken in.  Raises TrustError.
        """
        if self.roster is None or self.crl is None:
            raise UnknownSender("the log has no roster yet")
        leaf = self.roster.entry(party).leaf if key is None else self.leaf(key, party)
        check_leaf_time(leaf, at)
        if leaf.serial in self._revoked:
            raise CertificateRevoked(f"the certificate of {party} was withdrawn")
        if fresh:
            self.crl.check_fresh(at)
        return leaf.public
