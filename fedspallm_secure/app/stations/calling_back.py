"""What a server takes back when a round ends without a result: whatever of it has not left yet.

A plan that a member fetches after the end would have it contribute to a round that gives no sum, and use up its base
weights by that (SPEC section 15).
"""

from typing import Final

from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.crypto.identity import Party

_STAYS: Final = frozenset({"receipt", "abort"})  # what somebody needs all the same


def call_back(post: Post, round: int, take: bool) -> set[str]:
    """Whom, as ROLE/ID, the plan of a round has left for, or may have.

    take: withdraw what has not left; inside of `post.at_once()`.
    """
    bundled: dict[str, set[str]] = {}
    knowing = set()
    for listed in post.spool.outgoing():
        if listed.round != round or listed.type in _STAYS:
            continue
        if listed.recipient not in bundled:
            bundled[listed.recipient] = _bundled(post, listed.recipient)
        if listed.departed or listed.digest in post.spool.begun or listed.digest in bundled[listed.recipient]:
            knowing |= {listed.recipient} if listed.type == "plan" else set()
        elif take:
            post.withdraw(listed.digest)
    return knowing


def _bundled(post: Post, recipient: str) -> set[str]:
    """What lies on a medium that a courier may have: the newest bundle holds all that is not known to have arrived."""
    bundle = post.bundles.newest(Party.parse(recipient))
    return set() if bundle is None else {file.digest for file in bundle.contents.files}
