"""Bundles: what one party hands to a courier for another one, listed in an index that it signs (SPEC section 20).

Packages in a bundle are the same as on a network, with all their protection.  The index adds what a network gives for
nothing: what should be there, what came before, and what has arrived in the other direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedspallm_secure.crypto.certificates import Purpose, check_leaf
from fedspallm_secure.crypto.encoding import (
    INTEGER_BOUND,
    canonical_json,
    decode_hex,
    encode_base64,
    fields,
)
from fedspallm_secure.crypto.identity import Party, check_federation
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import BundleRefused, ForeignBundle, FormatError, UnknownSender
from fedspallm_secure.protocol.limits import BUNDLE_FILES_LIMIT, CLOCK_SKEW
from fedspallm_secure.protocol.package_types import LARGEST_PLAINTEXT
from fedspallm_secure.protocol.packages import NONE, Head
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.protocol.statements import (
    Statement,
    StatementType,
    make_statement,
    party_fields,
    read_party,
    read_time,
)

PART_SIZE = 3 << 30  # bytes; FAT32 holds files of less than 4 GiB
PURPOSE = "encrypted messages of a federation that prunes a language model"
_SIZE_LIMIT = 2 * LARGEST_PLAINTEXT  # bytes; the exact limit is that of whoever takes the package in
_PURPOSE_LIMIT = 200  # characters
_NAME_LIMIT = 64  # characters of a type or group
_WHAT = "the bundle"
_STRANGE = (
    "it may be of another authority, whose federation has the same name: then pass the medium on; or the sender has "
    "new keys: then import the newest roster"
)
_SCHEMA: dict[str, type] = {
    "federation": str,
    "role": str,
    "id": str,
    "recipient": str,
    "number": int,
    "previous": str,
    "created": int,
    "purpose": str,
    "files": list,
    "received": list,
    "again": list,
    "seen": int,
}
_FILE_SCHEMA: dict[str, type] = {"digest": str, "size": int, "type": str, "round": int, "group": str}


@dataclass(frozen=True, slots=True)
class BundleFile:
    """A package as an index lists it: what its own header says, too.  digest: hex; size: bytes; round: 0 for none.

    Raises FormatError.
    """

    digest: str
    size: int
    type: str
    round: int
    group: str

    def __post_init__(self) -> None:
        decode_hex(self.digest, 32, f"{_WHAT}: digest")
        if not 1 <= self.size <= _SIZE_LIMIT:
            raise FormatError(f"{_WHAT}: no package has {self.size} bytes")
        if not 0 <= self.round < INTEGER_BOUND or max(len(self.type), len(self.group)) > _NAME_LIMIT:
            raise FormatError(f"{_WHAT}: type, round or group of a package is out of range")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "digest": self.digest,
            "size": self.size,
            "type": self.type,
            "round": self.round,
            "group": self.group,
        }

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """Names and sizes of the files on a medium; they follow from digest and size, and are nowhere written down."""
        whole = f"{self.digest}.fspkg"
        if self.size <= PART_SIZE:
            return ((whole, self.size),)
        starts = range(0, self.size, PART_SIZE)
        return tuple((f"{whole}.{number:03d}", min(PART_SIZE, self.size - at)) for number, at in enumerate(starts, 1))

    def check_head(self, head: Head, bundle: "Bundle") -> None:
        """Raise BundleRefused unless this is the head of the package that is listed, from sender to recipient."""
        context = head.context
        found = (head.digest.hex(), head.size, context.type, context.round, context.group)
        listed = (self.digest, self.size, self.type, self.round, self.group)
        parties = (context.federation, context.sender, context.recipient)
        if found != listed or parties != (bundle.federation, bundle.sender, bundle.recipient):
            raise BundleRefused(f"the file of package {self.digest[:16]} is another one than the index lists")


@dataclass(frozen=True, slots=True)
class Contents:
    """What an index says beside who, to whom and when.

    received: digests of the recipient's packages that have arrived and, as far as is known, it has not been told so;
    again: those that turned out damaged; seen: number of its newest bundle, 0 for none.
    Raises FormatError.
    """

    files: tuple[BundleFile, ...] = ()
    received: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    seen: int = 0
    purpose: str = PURPOSE

    def __post_init__(self) -> None:
        for digest in (*self.received, *self.again):
            if not isinstance(digest, str):
                raise FormatError(f"{_WHAT}: a digest is not a string")
            decode_hex(digest, 32, f"{_WHAT}: digest")
        for listed in ([file.digest for file in self.files], self.received, self.again):
            if len(listed) > BUNDLE_FILES_LIMIT:
                raise FormatError(f"{_WHAT} lists {len(listed)} packages; at most {BUNDLE_FILES_LIMIT} are read")
            if len(set(listed)) != len(listed):
                raise FormatError(f"{_WHAT} lists a package twice")
        if self.seen < 0 or len(self.purpose) > _PURPOSE_LIMIT:
            raise FormatError(f"{_WHAT}: seen or purpose is out of range")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "files": [file.to_dict() for file in self.files],
            "received": list(self.received),
            "again": list(self.again),
            "seen": self.seen,
            "purpose": self.purpose,
        }


@dataclass(frozen=True, slots=True)
class Bundle:
    """An index.  Everything in it is a claim until `check_bundle` has passed.

    number: from 1, counts the bundles of this sender for this recipient; previous: digest of the one before, or `*`;
    created: Unix seconds.  Raises FormatError.
    """

    statement: Statement
    federation: str
    sender: Party
    recipient: Party
    number: int
    previous: str
    created: int
    contents: Contents

    def __post_init__(self) -> None:
        check_federation(self.federation)
        if not 1 <= self.number < INTEGER_BOUND:
            raise FormatError(f"{_WHAT}: numbers count from 1")
        if self.sender == self.recipient:
            raise FormatError(f"{_WHAT} is from {self.sender} for itself")
        if (self.previous == NONE) != (self.number == 1):
            raise FormatError(f"{_WHAT}: the first one, and no other, has none before it")
        if self.previous != NONE:
            decode_hex(self.previous, 32, f"{_WHAT}: previous")

    @classmethod
    def make(
        cls,
        signer: Signer,
        federation: str,
        sender: Party,
        recipient: Party,
        number: int,
        previous: str,
        created: int,
        contents: Contents,
    ) -> "Bundle":
        """Make an index, signed by the sender's signing key.  Raises FormatError or LimitExceeded."""
        value = {
            **party_fields(federation, sender),
            "recipient": str(recipient),
            "number": number,
            "previous": previous,
            "created": created,
            **contents.to_dict(),
        }
        return cls._of(make_statement(StatementType.BUNDLE, value, [signer]))

    @classmethod
    def parse(cls, data: bytes) -> "Bundle":
        """Read an index; its signature is not checked yet.  Raises FormatError or LimitExceeded."""
        return cls._of(Statement.parse(data, StatementType.BUNDLE))

    @classmethod
    def _of(cls, statement: Statement) -> "Bundle":
        value = fields(statement.value, _SCHEMA, _WHAT)
        federation, sender = read_party(value)
        files = tuple(BundleFile(**fields(file, _FILE_SCHEMA, f"a file of {_WHAT}")) for file in value["files"])
        lists = (tuple(value["received"]), tuple(value["again"]))
        contents = Contents(files, *lists, value["seen"], value["purpose"])
        recipient, created = Party.parse(value["recipient"]), read_time(value, "created", _WHAT)
        return cls(statement, federation, sender, recipient, value["number"], value["previous"], created, contents)

    def encode(self) -> bytes:
        """The statement file."""
        return self.statement.encode()

    @property
    def digest(self) -> str:
        """The statement digest, 64 hex digits."""
        return self.statement.digest.hex()

    @property
    def name(self) -> str:
        """The usual name of its file.  Nobody relies on it: the statement says whose it is."""
        sender, recipient = (f"{party.role_name}-{party.id}" for party in (self.sender, self.recipient))
        return f"bundle-{sender}-to-{recipient}-{self.number:04d}-{self.digest[:16]}.fsdoc"

    def __str__(self) -> str:
        return f"bundle {self.number} of {self.sender} for {self.recipient}"


