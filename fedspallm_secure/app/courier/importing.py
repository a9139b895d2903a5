"""Taking in what a courier brought (SPEC section 20.3): bundles are checked, packages copied into the inbox.

Only the copy counts: every byte is read from the medium once, checked against the hash that the sender signed, and then
written; what happens to the medium later makes no difference.  One bad bundle or package does not stop the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedspallm_secure.app.courier.incoming import Recorded
from fedspallm_secure.app.courier.media import Found, Medium
from fedspallm_secure.app.courier.post import Post
from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.publishing import meter
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import (
    FedSpaError,
    ForeignBundle,
    LimitExceeded,
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

_TO_CARRY_AGAIN = (MissingInput, Truncated, TrailingBytes, TileMismatch, PackageFormatError, LimitExceeded)


@dataclass(frozen=True, slots=True)
class Refused:
    """What was not taken in.  what: a digest, or the name of an index."""

    what: str
    error: FedSpaError


@dataclass(slots=True)
class Imported:
    """What became of one bundle.

    state: `taken`, `stale` (a newer one came before), `other` (for another party), `own` (made here), `refused`.
    arrived, known: digests of packages that came now, or were here; missing: not on the medium, or not whole there;
    refused: packages that are not taken; gap: numbers of bundles before it that never came, first and last; told: how
    many of our packages it says have arrived.
    """

    name: str
    bundle: Bundle | None
    state: str
    error: FedSpaError | None = None
    arrived: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    gap: tuple[int, int] | None = None
    told: int = 0

    @property
    def errors(self) -> list[FedSpaError]:
        """Everything that was wrong with it."""
        found = [self.error, *(refused.error for refused in self.refused)]
        if self.missing:
            found.append(MediumIncomplete(f"{len(self.missing)} packages of {self.bundle} are not on the medium, or not whole"))
        return [error for error in found if error is not None]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        bundle = self.bundle
        found: dict[str, Any] = {"index": self.name, "state": self.state}
        if bundle is not None:
            parties = {"sender": str(bundle.sender), "recipient": str(bundle.recipient)}
            found |= {"federation": bundle.federation, **parties, "number": bundle.number, "digest": bundle.digest}
        if self.error is not None:
            found["error"] = _error(self.error)
        if self.state == "taken":
            found |= {"arrived": self.arrived, "known": self.known, "missing": self.missing}
            found["refused"] = [{"package": one.what, **_error(one.error)} for one in self.refused]
            found |= {"gap": list(self.gap or ()), "told": self.told}
        return found


def _error(error: FedSpaError) -> dict[str, Any]:
    return {"error": type(error).__name__, "message": str(error), "hint": error.hint, "code": error.exit_code}


def import_from(post: Post, medium: Medium, progress: Progress) -> list[Imported]:
    """Take in everything on a medium that is for this party, in the order in which it was exported.

    Raises MediumIncomplete without any index; ForeignBundle if nothing is for this party; DiskFull or StorageError for
    the inbox.  What else is wrong stands in the outcomes.
    """
    if not medium.found:
        raise MediumIncomplete(
            f"{medium.name} holds no index of a bundle",
            hint="the export was interrupted, or it is another folder; the sender exports once more",
        )
    outcomes = [_one(post, medium, found, progress) for found in medium.found]
    if all(outcome.state in {"other", "own"} for outcome in outcomes):
        others = sorted({str(outcome.bundle.recipient) for outcome in outcomes if outcome.bundle is not None})
        raise ForeignBundle(f"nothing on {medium.name} is for {post.party}, but for {', '.join(others)}"[:1000])
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
    total = sum(file.size for file in bundle.contents.files)
    tell, before = meter(progress, f"copy {bundle}", total), 0
    for file in bundle.contents.files:
        _file(post, medium, bundle, file, outcome, lambda done, before=before: tell(before + done))  # type: ignore[misc]
        before += file.size
        tell(before)
    for digest in bundle.contents.received:
        if post.depot.departure(bundle.sender, digest) is not None:
            post.depot.departed(bundle.sender, digest)
            outcome.told += 1
    here = [*outcome.arrived, *outcome.known]
    post.bundles.take_in(bundle, key, here, _made_for(post, bundle.sender), post.now())
    return outcome


def _made_for(post: Post, recipient: Party) -> Callable[[str], bool]:
    return lambda digest: post.depot.departure(recipient, digest) is not None


def _check_seen(post: Post, bundle: Bundle) -> None:
    """Raise RolledBack if the sender has a bundle of ours that we know nothing of."""
    newest = post.bundles.newest(bundle.sender)
    made = 0 if newest is None else newest.number
    if bundle.contents.seen > made:
        raise RolledBack(
            f"{bundle.sender} has seen bundle {bundle.contents.seen} of yours, and your register knows of {made}",
            hint="your home was put back from a backup, or two copies of it are in use: withdraw and enrol again",
        )


def _file(
    post: Post, medium: Medium, bundle: Bundle, file: BundleFile, outcome: Imported, advance: Callable[[int], None]
) -> None:
    """Take one package in, and note what became of it."""
    try:
        fresh = _copy(post, medium, bundle, file, advance)
    except RunLocked as error:  # it is arriving another way at the same time
        outcome.refused.append(Refused(file.digest, error))
    except StorageError:
        raise
    except _TO_CARRY_AGAIN:
        here = _is_here(post, bundle.sender, file)
        (outcome.known if here else outcome.missing).append(file.digest)
    except FedSpaError as error:
        outcome.refused.append(Refused(file.digest, error))
    else:
        (outcome.arrived if fresh else outcome.known).append(file.digest)


def _copy(post: Post, medium: Medium, bundle: Bundle, file: BundleFile, advance: Callable[[int], None]) -> bool:
    """Copy a package into the inbox; False if it was there.  What was written is whole and signed for, up to there."""
    with medium.open(bundle, file) as incoming:
        recorded = Recorded(incoming)
        reader = PackageReader(recorded)
        file.check_head(reader.head, bundle)
        arrival = post.depot.arrival(bundle.sender, file.digest, file.size)
        if arrival is None:
            return False
        try:
            _fill(arrival, reader, recorded, advance)
            arrival.finish()
        finally:
            arrival.close()
    return True


def _fill(arrival: Arrival, reader: PackageReader, recorded: Recorded, advance: Callable[[int], None]) -> None:
    begun, place = arrival.offset, 0

    def write(data: bytes | bytearray | memoryview) -> None:
        nonlocal place
        skip = min(len(data), max(0, begun - place))  # an import that was interrupted has written it
        if skip < len(data):
            arrival.write(memoryview(data)[skip:])
        place += len(data)

    for number, tile in enumerate(reader.tiles()):
        if number == 0:
            write(recorded.head)
        write(tile)
        advance(place)


def _is_here(post: Post, sender: Party, file: BundleFile) -> bool:
    """Whether a package that the medium lacks has arrived before, or another way."""
    try:
        arrival = post.depot.arrival(sender, file.digest, file.size)
    except StorageError:
        raise
    except FedSpaError:
        return False
    if arrival is None:
        return True
    arrival.close()
    return False


def gaps(outcomes: Sequence[Imported]) -> list[str]:
    """Bundles that never arrived, in words."""
    found = []
    for outcome in outcomes:
        if outcome.gap is not None and outcome.bundle is not None:
            first, last = outcome.gap
            numbers = f"bundle {first}" if first == last else f"bundles {first} to {last}"
            have = "has" if first == last else "have"
            found.append(f"{numbers} of {outcome.bundle.sender} {have} not arrived; what was in it and is missing here, it carries again")
    return found
