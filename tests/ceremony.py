"""A whole federation on disk, enrolled by the functions that the commands call; passwords cost next to nothing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedspallm_secure.app import authority as ca
from fedspallm_secure.app import enrolment
from fedspallm_secure.app.imports import Imported, import_files
from fedspallm_secure.app.requests import review
from fedspallm_secure.crypto.certificates import Root
from fedspallm_secure.crypto.fingerprints import check_fingerprint
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.passwords import KdfParameters, Password
from fedspallm_secure.crypto.profiles import DAY
from fedspallm_secure.crypto.revocation import Reason
from fedspallm_secure.protocol.enrolment import Request
from fedspallm_secure.storage.authority import Authority, open_authority
from fedspallm_secure.storage.home import Home, open_home
from fedspallm_secure.storage.home_folder import Identity
from fedspallm_secure.storage.pem import REVOCATION_LIST, encode_pem

CHEAP = KdfParameters(memory_kib=8, passes=1, lanes=1)
PASSWORD = Password.from_text("open sesame")
FEDERATION = "lungs.example"

__all__ = ["CHEAP", "DAY", "FEDERATION", "PASSWORD", "Ceremony", "Clock"]


class Clock:
    """The clock that the application reads, which tests move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = int(time.time())
        monkeypatch.setattr(time, "time", lambda: float(self.now))

    def pass_days(self, days: float) -> None:
        self.now += int(days * DAY)


class Ceremony:
    """One authority and the homes of its parties, under one folder."""

    def __init__(self, folder: Path, federation: str = FEDERATION, new: bool = True) -> None:
        self.folder, self.federation, self.count = folder, federation, 0
        folder.mkdir(exist_ok=True)
        if new:
            ca.init(self.ca, federation, PASSWORD, None, CHEAP)

    @property
    def ca(self) -> Path:
        return self.folder / "ca"

    def home(self, name: str) -> Path:
        return self.folder / name.replace("/", "-")

    @contextmanager
    def authority(self) -> Iterator[Authority]:
        with open_authority(self.ca) as found:
            yield found

    @property
    def root(self) -> Root:
        with self.authority() as found:
            return found.root

    def identity(self, name: str) -> Identity:
        party = Party.parse(name)
        hosts = ("hub.lungs.example", "192.0.2.7") if party.role is Role.SERVER else ()
        return Identity(self.federation, party, hosts)

    def request(self, name: str, home: Path | None = None, prekeys: int | None = None) -> Request:
        identity = self.identity(name)
        count = prekeys if prekeys is not None else 2 if identity.party.role is Role.MEMBER else 0
        return enrolment.make_request(home or self.home(name), identity, PASSWORD, count, CHEAP)

    def renew(self, name: str) -> Request:
        return enrolment.renew(self.home(name), PASSWORD, 2 if name.startswith("member") else 0, CHEAP)

    def sign(self, request: Request | bytes) -> bytes:
        data = request if isinstance(request, bytes) else request.encode()
        with self.authority() as found:
            return ca.sign(found, review(found, data), PASSWORD)

    def roster(self) -> bytes:
        with self.authority() as found:
            return ca.publish_roster(found, PASSWORD).encode()

    def crl(self, days: int | None = None) -> bytes:
        with self.authority() as found:
            return encode_pem(REVOCATION_LIST, ca.publish_list(found, PASSWORD, days))

    def revoke(self, name: str) -> bytes:
        with self.authority() as found:
            _, der = ca.revoke(found, Party.parse(name), Reason.KEY_COMPROMISE, PASSWORD)
            return encode_pem(REVOCATION_LIST, der)

    def file(self, data: bytes) -> Path:
        self.count += 1
        path = self.folder / f"document-{self.count}"
        path.write_bytes(data)
        return path

    def take(self, home: str | Path, *documents: bytes, fingerprint: str | None = None) -> list[Imported]:
        """Import documents; the root is compared with `fingerprint`, or with the authority's own."""
        path = home if isinstance(home, Path) else self.home(home)
        expected = fingerprint or self.root.fingerprint

        def compare(root: Root, pinned: bool) -> None:
            check_fingerprint(root.der, expected, "the root")

        return import_files(path, [self.file(data) for data in documents], compare)

    def enrol(self, name: str) -> Home:
        self.take(name, self.sign(self.request(name)))
        return open_home(self.home(name))

    def enrol_all(self, *names: str) -> None:
        """Everybody, and the roster of all of them."""
        for name in names:
            self.enrol(name)
        roster = self.roster()
        for name in names:
            self.take(name, roster)

    def open(self, name: str) -> Home:
        return open_home(self.home(name))
