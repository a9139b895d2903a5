"""A witness on disk: what it signs of a round or of a log is in its journal before anybody can see it.

It keeps nothing in memory that counts: what it signed before is looked up in the journal for every message.
"""

from typing import Final

from fedspallm_secure.app.rounds.wire import Parcel
from fedspallm_secure.app.stations.evidence import keep_split_view
from fedspallm_secure.app.stations.note_statements import check_stated, own_statement, pin, pinned_statement
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.app.stations.station import arrived_of, take_in
from fedspallm_secure.crypto.encoding import decode_base64, encode_base64
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.notes import Note, NoteKey, open_checkpoint
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import (
    BadSignature,
    FedSpaError,
    FormatError,
    LogRefused,
    MissingInput,
    NotAwaited,
    SplitView,
)
from fedspallm_secure.protocol.audit.cosigning import Answer, Cosigner, Shown
from fedspallm_secure.protocol.audit.split_view import SplitViewProof
from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.protocol.receiving import Awaited
from fedspallm_secure.protocol.rounds.messages import Incoming
from fedspallm_secure.protocol.rounds.witness import Witness, WitnessSigned
from fedspallm_secure.storage.spool import Arrived

_TYPES: Final = frozenset({"opening", "survivors", "checkpoint"})
_LOST: Final = "a witness whose key or journal is lost enrols anew, under another id"


class WitnessStation:
    """A witness of one server, for any number of rounds.

    statement: who holds the key that it cosigns with; told: what was refused, with the reason.
    """

    def __init__(self, post: Post, server: Party) -> None:
        """Raises KeyStoreError where it cosigned with another key before; StorageError."""
        if post.note_signer is None:
            raise MissingInput(f"{post.home.path} has no key to cosign with", hint=_LOST)
        self.post = post
        self.server = server
        self.told: list[tuple[Arrived, FedSpaError]] = []
        self._signer: Signer = post.note_signer
        self.statement = own_statement(post, post.note_signer, _LOST)
        post.keeper = self
        self._seal_again()

    # Messages

    def work_through(self) -> int:
        """Act on everything in the inbox; how many packages were settled.  Errors: as of `take_in`."""
        settled = take_in(self.post, self.act, lambda arrived, error: self.told.append((arrived, error)))
        if settled:
            self.post.spool.discard(self.post.journal.last_round())
            sent = [one for one in self.post.spool.outgoing() if one.type == "cosignature" and one.departed]
            self._withdraw([one.digest for one in sent])  # only the newest is of use to anybody
        return settled

    def act(self, parcel: Parcel) -> None:
        """Sign what the server sent, or refuse it."""
        opened = self.post.open(arrived_of(parcel), Awaited(types=_TYPES))
        incoming = Incoming(opened.head, bytes(opened.body))
        if incoming.head.context.sender != self.server:
            raise NotAwaited(f"{incoming.head.context.sender} is not the server that I witness, {self.server}")
        if parcel.type == "checkpoint":
            self._on_checkpoint(incoming)
        else:
            self._on_round(incoming)

    def _on_round(self, incoming: Incoming) -> None:
        """Endorse the first survivor list of a round, or sign its first opening."""
        post, context = self.post, incoming.head.context
        known = post.journal.records(context.round, WitnessSigned.from_dict)
        machine = Witness.restore(post.party, post.signer, post.trust, self.server, known)
        sign = machine.on_opening if context.type == "opening" else machine.on_survivors
        step = sign(incoming)
        post.note(context.round, step.records)
        for message in step.messages:
            post.send(message.type, message.recipient, [message.body], context.round, context.plan_hash)

    def _on_checkpoint(self, incoming: Incoming) -> None:
        """Cosign a checkpoint that extends the newest one; answer with the newest in any case."""
        shown = Shown.parse(incoming.body)
        check_stated(self.post, self.server, shown.note_key)
        pin(self.post, shown.note_key)
        cosigner = self._cosigner_of(shown.note_key.key)
        verdict = cosigner.on_checkpoint(shown, self.post.now())
        if verdict.signed and verdict.newest is not None:
            origin = cosigner.log.name
            self.post.remember("cosigned", origin, cosigner.size)
            self.post.remember(f"cosigned {origin}", str(cosigner.size), encode_base64(verdict.newest.encode()))
        self.post.send("cosignature", self.server, [Answer(self.statement, verdict.newest).encode()])
        if verdict.contradicted is not None:
            raise self._split(verdict.contradicted, shown.note)
        if verdict.refusal is not None:
            raise verdict.refusal

    # The log

    @property
    def newest(self) -> Note | None:
        """The newest checkpoint that was cosigned, with the log's signature and the own one."""
        pinned = pinned_statement(self.post)
        return None if pinned is None else self._cosigner_of(pinned.key).newest

    def _cosigner_of(self, log: NoteKey) -> Cosigner:
        """The machine for one log, as the journal has it."""
        journal = self.post.journal

        def cosigned(size: int) -> Note | None:
            kept = journal.recall(f"cosigned {log.name}", str(size))
            return None if kept is None else Note.parse(decode_base64(kept, "a cosigned checkpoint"))

        newest = journal.recall("cosigned", log.name)
        return Cosigner(
            self._signer, self.statement.key, log, None if newest is None else cosigned(newest), earlier=cosigned
        )

    def _split(self, *notes: Note) -> SplitView:
        """Keep the proof of two histories; what to raise."""
        pinned = pinned_statement(self.post)
        if pinned is None:
            raise RuntimeError("nothing is cosigned before the key of the log is pinned")
        first, second = (note.only(pinned.key) for note in notes)
        path = keep_split_view(self.post.home, SplitViewProof.make(pinned, (first, second)))
        return SplitView(f"{pinned.key.name} has signed two histories; the proof is in {path}")

    # What packages carry (`post.Keeper`)

    def checkpoint(self) -> bytes:
        """The newest checkpoint, as every package carries it; empty before the first."""
        newest, pinned = self.newest, pinned_statement(self.post)
        return b"" if newest is None or pinned is None else newest.only(pinned.key).encode()

    def heed(self, head: Head) -> None:
        """The checkpoint in the header of one of the server's packages.  Raises LogRefused or SplitView."""
        shown, pinned = head.context.checkpoint, pinned_statement(self.post)
        if not shown or pinned is None or head.context.sender != self.server:
            return
        try:
            note = Note.parse(shown)
            found = open_checkpoint(note, pinned.key)
        except (FormatError, BadSignature) as error:
            raise LogRefused(str(error)) from None
        before = self._cosigner_of(pinned.key).contradicted(found)
        if before is not None:
            raise self._split(before, note)

    def testify(self, proof: bytes) -> None:
        """Witnesses keep evidence, and write no log."""

    # Newer rosters

    def renew(self) -> None:
        """Go on with a newer roster or revocation list, which the post has read."""
        self._seal_again()

    def _seal_again(self) -> None:
        """What was sealed under another roster does not open any more; the server asks again for what it lacks."""
        post, roster = self.post, self.post.trust.roster.hash
        if post.journal.recall("sealed", "*") == roster:
            return
        void = [one.digest for one in post.spool.outgoing() if not one.departed]
        with post.at_once():
            post.remember("sealed", "*", roster)
        self._withdraw(void)

    def _withdraw(self, digests: list[str]) -> None:
        if not digests:
            return
        with self.post.at_once():
            for digest in digests:
                self.post.withdraw(digest)
