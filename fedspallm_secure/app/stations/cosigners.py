"""A server and its witnesses: it asks them to cosign its log, and keeps what they sign (SPEC section 22.5)."""

from collections.abc import Collection, Mapping

from fedspallm_secure.app.stations.note_statements import read_stated
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.crypto.encoding import decode_base64, encode_base64
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.notes import Checkpoint, Note, NoteKey, cosigned_at, open_checkpoint
from fedspallm_secure.errors import BadSignature, FormatError, NotAwaited, PackageRefused, TrustError
from fedspallm_secure.protocol.audit.cosigning import Answer, Shown
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement
from fedspallm_secure.secagg.thresholds import quorum
from fedspallm_secure.storage.log_store import LogStore


class Cosigners:
    """Those who cosign the log of one server.  dishonest: how many of them may be."""

    def __init__(self, post: Post, key: NoteKey, witnesses: Collection[str], dishonest: int) -> None:
        """key: of the log; witnesses: their ids."""
        self.post = post
        self.dishonest = dishonest
        self._key = key
        self._parties = [Party(Role.WITNESS.value, id) for id in sorted(witnesses)]
        self._stated: dict[str, str] = {}  # of the present message: the journal has it once all that follows is done,
        self._signed: dict[int, Note] = {}  # and members are told before

    @property
    def statements(self) -> dict[str, NoteKeyStatement]:
        """Id of a witness -> who holds its key, for those that have said so."""
        kept = {**self.post.journal.recall_all("cosigner"), **self._stated}
        ids = [party.id for party in self._parties]
        return {id: read_stated(kept[id]) for id in ids if id in kept}

    def ask(self, statement: NoteKeyStatement, note: Note, log: LogStore) -> list[tuple[Party, Exception]]:
        """Show the newest checkpoint to everybody who has not seen it; inside of `post.at_once()`.

        Returns who could not be asked, and why.
        """
        missed: list[tuple[Party, Exception]] = []
        roster = self.post.trust.roster.hash
        for party in self._parties:
            start = self._size(party)
            asked = {"size": log.size, "from": start, "roster": roster}
            if start >= log.size or self.post.journal.recall("asked to cosign", party.id) == asked:
                continue
            shown = Shown(statement, note, start, tuple(log.tree.consistency(start, log.size)))
            try:
                self.post.send("checkpoint", party, [shown.encode()])
            except (TrustError, PackageRefused) as error:
                missed.append((party, error))
            else:
                self.post.remember("asked to cosign", party.id, asked)
        return missed

    def on_cosignature(self, sender: Party, body: bytes, log: LogStore) -> bool:
        """Keep what a witness has signed; whether there is something new.

        Raises NotAwaited for a party that is not asked, BadSignature, FormatError, CertificateRefused.
        """
        if sender not in self._parties:
            raise NotAwaited(f"{sender} is no witness of these rounds")
        answer, trust = Answer.parse(body), self.post.trust
        answer.note_key.check(trust.roster.entry(sender).leaf.public, trust.roster.federation, sender)
        known = self.statements.get(sender.id)
        if known is not None and known.key != answer.note_key.key:
            raise BadSignature(f"{sender} cosigns with another key than before")
        found = None if answer.note is None else self._check(answer.note, answer.note_key.key, log)
        if known != answer.note_key:  # also after a renewal of its certificates
            self._stated = {sender.id: encode_base64(answer.note_key.encode())}
            self.post.remember("cosigner", sender.id, self._stated[sender.id])
        if answer.note is None or found is None or found.size <= self._size(sender):  # else it would count twice
            return known is None
        self.post.remember("cosigned", sender.id, found.size)
        kept = self._notes()
        kept[found.size] = kept[found.size].joined(answer.note) if found.size in kept else answer.note
        self._signed = {found.size: kept[found.size]}
        self.post.remember("cosigned note", str(found.size), encode_base64(kept[found.size].encode()))
        self._forget_old(kept)
        return True

    def _check(self, note: Note, key: NoteKey, log: LogStore) -> Checkpoint:
        """What a witness cosigned is a checkpoint of this log, and it speaks for itself alone."""
        found = open_checkpoint(note, self._key)
        if cosigned_at(note, key) is None:
            raise BadSignature(f"the checkpoint has no cosignature of {key.name}")
        if len(note.signatures) != 2:
            raise FormatError(f"{key.name} shows more signatures than the log's and its own")
        if found.size > log.size or log.tree.root(found.size) != found.root:
            raise FormatError(f"what {key.name} cosigned is no checkpoint of this log as it is now")
        return found

    def newest(self) -> Note | None:
        """The newest checkpoint that as many have cosigned as any: the quorum's, where there is one."""
        found = self._notes()
        most = max((min(len(note.signatures) - 1, self.quorum) for note in found.values()), default=0)
        return found[max(size for size, note in found.items() if len(note.signatures) > most)] if found else None

    @property
    def quorum(self) -> int:
        """How many cosignatures make sure that nobody was shown another history."""
        return quorum(len(self._parties), self.dishonest)

    def _forget_old(self, kept: Mapping[int, Note]) -> None:
        """What is older than a checkpoint with a quorum is of no use."""
        enough = max((size for size, note in kept.items() if len(note.signatures) > self.quorum), default=0)
        for size in kept:
            if size < enough:
                self.post.forget("cosigned note", str(size))

    def _notes(self) -> dict[int, Note]:
        """Size -> checkpoint with all its cosignatures."""
        kept = self.post.journal.recall_all("cosigned note")
        notes = {int(size): Note.parse(decode_base64(note, "a cosigned checkpoint")) for size, note in kept.items()}
        return {**notes, **self._signed}

    def _size(self, party: Party) -> int:
        return int(self.post.journal.recall("cosigned", party.id, 0))
