"""What carrying needs of a party: who it is, what it trusts, its signing key, its inbox and outbox, and its record."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.protocol.bundles import BundleFile
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.storage.bundle_register import BundleRegister
from fedspallm_secure.transport.depot import Arrival

OLD_COPY: Final = "your home was put back from a backup, or two copies of it are in use: withdraw and enrol again"


class Outgoing(Protocol):
    """A package of an outbox.  recipient: ROLE/ID; departed: whether it is known to have arrived."""

    @property
    def digest(self) -> str:
        """The package digest, 64 hex digits."""

    @property
    def recipient(self) -> str:
        """Whom it is for."""

    @property
    def size(self) -> int:
        """Bytes of the file."""

    @property
    def type(self) -> str:
        """Type of the package."""

    @property
    def round(self) -> int:
        """Round, 0 for none."""

    @property
    def group(self) -> str:
        """Group, `*` for none."""

    @property
    def departed(self) -> bool:
        """Whether it was handed over."""


class PostDepot(Protocol):
    """Inbox and outbox, as a courier uses them: the same methods as `transport.depot.Depot`, and one more."""

    def arrival(self, peer: Party, digest: str, size: int) -> Arrival | None:
        """`Depot.arrival`."""

    def departure(self, peer: Party, digest: str) -> Path | None:
        """`Depot.departure`."""

    def again(self, peer: Party) -> Sequence[str]:
        """`Depot.again`."""

    def departed(self, peer: Party, digest: str) -> None:
        """`Depot.departed`: here, that the recipient says in a bundle that the package has arrived."""

    def outgoing(self) -> Sequence[Outgoing]:
        """What may leave, to whomever, in order."""


class Post(Protocol):
    """One party, as its courier sees it."""

    @property
    def party(self) -> Party:
        """Who it is."""

    @property
    def trust(self) -> Trust:
        """Root, roster and revocation list."""

    @property
    def signer(self) -> Signer:
        """Its signing key."""

    @property
    def depot(self) -> PostDepot:
        """Its inbox and outbox."""

    @property
    def bundles(self) -> BundleRegister:
        """What it knows of bundles."""

    def now(self) -> int:
        """Its clock, Unix seconds."""


def listed(package: Outgoing) -> BundleFile:
    """A package of an outbox as an index lists it."""
    return BundleFile(package.digest, package.size, package.type, package.round, package.group)
