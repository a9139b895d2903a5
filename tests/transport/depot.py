"""A depot in a folder, without a journal: what a transport needs, and a record of what it was told."""

import hashlib
import json
import os
from collections import defaultdict
from pathlib import Path
from threading import Lock

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import (
    LimitExceeded,
    NotAwaited,
    PackageFormatError,
    RunLocked,
    StorageError,
)
from fedspallm_secure.transport.depot import Listed


def parcel(sender: str, body: bytes) -> bytes:
    """What these tests send for a package: a line that says whose it is and how long, and a body."""
    line = json.dumps({"sender": sender, "body": len(body)}).encode() + b"\n"
    return line + body


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class FolderArrival:
    """`Arrival` in a file."""

    def __init__(self, depot: "FolderDepot", peer: Party, digest: str, size: int) -> None:
        self.size, self._depot, self._peer, self._digest = size, depot, peer, digest
        self._path = depot.folder / f"{peer.id}.{digest}.part"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        self.offset = os.fstat(self._file).st_size
        self._checked = False
        self._open = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._open:
            raise StorageError("this transfer has ended")
        if self.offset + len(data) > self.size:
            self._refuse()
            raise LimitExceeded(f"more than the {self.size} bytes that were announced arrive")
        self._depot.on_write(self)
        self.offset += os.pwrite(self._file, data, self.offset)
        if not self._checked and self._depot.checks:
            self._check()

    def _check(self) -> None:
        line, found, _ = os.pread(self._file, 200, 0).partition(b"\n")
        if not found:
            return
        self._checked = True
        try:
            said = json.loads(line)
        except ValueError:
            self._refuse()
            raise PackageFormatError("the file does not begin like a package") from None
        if said["sender"] != str(self._peer):
            self._refuse()
            raise NotAwaited(f"{self._peer} delivers a package of {said['sender']}")
        if said["body"] + len(line) + 1 != self.size:
            self._refuse()
            raise PackageFormatError("what arrives is not as long as its head says")

    def finish(self) -> None:
        if self.offset != self.size:
            raise PackageFormatError(f"{self.offset} of {self.size} bytes have arrived")
        if self._depot.checks and digest_of(self._path.read_bytes()) != self._digest:
            self._refuse()
            raise PackageFormatError("what arrived is not what was announced")
        if self._depot.durable:
            os.fsync(self._file)
        self._path.rename(self._depot.inbox(self._digest))
        self.close()

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._file)
            self._depot.left(self._digest)

    def _refuse(self) -> None:
        self._path.unlink(missing_ok=True)
        self._depot.refused.add(self._digest)
        self.close()


class FolderDepot:
    """`Depot` in a folder.  quota: bytes that may wait from one party; checks: look at heads and digests."""

    def __init__(self, folder: Path, quota: int = 1 << 40, checks: bool = True, durable: bool = False) -> None:
        self.folder, self.quota, self.checks, self.durable = folder, quota, checks, durable
        folder.mkdir(parents=True, exist_ok=True)
        self.waiting: dict[Party, int] = defaultdict(int)
        self.refused: set[str] = set()
        self.out: dict[Party, list[tuple[Listed, Path]]] = defaultdict(list)
        self.damaged: dict[Party, list[str]] = defaultdict(list)
        self.gone: list[tuple[Party, str]] = []
        self.awaited: dict[Party, str] = {}
        self.on_write = lambda arrival: None
        self._busy: set[str] = set()
        self._lock = Lock()
        self._number = 0

    def inbox(self, digest: str) -> Path:
        return self.folder / f"{digest}.in"

    def arrival(self, peer: Party, digest: str, size: int) -> FolderArrival | None:
        with self._lock:
            if self.inbox(digest).exists():
                return None
            if digest in self.refused:
                raise NotAwaited("this package was refused before")
            if size < 1 or self.waiting[peer] + size > self.quota:
                raise LimitExceeded(f"{self.waiting[peer]} bytes of {peer} wait here already", hint="wait for them")
            if digest in self._busy:
                raise RunLocked(f"another process is writing {self.folder}")
            self._busy.add(digest)
        return FolderArrival(self, peer, digest, size)

    def left(self, digest: str) -> None:
        with self._lock:
            self._busy.discard(digest)

    def put(self, peer: Party, data: bytes, type_: str = "file") -> Listed:
        """Put a package into the outbox."""
        self._number += 1
        path = self.folder / f"{self._number}.out"
        path.write_bytes(data)
        listed = Listed(self._number, digest_of(data), len(data), type_, 0, "*")
        self.out[peer].append((listed, path))
        return listed

    def listing(self, peer: Party, after: int, most: int) -> list[Listed]:
        return [listed for listed, _ in self.out[peer] if listed.number > after][:most]

    def departure(self, peer: Party, digest: str) -> Path | None:
        return next((path for listed, path in self.out[peer] if listed.digest == digest), None)

    def again(self, peer: Party) -> list[str]:
        return self.damaged[peer]

    def why_awaited(self, peer: Party) -> str:
        return self.awaited.get(peer, "")

    def departed(self, peer: Party, digest: str) -> None:
        self.gone.append((peer, digest))
