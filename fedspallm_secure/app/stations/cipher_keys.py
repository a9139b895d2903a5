"""The cipher keys that key holders have sent to a server: which one the next round uses, and which are used up."""

from collections.abc import Callable, Mapping
from typing import Any

from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.crypto.encoding import decode_base64, encode_base64
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import FedSpaError, NotAwaited
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.plans import Plan

_KEYS = "cipher key"  # facts: by digest, the package's body
_LAST = "cipher key last"  # facts: by key holder, the index of the newest that a plan has named
_KEPT = 8  # keys of one key holder that wait


def keep_key(post: Post, sender: Party, body: bytes) -> None:
    """Keep a key that a key holder sent, inside of `post.at_once()`.

    Raises FormatError, TrustError, and NotAwaited for one that a plan has named, or one too many.
    """
    key = CipherKey.parse(body)
    public = post.trust.roster.entry(sender).leaf.public
    key.check(public, post.trust.roster.federation, sender, post.now())
    waiting = _keys_of(post, sender)
    if key.hash in {one.hash for one in waiting}:
        return
    if key.index <= post.journal.recall(_LAST, sender.id, 0) or len(waiting) >= _KEPT:
        raise NotAwaited(f"{sender} sent a key that was used, or has too many here that were not")
    post.remember(_KEYS, key.hash, encode_base64(body))


def next_key(post: Post, holder: str, fits: Callable[[CipherKey], bool] = lambda _: True) -> CipherKey | None:
    """The oldest key of a key holder that is valid, was not used, and fits; None if there is none."""
    party, now = Party(Role.KEY_HOLDER.value, holder), post.now()
    last = post.journal.recall(_LAST, holder, 0)
    for key in sorted(_keys_of(post, party), key=lambda one: one.index):
        if key.index <= last or not fits(key):
            continue
        try:
            key.check(post.trust.roster.entry(party).leaf.public, post.trust.roster.federation, party, now)
        except FedSpaError:
            continue
        return key
    return None


def use_key(post: Post, key: CipherKey) -> None:
    """No later plan names this key or an older one; inside of `post.at_once()`."""
    post.remember(_LAST, key.party.id, key.index)


def used_key(post: Post, plan: Plan) -> CipherKey | None:
    """The key that a plan names; None where they are not encrypted, or the round is long over."""
    if plan.key_holder is None:
        return None
    found = post.journal.recall(_KEYS, plan.key_holder.key)
    return None if found is None else CipherKey.parse(decode_base64(found, "a cipher key"))


def drop_keys(post: Post, plan: Plan) -> None:
    """A round is over: drop its key and those before it that no plan has named; inside of `post.at_once()`."""
    key = used_key(post, plan)
    if key is not None:
        for one in _keys_of(post, key.party):
            if one.index <= key.index:
                post.forget(_KEYS, one.hash)


def _keys_of(post: Post, party: Party) -> list[CipherKey]:
    found: Mapping[str, Any] = post.journal.recall_all(_KEYS)
    keys = [CipherKey.parse(decode_base64(body, "a cipher key")) for body in found.values()]
    return [key for key in keys if key.party == party]
