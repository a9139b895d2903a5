"""Hostile media: entries and folders made to be followed, to block, to be exchanged, or to be written through.

    python -m tests.attacks.hostile     prints the figures as JSON

Each case runs in a scene of its own: a medium that somebody prepared, a folder for what is opened, and a tree beside
them that nobody may touch.  After each attack all three must be as they were, but for a plaintext that may be opened.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from fedspallm_secure.app import packages
from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.crypto.merkle import leaf_hash, root
from fedspallm_secure.errors import (
    CannotDecrypt,
    FedSpaError,
    HostileFile,
    LimitExceeded,
    MissingInput,
    NotAllowed,
    OutputExists,
    PackageFormatError,
    ReplayedPackage,
    RunLocked,
    StorageError,
    TileMismatch,
    TrailingBytes,
    Truncated,
)
from fedspallm_secure.protocol.limits import FOLDER_LIMIT
from fedspallm_secure.storage.outside import open_entry, open_folder
from fedspallm_secure.storage.package_reader import PACKAGE_LIMIT, PackageReader
from tests.attacks.stage import MIB, RECIPIENT, THIEF, Outcome, Parts, Stage

SECONDS = 10.0  # after which an attack counts as blocked
PLAIN = b"the plaintext of the good package"
NAME = "x.fspkg"
Call = Callable[[], object]


class Held(int):
    """A descriptor that stays open while the attack lasts."""


class Skipped(Exception):
    """This machine does not allow to prepare the case."""


class Scene:
    """What one case works with.  The stage, and with it the registers, is shared by all of them."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage, self.folder = stage, folder
        self.medium, self.out, self.sentinel = (folder / name for name in ("medium", "out", "sentinel"))
        for made in (self.medium, self.out, self.sentinel, self.sentinel / "deep"):
            made.mkdir(parents=True)
        self.medium.chmod(0o755)
        for name in ("treasure", "deep/.out.fedprune-part", "deep/x.fspkg"):
            (self.sentinel / name).write_bytes(b"precious: " + name.encode())
        (self.sentinel / "link").symlink_to("treasure")
        self.treasure = self.sentinel / "treasure"
        self.entry = self.medium / NAME
        self.expected_output: list[bytes] = [PLAIN]

    def good(self, name: str | Path = NAME) -> Path:
        """A good package on the medium; a new one each time."""
        path = self.medium / name
        path.write_bytes(self.stage.seal(PLAIN))
        return path

    def open(self, path: Path | None = None, output: Path | None = None) -> Path:
        actor = self.stage.federation[RECIPIENT]
        target = output or self.out
        return packages.open_sealed(
            self.stage.desk(RECIPIENT), actor.reader, actor.secrets, path or self.entry, target, _silent
        )[1]

    def open_all(self) -> None:
        """What `open` does with a folder."""
        for path in packages.packages_in([self.medium]):
            self.open(path)

    def verify_all(self) -> None:
        for path in packages.packages_in([self.medium]):
            self.stage.verify(path)

    def inspect_all(self) -> None:
        for path in packages.packages_in([self.medium]):
            packages.inspect(path)

    @property
    def readings(self) -> list[Call]:
        """Three ways to come across a hostile entry."""
        return [self.open_all, self.verify_all, self.inspect_all]


class _Silent:
    def update(self, task: str, done: int, total: int, unit: str) -> None: ...

    def say(self, line: str) -> None: ...


_silent = _Silent()


@dataclass(frozen=True)
class Case:
    """expected: the class of the refusal, exactly; None for what is harmless and has to open."""

    kind: str
    name: str
    expected: type[FedSpaError] | None
    prepare: Callable[[Scene], Any]


CASES: list[Case] = []


def case(kind: str, name: str, expected: type[FedSpaError] | None) -> Callable[[Callable[[Scene], Any]], None]:
    """Register a function that prepares a scene and gives the calls to make; a generator may clean up after them."""

    def register(prepare: Callable[[Scene], Any]) -> None:
        CASES.append(Case(kind, name, expected, contextmanager(prepare)))

    return register


