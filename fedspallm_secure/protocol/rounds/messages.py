"""How the machines of a round speak: verified packages in, records to keep and bodies to send out.

A machine does no I/O.  Whoever runs it opens packages by SPEC section 9, gives what came out to the machine, writes
the records of a `Step` durably, and only then seals and sends its messages.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.protocol.packages import NONE, Head

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Incoming:
    """What a package held that passed SPEC section 9.  body: the plaintext, without the streams of a contribution."""

    head: Head
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A body to be sealed.  type: of the package; group: decimal, or `*`."""

    type: str
    recipient: Party
    body: bytes = field(repr=False)
    group: str = NONE


@dataclass(frozen=True, slots=True)
class Step(Generic[R]):
    """What follows from a message: records, to be durable before any of the messages leaves.

    The records of one step are written together, all or none: between two of them a verdict could be lost.
    """

    records: tuple[R, ...] = ()
    messages: tuple[Outgoing, ...] = ()
