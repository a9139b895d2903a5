"""A package that is arriving: a file that grows, survives a crash, and is checked as soon as its head is there."""

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.signing import SIGNATURE_SIZE
from fedspallm_secure.errors import (
    FedSpaError,
    LimitExceeded,
    NotAwaited,
    PackageFormatError,
    RunLocked,
    StorageError,
)
from fedspallm_secure.protocol.packages import PREFIX_SIZE, Head, Header, parse_prefix
from fedspallm_secure.storage.files import disk_errors, leads_to

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_PART = ".part"
Check = Callable[[Head], None]


class Host(Protocol):
    """Where an arrival goes.  check: raises what a head is refused with."""

    check: Check

    def take_in(self, part: Path, head: Head) -> None:
        """Give an arrival that is durable its place in the inbox."""

    def leave(self, digest: str) -> None:
        """An arrival has ended, one way or the other."""


def part_of(folder: Path, peer: Party, digest: str) -> Path:
    """Where a package of `peer` grows."""
    return folder / f"{peer.role_name}-{peer.id}.{digest}{_PART}"


def owner_of(part: Path) -> tuple[Party, str] | None:
    """Whose package grows there, and its digest; None for a file with another name."""
    who, _, digest = part.name.removesuffix(_PART).rpartition(".")
    try:
        peer = Party.parse(who.replace("-", "/", 1))
    except FedSpaError:
        return None
    return (peer, digest) if part_of(part.parent, peer, digest) == part else None


class FileArrival:
    """`transport.depot.Arrival`, in a file that is locked while it grows.  head: once the whole of it is there."""

    def __init__(self, host: Host, path: Path, peer: Party, digest: str, size: int) -> None:
        self.size = size
        self._host = host
        self._peer = peer
        self._digest = digest
        self._path = path
        self.head: Head | None = None
        with disk_errors(self._path):
            self._descriptor: int | None = _open_alone(self._path)
            self.offset = os.fstat(self._descriptor).st_size
        if self.offset > size:
            self._truncate()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """`transport.depot.Arrival.write`."""
        if self._descriptor is None:
            raise StorageError("this transfer has ended")
        view = memoryview(data)
        if self.offset + len(view) > self.size:
            self._refuse()
            raise LimitExceeded(f"more than the {self.size} bytes that were announced arrive")
        with disk_errors(self._path):
            while view:
                count = os.pwrite(self._descriptor, view, self.offset)
                self.offset += count
                view = view[count:]
        self._check()

    def finish(self) -> None:
        """`transport.depot.Arrival.finish`."""
        if self._descriptor is None or self.offset != self.size:
            raise PackageFormatError(f"{self.offset} of {self.size} bytes have arrived")
        self._check()
        if self.head is None:
            self._refuse()
            raise PackageFormatError("what arrived is too short to be a package")
        with disk_errors(self._path):
            os.fsync(self._descriptor)
        self._host.take_in(self._path, self.head)
        self.close()

    def close(self) -> None:
        """`transport.depot.Arrival.close`.  A file in which nothing has arrived is removed."""
        if self._descriptor is not None:
            with suppress(OSError):
                if not os.fstat(self._descriptor).st_size and leads_to(self._path, self._descriptor):
                    self._path.unlink()
            os.close(self._descriptor)
            self._descriptor = None
            self._host.leave(self._digest)

    def _check(self) -> None:
        """Check the head as soon as the whole of it is there, once."""
        if self.head is not None or self.offset < PREFIX_SIZE or self._descriptor is None:
            return
        try:
            length = parse_prefix(os.pread(self._descriptor, PREFIX_SIZE, 0))
            end = PREFIX_SIZE + length + SIGNATURE_SIZE
            if self.offset < min(end, self.size):
                return
            rest = os.pread(self._descriptor, end - PREFIX_SIZE, PREFIX_SIZE)
            if len(rest) != end - PREFIX_SIZE:
                raise PackageFormatError("it ends before its header and signature do")
            head = Head(rest[:length], Header.parse(rest[:length]), rest[length:])
            if head.digest.hex() != self._digest or head.size != self.size:
                raise PackageFormatError("what arrives is not the package that was announced")
            if head.context.sender != self._peer:
                raise NotAwaited(f"{self._peer} delivers a package of {head.context.sender}", hint="each sends its own")
            self._host.check(head)
        except FedSpaError:
            self._refuse()
            raise
        self.head = head

    def _refuse(self) -> None:
        try:
            with disk_errors(self._path):
                self._path.unlink(missing_ok=True)
        finally:
            self.close()

    def _truncate(self) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
        self.offset = 0


def _open_alone(path: Path) -> int:
    """Open a file that grows, or make it.  Raises RunLocked while another process has it, or has just renamed it."""
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not leads_to(path, descriptor):
            raise BlockingIOError
    except BlockingIOError:
        os.close(descriptor)
        raise RunLocked(f"another process is writing {path}") from None
    return descriptor
