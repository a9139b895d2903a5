"""Whether a package may be opened here and now: steps 5 to 9 of SPEC section 9, as functions of verified state.

Nothing here reads a file or a clock.  Steps 1 to 3 and 10 to 12 are in `storage`; step 4 is `Header.parse`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fedspallm_secure.crypto.certificates import Purpose, Root, check_leaf
from fedspallm_secure.crypto.fingerprints import fingerprint
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.revocation import RevocationList
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.crypto.signing import verify
from fedspallm_secure.errors import (
    CertificateExpired,
    Equivocation,
    NotAllowed,
    NotAwaited,
    PackageExpired,
    ReplayedPackage,
    UnknownSender,
    UnknownVersion,
    WrongFederation,
    WrongRecipient,
    WrongRoster,
)
from fedspallm_secure.protocol.limits import CLOCK_SKEW
from fedspallm_secure.protocol.package_types import PACKAGE_TYPES
from fedspallm_secure.protocol.packages import NONE, VERSION, Context, Head
from fedspallm_secure.protocol.roster import Roster, RosterEntry


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A recipient key that I hold.  not_before, not_after: validity of its key statement, Unix seconds."""

    kem: Kem
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True)
class Trust:
    """What somebody who checks packages relies on: the pinned root, the roster and the newest revocation list."""

    root: Root
    roster: Roster
    crl: RevocationList


@dataclass(frozen=True, slots=True)
class Reader:
    """Who checks.  keys: key identifier -> key; an observer, who can verify but not open, has neither name nor keys."""

    party: Party | None = None
    keys: Mapping[str, OwnKey] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Awaited:
    """What may arrive now (step 9).  None: not restricted; plaintext_length: bytes, exactly; most: bytes, at most."""

    types: frozenset[str] | None = None
    round: int | None = None
    plan_hash: str | None = None
    group: str | None = None
    plaintext_length: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """What a sender may fill once: the key of the replay register.

    sender_key: a party that lost its home enrols again with new keys, and counts from 1 again.
    """

    federation: str
    round: int
    type: str
    sender: str
    sender_key: str
    sequence: int

    @classmethod
    def of(cls, context: Context) -> "Slot":
        """The slot a package claims."""
        return cls(
            context.federation,
            context.round,
            context.type,
            str(context.sender),
            context.sender_key,
            context.sequence,
        )


@dataclass(frozen=True, slots=True)
class Known:
    """A package that fills a slot.  published: its plaintext has its name; if not, a run was killed in between."""

    digest: bytes
    published: bool


class Register(Protocol):
    """What was received before."""

    def find(self, slot: Slot) -> Known | None:
        """The package that fills the slot; None if it is free."""


def check_head(
    head: Head, reader: Reader, trust: Trust, register: Register | None, awaited: Awaited, at: int
) -> RosterEntry:
    """Steps 5 to 9 of SPEC section 9, in their order; returns the sender's entry in the roster.

    register: None to verify without taking in; at: the time in question, Unix seconds.
    Raises TrustError or PackageRefused, as the table there says.
    """
    sender = check_claims(head, reader, trust)  # 5
    check_validity(head.context, sender, reader, trust, at)  # 6
    verify(sender.leaf.public, Label.SIGN_PACKAGE, head.encoded, head.signature, "the package")  # 7
    if register is not None:
        check_first(head, register)  # 8
    check_awaited(head, awaited)  # 9
    return sender


def check_claims(head: Head, reader: Reader, trust: Trust) -> RosterEntry:
    """Step 5: version, type, federation, roster, recipient, sender, and the rules of the type."""
    context = head.context
    if context.version != VERSION or context.type not in PACKAGE_TYPES:  # a
        raise UnknownVersion(f"package version {context.version}, type {context.type[:64]!r} is not known here")
    if context.federation != trust.roster.federation:  # b
        raise WrongFederation(f"the package belongs to {context.federation}, not to {trust.roster.federation}")
    if context.roster != trust.roster.hash:  # c
        theirs, mine = (fingerprint(bytes.fromhex(roster)) for roster in (context.roster, trust.roster.hash))
        raise WrongRoster(f"the package was made under the roster with fingerprint {theirs}; yours has {mine}")
    check_recipient(context, reader, trust)  # d
    sender = trust.roster.entry(context.sender)  # e
    if context.sender_key != sender.leaf.key_id:
        raise UnknownSender(f"the package names a signing key that {context.sender} does not have in the roster")
    check_type(head)  # f
    return sender


