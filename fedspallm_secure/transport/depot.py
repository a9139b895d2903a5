"""What a transport moves packages for: an inbox that fills, and an outbox that empties.

Whoever runs a transport implements this.  Methods may be called from an event loop: they answer within milliseconds,
but for `Arrival.write` and `Arrival.finish`, which touch the disk and belong into a thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fedspallm_secure.crypto.identity import Party


@dataclass(frozen=True, slots=True)
class Listed:
    """A package that waits in an outbox.

    number: grows with every package of an outbox and never comes again; digest: of the package, 64 hex digits; size:
    bytes of the file; type, round, group: as its header says.
    """

    number: int
    digest: str
    size: int
    type: str
    round: int
    group: str


class Arrival(Protocol):
    """A package on its way in.  One at a time for a digest; what has arrived survives a crash.

    size: bytes of the whole file; offset: bytes that are there.
    """

    size: int
    offset: int

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append.  Once the head is there it is checked: sender, recipient, signature, length.

        Raises TrustError or PackageRefused for a head that is refused, after which nothing of it is kept;
        LimitExceeded for more than `size` bytes; DiskFull or StorageError.
        """

    def finish(self) -> None:
        """Make the whole file durable and put it into the inbox.

        Raises StorageError, or PackageFormatError if it is short.
        """

    def close(self) -> None:
        """Keep what has arrived for later.  Harmless after `finish` and after a refusal."""


class Depot(Protocol):
    """The spool of one party, as a transport sees it.  peer: whom the transport has authenticated."""

    def arrival(self, peer: Party, digest: str, size: int) -> Arrival | None:
        """Begin or continue taking in a package of `peer`; None if the whole of it is here already.

        Raises LimitExceeded for a size beyond every limit or quota, RunLocked while the same package is arriving,
        DiskFull, StorageError; PackageRefused for a digest that was refused before.
        """

    def listing(self, peer: Party, after: int, most: int) -> Sequence[Listed]:
        """What waits for `peer`, of numbers above `after`, in order; at most `most`."""

    def departure(self, peer: Party, digest: str) -> Path | None:
        """The file of a package that waits for `peer`; None if there is none."""

    def again(self, peer: Party) -> Sequence[str]:
        """Digests of packages that `peer` has delivered and that turned out damaged: it sends them once more."""

    def why_awaited(self, peer: Party) -> str:
        """Why the server waits for `peer`, for people; empty if it does not."""

    def departed(self, peer: Party, digest: str) -> None:
        """The whole file was handed to `peer`."""
