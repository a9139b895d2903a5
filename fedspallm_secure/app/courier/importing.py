"""Taking in what a courier brought (SPEC section 20.3): bundles are checked, packages copied into the inbox.

Only the copy counts: every byte is read from the medium once, checked against the hash that the sender signed, and then
written; what happens to the medium later makes no difference.  One bad bundle or package does not stop the others.
"""

from collections.abc import Callable

from fedspallm_secure.app.courier.counting import Counter
from fedspallm_secure.app.courier.incoming import Recorded
from fedspallm_secure.app.courier.media import Found, Medium
from fedspallm_secure.app.courier.outcomes import Imported, Trouble
from fedspallm_secure.app.courier.post import OLD_COPY, Post
from fedspallm_secure.app.progress import Progress
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import (
    FedSpaError,
    ForeignBundle,
    MediumIncomplete,
    MissingInput,
    PackageFormatError,
    RolledBack,
    RunLocked,
    StorageError,
    TileMismatch,
    TrailingBytes,
    Truncated,
)
from fedspallm_secure.protocol.bundles import Bundle, BundleFile, check_bundle
from fedspallm_secure.storage.package_reader import PackageReader
from fedspallm_secure.transport.depot import Arrival

_NOT_WHOLE = (MissingInput, Truncated, TrailingBytes, TileMismatch, PackageFormatError)


def import_from(post: Post, medium: Medium, progress: Progress) -> list[Imported]:
    """Take in everything on a medium that is for this party, in the order in which it was exported.

    Raises MediumIncomplete without any index; ForeignBundle if nothing is for this party; RolledBack where a server has
    seen more than this home knows of, and then nothing was taken in; DiskFull or StorageError for the inbox.  What else
    is wrong stands in the outcomes.
    """
    if not medium.found:
        raise MediumIncomplete(
            f"{medium.name} holds no index of a bundle",
            hint="the export was interrupted, or it is another folder; the sender exports once more",
        )
    for found in medium.found:
        if found.bundle is not None and found.bundle.sender.role is Role.SERVER:
            _check_greeting(post, found.bundle)
    outcomes = [_one(post, medium, found, progress) for found in medium.found]
    if all(outcome.state in {"other", "own"} for outcome in outcomes):
        others = sorted({str(outcome.bundle.recipient) for outcome in outcomes if outcome.bundle is not None})
        raise ForeignBundle(f"{medium.name} is for {', '.join(others)}, and nothing on it for {post.party}"[:1000])
    return outcomes


def _one(post: Post, medium: Medium, found: Found, progress: Progress) -> Imported:
    bundle = found.bundle
    if bundle is None:
        return Imported(found.name, None, "refused", found.error)
    if bundle.federation == post.trust.roster.federation and bundle.recipient != post.party:
        return Imported(found.name, bundle, "own" if bundle.sender == post.party else "other")
    try:
        return _take(post, medium, found.name, bundle, progress)
    except StorageError:
        raise
    except FedSpaError as error:
        return Imported(found.name, bundle, "refused", error)


def _take(post: Post, medium: Medium, name: str, bundle: Bundle, progress: Progress) -> Imported:
    key = check_bundle(bundle, post.trust, post.party, post.now())
    _check_seen(post, bundle)
    place = post.bundles.place(bundle, key)
    if not place.fresh and not place.known:
        return Imported(name, bundle, "stale")
    outcome = Imported(name, bundle, "taken", gap=place.missing)
    counter = Counter(progress, f"copy {bundle}", sum(file.size for file in bundle.contents.files))
    for file in bundle.contents.files:
        _file(post, medium, bundle, file, outcome, counter)
    sender = bundle.sender
    waiting = {one.digest for one in post.depot.outgoing() if one.recipient == str(sender) and not one.departed}
    for digest in filter(waiting.__contains__, bundle.contents.received):
        post.depot.departed(sender, digest)
        outcome.told += 1

    def made_for_sender(digest: str) -> bool:
        return post.depot.departure(sender, digest) is not None

    here = [*outcome.arrived, *(outcome.known if place.fresh else ())]  # the second time the receipts were noted
    post.bundles.take_in(bundle, key, here, made_for_sender, post.now())
    return outcome


def _check_greeting(post: Post, bundle: Bundle) -> None:
    """What a server has seen stands in for its greeting over a network (SPEC section 21.2).  Raises RolledBack.

    Only what passes steps a to d says anything; the others are told when it is their turn.
    """
    try:
        check_bundle(bundle, post.trust, post.party, post.now())
    except FedSpaError:
        return
    _check_seen(post, bundle)


def _check_seen(post: Post, bundle: Bundle) -> None:
    """Raise RolledBack if the sender has a bundle of ours that we know nothing of."""
    newest = post.bundles.newest(bundle.sender)
    made = 0 if newest is None else newest.number
    if bundle.contents.seen > made:
        raise RolledBack(
            f"{bundle.sender} has seen bundle {bundle.contents.seen} of yours, and your register knows of {made}",
            hint=OLD_COPY,
        )


def _file(post: Post, medium: Medium, bundle: Bundle, file: BundleFile, outcome: Imported, counter: Counter) -> None:
    """Take one package in, and note what became of it."""
    copied = 0

    def advance(count: int) -> None:
        nonlocal copied
        copied += count
        counter(count)

    try:
        fresh = _copy(post, medium, bundle, file, advance)
    except _NOT_WHOLE as error:
        if _is_here(post, bundle.sender, file):
            outcome.known.append(file.digest)
        else:
            outcome.missing.append(Trouble(file.digest, error))
    except StorageError as error:
        if not isinstance(error, RunLocked):  # that one is arriving another way at the same time
            raise
        outcome.refused.append(Trouble(file.digest, error))
    except FedSpaError as error:
        outcome.refused.append(Trouble(file.digest, error))
    else:
        (outcome.arrived if fresh else outcome.known).append(file.digest)
    counter(file.size - copied)


def _copy(post: Post, medium: Medium, bundle: Bundle, file: BundleFile, advance: Callable[[int], None]) -> bool:
    """Copy a package into the inbox; False if it was there.  Whatever is written was checked before."""
    with medium.open(bundle, file) as incoming:
        recorded = Recorded(incoming)
        reader = PackageReader(recorded)
        file.check_head(reader.head, bundle)
        arrival = post.depot.arrival(bundle.sender, file.digest, file.size)
        if arrival is None:
            return False
        try:
            copy = _Copy(arrival, advance)
            for number, tile in enumerate(reader.tiles()):
                if number == 0:  # by now everything before the body was read
                    copy.write(recorded.head)
                copy.write(tile)
            arrival.finish()
        finally:
            arrival.close()
    return True


class _Copy:
    """Writes a package into an arrival, but for what an import that was interrupted has written of it already."""

    def __init__(self, arrival: Arrival, advance: Callable[[int], None]) -> None:
        self._arrival, self._advance = arrival, advance
        self._begun, self._place = arrival.offset, 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes of the package."""
        skip = min(len(data), max(0, self._begun - self._place))
        if skip < len(data):
            self._arrival.write(memoryview(data)[skip:])
        self._place += len(data)
        self._advance(len(data))


def _is_here(post: Post, sender: Party, file: BundleFile) -> bool:
    """Whether a package that the medium lacks has arrived before, or another way."""
    try:
        arrival = post.depot.arrival(sender, file.digest, file.size)
    except FedSpaError:
        return False
    if arrival is None:
        return True
    arrival.close()
    return False
