"""A small log with its keys, for tests of what can be proven about one."""

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.merkle import Tree, leaf_hash
from fedspallm_secure.crypto.notes import Checkpoint, Note, NoteKey, NoteKind, sign_checkpoint
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement, cosigner_name, log_name

FEDERATION = "lungs.example"
SERVER = Party.parse("server/hub")
SERVER_SIGNER = Ed25519Signer(b"\x11" * 32)
LOG_SIGNER = Ed25519Signer(b"\x12" * 32)
LOG = NoteKey(log_name(FEDERATION, SERVER.id), NoteKind.LOG, LOG_SIGNER.public)
STATEMENT = NoteKeyStatement.make(SERVER_SIGNER, FEDERATION, SERVER, LOG, 1_800_000_000)
WITNESS_SIGNERS = [Ed25519Signer(bytes([0x20 + number]) * 32) for number in range(6)]
WITNESSES = [
    NoteKey(cosigner_name(FEDERATION, f"w{number}"), NoteKind.COSIGNER, witness.public)
    for number, witness in enumerate(WITNESS_SIGNERS)
]


def entries(size: int, parted: int | None = None) -> list[bytes]:
    """Entries of a log; from `parted` on, those of another history."""
    return [b"entry %d%s" % (at, b" of another" if parted is not None and at >= parted else b"") for at in range(size)]


def tree(size: int, parted: int | None = None) -> Tree:
    """The tree over `entries`."""
    return Tree(map(leaf_hash, entries(size, parted)))


def checkpoint(size: int, parted: int | None = None) -> Note:
    """The note over `entries`, signed by the log."""
    return sign_checkpoint(LOG_SIGNER, LOG, Checkpoint(LOG.name, size, tree(size, parted).root()))
