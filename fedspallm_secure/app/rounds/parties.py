"""What all parties of a round within one process have in common, and the witness.

A party does what a home on disk does: records first, then messages.  Everything here that is kept lives in memory.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from fedspallm_secure.app.postbox import Postbox
from fedspallm_secure.app.rounds.wire import Parcel, Wire
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import FedSpaError, PackageRefused, TrustError
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.receiving import Awaited
from fedspallm_secure.protocol.rounds.messages import Incoming, Outgoing, Step
from fedspallm_secure.protocol.rounds.witness import Witness
from fedspallm_secure.storage.memory import read_package

VALID: Final = 28 * 86_400  # seconds for which a package of a round may be opened
Clock = Callable[[], int]


class Correspondent:
    """A party with a postbox at a wire, and a clock.

    refused: what did not count, with the reason; unsent: whom nothing could be sealed to, with the reason.
    """

    def __init__(self, postbox: Postbox, wire: Wire, clock: Clock) -> None:
        self.party = postbox.party
        self.postbox = postbox
        self.trust = postbox.trust
        self.wire = wire
        self.clock = clock
        self.records: list[Any] = []
        self.refused: list[tuple[Parcel, FedSpaError]] = []
        self.unsent: list[tuple[Party, FedSpaError]] = []

    def collect(self) -> None:
        """Receive everything that waits on the wire."""
        for parcel in self.wire.take(self.party):
            self.receive(parcel)

    def receive(self, parcel: Parcel) -> None:
        """Open a package and act on it; what is refused is kept with the reason, and changes nothing."""
        try:
            self.act(parcel)
        except FedSpaError as error:
            self.refused.append((parcel, error))

    def act(self, parcel: Parcel) -> None:
        """Open a package and act on it.  Raises what it is refused with."""
        raise NotImplementedError

    def open(self, parcel: Parcel, types: frozenset[str]) -> Incoming:
        """SPEC section 9."""
        opened = self.postbox.open(parcel.package, Awaited(types=types), self.clock())
        return Incoming(opened.head, bytes(opened.body))

    def keep(self, step: Step[Any], number: int, plan_hash: str) -> None:
        """Write down the records of a step, and only then seal and send its messages.

        One recipient whose certificate was withdrawn, or whose keys have ended, keeps nothing from the others.
        """
        self.note(step.records, number)
        for message in step.messages:
            try:
                self.send(message.type, message.recipient, self.parts(message), number, plan_hash, message.group)
            except (TrustError, PackageRefused) as error:
                self.unsent.append((message.recipient, error))

    def parts(self, message: Outgoing) -> Sequence[Any]:
        """The body of a message, in parts; for those whose machine does not hold all of it, what it lacks too."""
        return [message.body]

    def note(self, records: Iterable[Any], number: int) -> None:
        """Write down records of round `number`."""
        self.records += records

    def send(
        self, type: str, to: Party, parts: Sequence[Any], number: int, plan_hash: str, group: str = NONE
    ) -> Parcel:
        """Seal one body, given in parts, and send it."""
        now = self.clock()
        package = self.postbox.seal(type, to, number, plan_hash, group, parts, now, now + VALID)
        parcel = Parcel(self.party, to, type, package, read_package(package).head.digest.hex())
        self.wire.send(parcel)
        return parcel


class WitnessParty(Correspondent):
    """A witness: it signs the first opening and the first survivor list of every round that it is shown."""

    _AWAITED: Final = frozenset({"opening", "survivors"})

    def __init__(self, signer: Signer, postbox: Postbox, server: Party, wire: Wire, clock: Clock) -> None:
        super().__init__(postbox, wire, clock)
        self.machine = Witness(self.party, signer, self.trust, server)

    def act(self, parcel: Parcel) -> None:
        """Sign what came, if it is the first of its kind in its round."""
        incoming = self.open(parcel, self._AWAITED)
        context = incoming.head.context
        sign = self.machine.on_opening if context.type == "opening" else self.machine.on_survivors
        self.keep(sign(incoming), context.round, context.plan_hash)
