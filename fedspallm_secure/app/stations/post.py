"""What one party has on disk, put together: keys, journal, spool, and the sealing and opening of packages.

    with post.at_once():                 # one message and everything that follows from it
        incoming = post.open(arrived, awaited)
        post.note(round, records)
        post.send("receipt", server, [body], ...)

Nothing of this is durable, and no package can leave, before the body of the `with` is done: then all of it becomes so
in one transaction of the journal.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from fedspallm_secure.app.federation import Participant
from fedspallm_secure.app.postbox import Opened, Postbox
from fedspallm_secure.app.stations.anchoring import Anchoring
from fedspallm_secure.app.stations.late_register import LateRegister
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.sealing import RecipientSecret
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import DiskFull
from fedspallm_secure.protocol.packages import NONE, Head
from fedspallm_secure.protocol.receiving import Awaited, Trust
from fedspallm_secure.storage.bundle_register import BundleRegister
from fedspallm_secure.storage.drafts import draft
from fedspallm_secure.storage.files import create_private, disk_errors, sync_folder
from fedspallm_secure.storage.home import Home
from fedspallm_secure.storage.journal import Departure, Journal, Recordable
from fedspallm_secure.storage.log_store import LogStore
from fedspallm_secure.storage.memory import Buffer, MemoryPlaintext
from fedspallm_secure.storage.package_reader import open_package
from fedspallm_secure.storage.package_writer import Plaintext
from fedspallm_secure.storage.prekeys import PrekeyFile
from fedspallm_secure.storage.spool import Arrived, Spool

VALID: Final = 90 * 86_400  # seconds for which a package of a round may be opened
_ARCHIVED: Final = {
    "contribution": "contributions",
    "endorsement": "endorsements",
    "unmask-response": "answers",
    "decrypt-challenge": "decryption",
    "decrypt-response": "decryption",
}
Clock = Callable[[], int]


class Keeper(Protocol):
    """Whoever keeps the log at this party: a server writes it, others follow it (SPEC section 22)."""

    def checkpoint(self) -> bytes:
        """The newest checkpoint, for the header of what is sealed; empty for none."""

    def heed(self, head: Head) -> None:
        """A package was opened: what its header says about the log.  Raises LogRefused, or RolledBack."""

    def testify(self, proof: bytes) -> None:
        """Somebody made two packages under one number; the proof."""


class Post:
    """One party at work.  `home` is read anew by `renew`, when a newer roster or list has come."""

    def __init__(
        self,
        home: Home,
        signer: Signer,
        secrets: dict[str, RecipientSecret],
        prekeys: PrekeyFile | None,
        journal: Journal,
        spool: Spool,
        bundles: BundleRegister,
        log: LogStore,
        clock: Clock,
        anchoring: Anchoring,
        tls_key: EllipticCurvePrivateKey | None = None,
        refill: Callable[[], None] = lambda: None,
        note_signer: Signer | None = None,
    ) -> None:
        """secrets: key identifier -> recipient key; prekeys: of a member; anchoring: holds the home against its anchor;
        tls_key: for those who talk to others; refill: makes new prekeys and their bundle; note_signer: of those who
        sign notes, a server or a witness.
        """
        self.party = home.party
        self.home = home
        self.signer = signer
        self.prekeys = prekeys
        self.journal = journal
        self.spool = self.depot = spool
        self.bundles = bundles
        self.log = log
        self.note_signer = note_signer
        self.keeper: Keeper | None = None
        self.now = clock
        self.anchoring = anchoring
        self.archive: Path | None = None  # where packages of rounds that were taken in go; None: they are removed
        self.tls_key = tls_key
        self.refill = refill
        self.awaited: Mapping[str, str] = {}  # id of a member -> why a server waits for it
        self._secrets = secrets
        self._register = LateRegister(journal.register)
        self._writes: list[Callable[[], None]] = []
        self._gone: list[str] = []  # packages without a row
        self._inside = False
        self.postbox = self._postbox()

    def why_awaited(self, peer: Party) -> str:
        """Why a server waits for `peer`, for people; empty if it does not."""
        return self.awaited.get(peer.id, "") if peer.role is Role.MEMBER else ""

    @property
    def trust(self) -> Trust:
        """What packages are checked against."""
        return self.postbox.trust

    @property
    def participant(self) -> Participant:
        """The party as others in the process know it."""
        entry = self.home.trust.roster.entry(self.party)
        return Participant(self.party, self.signer, self._secrets, entry, self.prekeys)

    def renew(self, home: Home) -> None:
        """Go on with what was imported meanwhile."""
        self.home = home
        self.postbox = self._postbox()

    def _postbox(self) -> Postbox:
        found = Postbox(self.participant, self.home.trust, self._register, self.home.reader)
        found.checkpoint = lambda: b"" if self.keeper is None else self.keeper.checkpoint()
        return found

    # One message, and all that follows from it

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Everything done inside becomes durable when this ends; nothing does if it ends with an error.

        Raises DiskFull, StorageError or RunLocked, after which the party has to be restored from its journal;
        RolledBack where packages were made and the anchor is ahead.
        """
        if self._inside:
            yield
            return
        self._inside = True
        try:
            yield
            self._keep_evidence()  # before what it is about is settled: after a crash nobody would find it again
            self.anchoring.advance()  # before the transaction, from whose end on packages may leave
            with self.journal.transaction():
                self._register.flush()
                for write in self._writes:
                    write()
                self.log.flush()
            for digest in self._gone:  # a file without a row is swept at the next start
                with disk_errors(self.spool.folder):
                    self.spool.inside("out", digest).unlink(missing_ok=True)
        except BaseException:
            self.log.drop_staged()
            raise
        finally:
            self._writes.clear()
            self._gone.clear()
            self._register.pending.clear()
            self._inside = False

    def later(self, write: Callable[[], None]) -> None:
        """Do this inside of the transaction."""
        if not self._inside:
            raise RuntimeError("what is written belongs into at_once()")
        self._writes.append(write)

    def note(self, round: int, records: Iterable[Recordable]) -> None:
        """Write down records of a round."""
        kept = tuple(records)
        self.later(lambda: self.journal.append(round, kept))

    def remember(self, kind: str, name: str, value: Any) -> None:
        """Keep a fact."""
        self.later(lambda: self.journal.remember(kind, name, value))

    def forget(self, kind: str, name: str) -> None:
        """Drop a fact."""
        self.later(lambda: self.journal.forget(kind, name))

    def withdraw(self, digest: str) -> None:
        """Take a package back: it leaves no more, and its file is removed afterwards."""
        self.later(lambda: self.journal.withdraw(digest))
        self._gone.append(digest)

    def settle(self, arrived: Arrived, state: str, reason: str = "") -> None:
        """Say what became of a package."""
        self.later(lambda: self.journal.settle(arrived.digest, state, reason))

    def put_away(self, arrived: Arrived, taken: bool) -> None:
        """Remove the file of a package that was settled, or keep it for whoever audits the round.

        A party that is killed just before has no copy of that one package.
        """
        if self.archive is None or not taken or arrived.type not in _ARCHIVED:
            self.spool.drop(arrived.digest)
            return
        kept = self.archive / f"round-{arrived.round}" / _ARCHIVED[arrived.type]
        with disk_errors(kept):
            kept.mkdir(mode=0o700, parents=True, exist_ok=True)
            arrived.path.replace(kept / arrived.path.name)
            sync_folder(kept)

    # Packages

    def open(self, arrived: Arrived, awaited: Awaited) -> Opened:
        """Open a package whose body fits into memory.  Raises what SPEC section 9 says."""
        with open_package(arrived.path) as reader:
            opened = self.postbox.open_from(reader, awaited, self.now())
        self._heed(opened.head)
        return opened

    def open_through(self, arrived: Arrived, awaited: Awaited, write: Callable[[memoryview], None]) -> Head:
        """Open a package of any size, piece by piece.  Nothing of it counts before this returns."""
        with open_package(arrived.path) as reader:
            head = self.postbox.open_through(reader, awaited, self.now(), write)
        self.postbox.take_in(head, self.now())
        self._heed(head)
        return head

    def _heed(self, head: Head) -> None:
        if self.keeper is not None:
            self.keeper.heed(head)

    def send(
        self,
        type: str,
        to: Party,
        body: Sequence[Buffer] | Plaintext,
        round: int = 0,
        plan_hash: str = NONE,
        group: str = NONE,
    ) -> str:
        """Seal a body into the outbox; the digest of the package.

        Raises TrustError or PackageRefused for a recipient that nothing can be sealed to; DiskFull or StorageError.
        """
        now = self.now()
        plain = MemoryPlaintext(*body) if isinstance(body, Sequence) else body
        sealing = self.spool.folder / "out" / f"{self.journal.register.last_sequence() + 1}.sealing"
        with disk_errors(sealing):
            sealing.unlink(missing_ok=True)
        with draft(sealing) as file:
            head = self.postbox.seal_to(file, type, to, round, plan_hash, group, plain, now, now + VALID)
            file.finish()
            file.publish()
        digest = head.digest.hex()
        path = self.spool.inside("out", digest)
        with disk_errors(path):
            sealing.rename(path)
            sync_folder(path.parent)
        departure = Departure(digest, str(to), type, round, group, head.size, now, now + VALID)
        self.later(lambda: self.journal.send(departure))
        return digest

    def check_room(self, size: int) -> None:
        """Raise DiskFull now, and not after the work, where the outbox cannot take `size` bytes."""
        with disk_errors(self.spool.folder):
            found = os.statvfs(self.spool.folder)
        if found.f_bavail * found.f_frsize < size:
            raise DiskFull(f"{self.spool.folder} has no room for {size} bytes")

    def _keep_evidence(self) -> None:
        """Write down proofs that somebody made two packages under one number."""
        while self.postbox.evidence:
            digest, proof = self.postbox.evidence.popitem()
            if self.keeper is not None:
                self.keeper.testify(proof)
            folder: Path = self.home.evidence
            with disk_errors(folder):
                folder.mkdir(mode=0o700, exist_ok=True)
            path = folder / f"{digest}.json"
            if not path.exists():
                create_private(path, proof + b"\n")
