"""What a server takes back when a round ends without a result: whatever of it has not left yet.

A plan that a member fetches after the end would have it contribute to a round that gives no sum, and use up its base
weights by that (SPEC section 15).
"""

from typing import Final

from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.storage.spool import Listed

_STAYS: Final = frozenset({"receipt", "abort"})  # what somebody needs all the same


def call_back(post: Post, round: int) -> None:
    """Withdraw what has not left; inside of `post.at_once()`."""
    for listed in post.spool.outgoing():
        if listed.round == round and listed.type not in _STAYS and not has_left(post, listed):
            post.withdraw(listed.digest)


def knows_plan(post: Post, round: int, member: Party) -> bool:
    """Whether the plan of a round has left for a member, or may have."""
    name = str(member)
    plans = (one for one in post.spool.outgoing() if (one.type, one.round, one.recipient) == ("plan", round, name))
    return any(has_left(post, one) for one in plans)


def has_left(post: Post, listed: Listed) -> bool:
    """Whether a package was fetched, is being fetched, or lies on a medium that a courier may have."""
    if listed.departed or post.spool.has_begun(listed.digest):
        return True
    bundle = post.bundles.newest(Party.parse(listed.recipient))
    return bundle is not None and any(file.digest == listed.digest for file in bundle.contents.files)
