"""Where attacks take place: a federation with real keys, its packages, and parties who open what they are given."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import rfc8785

from fedspallm_secure.app import packages
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.crypto.body import BodyEncryptor
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.merkle import leaf_hash, root
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.crypto.signing import Signer, sign
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.protocol.packages import Context
from fedspallm_secure.protocol.receiving import Awaited, Reader
from fedspallm_secure.storage.package_writer import Source, write_package
from fedspallm_secure.storage.register import SqliteRegister, open_register
from tests.parties import Federation

MIB = 1 << 20
SENDER, RECIPIENT, THIEF, THIRD = "member/north", "member/south", "member/west", "auditor/watch"
CHUNK = 16_400  # bytes of an encrypted chunk
BODY_START = 56  # bytes of salt and commitment


@dataclass
class Outcome:
    """What became of a suite of attacks, in plain counts.

    counts: attacks by kind; refused: refusals by error class; accepted: what was opened although it must not be;
    crashes: errors that are none of ours; published: files that lay about afterwards; unexpected: other error classes
    than expected; growth: KiB by which the peak of resident memory rose.
    """

    counts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    growth: int = 0

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def failures(self) -> list[str]:
        """Everything that must not be, one line each."""
        named = ("accepted", "crashes", "published", "unexpected")
        return [f"{name}: {line}" for name in named for line in getattr(self, name)]

    def as_dict(self) -> dict[str, Any]:
        return {
            "attacks": self.total,
            "counts": dict(sorted(self.counts.items())),
            "refused": dict(sorted(self.refused.items())),
            "accepted": len(self.accepted),
            "crashes": len(self.crashes),
            "published": len(self.published),
            "unexpected": len(self.unexpected),
            "skipped": self.skipped,
            "growth_kib": self.growth,
        }

    @contextmanager
    def judging(self, kind: str, what: str, expected: tuple[type[FedSpaError], ...] = (FedSpaError,)) -> Iterator[None]:
        """Count one attack that is made in the body of the `with`."""
        self.counts[kind] += 1
        try:
            yield
        except FedSpaError as error:
            self.refused[type(error).__name__] += 1
            if not isinstance(error, expected):
                self.unexpected.append(f"{kind}, {what}: {type(error).__name__}: {error}")
            if not str(error).isprintable():
                self.unexpected.append(f"{kind}, {what}: the message could steer a terminal: {str(error)!r}")
        except Exception as error:
            self.crashes.append(f"{kind}, {what}: {type(error).__name__}: {error}")
        else:
            self.accepted.append(f"{kind}, {what}")

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Note by how much the peak of resident memory rises in the body of the `with`."""
        before = peak_memory()
        yield
        self.growth = peak_memory() - before


def peak_memory() -> int:
    """VmHWM of this process, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


@dataclass(frozen=True)
class Parts:
    """A package taken apart, without any check.  length: what its header's length field says, None for the truth."""

    header: bytes
    signature: bytes
    hashes: tuple[bytes, ...]
    body: bytes
    length: int | None = None

    @classmethod
    def of(cls, data: bytes) -> "Parts":
        size = int.from_bytes(data[8:12], "little")
        header = data[12 : 12 + size]
        start = 76 + size
        tiles = json.loads(header)["tiles"]
        hashes = tuple(data[start + 32 * number : start + 32 * number + 32] for number in range(tiles))
        return cls(header, data[12 + size : start], hashes, data[start + 32 * tiles :])

    def join(self) -> bytes:
        length = len(self.header) if self.length is None else self.length
        return b"".join(
            [b"FSPKG1\r\n", length.to_bytes(4, "little"), self.header, self.signature, *self.hashes, self.body]
        )

    @property
    def fields(self) -> dict[str, Any]:
        """The header, parsed; a new one each time."""
        return json.loads(self.header)

    @property
    def tiles(self) -> list[bytes]:
        return [self.body[start : start + MIB] for start in range(0, len(self.body), MIB)]

    def with_fields(self, fields: Mapping[str, Any]) -> "Parts":
        return replace(self, header=rfc8785.dumps(dict(fields)))

    def with_context(self, **changes: Any) -> "Parts":
        fields = self.fields
        return self.with_fields({**fields, "ctx": {**fields["ctx"], **changes}})

    def with_body(self, body: bytes) -> "Parts":
        """Another body, with the hashes, root and lengths that belong to it; the signature stays."""
        tiles = [body[start : start + MIB] for start in range(0, len(body), MIB)]
        hashes = tuple(leaf_hash(tile) for tile in tiles)
        fields = {**self.fields, "body_len": len(body), "body_root": root(hashes).hex(), "tiles": len(tiles)}
        return replace(self.with_fields(fields), hashes=hashes, body=body)

    def signed(self, signer: Signer) -> "Parts":
        return replace(self, signature=sign(signer, Label.SIGN_PACKAGE, self.header))