def check_recipient(context: Context, reader: Reader, trust: Trust) -> None:
    """Step 5d.  An observer checks instead that the recipient and its key stand in the roster."""
    if reader.party is None:
        stated = (entry.key_statement.keys for entry in trust.roster.entries if entry.party == context.recipient)
        if not any(key.key_id == context.recipient_key and key.kem is context.kem for keys in stated for key in keys):
            raise WrongRecipient(f"the roster has no {context.recipient} with the key that the package is sealed to")
        return
    if context.recipient != reader.party:
        raise WrongRecipient(f"the package is for {context.recipient}, you are {reader.party}")
    own = reader.keys.get(context.recipient_key)
    if own is None or own.kem is not context.kem:
        raise WrongRecipient("the package is sealed to a key that you do not have")


def check_type(head: Head) -> None:
    """Step 5f: roles, round fields, body type and size are those of the type's row."""
    context, row = head.context, PACKAGE_TYPES[head.context.type]
    if context.sender.role not in row.senders or context.recipient.role not in row.recipients:
        raise NotAllowed(f"{context.sender} may not send {context.type!r} to {context.recipient}")
    if row.in_round != (context.round > 0) or row.in_round != (context.plan_hash != NONE):
        raise NotAllowed(f"type {context.type!r} with round {context.round} and plan {context.plan_hash[:16]!r}")
    if not row.in_round and context.group != NONE:
        raise NotAllowed(f"type {context.type!r} belongs to no group")
    if context.body_type is not row.body:
        raise NotAllowed(f"the body of type {context.type!r} is {row.body.value}, not {context.body_type.value}")
    if head.header.plaintext_length > row.plaintext_limit:
        raise NotAllowed(f"type {context.type!r} holds at most {row.plaintext_limit} bytes")


def check_validity(context: Context, sender: RosterEntry, reader: Reader, trust: Trust, at: int) -> None:
    """Step 6: the sender's certificate, the recipient's key and the package itself are valid at `at`."""
    trust.roster.check_crl(trust.crl)
    check_leaf(sender.leaf.der, trust.root, context.sender, Purpose.SIGNING, at, trust.crl)
    own = reader.keys.get(context.recipient_key)  # an observer has none, and no business with its validity
    if own is not None and not own.not_before <= at <= own.not_after:
        raise CertificateExpired("the statement about the key that the package is sealed to is not valid now")
    if context.created > at + CLOCK_SKEW:
        raise PackageExpired(f"the package was made {context.created - at} seconds from now")
    if context.not_after < at:
        raise PackageExpired(f"the package expired {at - context.not_after} seconds ago")


def check_first(head: Head, register: Register) -> None:
    """Step 8: the sender has not filled this slot before."""
    known = register.find(Slot.of(head.context))
    if known is None:
        return
    if known.digest == head.digest and known.published:
        raise ReplayedPackage(f"package {head.context.sequence} of {head.context.sender} was received before")
    if known.digest != head.digest:
        raise Equivocation(f"{head.context.sender} made two different packages number {head.context.sequence}")


def check_awaited(head: Head, awaited: Awaited) -> None:
    """Step 9: this is what the receiver waits for."""
    context = head.context
    if awaited.types is not None and context.type not in awaited.types:
        raise NotAwaited(f"type {context.type!r} is not awaited; {', '.join(sorted(awaited.types))} would be")
    if awaited.round is not None and context.round != awaited.round:
        raise NotAwaited(f"the package is of round {context.round}; round {awaited.round} is awaited")
    if awaited.plan_hash is not None and context.plan_hash != awaited.plan_hash:
        raise NotAwaited("the package answers another plan")
    if awaited.group is not None and context.group != awaited.group:
        raise NotAwaited(f"the package is for group {context.group}; group {awaited.group} is awaited")
    length = head.header.plaintext_length
    if awaited.plaintext_length is not None and length != awaited.plaintext_length:
        raise NotAwaited(f"the body holds {length} bytes; {awaited.plaintext_length} follow from the plan")
    if awaited.most is not None and length > awaited.most:
        raise NotAwaited(f"the body holds {length} bytes; the plan allows at most {awaited.most}")


def check_sealing(sender: Party, recipient: Party, trust: Trust, at: int) -> RosterEntry:
    """Whether a package may be made now (SPEC section 8): both parties stand in the roster and are valid at `at`.

    Returns the recipient's entry.  Raises UnknownSender, RevocationListStale, or what `check_leaf` raises.
    """
    trust.roster.check_crl(trust.crl)
    for party in (sender, recipient):
        check_leaf(trust.roster.entry(party).leaf.der, trust.root, party, Purpose.SIGNING, at, trust.crl)
    entry = trust.roster.entry(recipient)
    entry.key_statement.check_time(at)
    return entry
