"""The replay register of a party at work: slots are filled in one transaction with what their packages led to."""

from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.protocol.receiving import Known, Slot
from fedspallm_secure.storage.register import Received, SqliteRegister


class LateRegister:
    """The replay register, in which a slot is filled together with everything else that follows from a package."""

    def __init__(self, register: SqliteRegister) -> None:
        self.pending: list[tuple[Head, int]] = []
        self._register = register

    def find(self, slot: Slot) -> Known | None:
        """What fills the slot; None if it is free."""
        return self._register.find(slot)

    def received(self, slot: Slot) -> Received | None:
        """The same with both signed parts."""
        return self._register.received(slot)

    def fill(self, head: Head, output: str, at: int) -> None:
        """Fill the slot later."""
        self.pending.append((head, at))

    def publish(self, head: Head) -> None:
        """It is marked when it is filled."""

    def next_sequence(self) -> int:
        """Use up and return the next sequence number, at once: it never comes again."""
        return self._register.next_sequence()

    def flush(self) -> None:
        """Fill and mark all slots; inside of a transaction of the journal."""
        for head, at in self.pending:
            self._register.fill(head, "", at)
            self._register.publish(head)
