"""What a member writes down before anybody can see that it happened (SPEC sections 16.3 and 16.5).

The state of a `Member` is a function of these records in their order.  Those whose class says `secret` hold what opens
the member's own vector or what others entrusted to it: they have to be encrypted, and deleted when the round is over.
"""

from dataclasses import dataclass, field
from typing import Any, cast, get_args

from fedspallm_secure.crypto.key_records import PrekeySecret
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.protocol.rounds.records import Record, read_record
from fedspallm_secure.secagg.commitments import Row

_EXCHANGE_SIZE = Kem.X25519.secret_size


@dataclass(frozen=True, slots=True)
class PlanAccepted(Record):
    """A plan passed P1 to P15.

    plan: canonical JSON; plan_hash: hex; index: of the own prekey; prekeys: the leaves, 1248 bytes each, of all
    neighbours and of the member itself, in order of their ids; cipher_key: as its package holds it, or empty.
    """

    kind = "plan-accepted"
    plan: bytes
    plan_hash: str
    index: int
    prekeys: tuple[bytes, ...]
    cipher_key: bytes = b""


@dataclass(frozen=True, slots=True)
class VectorFrozen(Record):
    """The vector for a group is final.  digest: hex, from the unmasked streams (SPEC section 16.3)."""

    kind = "vector-frozen"
    gid: int
    digest: str


@dataclass(frozen=True, slots=True)
class PrekeyHeld(Record):
    """The secret of the own prekey, which is in no key file any more.  raw: X25519 (32 bytes), then the hybrid one."""

    kind = "prekey-held"
    secret = True
    index: int
    raw: bytes = field(repr=False)

    @classmethod
    def of(cls, prekey: PrekeySecret) -> "PrekeyHeld":
        """The record of a prekey."""
        return cls(prekey.index, prekey.exchange + prekey.recipient.secret)

    @property
    def prekey(self) -> PrekeySecret:
        """The prekey.  Raises FormatError."""
        secret = RecipientSecret(Kem.HYBRID, self.raw[_EXCHANGE_SIZE:])
        return PrekeySecret(self.index, self.raw[:_EXCHANGE_SIZE], secret)


@dataclass(frozen=True, slots=True)
class Dealt(Record):
    """The contribution to a group was made.  deal: bytes; blind_seed, shares: the row that the member dealt itself."""

    kind = "dealt"
    secret = True
    gid: int
    deal: bytes
    signature: bytes
    blind_seed: bytes = field(repr=False)
    shares: tuple[bytes, ...] = field(repr=False)

    def row(self, member: str) -> Row:
        """What `member`, who dealt it, holds of its own secrets.  Raises FormatError."""
        return Row(member, member, self.blind_seed, self.shares)


@dataclass(frozen=True, slots=True)
class Sealed(Record):
    """The contribution to a group was sealed.  package: its digest, hex."""

    kind = "sealed"
    gid: int
    package: str


@dataclass(frozen=True, slots=True)
class ReceiptHeld(Record):
    """The server has the contribution to a group.  statement: the file of its receipt, which was verified."""

    kind = "receipt-held"
    gid: int
    statement: bytes


@dataclass(frozen=True, slots=True)
class ListHeld(Record):
    """The survivor list of a round in which members endorse nothing.  statement: its file."""

    kind = "list-held"
    statement: bytes


@dataclass(frozen=True, slots=True)
class Endorsed(Record):
    """The survivor list that the member endorsed.  statement: its file; signature: 64 bytes."""

    kind = "endorsed"
    statement: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Answered(Record):
    """The one answer of a round.

    survivors: digest of the list, hex; gids: of the groups in it; body: of the package, with the shares in it.
    """

    kind = "answered"
    secret = True
    survivors: str
    gids: tuple[int, ...]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Aborted(Record):
    """The server ended a group, or the round.  group: decimal, or `*`; code: why."""

    kind = "aborted"
    group: str
    code: str


@dataclass(frozen=True, slots=True)
class Closed(Record):
    """The round has a result.  result: its statement digest, hex."""

    kind = "closed"
    result: str


MemberRecord = (
    PlanAccepted
    | VectorFrozen
    | PrekeyHeld
    | Dealt
    | Sealed
    | ReceiptHeld
    | ListHeld
    | Endorsed
    | Answered
    | Aborted
    | Closed
)


def read_member_record(value: Any) -> MemberRecord:
    """The record that `to_dict` gave as `value`, whichever it is.  Raises FormatError."""
    return cast(MemberRecord, read_record(value, get_args(MemberRecord)))
