"""What a server writes down before anybody can see that it happened (SPEC section 16.5).

The state of a `Server` is a function of these records in their order.  Masked vectors are kept elsewhere, under member
and group; everything that opens them is here, and nothing of it is secret before unmasking.
"""

from dataclasses import dataclass, field

from fedspallm_secure.protocol.rounds.survivors import Ended


@dataclass(frozen=True, slots=True)
class Opened:
    """A round began.  plan: canonical JSON."""

    plan: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """A contribution that passed S1 to S7.  package: its digest, hex; deal: digest of its deal, hex."""

    gid: int
    member: str
    package: str
    deal: str
    handover: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """A contribution or answer that does not count.  check: the number of what it failed."""

    member: str
    check: str
    package: str


@dataclass(frozen=True, slots=True)
class Listed:
    """The survivor list, made once.  statement: its file."""

    statement: bytes


@dataclass(frozen=True, slots=True)
class Endorsed:
    """An endorsement that passed N1 and N2.  party: ROLE/ID."""

    party: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Requested:
    """Endorsing is over and the unmask requests may leave."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that passed R1 to R3.  body: as it came, with shares in it."""

    member: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unmasked:
    """Unmasking is over: no answer is taken in any more."""


@dataclass(frozen=True, slots=True)
class GroupEnded:
    """A group ended without a result."""

    end: Ended


@dataclass(frozen=True, slots=True)
class Finished:
    """The round is over.  statement: the result's file, empty if no group has one."""

    statement: bytes


ServerRecord = Opened | Received | Refused | Listed | Endorsed | Requested | Answered | Unmasked | GroupEnded | Finished