class Stage:
    """A folder with a federation that works in it.  Everybody has a register that lasts as long as the stage.

    Within it nothing is flushed to disk, which would take most of the time and is tested elsewhere.
    """

    def __init__(self, folder: Path, federation: Federation | None = None) -> None:
        self.folder = folder
        self.federation = federation or Federation(now=int(time.time()))
        self.medium, self.out, self.home = (folder / name for name in ("medium", "out", "home"))
        for made in (self.medium, self.out, self.home):
            made.mkdir(exist_ok=True)
        self._stack = ExitStack()
        self._registers: dict[str, SqliteRegister] = {}

    def __enter__(self) -> "Stage":
        self._stack.enter_context(mock.patch.object(os, "fsync", lambda descriptor: None))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def register(self, name: str) -> SqliteRegister:
        if name not in self._registers:
            path = self.home / f"{name.replace('/', '-')}.sqlite"
            self._registers[name] = self._stack.enter_context(open_register(path))
            self._registers[name].connection.execute("PRAGMA synchronous = OFF")
        return self._registers[name]

    def desk(self, name: str, register: SqliteRegister | None = None) -> packages.Desk:
        actor = self.federation[name]
        return packages.Desk(
            actor.party, self.federation.trust, register or self.register(name), self.home / "evidence"
        )

    def seal(self, data: bytes, sender: str = SENDER, recipient: str = RECIPIENT, kem: Kem = Kem.X25519) -> bytes:
        """A good package of type `file`, as bytes."""
        plain, made = self.home / "plain", self.home / "made.fspkg"
        plain.write_bytes(data)
        signer = self.federation[sender].signer
        packages.seal(self.desk(sender), plain, made, Party.parse(recipient), signer, 86_400, kem, Silent())
        return _taken(made, plain)

    def write(self, data: bytes, sender: str = SENDER, recipient: str = RECIPIENT, **context: Any) -> bytes:
        """A good package of any context, as bytes."""
        plain, made = self.home / "plain", self.home / "made.fspkg"
        plain.write_bytes(data)
        made_context = self.federation.context(sender, recipient, **context)
        to = self.federation[recipient].entry.key_statement.keys
        key = next(key for key in to if key.key_id == made_context.recipient_key)
        descriptor = os.open(plain, os.O_RDONLY)
        try:
            source = Source(descriptor, len(data), "plain")
            write_package(made, source, made_context, key, self.federation[sender].signer, lambda _: None)
        finally:
            os.close(descriptor)
        return _taken(made, plain)

    def open(
        self, path: Path, recipient: str = RECIPIENT, output: Path | None = None, awaited: Awaited = packages.FILES
    ) -> bytes:
        """Open as `recipient`; the plaintext, which is taken away again."""
        actor = self.federation[recipient]
        target = output or self.out / "plain"
        _, found = packages.open_sealed(
            self.desk(recipient), actor.reader, actor.secrets, path, target, Silent(), awaited
        )
        return _taken(found)

    def verify(self, path: Path, recipient: str | None = RECIPIENT, awaited: Awaited = packages.FILES) -> None:
        reader = Reader() if recipient is None else self.federation[recipient].reader
        packages.verify(path, reader, self.federation.trust, Silent(), awaited)

    def left_behind(self) -> list[str]:
        """Names of everything in the output folder; they are removed."""
        found = sorted(self.out.iterdir())
        for entry in found:
            entry.unlink()
        return [entry.name for entry in found]


def _taken(path: Path, *others: Path) -> bytes:
    data = path.read_bytes()
    for entry in (path, *others):
        entry.unlink()
    return data


def body_of(data: bytes, file_key: bytes, context: Context) -> bytes:
    """An encrypted body, made by whoever knows or has chosen the file key."""
    encryptor = BodyEncryptor(file_key, context.info)
    buffer = bytearray(len(data) + len(data) // 1000 + 40_000)
    size = encryptor.update_into(data, buffer)
    return bytes(buffer[:size]) + encryptor.finish()
