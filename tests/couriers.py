"""Parties with real keys, journals and spools, who exchange packages on media alone.

with Couriers(folder) as found:
    found.send("server/hub", "member/north", b"hello")
    found.export("server/hub", medium)
    found.take("member/north", medium)
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from fedspallm_secure.app.courier.exporting import Exported, export
from fedspallm_secure.app.courier.importing import import_from
from fedspallm_secure.app.courier.media import open_medium
from fedspallm_secure.app.courier.outcomes import Imported
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.protocol.bundles import Bundle, Contents
from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.protocol.receiving import Awaited, Trust, check_head
from fedspallm_secure.storage.bundle_register import BundleRegister
from fedspallm_secure.storage.journal import Departure, Journal, open_journal
from fedspallm_secure.storage.package_writer import Source, write_package
from fedspallm_secure.storage.register import open_register
from fedspallm_secure.storage.spool import Spool, open_spool
from tests.parties import Federation

HUB, NORTH, SOUTH = "server/hub", "member/north", "member/south"


@dataclass
class FakePost:
    """A party at its desk: everything real but for the folder of its home."""

    name: str
    federation: Federation
    journal: Journal
    depot: Spool
    bundles: BundleRegister
    folder: Path

    @property
    def party(self) -> Party:
        return Party.parse(self.name)

    @property
    def trust(self) -> Trust:
        return self.federation.trust

    @property
    def signer(self) -> Signer:
        return self.federation[self.name].signer

    def now(self) -> int:
        return self.federation.now


class Couriers:
    """A federation in a folder.  Within it nothing is flushed to disk, which is tested elsewhere."""

    def __init__(self, folder: Path, federation: Federation | None = None) -> None:
        import time

        self.folder = folder
        self.federation = federation or Federation(now=int(time.time()))
        self.stack = ExitStack()
        self.posts: dict[str, FakePost] = {}
        self._sequence = 0

    def __enter__(self) -> "Couriers":
        self.stack.enter_context(mock.patch.object(os, "fsync", lambda descriptor: None))
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def post(self, name: str) -> FakePost:
        if name not in self.posts:
            self.posts[name] = self.open(name, self.folder / name.replace("/", "-"))
        return self.posts[name]

    def open(self, name: str, home: Path) -> FakePost:
        """A party with a home of its own in `home`, new or opened again."""
        home.mkdir(exist_ok=True)
        path = home / "register.sqlite"
        with open_register(path):
            pass
        journal = self.stack.enter_context(open_journal(path, name, bytes(32)))
        journal.connection.execute("PRAGMA synchronous = OFF")
        reader = self.federation[name].reader

        def check(head: Head) -> None:
            check_head(head, reader, self.federation.trust, None, Awaited(), self.federation.now)

        spool = self.stack.enter_context(open_spool(path, home / "spool", check))
        return FakePost(name, self.federation, journal, spool, BundleRegister(journal.connection, path), home)

    def package(self, sender: str, recipient: str, data: bytes, path: Path, **context) -> Head:
        """A good package of type `file`, or of another context."""
        plain = self.folder / "plain"
        plain.write_bytes(data)
        self._sequence += 1
        made = self.federation.context(sender, recipient, **{"sequence": self._sequence, **context})
        keys = self.federation[recipient].entry.key_statement.keys
        key = next(key for key in keys if key.key_id == made.recipient_key)
        descriptor = os.open(plain, os.O_RDONLY)
        try:
            source = Source(descriptor, len(data), "plain")
            return write_package(path, source, made, key, self.federation[sender].signer, lambda _: None)
        finally:
            os.close(descriptor)

    def send(self, sender: str, recipient: str, data: bytes = b"hello", **context) -> str:
        """Put a package into an outbox; its digest."""
        post, made = self.post(sender), self.folder / "made.fspkg"
        head = self.package(sender, recipient, data, made, **context)
        digest, now = head.digest.hex(), self.federation.now
        made.rename(post.depot.inside("out", digest))
        found = head.context
        post.journal.send(
            Departure(digest, recipient, found.type, found.round, found.group, head.size, now, now + 86_400)
        )
        return digest

    def export(
        self, name: str, medium: Path | None, *chosen: str, single: Path | None = None, everything: bool = False
    ) -> list[Exported]:
        parties = [Party.parse(other) for other in chosen]
        return export(self.post(name), medium, single, parties, everything, "", Silent())

    def take(self, name: str, medium: Path) -> list[Imported]:
        with open_medium(medium) as opened:
            return import_from(self.post(name), opened, Silent())

    def inbox(self, name: str) -> list[str]:
        """Digests of what waits in an inbox."""
        return [arrived.digest for arrived in self.post(name).depot.arrived()]

    def waiting(self, name: str) -> list[str]:
        """Digests of what is in an outbox and is not known to have arrived."""
        return [one.digest for one in self.post(name).depot.outgoing() if not one.departed]

    def index(
        self, sender: str, recipient: str, contents: Contents, number: int = 1, previous: str | None = None, **other
    ) -> Bundle:
        """An index of whatever content.  other: signer, federation or created that are not the true ones."""
        values = {"signer": self.federation[sender].signer, "federation": self.federation.name}
        values = {**values, "created": self.federation.now, **other}
        before = previous or ("*" if number == 1 else "ab" * 32)
        return Bundle.make(
            values["signer"],
            values["federation"],
            Party.parse(sender),
            Party.parse(recipient),
            number,
            before,
            values["created"],
            contents,
        )


def names(medium: Path, suffix: str = "") -> Sequence[str]:
    return sorted(entry.name for entry in medium.iterdir() if entry.name.endswith(suffix))