def check_bundle(bundle: Bundle, trust: Trust, party: Party, at: int) -> str:
    """Whether `party` may take in a bundle (SPEC section 20.3); returns the key identifier of its sender.

    at: the time in question, Unix seconds.  Raises ForeignBundle, UnknownSender, BadSignature, BundleRefused,
    RevocationListStale, or what `check_leaf` raises.
    """
    if bundle.federation != trust.roster.federation:
        raise ForeignBundle(f"{bundle} belongs to {bundle.federation}, not to {trust.roster.federation}")
    if bundle.recipient != party:
        raise ForeignBundle(f"{bundle} is not for you: you are {party}")
    sender = trust.roster.entry(bundle.sender)
    known = {entry.leaf.key_id for entry in trust.roster.entries}
    if known.isdisjoint(signer for signer, _ in bundle.statement.signatures):
        raise UnknownSender(f"{bundle} is signed by a key that nobody has in your roster", hint=_STRANGE)
    bundle.statement.verify_by(sender.leaf.public)
    trust.roster.check_crl(trust.crl)
    check_leaf(sender.leaf.der, trust.root, bundle.sender, Purpose.SIGNING, at, trust.crl)
    if bundle.created > at + CLOCK_SKEW:
        raise BundleRefused(f"{bundle} was made {bundle.created - at} seconds from now", hint="check both clocks")
    return sender.leaf.key_id


def bundle_equivocation_proof(first: bytes, second: bytes) -> bytes:
    """What proves to anybody that a sender made two bundles under one number (SPEC section 20.3).

    first, second: the index files; the one that was received first stands first.  Returns canonical JSON.
    """
    files: Sequence[str] = [encode_base64(data) for data in (first, second)]
    return canonical_json({"format": "fedspallm-secure/1 bundle-equivocation", "bundles": files})
