"""Statements about keys of notes in a party's journal: its own, and that of the log it follows (SPEC 22.1)."""

from contextlib import suppress

from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.crypto.encoding import decode_base64, encode_base64
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import BadSignature, FedSpaError, KeyStoreError, LogRefused
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement, note_key

_KIND = "note key"


def read_stated(kept: str) -> NoteKeyStatement:
    """A statement as a journal keeps it."""
    return NoteKeyStatement.parse(decode_base64(kept, "a statement about a key of notes"))


def own_statement(post: Post, signer: Signer, lost: str) -> NoteKeyStatement:
    """Who holds the key of `signer`, signed by the present signing key: made once, and again after a renewal.

    lost: what a party does whose key is another one than before.  Raises KeyStoreError for such a one; StorageError.
    """
    federation, kept = post.trust.roster.federation, post.journal.recall(_KIND, "own")
    key = note_key(federation, post.party, signer.public)
    if kept is not None:
        found = read_stated(kept)
        if found.key != key:
            raise KeyStoreError(f"{post.party} has signed notes with another key than it has now", hint=lost)
        with suppress(BadSignature):  # it was made before a renewal of the certificates
            found.check(post.signer.public, federation, post.party)
            return found
    made = NoteKeyStatement.make(post.signer, federation, post.party, key, post.now())
    with post.at_once():
        post.remember(_KIND, "own", encode_base64(made.encode()))
    return made


def pinned_statement(post: Post) -> NoteKeyStatement | None:
    """What the server of the log said of its key first."""
    kept = post.journal.recall(_KIND, "pinned")
    return None if kept is None else read_stated(kept)


def check_stated(post: Post, server: Party, stated: NoteKeyStatement, check: str = "") -> None:
    """Whether this is of `server`, and of the key that is pinned; inside of `post.at_once()`.  Raises LogRefused.

    A statement of another key contradicts the pinned one: it is kept.
    """
    pinned, trust = pinned_statement(post), post.trust
    if pinned == stated:
        return
    try:
        stated.check(trust.roster.entry(server).leaf.public, trust.roster.federation, server)
    except FedSpaError as error:
        raise LogRefused(str(error), check=check) from None
    if pinned is not None and pinned.key != stated.key:
        post.remember("note key refused", stated.statement.digest.hex(), encode_base64(stated.encode()))
        said = f"{server} states another key of its log than {pinned.key.vkey}, which I pinned"
        raise LogRefused(said, check=check)


def pin(post: Post, stated: NoteKeyStatement) -> None:
    """Hold the log to this key, unless one is pinned; inside of `post.at_once()`."""
    if pinned_statement(post) is None:
        post.remember(_KIND, "pinned", encode_base64(stated.encode()))