def entries(kind: str, expected: type[FedSpaError], named: dict[str, Callable[[Scene], object]], ways: int = 3) -> None:
    """Cases that put one entry on the medium, which is then read in all three ways, or in the first `ways` ones."""
    for name, make in named.items():

        def prepare(scene: Scene, make: Callable[[Scene], object] = make) -> Iterator[list[Call]]:
            made = make(scene)
            yield scene.readings[:ways]
            if isinstance(made, Held):
                os.close(made)

        case(kind, name, expected)(prepare)


# Entries that are no plain files


def listening(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


def device(path: Path, kind: int, major: int, minor: int) -> None:
    try:
        os.mknod(path, 0o666 | kind, os.makedev(major, minor))
    except OSError as error:
        raise Skipped(f"mknod: {error.strerror}") from error


def loop_of_two(scene: Scene) -> None:
    scene.entry.symlink_to("y.fspkg")
    (scene.medium / "y.fspkg").symlink_to(NAME)


def chain(scene: Scene) -> None:
    scene.good("link0")
    for number in range(30):
        (scene.medium / f"link{number + 1}").symlink_to(f"link{number}")
    scene.entry.symlink_to("link30")


entries(
    "link",
    HostileFile,
    {
        "to a good package beside it": lambda scene: scene.entry.symlink_to(scene.good("good").name),
        "to a good package elsewhere": lambda scene: scene.entry.symlink_to(scene.good(scene.sentinel / "good")),
        "to a file outside": lambda scene: scene.entry.symlink_to(scene.treasure),
        "to a file outside, relative": lambda scene: scene.entry.symlink_to("../sentinel/treasure"),
        "to /etc/passwd": lambda scene: scene.entry.symlink_to("/etc/passwd"),
        "to /dev/zero": lambda scene: scene.entry.symlink_to("/dev/zero"),
        "to the memory of the process": lambda scene: scene.entry.symlink_to("/proc/self/mem"),
        "to standard input": lambda scene: scene.entry.symlink_to("/dev/stdin"),
        "to nothing": lambda scene: scene.entry.symlink_to("nowhere"),
        "to itself": lambda scene: scene.entry.symlink_to(NAME),
        "in a loop of two": loop_of_two,
        "at the end of a chain": chain,
        "to a folder": lambda scene: scene.entry.symlink_to(scene.sentinel),
        "to its own folder": lambda scene: scene.entry.symlink_to("."),
        "to the root": lambda scene: scene.entry.symlink_to("/"),
    },
)
entries(
    "hard link",
    HostileFile,
    {
        "to a good package beside it": lambda scene: scene.entry.hardlink_to(scene.good("good")),
        "to a file outside": lambda scene: scene.entry.hardlink_to(scene.treasure),
        "both names are packages": lambda scene: (scene.medium / "y.fspkg").hardlink_to(scene.good()),
        "hidden": lambda scene: (scene.medium / ".y.fspkg").hardlink_to(scene.good()),
    },
)
entries(
    "special",
    HostileFile,
    {
        "pipe": lambda scene: os.mkfifo(scene.entry),
        "pipe with a writer": lambda scene: (os.mkfifo(scene.entry), Held(os.open(scene.entry, os.O_RDWR)))[1],
        "socket": lambda scene: listening(scene.entry),
        "device that gives zeros": lambda scene: device(scene.entry, stat.S_IFCHR, 1, 5),
        "device that is always full": lambda scene: device(scene.entry, stat.S_IFCHR, 1, 7),
        "device that is the terminal": lambda scene: device(scene.entry, stat.S_IFCHR, 5, 0),
        "device that is nothing": lambda scene: device(scene.entry, stat.S_IFCHR, 1, 3),
        "device that nobody drives": lambda scene: device(scene.entry, stat.S_IFCHR, 250, 250),
        "disk": lambda scene: device(scene.entry, stat.S_IFBLK, 7, 250),
        "folder": lambda scene: scene.entry.mkdir(),
        "folder with a good package in it": lambda scene: (scene.entry.mkdir(), scene.good(f"{NAME}/{NAME}"))[0],
    },
)


# Sizes and contents


def sparse(size: int, start: bytes = b"") -> Callable[[Scene], None]:
    def make(scene: Scene) -> None:
        scene.entry.write_bytes(start)
        os.truncate(scene.entry, size)

    return make


def appended_to_good(size: int) -> Callable[[Scene], None]:
    def make(scene: Scene) -> None:
        path = scene.good()
        os.truncate(path, path.stat().st_size + size)

    return make


def claiming(size: int, *, signer: str = THIEF, **context: Any) -> Callable[[Scene], Parts]:
    """A member's own sound header over a body that is not there.  size: bytes of plaintext."""

    def make(scene: Scene) -> Parts:
        parts = Parts.of(scene.stage.seal(b"", sender=signer))
        length = body_length(size)
        fields = {**parts.fields, "body_len": length, "tiles": -(-length // MIB)}
        parts = parts.with_fields(fields).with_context(**context)
        parts = parts.signed(scene.stage.federation[signer].signer)
        scene.entry.write_bytes(parts.join())
        return parts

    return make


def filled(size: int) -> Callable[[Scene], None]:
    """The same, and the body is there, as a hole in the file, with its true hashes: it costs its maker nothing."""

    def make(scene: Scene) -> None:
        parts = claiming(size)(scene)
        length = parts.fields["body_len"]
        hashes = [leaf_hash(bytes(MIB))] * (length // MIB) + [leaf_hash(bytes(length % MIB))]
        parts = parts.with_fields({**parts.fields, "body_root": root(hashes).hex()})
        parts = parts.signed(scene.stage.federation[THIEF].signer)
        start = Parts(parts.header, parts.signature, tuple(hashes), b"").join()
        scene.entry.write_bytes(start)
        os.truncate(scene.entry, len(start) + length)

    return make


def header_of(data: bytes) -> bytes:
    return b"FSPKG1\r\n" + len(data).to_bytes(4, "little") + data + bytes(200)


entries(
    "size", LimitExceeded, {"a tebibyte of nothing": sparse(1 << 40), "one byte too many": sparse(PACKAGE_LIMIT + 1)}
)
entries(
    "size",
    PackageFormatError,
    {
        "empty": sparse(0),
        "one byte": sparse(1),
        "as large as may be, of nothing": sparse(PACKAGE_LIMIT),
        "as large as may be, with the beginning of a package": sparse(PACKAGE_LIMIT, b"FSPKG1\r\n"),
    },
)
entries("size", TrailingBytes, {"a good package and a hole": appended_to_good(1 << 30)}, ways=2)
entries(
    "claim",
    Truncated,
    {
        "64 GiB in a small file": claiming((1 << 36) - MIB),
        "the largest there may be, in a small file": claiming(1 << 36),
    },
    ways=2,  # to inspect reads the header and believes nothing
)
entries(
    "claim",
    PackageFormatError,
    {
        "a header of 64 KiB of spaces": lambda scene: scene.entry.write_bytes(header_of(b" " * 65_536)),
        "a header of nothing but brackets": lambda scene: scene.entry.write_bytes(header_of(b"[" * 65_536)),
        "a header of nothing but objects": lambda scene: scene.entry.write_bytes(header_of(b'{"":' * 16_384)),
        "a number of 65,534 digits": lambda scene: scene.entry.write_bytes(header_of(b"[" + b"9" * 65_534 + b"]")),
        "a name with escapes": lambda scene: scene.entry.write_bytes(header_of(b'{"\\u001b[2J":"\\u001b]0;x\\u0007"}')),
        "a name that is no text": lambda scene: scene.entry.write_bytes(header_of(b'{"\\ud800":1}')),
        "ten thousand members": lambda scene: scene.entry.write_bytes(
            header_of(b"{" + b",".join(b'"%d":0' % number for number in range(7000)) + b"}")
        ),
    },
)


@case("claim", "a gibibyte of holes with its true hashes", CannotDecrypt)
def _(scene: Scene) -> Iterator[list[Call]]:
    filled(1 << 30)(scene)
    yield [scene.open_all]


@case("claim", "a receipt larger than receipts are", NotAllowed)
def _(scene: Scene) -> Iterator[list[Call]]:
    context = {"type": "receipt", "round": 1, "plan_hash": "ab" * 32, "body_type": "bytes"}
    claiming((1 << 20) + 1, signer="server/hub", **context)(scene)
    yield [scene.open_all, scene.verify_all]


# Names


BAD_NAMES = {
    "nothing": "",
    "this folder": ".",
    "the folder above": "..",
    "absolute": "/etc/passwd",
    "up and down": "../sentinel/treasure",
    "in a folder": "sub/x.fspkg",
    "with a slash at its end": "x.fspkg/",
    "with NUL": "x.fspkg\0",
    "with NUL inside": "x.fspkg\0.txt",
    "that is no text": "\ud800.fspkg",
}
for _name, _value in BAD_NAMES.items():

    @case("name of an entry", _name, HostileFile)
    def _(scene: Scene, value: str = _value) -> Iterator[list[Call]]:
        scene.good()
        (scene.medium / "sub").mkdir()
        (scene.medium / "sub" / NAME).write_bytes(b"")

        def entry() -> None:
            with open_folder(scene.medium) as folder, open_entry(folder, value, value, 10**6):
                pass

        def package() -> None:
            with open_folder(scene.medium) as folder, open_entry(folder, value, value, PACKAGE_LIMIT) as file:
                PackageReader(file)

        yield [entry, package]


STRANGE_NAMES = {
    "newline": b"a\nb.fspkg",
    "line feed and carriage return": b"\r\n.fspkg",
    "clears the screen": b"\x1b[2J\x1b[H.fspkg",
    "sets the title": b"\x1b]0;owned\x07.fspkg",
    "one byte that starts a sequence": b"\xc2\x9b2J.fspkg",
    "not UTF-8": b"\xff\xfe.fspkg",
    "half a character": b"\xc3.fspkg",
    "reads from right to left": "\u202egkpsf.fspkg".encode(),
    "no width": "\u200b\u2060.fspkg".encode(),
    "255 bytes": b"a" * 249 + b".fspkg",
    "looks like an option": b"--output=x.fspkg",
    "looks like a command": b"$(touch owned);`touch owned`.fspkg",
    "looks like a home": b"~root.fspkg",
    "looks like a format": b"%s%n{0}{}.fspkg",
    "dots": b"a...fspkg",
    "spaces": b"   .fspkg",
    "wildcards": b"*?[a-z].fspkg",
    "backslashes": b"\\..\\x.fspkg",
    "reserved elsewhere": b"CON.fspkg",
}
for _name, _bytes in STRANGE_NAMES.items():

    @case("strange name", f"{_name}, good", None)
    def _(scene: Scene, name: bytes = _bytes) -> Iterator[list[Call]]:
        scene.good(os.fsdecode(name))
        yield [scene.inspect_all, scene.verify_all, scene.open_all]

    @case("strange name", f"{_name}, bad", PackageFormatError)
    def _(scene: Scene, name: bytes = _bytes) -> Iterator[list[Call]]:
        (scene.medium / os.fsdecode(name)).write_bytes(b"no package")
        yield scene.readings


@case("strange name", "two that differ in case", None)
def _(scene: Scene) -> Iterator[list[Call]]:
    scene.good("A.fspkg")
    scene.good("a.fspkg")
    scene.expected_output *= 2
    yield [scene.open_all]


@case("strange name", "two that look the same", None)
def _(scene: Scene) -> Iterator[list[Call]]:
    scene.good("é.fspkg")
    scene.good("e\u0301.fspkg")
    scene.expected_output *= 2
    yield [scene.open_all]


@case("strange name", "two of the same package", ReplayedPackage)
def _(scene: Scene) -> Iterator[list[Call]]:
    (scene.medium / "X.fspkg").write_bytes(scene.good().read_bytes())
    scene.open(scene.medium / "X.fspkg").unlink()
    yield [scene.open_all]


# Exchanged while somebody looks


@contextmanager
def after_looking(path: Path, change: Callable[[], object]) -> Iterator[None]:
    """Change something once, right after step 1 has looked at `path`."""
    real, done = os.lstat, []

    def lstat(name: Any, **options: Any) -> os.stat_result:
        status = real(name, **options)
        if name == path.name and not done:
            done.append(name)
            change()
        return status

    with mock.patch.object(os, "lstat", lstat):
        yield


@contextmanager
def after_reading(times: int, change: Callable[[], object]) -> Iterator[None]:
    """Change something after so many reads: 1 prefix, 2 header, 3 signature, 4 tile hashes, 5 the first tile."""
    real, done = os.readv, []

    def readv(*arguments: Any) -> int:
        count = real(*arguments)
        done.append(count)
        if len(done) == times:
            change()
        return count

    with mock.patch.object(os, "readv", readv):
        yield


def aside(scene: Scene) -> None:
    scene.entry.rename(scene.medium / "aside")


def replaced_by(make: Callable[[Scene], object]) -> Callable[[Scene], object]:
    return lambda scene: (aside(scene), make(scene))


def good_instead(scene: Scene) -> None:
    (scene.medium / "other").rename(scene.entry)


EXCHANGES: list[tuple[str, type[FedSpaError] | None, Callable[[Scene], object]]] = [
    ("another file", HostileFile, good_instead),
    ("a link to itself", HostileFile, replaced_by(lambda scene: scene.entry.symlink_to("aside"))),
    ("a link outside", HostileFile, replaced_by(lambda scene: scene.entry.symlink_to(scene.treasure))),
    ("a pipe", HostileFile, replaced_by(lambda scene: os.mkfifo(scene.entry))),
    ("a socket", HostileFile, replaced_by(lambda scene: listening(scene.entry))),
    ("a device", HostileFile, replaced_by(lambda scene: device(scene.entry, stat.S_IFCHR, 1, 5))),
    ("a folder", HostileFile, replaced_by(lambda scene: scene.entry.mkdir())),
    ("nothing", HostileFile, aside),
    ("itself with a second name", HostileFile, lambda scene: (scene.medium / "y").hardlink_to(scene.entry)),
    ("itself, empty", PackageFormatError, lambda scene: os.truncate(scene.entry, 0)),
    ("itself, one byte shorter", Truncated, lambda scene: os.truncate(scene.entry, scene.entry.stat().st_size - 1)),
    ("itself, one byte longer", TrailingBytes, lambda scene: os.truncate(scene.entry, scene.entry.stat().st_size + 1)),
    ("itself, too large", LimitExceeded, lambda scene: os.truncate(scene.entry, PACKAGE_LIMIT + 1)),
]
for _name, _expected, _change in EXCHANGES:

    @case("exchanged before opening", _name, _expected)
    def _(scene: Scene, change: Callable[[Scene], object] = _change) -> Iterator[list[Call]]:
        scene.good()
        scene.good("other")

        def attack() -> None:
            with after_looking(scene.entry, lambda: change(scene)):
                scene.open()

        yield [attack]


def overwrite(scene: Scene, start: int, data: bytes) -> None:
    descriptor = os.open(scene.entry, os.O_WRONLY)
    os.pwrite(descriptor, data, start if start >= 0 else scene.entry.stat().st_size + start)
    os.close(descriptor)


def size_of(scene: Scene) -> int:
    return scene.entry.stat().st_size


CHANGES: list[tuple[str, int, type[FedSpaError] | None, Callable[[Scene], object]]] = [
    ("emptied before the header", 1, PackageFormatError, lambda scene: os.truncate(scene.entry, 0)),
    ("cut within the header", 1, PackageFormatError, lambda scene: os.truncate(scene.entry, 100)),
    ("cut before the signature", 2, PackageFormatError, lambda scene: os.truncate(scene.entry, 100)),
    ("emptied before the tile hashes", 3, Truncated, lambda scene: os.truncate(scene.entry, 0)),
    ("one byte shorter", 3, Truncated, lambda scene: os.truncate(scene.entry, size_of(scene) - 1)),
    ("one byte longer", 3, TrailingBytes, lambda scene: os.truncate(scene.entry, size_of(scene) + 1)),
    ("one byte longer at the very end", 5, TrailingBytes, lambda scene: os.truncate(scene.entry, size_of(scene) + 1)),
    ("another body", 4, TileMismatch, lambda scene: overwrite(scene, -10, bytes(10))),
    ("other tile hashes", 3, TileMismatch, lambda scene: overwrite(scene, -(56 + 16 + len(PLAIN) + 9), bytes(5))),
    ("another head, too late", 3, None, lambda scene: overwrite(scene, 0, bytes(700))),
    ("another body, too late", 5, None, lambda scene: overwrite(scene, -10, bytes(10))),
    ("another file under its name", 1, None, good_instead),
    ("its name is gone", 1, None, aside),
]
for _name, _times, _expected, _change in CHANGES:

    @case("changed while read", _name, _expected)
    def _(scene: Scene, times: int = _times, change: Callable[[Scene], object] = _change) -> Iterator[list[Call]]:
        scene.good()
        scene.good("other")

        def attack() -> None:
            with after_reading(times, lambda: change(scene)):
                scene.open()

        yield [attack]


@case("unreadable", "nobody may read it", MissingInput)
def _(scene: Scene) -> Iterator[list[Call]]:
    scene.good().chmod(0)
    yield [lambda: as_somebody(scene.medium, lambda: packages.inspect(Path(NAME)))]


@case("unreadable", "nobody may look into its folder", MissingInput)
def _(scene: Scene) -> Iterator[list[Call]]:
    scene.good()
    closed = scene.medium / "closed"
    closed.mkdir(mode=0)
    yield [
        lambda: as_somebody(scene.medium, lambda: packages.inspect(Path("closed") / NAME)),
        lambda: as_somebody(scene.medium, lambda: packages.packages_in([Path("closed")])),
    ]
    closed.chmod(0o700)


@case("unreadable", "the disk fails", MissingInput)
def _(scene: Scene) -> Iterator[list[Call]]:
    scene.good()

    def broken(*_: Any) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with mock.patch.object(os, "readv", broken):
        yield scene.readings


def as_somebody(folder: Path, call: Call) -> object:
    """Run the call in `folder` as a user without rights."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        if os.geteuid():
            return call()
        os.seteuid(65534)
        try:
            return call()
        finally:
            os.seteuid(0)
    finally:
        os.chdir(before)


# Folders


def many(count: int, name: str) -> Callable[[Scene], None]:
    def make(scene: Scene) -> None:
        (scene.folder / "one").touch()
        for number in range(
            count
        ):  # links are quickly made, and a folder that is too full is refused before it matters
            os.link(scene.folder / "one", scene.medium / name.format(number))

    return make


entries(
    "folder",
    LimitExceeded,
    {
        "5,000 packages": many(5000, "{}.fspkg"),
        "one entry too many, none of them a package": many(FOLDER_LIMIT + 1, "{}"),
    },
    ways=1,
)
entries(
    "folder",
    MissingInput,
    {
        "empty": lambda scene: None,
        "no packages": lambda scene: [
            (scene.medium / name).touch() for name in (".x.fspkg", "x.FSPKG", "x.fspkg.part")
        ],
        "only in a folder below": lambda scene: (scene.medium / "sub").mkdir(),
    },
)


@case("folder", "not there", MissingInput)
def _(scene: Scene) -> Iterator[list[Call]]:
    missing = scene.folder / "nothing"
    yield [lambda: [scene.open(path) for path in packages.packages_in([missing])], lambda: scene.open(missing / NAME)]


@case("folder", "a pipe", HostileFile)
def _(scene: Scene) -> Iterator[list[Call]]:
    pipe = scene.folder / "pipe"
    os.mkfifo(pipe)
    yield [lambda: [scene.open(path) for path in packages.packages_in([pipe])], lambda: scene.open(pipe / NAME)]


@case("folder", "impossible names", HostileFile)
def _(scene: Scene) -> Iterator[list[Call]]:
    yield [
        lambda path=path: [scene.open(found) for found in packages.packages_in([path])]
        for path in (Path("a\0b"), Path("a\0b/c"), Path("\ud800"), Path("\ud800/b"))
    ]


# Where the plaintext goes

Make = Callable[[Scene], object]


def output(name: str, expected: type[FedSpaError] | None, into: str = "plain") -> Callable[[Make], None]:
    """A case with a good package and something in the way of its plaintext."""

    def register(make: Make) -> None:
        @case("output", name, expected)
        def _(scene: Scene) -> Iterator[list[Call]]:
            scene.good()
            made = make(scene)
            yield [lambda: scene.open(output=scene.out / into if into else scene.out)]
            if isinstance(made, Held):
                os.close(made)

    return register


IN_THE_WAY: dict[str, Callable[[Scene, Path], object]] = {
    "a file": lambda scene, path: path.write_bytes(b"mine"),
    "a link outside": lambda scene, path: path.symlink_to(scene.treasure),
    "a link to nothing outside": lambda scene, path: path.symlink_to(scene.sentinel / "new"),
    "a link to itself": lambda scene, path: path.symlink_to(path.name),
    "a pipe": lambda scene, path: os.mkfifo(path),
    "a pipe with a reader": lambda scene, path: (os.mkfifo(path), Held(os.open(path, os.O_RDWR)))[1],
    "a socket": lambda scene, path: listening(path),
    "a device": lambda scene, path: device(path, stat.S_IFCHR, 1, 3),
    "a hard link outside": lambda scene, path: path.hardlink_to(scene.treasure),
}
for _name, _make in IN_THE_WAY.items():
    output(f"under its name: {_name}", OutputExists)(lambda scene, make=_make: make(scene, scene.out / "plain"))

    @output(f"under its name after a killed run: {_name}", OutputExists)
    def _(scene: Scene, make: Callable[[Scene, Path], object] = _make) -> object:
        head = packages.inspect(scene.entry)
        scene.stage.register(RECIPIENT).fill(head, str(scene.out / "plain"), 1)
        return make(scene, scene.out / "plain")

    @output(f"under its digest: {_name}", OutputExists, into="")
    def _(scene: Scene, make: Callable[[Scene, Path], object] = _make) -> object:
        return make(scene, scene.out / f"{packages.inspect(scene.entry).digest.hex()}.body")

    _harmless = _name in ("a file", "a hard link outside")
    output(f"as its draft: {_name}", None if _harmless else StorageError)(
        lambda scene, make=_make: make(scene, scene.out / ".plain.fedprune-part")
    )
output("as its draft: a folder", StorageError)(lambda scene: (scene.out / ".plain.fedprune-part").mkdir())
output("in a folder that is not there", StorageError, into="no/plain")(lambda scene: None)
output("under a name that is too long", StorageError, into="x" * 255)(lambda scene: None)
output("under a name with NUL", StorageError, into="a\0b")(lambda scene: None)
output("in a file", StorageError, into="file/plain")(lambda scene: (scene.out / "file").touch())


@output("as its draft: that of a run that works", RunLocked)
def _(scene: Scene) -> Held:
    descriptor = os.open(scene.out / ".plain.fedprune-part", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return Held(descriptor)


# Running them


def listing(scene: Scene) -> dict[str, tuple[object, ...]]:
    """Everything in the scene, with what would show that it was touched, and /etc/passwd."""
    found = {}
    for path, status in [*_walk(str(scene.folder)), ("/etc/passwd", os.lstat("/etc/passwd"))]:
        content: object = None
        if stat.S_ISLNK(status.st_mode):
            content = str(Path(path).readlink())
        elif stat.S_ISREG(status.st_mode) and 0 < status.st_size <= MIB:
            content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        changing = () if stat.S_ISDIR(status.st_mode) else (status.st_mtime_ns, status.st_size, status.st_nlink)
        found[path] = (status.st_mode, status.st_uid, status.st_ino, *changing, content)
    return found


def _walk(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as found:
        for entry in found:
            yield entry.path, entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False) and os.access(entry.path, os.R_OK):
                yield from _walk(entry.path)


def opened(scene: Scene, before: dict[str, tuple[object, ...]]) -> list[bytes]:
    """What lies in the output folder that did not before."""
    return [path.read_bytes() for path in sorted(scene.out.iterdir()) if str(path) not in before]


def run(folder: Path) -> Outcome:
    """Run every case; accepted means that something was opened which is hostile."""
    outcome = Outcome()
    (folder / "stage").mkdir()
    with Stage(folder / "stage") as stage:
        for number, made in enumerate(CASES):
            scene = Scene(stage, folder / str(number))
            _run_case(scene, made, outcome)
            shutil.rmtree(scene.folder)
    return outcome


def _run_case(scene: Scene, made: Case, outcome: Outcome) -> None:
    with ExitStack() as stack:
        try:
            calls = stack.enter_context(made.prepare(scene))
        except Skipped as reason:
            outcome.skipped.append(f"{made.kind}, {made.name}: {reason}")
            return
        before = listing(scene)
        for call in calls:
            _attack(made, call, outcome)
            _quarantine(scene, made, before, outcome)
        if made.expected is None and opened(scene, before) != scene.expected_output:
            outcome.unexpected.append(f"{made.kind}, {made.name}: it was not opened")


def _attack(made: Case, call: Call, outcome: Outcome) -> None:
    what = f"{made.kind}, {made.name}"
    outcome.counts[made.kind] += 1
    try:
        with _time_limit():
            call()
    except FedSpaError as error:
        outcome.refused[type(error).__name__] += 1
        if type(error) is not made.expected:
            outcome.unexpected.append(f"{what}: {type(error).__name__}: {error!r}")
        if made.kind != "output" and not str(error).isprintable():
            outcome.unexpected.append(f"{what}: the message could steer a terminal: {str(error)!r}")
    except Skipped as reason:
        outcome.counts[made.kind] -= 1
        outcome.skipped.append(f"{what}: {reason}")
    except Exception as error:
        outcome.crashes.append(f"{what}: {type(error).__name__}: {error}")
    else:
        if made.expected is not None:
            outcome.accepted.append(what)


@contextmanager
def _time_limit() -> Iterator[None]:
    def blocked(*_: object) -> None:
        raise TimeoutError(f"blocked for {SECONDS} s")

    before = signal.signal(signal.SIGALRM, blocked)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _quarantine(scene: Scene, made: Case, before: dict[str, tuple[object, ...]], outcome: Outcome) -> None:
    """Nothing may have been written but a plaintext into the output folder, where one is expected."""
    medium_changes = made.kind.startswith(("exchanged", "changed"))  # by the case itself
    ours, after = str(scene.out), listing(scene)
    for path, status in after.items():
        if path.startswith(str(scene.medium)) and medium_changes:
            continue
        if path not in before:
            kept = "after a killed run" in made.name and path.endswith(".fedprune-part")  # until its name is free
            if not kept and not (made.expected is None and path.startswith(ours)):
                outcome.published.append(f"{made.kind}, {made.name}: {path} has appeared")
        elif before[path] != status and not (made.expected is None and path == str(scene.treasure)):
            outcome.published.append(f"{made.kind}, {made.name}: {path} has changed")
    for path in before.keys() - after.keys():
        swept = made.expected is None and path.endswith(".fedprune-part")
        if not swept and not (path.startswith(str(scene.medium)) and medium_changes):
            outcome.published.append(f"{made.kind}, {made.name}: {path} has gone")
    if scene.treasure.read_bytes() != b"precious: treasure":
        outcome.published.append(f"{made.kind}, {made.name}: the treasure was written to")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        found = run(Path(scratch))
    sys.stdout.write(json.dumps({**found.as_dict(), "cases": len(CASES), "failures": found.failures}) + "\n")
