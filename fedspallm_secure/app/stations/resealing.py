"""What a server does when the roster changes: what it sealed under the old one does not open any more (SPEC 21.3)."""

from collections.abc import Callable
from typing import Final

from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.app.stations.server_station import ServerStation
from fedspallm_secure.crypto.identity import Party, Role

_KIND: Final = "sealed"


def seal_again(
    post: Post, going_on: ServerStation | None, newest: int, restore: Callable[[int], ServerStation]
) -> ServerStation | None:
    """Seal again what belongs to the present state, if the roster is another than that of the outbox.

    newest: the newest concluded round with a result, 0 for none; restore: its station.
    Goes on after a crash.  Returns that station if its layers were sent again.  Raises StorageError.
    """
    roster, journal = post.trust.roster.hash, post.journal
    sealed = journal.recall(_KIND, "*")
    if sealed is None:
        sealed = {"roster": roster, "due": 0}
        _remember(post, sealed)
    if sealed["roster"] != roster:
        sealed = {"roster": roster, "due": newest}
        past = restore(newest) if newest else None
        void = _void(post)
        with post.at_once():
            for digest in void:
                post.withdraw(digest)
            if past is not None:
                past.repeat(without=_knowing(going_on))
            if going_on is not None:
                going_on.repeat()
            post.remember(_KIND, "*", sealed)
    if not sealed["due"]:
        return None
    past = restore(sealed["due"])
    past.publish(without=_knowing(going_on))
    _remember(post, {"roster": roster, "due": 0})
    return past


def _void(post: Post) -> list[str]:
    """What nobody has fetched, and layers, for their size."""
    return [one.digest for one in post.spool.outgoing() if not one.departed or one.type == "layer"]


def _knowing(going_on: ServerStation | None) -> set[Party]:
    """Those who have the last result: they have contributed to the round that starts from it."""
    contributions = () if going_on is None else going_on.machine.received
    return {Party(Role.MEMBER.value, member) for _, member in contributions}


def _remember(post: Post, sealed: dict[str, object]) -> None:
    with post.at_once():
        post.remember(_KIND, "*", sealed)
