"""What carries packages from one party to another within this process."""

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from fedspallm_secure.crypto.identity import Party


@dataclass(frozen=True, slots=True)
class Parcel:
    """A package on its way.

    type: as its header says, for whoever counts bytes; digest: of the package, hex, empty where nobody has asked yet.
    """

    sender: Party
    recipient: Party
    type: str
    package: bytes = field(repr=False)
    digest: str = ""


@dataclass(slots=True)
class Wire:
    """Delivers in the order of sending, and counts.  sent: (sender, type) -> packages and bytes."""

    sent: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    _waiting: dict[Party, deque[Parcel]] = field(default_factory=lambda: defaultdict(deque))

    def send(self, parcel: Parcel) -> None:
        """Take a package."""
        key = (str(parcel.sender), parcel.type)
        packages, size = self.sent.get(key, (0, 0))
        self.sent[key] = packages + 1, size + len(parcel.package)
        self._waiting[parcel.recipient].append(parcel)

    def take(self, recipient: Party) -> Iterator[Parcel]:
        """Hand over what is there for `recipient`, one by one."""
        waiting = self._waiting[recipient]
        while waiting:
            yield waiting.popleft()
