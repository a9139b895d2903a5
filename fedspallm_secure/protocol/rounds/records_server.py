"""What a server writes down before anybody can see that it happened (SPEC section 16.5).

The state of a `Server` is a function of these records in their order, and any first part of them is a state that it
went through.  Masked vectors are kept elsewhere, under member and group; everything that opens them is here.
"""

from dataclasses import dataclass, field
from typing import Any, cast, get_args

from fedspallm_secure.protocol.rounds.records import Record, read_record
from fedspallm_secure.protocol.rounds.survivors import Ended


@dataclass(frozen=True, slots=True)
class Opened(Record):
    """A round began.  plan: canonical JSON."""

    kind = "opened"
    plan: bytes


@dataclass(frozen=True, slots=True)
class Received(Record):
    """A contribution that passed S1 to S7.  package: its digest, hex; deal: digest of its deal, hex."""

    kind = "received"
    gid: int
    member: str
    package: str
    deal: str
    handover: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refused(Record):
    """A message that does not count, as proof of what was sent.

    sender: ROLE/ID; type, group, package: of the package, its digest in hex; check: the number of what it failed, or
    empty; named: ids of members that this puts to blame.
    """

    kind = "refused"
    secret = True  # it may hold shares
    sender: str
    type: str
    group: str
    check: str
    named: tuple[str, ...]
    package: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Blamed(Record):
    """What came of a dispute in a group.  guilty: proved; suspects: one of them lied, and nobody can tell who."""

    kind = "blamed"
    gid: int
    check: str
    guilty: tuple[str, ...]
    suspects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListMade(Record):
    """The survivor list, made once.  statement: its file."""

    kind = "list-made"
    statement: bytes


@dataclass(frozen=True, slots=True)
class Endorsed(Record):
    """An endorsement that passed N1 and N2.  sender: ROLE/ID; signature: 64 bytes."""

    kind = "endorsed"
    sender: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Requested(Record):
    """Endorsing is over, and the unmask requests may leave."""

    kind = "requested"


@dataclass(frozen=True, slots=True)
class Answered(Record):
    """An answer that passed R1 to R3.  body: as it came."""

    kind = "answered"
    secret = True
    member: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Challenged(Record):
    """The key holder wants to see chunks of a sum that it was shown.  package: digest, hex; body: as it came."""

    kind = "challenged"
    gid: int
    package: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Decrypted(Record):
    """The key holder decrypted a sum, which is kept elsewhere.  package: digest, hex."""

    kind = "decrypted"
    gid: int
    package: str


@dataclass(frozen=True, slots=True)
class Unmasked(Record):
    """Unmasking is over: no answer is taken in any more."""

    kind = "unmasked"


@dataclass(frozen=True, slots=True)
class GroupEnded(Record):
    """A group ended without a sum."""

    kind = "group-ended"
    end: Ended


@dataclass(frozen=True, slots=True)
class OutOfRange(Record):
    """A group ended because its sums failed R6.  violations: how many weights did."""

    kind = "out-of-range"
    gid: int
    violations: int


@dataclass(frozen=True, slots=True)
class Finished(Record):
    """The round has a result.  statement: its file."""

    kind = "finished"
    statement: bytes


ServerRecord = (
    Opened
    | Received
    | Refused
    | Blamed
    | ListMade
    | Endorsed
    | Requested
    | Answered
    | Challenged
    | Decrypted
    | Unmasked
    | GroupEnded
    | OutOfRange
    | Finished
)


def read_server_record(value: Any) -> ServerRecord:
    """The record whose plain data `value` is.  Raises FormatError."""
    return cast(ServerRecord, read_record(value, get_args(ServerRecord)))
