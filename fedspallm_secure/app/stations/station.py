"""Taking in what has arrived: one package after the other, each with all that follows from it, or not at all."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from fedspallm_secure.app.rounds.wire import Parcel
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import (
    CannotDecrypt,
    FedSpaError,
    HostileFile,
    KeyStoreError,
    LimitExceeded,
    MissingInput,
    OutOfMemory,
    PackageFormatError,
    RevocationListStale,
    RolledBack,
    StorageError,
    TileMismatch,
    TrailingBytes,
    Truncated,
)
from fedspallm_secure.storage.package_reader import open_package
from fedspallm_secure.storage.spool import Arrived

DAMAGED = (TileMismatch, Truncated, TrailingBytes, CannotDecrypt)  # it may come again, whole
FATAL = (StorageError, OutOfMemory, KeyStoreError, RolledBack, MissingInput)  # not the message's fault
_SAID: Final = (
    "if this home was put back from a copy: have its certificate withdrawn, and enrol again in a new --home; "
    "if it never was, the server is wrong: compare with its operator"
)


@dataclass(frozen=True, slots=True)
class FileParcel(Parcel):
    """A package that lies in the inbox."""

    arrived: Arrived = field(kw_only=True)

    @classmethod
    def of(cls, arrived: Arrived, recipient: Party) -> "FileParcel":
        """From the inbox."""
        return cls(Party.parse(arrived.sender), recipient, arrived.type, b"", arrived=arrived)


class NotYet(Exception):
    """The package came before its turn."""


def take_in(post: Post, act: Callable[[FileParcel], None], told: Callable[[Arrived, FedSpaError], None]) -> int:
    """Give everything in the inbox to `act`, in order, the log first; returns how many packages were settled.

    told: what was refused, and why; a list that is out of date leaves a package where it is.
    Raises what FATAL names: then nothing was taken in, and the party has to be restored.
    """
    settled = 0
    while True:
        before = settled
        # A result waits for the log that names it; what was sent after both must not be taken in before it.
        for arrived in sorted(post.spool.arrived(), key=lambda one: one.type != "log"):
            settled += _take(post, arrived, act, told)
        if settled == before:  # another one may make one that came too early due
            return settled


def _take(
    post: Post, arrived: Arrived, act: Callable[[FileParcel], None], told: Callable[[Arrived, FedSpaError], None]
) -> bool:
    taken = False
    try:
        with post.at_once():
            post.anchoring.check()
            try:
                _check_file(arrived)
                act(FileParcel.of(arrived, post.party))
                post.settle(arrived, "taken")
                taken = True
            except FATAL:
                raise
            except RevocationListStale as error:
                told(arrived, error)
                raise NotYet from error
            except DAMAGED as error:
                told(arrived, error)
                post.settle(arrived, "damaged", str(error))
            except FedSpaError as error:
                told(arrived, error)
                post.settle(arrived, "refused", str(error))
    except NotYet:
        return False
    post.put_away(arrived, taken)
    return True


def _check_file(arrived: Arrived) -> None:
    """The file is still the one that was checked when it arrived.  Raises Truncated: it may come again."""
    try:
        with open_package(arrived.path) as package:
            if package.head.digest.hex() == arrived.digest:
                return
    except (MissingInput, HostileFile, LimitExceeded, PackageFormatError):
        pass
    raise Truncated(f"{arrived.path} is not what arrived any more")


def arrived_of(parcel: Parcel) -> Arrived:
    """The package of the inbox that a station was given."""
    if not isinstance(parcel, FileParcel):
        raise TypeError("a station takes packages from its inbox")
    return parcel.arrived


def check_sequence(post: Post, seen: int) -> None:
    """seen: number of the newest package that the server says it has of this party.  Raises RolledBack.

    The server gives no proof, so it can stop somebody with a number that it made up; it need not answer either.
    """
    own = post.journal.register.last_sequence()
    if seen > own:
        said = f"the server says that it has package {seen} of {post.party}; this home has made {own}"
        raise RolledBack(said, hint=_SAID)
