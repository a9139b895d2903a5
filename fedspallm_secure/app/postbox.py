"""One party's sealing and opening of packages in rounds, by the steps of SPEC section 9 that need no disk.

The checks, their order and their errors are those of `app.packages`; the clock is an argument.  Where a package lies,
in memory or in a file, is up to whoever hands over its reader or its sink.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from fedspallm_secure.app.federation import Participant
from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.sealing import Kem, choose, supported_kems
from fedspallm_secure.errors import Equivocation, NotAllowed, UnknownSender
from fedspallm_secure.protocol.package_types import PACKAGE_TYPES
from fedspallm_secure.protocol.packages import Context, Head, Header, equivocation_proof
from fedspallm_secure.protocol.receiving import (
    Awaited,
    Known,
    Reader,
    Slot,
    Trust,
    check_awaited,
    check_head,
    check_sealing,
    check_type,
)
from fedspallm_secure.storage.memory import Buffer, MemoryDraft, MemoryPlaintext, MemoryRegister, read_package
from fedspallm_secure.storage.package_reader import PackageReader
from fedspallm_secure.storage.package_writer import Plaintext, Sink, write_to
from fedspallm_secure.storage.register import Received

_PIECE = 1 << 20  # bytes that are wiped at once


@dataclass(frozen=True, slots=True)
class Opened:
    """A package that was taken in.  body: the whole plaintext; of large ones there is no other copy."""

    head: Head
    body: memoryview


class Register(Protocol):
    """What a party remembers of packages: a replay register and a counter."""

    def find(self, slot: Slot) -> Known | None:
        """What fills the slot; None if it is free."""

    def received(self, slot: Slot) -> Received | None:
        """The same with both signed parts."""

    def fill(self, head: Head, output: str, at: int) -> None:
        """Fill the slot of a verified package.  Raises ReplayedPackage or Equivocation."""

    def publish(self, head: Head) -> None:
        """Mark the slot: the package was taken in.  Raises ReplayedPackage."""

    def next_sequence(self) -> int:
        """Use up and return the next sequence number."""


class Postbox:
    """Where one party seals what it sends and opens what it gets.

    evidence: digest of the first of two packages under one number, in hex -> proof as in SPEC section 9; checkpoint:
    gives what stands in the header of whatever is sealed, the newest checkpoint that the party knows, empty for none.
    """

    def __init__(
        self, owner: Participant, trust: Trust, register: Register | None = None, reader: Reader | None = None
    ) -> None:
        """register: what the party remembers from before, None for nothing; reader: None for the owner's own."""
        self.party = owner.party
        self.trust = trust
        self.register: Register = MemoryRegister() if register is None else register
        self.evidence: dict[str, bytes] = {}
        self.checkpoint: Callable[[], bytes] = lambda: b""
        self._owner = owner
        self._reader = owner.reader if reader is None else reader

    def seal(
        self,
        type: str,
        recipient: Party,
        round: int,
        plan_hash: str,
        group: str,
        body: Buffer | Sequence[Buffer],
        now: int,
        not_after: int,
    ) -> bytes:
        """Seal `body` for `recipient`; the package.

        round, plan_hash, group: as in `Context`; body: one buffer, or several that are not joined before; now,
        not_after: Unix seconds.
        Raises NotAllowed for what the recipient would refuse in step 5f, UnknownSender when one of the two is not in
        the roster, FormatError for a value that no header can have, OutOfMemory, and what `check_sealing` raises.
        """
        plain = MemoryPlaintext(body) if isinstance(body, Buffer) else MemoryPlaintext(*body)
        file = MemoryDraft()
        self.seal_to(file, type, recipient, round, plan_hash, group, plain, now, not_after)
        return file.finish()

    def seal_to(
        self,
        sink: Sink,
        type: str,
        recipient: Party,
        round: int,
        plan_hash: str,
        group: str,
        plain: Plaintext,
        now: int,
        not_after: int,
    ) -> Head:
        """As `seal`, into a sink; the head of what was made.  Raises what writing to the sink raises, too."""
        row = PACKAGE_TYPES.get(type)
        if row is None:
            raise NotAllowed(f"there is no type {type[:64]!r} of packages")
        to = check_sealing(self.party, recipient, self.trust, now)
        key = choose(to.key_statement.keys, _kems())
        own = self.trust.roster.entry(self.party).leaf
        if self._owner.signer.public != own.public:
            raise UnknownSender(f"the roster has another signing key for {self.party}")
        context = Context(
            type=type,
            federation=self.trust.roster.federation,
            roster=self.trust.roster.hash,
            round=round,
            plan_hash=plan_hash,
            group=group,
            sender=self.party,
            sender_key=own.key_id,
            recipient=recipient,
            recipient_key=key.key_id,
            kem=key.kem,
            sequence=self.register.next_sequence(),
            created=now,
            not_after=not_after,
            body_type=row.body,
            checkpoint=self.checkpoint(),
        )
        check_type(_expected(context, plain.length))
        return write_to(sink, plain, context, key, self._owner.signer, lambda _: None)

    def open(self, package: Buffer, awaited: Awaited, now: int) -> Opened:
        """Open `package` and take it in: once, and nothing of it is handed out before everything about it was checked.

        Raises what the steps of SPEC section 9 raise.
        """
        return self.open_from(read_package(package), awaited, now)

    def open_from(self, reader: PackageReader, awaited: Awaited, now: int) -> Opened:
        """As `open`, of a package that lies wherever its reader says."""
        self.check(reader, awaited, now)
        return self._take_in(reader, memoryview(bytearray(reader.head.header.plaintext_length)), now)

    def open_through(
        self, reader: PackageReader, awaited: Awaited, now: int, write: Callable[[memoryview], None]
    ) -> Head:
        """As `open_from`, with the plaintext handed to `write`, piece by piece: none of it counts before this returns.

        The register is left alone: whoever keeps the plaintext calls `take_in` when it is durable.
        """
        self.check(reader, awaited, now)
        reader.decrypt(self._owner.secrets[reader.head.context.recipient_key], write, lambda _: None)
        return reader.head

    def take_in(self, head: Head, now: int) -> None:
        """Step 12 for a package that `open_through` has read.  Raises ReplayedPackage or Equivocation."""
        self.register.fill(head, "", now)
        self.register.publish(head)

    def open_into(self, buffer: bytearray | memoryview, package: Buffer, awaited: Awaited, now: int) -> Opened:
        """As `open`, with the plaintext in `buffer`, which it has to fill exactly.

        buffer: writable, contiguous, of any kind of number; untouched if the head is refused, zeros if the body is.
        Raises NotAwaited for a plaintext of another length too.
        """
        view = memoryview(buffer).cast("B")
        if view.readonly:
            raise TypeError("the plaintext is written to the buffer: it must not be read-only")
        reader = read_package(package)
        self.check(reader, awaited, now, view.nbytes)
        return self._take_in(reader, view, now)

    def check(self, reader: PackageReader, awaited: Awaited, now: int, room: int | None = None) -> None:
        """Steps 1 to 9, and the first part of 10: no room is made for what a header promises and nothing holds.

        room: bytes that the plaintext has to fill, None for any number.
        """
        try:
            check_head(reader.head, self._reader, self.trust, self.register, awaited, now)
        except Equivocation:
            self._keep_evidence(reader.head)
            raise
        check_awaited(reader.head, Awaited(plaintext_length=room))
        reader.check_length()

    def _take_in(self, reader: PackageReader, plain: memoryview, now: int) -> Opened:
        """Steps 10 to 12."""
        head, filled = reader.head, 0

        def write(piece: memoryview) -> None:
            nonlocal filled
            plain[filled : filled + len(piece)] = piece
            filled += len(piece)

        try:
            reader.decrypt(self._owner.secrets[head.context.recipient_key], write, lambda _: None)
            self.take_in(head, now)
        except BaseException as error:
            _wipe(plain)
            if isinstance(error, Equivocation):
                self._keep_evidence(head)
            raise
        return Opened(head, plain)

    def _keep_evidence(self, second: Head) -> None:
        first = self.register.received(Slot.of(second.context))
        if first is not None:
            proof = equivocation_proof((first.header, first.signature), (second.encoded, second.signature))
            self.evidence.setdefault(first.digest.hex(), proof)


def _expected(context: Context, length: int) -> Head:
    """What step 5f looks at, of a package with `length` bytes of plaintext."""
    return Head(b"", Header(context, bytes(context.kem.wrap_size), body_length(length), bytes(32)), b"")


def _wipe(plain: memoryview) -> None:
    for start in range(0, len(plain), _PIECE):
        piece = plain[start : start + _PIECE]
        piece[:] = bytes(len(piece))


@cache
def _kems() -> list[Kem]:
    """The kems of this process; to ask takes as long as making a key."""
    return supported_kems()
