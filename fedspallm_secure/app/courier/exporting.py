"""Handing packages to a courier: everything that waits for a party and is not known to have arrived, and an index.

Exporting again after a medium was lost gives the same bundle again, byte for byte, as long as nothing has changed; else
the next one, with everything in it that did not arrive.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fedspallm_secure.app.courier.counting import Counter
from fedspallm_secure.app.courier.media import open_medium
from fedspallm_secure.app.courier.post import OLD_COPY, Outgoing, Post, listed
from fedspallm_secure.app.courier.writing import Loaded, Target, open_target
from fedspallm_secure.app.progress import Progress
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import FedSpaError, RolledBack, UnknownSender
from fedspallm_secure.protocol.bundles import PURPOSE, Bundle, Contents, check_bundle
from fedspallm_secure.protocol.limits import BUNDLE_FILES_LIMIT
from fedspallm_secure.protocol.packages import NONE


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle that lies on a medium.  again: it was made before; left: packages that did not fit into it."""

    bundle: Bundle
    again: bool
    left: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        bundle, contents = self.bundle, self.bundle.contents
        return {
            "recipient": str(bundle.recipient),
            "number": bundle.number,
            "digest": bundle.digest,
            "index": bundle.name,
            "packages": len(contents.files),
            "bytes": sum(file.size for file in contents.files),
            "received": len(contents.received),
            "again": self.again,
            "left": self.left,
        }


@dataclass(frozen=True, slots=True)
class _Order:
    """What one party is to be handed."""

    recipient: Party
    load: tuple[Loaded, ...]
    contents: Contents
    left: int


def export(
    post: Post,
    folder: Path | None,
    single: Path | None,
    chosen: Sequence[Party],
    everything: bool,
    purpose: str,
    progress: Progress,
) -> list[Exported]:
    """Write bundles into `folder`, or into the new file `single`.

    chosen: for whom; nobody stands for everybody for whom something waits.  everything: also what is known to have
    arrived.  Raises UnknownSender for somebody who is not in the roster, RolledBack where the medium has a bundle of
    ours that this home has not made, and what `Target.put` raises.
    """
    if folder is not None:
        _check_remembered(post, folder)
    for party in chosen:
        _check_known(post, party)
    packages = post.depot.outgoing()
    recipients = list(dict.fromkeys(chosen)) or _recipients(post, packages, everything)
    orders = [_order(post, party, packages, everything, purpose or PURPOSE) for party in recipients]
    orders = [order for order in orders if order.contents.files or order.contents.received or order.contents.again]
    with open_target(folder, single) as target:
        target.check_room([loaded for order in orders for loaded in order.load])
        return [_put(post, target, order, progress) for order in orders]


def _check_remembered(post: Post, folder: Path) -> None:
    """Raise RolledBack if the medium knows more of what we made than we do (SPEC section 20.2)."""
    for bundle in _own(post, folder):
        if post.bundles.made(bundle.recipient, bundle.number) != bundle.digest:
            raise RolledBack(
                f"{folder} has {bundle} from earlier, and your register does not know it: nothing was written",
                hint=OLD_COPY,
            )


def _own(post: Post, folder: Path) -> list[Bundle]:
    """What lies there that we signed with the key that we have now.  What else lies there is not looked at."""
    trust, found = post.trust, list[Bundle]()
    with suppress(FedSpaError), open_medium(folder) as medium:
        for bundle in (one.bundle for one in medium.found):
            if bundle is not None and bundle.sender == post.party:
                with suppress(FedSpaError):
                    check_bundle(bundle, trust, bundle.recipient, post.now())
                    found.append(bundle)
    return found


def _check_known(post: Post, party: Party) -> None:
    try:
        post.trust.roster.entry(party)
    except UnknownSender as error:
        names = [str(entry.party) for entry in post.trust.roster.entries if entry.party != post.party]
        near = get_close_matches(str(party), names, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names[:12])}"
        raise UnknownSender(str(error), hint=hint) from None


def _recipients(post: Post, packages: Sequence[Outgoing], everything: bool) -> list[Party]:
    """Everybody for whom something waits, or to whom something is to be said."""
    waiting = {Party.parse(one.recipient) for one in packages if everything or not one.departed}
    others = (entry.party for entry in post.trust.roster.entries)
    asked = {party for party in others if post.bundles.requests(party) or post.depot.again(party)}
    return sorted(waiting | asked | set(post.bundles.untold()))


def _order(post: Post, recipient: Party, packages: Sequence[Outgoing], everything: bool, purpose: str) -> _Order:
    asked = post.bundles.requests(recipient)
    wanted = [one for one in packages if one.recipient == str(recipient)]
    wanted = [one for one in wanted if everything or not one.departed or one.digest in asked]
    paths = [(listed(one), post.depot.departure(recipient, one.digest)) for one in wanted]
    there = [Loaded(file, path) for file, path in paths if path is not None]
    load = tuple(there[:BUNDLE_FILES_LIMIT])
    again = tuple(post.depot.again(recipient))[:BUNDLE_FILES_LIMIT]
    received = [digest for digest in post.bundles.receipts(recipient) if digest not in again]
    files = tuple(loaded.file for loaded in load)
    seen = _seen(post, recipient)
    contents = Contents(files, tuple(received[:BUNDLE_FILES_LIMIT]), again, seen, purpose)
    return _Order(recipient, load, contents, len(there) - len(load))


def _seen(post: Post, party: Party) -> int:
    """Number of the newest bundle of a party; 0 for one that is not in the roster any more."""
    try:
        return post.bundles.seen(party, post.trust.roster.entry(party).leaf.key_id)
    except UnknownSender:
        return 0


def _put(post: Post, target: Target, order: _Order, progress: Progress) -> Exported:
    counter = Counter(progress, f"copy for {order.recipient}", sum(loaded.file.size for loaded in order.load))
    fresh = False

    def next_one(before: Bundle | None) -> Bundle:
        nonlocal fresh
        if before is not None and _still_good(post, before, order.contents):
            return before
        fresh = True
        number, previous = (1, NONE) if before is None else (before.number + 1, before.digest)
        return Bundle.make(
            post.signer,
            post.trust.roster.federation,
            post.party,
            order.recipient,
            number,
            previous,
            post.now(),
            order.contents,
        )

    bundle = target.put(lambda: post.bundles.make(order.recipient, next_one), order.load, counter)
    return Exported(bundle, not fresh, order.left)


def _still_good(post: Post, bundle: Bundle, contents: Contents) -> bool:
    """Whether a bundle says what has to be said, under the present key and name."""
    key = post.trust.roster.entry(post.party).leaf.key_id
    return bundle.contents == contents and [signer for signer, _ in bundle.statement.signatures] == [key]
