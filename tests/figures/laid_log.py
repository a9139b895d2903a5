"""A long log of a real federation as files, with everything that its operator needs to lay another history there.

The federation is real: two rounds, three witnesses of whom one may be dishonest, so that all three have to cosign.  The
log is then made longer with everybody's keys (`grown_log`), and the witnesses cosign it by their own rules.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.merkle import Tree, leaf_hash
from fedspallm_secure.crypto.notes import Checkpoint, Note, NoteKey, open_checkpoint, sign_checkpoint
from fedspallm_secure.crypto.signing import Signer, sign
from fedspallm_secure.protocol.audit.cosigning import Cosigner, Shown
from fedspallm_secure.protocol.audit.entries import Entry, EntryType, read_head
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement
from fedspallm_secure.protocol.audit.policies import TrustPolicy, make_policy
from fedspallm_secure.protocol.audit.tiles import Tile, encode_bundle
from fedspallm_secure.storage.log_folder import publish
from fedspallm_secure.storage.log_reader import CHECKPOINT, COSIGNED, files_of
from fedspallm_secure.storage.pem import CERTIFICATE, encode_pem
from tests.app.audit.real_log import MemoryLog, played, read
from tests.figures.grown_log import Growing
from tests.figures.kills import fast
from tests.storage.logs import files, opened, transaction

WITNESSES = ("ada", "bo", "wyn")
ROUNDS = 4  # spread over a log; the other entries are about the program's version
LAG = 10  # entries that no witness has cosigned yet
NOW = 1_900_000_000


@dataclass
class Parties:
    """Those who hold keys.  cosigners: the witnesses' keys, with those who sign with them."""

    log: MemoryLog
    statement: NoteKeyStatement
    cosigners: list[tuple[Signer, NoteKey]]

    @property
    def policy(self) -> TrustPolicy:
        """All witnesses have to cosign."""
        return make_policy(self.log.key, [key for _, key in self.cosigners], len(self.cosigners))

    def note(self, bodies: Sequence[bytes], size: int | None = None) -> Note:
        """A checkpoint of these entries, signed by the log's key."""
        tree = Tree(map(leaf_hash, bodies[:size]))
        return sign_checkpoint(self.log.log_signer, self.log.key, Checkpoint(self.log.key.name, tree.size, tree.root()))

    def cosigned(self, bodies: Sequence[bytes], size: int) -> Note:
        """The same, cosigned by every witness as its rules say, as the first one that it sees."""
        note = self.note(bodies, size)
        for signer, key in self.cosigners:
            newest = Cosigner(signer, key, self.log.key).on_checkpoint(Shown(self.statement, note, 0), NOW).newest
            assert newest is not None
            note = note.joined(newest)
        return note


def play(entries: int, seed: int, rounds: int = ROUNDS) -> Parties:
    """A log of so many entries, in `rounds` rounds, 2 at least, where there is room for them."""
    with (
        tempfile.TemporaryDirectory(dir=fast()) as name,
        played(Path(name), witnesses=WITNESSES, dishonest=1, prekeys=rounds) as found,
    ):
        log = read(found)
        cosigners = [(station._signer, station.statement.key) for station in found.witnesses.values()]
        parties = Parties(log, found.server.scribe.statement, cosigners)
    growing, step = Growing(log, seed), max(1, (entries - len(log.bodies)) // max(1, rounds - 2))
    for number in range(rounds - 2):
        room = min(entries, len(log.bodies) + step)
        if room - len(log.bodies) >= growing.length:
            growing.round()
        growing.software(room if number < rounds - 3 else entries)
    growing.software(entries)
    return parties


def laid(parties: Parties, bodies: Sequence[bytes], cosigned: bytes | None) -> dict[str, bytes]:
    """The files of a log with these entries but its documents, made quickly; what the tests hold `publish` against."""
    tree, note = Tree(map(leaf_hash, bodies)), parties.note(bodies).encode()
    made: dict[str, bytes] = {CHECKPOINT: note}
    for file in files_of([len(bodies)]):
        if isinstance(file, Tile):
            made[file.path] = file.hashes(tree)
        else:
            made[file.path] = encode_bundle(bodies[file.start : file.start + file.width])
    return made if cosigned is None else {**made, COSIGNED: cosigned}


def published(parties: Parties, folder: Path) -> dict[str, bytes]:
    """The files that a server publishes, in `folder`, by name."""
    log = parties.log
    with opened(folder) as store:
        for body in log.bodies:
            store.stage(body)
        for document in log.documents.values():
            store.keep_document(document)
        with transaction(store):
            store.flush()
        cosigned = parties.cosigned(log.bodies, len(log.bodies) - LAG)
        publish(store, folder / "log", parties.note(log.bodies).encode(), cosigned.encode())
    return files(folder / "log")


def give(parties: Parties, folder: Path) -> None:
    """What an auditor is given beside the log: root, policy, and a member's newest checkpoint."""
    (folder / "root.pem").write_bytes(encode_pem(CERTIFICATE, parties.log.root))
    (folder / "policy").write_bytes(parties.policy.encode())
    (folder / "shown").write_bytes(parties.note(parties.log.bodies).encode())


def last_shown(parties: Parties) -> int:
    """The largest size of a checkpoint in a head of the log."""
    sizes = [0]
    for entry in parties.log.all():
        if "head" in entry.data and (note := read_head(entry.data["head"]).context.checkpoint):
            sizes.append(open_checkpoint(Note.parse(note), parties.log.key).size)
    return max(sizes)


# What an operator can do, who has the server's keys


def numbered(signer: Signer, bodies: Sequence[bytes], start: int) -> list[bytes]:
    """The entries, with numbers that fit and signed anew from `start` on.  Quicker than `Entry`, the same bytes."""
    made = list(bodies[:start])
    for number, body in enumerate(bodies[start:], start):
        plain: dict[str, Any] = json.loads(body)
        if plain["seq"] == number:
            made.append(body)
            continue
        del plain["signature"]
        made.append(_signed(signer, {**plain, "seq": number}))
    return made


def _signed(signer: Signer, plain: Mapping[str, Any]) -> bytes:
    signature = sign(signer, Label.SIGN_ENTRY, _spelled(plain))
    return _spelled({**plain, "signature": encode_base64(signature)})


def _spelled(plain: Mapping[str, Any]) -> bytes:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def another(parties: Parties, seq: int, at: int) -> bytes:
    """An entry that breaks no rule by itself, signed by the server, for place `seq`."""
    genesis = parties.log.entry(0)
    made = Entry.make(
        parties.log.server,
        type=EntryType.SOFTWARE,
        federation=genesis.federation,
        seq=seq,
        round=0,
        actor=genesis.actor,
        at=at,
        data={"name": f"other/{seq}"},
    )
    return made.encode()
